"""Counts of any mappings of many blocks at once, out of the tables of these blocks one behind the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from dse.mapping.blocks import CYCLES, FOOTPRINT, LACKED, NAMES, STAYS, ports_of
from dse.mapping.counts import COUNT_NAMES, INNER_COLUMNS
from dse.mapping.crossings import AXES, OUTERMOST, Trips
from dse.mapping.matmul import Stationary
from dse.mapping.registers import register_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from numpy.typing import NDArray

    from dse.hw.accelerator import Geometry
    from dse.mapping.blocks import Block

    BoolArray = NDArray[np.bool_]
    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

ADDED: Final = (1, 2, 0)
"""Operands in the order in which `Block.rows` adds what they move: those that lack m, k and n."""
SUMS: Final = STAYS[Stationary.OUT]


class At(NamedTuple):
    """Places of mappings in the tables, arrays of one shape."""

    lines: tuple[IntArray, IntArray, IntArray]
    """Of what left, right and out move, by tiling of the dimension that each lacks."""
    planes: tuple[IntArray, IntArray, IntArray]
    """Of their tiles, by tilings of the two dimensions that each has."""
    flat: IntArray
    """Of the mapping in its block."""


class Stack:
    """Blocks of one search."""

    def __init__(self, tables: _Tables, operands: Sequence[_Operand], spread: _SpreadSums | None) -> None:
        self._tables, self._operands, self._spread = tables, operands, spread

    @classmethod
    def of(cls, blocks: Sequence[Block], shares: Sequence[IntArray | None]) -> Stack:
        """`shares` are the arrays that work on each sum [mappings], of blocks that share sums."""
        view = blocks[0].view
        held = np.array([_held_bytes(block) for block in blocks]) if any(m.registers for m in view.geometry.inner) else None
        tables = _Tables(view.columns, view.geometry, np.array([block.shape for block in blocks], dtype=np.int64).T, held)
        operands = [_Operand.of(position, blocks, shares) for position in range(3)]
        return cls(tables, operands, _SpreadSums.of(blocks, shares) if any(share is not None for share in shares) else None)

    def least(self, cell: Callable[[int], int], shares: Sequence[IntArray | None]) -> Stack:
        """A stack with a mapping for each cell of neighbouring ones, `cell(size)` tilings of a dimension with so many: each table has its
        least in it, so no count is above that of any mapping of the cell. `shares` are the least of each cell."""
        shape = np.array([[-(-size // cell(size)) for size in along] for along in self._tables.shape.tolist()], dtype=np.int64)
        operands = [operand.least(cell) for operand in self._operands]
        return Stack(replace(self._tables, shape=shape), operands, None if self._spread is None else self._spread.least(cell, shares))

    def at(self, number: IntArray, index: tuple[IntArray, IntArray, IntArray]) -> At:
        """Where the mappings `index` (m, k, n) of the blocks `number` stand."""
        lines = [x.line_at[number] + index[LACKED[x.position]] for x in self._operands]
        planes = [x.plane_at[number] + place for x, place in zip(self._operands, self._in_planes(number, index), strict=True)]
        return At((lines[0], lines[1], lines[2]), (planes[0], planes[1], planes[2]), self._in_block(number, index))

    def steps(self, number: IntArray, index: tuple[IntArray, IntArray, IntArray]) -> At:
        """How much further than another mapping of the same block those stand that are `index` further along m, k and n."""
        left, right, out = (index[LACKED[position]] for position in range(3))
        return At((left, right, out), self._in_planes(number, index), self._in_block(number, index))

    def _in_planes(self, number: IntArray, index: tuple[IntArray, IntArray, IntArray]) -> tuple[IntArray, IntArray, IntArray]:
        left, right, out = (index[a] * self._tables.shape[b][number] + index[b] for a, b in (AXES[name] for name in NAMES))
        return left, right, out

    def _in_block(self, number: IntArray, index: tuple[IntArray, IntArray, IntArray]) -> IntArray:
        return np.asarray((index[0] * self._tables.shape[1][number] + index[1]) * self._tables.shape[2][number] + index[2])

    def rows(self, at: At, number: IntArray, cycles: FloatArray) -> FloatArray:
        """Counts [columns, R] of the mappings `at` of the blocks `number` with these array cycles, arrays [R]; as `Block.rows` has them."""
        found = np.empty((self._tables.columns, len(number)))
        found[CYCLES] = cycles  # nothing below adds to them
        for column in range(self._tables.columns):
            if column != CYCLES:
                self._moved(found[column], column, at)
        if self._tables.held is not None:
            found += self._tables.held[number].T
        for memory in (OUTERMOST, *range(len(self._tables.geometry.inner))):
            self._room(found[FOOTPRINT if memory == OUTERMOST else ports_of(memory)[0] - 1], memory, at, number)
        if self._spread is not None:
            self._spread.add(found, at, number, self._operands[SUMS])
        return found

    def _moved(self, into: FloatArray, column: int, at: At) -> None:
        """Sums of what operands move."""
        tables = [(self._operands[i].moved[column], at.lines[i]) for i in ADDED if column in self._operands[i].moved]
        if not tables:
            into[:] = 0.0
            return
        table, place = tables[0]
        table.take(place, out=into, mode="clip")
        for table, place in tables[1:]:
            into += table.take(place, mode="clip")

    def _room(self, into: FloatArray, memory: int, at: At, number: IntArray) -> None:
        """Add the capacity that tiles take in a memory."""
        pool = not (self._tables.geometry.outer if memory == OUTERMOST else self._tables.geometry.inner[memory]).capacity_shares
        total: FloatArray | None = None
        for operand in self._operands:
            part = operand.room(memory, at, number)
            if operand.position == SUMS and self._spread is not None:
                part = self._spread.room(part, memory, at, number, operand)
            if part is None:
                continue
            if not pool:
                part /= operand.parts[memory][number]
            if total is None:
                total = part
            elif pool:
                total += part
            else:
                np.maximum(total, part, out=total)
        if total is not None:
            into += total


@dataclass(frozen=True, slots=True)
class _Tables:
    """What all operands of a stack have in common."""

    columns: int
    geometry: Geometry
    shape: IntArray
    """Tilings of m, k and n by block, [3, blocks]."""
    held: FloatArray | None
    """Bytes by block and column that registers hold beside tiles."""


class _Pieces:
    """Where pieces of a table begin, one for all blocks that have equal ones."""

    def __init__(self) -> None:
        self.shapes: dict[int, tuple[int, ...]] = {}
        """Of each piece, by where it begins."""
        self.size = 0
        self._known: dict[Hashable, int] = {}

    def place(self, key: Hashable, shape: tuple[int, ...]) -> tuple[int, bool]:
        """Where a piece begins, and whether it is new."""
        if key in self._known:
            return self._known[key], False
        start = self._known[key] = self.size
        self.shapes[start] = shape
        self.size += prod(shape)
        return start, True


@dataclass(frozen=True, slots=True)
class _Operand:
    """What one operand of all blocks moves and takes."""

    position: int
    line_at: IntArray
    """Where lines begin, by block."""
    plane_at: IntArray
    lines: dict[int, tuple[int, ...]]
    """Sizes of lines by where they begin."""
    planes: dict[int, tuple[int, ...]]
    moved: dict[int, FloatArray]
    """Bytes by column, [lines]; columns in which nothing is moved are left out."""
    widths: dict[int, FloatArray]
    """Bytes by element of a tile, by memory, [lines]."""
    rooms: dict[int, FloatArray]
    """Elements of a tile, copies counted, by memory, [planes]."""
    parts: dict[int, FloatArray]
    """Part of a memory that the operand may fill, by block."""

    @classmethod
    def of(cls, position: int, blocks: Sequence[Block], shares: Sequence[IntArray | None]) -> _Operand:
        """The operand at `position` in left, right and out."""
        columns: list[FloatArray] = []
        widths: dict[int, list[tuple[int, FloatArray]]] = {}
        rooms: dict[int, list[tuple[int, FloatArray]]] = {}
        lines, planes = _Pieces(), _Pieces()
        line_at, plane_at = [], []
        for block, share in zip(blocks, shares, strict=True):
            spread = share is not None and position == SUMS
            size = block.shape[LACKED[position]]
            start, new = lines.place((id(block.view), block.keys[position], spread), (size,))
            if new:
                columns.append(np.zeros((block.view.columns, size)) if spread else block.line(position))
                for memory, _, width in () if spread else block.widths(position, block.trips(position)):
                    widths.setdefault(memory, []).append((start, width))
            line_at.append(start)
            first, second = AXES[NAMES[position]]
            cut = id(block.tilings[first]), id(block.tilings[second])
            key = id(block.view), block.together, block.homes[position], block.orders, block.slots, cut
            start, new = planes.place(key, (block.shape[first], block.shape[second]))
            if new:
                for memory, plane in _planes(block, position):
                    rooms.setdefault(memory, []).append((start, plane))
            plane_at.append(start)
        every = np.concatenate(columns, axis=1)
        return cls(
            position,
            np.array(line_at),
            np.array(plane_at),
            lines.shapes,
            planes.shapes,
            {column: np.ascontiguousarray(every[column]) for column in np.flatnonzero(every.any(axis=1)).tolist()},
            {memory: _laid(found, lines.size) for memory, found in widths.items()},
            {memory: _laid(found, planes.size) for memory, found in rooms.items()},
            {memory: np.array([block.view.share(position, memory) for block in blocks]) for memory in widths},
        )

    def least(self, cell: Callable[[int], int]) -> _Operand:
        """With the least of each cell, as `Stack.least`."""
        lines, line_at, line_starts = _cut(self.lines, self.line_at, cell)
        planes, plane_at, _ = _cut(self.planes, self.plane_at, cell)
        return replace(
            self,
            line_at=line_at,
            plane_at=plane_at,
            lines=lines,
            planes=planes,
            moved={column: np.minimum.reduceat(table, line_starts) for column, table in self.moved.items()},
            widths={memory: np.minimum.reduceat(table, line_starts) for memory, table in self.widths.items()},
            rooms={memory: _least_of_planes(table, self.planes, cell) for memory, table in self.rooms.items()},
        )

    def room(self, memory: int, at: At, number: IntArray) -> FloatArray | None:
        """Bytes that tiles take in a memory; None where no block has one there."""
        if memory not in self.widths:
            return None
        found = self.widths[memory].take(at.lines[self.position], mode="clip")
        found *= self.plane(memory, at)
        return found

    def plane(self, memory: int, at: At) -> FloatArray:
        """Elements of tiles in a memory, copies counted."""
        return self.rooms[memory].take(at.planes[self.position], mode="clip")


@dataclass(frozen=True, slots=True)
class _SpreadSums:
    """What sums that several arrays share move and take: a matter of the tiling of k and of how many arrays share one."""

    here: BoolArray
    """Whether a block shares sums."""
    ranks: NDArray[np.int16]
    """Which of the numbers of arrays that occur works on a sum, [mappings of blocks]."""
    rank_at: IntArray
    """Where the ranks of a block begin."""
    present: dict[int, IntArray]
    """Numbers of arrays that occur, by where ranks begin."""
    wide: IntArray
    """How many they are, by block."""
    at: IntArray
    """Where the pieces of a block begin, [tilings of k, numbers of arrays] each."""
    pieces: dict[int, tuple[int, ...]]
    moved: dict[int, FloatArray]
    widths: dict[int, FloatArray]

    @classmethod
    def of(cls, blocks: Sequence[Block], shares: Sequence[IntArray | None]) -> _SpreadSums:
        """Of blocks of which some share sums."""
        ranks, pieces = _Pieces(), _Pieces()
        rank_of: list[NDArray[np.int16]] = []
        present: dict[int, IntArray] = {}
        columns: list[FloatArray] = []
        widths: dict[int, list[tuple[int, FloatArray]]] = {}
        rank_at, wide, place = (np.zeros(len(blocks), dtype=np.int64) for _ in range(3))
        for i, (block, share) in enumerate(zip(blocks, shares, strict=True)):
            if share is None:
                continue
            rank_at[i], new = ranks.place(id(share), (share.size,))
            if new:
                found = present[int(rank_at[i])] = np.flatnonzero(np.bincount(share.ravel()))
                rank_of.append(_ranks(share, found))
            found = present[int(rank_at[i])]
            wide[i] = len(found)
            place[i], new = pieces.place((id(block.view), block.keys[SUMS], int(rank_at[i])), (block.shape[1], len(found)))
            if new:
                column, trips = _spread(block, found)
                columns.append(column)
                for memory, _, width in block.widths(SUMS, trips):
                    widths.setdefault(memory, []).append((int(place[i]), width.ravel()))
        every = np.concatenate(columns, axis=1)
        return cls(
            np.array([share is not None for share in shares]),
            np.concatenate(rank_of),
            rank_at,
            present,
            wide,
            place,
            pieces.shapes,
            {column: np.ascontiguousarray(every[column]) for column in np.flatnonzero(every.any(axis=1)).tolist()},
            {memory: _laid(parts, pieces.size) for memory, parts in widths.items()},
        )

    def least(self, cell: Callable[[int], int], shares: Sequence[IntArray | None]) -> _SpreadSums:
        """With the least of each cell, as `Stack.least`."""

        ranks = _Pieces()
        rank_of, rank_at = [], np.zeros_like(self.rank_at)
        for i, share in enumerate(shares):
            if share is not None:
                rank_at[i], new = ranks.place(id(share), (share.size,))
                if new:
                    rank_of.append(_ranks(share, self.present[int(self.rank_at[i])]))
        sizes = {start: (-(-k // cell(k)), wide) for start, (k, wide) in self.pieces.items()}
        moved_to = dict(zip(self.pieces, np.cumsum([0, *(prod(size) for size in sizes.values())]).tolist(), strict=False))
        at = np.array([moved_to[start] if here else 0 for start, here in zip(self.at.tolist(), self.here.tolist(), strict=True)])

        def reduced(table: FloatArray) -> FloatArray:
            return np.concatenate(
                [
                    np.minimum.reduceat(table[start : start + k * wide].reshape(k, wide), np.arange(0, k, cell(k)), axis=0).ravel()
                    for start, (k, wide) in self.pieces.items()
                ]
            )

        return replace(
            self,
            ranks=np.concatenate(rank_of),
            rank_at=rank_at,
            at=at,
            moved={column: reduced(table) for column, table in self.moved.items()},
            widths={memory: reduced(table) for memory, table in self.widths.items()},
        )

    def _places(self, at: At, number: IntArray, sums: _Operand) -> tuple[IntArray, IntArray]:
        """Mappings that share sums, and where they stand in the tables."""
        here = np.flatnonzero(self.here[number])
        block = number[here]
        rank = self.ranks[self.rank_at[block] + at.flat[here]]
        return here, self.at[block] + (at.lines[SUMS][here] - sums.line_at[block]) * self.wide[block] + rank

    def add(self, found: FloatArray, at: At, number: IntArray, sums: _Operand) -> None:
        """Add what they move to the counts `found` [columns, R]."""
        here, place = self._places(at, number, sums)
        for column, table in self.moved.items():
            found[column, here] += table[place]

    def room(self, part: FloatArray | None, memory: int, at: At, number: IntArray, sums: _Operand) -> FloatArray | None:
        """Bytes that sums take in a memory, `part` where they are not shared."""
        if memory not in self.widths:
            return part
        here, place = self._places(at, number, sums)
        part = np.zeros(len(number)) if part is None else part
        part[here] = self.widths[memory][place] * sums.plane(memory, at)[here]
        return part


def _spread(block: Block, present: IntArray) -> tuple[FloatArray, Trips]:
    """Bytes of every column that sums move, [columns, tilings of k x shares], and how often they cross, [tilings, shares]."""
    trips = block.trips(SUMS)
    one = np.ones((1, len(present)), dtype=np.int64)
    spread = Trips(tuple(tile[:, None] * one for tile in trips.tiles), trips.array[:, None] * present)
    found = np.zeros((block.view.columns, *spread.array.shape))
    block.add(found, SUMS, spread, block.tilings[1].inner.take(np.arange(block.shape[1])[:, None]))
    return found.reshape(len(found), -1), spread


def _planes(block: Block, position: int) -> list[tuple[int, FloatArray]]:
    """(memory, elements of a tile of an operand there, copies counted) by tilings of its two dimensions."""
    first, second = (np.arange(len(block.tilings[d])) for d in AXES[NAMES[position]])
    found = []
    for memory, slot, _ in block.widths(position, block.trips(position)):
        elements, copies = block.room(position, memory, slot, (first[:, None], second))
        found.append((memory, (elements * copies).astype(np.float64).ravel()))
    return found


def _ranks(share: IntArray, present: IntArray) -> NDArray[np.int16]:
    """Which of the numbers `present`, ascending, each of `share` is; what is above them all is the last."""
    rank = np.zeros(max(int(share.max()), int(present[-1])) + 1, dtype=np.int16)
    rank[present[-1] :] = len(present) - 1
    rank[present] = np.arange(len(present))
    return rank[share.ravel()]


def _cut(
    pieces: dict[int, tuple[int, ...]], at: IntArray, cell: Callable[[int], int]
) -> tuple[dict[int, tuple[int, ...]], IntArray, IntArray]:
    """Pieces with one for each cell of theirs: their shapes by where they begin, where those of each block begin, and where cells of lines
    begin in the old ones."""
    shapes, moved_to, total = {}, {}, 0
    for start, shape in pieces.items():
        moved_to[start] = total
        shapes[total] = tuple(-(-size // cell(size)) for size in shape)
        total += prod(shapes[total])
    starts = np.concatenate([np.arange(start, start + shape[0], cell(shape[0])) for start, shape in pieces.items()])
    return shapes, np.array([moved_to[start] for start in at.tolist()]), starts


def _least_of_planes(table: FloatArray, planes: dict[int, tuple[int, ...]], cell: Callable[[int], int]) -> FloatArray:
    """The least of each cell of planes, one after another."""
    found = []
    for start, (a, b) in planes.items():
        plane = table[start : start + a * b].reshape(a, b)
        along = np.minimum.reduceat(plane, np.arange(0, a, cell(a)), axis=0)
        found.append(np.minimum.reduceat(along, np.arange(0, b, cell(b)), axis=1).ravel())
    return np.concatenate(found)


def _held_bytes(block: Block) -> FloatArray:
    """Bytes by column of what the registers of the array hold of the operand that stays there, where it has no tile in them."""
    found = np.zeros(block.view.columns)
    for memory in block.held_alone():
        found[len(COUNT_NAMES) + INNER_COLUMNS * memory] = register_bytes(block.view.problem, NAMES[block.view.held])
    return found


def _laid(parts: list[tuple[int, FloatArray]], size: int) -> FloatArray:
    """Pieces at their places, zeros between them, [size]."""
    found = np.zeros(size)
    for start, part in parts:
        found[start : start + part.size] = part
    return found
