"""Prices the plans and combinations of a part at many design points and takes the best: only those that may be it are priced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.choice import TIE_TOLERANCE, choose, weighted
from dse.cost.combination_pricing import price_combination, price_combinations
from dse.cost.floors import ROUNDING, Floors
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


@dataclass(frozen=True, slots=True)
class _PricedCandidate:
    """One candidate at some points."""

    number: int
    at: IntArray
    latency_s: FloatArray
    energy_j: FloatArray
    value: FloatArray
    """What is to be least."""


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
        self._last: tuple[Objective, FloatArray | None, Best] | None = None
        """What was asked last, and the answer."""
        self._rows: dict[int, list[tuple[IntArray, IntArray]]] = {}
        """By plan: points and the rows [Q, d] taken there, of the last choice of the best."""

    def best(self, objective: Objective, edp_weight_w: FloatArray | None) -> Best:
        """The best at each point: see `choose`. Asked again for what was asked last it gives the same answer."""
        if self._last is None or self._last[0] is not objective or self._last[1] is not edp_weight_w:
            self._last = objective, edp_weight_w, self._best(objective, edp_weight_w)
        return self._last[2]

    def _best(self, objective: Objective, edp_weight_w: FloatArray | None) -> Best:
        if self._bounded:
            return self._best_of_few(objective, edp_weight_w)
        latency, energy = self.candidates(objective, edp_weight_w)
        pick = choose(latency, energy, objective, edp_weight_w)
        points = np.arange(self.charges.size)
        return Best(pick, latency[pick, points], energy[pick, points])

    def rows(self, plan: int, at: IntArray, objective: Objective, edp_weight_w: FloatArray | None) -> tuple[RowTable, IntArray]:
        """The rows [Q, d] that one plan takes at some points; those of the last `best` are known."""
        table = self.part.plans[plan].rows
        if plan in self._rows:
            points, rows = zip(*self._rows[plan], strict=True)
            place = np.empty(self.charges.size, dtype=np.int64)
            place[np.concatenate(points)] = np.arange(sum(map(len, points)))
            return table, np.concatenate(rows, axis=1)[:, place[at]]
        found = np.empty((table.operators, len(at)), dtype=np.int64)
        for best in table.best(self.charges.at(at), objective, None if edp_weight_w is None else edp_weight_w[at]):
            found[:, best.at] = best.row
        return table, found

    def candidates(self, objective: Objective, edp_weight_w: FloatArray | None) -> tuple[FloatArray, FloatArray]:
        """Seconds and joules [N, D] of all candidates; infinite where one does not fit."""
        latency, energy = np.empty((self.size, self.charges.size)), np.empty((self.size, self.charges.size))
        for best in self.part.rows.best(self.charges, objective, edp_weight_w):
            for number, order in enumerate(self.part.orders):
                latency[number, best.at], energy[number, best.at] = _sums(best, order)
        if self.part.combinations is not None:
            if self._combinations is None:
                self._combinations = price_combinations(self.part.combinations, self.charges)
            latency[self.plans :], energy[self.plans :] = self._combinations
        return latency, energy

    def _best_of_few(self, objective: Objective, weight: FloatArray | None) -> Best:
        """The best, found without the candidates that can be neither it nor within the tolerance of it.

        At each point the candidate of the least bound is priced first, then those whose bounds are no higher than what counts as a tie
        with the best so far.
        """
        self._rows.clear()
        least = self._least(objective, weight) * (1 - ROUNDING)
        tolerance = 1.0 if weight is not None else 1 + TIE_TOLERANCE
        limit = np.full(self.charges.size, np.inf)
        lead = least.min(axis=0)
        first = np.full(self.charges.size, -1)
        priced: list[_PricedCandidate] = []
        for later in (False, True):
            for number in range(self.size):
                if later:
                    tried = (first != number) & (least[number] <= limit) & np.isfinite(least[number])
                else:
                    tried = (first < 0) & (least[number] <= lead)
                at = np.flatnonzero(tried)
                if len(at) == 0:
                    continue
                if not later:
                    first[at] = number
                seconds, joules = self._price(number, at, objective, weight)
                value = (
                    weighted(seconds, joules, weight[at]) if weight is not None else joules if objective is Objective.ENERGY else seconds
                )
                limit[at] = np.minimum(limit[at], value * tolerance)
                priced.append(_PricedCandidate(number, at, seconds, joules, value))
        return _first_best(priced, limit, objective, weighs=weight is not None)

    def _least(self, objective: Objective, weight: FloatArray | None) -> FloatArray:
        """What no candidate can be below, [N, D]."""
        if self._floors is None:
            part = self.part
            self._floors = Floors(part.rows, part.orders, part.combinations, self.charges)
        if weight is not None:
            return weighted(self._floors.latency_s, self._floors.energy_j, weight)
        return self._floors.energy_j if objective is Objective.ENERGY else self._floors.latency_s

    def _price(self, number: int, at: IntArray, objective: Objective, weight: FloatArray | None) -> tuple[FloatArray, FloatArray]:
        """Seconds and joules of one candidate at some points."""
        if number >= self.plans:
            return self._price_combination(number - self.plans, at)
        plan = self.part.plans[number]
        latency, energy = np.empty(len(at)), np.empty(len(at))
        rows = np.empty((plan.rows.operators, len(at)), dtype=np.int64)
        for best in plan.rows.best(self.charges.at(at), objective, None if weight is None else weight[at]):
            latency[best.at], energy[best.at] = _sums(best, plan.order)
            rows[:, best.at] = best.row
        self._rows.setdefault(number, []).append((at, rows))
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


def _first_best(priced: list[_PricedCandidate], limit: FloatArray, objective: Objective, *, weighs: bool) -> Best:
    """As `choose` has it, of the candidates that are priced; `limit` [D] is what counts as a tie with the best."""
    size = len(limit)
    found = Best(np.zeros(size, dtype=np.int64), np.full(size, np.inf), np.full(size, np.inf))
    second = np.full(size, np.inf)
    for c in sorted(priced, key=lambda c: c.number):
        other = np.zeros(len(c.at)) if weighs else c.latency_s if objective is Objective.ENERGY else c.energy_j
        better = (c.value <= limit[c.at]) & (other < second[c.at])
        at = c.at[better]
        second[at], found.pick[at] = other[better], c.number
        found.latency_s[at], found.energy_j[at] = c.latency_s[better], c.energy_j[better]
    return found
