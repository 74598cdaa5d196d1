"""The frontier of one operator: the mappings that some price could prefer, and no others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final

import moocore
import numpy as np

from dse.errors import InputError
from dse.hw.accelerator import Dataflow, OperandName
from dse.mapping.counts import Counts, add_up, counts_of
from dse.mapping.flows import flows
from dse.mapping.matmul import Kept, Stationary, TileGrid, array_cycles, array_sides, matmul_traffic, sum_shares
from dse.mapping.registers import register_counts
from dse.mapping.tiles import all_sides, ladder_sides, one_pass_side, thin_sides, whole_side

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from numpy.typing import NDArray

    from dse.hw.accelerator import ArrayGeometry, Geometry
    from dse.mapping.counts import OperandTraffic
    from dse.mapping.problem import MatmulProblem, VectorProblem
    from dse.mapping.tiles import Sides

    FloatArray = NDArray[np.float64]
    _Triple = tuple[Sides, Sides, Sides]
    _BlockShape = tuple[Stationary, str, Sides, Sides, Sides]

MAX_CANDIDATES: Final = 250_000
"""Mappings enumerated for one operator before tile sides are thinned; about 0.1 s."""
MAX_ROWS: Final = 4096
"""Rows of one frontier before rows are thinned."""
PIVOTS_PER_BLOCK: Final = 2
"""Rows of each block against which the rows of later, larger blocks are tried before they are compared with each other."""
EXCESS_LADDER: Final = (0.0, 0.01, 0.02, 0.05, 0.1)
"""Excesses tried, least first; the last is taken whatever it leaves."""


@dataclass(frozen=True, slots=True)
class MatmulMapping:
    """One mapping in words: tile sides, what stays, what is kept in the buffer, dataflow."""

    dataflow: Dataflow
    stationary: Stationary
    kept: Kept
    tile_m: int
    tile_k: int
    tile_n: int
    together: int
    """Groups that run at the same time on different arrays."""
    shared_sums: bool = False
    """Output-stationary arrays that would be idle take a stretch of the others' sums."""
    array: ArrayGeometry | None = None
    """How an array of the long form is used: as one with these rows and columns; None in the short form."""

    def used(self, geometry: Geometry) -> Geometry:
        """`geometry` with its array as this mapping uses it."""
        return geometry if self.array is None else replace(geometry, array=self.array)


@dataclass(frozen=True, slots=True)
class Frontier:
    """Counts of the R mappings that are not dominated, ordered by footprint; `mappings` is empty for vector operators."""

    counts: Counts
    mappings: tuple[MatmulMapping, ...]
    excess: float = 0.0
    """For every mapping of the space a row here needs no more bytes and at most `1 + excess` times any other count (plus
    `excess` bytes or cycles)."""

    def __len__(self) -> int:
        return len(self.counts)


@dataclass(frozen=True, slots=True)
class _Block:
    """Mappings that share everything but their tile sides: every combination of the sides given."""

    dataflow: Dataflow
    stationary: Stationary
    kept: Kept
    m: Sides
    k: Sides
    n: Sides
    together: int
    shared_sums: bool = False

    @property
    def size(self) -> int:
        """Number of mappings."""
        return len(self.m) * len(self.k) * len(self.n)

    @property
    def tiles(self) -> Hashable:
        """What determines the array's cycles: everything but what is kept."""
        return self.dataflow, self.stationary, id(self.m), id(self.k), id(self.n), self.together, self.shared_sums

    def grid(self) -> TileGrid:
        """All mappings; side arrays broadcast to [sides of m, sides of k, sides of n], flattened in the order of their index."""
        return TileGrid(m=self.m.along(0), k=self.k.along(1), n=self.n.along(2))

    def describe(self, index: int) -> MatmulMapping:
        """The mapping at `index`."""
        at_m, at_k, at_n = np.unravel_index(index, (len(self.m), len(self.k), len(self.n)))
        return MatmulMapping(
            self.dataflow,
            self.stationary,
            self.kept,
            int(self.m.side[at_m]),
            int(self.k.side[at_k]),
            int(self.n.side[at_n]),
            self.together,
            self.shared_sums,
        )


