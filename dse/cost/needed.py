"""Which of many combinations are kept: a few such that at every reference point one of them is about as fast, or as frugal, as the best."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.columns import ARRAY, BUFFER_READ, BUFFER_WRITE, DRAM_READ, DRAM_WRITE
from dse.cost.window_table import Rates
from dse.units import BYTES_PER_KIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.cost.window_table import WindowTable
    from dse.hw.accelerator import Geometry

    FloatArray = NDArray[np.float64]
    BoolArray = NDArray[np.bool_]
    IntArray = NDArray[np.int64]

CAPACITIES_BYTES: Final = tuple(16 * BYTES_PER_KIB * 2.0**i for i in range(17))
"""Buffers, 16 KiB to 1 GiB, at which combinations are compared, beside those from which one is faster than all that need less."""
BALANCES_MACS_PER_BYTE: Final = (4.0, 16.0, 32.0, 64.0, 90.0, 128.0, 181.0, 256.0, 1024.0)
"""Array peak over DRAM rate: from edge chips with much faster memory to twice the ends of today's; close together where most chips are,
as where both are about equally busy the best for one balance may be 1 % behind at the next (69 to 160, arXiv 2507.15465 Table I)."""
RATES: Final = ((16.0, 8.0), (64.0, 32.0), (256.0, 32.0), (256.0, 8.0))
"""(array peak over vector rate, over buffer rates): h100_sxm 16 and 16, a100_sxm 16 and 8, tpu7x 64 and 21 to 32, fusemax 256 and 64,
flat_cloud 256 and 8 (accelerators/catalogue)."""
COMMON: Final = (RATES[1], RATES[3])
"""A usual chip, and one whose vector unit is slow against its buffer, so that slices that run as a pipeline are the best: for what is
compared first and where the buffer has no room to spare. With the first alone flat_cloud was up to 43 % slower than it need be."""
DRAM_AND_BUFFER_PJ_PER_BYTE: Final = ((32.0, 2.0), (64.0, 8.0))
"""Energies at which they are compared: tpu7x 32 and 1.9 to 3.1, flat_cloud 64 and 8 (accelerators/catalogue)."""
WORSE: Final = 0.005
"""Combinations that at every reference point are within this share of another one are not priced."""
NEAR: Final = 0.05
"""Combinations that come this near the best in the buffer that they just fit, in twice as much or in any are compared at all points."""


def needed(table: WindowTable, geometry: Geometry) -> list[int]:
    """Numbers of a few sequences of `table`, ascending, such that at every reference point one of them is within `WORSE` of the least
    latency, and one of the least product of latency and energy."""
    scale = _energies(table)
    near, capacities = _near(table, geometry, scale)
    some = table.take(near)
    latency = np.concatenate(
        [
            some.latency_in_s(sizes, _reference(geometry, rates)).reshape(len(near), -1)
            for sizes, rates in ((np.array(CAPACITIES_BYTES), RATES), (capacities, COMMON))
        ],
        axis=1,
    )  # [N, D]
    good = np.concatenate([_good(latency * s[near]) for s in scale], axis=1)
    return sorted(near[_cover(good)].tolist())


def _energies(table: WindowTable) -> list[FloatArray]:
    """What latency is multiplied by to be compared, [N, 1] each: 1, and reference energies.

    To what a sequence moves comes as much as the most frugal one moves, for what all of them spend alike.
    """
    found = [np.ones((len(table.needed_bytes), 1))]
    for dram, buffer in DRAM_AND_BUFFER_PJ_PER_BYTE:
        moved = (
            table.totals[:, [DRAM_READ, DRAM_WRITE]].sum(axis=1) * dram + table.totals[:, [BUFFER_READ, BUFFER_WRITE]].sum(axis=1) * buffer
        )
        found.append((moved + moved.min())[:, None])
    return found


def _good(values: FloatArray) -> BoolArray:
    """Which of values [N, D] are within `WORSE` of the least at each point; none where that is infinite."""
    least = values.min(axis=0)
    return np.asarray(values <= np.where(np.isfinite(least), least * (1 + WORSE), -1.0))


def _cover(good: BoolArray) -> IntArray:
    """The fewest that a greedy choice finds of those that are `good` [N, D] enough somewhere, for most points first."""
    kept: list[int] = []
    best = good.sum(axis=1)  # at how many points, of those that none of the kept ones is good for
    while best.any():
        kept.append(int(np.argmax(best)))
        closed = good[kept[-1]]
        best -= good[:, closed].sum(axis=1)
        good = good[:, ~closed]
    return np.array(kept, dtype=np.int64)


def _near(table: WindowTable, geometry: Geometry, scale: Sequence[FloatArray]) -> tuple[IntArray, FloatArray]:
    """Sequences that come near the best of those that need no more room than they have, and the capacities from which one is better
    than all smaller ones.

    A sequence that needs b bytes is looked at in b, in 2 b and in a buffer without end. In c bytes those of at most c are known to be
    as fast as in what they need, those of at most c / 2 as fast as in twice of it.
    """
    rooms = _alone(table, geometry)
    near, better = np.zeros((2, len(table.needed_bytes)), dtype=np.bool_)
    for s in scale:
        known = _Known(table.needed_bytes, *(room * s for room in rooms))
        near |= known.near()
        better |= known.better()
    return np.flatnonzero(near), np.unique(table.needed_bytes[better])


class _Known:
    """What sequences are known to reach: values [N, B] in what they need, in twice of it and in any buffer."""

    def __init__(self, need: FloatArray, tight: FloatArray, twice: FloatArray, wide: FloatArray) -> None:
        order = np.argsort(need, kind="stable")
        self._need, self._tight, self._twice, self._wide, self._sizes = need, tight, twice, wide, need[order]
        self._least = [np.minimum.accumulate(x[order], axis=0) for x in (tight, twice)]

    def near(self) -> NDArray[np.bool_]:
        """Those within `NEAR` of what is known somewhere, [N]."""
        limit = 1 + NEAR
        found = self._tight <= self._reached(self._need, smaller=False) * limit
        found |= self._twice <= self._reached(2 * self._need, smaller=False) * limit
        found |= self._wide <= self._wide.min(axis=0) * limit
        return np.asarray(found.any(axis=1))

    def better(self) -> NDArray[np.bool_]:
        """Those that in what they need beat all that need less, [N]."""
        return np.asarray((self._tight < self._reached(self._need, smaller=True) * (1 - WORSE)).any(axis=1))

    def _reached(self, capacity: FloatArray, *, smaller: bool) -> FloatArray:
        """What is known to be reached in `capacity` [N], [N, B]; `smaller`: by those that need less."""
        found = np.full(self._tight.shape, np.inf)
        for least, room in zip(self._least, (capacity, capacity / 2), strict=True):
            fitting = np.searchsorted(self._sizes, room, side="left" if smaller else "right")
            np.minimum(found, np.where(fitting[:, None] > 0, least[fitting - 1], np.inf), out=found)
        return found


def _alone(table: WindowTable, geometry: Geometry) -> list[FloatArray]:
    """Seconds of every sequence in the bytes that it needs, in twice as many and in any buffer, by balance, [N, B] each."""
    need = table.needed_bytes
    room = np.concatenate((need, 2 * need, np.full(len(need), np.inf)))
    every = table.take(np.tile(np.arange(len(need)), 3))
    return np.split(every.latency_s(replace(_reference(geometry, COMMON), capacity_bytes=room[:, None])), 3)


def _reference(geometry: Geometry, rates: Sequence[tuple[float, float]]) -> Rates:
    """Made-up design points, every balance with each of `rates`, with one cycle per second and any buffer."""
    elements = float(geometry.array.elements)
    grid = np.array([(b, *r) for b, r in product(BALANCES_MACS_PER_BYTE, rates)]).T  # [3, D]
    columns = ARRAY + 1 + 2 * len(geometry.inner)
    seconds = np.zeros((columns, grid.shape[1]))
    seconds[[DRAM_READ, DRAM_WRITE]] = grid[0] / elements
    seconds[[BUFFER_READ, BUFFER_WRITE]] = grid[2] / elements
    seconds[ARRAY] = 1.0
    zero = np.zeros(grid.shape[1])
    wide = np.full((len(geometry.inner), grid.shape[1]), np.inf)
    return Rates(seconds, grid[1] / elements, np.full(grid.shape[1], np.inf), wide, zero, zero)
