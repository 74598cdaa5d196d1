"""Prices a whole step: each design point takes the best plan or combination, and the busiest resource is named."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dse.cost.capacity import least_dram_bytes
from dse.cost.charges import Charges
from dse.cost.columns import DRAM_READ, DRAM_WRITE, FIRST_INNER, counts_per_second, stages
from dse.cost.frontier_pricing import OperatorPricer
from dse.cost.metrics import RESOURCES, Objective, Priced, Resource
from dse.cost.part_pricing import FEW_POINTS, PartPricer
from dse.cost.row_table import RowTable
from dse.cost.trade_off import weight_w

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.cost.combinations import Combinations
    from dse.hw.accelerator import Geometry
    from dse.hw.table import DesignTable
    from dse.schedule.place import PlacedOperator, Work
    from dse.schedule.plan import Plan, PlanBook

    FloatArray = NDArray[np.float64]

POINTS: Final = 32_768
"""Design points priced at a time: bounds memory, far above the fixed cost of a call."""


@dataclass(frozen=True)
class CompiledPlan:
    """One plan of a part with its operators placed, and a pricer for each."""

    plan: Plan
    operators: tuple[PlacedOperator, ...]
    pricers: tuple[OperatorPricer, ...]

    @cached_property
    def rows(self) -> RowTable:
        """The rows of all its operators, equal ones once."""
        return RowTable(tuple(dict.fromkeys(self.pricers)), self.pricers[0].geometry)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Number of each operator in `rows`."""
        return _numbers(self.pricers, self.pricers)


@dataclass(frozen=True)
class CompiledPart:
    """One graph of the step, run `count` times, with all its plans."""

    name: str
    count: int
    book: PlanBook
    plans: tuple[CompiledPlan, ...]
    combinations: Combinations | None = None
    """Plans with fixed mappings in which independent work overlaps; None where the schedule or the chip has no overlap."""

    @cached_property
    def rows(self) -> RowTable:
        """The rows of all operators of all plans, equal ones once."""
        return RowTable(tuple(dict.fromkeys(self._every)), self._every[0].geometry)

    @cached_property
    def orders(self) -> tuple[NDArray[np.int64], ...]:
        """Number of each operator of each plan in `rows`."""
        return tuple(_numbers(plan.pricers, self._every) for plan in self.plans)

    @property
    def _every(self) -> tuple[OperatorPricer, ...]:
        return tuple(p for plan in self.plans for p in plan.pricers)


def _numbers(pricers: tuple[OperatorPricer, ...], every: tuple[OperatorPricer, ...]) -> NDArray[np.int64]:
    number = {p: i for i, p in enumerate(dict.fromkeys(every))}
    return np.array([number[p] for p in pricers])


@dataclass(frozen=True)
class CompiledWorkload:
    """A step whose frontiers are built for one geometry; `price` may be called any number of times."""

    name: str
    tokens: int
    parts: tuple[CompiledPart, ...]
    geometry: Geometry
    stored_bytes: float
    """Bytes of weights and caches that DRAM must hold."""

    @cached_property
    def least_dram_bytes(self) -> float:
        """As the function of that name."""
        return least_dram_bytes([(p.book.graph, p.count) for p in self.parts], self.stored_bytes)

    @property
    def excess(self) -> float:
        """Greatest excess of the frontiers used (see `Frontier.excess`); 0 where no frontier was thinned."""
        return max((p.excess for part in self.parts for plan in part.plans for p in plan.pricers), default=0.0)

    @property
    def in_part(self) -> int:
        """Products of which not all mappings with several tiles of an operand were looked at (see `Frontier.in_part`)."""
        return len({p.work.problem for part in self.parts for plan in part.plans for p in plan.pricers if p.in_part})

    @property
    def behind(self) -> tuple[float, float]:
        """Of the worst of these products how far busy time and energy may be above the least (see `Frontier.behind`)."""
        busy, energy = zip(*(p.behind for part in self.parts for plan in part.plans for p in plan.pricers), strict=True)
        return max(busy), max(energy)


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


class Costs:
    """What the parts of a step cost at the points of a table: found once, chosen from in every round."""

    def __init__(self, geometry: Geometry, table: DesignTable) -> None:
        self.table = table
        self._charges = Charges.of(geometry, table)
        self._parts: dict[int, PartPricer] = {}

    def part(self, part: CompiledPart) -> PartPricer:
        """Plans and combinations of `part`."""
        if id(part) not in self._parts:
            self._parts[id(part)] = PartPricer(part, self._charges)
        return self._parts[id(part)]


