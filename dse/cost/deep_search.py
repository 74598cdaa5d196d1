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

from dse.mapping.blocks import LACKED, ports_of
from dse.mapping.crossings import Home
from dse.mapping.deep_tables import SPLIT, WayTables, memory_limits, teams
from dse.mapping.many_ways import ManyBlocks, least_of_operand, least_tilings, side_by_side
from dse.mapping.matmul import Stationary

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from dse.cost.way_floors import LinearPrices
    from dse.hw.accelerator import ArrayGeometry
    from dse.mapping.blocks import Block, View
    from dse.mapping.deep_tables import OperandTable, Team

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]
    BoolArray = NDArray[np.bool_]

OPENED: Final = (4, 192, 48)
"""Ways, cells, and single tilings that are opened at a time."""
JOINED: Final = 65_536
"""Choices of memories of all operands that are looked at together."""
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


@dataclass(frozen=True)
class _Node:
    """Cells of one size of one team on one way, those with the least floors first."""

    team: Team
    tables: WayTables
    used: ArrayGeometry | None
    cycles: float
    depth: int
    cells: IntArray
    """[3, n]."""
    options: tuple[BoolArray, BoolArray, BoolArray]
    """Which may still be chosen, [options, n]."""
    first: FloatArray
    second: FloatArray

    def take(self, index: IntArray) -> _Node:
        left, right, out = (options[:, index] for options in self.options)
        return replace(self, cells=self.cells[:, index], options=(left, right, out), first=self.first[index], second=self.second[index])


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


