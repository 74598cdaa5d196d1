"""Large blocks of mappings cut into cells of neighbouring tile sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import numpy as np

from dse.mapping.matmul import sum_shares
from dse.mapping.stack import At, Stack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dse.mapping.blocks import Block

    BoolArray = NDArray[np.bool_]
    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

_Number = TypeVar("_Number", bound=np.generic)

CELL: Final = ((96, 8), (24, 4), (8, 2))
"""(tilings, cell): a dimension with at least so many tilings is cut into cells of so many neighbours."""


class Counted(NamedTuple):
    """Mappings with their counts."""

    rows: FloatArray
    """[R, columns]."""
    at: IntArray
    """(block, index in it), [R, 2]."""


@dataclass(frozen=True, slots=True)
class _Inside:
    """Cycles of the mappings of blocks by cell, [cells, mappings in it]; infinite where a mapping is not worth counting, or not there."""

    cycles: FloatArray
    fewest: FloatArray
    shares: IntArray | None
    """Least arrays that work on a sum, by cell, of blocks that share sums."""


class Cells:
    """Blocks cut into cells; a cell is a number, those of the first block first."""

    def __init__(self, numbered: Mapping[int, Block], found: Sequence[tuple[FloatArray, BoolArray]]) -> None:
        """`numbered` blocks, with cycles of all mappings of each, and which are worth counting, [1, mappings]."""
        blocks = list(numbered.values())
        self._names = np.array(list(numbered))
        self._block_sizes = np.array([block.size for block in blocks])
        sides = [_sides(block.shape) for block in blocks]
        known: dict[tuple[int, int], tuple[IntArray | None, _Inside]] = {}
        for block, (cycles, worth), side in zip(blocks, found, sides, strict=True):
            if (id(cycles), id(worth)) not in known:
                shares = np.ascontiguousarray(shares_of(block)) if block.shared_sums else None
                known[id(cycles), id(worth)] = shares, _inside(cycles[0], worth[0], side, shares, block.view.geometry.array.count)
        each = [known[id(cycles), id(worth)] for cycles, worth in found]
        self._stack = Stack.of(blocks, [shares for shares, _ in each])
        shapes = [tuple(-(-size // side) for size, side in zip(b.shape, s, strict=True)) for b, s in zip(blocks, sides, strict=True)]
        sizes = [len(inside.fewest) for _, inside in each]
        self._number = np.repeat(np.arange(len(blocks)), sizes)
        cell = [np.stack([x.ravel() for x in np.indices(shape)]) for shape in shapes]
        self._cell = np.concatenate(cell, axis=1)
        first = np.concatenate([c * np.array(side)[:, None] for c, side in zip(cell, sides, strict=True)], axis=1)
        self._first = self._stack.at(self._number, (first[0], first[1], first[2]))
        self._volumes = np.array([int(np.prod(side)) for side in sides])
        self._groups = self._grouped(sides, each)
        self._floors = self._stack.least(_side, [inside.shares for _, inside in each])
        self._fewest = np.concatenate([inside.fewest for _, inside in each])

    def _grouped(self, sides: Sequence[tuple[int, int, int]], each: Sequence[tuple[IntArray | None, _Inside]]) -> list[_Group]:
        """Blocks whose cells have as many mappings, together."""
        found = []
        volumes = self._volumes
        sizes = np.array([len(inside.fewest) for _, inside in each])
        ends = np.cumsum(sizes)
        for volume in sorted(set(volumes.tolist())):
            here = np.flatnonzero(volumes == volume)
            inside: dict[int, tuple[int, FloatArray]] = {}
            rows, total = np.zeros(len(sides), dtype=np.int64), 0
            for i in here.tolist():
                cycles = each[i][1].cycles
                if id(cycles) not in inside:
                    inside[id(cycles)] = total, cycles
                    total += len(cycles)
                rows[i] = inside[id(cycles)][0] - (ends[i] - sizes[i])
            index = np.zeros((3, len(sides), volume), dtype=np.int64)
            for i in here.tolist():
                index[:, i] = np.stack([x.ravel() for x in np.indices(sides[i])])
            steps = self._stack.steps(np.arange(len(sides))[:, None], (index[0], index[1], index[2]))
            found.append(_Group(volumes == volume, rows, np.concatenate([cycles for _, cycles in inside.values()]), steps))
        return found

    def floors(self) -> FloatArray:
        """Counts [columns, cells] below which no mapping worth counting of a cell goes; infinite cycles where there is none."""
        m, k, n = self._cell
        return self._floors.rows(self._floors.at(self._number, (m, k, n)), self._number, self._fewest)

    @property
    def most(self) -> int:
        """Mappings of the largest block."""
        return int(self._block_sizes.max())

    def counts(self, cells: IntArray) -> Counted:
        """Counts of the mappings worth counting in these cells."""
        found = []
        for group in self._groups:
            here = cells if len(self._groups) == 1 else cells[group.blocks[self._number[cells]]]
            cycles = self._cycles(group, here)
            kept = np.flatnonzero(np.isfinite(cycles))
            found.append(self._counted(group, here, kept, cycles.ravel().take(kept)))
        return _joined(found)

    def samples(self) -> Counted:
        """Counts of the mapping worth counting with the fewest cycles of each cell that has one."""
        found = []
        for group in self._groups:
            here = np.flatnonzero(group.blocks[self._number] & np.isfinite(self._fewest))
            first = self._cycles(group, here).argmin(axis=1) + np.arange(len(here)) * group.cycles.shape[1]
            found.append(self._counted(group, here, first, self._fewest[here]))
        return _joined(found)

    def by_block(self, cells: IntArray) -> list[IntArray]:
        """Cells block by block, those of the smallest block first."""
        parts = np.split(cells, np.searchsorted(self._number[cells], np.arange(1, len(self._names))))
        return [parts[i] for i in np.argsort(self._block_sizes, kind="stable")]

    def mappings_in(self, cells: IntArray) -> int:
        """Mappings in these cells, at most."""
        return int(self._volumes[self._number[cells]].sum())

    def _cycles(self, group: _Group, cells: IntArray) -> FloatArray:
        """Cycles of the mappings of cells of a group, [cells, mappings]."""
        return group.cycles.take(cells + group.rows[self._number[cells]], axis=0)

    def _counted(self, group: _Group, cells: IntArray, kept: IntArray, cycles: FloatArray) -> Counted:
        """Counts of the mappings `kept` of cells of a group, as indices of [cells, mappings]."""
        number, first, steps = self._number[cells], self._first, group.steps

        def places(start: IntArray, step: IntArray) -> IntArray:
            return (start.take(cells)[:, None] + step.take(number, axis=0)).ravel().take(kept)

        left, right, out = (places(*x) for x in zip(first.lines, steps.lines, strict=True))
        planes = tuple(places(*x) for x in zip(first.planes, steps.planes, strict=True))
        at = At((left, right, out), (planes[0], planes[1], planes[2]), places(first.flat, steps.flat))
        block = number.take(kept // group.cycles.shape[1])
        return Counted(self._stack.rows(at, block, cycles).T, np.stack((self._names.take(block), at.flat), axis=1))


def _joined(parts: list[Counted]) -> Counted:
    return parts[0] if len(parts) == 1 else Counted(*(np.concatenate(x) for x in zip(*parts, strict=True)))


class _Group(NamedTuple):
    """Blocks whose cells have as many mappings."""

    blocks: BoolArray
    """Which of all blocks."""
    rows: IntArray
    """By block, what is added to the number of a cell to find its row in `cycles`."""
    cycles: FloatArray
    """As in `_Inside`, of all blocks."""
    steps: At
    """How much further than the first mapping of a cell the others stand, [blocks, mappings in it]."""


def _side(size: int) -> int:
    """Tilings in a cell along a dimension with so many."""
    return next((cell for least, cell in CELL if size >= least), 1)


def _sides(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Tilings in a cell along m, k and n."""
    return _side(shape[0]), _side(shape[1]), _side(shape[2])


