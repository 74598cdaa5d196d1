"""Finds the mappings of many blocks that no other mapping beats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import moocore
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.mapping.blocks import Block, Index

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

PIVOTS: Final = (64, 512)
"""Rows against which cells and mappings are tried before they are compared with each other: a few first, then more."""
CELL: Final = ((96, 8), (24, 4), (8, 2))
"""(tilings, cell): a dimension with at least so many tilings is cut into cells of so many neighbours."""
SMALL: Final = 2048
"""Blocks of at most so many mappings are counted whole."""


def everything(block: Block) -> Index:
    """Indices of all mappings of `block`."""
    return everything_of(block.shape)


def everything_of(shape: tuple[int, ...]) -> Index:
    """Indices of all mappings of a block of that shape."""
    m, k, n = np.ix_(*(np.arange(size) for size in shape))
    return m, k, n


def search(blocks: Sequence[Block]) -> tuple[FloatArray, IntArray]:
    """Counts [R, C] of the mappings of `blocks` that are not dominated, and (block, index in it) of each [R, 2].

    Large blocks are cut into cells of neighbouring tile sides. One mapping of each cell is counted first; the best of these are pivots.
    A cell goes if a pivot beats its floor, the least of every side, number of tiles and passes in it with the least cycles: all counts
    grow with each of these. What is left is counted, tried against the pivots, and compared with each other.
    """
    cut = [_Cells(number, block) for number, block in enumerate(blocks)]
    rows, origin = (np.concatenate(parts) for parts in zip(*(cells.samples() for cells in cut), strict=True))
    keep = np.flatnonzero(np.isfinite(rows[:, 0]))
    keep = keep[not_dominated(rows[keep])]
    found, index = [rows[keep]], [origin[keep]]
    pivots = [_Pivots(found[0], most) for most in PIVOTS]
    for cells in cut:
        rows, at = cells.rest(pivots)
        for some in pivots:
            keep = np.flatnonzero(~some.beat(rows))
            rows, at = rows[keep], at[keep]
        keep = not_dominated(rows)
        found.append(rows[keep])
        index.append(np.stack((np.full(len(keep), cells.number), at[keep]), axis=1))
    rows, at = np.concatenate(found), np.concatenate(index)
    keep = not_dominated(rows)
    return rows[keep], at[keep]


class _Pivots:
    """Some rows in a form that says quickly whether any of them is at most as large as a given row in all columns."""

    def __init__(self, rows: FloatArray, most: int) -> None:
        order = np.argsort(np.log1p(rows).sum(axis=1), kind="stable")
        chosen = rows[order[np.unique(np.linspace(0, len(rows) - 1, most).astype(np.int64))]] if len(rows) > most else rows
        number = np.arange(len(chosen))
        bits = np.zeros((len(chosen), -(-most // 64)), dtype=np.uint64)
        bits[number, number // 64] = np.uint64(1) << (number % 64).astype(np.uint64)
        self._columns = []
        for column in chosen.T:
            order = np.argsort(column, kind="stable")
            prefix = np.zeros((len(chosen) + 1, bits.shape[1]), dtype=np.uint64)
            np.bitwise_or.accumulate(bits[order], axis=0, out=prefix[1:])
            self._columns.append((column[order], prefix))

    def beat(self, rows: FloatArray) -> NDArray[np.bool_]:
        """Which of the rows [R, C] some pivot is at most as large as, [R]."""
        left: NDArray[np.uint64] | None = None
        for (values, prefix), column in zip(self._columns, rows.T, strict=True):
            here = prefix[np.searchsorted(values, column, side="right")]
            left = here if left is None else np.bitwise_and(left, here, out=left)
        assert left is not None
        return np.asarray(left.any(axis=1))


class _Cells:
    """A block cut into cells of neighbouring tilings."""

    def __init__(self, number: int, block: Block) -> None:
        self.number, self.block = number, block
        small = block.size <= SMALL
        sizes = [1 if small else next((cell for least, cell in CELL if size >= least), 1) for size in block.shape]
        self.starts = tuple(np.arange(0, size, cell) for size, cell in zip(block.shape, sizes, strict=True))
        self.whole = small

    def samples(self) -> tuple[FloatArray, IntArray]:
        """Counts of one mapping of each cell, and (block, index) of it; all mappings of a small block."""
        ends = (np.append(starts[1:], size) for starts, size in zip(self.starts, self.block.shape, strict=True))
        at = tuple((starts + end - 1) // 2 for starts, end in zip(self.starts, ends, strict=True))
        index = np.ravel_multi_index(np.ix_(*at), self.block.shape).ravel()
        rows = self.block.rows(np.ix_(*at))
        return rows, np.stack((np.full(len(index), self.number), index), axis=1)

    def rest(self, pivots: list[_Pivots]) -> tuple[FloatArray, IntArray]:
        """Counts and indices of the mappings in cells that no pivot beats."""
        block = self.block
        if self.whole:
            return np.empty((0, block.view.columns)), np.empty(0, dtype=np.int64)
        cycles = block.cycles(everything(block))
        floor = cycles
        for axis, starts in enumerate(self.starts):
            floor = np.minimum.reduceat(floor, starts, axis=axis)
        rows = block.floor(self.starts).rows(everything_of(tuple(len(s) for s in self.starts)), floor)
        cells = np.flatnonzero(np.isfinite(rows[:, 0]))
        for some in pivots:
            cells = cells[~some.beat(rows[cells])]
        at = self._inside(cells)
        index = np.ravel_multi_index(at, block.shape)
        return block.rows(at, cycles.ravel()[index]), np.asarray(index)

    def _inside(self, cells: IntArray) -> Index:
        """Indices of the mappings in the cells."""
        of_dim = np.unravel_index(cells, tuple(len(s) for s in self.starts))
        length = [int(s[1]) if len(s) > 1 else size for s, size in zip(self.starts, self.block.shape, strict=True)]
        offsets = np.indices(length).reshape(3, -1)
        at = [(s[i][:, None] + o).ravel() for s, i, o in zip(self.starts, of_dim, offsets, strict=True)]
        inside = np.logical_and.reduce([a < size for a, size in zip(at, self.block.shape, strict=True)])
        m, k, n = (a[inside] for a in at)
        return m, k, n


def not_dominated(rows: FloatArray, *, excess: float = 0.0) -> IntArray:
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
