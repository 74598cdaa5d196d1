"""Several plans of one graph at any number of design points: the best at each, replayed only where it may be that."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from dse.cost.metrics import Objective
from dse.schedule.cores.off_chip import off_chip_bytes
from dse.schedule.cores.ports import WAYS, Touch
from dse.schedule.cores.rates import RateTable, summed
from dse.schedule.cores.services import PortServices, critical_way

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.schedule.cores.charges import ChipCharges
    from dse.schedule.cores.replay import Order
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
        self.outcome, self.rates, self.number, self.uses = outcome, rates, number, rates.uses[number]
        self.followed = frozenset(range(outcome.tasks.resources))
        """Ports that may keep somebody waiting, at first those that cores share with others, and those that did at points seen so far: the
        rest are left out of a replay, and looked at after it."""
        self._orders: dict[frozenset[int] | None, tuple[Order, IntArray]] = {}
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
        self._know(np.array([rates.span(number, tasks, use, places) for use, places in critical_way(outcome)], dtype=np.int64))

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
        return max(best, *(float(counts @ rows[at, 0]) for at, counts in self.paths)) if self.paths else best

    def order(self, ports: frozenset[int] | None) -> tuple[Order, IntArray]:
        """What tasks start after where some ports, or all, are followed, with the rows of its spans."""
        if ports not in self._orders:
            order = self.outcome.order if ports is None else self.outcome.order_with(ports)
            self._orders[ports] = order, self.rates.spans(self.number, self.outcome.tasks, order)
        return self._orders[ports]

    @cached_property
    def services(self) -> PortServices:
        """What ports serve."""
        tasks = self.outcome.tasks
        spans = self.rates.of_ports(self.number, tasks, self.followed)
        return PortServices.of(tasks.kinds, tasks.uses, self.outcome.simulation.order, spans, self.uses, self.followed)

    def replayed(self, charges: ChipCharges, rows: FloatArray) -> float:
        """Seconds at one point; the same to the last bit whichever ports are followed at first."""
        while True:
            (order, spans), services = self.order(self.followed), self.services  # which enter what they take among the rates
            rows = self.rates.seconds(charges) if self.rates.size != len(rows) else rows
            latency, path, starts = order.latency_of_one(rows[spans, 0].tolist(), keep_path=len(self.paths) < MOST_PATHS)
            late = services.late(np.array(starts), rows[:, 0], latency)
            if not late:
                break
            self.followed |= late
            del self.services  # looks at the others only
        if path:
            self._know(spans[path])
        return latency

    def _know(self, way: IntArray) -> None:
        """A way through the plan more."""
        at, counts = np.unique(way, return_counts=True)
        self.paths.append((at, counts.astype(np.float64)))


class OfferedPlans:
    """Plans of one graph, made for the same chip at these and other prices."""

    def __init__(self, outcomes: Sequence[Outcome], cores: int, objective: Objective) -> None:
        self.outcomes, self.cores, self.objective = tuple(outcomes), cores, objective

    @cached_property
    def rates(self) -> RateTable:
        """What the plans use."""
        return RateTable([o.tasks for o in self.outcomes], [o.spends for o in self.outcomes])

    @cached_property
    def plans(self) -> list[_Plan]:
        """The plans in the form in which they are priced."""
        return [_Plan(o, self.rates, i, self.cores) for i, o in enumerate(self.outcomes)]

    def joined(self, other: OfferedPlans) -> OfferedPlans:
        """These plans and others."""
        return OfferedPlans((*self.outcomes, *other.outcomes), self.cores, self.objective)

    def as_made(self) -> Outcome:
        """The best at the prices that all were made for."""
        return min(self.outcomes, key=lambda o: _value(self.objective, o.latency_s, o.energy_j))

    def best(self, charges: ChipCharges) -> BestPlans:
        """The best plan at all points of `charges`; its groups, cores, mappings, places, routes and orders stay as they are."""
        plans, size = self.plans, len(charges.nothing)
        orders = [p.order(None) for p in plans] if size > 1 else []  # which enter what they hold among the rates
        rows, dynamic = self.rates.seconds(charges), self.rates.joules(charges)
        if size == 1:
            which, latency = self._best_of_one(charges, rows, dynamic)
        else:
            found = np.stack([order.latency_s(rows[spans]) for order, spans in orders])  # [plans, D]
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
        spent = dynamic[:, 0].tolist()

        def value(plan: int, seconds: float) -> float:
            return float(_value(self.objective, seconds, spent[plan] + leakage_w * seconds))

        bounds = sorted((value(i, p.least_s(charges, rows)), i) for i, p in enumerate(self.plans))
        best, chosen, latency = float("inf"), 0, float("inf")
        for bound, i in bounds:
            if bound > best * (1 + ROUNDING):
                break
            seconds = self.plans[i].replayed(charges, rows)
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
