"""Plans: an operator graph cut into segments, with the tensors that stay on chip; several, for chips of different size."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.ir.operator import Kind
from dse.mapping.frontier import least_cycles, not_dominated
from dse.schedule.candidates import Candidate, candidates, segment_of
from dse.schedule.problems import contraction_problem
from dse.schedule.segments import Segment, SegmentBuilder
from dse.schedule.storage import find_storages
from dse.schedule.streams import as_late_as_possible, find_streams
from dse.units import BYTES_PER_GIB, BYTES_PER_KIB

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.hw.accelerator import Geometry
    from dse.ir.graph import OperatorGraph
    from dse.ir.operator import Operator
    from dse.schedule.storage import Storage


class Schedule(StrEnum):
    """How the operators of a graph follow each other."""

    FUSED = "fused"
    """Segments run slice by slice with intermediates on chip; each design point takes the best of several plans."""
    LAYER_BY_LAYER = "layer_by_layer"
    """Every operator reads its inputs from DRAM and writes its outputs there."""


SMALLEST_BUDGET_BYTES: Final = 16 * BYTES_PER_KIB
LARGEST_BUDGET_BYTES: Final = BYTES_PER_GIB
BUDGET_STEP: Final = 2
"""Plans are made for budgets of held bytes between these two, each this many times the one before."""
BALANCES_MACS_PER_BYTE: Final = (32.0, 128.0, float("inf"))
"""Array peak over DRAM rate for which plans are made: 64 and 256 operations per byte, about the ends of today's
accelerators (138.9 to 320, arXiv 2507.15465 Table I, and slower edge arrays), and traffic alone."""
PLAN_EXCESS: Final = 0.01
"""Plans that another one beats in bytes held and is within this of in everything else are not priced."""


@dataclass(frozen=True)
class Plan:
    """Segments in order, and storages that stay on chip across segments from their first writer to their last reader."""

    segments: tuple[Segment, ...]
    resident: frozenset[str]
    reserved_bytes: tuple[float, ...]
    """Bytes held while each operator runs, residents included."""

    @property
    def peak_bytes(self) -> float:
        """Most bytes held at once; the plan needs a buffer of at least this."""
        return max(self.reserved_bytes)


@dataclass(frozen=True)
class PlanBook:
    """The schedule order of a graph and the plans made for it, the one that holds nothing first."""

    graph: OperatorGraph
    builder: SegmentBuilder
    plans: tuple[Plan, ...]

    @property
    def order(self) -> tuple[Operator, ...]:
        """Operators in the order in which all plans run them; views are not among them."""
        return self.builder.order


def make_plans(graph: OperatorGraph, schedule: Schedule, geometry: Geometry) -> PlanBook:
    """Plans for `graph`: for each budget of held bytes and each balance, the cut into segments of least cost.

    Cost is the sum over segments of DRAM bytes plus the bytes that the balance could have moved during their cycles, so that
    neither hides the other. A dynamic programme over the schedule order, exact for the segments that `candidates` offers;
    ties go to fewer bytes held. Plans that another one beats in bytes held, DRAM bytes and cycles are left out. Which of the
    others runs is decided for each design point when it is priced.

    Raises:
        GraphError: a contraction in a data type that the array cannot compute.
    """
    order = as_late_as_possible(graph)
    streams = find_streams(graph)
    storages = find_storages(graph, order, streams.axes)
    builder = SegmentBuilder(graph, order, streams, storages, _CycleTable(graph, geometry))
    alone = [builder.build(p, p, (), frozenset()) for p in range(len(order))]
    plans = [Plan(tuple(alone), frozenset(), (0.0,) * len(order))]
    if schedule is Schedule.FUSED and order:
        plans = _fused(builder, plans, geometry.array.elements)
    return PlanBook(graph, builder, tuple(plans))


def _fused(builder: SegmentBuilder, plans: list[Plan], elements: int) -> list[Plan]:
    """The plan that holds nothing, and those that no other one beats."""
    offered = pruned(list(candidates(builder, LARGEST_BUDGET_BYTES, elements)))
    budgets = [float(SMALLEST_BUDGET_BYTES)]
    while budgets[-1] * BUDGET_STEP <= LARGEST_BUDGET_BYTES:
        budgets.append(budgets[-1] * BUDGET_STEP)
    outlines: dict[tuple[Candidate, ...], float] = {}
    for intensity in BALANCES_MACS_PER_BYTE:
        for budget, cut in zip(budgets, least_cost(offered, len(builder.order), budgets, elements / intensity), strict=True):
            outlines.setdefault(cut, budget)
    built: dict[Candidate, Segment] = {}
    totals = [_outline_totals([c for c in offered if c.first == c.last and c.peak_bytes == 0])]
    for cut, budget in outlines.items():
        for c in cut:
            if c not in built:
                built[c] = segment_of(builder, c)
        segments = tuple(built[c] for c in cut)
        bare = Plan(segments, frozenset(), tuple(r for s in segments for r in s.reserved_bytes))
        cycles = sum(c.cycles for c in cut)
        for plan in (bare, _with_residents(builder, segments, budget)):
            if plan not in plans:
                plans.append(plan)
                totals.append((plan.peak_bytes, plan_totals(builder, plan)[1], cycles))
    return [plans[0], *(plans[i] for i in not_dominated(np.array(totals), excess=PLAN_EXCESS) if i)]


def _outline_totals(cut: list[Candidate]) -> tuple[float, float, float]:
    return 0.0, sum(c.dram_bytes for c in cut), sum(c.cycles for c in cut)


def plan_totals(builder: SegmentBuilder, plan: Plan) -> tuple[float, float, float]:
    """(bytes held at once, DRAM bytes at least, array cycles at least) of a plan."""
    moved = [builder.dram_bytes(s.first, s.last, s.cuts, s.held, plan.resident) for s in plan.segments]
    return plan.peak_bytes, sum(sum(m) for m in moved), sum(sum(s.array_cycles) for s in plan.segments)


class _CycleTable:
    """Least array cycles of operator slices, each found once."""

    def __init__(self, graph: OperatorGraph, geometry: Geometry) -> None:
        self._graph = graph
        self._geometry = geometry
        self._found: dict[tuple[str, tuple[tuple[str, int], ...]], float] = {}

    def __call__(self, operator: Operator, loops: tuple[tuple[str, int], ...]) -> float:
        key = (operator.name, loops)
        if key not in self._found:
            self._found[key] = 0.0
            if operator.kind is Kind.CONTRACTION:
                problem = contraction_problem(self._graph, operator, dict(loops), self._geometry)
                self._found[key] = least_cycles(problem, self._geometry)
        return self._found[key]


def pruned(offered: list[Candidate]) -> list[Candidate]:
    """Without those that another candidate for the same operators beats in bytes held, DRAM bytes and cycles; by last operator."""
    by_span: dict[tuple[int, int], list[Candidate]] = {}
    for c in offered:
        if np.isfinite(c.peak_bytes):
            by_span.setdefault((c.last, c.first), []).append(c)
    kept: list[Candidate] = []
    for span in sorted(by_span):
        same = sorted(by_span[span], key=lambda c: (c.peak_bytes, c.dram_bytes, c.cycles))
        front: list[tuple[float, float]] = []
        for c in same:
            if not any(d <= c.dram_bytes and a <= c.cycles for d, a in front):
                front.append((c.dram_bytes, c.cycles))
                kept.append(c)
    return kept


def least_cost(offered: list[Candidate], operators: int, budgets: list[float], bytes_per_cycle: float) -> list[tuple[Candidate, ...]]:
    """For each budget the candidates that cover all operators with least cost, fewest bytes held where costs are equal.

    `offered` is sorted by last operator. Dynamic programme over the schedule order, all budgets at once: least(p) is the
    least over candidates that end at p of their cost plus least(before their first operator).
    """
    limits = np.array(budgets, dtype=np.float64)
    first = np.array([c.first for c in offered])
    last = np.array([c.last for c in offered])
    peak = np.array([c.peak_bytes for c in offered])
    cost = np.array([c.cost_bytes(bytes_per_cycle) for c in offered])
    fits = peak[:, None] <= limits  # [candidates, budgets]
    best: NDArray[np.float64] = np.zeros((operators + 1, len(budgets)))
    held: NDArray[np.float64] = np.zeros((operators + 1, len(budgets)))
    taken = np.zeros((operators + 1, len(budgets)), dtype=np.int64)
    bounds = np.searchsorted(last, np.arange(operators + 1))
    for p in range(operators):
        here = slice(bounds[p], bounds[p + 1])
        total = np.where(fits[here], best[first[here]] + cost[here, None], np.inf)
        most = np.maximum(held[first[here]], peak[here, None])
        least = total.min(axis=0)
        pick = np.argmin(np.where(total <= least, most, np.inf), axis=0)
        columns = np.arange(len(budgets))
        best[p + 1], held[p + 1] = least, most[pick, columns]
        taken[p + 1] = pick + bounds[p]
    return [_trace_back(offered, taken[:, b], operators) for b in range(len(budgets))]


def _trace_back(offered: list[Candidate], taken: NDArray[np.int64], operators: int) -> tuple[Candidate, ...]:
    found: list[Candidate] = []
    end = operators
    while end > 0:
        found.append(offered[taken[end]])
        end = found[-1].first
    return tuple(reversed(found))


def _with_residents(builder: SegmentBuilder, segments: tuple[Segment, ...], budget_bytes: float) -> Plan:
    """Hold further intermediates whole across segments, smallest first, as far as the budget goes."""
    reserved = [r for s in segments for r in s.reserved_bytes]
    segment_at = [s for s in segments for _ in range(s.first, s.last + 1)]
    resident: set[str] = set()
    for storage in sorted(builder.storages.values(), key=lambda s: (s.size_bytes, s.name)):
        if not _crosses(storage, segment_at):
            continue
        span = range(min(storage.writers), max(storage.readers) + 1)
        if all(reserved[p] + storage.size_bytes <= budget_bytes for p in span):
            resident.add(storage.name)
            for p in span:
                reserved[p] += storage.size_bytes
            for s in dict.fromkeys(segment_at[p] for p in span):
                if storage.name in s.held:
                    e = builder.effect(storage, s.first, s.last, s.cuts, held=True)
                    for p in range(e.start, e.stop + 1):
                        reserved[p] -= e.held_bytes
    return Plan(segments, frozenset(resident), tuple(reserved))


def _crosses(storage: Storage, segment_at: list[Segment]) -> bool:
    """True for an intermediate that a later segment reads."""
    if storage.from_outside or not storage.writers or not storage.readers:
        return False
    return segment_at[min(storage.writers)] is not segment_at[max(storage.readers)]
