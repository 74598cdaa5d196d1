"""`dse map`: the best mapping of one matrix product on one accelerator, as a loop nest with counts and bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dse.commands.common import FormatOption, SetOption, examples
from dse.commands.enums import MapObjectiveName
from dse.commands.evaluate import AcceleratorOption
from dse.commands.frontier import LARGEST_PRODUCT, LARGEST_SIZE, three_sizes
from dse.errors import InfeasibleError, UsageError
from dse.report.output import Format, write_json, write_records

if TYPE_CHECKING:
    from dse.mapping.loop_nest import NestLoop
    from dse.report.output import Cell
    from dse.single_map import ExplainedMap

LARGEST_BITS = 64


def register(app: typer.Typer) -> None:
    """Add the command."""
    epilog = examples(
        "dse map --gemm 128,576,4096 --bits 8 -a edge32 --objective energy",
        "dse map --gemm 1,7168,1536 --bits 16 -a h100_sxm --format json",
    )
    app.command("map", epilog=epilog)(map_)


def map_(
    gemm: Annotated[str, typer.Option(metavar="M,K,N", help="C[M,N] = A[M,K] B[K,N].", show_default=False)],
    accelerator: AcceleratorOption,
    bits: Annotated[int, typer.Option(help="Width of operands and result; the array's fastest type of that width, integers first.")] = 8,
    groups: Annotated[int, typer.Option(help="Independent products of that shape.")] = 1,
    partial_bits: Annotated[int | None, typer.Option(help="Width of unfinished sums; as --bits unless given.")] = None,
    settings: SetOption = [],  # noqa: B006  typer copies it
    objective: Annotated[MapObjectiveName, typer.Option(help="What the mapping minimises.")] = MapObjectiveName.LATENCY,
    form: FormatOption = Format.TABLE,
) -> None:
    """Print the best mapping of one matrix product: loop nest, bytes per level against the lower bound, what binds.

    Exact over the mapping space of docs/mapping_space.md. Exit code 4 where the DRAM cannot hold the operands.
    """
    from dse.single_map import explain_map

    sizes = three_sizes(gemm)
    _check("--groups", groups, LARGEST_SIZE)
    _check("--bits", bits, LARGEST_BITS)
    if partial_bits is not None:
        _check("--partial-bits", partial_bits, LARGEST_BITS)
        if partial_bits < bits:
            raise UsageError(f"--partial-bits {partial_bits} is below --bits {bits}; unfinished sums are at least as wide as the result")
    if groups * sizes[0] * sizes[1] * sizes[2] > LARGEST_PRODUCT:
        raise UsageError(f"--groups {groups}: the products have more than {LARGEST_PRODUCT} MACs in all; use fewer groups")
    found = explain_map(sizes, accelerator, settings, groups=groups, bits=bits, partial_bits=partial_bits, objective=objective.value)
    if form is Format.JSON:
        write_json(found.to_json_dict())
    elif form is Format.CSV and found.mapped is not None:
        rows = [_nest_row(loop) for loop in found.nest]
        write_records(rows, tuple(rows[0]), form)
    elif found.mapped is not None:
        _write_tables(found)
    if found.infeasible is not None:
        raise InfeasibleError(found.infeasible.message)


def _check(option: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise UsageError(f"{option} {value}: allowed are whole numbers from 1 to {most}")


def _write_tables(found: ExplainedMap) -> None:
    from dse.single_map import busiest

    mapped = found.mapped
    assert mapped is not None
    p, mapping = found.problem, mapped.mapping
    name, share = busiest(mapped)
    kept = ", ".join(o for o in ("left", "right", "out") if getattr(mapping.kept, o)) or "nothing"
    facts: list[dict[str, Cell]] = [
        {"quantity": "latency", "value": f"{mapped.latency_s * found.clock_hz:,.6g} cycles, {mapped.latency_s * 1e6:,.6g} us"},
        {"quantity": "energy", "value": f"{mapped.energy_pj:,.6g} pJ"},
        {"quantity": "utilisation", "value": f"{found.utilisation:.1%} of the array"},
        {"quantity": "busiest", "value": f"{name}, {share:.1%} of the time"},
        {"quantity": "mapping", "value": f"{mapping.dataflow}; {mapping.stationary} tile stays in the buffer; tiles of: {kept}"},
        {"quantity": "buffer", "value": f"{mapped.counts[0]:,.0f} bytes occupied"},
        {
            "quantity": "frontier",
            "value": f"{mapped.frontier_rows} mappings; counts at most {mapped.excess:.1%} above the best of the space",
        },
    ]
    title = f"{p.groups} x [{p.m} x {p.k} x {p.n}] in {p.dtype} on {found.accelerator}, least {found.objective}"
    write_records(facts, ("quantity", "value"), Format.TABLE, title=title)
    rows = [_nest_row(loop) for loop in found.nest if loop.count > 1] or [_nest_row(found.nest[-1])]
    write_records(rows, tuple(rows[0]), Format.TABLE, title="Loop nest, outermost first; loops of one step left out")
    columns = ("level", "read_bytes", "written_bytes", "busy_share", "least_bytes", "ratio")
    write_records(_level_rows(found), columns, Format.TABLE, title="Levels")
    levers: list[dict[str, Cell]] = [
        {"enlarge": x.parameter, "from": x.now, "to": x.enlarged, "latency_cycles": x.latency_cycles} for x in found.levers
    ]
    if levers:
        write_records(levers, tuple(levers[0]), Format.TABLE, title="To go faster: until the next resource binds")


def _nest_row(loop: NestLoop) -> dict[str, Cell]:
    return {
        "level": loop.level,
        "loop": loop.loop,
        "count": loop.count,
        "step": loop.step,
        "spatial": loop.spatial,
        "stays": loop.stays,
    }


def _level_rows(found: ExplainedMap) -> list[dict[str, Cell]]:
    mapped = found.mapped
    assert mapped is not None
    counts = found.to_json_dict()["counts"]
    assert isinstance(counts, dict)
    rows: list[dict[str, Cell]] = []
    for level, prefix in zip(found.memories[::-1], ("dram", "buffer"), strict=True):
        share = max(s for n, s in mapped.busy_s.items() if n.startswith(prefix)) / mapped.latency_s
        row: dict[str, Cell] = {
            "level": level,
            "read_bytes": counts[f"{prefix}_read_bytes"],
            "written_bytes": counts[f"{prefix}_write_bytes"],
            "busy_share": share,
        }
        if prefix == "dram":
            row |= {"least_bytes": mapped.bounds.dram_bytes, "ratio": mapped.dram_bytes / mapped.bounds.dram_bytes}
        rows.append(row)
    rows.append({"level": "array", "busy_share": mapped.busy_s["array"] / mapped.latency_s})
    return rows