def transposed_stationary(stationary: Stationary) -> Stationary:
    """Which operand stays put, seen from the transposed product."""
    return {Stationary.LEFT: Stationary.RIGHT, Stationary.RIGHT: Stationary.LEFT, Stationary.OUT: Stationary.OUT}[stationary]


def mapping_counts(
    problem: MatmulProblem,
    geometry: Geometry,
    grid: TileGrid,
    *,
    dataflow: Dataflow,
    stationary: Stationary,
    kept: Kept,
    together: int = 1,
    shared_sums: bool = False,
    cycles: FloatArray | None = None,
) -> tuple[tuple[OperandTraffic, OperandTraffic, OperandTraffic], Counts]:
    """Traffic of left, right and out, and counts, of the mappings with the given tiles; arrays [T].

    A mapping given from outside is costed as given. An operand that is on chip counts as kept. `cycles` are those of
    `mapping_cycles` where they are known already; they do not depend on what is kept.
    """
    if cycles is None:
        cycles = mapping_cycles(
            problem, geometry, grid, dataflow=dataflow, stationary=stationary, together=together, shared_sums=shared_sums
        )
    if dataflow is Dataflow.INPUT_STATIONARY:
        right, left, out = matmul_traffic(
            problem.transposed(),
            _transposed_grid(grid),
            dataflow=Dataflow.WEIGHT_STATIONARY,
            stationary=transposed_stationary(stationary),
            kept=Kept(left=kept.right, right=kept.left, out=kept.out),
            double_buffered=geometry.double_buffered,
            together=together,
        )
    else:
        left, right, out = matmul_traffic(
            problem,
            grid,
            dataflow=dataflow,
            stationary=stationary,
            kept=kept,
            double_buffered=geometry.double_buffered,
            together=together,
            shares=_shares(problem, geometry, grid, together) if shared_sums else None,
        )
    counts = add_up((left, right, out), cycles)
    if geometry.inner:
        rate = geometry.array.rate(problem.dtype)
        assert rate is not None
        counts = replace(counts, inner=register_counts(problem, geometry, grid, (left, right, out), dataflow=dataflow, rate=rate))
    return (left, right, out), counts


def mapping_cycles(
    problem: MatmulProblem,
    geometry: Geometry,
    grid: TileGrid,
    *,
    dataflow: Dataflow,
    stationary: Stationary,
    together: int = 1,
    shared_sums: bool = False,
) -> FloatArray:
    """Busy cycles of the array for the mappings with the given tiles; an array that broadcasts to [T]."""
    rate = geometry.array.rate(problem.dtype)
    assert rate is not None, "the schedule refuses data types that the array cannot compute"
    if dataflow is Dataflow.INPUT_STATIONARY:
        problem, grid, dataflow = problem.transposed(), _transposed_grid(grid), Dataflow.WEIGHT_STATIONARY
        stationary = transposed_stationary(stationary)
    shares = _shares(problem, geometry, grid, together) if shared_sums else None
    return array_cycles(
        problem, grid, geometry.array, dataflow=dataflow, stationary=stationary, rate=rate, together=together, shares=shares
    )


def _shares(problem: MatmulProblem, geometry: Geometry, grid: TileGrid, together: int) -> NDArray[np.int64]:
    rate = geometry.array.rate(problem.dtype)
    assert rate is not None
    return sum_shares(grid, geometry.array, rate=rate, together=together)


def _transposed_grid(grid: TileGrid) -> TileGrid:
    return TileGrid(m=grid.n, k=grid.k, n=grid.m)


