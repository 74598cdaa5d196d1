"""`dse map`: the best mapping of one matrix product on one accelerator, as a loop nest with counts and bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dse.commands.common import FormatOption, SetOption, examples
from dse.commands.enums import MapObjectiveName
from dse.commands.evaluate import AcceleratorOption
from dse.commands.frontier import residents as residents_of
from dse.commands.frontier import three_sizes
from dse.errors import InfeasibleError, UsageError
from dse.mapping.limits import LARGEST_BITS, LARGEST_PRODUCT, LARGEST_SIZE
from dse.report.output import Format, write_json, write_records

if TYPE_CHECKING:
    from dse.mapping.held_tiles import HeldTile
    from dse.mapping.loop_nest import NestLoop
    from dse.report.output import Cell
    from dse.single_map import ExplainedMap


def register(app: typer.Typer) -> None:
    """Add the command."""
    epilog = examples(
        "dse map --gemm 128,576,4096 --bits 8 -a edge32 --objective energy",
        "dse map --gemm 1,7168,1536 --bits 16 -a h100_sxm --format json",
        "dse map --mapping tests/data/mappings/edge32.yaml -a edge32",
    )
    app.command("map", epilog=epilog)(map_)


def map_(
    accelerator: AcceleratorOption,
    gemm: Annotated[
        str | None, typer.Option(metavar="M,K,N", help="C[M,N] = A[M,K] B[K,N]; with --mapping the file may say it.", show_default=False)
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(help="Width of operands and result, 8 unless given; the array's fastest type of that width, integers first."),
    ] = None,
    groups: Annotated[int | None, typer.Option(help="Independent products of that shape, 1 unless given.")] = None,
    partial_bits: Annotated[int | None, typer.Option(help="Width of unfinished sums; as --bits unless given.")] = None,
    on_chip: Annotated[
        str | None,
        typer.Option(
            metavar="left,right,out",
            help="Operands that lie whole in the outermost buffer: weights kept over steps, results that the next operator takes.",
        ),
    ] = None,
    settings: SetOption = [],  # noqa: B006  typer copies it
    objective: Annotated[MapObjectiveName, typer.Option(help="What the mapping minimises.")] = MapObjectiveName.LATENCY,
    mapping: Annotated[
        str | None, typer.Option("--mapping", metavar="FILE", help="Cost the mapping of this file as it is (dse schema mapping).")
    ] = None,
    save: Annotated[str | None, typer.Option("--save-mapping", metavar="FILE", help="Write the mapping as such a file.")] = None,
    form: FormatOption = Format.TABLE,
) -> None:
    """Print the best mapping of one matrix product: loop nest, bytes per level against the lower bound, what binds.

    Exact over the mapping space of docs/mapping_space.md. With --mapping the mapping of a file, beside the best. Exit code 4 where a
    memory cannot hold what it should.
    """
    from dse.single_map import DEFAULT_BITS, explain_given, explain_map

    sizes = None if gemm is None else three_sizes(gemm)
    _check_all(sizes, groups, bits, partial_bits)
    residents = None if on_chip is None else residents_of(on_chip)
    if mapping is not None:
        options = {"sizes": sizes, "groups": groups, "bits": bits, "partial_bits": partial_bits, "on_chip": residents}
        found = explain_given(mapping, accelerator, settings, objective=objective.value, **options)  # type: ignore[arg-type]
    elif sizes is None:
        raise UsageError("--gemm is missing; give M,K,N, or --mapping FILE")
    else:
        width = {"bits": bits or DEFAULT_BITS, "partial_bits": partial_bits, "on_chip": residents or ()}
        found = explain_map(sizes, accelerator, settings, groups=groups or 1, objective=objective.value, **width)  # type: ignore[arg-type]
    if save is not None and found.mapped is not None:
        from dse.files import atomic_write

        atomic_write(save, found.file)
    _write(found, form)


def _write(found: ExplainedMap, form: Format) -> None:
    if form is Format.JSON:
        write_json(found.to_json_dict())
    elif form is Format.CSV and found.mapped is not None:
        rows = [_nest_row(loop) for loop in found.nest]
        write_records(rows, tuple(rows[0]), form)
    elif found.mapped is not None:
        _write_tables(found)
    if found.infeasible is not None:
        raise InfeasibleError(str(found.infeasible))


def _check_all(sizes: tuple[int, int, int] | None, groups: int | None, bits: int | None, partial_bits: int | None) -> None:
    from dse.single_map import DEFAULT_BITS

    _check("--groups", groups, LARGEST_SIZE)
    _check("--bits", bits, LARGEST_BITS)
    _check("--partial-bits", partial_bits, LARGEST_BITS)
    least = bits or DEFAULT_BITS
    if partial_bits is not None and partial_bits < least:
        raise UsageError(f"--partial-bits {partial_bits} is below --bits {least}; unfinished sums are at least as wide as the result")
    if sizes is not None and groups is not None and groups * sizes[0] * sizes[1] * sizes[2] > LARGEST_PRODUCT:
        raise UsageError(f"--groups {groups}: the products have more than {LARGEST_PRODUCT} MACs in all; use fewer groups")


def _check(option: str, value: int | None, most: int) -> None:
    if value is not None and not 1 <= value <= most:
        raise UsageError(f"{option} {value}: allowed are whole numbers from 1 to {most}")


def _write_tables(found: ExplainedMap) -> None:
    from dse.single_map import busiest

    mapped = found.mapped
    assert mapped is not None
    p, mapping = found.problem, mapped.mapping
    name, share = busiest(mapped)
    facts: list[dict[str, Cell]] = [
        {"quantity": "latency", "value": f"{mapped.latency_s * found.clock_hz:,.6g} cycles, {mapped.latency_s * 1e6:,.6g} us"},
        {"quantity": "energy", "value": f"{mapped.energy_pj:,.6g} pJ"},
        {"quantity": "utilisation", "value": f"{found.utilisation:.1%} of the array"},
        {"quantity": "busiest", "value": f"{name}, {share:.1%} of the time"},
        {"quantity": "mapping", "value": f"{mapping.dataflow}; {_kept_words(found)}"},
        {"quantity": "buffer", "value": f"{mapped.counts[0]:,.0f} bytes occupied{_beside(found)}"},
    ]
    title = f"{p.groups} x [{p.m} x {p.k} x {p.n}] in {p.dtype} on {found.accelerator}, "
    if found.best:
        title += "mapping as given"
        over = ", ".join(f"{name} {ratio:.4f}" for name, ratio in found.optimum_ratio.items())
        facts.append({"quantity": "over the best", "value": f"{over}; of the mappings found here, each for its objective"})
    else:
        title += f"least {found.objective}"
        facts.append({"quantity": "searched", "value": f"the whole space; {mapped.counted:,} mappings counted, no other is better"})
    for operand, memories in found.crowded.items():
        said = f"may lie in {', '.join(memories)}; no more tiles of it at a time than core.most_tiles of the file allows"
        facts.append({"quantity": operand, "value": said})
    write_records(facts, ("quantity", "value"), Format.TABLE, title=title)
    rows = [_nest_row(loop) for loop in found.nest if loop.count > 1] or [_nest_row(found.nest[-1])]
    write_records(rows, tuple(rows[0]), Format.TABLE, title="Loop nest, outermost first; loops of one step left out")
    if found.tiles:
        held: list[dict[str, Cell]] = [_tile_row(tile) for tile in found.tiles]
        write_records(held, tuple(held[0]), Format.TABLE, title="Tiles, from the outermost memory inwards")
    columns = ("level", "read_bytes", "written_bytes", "busy_share", "least_bytes", "ratio")
    write_records(_level_rows(found), columns, Format.TABLE, title="Levels")
    crossed: list[dict[str, Cell]] = [
        {"into": _BORDER_WORDS[b.name], "bytes": b.moved_bytes, "least_bytes": b.least_bytes, "ratio": b.ratio} for b in mapped.borders
    ]
    write_records(
        crossed, tuple(crossed[0]), Format.TABLE, title="What crosses each border, both ways, against the least that any mapping moves"
    )
    levers: list[dict[str, Cell]] = [
        {"enlarge": x.parameter, "from": x.now, "to": x.enlarged, "latency_cycles": x.latency_cycles} for x in found.levers
    ]
    if levers:
        write_records(levers, tuple(levers[0]), Format.TABLE, title="To go faster: until the next resource binds")


_BORDER_WORDS = {"dram": "the chip", "buffer": "what lies inside the outermost buffer", "array": "the array"}


def _kept_words(found: ExplainedMap) -> str:
    """What stays in the outermost buffer and what is kept there."""
    assert found.mapped is not None
    mapping = found.mapped.mapping
    kept = ", ".join(o for o in ("left", "right", "out") if getattr(mapping.kept, o)) or "nothing"
    return f"{mapping.stationary} tile stays in the buffer; tiles of: {kept}"


def _beside(found: ExplainedMap) -> str:
    """What lies in the buffer beside the tiles."""
    from dse.cost.residents import resident_bytes

    return "".join(f", beside them {size:,.0f} of {name} that stay" for name, size in resident_bytes(found.problem))


def _tile_row(tile: HeldTile) -> dict[str, Cell]:
    (first, rows), (second, columns) = tile.sides
    return {
        "memory": tile.memory,
        "operand": tile.operand,
        "tile": f"{first} {rows} x {second} {columns}",
        "instances": tile.instances,
        "stays": tile.stays,
    }


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
    from dse.single_map import over

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
            row |= {"least_bytes": mapped.bounds.dram_bytes, "ratio": over(mapped.dram_bytes, mapped.bounds.dram_bytes)}
        rows.append(row)
    for i in reversed(range(len(found.inner))):
        name = found.inner[i]
        busy = [s for n, s in mapped.busy_s.items() if n.startswith(f"inner{i}_")]
        moved: dict[str, Cell] = {"read_bytes": counts[f"{name}_read_bytes"], "written_bytes": counts[f"{name}_write_bytes"]}
        rows.append({"level": name, **moved, "busy_share": max(busy) / mapped.latency_s if busy else None})
    rows.append({"level": "array", "busy_share": mapped.busy_s["array"] / mapped.latency_s})
    return rows
