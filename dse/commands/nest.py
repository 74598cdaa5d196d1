"""`dse nest`: a loop nest given from outside, costed as it is on a hardware file of ZigZag or Stream."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from dse.commands.common import FormatOption, examples
from dse.errors import InfeasibleError
from dse.report.output import Format, write_json, write_records
from dse.units import BITS_PER_BYTE

if TYPE_CHECKING:
    from dse.cost.capacity import Infeasibility
    from dse.hw.importers.machine import Machine, NestMemory
    from dse.mapping.nest import NestProblem
    from dse.mapping.nest_cost import NestCosts
    from dse.report.output import Cell


FEWER_LOOPS: Final = "move loops of a tile outwards"


class RulesName(StrEnum):
    """Whose rules count accesses and cycles."""

    OURS = "ours"
    ZIGZAG = "zigzag"


def register(app: typer.Typer) -> None:
    """Add the command."""
    epilog = examples(
        "dse nest tests/data/mappings/systolic_nest.yaml --hardware tests/data/hardware/systolic.yaml",
        "dse nest tests/data/mappings/systolic_nest.yaml --hardware tests/data/hardware/systolic.yaml --rules zigzag --format json",
    )
    app.command("nest", epilog=epilog)(nest)


def nest(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Loop nest as YAML (dse schema nest).", show_default=False)],
    hardware: Annotated[str, typer.Option("--hardware", metavar="FILE", help="Hardware YAML of ZigZag or Stream.", show_default=False)],
    rules: Annotated[RulesName, typer.Option(help="Whose rules count: docs/zigzag_rules.md has the differences.")] = RulesName.OURS,
    form: FormatOption = Format.TABLE,
) -> None:
    """Cost a loop nest of another tool as it is given: accesses per operand, memory and direction, energy, latency with stalls.

    Any number of loops per memory, uneven residence, strided and dilated indices. Exit code 4 where a memory has no room.
    """
    from dse.files import load_yaml, validate
    from dse.hw.importers.zigzag import read_core
    from dse.mapping.nest_cost import OUR_RULES, ZIGZAG_RULES, cost_nest, held_bits
    from dse.mapping.nest_form import NestFile, read_nest

    machine = read_core(hardware).machine
    document = load_yaml(file)
    problem, given = read_nest(document, validate(document, NestFile))
    counted = ZIGZAG_RULES if rules is RulesName.ZIGZAG else OUR_RULES
    costs = cost_nest(problem, machine, given, rules=counted, where=document.where)
    lacking = () if costs.fits[0] else _lacking(machine, held_bits(problem, machine, given, rules=counted))
    if form is Format.JSON:
        write_json(_json(problem, machine, costs, lacking))
    else:
        rows = _accesses(costs)
        if form is Format.TABLE:
            _write_facts(problem, machine, costs, rules)
        write_records(rows, tuple(rows[0]), form, title="Accesses of a port's full width")
    if lacking:
        raise InfeasibleError(f"{file}: {'; '.join(map(str, lacking))}")


def _room(machine: Machine, costs: NestCosts) -> list[tuple[NestMemory, float]]:
    return [(m, float(b)) for m, b in zip(machine.memories, costs.used_bits[:, 0], strict=True)]


def _accesses(costs: NestCosts) -> list[dict[str, Cell]]:
    return [
        {
            "operand": f.operand,
            "level": f.level,
            "memory": f.memory,
            "direction": f.direction.value,
            "words": float(costs.words[i, 0]),
            "bits": float(costs.bits[i, 0]),
            "energy_pj": float(costs.words[i, 0] * costs.pj_per_word[i]),
        }
        for i, f in enumerate(costs.flows)
    ]


def _figures(problem: NestProblem, machine: Machine, costs: NestCosts) -> dict[str, float]:
    found = {
        "latency_cycles": costs.latency_cycles,
        "array_cycles": costs.array_cycles,
        "stall_cycles": costs.stall_cycles,
        "onload_cycles": costs.onload_cycles,
        "offload_cycles": costs.offload_cycles,
        "drain_cycles": costs.drain_cycles,
        "port_cycles": costs.port_cycles,
        "energy_pj": costs.energy_pj,
        "utilisation": costs.utilisation,
    }
    least = problem.macs / machine.macs
    return {name: float(column[0]) for name, column in found.items()} | {"mac_energy_pj": costs.mac_pj, "least_cycles": least}


def _lacking(machine: Machine, held: dict[str, dict[str, float]]) -> tuple[Infeasibility, ...]:
    """Memories without room for what the nest keeps in one instance."""
    from dse.cost.capacity import Infeasibility

    levers = (FEWER_LOOPS, "enlarge the memory")
    found = []
    for memory in machine.memories:
        parts = tuple((name, bits / BITS_PER_BYTE) for name, bits in held[memory.name].items())
        need, have = sum(size for _, size in parts), memory.size_bits / BITS_PER_BYTE
        if need > have:
            found.append(Infeasibility.of(f"{memory.name} capacity", need, have, contributors=parts, levers=levers))
    return tuple(found)


def _json(problem: NestProblem, machine: Machine, costs: NestCosts, lacking: tuple[Infeasibility, ...]) -> dict[str, object]:
    memories = [{"memory": m.name, "used_bits": b, "size_bits": m.size_bits} for m, b in _room(machine, costs)]
    head = {"feasible": not lacking, "infeasibility": [why.to_json_dict() for why in lacking]}
    return head | {**_figures(problem, machine, costs), "memories": memories, "accesses": _accesses(costs)}


def _write_facts(problem: NestProblem, machine: Machine, costs: NestCosts, rules: RulesName) -> None:
    facts: list[dict[str, Cell]] = [{"quantity": name, "value": value} for name, value in _figures(problem, machine, costs).items()]
    sizes = ", ".join(f"{dim} {size}" for dim, size in problem.sizes)
    write_records(facts, ("quantity", "value"), Format.TABLE, title=f"{sizes} on {machine.name}, rules: {rules}")
    rows: list[dict[str, Cell]] = [
        {"memory": m.name, "used_bits": b, "size_bits": m.size_bits, "share": b / m.size_bits} for m, b in _room(machine, costs)
    ]
    write_records(rows, tuple(rows[0]), Format.TABLE, title="Room in one instance")
