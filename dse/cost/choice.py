"""What counts as the best of several mappings or plans: least latency, energy or their weighted sum, and how ties are decided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.metrics import Objective

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

TIE_TOLERANCE: Final = 5e-4
"""Latencies (energies) within this share of the best count as ties and are decided by energy (latency)."""


def choose(latency_s: FloatArray, energy_j: FloatArray, objective: Objective, edp_weight_w: FloatArray | None) -> IntArray:
    """The best of C candidates for each of D points, from latency and energy [C, D]; the first where they are equal.

    With `edp_weight_w` [D] least energy + weight x latency; else least latency (energy), and among candidates within
    `TIE_TOLERANCE` of it least energy (latency): a shade of latency never costs a multiple of the energy.
    """
    if edp_weight_w is not None:
        return np.asarray(np.argmin(weighted(latency_s, energy_j, edp_weight_w), axis=0))
    first, second = (energy_j, latency_s) if objective is Objective.ENERGY else (latency_s, energy_j)
    limit = first.min(axis=0) * (1 + TIE_TOLERANCE)
    return np.asarray(np.argmin(np.where(first <= limit, second, np.inf), axis=0))


def weighted(latency_s: FloatArray, energy_j: FloatArray, weight_w: FloatArray) -> FloatArray:
    """Energy + weight x latency; infinite where latency is, also for a weight of 0."""
    found: FloatArray = np.full(latency_s.shape, np.inf)
    fits = np.isfinite(latency_s)
    np.multiply(weight_w, latency_s, out=found, where=fits)
    return np.add(energy_j, found, out=found, where=fits)
