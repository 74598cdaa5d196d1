"""Stream's file of several cores: equal compute cores become one with its arrays and buffers summed, or one core is chosen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dse.errors import InputError, UsageError
from dse.files import load_yaml
from dse.hw.importers.convert import Vector
from dse.hw.importers.fields import Fields
from dse.hw.importers.machine import Machine, Port
from dse.hw.importers.report import Report, Said
from dse.hw.importers.unread import unread_of_chip
from dse.hw.importers.zigzag import OPERANDS, CoreSource, core_of, read_core

if TYPE_CHECKING:
    from dse.errors import Problem

MATRIX_OPERATORS: Final = frozenset({"MatMul", "Gemm", "Conv", "Einsum"})


@dataclass(frozen=True, slots=True)
class ChipSource:
    """What of a chip can be said: one core's description, how many there are, and what stands beside them."""

    name: str
    core: CoreSource
    cores: int
    pools: int
    """Outermost buffers in all: fewer than cores where cores share them."""
    vector: Vector | None


def read_chip(path: str | Path, report: Report, *, core: str | None = None) -> ChipSource:
    """The chip in a file of Stream, all its equal compute cores or the one with the number `core`; a file of one core as it is.

    Raises:
        InputError: a wrong file, cores that differ, no off-chip memory; with file and line.
        UsageError: no compute core has the number.
    """
    notes: list[Problem] = []
    document = load_yaml(path, repeated=notes)
    if "cores" not in document.data:
        source = core_of(document, notes)
        return ChipSource(source.machine.name, source, 1, 1, None)
    for note in (*notes, *unread_of_chip(document)):
        report.add(Said.WARNING, str(note))
    fields = Fields(document)
    cores = read_cores(fields, Path(path).parent)
    offchip = offchip_of(fields)
    fields.done()
    compute = {i: c for i, c in cores.items() if i != offchip and computes(c)}
    if core is not None and core not in compute:
        raise UsageError(f"--core {core}: no core of {path} with that number does matrix products; those that do: {', '.join(compute)}")
    chosen = compute if core is None else {core: compute[core]}
    one = _one_kind(str(path), chosen)
    groups = shared_groups(fields)
    pools = len({next((n for n, g in enumerate(groups) if i in g), f"own {i}") for i in chosen})
    full = with_dram(one, cores.get(offchip), _entry_bits(fields, offchip), report)
    _tell_rest(fields, cores, chosen, offchip, report)
    name = fields.word("name") if core is None else f"{fields.word('name')}_{one.machine.name}"
    return ChipSource(name, full, len(chosen), pools, _vector(cores, chosen, offchip, core is None, report))


def read_cores(fields: Fields, folder: Path) -> dict[str, CoreSource]:
    """Cores by their number; those whose file is missing are noted as faults."""
    found: dict[str, CoreSource] = {}
    read: dict[Path, CoreSource] = {}
    for number in fields.mapping("cores"):
        name = fields.word("cores", number)
        file = next((f for f in (folder / name, folder / "cores" / name) if name and f.is_file()), None)
        if file is None:
            fields.fault(("cores", number), f"core file '{name}' is neither beside this file nor in its folder 'cores'")
            continue
        if file not in read:
            read[file] = read_core(file)
        found[number] = read[file]
    return found


def offchip_of(fields: Fields) -> str:
    """Number of the core that is the memory off chip."""
    given = fields.document.value(("offchip_core_id",))
    if given is None:
        fields.fault(("offchip_core_id",), "'offchip_core_id' is missing; without it the chip has no DRAM")
    return str(given)


def computes(source: CoreSource) -> bool:
    """Whether a core does matrix products."""
    matrix = not source.operator_types or bool(MATRIX_OPERATORS & set(source.operator_types))
    return matrix and source.machine.macs > 0


def _one_kind(path: str, chosen: dict[str, CoreSource]) -> CoreSource:
    kinds = list(dict.fromkeys(c.path for c in chosen.values()))
    if not kinds:
        raise InputError.single(path, "no core does matrix products; nothing to import")
    if len(kinds) > 1:
        listed = "; ".join(f"{Path(k).name}: cores {', '.join(i for i, c in chosen.items() if c.path == k)}" for k in kinds)
        text = f"its compute cores differ ({listed}), and an accelerator has one kind; import one with --core, or all with --chip"
        raise InputError.single(path, text)
    return next(iter(chosen.values()))