@lru_cache(maxsize=4096)
def matmul_frontier(problem: MatmulProblem, geometry: Geometry) -> Frontier:
    """The mappings of the space that some price could prefer; thinned where there are too many, within `Frontier.excess`.

    A row is dropped only where another row is at most as large in footprint, each DRAM and buffer direction and array
    cycles; latency, energy and feasibility grow with each of these, so no price can prefer the dropped row. Large spaces
    are thinned, tile sides by `thin_sides` and rows by `not_dominated`, by the least excess of `EXCESS_LADDER` that
    brings them under `MAX_CANDIDATES` and `MAX_ROWS`. Several arrays that share a tile's passes round up between them;
    the bound then holds for bytes, and cycles are those of the sides tried (docs/mapping_space.md).
    """
    _refuse_what_is_not_mapped(geometry)
    if geometry.array.dims:
        return _merged([(array, matmul_frontier(problem, replace(geometry, array=array))) for array in flows(geometry.array)])
    for side_excess in EXCESS_LADDER:
        every = (b for d in geometry.array.dataflows for b in _blocks(problem, geometry, d, excess=side_excess))
        blocks = _distinct(problem, [b for b in every if _may_keep(b.kept, geometry)])
        if sum(b.size for b in blocks) <= MAX_CANDIDATES:
            break
    rows, origin = _search(problem, geometry, blocks)
    for row_excess in EXCESS_LADDER:
        kept = not_dominated(rows, excess=row_excess)
        if len(kept) <= MAX_ROWS:
            break
    rows, origin = rows[kept], origin[kept]
    order = np.lexsort(rows.T[::-1])
    mappings = tuple(blocks[number].describe(int(tile)) for number, tile in origin[order])
    return Frontier(counts_of(rows[order]), mappings, (1 + side_excess) * (1 + row_excess) - 1)


def every_mapping(problem: MatmulProblem, geometry: Geometry, *, most: int) -> Iterator[tuple[Counts, Callable[[int], MatmulMapping]]]:
    """Counts of all mappings of the space in parts, and what each index of a part means; nothing where there are more than `most`.

    For one design point: pricing them all takes longer than a frontier, and is exact where a frontier would be thinned.
    """
    _refuse_what_is_not_mapped(geometry)
    found = []
    for array in flows(geometry.array):
        here = replace(geometry, array=array)
        blocks = (b for d in array.dataflows for b in _blocks(problem, here, d, excess=0.0))
        found += [(b, here) for b in _distinct(problem, [b for b in blocks if _may_keep(b.kept, here)])]
    if sum(b.size for b, _ in found) > most:
        return
    for block, here in found:
        _, counts = mapping_counts(
            problem,
            here,
            block.grid(),
            dataflow=block.dataflow,
            stationary=block.stationary,
            kept=block.kept,
            together=block.together,
            shared_sums=block.shared_sums,
        )
        yield counts, partial(_describe, block, here.array if geometry.array.dims else None)


def _describe(block: _Block, array: ArrayGeometry | None, index: int) -> MatmulMapping:
    return replace(block.describe(index), array=array)


def _merged(parts: list[tuple[ArrayGeometry, Frontier]]) -> Frontier:
    """One frontier of several arrays of which a mapping uses one."""
    rows = np.concatenate([f.counts.matrix() for _, f in parts])
    mappings = [replace(mapping, array=array) for array, f in parts for mapping in f.mappings]
    kept = not_dominated(rows)
    order = kept[np.lexsort(rows[kept].T[::-1])]
    return Frontier(counts_of(rows[order]), tuple(mappings[i] for i in order), max(f.excess for _, f in parts))


def _refuse_what_is_not_mapped(geometry: Geometry) -> None:
    """Nothing is dropped: what the space lacks is an error, not a mapping that ignores it."""
    lacks = (
        ("memories", not all(m.registers for m in geometry.inner), "describe one buffer between registers and dram"),
        ("memories", bool(geometry.outer.capacity_shares), "leave capacity_shares out"),
    )
    for where, lacking, do in lacks:
        if lacking:
            raise InputError.single(where, f"read and priced, but this version finds no mappings for it; {do}")


def _may_keep(kept: Kept, geometry: Geometry) -> bool:
    """Whether the buffer takes all operands that are kept."""
    return all(name in geometry.outer.operands for name in OperandName if getattr(kept, name))


def _distinct(problem: MatmulProblem, blocks: list[_Block]) -> list[_Block]:
    """The first of the blocks that differ only in whether they keep an operand that is on chip anyway."""
    found: dict[Hashable, _Block] = {}
    for b in blocks:
        kept = (b.kept.left or problem.left_on_chip, b.kept.right or problem.right_on_chip, b.kept.out or problem.out_on_chip)
        found.setdefault((b.tiles, kept), b)
    return list(found.values())


