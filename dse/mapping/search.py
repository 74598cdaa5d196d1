"""Finds the mappings of many blocks that no other mapping beats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import moocore
import numpy as np

from dse.mapping.comparison import Comparison, coarse

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

    from dse.mapping.blocks import Block, Index

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

PIVOTS: Final = (64, 1024)
"""Rows against which cells and mappings are tried before they are compared with each other: a few first, then more."""
CELL: Final = ((96, 8), (24, 4), (8, 2))
"""(tilings, cell): a dimension with at least so many tilings is cut into cells of so many neighbours."""
SMALL: Final = 8192
"""Blocks of at most so many mappings are counted whole."""
FEW: Final = 256
"""Mappings of a block that are counted without looking first which of them are worth it."""
FURTHER: Final = (32_768, 2)
"""All are compared with each other again when so many were taken in, and this many times as many as there were."""
FEW_COLUMNS: Final = 6
"""With at most so many columns what pivots leave of a block is compared with each other; with more that takes longer, and only what beats
most of a sample of it is tried."""
SAMPLE: Final = 128
"""Mappings of a block for which the best pivots are looked for, where it has at least `SAMPLED` that nothing has beaten yet."""
SAMPLED: Final = 1024
HUNTERS: Final = 2048
"""Rows that may become such pivots: those that beat most of the sample."""


def everything(block: Block) -> Index:
    """Indices of all mappings of `block`."""
    return everything_of(block.shape)


def everything_of(shape: tuple[int, ...]) -> Index:
    """Indices of all mappings of a block of that shape."""
    m, k, n = np.ix_(*(np.arange(size) for size in shape))
    return m, k, n


def search(blocks: Sequence[Block]) -> tuple[FloatArray, IntArray]:
    """Counts [R, C] of the mappings of `blocks` that are not dominated, and (block, index in it) of each [R, 2].

    Small blocks are counted whole. Large ones, the smallest first, are cut into cells of neighbouring tile sides. One mapping of each
    cell is counted first; the best of these are pivots. A cell goes if a pivot beats its floor, the least of every side, number of tiles
    and passes in it with the least cycles: all counts grow with each of these. What is left is counted, tried against the pivots, and
    compared with each other. Of mappings with equal counts, or of which no price tells one from the other (`Comparison`), the one that
    was counted first stays.
    """
    cycles, view = _Cycles(), blocks[0].view
    comparison = Comparison.of(view.geometry, view.columns)
    small: dict[Hashable, list[tuple[int, Block]]] = {}
    cut = []
    for number, block in enumerate(blocks):
        if block.size <= SMALL:
            tiles = block.same_tiles
            small.setdefault(number if tiles is None else tiles, []).append((number, block))
        else:
            cut.append(_Cells(number, block, cycles, comparison))
    counted = [_whole(alike, cycles) for alike in small.values()] + [cells.samples() for cells in cut]
    rows, at = (np.concatenate(parts) for parts in zip(*counted, strict=True))
    finite = np.flatnonzero(np.isfinite(rows[:, 0]))
    finite = finite[np.argsort(at[finite, 0], kind="stable")]
    known = _Known(comparison.laid(rows[finite]), at[finite], comparison.width)
    for cells in sorted(cut, key=lambda cells: cells.block.size):
        rows, index = cells.rest(known.pivots)
        known.add(rows, np.stack((np.full(len(index), cells.number), index), axis=1))
    rows, at = known.all()
    return comparison.counted(rows), at


class _Known:
    """Mappings found so far, and some of them as pivots; the first `width` columns of rows are compared."""

    def __init__(self, rows: FloatArray, at: IntArray, width: int) -> None:
        self._width = width
        keep = not_dominated(rows[:, :width])
        self._rows, self._at = [rows[keep]], [at[keep]]
        self._further = 0
        self._chosen: list[_Pivots] | None = None

    @property
    def pivots(self) -> list[_Pivots]:
        """A few, then more of those compared last."""
        if self._chosen is None:
            self._chosen = [_Pivots(self._rows[0][:, : self._width], most) for most in PIVOTS]
        return self._chosen

    def add(self, rows: FloatArray, at: IntArray) -> None:
        """Take mappings in that no pivot beats; where they are many, compare all with each other and choose new pivots."""
        seen, keep = rows[:, : self._width], np.arange(len(rows))
        for some in self.pivots:
            keep = keep[~some.beat(seen[keep])]
        few = self._width <= FEW_COLUMNS
        keep = keep[not_dominated(seen[keep]) if few else self._unbeaten(seen[keep])]
        self._rows.append(rows[keep])
        self._at.append(at[keep])
        self._further += len(keep)
        if self._further > max(FURTHER[0], FURTHER[1] * len(self._rows[0])):
            self._compare()
            self._chosen = None

    def _unbeaten(self, rows: FloatArray) -> IntArray:
        """Indices of those that are not beaten by what beats most of a sample of them, be it known or one of them."""
        if len(rows) < SAMPLED:
            return np.arange(len(rows))
        everyone = np.concatenate((*(known[:, : self._width] for known in self._rows), rows))
        hunters = _hunters(everyone, rows[np.linspace(0, len(rows) - 1, SAMPLE).astype(np.int64)])
        if not len(hunters):
            return np.arange(len(rows))
        beaten = _Pivots(everyone[hunters], SAMPLE).beat(rows)
        own = hunters - (len(everyone) - len(rows))
        beaten[own[own >= 0]] = False
        return np.flatnonzero(~beaten)

    def _compare(self) -> None:
        rows, at = np.concatenate(self._rows), np.concatenate(self._at)
        keep = not_dominated(rows[:, : self._width])
        self._rows, self._at, self._further = [rows[keep]], [at[keep]], 0

    def all(self) -> tuple[FloatArray, IntArray]:
        """Those that no other beats."""
        if self._further:
            self._compare()
        return self._rows[0], self._at[0]


class _Pivots:
    """Some rows in a form that says quickly whether any of them is at most as large as a given row in all columns."""

    def __init__(self, rows: FloatArray, most: int) -> None:
        order = np.argsort(np.log1p(rows).sum(axis=1), kind="stable")
        chosen = rows[order[np.unique(np.linspace(0, len(rows) - 1, most).astype(np.int64))]] if len(rows) > most else rows
        bits = _bits(len(chosen), most)
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


def _hunters(rows: FloatArray, sample: FloatArray) -> IntArray:
    """For each of `sample` that a row beats the one that beats most of the sample; rows that beat only one left out; ascending."""
    bits = _bits(len(sample), len(sample))
    beats: NDArray[np.uint64] | None = None
    for column, values in zip(rows.T, sample.T, strict=True):
        order = np.argsort(values, kind="stable")
        suffix = np.zeros((len(sample) + 1, bits.shape[1]), dtype=np.uint64)
        np.bitwise_or.accumulate(bits[order[::-1]], axis=0, out=suffix[1:])
        here = suffix[len(sample) - np.searchsorted(values[order], column, side="left")]
        beats = here if beats is None else np.bitwise_and(beats, here, out=beats)
    assert beats is not None
    count = np.bitwise_count(beats).sum(axis=1, dtype=np.int64)
    best = np.flatnonzero(count > 1)
    best = best[np.argsort(-count[best], kind="stable")[:HUNTERS]]
    if not len(best):
        return best
    number = np.arange(len(sample))
    which = (beats[best][:, number // 64] >> (number % 64).astype(np.uint64)) & np.uint64(1)
    return np.unique(best[np.argmax(which, axis=0)[which.any(axis=0)]])


def _bits(rows: int, most: int) -> NDArray[np.uint64]:
    """A bit of its own for each of `rows`, in words that hold `most` bits, [rows, words]."""
    number = np.arange(rows)
    bits = np.zeros((rows, -(-most // 64)), dtype=np.uint64)
    bits[number, number // 64] = np.uint64(1) << (number % 64).astype(np.uint64)
    return bits


class _Cycles:
    """Array cycles of whole blocks, and which mappings are worth counting; blocks that differ only in homes share both."""

    def __init__(self) -> None:
        self._cycles: dict[Hashable, FloatArray] = {}
        self._worth: dict[Hashable, NDArray[np.bool_]] = {}

    def of(self, block: Block, together: tuple[int, ...]) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Cycles of all mappings of `block` with every number of groups together [T, *shape], and those for which none with one smaller
        side, or fewer groups together, has the same traffic and no more cycles."""
        key = block.cycles_key, together
        cycles = self._cycles.get(key)
        if cycles is None:
            cycles = self._cycles[key] = block.all_cycles(np.array(together))
        alike = block.alike() if cycles.size > FEW else ((), (), ())
        kept = key, alike
        worth = self._worth.get(kept)
        if worth is None:
            worth = self._worth[kept] = np.ones(cycles.shape, dtype=np.bool_)
            for axis, groups in enumerate(alike, start=1):
                for group in groups:
                    at = [slice(None)] * 4
                    at[axis] = np.array(group)  # type: ignore[call-overload]
                    here = np.moveaxis(cycles[tuple(at)], axis, 0)
                    least = np.minimum.accumulate(here, axis=0)[:-1]
                    np.moveaxis(worth, axis, 0)[list(group[1:])] &= here[1:] < least
            if len(together) > 1 and not block.view.array_memories:
                worth[1:] &= cycles[1:] < np.minimum.accumulate(cycles, axis=0)[:-1]
        return cycles, worth


