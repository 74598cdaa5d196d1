"""The plans of one design point between the fastest and the most frugal: all that are best for some worth of a second in joules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.metrics import Objective
from dse.cost.workload_pricing import Costs, step_totals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dse.cost.workload_pricing import CompiledWorkload
    from dse.hw.table import DesignTable

SHADE: Final = 1e-3
"""A plan that gains less than this share over its neighbours, at the worth where it gains most, is left out."""


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """One choice of plans and mappings for a whole step."""

    latency_s: float
    energy_j: float

    @property
    def edp_js(self) -> float:
        """Energy times latency."""
        return self.latency_s * self.energy_j

    def to_json_dict(self, clock_hz: float) -> dict[str, float]:
        """As `dse eval --objective pareto` lists it."""
        return {
            "latency_s": self.latency_s,
            "latency_cycles": self.latency_s * clock_hz,
            "energy_j": self.energy_j,
            "edp_js": self.edp_js,
        }


def plan_front(compiled: CompiledWorkload, table: DesignTable) -> tuple[FrontPoint, ...]:
    """The choices at the only point of `table`, the fastest first; none where it is infeasible.

    Latency and energy are sums over parts and operators, so the choice that is least in E + w T is found exactly for any w. Between
    two choices it is sought with the w at which they are equal; where it gains more than `SHADE`, it is one of the front and divides
    the interval. The result holds every vertex of the convex hull of all choices but for gains below that, and so the least of
    every sum of the two, and of their product.
    """
    fast, frugal = (_priced(compiled, table, objective, None)[0] for objective in (Objective.LATENCY, Objective.ENERGY))
    if not np.isfinite(fast.latency_s):
        return ()
    found, open_ = {fast, frugal}, [(fast, frugal)]
    while open_:
        open_ = [(a, b) for a, b in open_ if a.latency_s < b.latency_s and a.energy_j > b.energy_j]
        between = _priced(compiled, table, Objective.EDP, [_worth(a, b) for a, b in open_]) if open_ else []
        halves = []
        for (a, b), middle in zip(open_, between, strict=True):
            worth = _worth(a, b)
            if _value(middle, worth) < _value(a, worth) * (1 - SHADE):
                found.add(middle)
                halves += [(a, middle), (middle, b)]
        open_ = halves
    return tuple(not_dominated(found))


def not_dominated(points: set[FrontPoint]) -> Iterator[FrontPoint]:
    """Those that no other one equals or beats in both, the fastest first."""
    least = np.inf
    for p in sorted(points, key=lambda p: (p.latency_s, p.energy_j)):
        if p.energy_j < least:
            least = p.energy_j
            yield p


def _worth(fast: FrontPoint, frugal: FrontPoint) -> float:
    """Watts at which two choices are equal."""
    return (fast.energy_j - frugal.energy_j) / (frugal.latency_s - fast.latency_s)


def _value(point: FrontPoint, worth_w: float) -> float:
    return point.energy_j + worth_w * point.latency_s


def _priced(compiled: CompiledWorkload, table: DesignTable, objective: Objective, worth_w: Sequence[float] | None) -> list[FrontPoint]:
    """The best choice for an objective, or for each of several worths."""
    weight = None if worth_w is None else np.array(worth_w)
    many = table if weight is None else table.at(np.zeros(len(weight), dtype=np.int64))
    latency, energy = step_totals(compiled, many, Costs(compiled.geometry, many), objective, weight)
    return [FrontPoint(float(t), float(e)) for t, e in zip(latency, energy, strict=True)]
