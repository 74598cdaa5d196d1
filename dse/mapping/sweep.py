"""Finds the unbeaten mappings of large blocks in one pass, from those that need the least room to those that need the most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import moocore
import numpy as np

from dse.mapping.pivots import MOST, Pivots

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.mapping.cells import Cells
    from dse.mapping.comparison import Comparison

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

BANDS: Final = 32
"""Stretches of footprints that are looked at one after another, at most."""
BAND: Final = 512
"""Cells and mappings that are known at first in a stretch, at least."""
SLOW_START: Final = 8
"""Stretches at the beginning that are shorter, the first one most: nothing is known there."""


class _Rows(NamedTuple):
    """Mappings."""

    laid: FloatArray
    """As `Comparison.laid` has them, [columns, R]."""
    origin: IntArray
    """(block, index in it), [2, R]."""

    def take(self, index: IntArray) -> _Rows:
        """Those at `index`."""
        return _Rows(self.laid.take(index, axis=1), self.origin.take(index, axis=1))

    @staticmethod
    def joined(parts: list[_Rows]) -> _Rows:
        """One after another."""
        return parts[0] if len(parts) == 1 else _Rows(*(np.concatenate(x, axis=1) for x in zip(*parts, strict=True)))


class Sweep:
    """Mappings by footprint, band after band.

    When a band begins all unbeaten mappings that need less room are known. Without footprints few of them are unbeaten, the skyline. Cells
    whose floor lies in the band are opened if nothing in the skyline beats the floor; what it beats of their mappings goes, the others wait
    for the band of their own footprint. There those that it still leaves are compared with each other, and what is left stays.
    """

    def __init__(self, comparison: Comparison, cells: Cells, rows: FloatArray, at: IntArray) -> None:
        """`rows` [R, C] are the counts of mappings `at` [R, 2] that are known at first."""
        self._comparison, self._cut = comparison, cells
        self._size, self._wide = comparison.footprint, cells.most
        self._others = np.array([i for i in range(comparison.width) if i != self._size])
        floors = comparison.columns(cells.floors().T).T
        here = np.flatnonzero(np.isfinite(floors).all(axis=0))
        order = here[np.argsort(floors[self._size, here], kind="stable")]
        self._cells, self._floors = order, floors[self._others][:, order]
        size = floors[self._size, order]
        first = _Rows(comparison.laid(rows).T, at.T)
        self._bounds = _bounds(np.sort(np.concatenate((size, first.laid[self._size]))))
        self._ends = np.searchsorted(size, self._bounds, side="right").tolist()
        self._waiting: list[list[_Rows]] = [[] for _ in self._ends]
        self._wait(first, 0)
        self._skyline: FloatArray = np.empty((0, len(self._others)))

    def run(self) -> tuple[FloatArray, IntArray]:
        """Counts [R, C] of the mappings that no other one beats, and which they are, [R, 2]."""
        found: list[_Rows] = []
        begin = 0
        for band, end in enumerate(self._ends):
            pivots = Pivots(self._skyline) if len(self._skyline) else None
            waited = [self._unbeaten(_Rows.joined(self._waiting[band]), pivots)] if self._waiting[band] else []
            self._waiting[band] = []
            opened = self._opened(begin, end, band, pivots)
            begin = end
            if waited or opened is not None:
                found.append(self._settled(_Rows.joined(waited if opened is None else [*waited, opened])))
        every = _Rows.joined(found)
        return self._comparison.counted(every.laid.T), every.origin.T

    def _unbeaten(self, rows: _Rows, pivots: Pivots | None) -> _Rows:
        """Those that nothing in the skyline beats, as far as it is quick to tell."""
        return rows if pivots is None else rows.take(np.flatnonzero(~pivots.beat(rows.laid[self._others])))

    def _opened(self, begin: int, end: int, band: int, pivots: Pivots | None) -> _Rows | None:
        """Open cells of a band; the unbeaten mappings that belong to it, the others wait."""
        cells = self._cells[begin:end]
        if pivots is not None and len(cells):
            cells = cells[~pivots.beat(self._floors[:, begin:end])]
        if not len(cells):
            return None
        counted = self._cut.counts(cells)
        rows = self._unbeaten(_Rows(self._comparison.laid(counted.rows).T, counted.at.T), pivots)
        size = rows.laid[self._size]
        later = np.flatnonzero((size > self._bounds[band]) & (size < np.inf))
        self._wait(rows.take(later), band)
        return rows.take(np.flatnonzero((size <= self._bounds[band]) & (size < np.inf)))

    def _wait(self, rows: _Rows, band: int) -> None:
        """Put mappings beside those that wait for their bands, from `band` on."""
        bands = np.searchsorted(self._bounds, rows.laid[self._size]).astype(np.int16)
        order = np.argsort(bands, kind="stable")
        rows, ends = rows.take(order), np.cumsum(np.bincount(bands, minlength=len(self._bounds))).tolist()
        for i in range(band, len(ends)):
            begin = ends[i - 1] if i else 0
            if begin < ends[i]:
                self._waiting[i].append(_Rows(rows.laid[:, begin : ends[i]], rows.origin[:, begin : ends[i]]))

    def _settled(self, rows: _Rows) -> _Rows:
        """Those of a band that no other mapping beats, of equal ones that of the first block; the skyline with them."""
        width = self._comparison.width
        rows = rows.take(np.argsort(rows.origin[0] * self._wide + rows.origin[1]))
        compared = np.ascontiguousarray(rows.laid[:width].T)
        if len(self._skyline) > MOST:  # more than pivots told apart
            known = np.zeros((len(self._skyline), width))
            known[:, self._others] = self._skyline
            compared = np.concatenate((known, compared))
        kept = np.flatnonzero(moocore.is_nondominated(compared, keep_weakly=False)[len(compared) - rows.laid.shape[1] :])
        found = rows.take(kept)
        skyline = np.concatenate((self._skyline, found.laid[self._others].T))
        self._skyline = skyline[moocore.is_nondominated(skyline, keep_weakly=False)]
        return found


def _bounds(sizes: FloatArray) -> FloatArray:
    """The largest footprint of each band, of sorted footprints; the last one has no end."""
    bands = min(BANDS, -(-len(sizes) // BAND))
    length = np.minimum(np.arange(1, bands + 1) / SLOW_START, 1.0)
    ends = np.cumsum(length)
    found = sizes[((len(sizes) - 1) * ends / ends[-1]).astype(np.int64)]
    found[-1] = np.inf
    return np.asarray(found[np.flatnonzero(np.diff(found, append=np.nan) != 0)])