def _whole(alike: Sequence[tuple[int, Block]], cycles: _Cycles) -> tuple[FloatArray, IntArray]:
    """Counts, and (block, index in it), of all mappings worth counting of blocks that differ in nothing but the groups that run
    together, fewest groups first."""
    block = alike[0][1]
    numbers = np.array([number for number, _ in alike])
    together = tuple(b.together for _, b in alike)
    found, worth = cycles.of(block, together)
    at = np.flatnonzero(worth)
    some, index = np.divmod(at, block.size)
    m, k, n = np.unravel_index(index, block.shape)
    several = None if len(alike) == 1 else np.array(together)[some]
    return block.rows((m, k, n), found.ravel()[at], several), np.stack((numbers[some], index), axis=1)


class _Cells:
    """A block cut into cells of neighbouring tilings."""

    def __init__(self, number: int, block: Block, cycles: _Cycles, comparison: Comparison) -> None:
        self.number, self.block, self._comparison = number, block, comparison
        sizes = [next((cell for least, cell in CELL if size >= least), 1) for size in block.shape]
        self.starts = tuple(np.arange(0, size, cell) for size, cell in zip(block.shape, sizes, strict=True))
        self._cycles = cycles

    def samples(self) -> tuple[FloatArray, IntArray]:
        """Counts of one mapping of each cell, and (block, index) of it."""
        block = self.block
        ends = (np.append(starts[1:], size) for starts, size in zip(self.starts, block.shape, strict=True))
        at = tuple((starts + end - 1) // 2 for starts, end in zip(self.starts, ends, strict=True))
        index = np.ravel_multi_index(np.ix_(*at), block.shape).ravel()
        return block.rows(np.ix_(*at)), np.stack((np.full(len(index), self.number), index), axis=1)

    def rest(self, pivots: list[_Pivots]) -> tuple[FloatArray, IntArray]:
        """Counts and indices of the mappings worth counting in cells that no pivot beats."""
        block = self.block
        cycles, worth = (x[0] for x in self._cycles.of(block, (block.together,)))
        floor = np.where(worth, cycles, np.inf)
        for axis, starts in enumerate(self.starts):
            floor = np.minimum.reduceat(floor, starts, axis=axis)
        rows = block.floor(self.starts).rows(everything_of(tuple(len(s) for s in self.starts)), floor)
        cells = np.flatnonzero(np.isfinite(rows[:, 0]) & np.isfinite(floor.ravel()))
        seen = self._comparison.columns(rows)
        for some in pivots:
            cells = cells[~some.beat(seen[cells])]
        at = self._inside(cells)
        index = np.ravel_multi_index(at, block.shape)
        index = index[worth.ravel()[index]]
        m, k, n = np.unravel_index(index, block.shape)
        return self._comparison.laid(block.rows((m, k, n), cycles[m, k, n])), np.asarray(index)

    def _inside(self, cells: IntArray) -> Index:
        """Indices of the mappings in the cells."""
        of_dim = np.unravel_index(cells, tuple(len(s) for s in self.starts))
        length = [int(s[1]) if len(s) > 1 else size for s, size in zip(self.starts, self.block.shape, strict=True)]
        offsets = np.indices(length).reshape(3, -1)
        at = [(s[i][:, None] + o).ravel() for s, i, o in zip(self.starts, of_dim, offsets, strict=True)]
        inside = np.logical_and.reduce([a < size for a, size in zip(at, self.block.shape, strict=True)])
        m, k, n = (a[inside] for a in at)
        return m, k, n


def not_dominated(rows: FloatArray, *, excess: float = 0.0, exact: tuple[int, ...] = (0,)) -> IntArray:
    """Indices of the rows [R, C] that no other row beats, one of each set of equal rows, ascending.

    With `excess` above 0 the columns `exact` are compared as they are and one plus each other by powers of `1 + excess`: for every
    row left out, one that stays is at most as large in these columns and, plus one, less than `1 + excess` times as large in the others.
    """
    if len(rows) == 0:
        return np.empty(0, dtype=np.int64)
    if excess > 0.0:
        rows = coarse(rows, excess, exact)
    return np.flatnonzero(moocore.is_nondominated(rows, keep_weakly=False))
