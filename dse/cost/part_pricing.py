"""Prices the plans and combinations of a part at many design points and takes the best: only those that may be it are priced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.choice import TIE_TOLERANCE, choose, weighted
from dse.cost.combination_pricing import price_combination, price_combinations
from dse.cost.floors import ROUNDING, Floors
from dse.cost.least_product import least_product, product, watts
from dse.cost.metrics import Objective
from dse.cost.window_sequence import summed

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dse.cost.charges import Charges
    from dse.cost.row_table import BestRows, RowTable
    from dse.cost.workload_pricing import CompiledPart

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

    _Bound = Callable[[int], FloatArray]
    """What a candidate is not below [D], from its number; infinite where it does not fit."""
    _Price = Callable[[int, IntArray, FloatArray], tuple[FloatArray, FloatArray, FloatArray]]
    """Seconds and joules of a candidate at some points, and what is to be least; from its number, the points and the best there so far."""

FEW_POINTS: Final = 512
"""Points up to which pricing all candidates is cheaper than finding out which are needed."""


@dataclass(frozen=True, slots=True)
class Best:
    """The best of a part's candidates at each point: plans in order, then combinations."""

    pick: IntArray
    latency_s: FloatArray
    energy_j: FloatArray


@dataclass(frozen=True, slots=True)
class _Products:
    """What the search for the least product found."""

    weight_w: FloatArray
    """[D] at which a choice of least product is least in energy + weight x latency."""
    near: dict[int, list[IntArray]]
    """By candidate: points at which its least product is no larger but for rounding. Nothing else can be least in that sum, which for
    a product P is at least 2 sqrt(weight P)."""


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
        self._products: _Products | None = None
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

    def candidates(
        self, objective: Objective, edp_weight_w: FloatArray | None, at: IntArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Seconds and joules [N, d] of all candidates at all points or at some, which may repeat; infinite where one does not fit."""
        charges = self.charges if at is None else self.charges.at(at)
        latency, energy = np.empty((self.size, charges.size)), np.empty((self.size, charges.size))
        for best in self.part.rows.best(charges, objective, edp_weight_w):
            for number, order in enumerate(self.part.orders):
                latency[number, best.at], energy[number, best.at] = _sums(best, order)
        if self.part.combinations is not None:
            every = self._every_combination()
            latency[self.plans :], energy[self.plans :] = every if at is None else (found[:, at] for found in every)
        return latency, energy

    def weighed(self, at: IntArray, weight_w: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Seconds and joules [d] of the candidate of least energy + `weight_w` [d] x latency at some points, which may repeat."""
        if not self._bounded:
            latency, energy = self.candidates(Objective.EDP, weight_w, at)
            pick = choose(latency, energy, Objective.EDP, weight_w)
            return latency[pick, np.arange(len(at))], energy[pick, np.arange(len(at))]
        least_s, least_j = self.box()

        def price(number: int, some: IntArray, _: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
            if number >= self.plans:
                seconds, joules = self._price_combination(number - self.plans, at[some])
            else:
                seconds, joules = self._price_plan(number, at[some], Objective.EDP, weight_w[some])[:2]
            return seconds, joules, weighted(seconds, joules, weight_w[some])

        def bound(number: int) -> FloatArray:
            return weighted(least_s[number, at], least_j[number, at], weight_w)

        found, limit = _search(len(at), bound, price, 1.0, range(self.size))
        best = _first_best(found, limit, Objective.EDP, weighs=True)
        return best.latency_s, best.energy_j

    def least_product(self) -> tuple[FloatArray, FloatArray]:
        """Seconds and joules [D] of the choice of candidate and mappings with the least product of both; infinite where nothing fits.

        Candidates are tried in the order of the products of their bounds; a combination is one choice, of the mappings of a plan the
        least is sought.
        """
        least_s, least_j = self.box()

        def bound(number: int) -> FloatArray:
            return product(least_s[number], least_j[number])

        def price(number: int, at: IntArray, limit: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
            if number >= self.plans:
                seconds, joules = self._price_combination(number - self.plans, at)
            else:
                above = limit * (1 + ROUNDING)  # what is as good but for rounding is to be known
                seconds, joules = self._least_product_of_plan(number, at, above, least_s[number, at], least_j[number, at])
            return seconds, joules, product(seconds, joules)

        groups = range(self.plans, self.size), range(self.plans)
        found, limit = _search(self.charges.size, bound, price, 1.0, *groups)
        best = _first_best(found, limit, Objective.EDP, weighs=True)
        self._products = _Products(watts(best.latency_s, best.energy_j), {})
        for c in found:
            self._products.near.setdefault(c.number, []).append(c.at[c.value <= limit[c.at] * (1 + ROUNDING)])
        return best.latency_s, best.energy_j

    def box(self) -> tuple[FloatArray, FloatArray]:
        """What no candidate is below in latency and in energy, [N, D] each; infinite where one does not fit."""
        if self._bounded:
            floors = self._known_floors()
            return floors.latency_s, floors.energy_j
        floors = Floors(self.part.rows, self.part.orders, None, self.charges)
        if self.part.combinations is None:
            return floors.latency_s, floors.energy_j
        every = self._every_combination()
        return np.concatenate((floors.latency_s, every[0])), np.concatenate((floors.energy_j, every[1]))

    def _every_combination(self) -> tuple[FloatArray, FloatArray]:
        """Seconds and joules of all combinations at all points, where pricing them is cheaper than bounds."""
        assert self.part.combinations is not None
        if self._combinations is None:
            self._combinations = price_combinations(self.part.combinations, self.charges)
            self._priced[:] = True
        return self._combinations

    def _least_product_of_plan(
        self, number: int, at: IntArray, limit: FloatArray, least_s: FloatArray, least_j: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Seconds and joules of the mappings of a plan with the least product, infinite where it is above `limit`."""

        def choices(points: IntArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
            return self._price_plan(number, at[points], Objective.EDP, weight)[:2]

        return least_product(choices, least_s, least_j, limit)

    def _best_of_few(self, objective: Objective, weight: FloatArray | None) -> Best:
        """The best, found without the candidates that can be neither it nor within the tolerance of it."""
        self._rows.clear()

        def price(number: int, at: IntArray, _: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
            seconds, joules = self._price(number, at, objective, weight)
            if weight is not None:
                return seconds, joules, weighted(seconds, joules, weight[at])
            return seconds, joules, joules if objective is Objective.ENERGY else seconds

        tolerance = 1.0 if weight is not None else 1 + TIE_TOLERANCE
        found, limit = _search(self.charges.size, self._bound(objective, weight), price, tolerance, range(self.size))
        return _first_best(found, limit, objective, weighs=weight is not None)

    def _bound(self, objective: Objective, weight: FloatArray | None) -> _Bound:
        """What no candidate is below."""
        floors = self._known_floors()
        if weight is None:
            least = floors.energy_j if objective is Objective.ENERGY else floors.latency_s
            return lambda number: np.asarray(least[number])
        near = None if self._products is None or not np.array_equal(weight, self._products.weight_w) else self._products.near

        def bound(number: int) -> FloatArray:
            value = weighted(floors.latency_s[number], floors.energy_j[number], weight)
            if near is None:
                return value
            some = np.full_like(value, np.inf)
            for at in near.get(number, ()):
                some[at] = value[at]
            return some

        return bound

    def _known_floors(self) -> Floors:
        if self._floors is None:
            part = self.part
            self._floors = Floors(part.rows, part.orders, part.combinations, self.charges)
        return self._floors

    def _price(self, number: int, at: IntArray, objective: Objective, weight: FloatArray | None) -> tuple[FloatArray, FloatArray]:
        """Seconds and joules of one candidate at some points."""
        if number >= self.plans:
            return self._price_combination(number - self.plans, at)
        latency, energy, rows = self._price_plan(number, at, objective, None if weight is None else weight[at])
        self._rows.setdefault(number, []).append((at, rows))
        return latency, energy

    def _price_plan(
        self, number: int, at: IntArray, objective: Objective, weight: FloatArray | None
    ) -> tuple[FloatArray, FloatArray, IntArray]:
        """Seconds, joules and rows [Q, d] of one plan at some points, with the weights [d] there."""
        plan = self.part.plans[number]
        latency, energy = np.empty(len(at)), np.empty(len(at))
        rows = np.empty((plan.rows.operators, len(at)), dtype=np.int64)
        for best in plan.rows.best(self.charges.at(at), objective, weight):
            latency[best.at], energy[best.at] = _sums(best, plan.order)
            rows[:, best.at] = best.row
        return latency, energy, rows

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


def _search(size: int, bound: _Bound, price: _Price, tolerance: float, *groups: range) -> tuple[list[_PricedCandidate], FloatArray]:
    """Candidates that may be the best or within the tolerance of it, priced, and what counts as a tie with the best [D].

    One group of candidates after another: at each point that of the least bound is priced first, then those whose bounds are no
    higher than what counts as a tie with the best so far.
    """
    limit = np.full(size, np.inf)
    found: list[_PricedCandidate] = []

    def take(number: int, at: IntArray) -> None:
        if len(at):
            seconds, joules, value = price(number, at, limit[at])
            limit[at] = np.minimum(limit[at], value * tolerance)
            found.append(_PricedCandidate(number, at, seconds, joules, value))

    for group in filter(len, groups):
        least, first = np.full(size, np.inf), np.full(size, -1)
        for number in group:
            here = bound(number)
            less = here < least
            np.copyto(least, here, where=less)
            np.copyto(first, number, where=less)
        first[least > limit] = -1
        for number in group:
            take(number, np.flatnonzero(first == number))
        for number in group:
            here = bound(number)
            take(number, np.flatnonzero((here <= limit) & (first != number) & (here < np.inf)))
    return found, limit


def _sums(best: BestRows, order: IntArray) -> tuple[FloatArray, FloatArray]:
    """Seconds and joules of a plan from those of its operators, one added after another in order."""
    return summed(best.latency_s[order]), summed(best.energy_j[order])


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
