"""Prices the combinations of a part over a table of design points: latency of overlapping windows, energy of all counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.cost.columns import pj_per_count, seconds_per_count
from dse.cost.window_table import Rates
from dse.units import JOULES_PER_PJ

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.cost.combinations import Combinations
    from dse.hw.accelerator import Geometry
    from dse.hw.table import DesignTable

    FloatArray = NDArray[np.float64]


def rates(geometry: Geometry, table: DesignTable) -> Rates:
    """What the points of `table` charge."""
    inner = [m.capacity_bytes for m in table.inner]
    return Rates(
        seconds=seconds_per_count(geometry, table),
        vector_s_per_op=1.0 / (table.vector_ops_per_cycle * table.clock_hz),
        capacity_bytes=table.buffer_capacity_bytes,
        inner_capacity_bytes=np.stack(inner) if inner else np.zeros((0, table.size)),
        launch_s=table.launch_latency_s,
        dram_latency_s=table.dram_latency_s,
    )


def price_combinations(found: Combinations, table: DesignTable, geometry: Geometry) -> tuple[FloatArray, FloatArray]:
    """Seconds and joules of every combination, [N, D]; infinite where it does not fit."""
    latency = found.table.latency_s(rates(geometry, table))
    vector_ops = np.array([m.vector_ops for m in found.members])
    pj = found.table.totals @ pj_per_count(geometry, table) + np.outer(vector_ops, table.vector_pj_per_op)
    for dtype, macs in found.macs:
        pj += macs * table.mac_pj[dtype]
    fits = np.isfinite(latency)
    energy = pj * JOULES_PER_PJ + table.leakage_w * np.where(fits, latency, 0.0)
    return latency, np.where(fits, energy, np.inf)
