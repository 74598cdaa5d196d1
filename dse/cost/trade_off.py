"""What a second is worth in joules where both count: the weight at which plans and mappings give the least product of energy and time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.cost.metrics import Objective

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

    Totals = Callable[[Objective, FloatArray | None], tuple[FloatArray, FloatArray]]
    """Seconds and joules [D] of a step whose parts are chosen for an objective or, with watts [D], for energy + watts x seconds."""


def weight_w(totals: Totals) -> FloatArray:
    """Watts [D] at which a second weighs as much as a joule when energy x time is to be least; 1 where infeasible.

    The product E T is not a sum over parts and operators. Choices minimise E + w T with w = E / T of the choice before. By the
    inequality of means a round never makes the product larger: E' w T' <= ((E' + w T') / 2)^2 <= ((E + w T) / 2)^2 = E^2. Two rounds begin
    at the least latency, one at the least energy, and the better end counts: the result is at most the product of either optimum, not
    always the least there is. Where the first end is the better one at all points its last weights are returned as they were asked for.
    """
    from_energy = _weight(*totals(Objective.ENERGY, None))
    far = _product(*totals(Objective.EDP, from_energy))
    first = _weight(*totals(Objective.LATENCY, None))
    second = _weight(*totals(Objective.EDP, first))
    better = far < _product(*totals(Objective.EDP, second))
    return np.where(better, from_energy, second) if better.any() else second


def _product(latency_s: FloatArray, energy_j: FloatArray) -> FloatArray:
    return np.multiply(energy_j, latency_s, out=np.full_like(energy_j, np.inf), where=np.isfinite(latency_s))


def _weight(latency_s: FloatArray, energy_j: FloatArray) -> FloatArray:
    return np.divide(energy_j, latency_s, out=np.ones_like(energy_j), where=np.isfinite(latency_s))
