"""Several plans of one graph at any number of design points: the best at each, replayed only where it may be that."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from dse.cost.metrics import Objective
from dse.schedule.cores.critical import critical_way
from dse.schedule.cores.off_chip import off_chip_bytes
from dse.schedule.cores.points import retimed
from dse.schedule.cores.ports import WAYS, Touch
from dse.schedule.cores.rates import RateTable, summed
from dse.schedule.cores.replay import Replay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.hw.many_core_read import ChipDescription
    from dse.schedule.cores.charges import ChipCharges
    from dse.schedule.cores.tasks import Outcome

    FloatArray = NDArray[np.float64]
    Number = TypeVar("Number", float, FloatArray)
    IntArray = NDArray[np.int64]

ROUNDING: Final = 1e-9
"""By how much a bound must be worse before a plan is passed over."""
MOST_PATHS: Final = 12
"""Critical paths of a plan that are kept: each is a bound at every other point."""


@dataclass(frozen=True, eq=False)
class BestPlans:
    """The best plan at each of D points."""

    which: IntArray
    """[D]"""
    latency_s: FloatArray
    """[D]"""
    energy_j: FloatArray
    """[D]"""
    busy_s: FloatArray
    """[resources, D]"""
    dram_bytes: FloatArray
    """[D]"""
    off_chip_bytes: FloatArray
    """[D], of activations, at once."""


class _Plan:
    """One plan with what bounds its time from below."""

    def __init__(self, outcome: Outcome, rates: RateTable, number: int, cores: int) -> None:
        self.outcome, self.uses, self.takes = outcome, rates.uses[number], rates.takes[number]
        tasks, counts = outcome.tasks, outcome.tasks.counts()
        self.resources = tasks.resources
        self.sent = np.zeros(tasks.resources - (1 + WAYS) * cores)  # [channels] bytes
        self.computed = np.zeros((cores, len(counts)))  # [cores, uses] tasks
        self.touched: dict[tuple[int, str], float] = {}
        """Bytes by number of the port and kind of the core."""
        for u, (use, timing, count) in enumerate(zip(tasks.uses, tasks.timings, counts, strict=True)):
            for channel, part in timing.pattern.channels if timing.pattern is not None else ():
                self.sent[channel] += count * timing.size_bytes * part
            for resource, _ in use.holds:
                if resource >= len(self.sent):
                    self.computed[resource - len(self.sent), u] += count
            for touch in timing.touches:
                if touch.port < WAYS * cores:
                    key = touch.port, touch.kind
                    self.touched[key] = self.touched.get(key, 0.0) + count * touch.size_bytes / timing.pieces
        self.off_chip_bytes = off_chip_bytes(outcome)[0]
        self.paths: list[tuple[IntArray, FloatArray]] = []
        """Rows of seconds, and how often each is passed, of ways through the plan."""
        self._know([self._row(use, resource) for use, resource in critical_way(outcome)])

    @cached_property
    def replay(self) -> Replay:
        """Its tasks in their order."""
        tasks = self.outcome.tasks
        return Replay.of(tasks.waits, tasks.kinds, self.takes, self.outcome.simulation.order)

    @cached_property
    def _computing(self) -> tuple[IntArray, FloatArray]:
        """Rows of seconds that cores compute, and how often each of them does [rows, cores]."""
        mine = np.flatnonzero(self.computed.any(axis=0))
        return self.uses[mine], self.computed.T[mine]

    def busy_s(self, charges: ChipCharges, rows: FloatArray) -> FloatArray:
        """Seconds [resources, D] that each is held."""
        found = np.zeros((self.resources, rows.shape[1]))
        cores = slice(len(self.sent), len(self.sent) + len(self.computed))
        found[: len(self.sent)] = self.sent[:, None] / charges.bytes_per_s
        at, counts = self._computing
        found[cores] = summed(counts, rows[at])
        for (port, kind), size in self.touched.items():
            found[cores.stop + port] += charges.touch_s(Touch(port, kind, size))
        return found

    def least_s(self, charges: ChipCharges, rows: FloatArray) -> float:
        """A time that the plan takes at least at one point: of its busiest resource, of every way through it that is known."""
        best = max(float((self.sent / charges.bytes_per_s[:, 0]).max()), float((self.computed @ rows[self.uses, 0]).max()))
        return max(best, *(float(counts @ rows[at, 0]) for at, counts in self.paths))

    def replayed(self, seconds: list[float]) -> float:
        """Seconds at one point, at which rows take `seconds`."""
        if len(self.paths) == MOST_PATHS:
            return self.replay.latency_of_one(seconds)
        latency, way = self.replay.way_of_one(seconds)
        self._know(way)
        return latency

    def _know(self, way: list[int]) -> None:
        """Rows of a way through the plan more: what they take is a bound."""
        at, counts = np.unique(np.array(way, dtype=np.int64), return_counts=True)
        self.paths.append((at, counts.astype(np.float64)))

    def _row(self, use: int, resource: int | None) -> int:
        """Row of what a use lasts, or holds a resource."""
        take = self.takes[use]
        return next((b.row for b in take.blocks if resource in b.resources), take.lasts)


class OfferedPlans:
    """Plans of one graph, made for the same chip at these and other prices."""

    def __init__(self, outcomes: Sequence[Outcome], description: ChipDescription, objective: Objective) -> None:
        self.outcomes, self.description, self.objective = tuple(outcomes), description, objective

    @cached_property
    def rates(self) -> RateTable:
        """What the plans use."""
        alike = self.description.channel_prices.alike
        return RateTable([o.tasks for o in self.outcomes], [o.spends for o in self.outcomes], alike)

    @cached_property
    def plans(self) -> list[_Plan]:
        """The plans in the form in which they are priced."""
        cores = len(self.description.chip.cores)
        return [_Plan(o, self.rates, i, cores) for i, o in enumerate(self.outcomes)]

    def joined(self, other: OfferedPlans) -> OfferedPlans:
        """These plans and others."""
        return OfferedPlans((*self.outcomes, *other.outcomes), self.description, self.objective)

    def as_made(self) -> Outcome:
        """The best at the prices that all were made for."""
        return min(self.outcomes, key=lambda o: _value(self.objective, o.latency_s, o.energy_j))

    def at(self, charges: ChipCharges) -> Outcome:
        """The best plan at the one point of `charges`, with all its times there."""
        rows = self.rates.seconds(charges)
        best = self.plans[int(self._best_of_one(charges, rows, self.rates.joules(charges))[0][0])]
        return retimed(best.outcome, best.takes, best.replay, rows[:, 0].tolist(), charges)

    def best(self, charges: ChipCharges) -> BestPlans:
        """The best plan at all points of `charges`; its groups, cores, mappings, places, routes and orders stay as they are."""
        plans, size = self.plans, len(charges.nothing)
        rows, dynamic = self.rates.seconds(charges), self.rates.joules(charges)
        if size == 1:
            which, latency = self._best_of_one(charges, rows, dynamic)
        else:
            found = np.stack([p.replay.latency_s(rows) for p in plans])  # [plans, D]
            which = _value(self.objective, found, dynamic + charges.leakage_w * found).argmin(axis=0)
            latency = found[which, np.arange(size)]
        busy = np.zeros((plans[0].resources, size))
        for plan in np.unique(which):
            mine = np.flatnonzero(which == plan)
            busy[:, mine] = plans[plan].busy_s(charges, rows)[:, mine]
        energy = dynamic[which, np.arange(size)] + charges.leakage_w * latency
        return BestPlans(which, latency, energy, busy, *self._bytes(which))

    def _best_of_one(self, charges: ChipCharges, rows: FloatArray, dynamic: FloatArray) -> tuple[IntArray, FloatArray]:
        """The best plan and its seconds at one point: those whose bound is least are replayed, until none is left that could be better."""
        leakage_w = float(charges.leakage_w[0])
        spent, each = dynamic[:, 0].tolist(), rows[:, 0].tolist()

        def value(plan: int, seconds: float) -> float:
            return float(_value(self.objective, seconds, spent[plan] + leakage_w * seconds))

        bounds = sorted((value(i, p.least_s(charges, rows)), i) for i, p in enumerate(self.plans))
        best, chosen, latency = float("inf"), 0, float("inf")
        for bound, i in bounds:
            if bound > best * (1 + ROUNDING):
                break
            seconds = self.plans[i].replayed(each)
            found = value(i, seconds)
            if (found, i) < (best, chosen):
                best, chosen, latency = found, i, seconds
        return np.array([chosen]), np.array([latency])

    def _bytes(self, which: IntArray) -> tuple[FloatArray, FloatArray]:
        """Bytes that pass the memory off chip, and activations there at once, of plans."""
        return np.array([o.spends.dram_bytes for o in self.outcomes])[which], np.array([p.off_chip_bytes for p in self.plans])[which]


def _value(objective: Objective, latency_s: Number, energy_j: Number) -> Number:
    """What the objective minimises."""
    match objective:
        case Objective.LATENCY:
            return latency_s
        case Objective.ENERGY:
            return energy_j
        case Objective.EDP:
            return latency_s * energy_j
