"""Prices a whole step: each design point takes the best plan or combination, and the busiest resource is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.columns import counts_per_second, stages
from dse.cost.combination_pricing import price_combinations
from dse.cost.frontier_pricing import ARRAY, DRAM_READ, DRAM_WRITE, OperatorPricer, PricedOperator, choose
from dse.cost.metrics import RESOURCES, Objective, Priced, Resource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.cost.combinations import Combinations
    from dse.hw.accelerator import Geometry
    from dse.hw.table import DesignTable
    from dse.schedule.place import PlacedOperator, Work
    from dse.schedule.plan import Plan, PlanBook

    FloatArray = NDArray[np.float64]
    _Overlapped = tuple[FloatArray, FloatArray] | None

EDP_ROUNDS: Final = 2
"""Rounds of re-weighting energy against latency when the product is minimised."""


@dataclass(frozen=True)
class CompiledPlan:
    """One plan of a part with its operators placed, and a pricer for each."""

    plan: Plan
    operators: tuple[PlacedOperator, ...]
    pricers: tuple[OperatorPricer, ...]


@dataclass(frozen=True)
class CompiledPart:
    """One graph of the step, run `count` times, with all its plans."""

    name: str
    count: int
    book: PlanBook
    plans: tuple[CompiledPlan, ...]
    combinations: Combinations | None = None
    """Plans with fixed mappings in which independent work overlaps; None where the schedule or the chip has no overlap."""


@dataclass(frozen=True)
class CompiledWorkload:
    """A step whose frontiers are built for one geometry; `price` may be called any number of times."""

    name: str
    tokens: int
    parts: tuple[CompiledPart, ...]
    geometry: Geometry
    stored_bytes: float
    """Bytes of weights and caches that DRAM must hold."""

    @property
    def excess(self) -> float:
        """Greatest excess of the frontiers used (see `Frontier.excess`); 0 where no frontier was thinned."""
        return max((p.excess for part in self.parts for plan in part.plans for p in plan.pricers), default=0.0)


@dataclass(frozen=True)
class PartPrices:
    """A part over D design points, one run; arrays [D], `moved` [D, C] with the columns of `dse.cost.columns`."""

    latency_s: FloatArray
    energy_j: FloatArray
    overhead_s: FloatArray
    moved: FloatArray
    vector_ops: FloatArray
    plan: NDArray[np.int64]
    """Number of the plan taken."""
    combination: NDArray[np.int64]
    """Number of the combination taken; -1 where operators run one after another with the best mapping of each."""


class PricerPool:
    """Makes each pricer once, whatever number of plans and parts share the work."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self._made: dict[Work, OperatorPricer] = {}

    def pricer(self, work: Work) -> OperatorPricer:
        """The pricer of `work`."""
        if work not in self._made:
            self._made[work] = OperatorPricer(work, self.geometry)
        return self._made[work]


def price_workload(compiled: CompiledWorkload, table: DesignTable, objective: Objective) -> Priced:
    """Latency, energy and the busiest resource of a step at each design point.

    Parts run one after another, so latencies and energies add. The energy-delay product E T does not: its mappings and
    plans minimise E + w T with w = E / T of the round before, starting from the latency optimum. By the inequality of
    means a round never makes the product larger: E' w T' <= ((E' + w T') / 2)^2 <= ((E + w T) / 2)^2 = E^2. The result is at
    most the product of the latency optimum, not always the least there is.
    """
    overlapped = [_overlapped(p, table) for p in compiled.parts]
    weight = edp_weight_w(compiled, table, overlapped) if objective is Objective.EDP else None
    return _summed(compiled, table, _priced(compiled, table, objective, weight, overlapped))


def edp_weight_w(compiled: CompiledWorkload, table: DesignTable, overlapped: Sequence[_Overlapped] | None = None) -> FloatArray:
    """Watts [D] at which, in the last round, a second weighs as much as a joule; 1 where infeasible (see `price_workload`).

    `overlapped` are the prices of each part's combinations where they are known: they are the same in every round.
    """
    known = [_overlapped(p, table) for p in compiled.parts] if overlapped is None else overlapped
    weight = None
    for _ in range(EDP_ROUNDS):
        priced = _summed(compiled, table, _priced(compiled, table, Objective.EDP, weight, known))
        weight = np.divide(priced.energy_j, priced.latency_s, out=np.ones_like(priced.energy_j), where=priced.feasible)
    assert weight is not None
    return weight


def _priced(
    compiled: CompiledWorkload, table: DesignTable, objective: Objective, weight: FloatArray | None, overlapped: Sequence[_Overlapped]
) -> list[PartPrices]:
    return [price_part(p, table, objective, weight, known) for p, known in zip(compiled.parts, overlapped, strict=True)]


def _overlapped(part: CompiledPart, table: DesignTable) -> _Overlapped:
    """Seconds and joules [N, D] of the combinations of a part; None where it has none."""
    if part.combinations is None:
        return None
    return price_combinations(part.combinations, table, part.plans[0].pricers[0].geometry)