def shared_groups(fields: Fields) -> list[set[str]]:
    """Groups of cores that share their outermost memory."""
    if not fields.has("core_memory_sharing"):
        return []
    return [{part.strip() for part in str(text).split(",")} for text in fields.items("core_memory_sharing")]


def _entry_bits(fields: Fields, offchip: str) -> float:
    """Bits per cycle of the links and buses that reach the off-chip memory; 0 where none is listed."""
    total = 0.0
    for i, link in enumerate(fields.items("core_connectivity") if fields.has("core_connectivity") else []):
        if isinstance(link, dict) and offchip in [str(x) for x in fields.items("core_connectivity", i, "cores")]:
            total += fields.number("core_connectivity", i, "bandwidth", least=0, above=True)
    fields.done()
    return total


def with_dram(core: CoreSource, offchip: CoreSource | None, entry_bits: float, report: Report) -> CoreSource:
    """The core with the off-chip memory behind its own, no faster than what leads to it."""
    if offchip is None or not offchip.machine.memories:
        raise InputError.single(core.path, "the off-chip core has no memory; without it the chip has no DRAM")
    memory = offchip.machine.memories[-1]
    lacking = [o for o in OPERANDS if o not in memory.operands]
    if lacking:
        raise InputError.single(offchip.path, f"the off-chip memory '{memory.name}' does not hold {', '.join(lacking)}")
    ports = memory.ports
    width = sum(p.max_bits for p in ports)
    if 0 < entry_bits < width:
        report.add(Said.READ, f"{memory.name}: its links carry {entry_bits:g} bits per cycle, below its ports' {width:g}; theirs count")
        merged = Port(ports[0].name, min(entry_bits, ports[0].min_bits), entry_bits, tuple(f for p in ports for f in p.flows))
        scale = entry_bits / ports[0].max_bits
        memory = replace(memory, ports=(merged,), read_pj=memory.read_pj * scale, write_pj=memory.write_pj * scale)
    machine = core.machine
    dram = replace(memory, serves=tuple(name for name, _ in machine.dimensions), doubled=False)
    full = Machine(machine.name, machine.dimensions, machine.mac_pj, (*machine.memories, dram), machine.systolic)
    return replace(core, machine=full)


def _vector(cores: dict[str, CoreSource], chosen: dict[str, CoreSource], offchip: str, whole: bool, report: Report) -> Vector | None:
    """Lanes of the cores that do elementwise operators; pooling cores are left out."""
    beside = [c for i, c in cores.items() if i not in chosen and i != offchip and not computes(c) and c.machine.macs > 0]
    simd = [c for c in beside if {"Add", "Mul"} & set(c.operator_types)]
    for name in sorted({c.machine.name for c in beside if c not in simd}):
        report.add(Said.LOST, f"core '{name}' only pools; pooling runs on the vector unit")
    if not simd or not whole:
        return None
    lanes = sum(prod(size for _, size in c.machine.dimensions) for c in simd)
    report.add(Said.READ, f"vector unit: {lanes} lanes of {len(simd)} x '{simd[0].machine.name}'")
    return Vector(lanes, simd[0].machine.mac_pj, simd[0].path)


def _tell_rest(fields: Fields, cores: dict[str, CoreSource], chosen: dict[str, CoreSource], offchip: str, report: Report) -> None:
    """Links between cores, and cores left out."""
    links = fields.items("core_connectivity") if fields.has("core_connectivity") else []
    inside = sum(
        isinstance(x, dict) and offchip not in [str(y) for y in fields.items("core_connectivity", i, "cores")] for i, x in enumerate(links)
    )
    if inside:
        report.add(Said.LOST, f"{inside} links between cores: transfers over them take no time and no energy here")
    others = [i for i, c in cores.items() if i not in chosen and i != offchip and computes(c)]
    if others:
        report.add(Said.LOST, f"compute cores {', '.join(others)}")
    if fields.document.value(("unit_energy_cost",)) not in (None, 0, 0.0):
        report.add(Said.LOST, "unit_energy_cost of links")