class DeepFamily:
    """All ways to use an array with one dataflow."""

    def __init__(self, views: Sequence[View], used: Sequence[ArrayGeometry | None], cycles: FloatArray, asked: Asked) -> None:
        self.views, self.used, self.cycles, self._asked = views, used, cycles, asked
        self._ways, self._least = side_by_side(views), least_tilings(views)
        self._terms: dict[tuple[int, Home], FloatArray] = {}
        self._tables: dict[int, WayTables] = {}

    def tables(self, way: int) -> WayTables:
        """Tables of one way."""
        if way not in self._tables:
            self._tables[way] = WayTables(self.views[way], self._asked.prices.matrix)
        return self._tables[way]

    def floors(self, team: Team) -> tuple[FloatArray, FloatArray]:
        """Both criteria that no mapping of a team goes below, [ways]; infinite where nothing fits."""
        total: FloatArray | float = 0.0
        for position in range(3):
            total = total + np.stack([self._of(position, home) for home in team.options[position]]).min(axis=0)
        assert isinstance(total, np.ndarray)
        fits = np.isfinite(total).all(axis=0)
        first, second = self._asked.prices.criteria(np.where(fits, total, 0.0), self.cycles)
        return np.where(fits, first, np.inf), second

    def _of(self, position: int, home: Home) -> FloatArray:
        """Least terms of an operand in these memories, [terms, ways]; infinite where they are too small."""
        if (position, home) not in self._terms:
            found = self._asked.prices.matrix @ least_of_operand(self._ways, self.views, position, home)
            homes = [Home(), Home(), Home()]
            homes[position] = home
            every = np.arange(len(self.views))
            block = ManyBlocks(self._ways, Stationary.OUT, tuple(homes), self._least)  # type: ignore[arg-type]  # three
            for column, need in block.footprints((every, every, every)):
                found = np.where(need <= self._asked.capacities[column], found, np.inf)
            self._terms[position, home] = found
        return self._terms[position, home]


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
            most = OPENED[0] if isinstance(node, _Ways) else OPENED[1] if not self._last(node) else OPENED[2]
            if len(good) > most:
                self._later(node.take(good[most:]))
            if not len(good):
                continue
            now = node.take(good[:most])
            if isinstance(now, _Ways):
                self._open_ways(now)
            elif self._last(now):
                self._join(now)
            else:
                self._split(now)

    @staticmethod
    def _last(node: _Node) -> bool:
        return node.depth + 1 == len(node.tables.cells(node.team))

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
            tables, team = node.family.tables(way), node.team
            size = tables.cells(team)[0]
            counts = [-(-len(tables.tiling(team, dim)) // size) for dim in range(3)]
            cells = np.indices(counts).reshape(3, -1)
            every = tuple(np.ones((len(options), cells.shape[1]), dtype=np.bool_) for options in team.options)
            zero = np.zeros(cells.shape[1])
            cycles = float(node.family.cycles[way])
            self._looked_at(_Node(team, tables, node.family.used[way], cycles, 0, cells, every, zero, zero))  # type: ignore[arg-type]  # three

    def _split(self, node: _Node) -> None:
        sizes = node.tables.cells(node.team)
        offsets = np.indices((SPLIT,) * 3).reshape(3, 1, -1)
        inside = node.cells[:, :, None] * SPLIT + offsets
        counts = [-(-len(node.tables.tiling(node.team, dim)) // sizes[node.depth + 1]) for dim in range(3)]
        here = (inside < np.array(counts)[:, None, None]).all(axis=0)
        parent = np.broadcast_to(np.arange(node.cells.shape[1])[:, None], here.shape)[here]
        left, right, out = (options[:, parent] for options in node.options)
        cells = inside[:, here]
        zero = np.zeros(cells.shape[1])
        self._looked_at(replace(node, depth=node.depth + 1, cells=cells, options=(left, right, out), first=zero, second=zero))

    def _looked_at(self, node: _Node) -> None:
        """Find floors of new cells, drop options and cells, and put the rest on the list."""
        tables, terms, rooms = self._seen(node)
        cycles = self._cycles(node)
        options = [possible.copy() for possible in node.options]
        for position, (table, room) in enumerate(zip(tables, rooms, strict=True)):
            self._without_room(options[position], table, room, self._limits(table))
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
        self._without_room_beside(node, options, tables, [room[:, keep] for room in rooms])
        alive = np.flatnonzero(np.logical_and.reduce([o.any(axis=0) for o in options]))
        if not len(alive):
            return
        least = [np.where(o, t, np.inf).min(axis=1)[:, alive] for o, t in zip(options, terms, strict=True)]
        first, second = self.asked.prices.criteria(least[0] + least[1] + least[2], cycles[alive])
        left, right, out = (o[:, alive] for o in options)
        self._later(replace(node, cells=node.cells[:, keep[alive]], options=(left, right, out), first=first, second=second))

    def _without_room_beside(self, node: _Node, options: list[BoolArray], tables: list[OperandTable], rooms: list[FloatArray]) -> None:
        """Drop the options that need more of a memory than the least that the options of the other operands leave of it."""
        for memory in {memory for table in tables for _, memory in table.place}:
            if node.tables.view.memory(memory).capacity_shares:
                continue
            taken = []
            for possible, table, room in zip(options, tables, rooms, strict=True):
                here = np.zeros(possible.shape)
                tiles = [tile for tile, (_, at) in enumerate(table.place) if at == memory]
                here[table.option[tiles]] = room[tiles]  # an option has one tile in a memory
                taken.append(here)
            least = [np.where(possible, here, np.inf).min(axis=0) for possible, here in zip(options, taken, strict=True)]
            limit = self.asked.capacities[_Columns()[memory]]
            for position in range(3):
                others = least[position - 1] + least[position - 2]  # both other operands
                options[position] &= taken[position] + others <= limit

    def _seen(self, node: _Node) -> tuple[list[OperandTable], list[FloatArray], list[FloatArray]]:
        """Tables of the operands, and in the cells of a node their terms [terms, options, n] and rooms [tiles, n]."""
        size = node.tables.cells(node.team)[node.depth]
        tables = [node.tables.operand(node.team, position, size) for position in range(3)]
        terms = [table.terms[:, :, node.cells[LACKED[position]]] for position, table in enumerate(tables)]
        rooms = [node.tables.room(node.team, table, position, node.cells, size) for position, table in enumerate(tables)]
        return tables, terms, rooms

    def _cycles(self, node: _Node) -> FloatArray:
        if not self._last(node):
            return np.full(node.cells.shape[1], node.cycles)
        m, k, n = (node.tables.tiling(node.team, dim) for dim in range(3))
        block = node.team.block(node.tables.view, (Home(),) * 3, (m, k, n))
        return np.asarray(block.cycles((node.cells[0], node.cells[1], node.cells[2])), dtype=np.float64)

    def _limits(self, table: OperandTable) -> FloatArray:
        return memory_limits(self.asked.capacities, table.place, _Columns())

    @staticmethod
    def _without_room(options: BoolArray, table: OperandTable, room: FloatArray, limits: FloatArray) -> None:
        """Drop the options of which a tile alone is too large for its memory."""
        number, starts = np.unique(table.option, return_index=True)
        if len(number):
            options[number] &= np.logical_and.reduceat(room <= limits, starts, axis=0)

    def _join(self, node: _Node) -> None:
        """Choose memories for all operands with single tilings, and count what may be the best."""
        tables, terms, rooms = self._seen(node)
        cycles = self._cycles(node)
        for at in range(node.cells.shape[1]):
            if self.asked.may_improve(node.first[at : at + 1], node.second[at : at + 1])[0]:
                self._join_one(node, at, tables, [t[:, :, at] for t in terms], [r[:, at] for r in rooms], float(cycles[at]))

    def _join_one(
        self, node: _Node, at: int, tables: list[OperandTable], terms: list[FloatArray], rooms: list[FloatArray], cycles: float
    ) -> None:
        asked = self.asked
        chosen = [np.flatnonzero(options[:, at]) for options in node.options]
        a, b, c = (x.ravel() for x in np.meshgrid(*chosen, indexing="ij"))
        first, second = asked.prices.criteria(terms[0][:, a] + terms[1][:, b] + terms[2][:, c], np.full(len(a), cycles))
        index = np.flatnonzero(asked.may_improve(first, second))
        index = index[self._fit(node, tables, rooms, (a[index], b[index], c[index]))] if len(index) else index
        for i in index[np.lexsort((second[index], coarse(first[index])))].tolist():
            if not asked.may_improve(first[i : i + 1], second[i : i + 1])[0]:
                continue
            homes = tuple(options[j[i]] for options, j in zip(node.team.options, (a, b, c), strict=True))
            m, k, n = (node.tables.tiling(node.team, dim).take(node.cells[dim, at : at + 1]) for dim in range(3))
            asked.count(node.team.block(node.tables.view, homes, (m, k, n)), node.used)

    def _fit(
        self, node: _Node, tables: list[OperandTable], rooms: list[FloatArray], chosen: tuple[IntArray, IntArray, IntArray]
    ) -> BoolArray:
        """Which choices of memories hold the tiles of all three operands."""
        taken: dict[int, FloatArray] = {}
        for table, room, option, options in zip(tables, rooms, chosen, node.team.options, strict=True):
            for memory in {memory for _, memory in table.place}:
                here = np.zeros(len(options))
                for tile, (_, at) in enumerate(table.place):
                    if at == memory:
                        here[table.option[tile]] += room[tile]
                pool = not node.tables.view.memory(memory).capacity_shares
                before = taken.get(memory, np.zeros(len(option)))
                taken[memory] = before + here[option] if pool else np.maximum(before, here[option])
        found = np.ones(len(chosen[0]), dtype=np.bool_)
        for memory, need in taken.items():
            found &= need <= self.asked.capacities[ports_of(memory)[0] - 1 if memory >= 0 else 0]
        return found


class _Columns(dict[int, int]):
    """Column of footprints of each memory."""

    def __missing__(self, memory: int) -> int:
        return ports_of(memory)[0] - 1 if memory >= 0 else 0


def coarse(first: FloatArray) -> FloatArray:
    """The values to nine digits: floors that tie but for rounding are equal; values without end stay."""
    largest = np.finfo(np.float64).max / 2  # no rounding takes it beyond what is representable
    known = np.clip(first, np.finfo(np.float64).tiny, largest)
    digit = 10.0 ** (np.floor(np.log10(known)) - DIGITS)
    return np.where(first < largest, np.rint(known / digit) * digit, first)
