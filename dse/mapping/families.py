"""Frontiers of problems that differ only in their number of groups, from one search of their mappings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.hw.accelerator import Dataflow, Folds
from dse.mapping.blocks import CYCLES, FOOTPRINT
from dse.mapping.counts import counts_of
from dse.mapping.described import BlockMappings
from dse.mapping.frontier import Frontier, matmul_frontier
from dse.mapping.matmul import fill_and_drain_cycles
from dse.mapping.search import counted_whole, unbeaten
from dse.mapping.space import blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.hw.accelerator import Geometry
    from dse.mapping.blocks import Block
    from dse.mapping.problem import MatmulProblem

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

FAMILIES: Final = 64
"""Families that are kept, some hundred rows each."""


def frontier_of_family(problem: MatmulProblem, geometry: Geometry) -> Frontier:
    """`matmul_frontier`, the same to the last bit, from what another number of groups needed as well.

    With a power of two of groups all bytes are the multiple of those of any other such number, and so are array cycles but for one fill
    and drain. Multiplying by powers of two rounds nothing and changes no comparison of two mappings. What lies in the buffer depends on
    the number of groups only where all run at the same time: a tile that is never replaced has no second copy then.
    """
    many = problem.groups
    if many == 1 or many & (many - 1) or problem.work_share != 1.0 or geometry.inner or geometry.array.dims or geometry.mapping_excess:
        return matmul_frontier(problem, geometry)
    family = _family(replace(problem, groups=1), geometry)
    return matmul_frontier(problem, geometry) if family is None else family.frontier(many)


@dataclass(frozen=True)
class _Rows:
    """Mappings with one number of groups at a time that no other of these beats: counts [R, C], (block, index in it) [R, 2]."""

    counts: FloatArray
    at: IntArray


@dataclass(frozen=True)
class _Family:
    geometry: Geometry
    groups: int
    """Of the problem whose bytes and cycles are counted: more than run at a time."""
    fill_cycles: int
    """Cycles of each mapping that come once, however many groups there are."""
    blocks: list[Block]
    several: dict[int, _Rows]
    """By number of groups at a time, where there are more groups than these."""
    at_once: dict[int, _Rows]
    """The same where there are no more."""

    def frontier(self, groups: int) -> Frontier:
        """The frontier with so many groups."""
        parts = [rows for many, rows in self.several.items() if many < groups]
        parts += [rows for many, rows in self.at_once.items() if many == groups]
        counts = np.concatenate([part.counts for part in parts])
        footprint, share = counts[:, FOOTPRINT].copy(), groups / self.groups
        counts[:, CYCLES] -= self.fill_cycles
        counts *= share
        counts[:, CYCLES] += self.fill_cycles
        counts[:, FOOTPRINT] = footprint
        counts, origin = unbeaten(self.geometry, counts, np.concatenate([part.at for part in parts]))
        order = np.lexsort(counts.T[::-1])
        return Frontier(counts_of(counts[order]), BlockMappings(self.blocks, origin[order]))


@lru_cache(maxsize=FAMILIES)
def _family(one: MatmulProblem, geometry: Geometry) -> _Family | None:
    """The family of a problem of one group; None where its blocks are too large to be counted whole, or cycles do not grow evenly."""
    array = geometry.array
    ramps = {fill_and_drain_cycles(array, weights=dataflow is not Dataflow.OUTPUT_STATIONARY) for dataflow in array.dataflows}
    fill = ramps.pop() if array.folds is Folds.PIPELINED else 0
    groups = 2 * 2 ** array.count.bit_length()
    found = [block for dataflow in array.dataflows for block in blocks(replace(one, groups=groups), geometry, dataflow)]
    counted = None if (ramps and fill) or any(block.shared_sums for block in found) else counted_whole(found)
    if counted is None or not (counted[0][:, CYCLES] % 1 == 0).all():
        return None
    rows, at = counted
    together = np.array([block.together for block in found])[at[:, 0]]
    single = rows.copy()
    single[:, FOOTPRINT] = _footprints_at_once(found, at, together)
    several, at_once = {}, {}
    for many in np.unique(together).tolist():
        here = np.flatnonzero(together == many)
        several[many] = _Rows(*unbeaten(geometry, rows[here], at[here]))
        at_once[many] = _Rows(*unbeaten(geometry, single[here], at[here]))
    return _Family(geometry, groups, fill, found, several, at_once)


def _footprints_at_once(found: list[Block], at: IntArray, together: IntArray) -> FloatArray:
    """Bytes in the buffer [R] of mappings `at` where all groups run at the same time."""
    sizes = np.zeros(len(at))
    kinds: dict[object, list[int]] = {}
    for number, block in enumerate(found):
        kinds.setdefault(block.same_tiles, []).append(number)
    kind = np.empty(len(found), dtype=np.int64)
    for i, numbers in enumerate(kinds.values()):
        kind[numbers] = i
    kind = kind[at[:, 0]]
    for i, (first, *_) in enumerate(kinds.values()):
        here, block = np.flatnonzero(kind == i), found[first]
        alone = replace(block, view=replace(block.view, problem=replace(block.view.problem, groups=1)))
        m, k, n = np.unravel_index(at[here, 1], block.shape)
        for _, size in alone.footprints((m, k, n), together[here]):
            sizes[here] += size
    return sizes
