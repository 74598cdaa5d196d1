"""Rows for the operators of a plan: for each buffer and weighting the best that fit, together where operators run together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from dse.units import BYTES_PER_KIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.cost.frontier_pricing import OperatorPricer
    from dse.schedule.rounds import Window

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

CAPACITIES_BYTES: Final = tuple(16 * BYTES_PER_KIB * 4**i for i in range(9))
"""Buffers, 16 KiB to 1 GiB, for which mappings are chosen."""
TIGHT: Final = 1.125
"""And one this many times what a form holds at most: some chip has hardly more."""
HALVINGS: Final = 16
"""Times that the room for tiles of operators that run together is halved before a combination is given up."""


class RowChooser:
    """Rows of one operator by size and weights: the best of each prefix of its frontier."""

    def __init__(self, pricer: OperatorPricer, weights: FloatArray) -> None:
        cost = pricer.counts[:, 1:] @ weights.T  # [R, K]
        least = np.minimum.accumulate(cost, axis=0)
        new = np.vstack((np.ones((1, cost.shape[1]), dtype=bool), cost[1:] < least[:-1]))
        best = np.maximum.accumulate(np.where(new, np.arange(len(cost))[:, None], 0), axis=0)
        self._best = np.vstack((best, np.full((1, cost.shape[1]), -1)))
        """[R + 1, K] by the last row that fits; the last one stands for none."""
        self._footprints: FloatArray = np.ascontiguousarray(pricer.counts[:, 0])
        self._sizes = np.append(self._footprints, np.inf)

    def rows(self, room_bytes: FloatArray, weight: IntArray) -> tuple[IntArray, FloatArray]:
        """The best rows that fit rooms [N] for weights [N], and their bytes; -1 and infinite where none does."""
        fits = np.searchsorted(self._footprints, room_bytes, side="right")
        found = self._best[fits - 1, weight]
        return found, self._sizes[found]


class RowChoices:
    """Rows for every operator of a form: for each capacity and weight the best that fit, together where they run together."""

    def __init__(self, form: Sequence[Window], choosers: Sequence[RowChooser]) -> None:
        self.held_bytes = [w.held_bytes for w in form]
        self._choosers = choosers
        self._together = [([s.operator for s in w.shares], held) for w, held in zip(form, self.held_bytes, strict=True) if w.together]
        self._most_held = [0.0] * len(choosers)
        for w, held in zip(form, self.held_bytes, strict=True):
            for s in w.shares:
                self._most_held[s.operator] = max(self._most_held[s.operator], held)

    def every(self, weights: int) -> list[tuple[int, ...]]:
        """All different ones."""
        most = max(self.held_bytes)
        capacities = (TIGHT * most, *(c for c in CAPACITIES_BYTES if c >= most))
        capacity = np.repeat(capacities, weights)
        weight = np.tile(np.arange(weights), len(capacities))
        rows = self._rows(capacity, weight)
        return [chosen for chosen in dict.fromkeys(map(tuple, rows.T.tolist())) if -1 not in chosen]

    def _rows(self, capacity_bytes: FloatArray, weight: IntArray) -> IntArray:
        """Rows [operators, N] for capacities and weights [N]; some -1 where nothing fits."""
        found = np.empty((len(self._choosers), len(weight)), dtype=np.int64)
        room = capacity_bytes - np.array(self._most_held)[:, None]
        left = np.arange(len(weight))
        for _ in range(HALVINGS):
            sizes = np.empty_like(room)
            for o, chooser in enumerate(self._choosers):
                found[o, left], sizes[o] = chooser.rows(room[o], weight[left])
            tight = np.zeros(room.shape, dtype=np.bool_)
            for operators, held in self._together:
                tight[operators] |= _sum(sizes[operators]) > capacity_bytes[left] - held
            again = np.flatnonzero(tight.any(axis=0) & np.isfinite(sizes).all(axis=0))
            room = np.where(tight, room / 2, room)[:, again]
            left = left[again]
            if not len(left):
                return found
        found[:, left] = -1
        return found


def _sum(sizes: FloatArray) -> FloatArray:
    """Sums over the first axis, one added after another."""
    return np.asarray(np.add.accumulate(sizes, axis=0)[-1])
