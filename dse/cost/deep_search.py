"""The best mapping with two levels of tiles or more where operands may lie in three memories on chip or more: branch and bound over how
dimensions are cut, with all choices of memories at once.

A node is some cells of neighbouring tilings with the options of each operand that may still be chosen there. Its floor has the least of
each term that an option of each operand needs. Options go that, with the least of the two other operands, cannot be better, or for which
there is no room beside the least that the others need; where single tilings are left, the options that remain are joined.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.mapping.deep_cells import OPENED, Cells, WaysOfDataflow, column_of, drop_crowded, drop_too_large, largest_cells, needs, taken_of
from dse.mapping.deep_tables import teams

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from dse.cost.way_floors import LinearPrices
    from dse.hw.accelerator import ArrayGeometry
    from dse.mapping.blocks import Block, View
    from dse.mapping.deep_cells import Taken
    from dse.mapping.deep_tables import Team

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]
    BoolArray = NDArray[np.bool_]

DIGITS: Final = 9
"""Digits of the objective by which floors are put in order."""


@dataclass(frozen=True)
class Asked:
    """What the search is told, and whom it tells what it finds."""

    prices: LinearPrices
    capacities: Mapping[int, float]
    """Bytes of each memory by its column of footprints."""
    may_improve: Callable[[FloatArray, FloatArray], BoolArray]
    """Which floors leave room for a better choice."""
    count: Callable[[Block, ArrayGeometry | None], None]
    """Price the one mapping of a block, and keep it if it is the best."""

    def limit(self, memory: int) -> float:
        """Capacity of a memory."""
        return self.capacities[column_of(memory)]


@dataclass(frozen=True)
class _Node(Cells):
    """Cells, those with the least floors first."""

    first: FloatArray
    second: FloatArray

    def take(self, index: IntArray) -> _Node:
        return replace(self.at(index), first=self.first[index], second=self.second[index])


@dataclass(frozen=True)
class _Ways:
    """Ways of one team that are not opened yet."""

    team: Team
    family: DeepFamily
    number: IntArray
    first: FloatArray
    second: FloatArray

    def take(self, index: IntArray) -> _Ways:
        return replace(self, number=self.number[index], first=self.first[index], second=self.second[index])


class DeepFamily(WaysOfDataflow):
    """All ways to use an array with one dataflow."""

    def __init__(self, views: Sequence[View], used: Sequence[ArrayGeometry | None], cycles: FloatArray, asked: Asked) -> None:
        super().__init__(views, used, cycles, asked.prices.matrix, asked.limit)
        self._asked = asked

    def floors(self, team: Team) -> tuple[FloatArray, FloatArray]:
        """Both criteria that no mapping of a team goes below, [ways]; infinite where nothing fits."""
        total, fits, _ = self.least(team)
        first, second = self._asked.prices.criteria(total, self.cycles)
        return np.where(fits, first, np.inf), second


class DeepSearch:
    """Looks for better mappings, the cells with the least floors first, whatever their team and way."""

    def __init__(self, asked: Asked) -> None:
        self.asked, self._serial = asked, 0
        self._todo: list[tuple[float, float, int, _Node | _Ways]] = []

    def add(self, family: DeepFamily, levels: int, variants: Sequence[tuple[int, bool]]) -> None:
        """Put all teams with so many levels of tiles on the list; `variants` are groups together, and whether arrays share sums."""
        for plain in teams(family.views[0], levels):
            for together, shared in variants:
                team = plain._replace(together=together, shared_sums=shared)
                first, second = family.floors(team)
                self._later(_Ways(team, family, np.arange(len(family.views)), first, second))

    def run(self) -> None:
        """Until nothing is left that could be better."""
        while self._todo:
            *_, node = heapq.heappop(self._todo)
            good = np.flatnonzero(self.asked.may_improve(node.first, node.second))
            most = OPENED[0] if isinstance(node, _Ways) else OPENED[1] if not node.last else OPENED[2]
            if len(good) > most:
                self._later(node.take(good[most:]))
            if not len(good):
                continue
            now = node.take(good[:most])
            if isinstance(now, _Ways):
                self._open_ways(now)
            elif now.last:
                self._join(now)
            else:
                self._split(now)

    def _later(self, node: _Node | _Ways) -> None:
        good = np.flatnonzero(self.asked.may_improve(node.first, node.second))
        if len(good):
            rounded = coarse(node.first[good])
            order = np.lexsort((node.second[good], rounded))
            node = node.take(good[order])
            self._serial += 1
            heapq.heappush(self._todo, (float(rounded[order[0]]), float(node.second[0]), self._serial, node))

    def _open_ways(self, node: _Ways) -> None:
        for way in node.number.tolist():
            tables, family = node.family.tables(way), node.family
            cells, options = largest_cells(tables, node.team)
            zero = np.zeros(cells.shape[1])
            self._looked_at(_Node(node.team, tables, family.used[way], float(family.cycles[way]), 0, cells, options, zero, zero))

    def _split(self, node: _Node) -> None:
        cells, parent = node.inside()
        self._looked_at(replace(node.take(parent), depth=node.depth + 1, cells=cells))

    def _looked_at(self, node: _Node) -> None:
        """Find floors of new cells, drop options and cells, and put the rest on the list."""
        tables, terms, rooms = node.seen()
        cycles = node.array_cycles()
        options = [possible.copy() for possible in node.options]
        for position, (table, room) in enumerate(zip(tables, rooms, strict=True)):
            drop_too_large(options[position], table, room, self.asked.limit)
        least = [np.where(o, t, np.inf).min(axis=1) for o, t in zip(options, terms, strict=True)]
        keep = np.flatnonzero(np.logical_and.reduce([o.any(axis=0) for o in options]))
        if not len(keep):
            return
        options, least, terms = [o[:, keep] for o in options], [x[:, keep] for x in least], [t[:, :, keep] for t in terms]
        cycles = cycles[keep]
        first, second = self.asked.prices.criteria(least[0] + least[1] + least[2], cycles)
        good = self.asked.may_improve(first, second)
        keep, index = keep[good], np.flatnonzero(good)
        if not len(keep):
            return
        options, least, terms = [o[:, index] for o in options], [x[:, index] for x in least], [t[:, :, index] for t in terms]
        cycles, first, second = cycles[index], first[index], second[index]
        for position in range(3):
            others = least[position - 1] + least[position - 2]  # both other operands
            a, b = self.asked.prices.criteria(terms[position] + others[:, None], cycles)
            options[position] &= self.asked.may_improve(a, b)
        drop_crowded(node.tables.view, options, taken_of(options, tables, [room[:, keep] for room in rooms]), self.asked.limit)
        alive = np.flatnonzero(np.logical_and.reduce([o.any(axis=0) for o in options]))
        if not len(alive):
            return
        least = [np.where(o, t, np.inf).min(axis=1)[:, alive] for o, t in zip(options, terms, strict=True)]
        first, second = self.asked.prices.criteria(least[0] + least[1] + least[2], cycles[alive])
        left, right, out = (o[:, alive] for o in options)
        self._later(replace(node, cells=node.cells[:, keep[alive]], options=(left, right, out), first=first, second=second))

    def _join(self, node: _Node) -> None:
        """Choose memories for all operands with single tilings, and count what may be the best."""
        tables, terms, rooms = node.seen()
        cycles, taken = node.array_cycles(), taken_of(node.options, tables, rooms)
        for at in range(node.cells.shape[1]):
            if self.asked.may_improve(node.first[at : at + 1], node.second[at : at + 1])[0]:
                self._join_one(node, at, taken, [t[:, :, at] for t in terms], float(cycles[at]))

    def _join_one(self, node: _Node, at: int, taken: Taken, terms: list[FloatArray], cycles: float) -> None:
        asked = self.asked
        chosen = [np.flatnonzero(options[:, at]) for options in node.options]
        a, b, c = (x.ravel() for x in np.meshgrid(*chosen, indexing="ij"))
        first, second = asked.prices.criteria(terms[0][:, a] + terms[1][:, b] + terms[2][:, c], np.full(len(a), cycles))
        index = np.flatnonzero(asked.may_improve(first, second))
        fits = np.ones(len(index), dtype=np.bool_)
        for memory, need in needs(node.tables.view, taken, at, (a[index], b[index], c[index])):
            fits &= need <= asked.limit(memory)
        index = index[fits]
        for i in index[np.lexsort((second[index], coarse(first[index])))].tolist():
            if not asked.may_improve(first[i : i + 1], second[i : i + 1])[0]:
                continue
            homes = tuple(options[j[i]] for options, j in zip(node.team.options, (a, b, c), strict=True))
            m, k, n = (node.tables.tiling(node.team, dim).take(node.cells[dim, at : at + 1]) for dim in range(3))
            asked.count(node.team.block(node.tables.view, homes, (m, k, n)), node.used)


def coarse(first: FloatArray) -> FloatArray:
    """The values to nine digits: floors that tie but for rounding are equal; values without end stay."""
    largest = np.finfo(np.float64).max / 2  # no rounding takes it beyond what is representable
    known = np.clip(first, np.finfo(np.float64).tiny, largest)
    digit = 10.0 ** (np.floor(np.log10(known)) - DIGITS)
    return np.where(first < largest, np.rint(known / digit) * digit, first)
