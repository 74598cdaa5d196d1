"""Prices the combinations of a part at design points: latency of overlapping windows, energy of all counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.cost.charges import Charges
from dse.cost.columns import moved_pj
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
    return rates_of(Charges.of(geometry, table))


def rates_of(charges: Charges) -> Rates:
    """The same, from the charges of the points."""
    return Rates(
        seconds=charges.seconds,
        vector_s_per_op=charges.vector_s_per_op,
        capacity_bytes=charges.capacity_bytes,
        inner_capacity_bytes=charges.inner_capacity_bytes,
        launch_s=charges.launch_latency_s,
        dram_latency_s=charges.dram_latency_s,
    )


def price_combinations(found: Combinations, charges: Charges) -> tuple[FloatArray, FloatArray]:
    """Seconds and joules of every combination, [N, D]; infinite where it does not fit."""
    latency = found.table.latency_s(rates_of(charges))
    return latency, _energy_j(found, slice(None), latency, charges)


def price_combination(found: Combinations, number: int, charges: Charges) -> tuple[FloatArray, FloatArray]:
    """Seconds and joules of one combination, [D]."""
    latency = found.table.alone(number).latency_s(rates_of(charges))
    return latency[0], _energy_j(found, slice(number, number + 1), latency, charges)[0]


def _energy_j(found: Combinations, which: slice, latency_s: FloatArray, charges: Charges) -> FloatArray:
    fits = np.isfinite(latency_s)
    spent = spent_j(found, which, charges) + charges.leakage_w * np.where(fits, latency_s, 0.0)
    return np.where(fits, spent, np.inf)


def spent_j(found: Combinations, which: slice, charges: Charges) -> FloatArray:
    """Joules [N, D or 1] of some combinations but for leakage."""
    pj = moved_pj(found.table.totals[which], charges.pj) + found.vector_ops[which, None] * charges.vector_pj_per_op
    for dtype, macs in found.macs:
        pj = pj + macs[which, None] * charges.mac_pj[dtype]
    return np.asarray(pj * JOULES_PER_PJ)