def _search(problem: MatmulProblem, geometry: Geometry, blocks: list[_Block]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Counts [R, 6] of the mappings of `blocks` that are not dominated, and (block, tile) of each [R, 2]."""
    found: list[NDArray[np.float64]] = []
    origin: list[NDArray[np.int64]] = []
    pivots: list[NDArray[np.float64]] = []
    cycles: dict[Hashable, FloatArray] = {}
    for number in sorted(range(len(blocks)), key=lambda i: (blocks[i].size, i)):
        block = blocks[number]
        grid = block.grid()
        at = {"dataflow": block.dataflow, "stationary": block.stationary, "together": block.together, "shared_sums": block.shared_sums}
        if block.tiles not in cycles:
            cycles[block.tiles] = mapping_cycles(problem, geometry, grid, **at)  # type: ignore[arg-type]
        _, counts = mapping_counts(problem, geometry, grid, kept=block.kept, cycles=cycles[block.tiles], **at)  # type: ignore[arg-type]
        rows = counts.matrix()
        keep = np.flatnonzero(np.isfinite(rows[:, 0]))
        for pivot in pivots:
            keep = keep[~(rows[keep] >= pivot).all(axis=1)]
        keep = keep[not_dominated(rows[keep])]
        found.append(rows[keep])
        origin.append(np.stack((np.full(len(keep), number), keep), axis=1))
        pivots += _spread(rows[keep])
    rows, index = np.concatenate(found), np.concatenate(origin)
    keep = not_dominated(rows)
    return rows[keep], index[keep]


def _spread(rows: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """A few of the rows that beat most others: least product of counts in each share of the rows by footprint."""
    shares = np.array_split(rows[np.argsort(rows[:, 0], kind="stable")], PIVOTS_PER_BLOCK)
    return [share[np.argmin(np.log1p(share).sum(axis=1))] for share in shares if len(share)]


@lru_cache(maxsize=16384)
def least_cycles(problem: MatmulProblem, geometry: Geometry) -> float:
    """Array cycles with the whole operator as one tile, the least over dataflows and groups that run together."""
    if geometry.array.dims:
        return min(least_cycles(problem, replace(geometry, array=array)) for array in flows(geometry.array))
    rate = geometry.array.rate(problem.dtype)
    assert rate is not None
    found = []
    for dataflow in geometry.array.dataflows:
        sides_of = zip((problem.m, problem.k, problem.n), array_sides(geometry.array, dataflow, rate), strict=True)
        grid = TileGrid(*(whole_side(size, side) for size, side in sides_of))
        for together in _together(problem.groups, geometry.array.count):
            for shared in {False, dataflow is Dataflow.OUTPUT_STATIONARY and geometry.array.count > 1}:
                cycles = mapping_cycles(
                    problem, geometry, grid, dataflow=dataflow, stationary=Stationary.OUT, together=together, shared_sums=shared
                )
                found.append(float(cycles.ravel()[0]))
    return min(found)


def not_dominated(rows: NDArray[np.float64], *, excess: float = 0.0) -> NDArray[np.int64]:
    """Indices of the rows [R, C] that no other row beats, one of each set of equal rows, ascending.

    With `excess` above 0 the first column is compared as it is and one plus each other by powers of `1 + excess`: for every
    row left out, one that stays is at most as large in the first column and, plus one, less than `1 + excess` times as large
    in the others.
    """
    if len(rows) == 0:
        return np.empty(0, dtype=np.int64)
    if excess > 0.0:
        exponents = np.floor(np.log1p(rows[:, 1:]) / np.log1p(excess))
        rows = np.concatenate((rows[:, :1], exponents), axis=1)
    return np.flatnonzero(moocore.is_nondominated(rows, keep_weakly=False))


def vector_frontier(problem: VectorProblem, *, double_buffered: bool) -> Frontier:
    """Mappings of a vector operator: a row at a time and, for softmax and norms, in chunks with a second read.

    Source of the two-read form: online softmax corrected in a second pass (FuseMax, MICRO 2024, two passes). The chunk of
    the two-read form occupies no more than one element of each operand, which is neglected against a row.
    """
    copies = 2 if double_buffered else 1
    options = [(problem.row_bytes * copies if problem.rereads else 0.0, 1.0)]
    if problem.rereads and problem.row_bytes > 0:
        options.insert(0, (0.0, 2.0))
    footprint = np.array([o[0] for o in options])
    reads = np.array([o[1] for o in options])
    from_dram = problem.read_bytes * reads
    to_dram = np.full(len(options), problem.write_bytes)
    on_chip_reads = problem.on_chip_read_bytes * reads
    counts = Counts(
        footprint_bytes=footprint,
        dram_read_bytes=from_dram,
        dram_write_bytes=to_dram,
        buffer_read_bytes=from_dram + on_chip_reads + to_dram,
        buffer_write_bytes=from_dram + to_dram + problem.on_chip_write_bytes,
        array_cycles=np.zeros(len(options)),
    )
    return Frontier(counts, ())


def _blocks(problem: MatmulProblem, geometry: Geometry, dataflow: Dataflow, *, excess: float) -> Iterator[_Block]:
    """The parts of the space that can hold a frontier row.

    Left out because another block is at least as good on every count: a stationary operand that is not kept (its tile
    would serve nobody); a kept operand of the array in a weight-stationary array unless it is the stationary one (it is
    used once per tile, so passing it by costs the same DRAM traffic and no buffer). Checked against brute force.
    """
    if dataflow is Dataflow.INPUT_STATIONARY:
        for b in _blocks(problem.transposed(), geometry, Dataflow.WEIGHT_STATIONARY, excess=excess):
            kept = Kept(left=b.kept.right, right=b.kept.left, out=b.kept.out)
            yield _Block(dataflow, transposed_stationary(b.stationary), kept, m=b.n, k=b.k, n=b.m, together=b.together)
        return
    rate = geometry.array.rate(problem.dtype)
    assert rate is not None
    sizes = (problem.m, problem.k, problem.n)
    array = array_sides(geometry.array, dataflow, rate)
    every = _triple(lambda s, a: thin_sides(all_sides(s, a), excess), sizes, array)
    chunk, single, whole = (_triple(f, sizes, array) for f in (ladder_sides, one_pass_side, whole_side))

    shapes = _weight_block_shapes if dataflow is Dataflow.WEIGHT_STATIONARY else _output_block_shapes
    for together in _together(problem.groups, geometry.array.count):
        yield _Block(dataflow, Stationary.OUT, _kept(""), *whole, together)
        for stationary, flags, m, k, n in shapes(every, chunk, single):
            yield _Block(dataflow, stationary, _kept(flags), m, k, n, together)
            if dataflow is Dataflow.OUTPUT_STATIONARY and geometry.array.count > 1:
                yield _Block(dataflow, stationary, _kept(flags), m, k, n, together, shared_sums=True)


def _triple(make: Callable[[int, int], Sides], sizes: tuple[int, int, int], array: tuple[int, int, int]) -> _Triple:
    return make(sizes[0], array[0]), make(sizes[1], array[1]), make(sizes[2], array[2])


def _together(groups: int, arrays: int) -> tuple[int, ...]:
    """Groups that may run at the same time: powers of two up to the number of arrays."""
    most = min(groups, arrays)
    return tuple(2**i for i in range(most.bit_length()))


def _kept(flags: str) -> Kept:
    return Kept(left="A" in flags, right="B" in flags, out="C" in flags)


def _weight_block_shapes(every: _Triple, chunk: _Triple, single: _Triple) -> Iterator[_BlockShape]:
    for flags in ("A", "AC"):
        yield Stationary.LEFT, flags, every[0], every[1], chunk[2]
    for flags in ("C", "AC"):
        yield Stationary.OUT, flags, every[0], chunk[1], every[2]
    for flags in ("", "A", "C", "AC"):
        yield Stationary.RIGHT, flags, chunk[0], single[1], single[2]
        yield Stationary.RIGHT, flags + "B", chunk[0], every[1], every[2]


def _output_block_shapes(every: _Triple, chunk: _Triple, single: _Triple) -> Iterator[_BlockShape]:
    for flags in ("A", "AB", "AC", "ABC"):
        yield Stationary.LEFT, flags, every[0], every[1], chunk[2]
    for flags in ("B", "AB", "BC", "ABC"):
        yield Stationary.RIGHT, flags, chunk[0], every[1], every[2]
    for flags in ("", "A", "B", "AB"):
        yield Stationary.OUT, flags, single[0], chunk[1], single[2]
        yield Stationary.OUT, flags + "C", every[0], chunk[1], every[2]
