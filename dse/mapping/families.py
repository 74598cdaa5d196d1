"""Frontiers of problems that differ only in their number of groups, from one search of their mappings."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.hw.accelerator import Dataflow, Folds
from dse.mapping.blocks import CYCLES, FOOTPRINT
from dse.mapping.counted import footprints, is_plain
from dse.mapping.counts import counts_of
from dse.mapping.described import BlockMappings
from dse.mapping.frontier import Frontier, matmul_frontier
from dse.mapping.matmul import fill_and_drain_cycles
from dse.mapping.search import counted_whole, unbeaten
from dse.mapping.space import blocks
from dse.mapping.turning import as_they_run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.hw.accelerator import ArrayGeometry, Geometry
    from dse.mapping.blocks import Block
    from dse.mapping.problem import MatmulProblem

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

FAMILIES: Final = 24
"""Families that are kept, at most 2 MiB each."""


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


class _Family:
    """All mappings of a problem that are worth counting, with the bytes and cycles of more groups than ever run at a time."""

    def __init__(self, geometry: Geometry, blocks: list[Block], counted: tuple[FloatArray, IntArray]) -> None:
        self._geometry, self._blocks = geometry, blocks
        self._rows, self._at = counted
        self._together = np.array([block.together for block in blocks])[self._at[:, 0]]
        """[R], groups at a time."""
        self._known: dict[tuple[int, bool], tuple[FloatArray, IntArray]] = {}

    def frontier(self, groups: int) -> Frontier:
        """The frontier with so many groups."""
        parts = [self._unbeaten(many, at_once=many == groups) for many in np.unique(self._together).tolist() if many <= groups]
        counts, at = (np.concatenate(part) for part in zip(*parts, strict=True))
        array = self._geometry.array
        fill = _ramps(array).pop() if array.folds is Folds.PIPELINED else 0  # once, however many groups there are
        footprint = counts[:, FOOTPRINT].copy()
        counts[:, CYCLES] -= fill
        counts *= groups / _counted_groups(array)
        counts[:, CYCLES] += fill
        counts[:, FOOTPRINT] = footprint
        order = np.argsort(at[:, 0], kind="stable")
        found, counts, origin = as_they_run(self._blocks, *unbeaten(self._geometry, counts[order], at[order]), groups=groups)
        order = np.lexsort(counts.T[::-1])
        return Frontier(counts_of(counts[order]), BlockMappings(found, origin[order]))

    def _unbeaten(self, many: int, *, at_once: bool) -> tuple[FloatArray, IntArray]:
        """Mappings with so many groups at a time that no other of these beats; `at_once`: there are no more groups."""
        if (many, at_once) not in self._known:
            here = np.flatnonzero(self._together == many)
            rows, at = self._rows[here], self._at[here]
            if at_once:
                rows[:, FOOTPRINT] = footprints(self._blocks, at, 1)  # as with one group of them all: none comes after them
            self._known[many, at_once] = unbeaten(self._geometry, rows, at)
        return self._known[many, at_once]


@lru_cache(maxsize=FAMILIES)
def _family(one: MatmulProblem, geometry: Geometry) -> _Family | None:
    """The family of a problem of one group; None where its blocks cannot be counted in one go, or cycles do not grow evenly."""
    array = geometry.array
    many = replace(one, groups=_counted_groups(array))
    found = [block for dataflow in array.dataflows for block in blocks(many, geometry, dataflow)]
    uneven = array.folds is Folds.PIPELINED and len(_ramps(array)) > 1
    alike = all(is_plain(block.view) and not block.shared_sums for block in found)
    counted = counted_whole(found) if alike and not uneven else None
    if counted is None or not (counted[0][:, CYCLES] % 1 == 0).all():
        return None
    return _Family(geometry, found, counted)


def _ramps(array: ArrayGeometry) -> set[int]:
    """Cycles to fill and drain the array, by dataflow."""
    return {fill_and_drain_cycles(array, weights=dataflow is not Dataflow.OUTPUT_STATIONARY) for dataflow in array.dataflows}


def _counted_groups(array: ArrayGeometry) -> int:
    """Groups of the problem that is counted: a power of two, more than run at a time."""
    return int(2 * 2 ** array.count.bit_length())
