"""What searches over all ways, memories and tilings at once have in common: cells of neighbouring tilings with the memories that each
operand may still lie in there, and what lies in which memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from dse.mapping.blocks import LACKED, ports_of
from dse.mapping.crossings import OUTERMOST, Home
from dse.mapping.deep_tables import SPLIT, WayTables
from dse.mapping.many_ways import ManyBlocks, least_of_operand, least_tilings, side_by_side
from dse.mapping.matmul import Stationary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from dse.hw.accelerator import ArrayGeometry
    from dse.mapping.blocks import View
    from dse.mapping.deep_tables import OperandTable, Team

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]
    BoolArray = NDArray[np.bool_]
    Options = tuple[BoolArray, BoolArray, BoolArray]
    Taken = Sequence[tuple[int, list[FloatArray]]]

OPENED: Final = (4, 192, 48)
"""Ways, cells, and single tilings that are opened at a time."""


@dataclass(frozen=True)
class Cells:
    """Cells of one size of one team on one way; searches add the floors by which they are put in order."""

    team: Team
    tables: WayTables
    used: ArrayGeometry | None
    cycles: float
    """Array cycles that no tiling on this way goes below."""
    depth: int
    cells: IntArray
    """[3, n]."""
    options: Options
    """Which may still be chosen, [options, n]."""

    @property
    def last(self) -> bool:
        """Whether the cells are single tilings."""
        return self.depth + 1 == len(self.tables.cells(self.team))

    def at(self, index: IntArray) -> Self:
        """Some of the cells; floors are left as they are."""
        left, right, out = (options[:, index] for options in self.options)
        return replace(self, cells=self.cells[:, index], options=(left, right, out))

    def inside(self) -> tuple[IntArray, IntArray]:
        """The cells of the next size inside these, [3, n], and which of these each lies in, [n]."""
        sizes = self.tables.cells(self.team)
        inside = self.cells[:, :, None] * SPLIT + np.indices((SPLIT,) * 3).reshape(3, 1, -1)
        counts = [-(-len(self.tables.tiling(self.team, dim)) // sizes[self.depth + 1]) for dim in range(3)]
        here = (inside < np.array(counts)[:, None, None]).all(axis=0)
        return inside[:, here], np.broadcast_to(np.arange(self.cells.shape[1])[:, None], here.shape)[here]

    def seen(self) -> tuple[list[OperandTable], list[FloatArray], list[FloatArray]]:
        """Tables of the operands, and in the cells their terms [terms, options, n] and rooms [tiles, n]."""
        size = self.tables.cells(self.team)[self.depth]
        tables = [self.tables.operand(self.team, position, size) for position in range(3)]
        terms = [table.terms[:, :, self.cells[LACKED[position]]] for position, table in enumerate(tables)]
        rooms = [self.tables.room(self.team, table, position, self.cells, size) for position, table in enumerate(tables)]
        return tables, terms, rooms

    def array_cycles(self) -> FloatArray:
        """Array cycles of single tilings, the least of the way for larger cells, [n]."""
        if not self.last:
            return np.full(self.cells.shape[1], self.cycles)
        m, k, n = (self.tables.tiling(self.team, dim) for dim in range(3))
        block = self.team.block(self.tables.view, (Home(),) * 3, (m, k, n))
        return np.asarray(block.cycles((self.cells[0], self.cells[1], self.cells[2])), dtype=np.float64)


def largest_cells(tables: WayTables, team: Team) -> tuple[IntArray, Options]:
    """All cells of the largest size of one way, with all options."""
    size = tables.cells(team)[0]
    counts = [-(-len(tables.tiling(team, dim)) // size) for dim in range(3)]
    cells = np.indices(counts).reshape(3, -1)
    left, right, out = (np.ones((len(options), cells.shape[1]), dtype=np.bool_) for options in team.options)
    return cells, (left, right, out)


class WaysOfDataflow:
    """All ways to use an array with one dataflow."""

    def __init__(
        self,
        views: Sequence[View],
        used: Sequence[ArrayGeometry | None],
        cycles: FloatArray,
        matrix: FloatArray,
        limit: Callable[[int], float],
    ) -> None:
        """`matrix` makes terms of columns, [terms, columns]; `limit` gives the capacity of a memory in bytes."""
        self.views, self.used, self.cycles, self._matrix, self._limit = views, used, cycles, matrix, limit
        self._ways, self._least = side_by_side(views), least_tilings(views)
        self._terms: dict[tuple[int, Home], tuple[FloatArray, FloatArray]] = {}
        self._tables: dict[int, WayTables] = {}

    def tables(self, way: int) -> WayTables:
        """Tables of one way."""
        if way not in self._tables:
            self._tables[way] = WayTables(self.views[way], self._matrix)
        return self._tables[way]

    def least(self, team: Team) -> tuple[FloatArray, BoolArray, FloatArray]:
        """By way the least terms of the operands together, [terms, ways], 0 where nothing fits; where something does, [ways]; and the least
        room that they take in the outermost buffer, [ways]."""
        total: FloatArray | float = 0.0
        rooms: FloatArray | float = 0.0
        for position in range(3):
            terms, room = zip(*(self._of(position, home) for home in team.options[position]), strict=True)
            total, rooms = total + np.stack(terms).min(axis=0), rooms + np.stack(room).min(axis=0)
        fits = np.asarray(np.isfinite(total).all(axis=0))
        return np.where(fits, total, 0.0), fits, np.asarray(rooms)

    def _of(self, position: int, home: Home) -> tuple[FloatArray, FloatArray]:
        """Least terms of an operand in these memories, [terms, ways], infinite where they are too small; and the room that it takes in the
        outermost buffer, where that is one pool."""
        if (position, home) not in self._terms:
            found = self._matrix @ least_of_operand(self._ways, self.views, position, home)
            homes = [Home(), Home(), Home()]
            homes[position] = home
            every = np.arange(len(self.views))
            block = ManyBlocks(self._ways, Stationary.OUT, tuple(homes), self._least)  # type: ignore[arg-type]  # three
            memory_of = {column_of(i): i for i in (OUTERMOST, *range(len(block.view.geometry.inner)))}
            room = np.zeros(len(self.views))
            for column, need in block.footprints((every, every, every)):
                memory = memory_of[column]
                found = np.where(need <= self._limit(memory), found, np.inf)
                if memory == OUTERMOST and not block.view.memory(memory).capacity_shares:
                    room = room + need
            self._terms[position, home] = found, room
        return self._terms[position, home]


def column_of(memory: int) -> int:
    """Column of footprints of a memory."""
    return ports_of(memory)[0] - 1 if memory >= 0 else 0


def drop_too_large(options: BoolArray, table: OperandTable, room: FloatArray, limit: Callable[[int], float]) -> None:
    """Drop the options of which a tile alone is too large for its memory."""
    number, starts = np.unique(table.option, return_index=True)
    if len(number):
        limits = np.array([limit(memory) for _, memory in table.place])[:, None]
        options[number] &= np.logical_and.reduceat(room <= limits, starts, axis=0)


def taken_of(options: Sequence[BoolArray], tables: Sequence[OperandTable], rooms: Sequence[FloatArray]) -> Taken:
    """By memory that may hold a tile, the capacity that each option of each operand takes there, [options, n]."""
    found = []
    for memory in sorted({memory for table in tables for _, memory in table.place}):
        taken = []
        for possible, table, room in zip(options, tables, rooms, strict=True):
            here = np.zeros(possible.shape)
            tiles = [tile for tile, (_, at) in enumerate(table.place) if at == memory]
            here[table.option[tiles]] = room[tiles]  # an option has one tile in a memory
            taken.append(here)
        found.append((memory, taken))
    return found


def drop_crowded(view: View, options: Sequence[BoolArray], taken: Taken, limit: Callable[[int], float]) -> None:
    """Drop the options that need more of a memory than the least that the options of the other operands leave of it."""
    for memory, here in taken:
        if view.memory(memory).capacity_shares:
            continue
        least = [np.where(possible, need, np.inf).min(axis=0) for possible, need in zip(options, here, strict=True)]
        for position in range(3):
            others = least[position - 1] + least[position - 2]  # both other operands
            options[position][:] &= here[position] + others <= limit(memory)


def needs(view: View, taken: Taken, at: int, chosen: tuple[IntArray, IntArray, IntArray]) -> list[tuple[int, FloatArray]]:
    """By memory what choices of options of all operands need of it in cell `at`: the sum, or the largest where operands have shares."""
    found = []
    for memory, here in taken:
        parts = [options[index, at] for options, index in zip(here, chosen, strict=True)]
        shares = view.memory(memory).capacity_shares
        found.append((memory, np.maximum.reduce(parts) if shares else parts[0] + parts[1] + parts[2]))
    return found
