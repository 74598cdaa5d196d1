"""The frontier of one operator: the mappings that some price could prefer, and no others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from math import prod
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.errors import InputError
from dse.mapping.comparison import Comparison
from dse.mapping.counts import COUNT_NAMES, INNER_COLUMNS, Counts, counts_of
from dse.mapping.described import BlockMappings, in_columns, joined
from dse.mapping.flows import MAX_SEARCHED, ways
from dse.mapping.matmul import MatmulMapping
from dse.mapping.one_mapping import traffic_of
from dse.mapping.point_search import Found, PointSearch
from dse.mapping.residence import residence
from dse.mapping.search import everything, not_dominated, search
from dse.mapping.space import block_of, blocks, each_kind, together, view_of, whole_blocks
from dse.mapping.turning import as_it_runs, as_they_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from dse.hw.accelerator import ArrayGeometry, Dataflow, Geometry
    from dse.mapping.blocks import Block
    from dse.mapping.counts import OperandTraffic
    from dse.mapping.matmul import Kept, Stationary, TileGrid
    from dse.mapping.problem import MatmulProblem, VectorProblem

    IntArray = NDArray[np.int64]

__all__ = (
    "Frontier",
    "MatmulMapping",
    "every_mapping",
    "least_cycles",
    "mapping_counts",
    "mapping_traffic",
    "matmul_frontier",
    "not_dominated",
)


MOST_MAPPINGS: Final = 2**21
"""Mappings with three tiles of an operand or more of which a frontier is made."""
IDLE_TILINGS: Final = 8
"""Where there are up to so many times as many tilings, the mappings are counted without the idle ones, of which there may be more."""


@dataclass(frozen=True, slots=True)
class Frontier:
    """Counts of the R mappings that are not dominated, ordered by footprint; `mappings` is empty for vector operators."""

    counts: Counts
    mappings: Sequence[MatmulMapping]
    excess: float = 0.0
    """For every mapping of the space a row here needs no more room in any memory and at most `1 + excess` times any other count (plus
    `excess` bytes or cycles), DRAM bytes together where they cost alike; 0 unless a thinner frontier was asked for."""
    in_part: bool = False
    """Mappings with three tiles of an operand or more were looked at in part only, or not at all: some price may have a better one."""
    behind: tuple[float, float] = (0.0, 0.0)
    """Where mappings of a design point were looked at in part: how far, relative, the least longest busy time and the least energy here
    may be above the least there are."""

    def __len__(self) -> int:
        return len(self.counts)


def mapping_traffic(
    problem: MatmulProblem, geometry: Geometry, mapping: MatmulMapping
) -> tuple[tuple[OperandTraffic, OperandTraffic, OperandTraffic], Counts]:
    """Traffic of left, right and out, and counts, of one mapping, arrays [1]; a mapping given from outside is costed as given.

    An operand that is on chip counts as kept.
    """
    return traffic_of(block_of(problem, mapping.used(geometry), mapping))


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
) -> tuple[tuple[OperandTraffic, OperandTraffic, OperandTraffic], Counts]:
    """`mapping_traffic` of the one mapping with the tile sides of `grid`, in the outermost buffer alone."""
    m, k, n = (int(sides.side.ravel()[0]) for sides in (grid.m, grid.k, grid.n))
    mapping = MatmulMapping(dataflow, stationary, kept, m, k, n, together, shared_sums)
    return mapping_traffic(problem, geometry, mapping)


@lru_cache(maxsize=4096)
def matmul_frontier(problem: MatmulProblem, geometry: Geometry) -> Frontier:
    """The mappings of the space that some price could prefer.

    A row is dropped only where another row is at most as large in footprint, each DRAM and buffer direction and array cycles; latency,
    energy and feasibility grow with each of these, so no price can prefer the dropped row. Of a geometry that is `dram_alike` the sum
    of both DRAM directions is compared. With its `mapping_excess` above 0 a row is also dropped where another one needs no more room
    and is at most `1 + excess` times as large in the rest: fewer rows, found sooner, and no optimum is more than that away.

    Of a geometry for one design point (`Geometry.point`) it has what that point could prefer. Otherwise operands have two tiles at a time
    where three would make too many mappings (`Frontier.in_part`).
    """
    if geometry.point is not None:
        return _at_point(problem, geometry)
    if geometry.mapping_excess and geometry.array.count > 1:
        return _thinner(matmul_frontier(problem, replace(geometry, mapping_excess=0.0)), geometry)
    if geometry.array.dims:
        every = ways(geometry, groups=problem.groups)
        return _merged([(array, matmul_frontier(problem, replace(geometry, array=array))) for array in every], geometry)
    found = _blocks(problem, geometry)
    if found is None:
        if geometry.most_tiles is None:
            return replace(matmul_frontier(problem, replace(geometry, most_tiles=2)), in_part=True)
        raise InputError.single(
            "core.most_tiles",
            f"the frontier of {problem.m} x {problem.k} x {problem.n} with up to {residence(geometry).levels} tiles of an operand "
            f"on chip, for all prices, is of more than {MOST_MAPPINGS:.2g} mappings; set it to 2, or leave it out for two tiles of large "
            "products (dse map, and dse eval on one core, take any number)",
        )
    counted, rows, origin = as_they_run(found, *search(found))
    order = np.lexsort(rows.T[::-1])
    return Frontier(counts_of(rows[order]), BlockMappings(counted, origin[order]), geometry.mapping_excess)


def _at_point(problem: MatmulProblem, geometry: Geometry) -> Frontier:
    """What one design point could prefer; where nothing fits there, the whole operator as one tile without a home, which says what it
    needs."""
    search = PointSearch(problem, geometry)
    found, free = search.run(), replace(geometry, point=None)
    if not found:
        zero, dims = np.zeros(1, dtype=np.int64), bool(free.array.dims)
        arrays = ways(free, MAX_SEARCHED, groups=problem.groups)
        every = [(replace(free, array=array), array if dims else None) for array in arrays]
        whole = [(b, used) for g, used in every for d in g.array.dataflows for b in whole_blocks(problem, g, d)]
        found = [Found(block, used, block.rows((zero, zero, zero))[0]) for block, used in whole]
        found = [found[i] for i in not_dominated(np.stack([f.counts for f in found]))]
    found = [Found(block, f.used, counts) for f in found for block, counts in as_it_runs(f.block, f.counts)]
    rows = np.stack([f.counts for f in found])
    order = np.lexsort(rows.T[::-1])
    mappings = [replace(found[i].block.describe((0, 0, 0)), array=found[i].used) for i in order]
    return Frontier(counts_of(rows[order]), tuple(mappings), in_part=search.in_part, behind=search.behind)


def _blocks(problem: MatmulProblem, geometry: Geometry) -> list[Block] | None:
    """The mappings of the space; None where what any price could prefer would take hours or all memory to find: three tiles of an operand
    or more at a time, of a large product."""
    limited = residence(geometry).levels > 2
    if limited and _tilings(problem, geometry, IDLE_TILINGS * MOST_MAPPINGS) > IDLE_TILINGS * MOST_MAPPINGS:
        return None
    found = [b for d in geometry.array.dataflows for b in blocks(problem, geometry, d)]
    return None if limited and sum(b.size for b in found) > MOST_MAPPINGS else found


def _tilings(problem: MatmulProblem, geometry: Geometry, limit: int) -> int:
    """Tilings before idle ones are left out, counted until there are more than `limit`."""
    total = 0
    for dataflow in geometry.array.dataflows:
        view = view_of(problem, geometry, dataflow)
        several = len(together(problem.groups, geometry.array.count))
        for kind in each_kind(view):
            total += several * prod(map(len, kind.tilings(view)))
            if total > limit:
                return total
    return total


def _index(block: Block, tile: int) -> tuple[int, int, int]:
    m, k, n = np.unravel_index(tile, block.shape)
    return int(m), int(k), int(n)


def every_mapping(
    problem: MatmulProblem, geometry: Geometry, *, most: int, capacities: tuple[float, ...], turning: bool = False
) -> Iterator[tuple[Counts, Callable[[int], MatmulMapping]]]:
    """Counts of all mappings of the space that fit, in parts, and what each index of a part means; nothing where the space has more
    than `most`. `capacities` are those of the outermost buffer and of the memories inside it, from inner to outer; `turning` as for
    `dse.mapping.space.flat_kinds`.

    For one design point: pricing them all takes longer than a frontier, and is exact where a frontier would be thinned.
    """
    found = []
    for array in ways(geometry, groups=problem.groups):
        here = replace(geometry, array=array)
        found += [(b, array if geometry.array.dims else None) for d in array.dataflows for b in blocks(problem, here, d, turning=turning)]
    if sum(b.size for b, _ in found) > most:
        return
    limit = dict(zip((0, *(len(COUNT_NAMES) + INNER_COLUMNS * i for i in range(len(geometry.inner)))), capacities, strict=True))
    for block, used in found:
        fits = np.ones(block.shape, dtype=np.bool_)
        for column, size in block.footprints(everything(block)):
            fits &= size <= limit[column]
        index = np.flatnonzero(fits)
        if len(index):
            m, k, n = np.unravel_index(index, block.shape)
            yield counts_of(block.rows((m, k, n))), partial(_describe, block, used, index)


def _describe(block: Block, array: ArrayGeometry | None, tiles: IntArray, at: int) -> MatmulMapping:
    return replace(block.describe(_index(block, int(tiles[at]))), array=array)


def _thinner(exact: Frontier, geometry: Geometry) -> Frontier:
    """What is left of a frontier with the excess of `geometry`: for several arrays, whose mappings are counted as they run only in the
    end."""
    kept = not_dominated(Comparison.of(geometry, exact.counts.matrix().shape[1]).columns(exact.counts.matrix()))
    return Frontier(exact.counts.take(kept), in_columns(exact.mappings).take(kept), geometry.mapping_excess, exact.in_part)


def _merged(parts: list[tuple[ArrayGeometry, Frontier]], geometry: Geometry) -> Frontier:
    """One frontier of several arrays of which a mapping uses one."""
    rows = np.concatenate([f.counts.matrix() for _, f in parts])
    mappings = joined([in_columns(f.mappings).on(array) for array, f in parts])
    kept = not_dominated(Comparison.of(geometry, rows.shape[1]).columns(rows))
    order = kept[np.lexsort(rows[kept].T[::-1])]
    return Frontier(counts_of(rows[order]), mappings.take(order), max(f.excess for _, f in parts))


@lru_cache(maxsize=16384)
def least_cycles(problem: MatmulProblem, geometry: Geometry) -> float:
    """Array cycles with the whole operator as one tile, the least over dataflows and groups that run together."""
    if geometry.array.dims:
        return min(least_cycles(problem, replace(geometry, array=array)) for array in ways(geometry, groups=problem.groups))
    at = (np.zeros(1, dtype=np.int64),) * 3
    return min(float(b.cycles(at)[0]) for d in geometry.array.dataflows for b in whole_blocks(problem, geometry, d))


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
