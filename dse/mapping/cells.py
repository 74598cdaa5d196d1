"""Large blocks of mappings cut into cells of neighbouring tile sides."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from dse.mapping.blocks import Block
from dse.mapping.matmul import sum_shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.mapping.matmul import TileGrid

    BoolArray = NDArray[np.bool_]
    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

_Number = TypeVar("_Number", bound=np.generic)

CELL: Final = ((96, 8), (24, 4), (8, 2))
"""(tilings, cell): a dimension with at least so many tilings is cut into cells of so many neighbours."""


class Cells:
    """A block cut into cells of neighbouring tilings."""

    def __init__(self, number: int, block: Block, cycles: FloatArray, worth: BoolArray) -> None:
        self.number, self.block = number, block
        self._cycles, self._worth = cycles, worth
        self._sides = tuple(next((cell for least, cell in CELL if size >= least), 1) for size in block.shape)
        self._starts = tuple(np.arange(0, size, side) for size, side in zip(block.shape, self._sides, strict=True))
        self.shape = tuple(len(s) for s in self._starts)
        self.size = int(np.prod(self._sides))
        inside = self._by_cell(np.where(worth, cycles, np.inf), np.inf)
        self._fewest = np.argmin(inside, axis=1)
        self._floor = inside[np.arange(len(inside)), self._fewest]

    def _by_cell(self, values: NDArray[_Number], beyond: float) -> NDArray[_Number]:
        """Values of all mappings by cell, [cells, mappings in it]; `beyond` stands where a cell reaches over the end of the block."""
        wide = tuple(x for pair in zip(self.shape, self._sides, strict=True) for x in pair)
        whole = np.full([a * b for a, b in zip(self.shape, self._sides, strict=True)], beyond, dtype=values.dtype)
        m, k, n = values.shape
        whole[:m, :k, :n] = values
        return whole.reshape(wide).transpose(0, 2, 4, 1, 3, 5).reshape(-1, int(np.prod(self._sides)))

    def samples(self) -> tuple[FloatArray, IntArray]:
        """Counts of the mapping worth counting with the fewest cycles of each cell that has one, and its index."""
        cells = np.flatnonzero(np.isfinite(self._floor))
        first = (s[i] for s, i in zip(self._starts, np.unravel_index(cells, self.shape), strict=True))
        further = np.unravel_index(self._fewest[cells], self._sides)
        m, k, n = (a + b for a, b in zip(first, further, strict=True))
        return self.block.rows((m, k, n), self._floor[cells]), np.ravel_multi_index((m, k, n), self.block.shape)

    def floors(self) -> tuple[FloatArray, IntArray]:
        """Counts below which no mapping worth counting of a cell goes, and which cell; cells without such mappings are left out."""
        m, k, n = np.ix_(*(np.arange(size) for size in self.shape))
        block, floor = self.block.floor(self._starts), self._floor.reshape(self.shape)
        if self.block.shared_sums:
            most = self.block.view.geometry.array.count
            shares = self._by_cell(np.where(self._worth, shares_of(self.block), most), most).min(axis=1).reshape(self.shape)
            given = {f.name: getattr(block, f.name) for f in fields(Block)} | {"shared_sums": True}
            block = _Shared(**given, shares=shares)
        rows = block.rows((m, k, n), floor)
        cells = np.flatnonzero(np.isfinite(rows[:, 0]) & np.isfinite(self._floor))
        return rows[cells], cells

    def mappings(self, cells: IntArray) -> tuple[FloatArray, IntArray]:
        """Counts and indices of the mappings worth counting in these cells, in the order of the cells.

        Sides are looked up for each cell and dimension, [cells, sides, 1, 1] and so on, and combined by broadcasting.
        """
        block, at = self.block, []
        inside: BoolArray = np.ones(1, dtype=np.bool_)
        for axis, i in enumerate(np.unravel_index(cells, self.shape)):
            wide = [len(cells), 1, 1, 1]
            wide[axis + 1] = self._sides[axis]
            here = (self._starts[axis][i][:, None] + np.arange(self._sides[axis])).reshape(wide)
            at.append(np.minimum(here, block.shape[axis] - 1))
            inside = inside & (here < block.shape[axis])
        m, k, n = at
        shape = (len(cells), *self._sides)
        index = ((m * block.shape[1] + k) * block.shape[2] + n).ravel()
        kept = np.flatnonzero(np.broadcast_to(inside, shape).ravel() & self._worth.ravel()[index])
        rows = block.rows((m, k, n), self._cycles.ravel()[index].reshape(shape))
        return rows.T.take(kept, axis=1).T, index[kept]


@dataclass(frozen=True)
class _Shared(Block):
    """Floors of a block with shared sums."""

    shares: IntArray = field(default_factory=lambda: np.ones(1, dtype=np.int64))
    """Arrays that work on each sum, for all mappings at once."""

    def _shares(self, grid: TileGrid) -> IntArray:
        return self.shares


def shares_of(block: Block) -> IntArray:
    """Arrays that work on each sum of a block with shared sums, for all its mappings; where it is one, a mapping is that of the block
    without shared sums."""
    m, k, n = np.ix_(*(np.arange(size) for size in block.shape))
    view = block.view
    shares = sum_shares(block.grid((m, k, n)), view.geometry.array, rate=view.rate, together=block.together)
    return np.broadcast_to(shares, block.shape)
