"""Which of many combinations are kept: a few such that at every reference point one of them is about as fast as the best."""

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
    IntArray = NDArray[np.int64]

CAPACITIES_BYTES: Final = tuple(16 * BYTES_PER_KIB * 2.0**i for i in range(17))
"""Buffers, 16 KiB to 1 GiB, at which combinations are compared, beside those from which one is faster than all that need less."""
BALANCES_MACS_PER_BYTE: Final = tuple(16.0 * 2**i for i in range(7))
"""Array peak over DRAM rate: from memory-rich edge chips to twice the ends of today's; between two that are a factor of four apart
neither's best may be good."""
RATES: Final = ((16.0, 32.0), (64.0, 32.0), (256.0, 32.0), (64.0, 8.0))
"""(array peak over vector rate, over buffer rates): h100_sxm has 32, tpu7x 64, fusemax 256; tpu7x 21 to 32, edge32 8
(accelerators/catalogue)."""
COMMON: Final = RATES[1:2]
"""What most chips have, for what is compared first and where the buffer has no room to spare."""
WORSE: Final = 0.005
"""Combinations that at every reference point are within this share of another one are not priced."""
NEAR: Final = 0.05
"""Combinations that come this near the best in the buffer that they just fit, in twice as much or in any are compared at all points."""


def needed(table: WindowTable, geometry: Geometry) -> list[int]:
    """Numbers of a few sequences of `table`, ascending, such that at every reference point one of them is within `WORSE` of the best."""
    near, capacities = _near(table, geometry)
    points = [
        *product(CAPACITIES_BYTES, BALANCES_MACS_PER_BYTE, RATES),
        *product(capacities, BALANCES_MACS_PER_BYTE, COMMON),
    ]
    latency = table.take(near).latency_s(_reference(geometry, points))  # [N, D]
    return sorted(near[_cover(latency)].tolist())


def _cover(latency: FloatArray) -> IntArray:
    """The fewest that a greedy choice finds, best for most points first."""
    good = (latency <= latency.min(axis=0) * (1 + WORSE)) & np.isfinite(latency)
    kept: list[int] = []
    open_points = good.any(axis=0)
    while open_points.any():
        kept.append(int(np.argmax(good[:, open_points].sum(axis=1))))
        open_points &= ~good[kept[-1]]
    return np.array(kept, dtype=np.int64)


def _near(table: WindowTable, geometry: Geometry) -> tuple[IntArray, FloatArray]:
    """Sequences that come near the best of those that need no more room than they have, and the capacities from which one is faster
    than all smaller ones.

    A sequence that needs b bytes is looked at in b, in 2 b and in a buffer without end. In c bytes those of at most c are known to be
    as fast as in what they need, those of at most c / 2 as fast as in twice of it.
    """
    need = table.needed_bytes
    tight, twice, wide = (_alone(table, geometry, factor) for factor in (1.0, 2.0, None))  # [N, B] each
    order = np.argsort(need, kind="stable")
    sizes = need[order]
    least_tight, least_twice = (np.minimum.accumulate(x[order], axis=0) for x in (tight, twice))

    def known(capacity: FloatArray, side: str) -> FloatArray:
        """What is known to be reached in `capacity` [N], [N, B]; with side left, by less need."""
        found = np.full((len(capacity), tight.shape[1]), np.inf)
        for least, room in ((least_tight, capacity), (least_twice, capacity / 2)):
            fitting = np.searchsorted(sizes, room, side=side)  # type: ignore[call-overload]  # left or right
            np.minimum(found, np.where(fitting[:, None] > 0, least[fitting - 1], np.inf), out=found)
        return found

    limit = 1 + NEAR
    near = (tight <= known(need, "right") * limit) | (twice <= known(2 * need, "right") * limit) | (wide <= wide.min(axis=0) * limit)
    faster = (tight < known(need, "left") * (1 - WORSE)).any(axis=1)
    return np.flatnonzero(near.any(axis=1)), np.unique(need[faster])


def _alone(table: WindowTable, geometry: Geometry, factor: float | None) -> FloatArray:
    """Seconds of every sequence in `factor` times the bytes that it needs (None: in any buffer), by balance, [N, B]."""
    found = _reference(geometry, list(product((np.inf,), BALANCES_MACS_PER_BYTE, COMMON)))
    need = np.tile(table.needed_bytes, (found.size, 1)).T  # [N, B]
    room = np.full(need.shape, np.inf) if factor is None else factor * need
    return table.latency_s(replace(found, capacity_bytes=room))


def _reference(geometry: Geometry, points: Sequence[tuple[float, float, tuple[float, float]]]) -> Rates:
    """Made-up design points, (capacity, balance, rates), with one cycle per second."""
    elements = float(geometry.array.elements)
    grid = np.array([(c, b, *r) for c, b, r in points]).T  # [4, D]
    columns = ARRAY + 1 + 2 * len(geometry.inner)
    seconds = np.zeros((columns, grid.shape[1]))
    seconds[[DRAM_READ, DRAM_WRITE]] = grid[1] / elements
    seconds[[BUFFER_READ, BUFFER_WRITE]] = grid[3] / elements
    seconds[ARRAY] = 1.0
    zero = np.zeros(grid.shape[1])
    wide = np.full((len(geometry.inner), grid.shape[1]), np.inf)
    return Rates(seconds, grid[2] / elements, grid[0], wide, zero, zero)
