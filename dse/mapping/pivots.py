"""Known mappings in a form that says quickly which others they beat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import moocore
import numpy as np

from dse.mapping.ranks import Ranks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

STEP_ROWS: Final = 64
"""Known rows for each step of the stairs."""
STEPS: Final = 20
"""Most steps."""
MOST: Final = 1024
"""Most pivots of one step."""


class Pivots:
    """Some rows in a form that says quickly whether any of them is at most as large as a given row in all columns."""

    def __init__(self, rows: FloatArray, most: int = MOST) -> None:
        if len(rows) > most:
            order = np.argsort(np.log1p(rows).sum(axis=1), kind="stable")
            rows = rows[order[np.unique(np.linspace(0, len(rows) - 1, most).astype(np.int64))]]
        words = _bits(len(rows), len(rows))
        self._columns = []
        for column in rows.T:
            order = np.argsort(column, kind="stable")
            values, prefix = column[order], np.bitwise_or.accumulate(words[order], axis=0)
            last = np.append(np.flatnonzero(values[1:] != values[:-1]), len(values) - 1)[: len(values)]  # of equal ones; none of none
            below = np.zeros((len(last) + 1, words.shape[1]), dtype=np.uint64)
            prefix.take(last, axis=0, out=below[1:], mode="clip")
            self._columns.append((Ranks(values[last]), below))

    def beat(self, columns: FloatArray) -> NDArray[np.bool_]:
        """Which of the rows some pivot is at most as large as, [R]; `columns` [C, R] has a row in each column."""
        return np.asarray(self._below(columns).any(axis=1))

    def beating(self, columns: FloatArray) -> NDArray[np.bool_]:
        """Which pivots, as they were given, are at most as large as some row; `columns` as for `beat`, for as many pivots as are kept."""
        bits = np.bitwise_or.reduce(self._below(columns), axis=0)
        return np.unpackbits(bits.astype("<u8").view(np.uint8), bitorder="little").astype(np.bool_)

    def _below(self, columns: FloatArray) -> NDArray[np.uint64]:
        """Pivots that are at most as large as each row, a bit each, [R, words]."""
        columns = np.ascontiguousarray(columns)
        (ranks, prefix), *others = self._columns
        left = prefix.take(ranks.of(columns[0]), axis=0)
        for (ranks, prefix), column in zip(others, columns[1:], strict=True):
            left &= prefix.take(ranks.of(column), axis=0)
        return np.asarray(left)


class Stairs:
    """Known rows by footprint: each step has those of all rows with at most its footprint that no other of these beats in the other
    columns. They are few, so whatever needs at least as much room is held against nearly all that is known."""

    def __init__(self, rows: FloatArray, footprint: int) -> None:
        self._footprint = footprint
        self._others = np.array([i for i in range(rows.shape[1]) if i != footprint])
        order = np.argsort(rows[:, footprint], kind="stable")
        size, rest = rows[order, footprint], np.ascontiguousarray(rows[order][:, self._others])
        steps = min(STEPS, -(-len(rows) // STEP_ROWS))
        first = np.unique(size[np.linspace(0, len(rows) - 1, steps + 1).astype(np.int64)[:-1]])
        self._sizes = first
        ends = np.searchsorted(size, first, side="right")
        known, self._steps, begin = rest[:0], [], 0
        for end in ends.tolist():
            known = np.concatenate((known, rest[begin:end]))
            known = known[moocore.is_nondominated(known, keep_weakly=False)]
            self._steps.append(Pivots(known))
            begin = end

    def beat(self, columns: FloatArray) -> NDArray[np.bool_]:
        """Which of the rows some known one is at most as large as, as far as the steps tell, [R]; `columns` [C, R]."""
        step = np.searchsorted(self._sizes, columns[self._footprint], side="right").astype(np.int16)
        order = np.argsort(step, kind="stable")
        ends = np.searchsorted(step[order], np.arange(len(self._steps) + 1), side="right").tolist()
        rest = columns.take(order, axis=1)[self._others]
        beaten = np.zeros(len(order), dtype=np.bool_)  # in that order; rows below the first step stand on none
        for pivots, begin, end in zip(self._steps, ends[:-1], ends[1:], strict=True):
            if begin < end:
                beaten[begin:end] = pivots.beat(rest[:, begin:end])
        found = np.empty_like(beaten)
        found[order] = beaten
        return found


def _bits(rows: int, most: int) -> NDArray[np.uint64]:
    """A bit of its own for each of `rows`, in words that hold `most` bits, [rows, words]."""
    number = np.arange(rows)
    bits = np.zeros((rows, -(-most // 64)), dtype=np.uint64)
    bits[number, number // 64] = np.uint64(1) << (number % 64).astype(np.uint64)
    return bits
