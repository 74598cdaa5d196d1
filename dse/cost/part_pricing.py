"""Prices the plans and combinations of a part at many design points and takes the best: only those that may be it are priced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.choice import TIE_TOLERANCE, choose, weighted
from dse.cost.combination_pricing import price_combination, price_combinations
from dse.cost.floors import ROUNDING, Floors, floors_of
from dse.cost.metrics import Objective

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.cost.charges import Charges
    from dse.cost.row_table import BestRows, RowTable
    from dse.cost.workload_pricing import CompiledPart

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

FEW_POINTS: Final = 512
"""Points up to which pricing all candidates is cheaper than finding out which are needed."""


@dataclass(frozen=True, slots=True)
class Best:
    """The best of a part's candidates at each point: plans in order, then combinations."""

    pick: IntArray
    latency_s: FloatArray
    energy_j: FloatArray


class PartPricer:
    """Candidates of one part at D points."""

    def __init__(self, part: CompiledPart, charges: Charges, *, bounded: bool | None = None) -> None:
        self.part = part
        self.charges = charges
        self.plans = len(part.plans)
        self.size = self.plans + (0 if part.combinations is None else len(part.combinations.members))
        self._bounded = charges.size > FEW_POINTS if bounded is None else bounded
        self._floors: Floors | None = None
        self._combinations: tuple[FloatArray, FloatArray] | None = None
        self._priced = np.zeros((self.size - self.plans, charges.size), dtype=np.bool_)
        """Where combinations are priced already, in `_combinations`."""

    def best(self, objective: Objective, edp_weight_w: FloatArray | None) -> Best:
        """The best at each point: see `choose`."""
        latency, energy = self.candidates(objective, edp_weight_w)
        pick = choose(latency, energy, objective, edp_weight_w)
        points = np.arange(self.charges.size)
        return Best(pick, latency[pick, points], energy[pick, points])

    def candidates(self, objective: Objective, edp_weight_w: FloatArray | None) -> tuple[FloatArray, FloatArray]:
        """Seconds and joules [N, D] of plans and combinations; infinite where one does not fit or can't be the best."""
        return (self._few if self._bounded else self._all)(objective, edp_weight_w)

    def rows(self, plan: int, at: IntArray, objective: Objective, edp_weight_w: FloatArray | None) -> tuple[RowTable, list[BestRows]]:
        """The rows that one plan takes at some points."""
        weight = None if edp_weight_w is None else edp_weight_w[at]
        rows = self.part.plans[plan].rows
        return rows, list(rows.best(self.charges.at(at), objective, weight))

    def _all(self, objective: Objective, weight: FloatArray | None) -> tuple[FloatArray, FloatArray]:
        """Seconds and joules [N, D] of all candidates."""
        latency, energy = np.empty((self.size, self.charges.size)), np.empty((self.size, self.charges.size))
        for best in self.part.rows.best(self.charges, objective, weight):
            for number, order in enumerate(self.part.orders):
                latency[number, best.at], energy[number, best.at] = _sums(best, order)
        if self.part.combinations is not None:
            if self._combinations is None:
                self._combinations = price_combinations(self.part.combinations, self.charges)
            latency[self.plans :], energy[self.plans :] = self._combinations
        return latency, energy

    def _few(self, objective: Objective, weight: FloatArray | None) -> tuple[FloatArray, FloatArray]:
        """The same, infinite where a candidate can't be the best, nor within the tolerance of it."""
        if self._floors is None:
            part = self.part
            self._floors = floors_of(part.rows, part.orders, part.combinations, self.charges, part.rows.geometry)
        floors = self._floors
        latency, energy = np.full((self.size, self.charges.size), np.inf), np.full((self.size, self.charges.size), np.inf)
        if weight is not None:
            least, tolerance = weighted(floors.latency_s, floors.energy_j, weight), 1.0
        else:
            least, tolerance = floors.energy_j if objective is Objective.ENERGY else floors.latency_s, 1 + TIE_TOLERANCE
        least = least * (1 - ROUNDING)
        limit = np.full(self.charges.size, np.inf)
        first = np.argmin(least, axis=0)
        for later in (False, True):
            for number in range(self.size):
                mine = first == number
                at = np.flatnonzero(~mine & (least[number] <= limit) & np.isfinite(least[number]) if later else mine)
                if len(at) == 0:
                    continue
                seconds, joules = self._price(number, at, objective, weight)
                latency[number, at], energy[number, at] = seconds, joules
                if weight is not None:
                    value = weighted(seconds, joules, weight[at])
                else:
                    value = joules if objective is Objective.ENERGY else seconds
                limit[at] = np.minimum(limit[at], value * tolerance)
        return latency, energy

    def _price(self, number: int, at: IntArray, objective: Objective, weight: FloatArray | None) -> tuple[FloatArray, FloatArray]:
        """Seconds and joules of one candidate at some points."""
        if number >= self.plans:
            return self._price_combination(number - self.plans, at)
        plan = self.part.plans[number]
        latency, energy = np.empty(len(at)), np.empty(len(at))
        for best in plan.rows.best(self.charges.at(at), objective, None if weight is None else weight[at]):
            latency[best.at], energy[best.at] = _sums(best, plan.order)
        return latency, energy

    def _price_combination(self, number: int, at: IntArray) -> tuple[FloatArray, FloatArray]:
        assert self.part.combinations is not None
        if self._combinations is None:
            self._combinations = np.empty(self._priced.shape), np.empty(self._priced.shape)
        latency, energy = (found[number] for found in self._combinations)
        new = at[~self._priced[number, at]]
        if len(new):
            latency[new], energy[new] = price_combination(self.part.combinations, number, self.charges.at(new))
            self._priced[number, new] = True
        return latency[at], energy[at]


def _sums(best: BestRows, order: IntArray) -> tuple[FloatArray, FloatArray]:
    """Seconds and joules of a plan from those of its operators, one added after another in order."""
    latency, energy = (np.add.accumulate(every[order], axis=0)[-1] for every in (best.latency_s, best.energy_j))
    return latency, energy
