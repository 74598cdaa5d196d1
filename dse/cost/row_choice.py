"""Rows for the operators of a plan: for each buffer and weighting the best that fit, together where operators run together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.units import BYTES_PER_KIB

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
        self._known: dict[tuple[float, float], tuple[IntArray, FloatArray]] = {}

    def beside(self, held: float, capacities: _Capacities) -> tuple[IntArray, FloatArray]:
        """`rows` beside so many bytes in each capacity; forms of a plan, and plans, often ask the same."""
        key = held, capacities.most_held
        if key not in self._known:
            self._known[key] = self.rows(capacities.bytes - held, capacities.weight)
        return self._known[key]

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
        self._most_held = [0.0] * len(choosers)
        together: dict[tuple[int, ...], float] = {}
        for w, held in zip(form, self.held_bytes, strict=True):
            operators = tuple([s.operator for s in w.shares])
            for o in operators:
                self._most_held[o] = max(self._most_held[o], held)
            if w.together and len(operators) > 1:
                together[operators] = max(together.get(operators, 0.0), held)
        self._together = [(list(o), held) for o, held in together.items() if not _within(o, held, together)]
        """Operators that run together, and bytes held meanwhile, less those that run with more others in no more room elsewhere."""

    def every(self, weights: int) -> list[tuple[int, ...]]:
        """All different ones."""
        rows = self._rows(_capacities(max(self.held_bytes), weights))
        return [chosen for chosen in dict.fromkeys(map(tuple, rows.T.tolist())) if -1 not in chosen]

    def _rows(self, capacities: _Capacities) -> IntArray:
        """Rows [operators, N] for capacities and weights; some -1 where nothing fits."""
        capacity_bytes, weight = capacities.bytes, capacities.weight
        first = [c.beside(held, capacities) for c, held in zip(self._choosers, self._most_held, strict=True)]
        found, sizes = (np.array(x) for x in zip(*first, strict=True))
        room: FloatArray = capacity_bytes - np.array(self._most_held)[:, None]
        left = np.arange(len(weight))
        for _ in range(HALVINGS):
            tight = np.zeros(room.shape, dtype=np.bool_)
            for operators, held in self._together:
                tight[operators] |= _sum(sizes[operators]) > capacity_bytes[left] - held
            again = np.flatnonzero(tight.any(axis=0) & np.isfinite(sizes).all(axis=0))
            if not len(again):
                return found
            room, tight, left = room[:, again], tight[:, again], left[again]
            room, sizes = np.where(tight, room / 2, room), sizes[:, again]
            for o in np.flatnonzero(tight.any(axis=1)).tolist():
                found[o, left], sizes[o] = self._choosers[o].rows(room[o], weight[left])
        found[:, left] = -1
        return found


@dataclass(frozen=True)
class _Capacities:
    """Buffers for which rows are chosen, each with every weight, arrays [N]."""

    most_held: float
    """Most bytes that the form holds at a time; the rest follows from it."""
    bytes: FloatArray
    weight: IntArray


@lru_cache(maxsize=1024)
def _capacities(most_held: float, weights: int) -> _Capacities:
    found = (TIGHT * most_held, *(c for c in CAPACITIES_BYTES if c >= most_held))
    return _Capacities(most_held, np.repeat(found, weights), np.tile(np.arange(weights), len(found)))


def _within(operators: tuple[int, ...], held: float, together: Mapping[tuple[int, ...], float]) -> bool:
    """Whether others run together with all of `operators`, in their order, beside as many bytes or more."""
    return any(len(o) > len(operators) and h >= held and set(operators) <= set(o) for o, h in together.items())


def _sum(sizes: FloatArray) -> FloatArray:
    """Sums over the first axis, one added after another."""
    return np.asarray(np.add.accumulate(sizes, axis=0)[-1])