def price_part(
    part: CompiledPart,
    table: DesignTable,
    objective: Objective,
    edp_weight: FloatArray | None = None,
    overlapped: _Overlapped = None,
) -> PartPrices:
    """One run of a part with the best of its plans and combinations at each design point; `overlapped` as `_overlapped` gives it,
    found here where it is left out."""
    priced: dict[OperatorPricer, PricedOperator] = {}
    numbers = [n for n, plan in enumerate(part.plans) if plan.plan.peak_bytes <= table.buffer_capacity_bytes.max()]
    for number in numbers:
        for pricer in part.plans[number].pricers:
            if pricer not in priced:
                priced[pricer] = pricer.price(table, objective, edp_weight)
    latency = np.stack([_added(part.plans[n], "latency_s", priced) for n in numbers])
    energy = np.stack([_added(part.plans[n], "energy_j", priced) for n in numbers])
    if part.combinations is not None:
        more = overlapped or price_combinations(part.combinations, table, part.plans[0].pricers[0].geometry)
        latency, energy = np.concatenate((latency, more[0])), np.concatenate((energy, more[1]))
    pick = choose(latency, energy, objective, edp_weight)
    points = np.arange(table.size)
    columns = ARRAY + 2 * len(table.inner)
    taken = _Taken(np.zeros(table.size), np.zeros(table.size), np.zeros((table.size, columns)), np.zeros(table.size, dtype=np.int64))
    for position in np.unique(pick):
        at = np.flatnonzero(pick == position)
        if position < len(numbers):
            taken.plan[at] = numbers[position]
            _take_plan(taken, part.plans[numbers[position]], priced, table, at)
        else:
            assert part.combinations is not None
            _take_combination(taken, part.combinations, int(position) - len(numbers), table, at)
    combination = np.where(pick < len(numbers), -1, pick - len(numbers))
    return PartPrices(latency[pick, points], energy[pick, points], taken.overhead_s, taken.moved, taken.vector_ops, taken.plan, combination)


@dataclass(frozen=True, slots=True)
class _Taken:
    """What the choices made at each point add up to; arrays are filled in place."""

    overhead_s: FloatArray
    vector_ops: FloatArray
    moved: FloatArray
    plan: NDArray[np.int64]


def _take_plan(
    taken: _Taken, plan: CompiledPlan, priced: dict[OperatorPricer, PricedOperator], table: DesignTable, at: NDArray[np.int64]
) -> None:
    taken.vector_ops[at] = sum(p.work.vector_ops for p in plan.pricers)
    for pricer in plan.pricers:
        taken.overhead_s[at] += pricer.overhead_s(table, at)
        taken.moved[at] += pricer.counts[priced[pricer].row[at], DRAM_READ:]


def _take_combination(taken: _Taken, found: Combinations, number: int, table: DesignTable, at: NDArray[np.int64]) -> None:
    member, windows = found.members[number], found.table
    taken.plan[at] = member.plan
    taken.vector_ops[at] = member.vector_ops
    taken.overhead_s[at] = windows.launches[number] * table.launch_latency_s[at] + windows.touches[number] * table.dram_latency_s[at]
    taken.moved[at] = windows.totals[number]


def _added(plan: CompiledPlan, name: str, priced: dict[OperatorPricer, PricedOperator]) -> FloatArray:
    """Sum over the operators of a plan of `latency_s` or `energy_j`, [D]; infinite where one does not fit."""
    total: FloatArray = sum(getattr(priced[p], name) for p in plan.pricers)
    return total


def _summed(compiled: CompiledWorkload, table: DesignTable, parts: list[PartPrices]) -> Priced:
    counts = [p.count for p in compiled.parts]
    fits = compiled.stored_bytes <= table.dram_capacity_bytes
    latency = np.where(fits, _weighted(counts, [p.latency_s for p in parts]), np.inf)
    energy = np.where(fits, _weighted(counts, [p.energy_j for p in parts]), np.inf)
    feasible = np.isfinite(latency)
    moved = _weighted(counts, [p.moved for p in parts])
    vector_ops = _weighted(counts, [p.vector_ops for p in parts])
    busy = busy_seconds(moved, vector_ops, _weighted(counts, [p.overhead_s for p in parts]), table, compiled.geometry)
    bound = np.where(feasible, np.argmax(np.stack([busy[r] for r in RESOURCES]), axis=0), -1).astype(np.int8)
    dram = moved[:, DRAM_READ - 1] + moved[:, DRAM_WRITE - 1]
    return Priced(compiled.tokens, latency, energy, table.area_mm2, dram, bound, feasible)


def busy_seconds(
    moved: FloatArray, vector_ops: float | FloatArray, overhead_s: FloatArray, table: DesignTable, geometry: Geometry
) -> dict[Resource, FloatArray]:
    """Seconds [D] that each resource is busy, from the counts moved [D, C] with the columns of `dse.cost.columns`."""
    rates = counts_per_second(geometry, table)
    found: dict[Resource, FloatArray] = {resource: np.zeros(table.size) for resource in RESOURCES}
    for stage in stages(geometry):
        for busy in stage.resources:
            time = moved[:, busy.columns].sum(axis=1) / rates[busy.columns[0]]
            found[busy.resource] = np.maximum(found[busy.resource], time)
    found[Resource.VECTOR] = np.asarray(vector_ops / (table.vector_ops_per_cycle * table.clock_hz))
    found[Resource.OVERHEAD] = overhead_s
    return found


def _weighted(counts: list[int], arrays: list[FloatArray]) -> FloatArray:
    return np.asarray(sum(c * a for c, a in zip(counts, arrays, strict=True)))