def _inside(cycles: FloatArray, worth: BoolArray, sides: tuple[int, int, int], shares: IntArray | None, arrays: int) -> _Inside:
    """What cells of a block have in them."""
    inside = _by_cell(cycles, worth, sides, np.inf)
    least = None if shares is None else _by_cell(shares, worth, sides, arrays).min(axis=1)
    return _Inside(inside, inside.min(axis=1), least)


def _by_cell(values: NDArray[_Number], worth: BoolArray, sides: tuple[int, int, int], beyond: float) -> NDArray[_Number]:
    """Values of all mappings by cell, [cells, mappings in it]; `beyond` stands for those not worth counting, and beyond the block."""
    shape = [-(-size // side) for size, side in zip(values.shape, sides, strict=True)]
    whole = np.full([a * b for a, b in zip(shape, sides, strict=True)], beyond, dtype=values.dtype)
    m, k, n = values.shape
    np.copyto(whole[:m, :k, :n], values, where=worth)
    wide = [x for pair in zip(shape, sides, strict=True) for x in pair]
    return whole.reshape(wide).transpose(0, 2, 4, 1, 3, 5).reshape(-1, int(np.prod(sides)))


def shares_of(block: Block) -> IntArray:
    """Arrays that work on each sum of a block with shared sums, for all its mappings; where it is one, a mapping is that of the block
    without shared sums."""
    m, k, n = np.ix_(*(np.arange(size) for size in block.shape))
    view = block.view
    shares = sum_shares(block.grid((m, k, n)), view.geometry.array, rate=view.rate, together=block.together)
    return np.broadcast_to(shares, block.shape)