def price_workload(compiled: CompiledWorkload, table: DesignTable, objective: Objective) -> Priced:
    """Latency, energy and the busiest resource of a step at each design point.

    Parts run one after another, so latencies and energies add. The energy-delay product does not: its mappings and plans minimise a
    weighted sum (`weight_w`), and the result is the least product of all choices.

    Points are priced in order of capacity, some at a time: those beside each other have the same mappings to choose from.
    """
    if table.size <= FEW_POINTS:
        return _price_points(compiled, table, objective)
    order = np.lexsort((*(m.capacity_bytes for m in table.inner), table.buffer_capacity_bytes))
    blocks = np.array_split(order, -(-table.size // POINTS))
    found = [_price_points(compiled, table.at(block), objective) for block in blocks]
    place = np.empty_like(order)
    place[order] = np.arange(table.size)

    def column(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(p, name) for p in found])[place]  # [D]

    latency, energy, dram, bound, feasible = map(column, ("latency_s", "energy_j", "dram_bytes", "bound", "feasible"))
    return Priced(compiled.tokens, latency, energy, table.area_mm2, dram, bound, feasible)


def _price_points(compiled: CompiledWorkload, table: DesignTable, objective: Objective) -> Priced:
    costs = Costs(compiled.geometry, table)
    weight = edp_weight_w(compiled, table, costs) if objective is Objective.EDP else None
    return _summed(compiled, table, [price_part(p, table, objective, weight, costs) for p in compiled.parts])


def edp_weight_w(compiled: CompiledWorkload, table: DesignTable, costs: Costs | None = None) -> FloatArray:
    """Watts [D] at which a second weighs as much as a joule where their product is to be least; 1 where infeasible (see `weight_w`).

    `costs` are those of `table`, where they are known.
    """
    known = costs or Costs(compiled.geometry, table)
    fits = compiled.least_dram_bytes <= table.dram_capacity_bytes
    if not fits.any():
        return np.ones(table.size)
    return np.where(fits, weight_w([(p.count, known.part(p)) for p in compiled.parts]), 1.0)


def step_totals(
    compiled: CompiledWorkload, table: DesignTable, costs: Costs, objective: Objective, weight_w: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    """Seconds and joules [D] of a step whose parts are each the best for an objective, or for energy + `weight_w` x latency."""
    best = [costs.part(p).best(objective, weight_w) for p in compiled.parts]
    return _totals(compiled, table, [b.latency_s for b in best], [b.energy_j for b in best])


def price_part(
    part: CompiledPart, table: DesignTable, objective: Objective, edp_weight: FloatArray | None = None, costs: Costs | None = None
) -> PartPrices:
    """One run of a part with the best of its plans and combinations at each design point; `costs` as for `edp_weight_w`."""
    pricer = (costs or Costs(part.plans[0].pricers[0].geometry, table)).part(part)
    best = pricer.best(objective, edp_weight)
    plans = pricer.plans
    columns = FIRST_INNER + 2 * len(table.inner)
    taken = _Taken(np.zeros(table.size), np.zeros(table.size), np.zeros((table.size, columns)), np.zeros(table.size, dtype=np.int64))
    for position in np.unique(best.pick).tolist():
        at = np.flatnonzero(best.pick == position)
        if position < plans:
            taken.plan[at] = position
            _take_plan(taken, pricer, position, objective, edp_weight, table, at)
        else:
            assert part.combinations is not None
            _take_combination(taken, part.combinations, position - plans, table, at)
    combination = np.where(best.pick < plans, -1, best.pick - plans)
    return PartPrices(best.latency_s, best.energy_j, taken.overhead_s, taken.moved, taken.vector_ops, taken.plan, combination)


@dataclass(frozen=True, slots=True)
class _Taken:
    """What the choices made at each point add up to; arrays are filled in place."""

    overhead_s: FloatArray
    vector_ops: FloatArray
    moved: FloatArray
    plan: NDArray[np.int64]


def _take_plan(
    taken: _Taken,
    pricer: PartPricer,
    number: int,
    objective: Objective,
    edp_weight: FloatArray | None,
    table: DesignTable,
    at: NDArray[np.int64],
) -> None:
    plan = pricer.part.plans[number]
    taken.vector_ops[at] = sum(p.work.vector_ops for p in plan.pricers)
    overhead = np.zeros(len(at))
    for one in plan.pricers:
        overhead += one.overhead_s(table, at)
    taken.overhead_s[at] = overhead
    rows, found = pricer.rows(number, at, objective, edp_weight)
    moved = np.zeros((len(at), taken.moved.shape[1]))
    for row in (found[number] for number in plan.order.tolist()):
        one = row[0]
        moved += rows.counts[one] if (row == one).all() else rows.counts[row]  # most operators have one best row for many points
    taken.moved[at] = moved


def _take_combination(taken: _Taken, found: Combinations, number: int, table: DesignTable, at: NDArray[np.int64]) -> None:
    member, windows = found.members[number], found.table
    taken.plan[at] = member.plan
    taken.vector_ops[at] = member.vector_ops
    taken.overhead_s[at] = windows.launches[number] * table.launch_latency_s[at] + windows.touches[number] * table.dram_latency_s[at]
    taken.moved[at] = windows.totals[number]


def _totals(
    compiled: CompiledWorkload, table: DesignTable, latency_s: list[FloatArray], energy_j: list[FloatArray]
) -> tuple[FloatArray, FloatArray]:
    """Seconds and joules of a step from those of its parts; infinite where DRAM is too small."""
    counts = [p.count for p in compiled.parts]
    fits = compiled.least_dram_bytes <= table.dram_capacity_bytes
    latency, energy = _weighted(counts, latency_s), _weighted(counts, energy_j)
    return np.where(fits, latency, np.inf), np.where(fits, energy, np.inf)


def _summed(compiled: CompiledWorkload, table: DesignTable, parts: list[PartPrices]) -> Priced:
    counts = [p.count for p in compiled.parts]
    latency, energy = _totals(compiled, table, [p.latency_s for p in parts], [p.energy_j for p in parts])
    feasible = np.isfinite(latency)
    moved = _weighted(counts, [p.moved for p in parts])
    vector_ops = _weighted(counts, [p.vector_ops for p in parts])
    busy = busy_seconds(moved, vector_ops, _weighted(counts, [p.overhead_s for p in parts]), table, compiled.geometry)
    bound = np.where(feasible, np.argmax(np.stack([busy[r] for r in RESOURCES]), axis=0), -1).astype(np.int8)
    dram = moved[:, DRAM_READ] + moved[:, DRAM_WRITE]
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
