"""Plans: an operator graph cut into segments, with the tensors that stay on chip; several, for chips of different size."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.ir.operator import Kind
from dse.mapping.frontier import least_cycles, not_dominated
from dse.schedule.problems import slice_problem
from dse.schedule.segments import Segment, SegmentBuilder
from dse.schedule.storage import find_storages
from dse.schedule.streams import as_late_as_possible, find_streams
from dse.units import BYTES_PER_GIB, BYTES_PER_KIB

if TYPE_CHECKING:
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

    Cost is the sum over operators of DRAM bytes plus the bytes that the balance could have moved during the array's cycles,
    so that neither hides the other. A dynamic programme over the schedule order, exact for the segments that
    `SegmentBuilder` offers; ties go to fewer bytes held, then fewer segments. Plans that another one beats in bytes held,
    DRAM bytes and array cycles are left out. Which of the others runs is decided for each design point when it is priced.

    Raises:
        GraphError: a contraction in a data type that the array cannot compute.
    """
    order = as_late_as_possible(graph)
    streams = find_streams(graph)
    builder = SegmentBuilder(graph, order, streams, find_storages(graph, order, streams.axes), _CycleTable(graph, geometry))
    nothing_held = tuple(builder.build(p, p, None, 1, frozenset()) for p in range(len(order)))
    plans = [Plan(nothing_held, frozenset(), (0.0,) * len(order))]
    if schedule is Schedule.FUSED and order:
        segments = sorted(builder.all_segments(LARGEST_BUDGET_BYTES), key=lambda s: (s.first, s.last, s.peak_bytes))
        peak = geometry.array.rows * geometry.array.columns * geometry.array.count
        for intensity in BALANCES_MACS_PER_BYTE:
            costs = [s.cost_bytes(peak / intensity) for s in segments]
            budget = SMALLEST_BUDGET_BYTES
            while budget <= LARGEST_BUDGET_BYTES:
                cut = _least_cost(segments, costs, len(order), budget)
                bare = Plan(cut, frozenset(), tuple(r for s in cut for r in s.reserved_bytes))
                plans += [p for p in (bare, _with_residents(builder, cut, budget)) if p not in plans]
                budget *= BUDGET_STEP
        totals = np.array([plan_totals(builder, plan) for plan in plans])
        plans = [plans[i] for i in not_dominated(totals)]
    return PlanBook(graph, builder, tuple(plans))


def plan_totals(builder: SegmentBuilder, plan: Plan) -> tuple[float, float, float]:
    """(bytes held at once, DRAM bytes at least, array cycles at least) of a plan."""
    moved = [builder.dram_bytes(s.first, s.last, s.stream, s.slices, s.held, plan.resident) for s in plan.segments]
    return plan.peak_bytes, sum(sum(m) for m in moved), sum(sum(s.array_cycles) for s in plan.segments)


class _CycleTable:
    """Least array cycles of operator slices, each found once."""

    def __init__(self, graph: OperatorGraph, geometry: Geometry) -> None:
        self._graph = graph
        self._geometry = geometry
        self._found: dict[tuple[str, str | None, int], float] = {}

    def __call__(self, operator: Operator, dim: str | None, slices: int) -> float:
        key = (operator.name, dim, slices)
        if key not in self._found:
            self._found[key] = 0.0
            if operator.kind is Kind.CONTRACTION:
                problem = slice_problem(self._graph, operator, dim, slices, self._geometry)
                self._found[key] = least_cycles(problem, self._geometry)
        return self._found[key]


def _least_cost(segments: list[Segment], costs: list[float], operators: int, budget_bytes: float) -> tuple[Segment, ...]:
    """Segments that cover all operators within the budget with least (cost, bytes held at once, segments)."""
    best: list[tuple[float, float, int]] = [(0.0, 0.0, 0)] + [(float("inf"), 0.0, 0)] * operators
    taken: list[Segment | None] = [None] * (operators + 1)
    for s, cost_bytes in zip(segments, costs, strict=True):
        if s.peak_bytes > budget_bytes:
            continue
        before = best[s.first]
        cost = (before[0] + cost_bytes, max(before[1], s.peak_bytes), before[2] + 1)
        if cost < best[s.last + 1]:
            best[s.last + 1] = cost
            taken[s.last + 1] = s
    found: list[Segment] = []
    end = operators
    while end > 0:
        segment = taken[end]
        assert segment is not None, "single operators with nothing held always fit"
        found.append(segment)
        end = segment.first
    return tuple(reversed(found))


def _with_residents(builder: SegmentBuilder, segments: tuple[Segment, ...], budget_bytes: float) -> Plan:
    """Hold further intermediates whole across segments, smallest first, as far as the budget goes."""
    reserved = [r for s in segments for r in s.reserved_bytes]
    segment_of = [s for s in segments for _ in range(s.first, s.last + 1)]
    resident: set[str] = set()
    for storage in sorted(builder.storages.values(), key=lambda s: (s.size_bytes, s.name)):
        if not _crosses(storage, segment_of):
            continue
        span = range(min(storage.writers), max(storage.readers) + 1)
        if all(reserved[p] + storage.size_bytes <= budget_bytes for p in span):
            resident.add(storage.name)
            for p in span:
                held = storage.name in segment_of[p].held
                reserved[p] += storage.size_bytes
                if held:
                    reserved[p] -= builder.slice_bytes(storage, segment_of[p].stream, segment_of[p].slices)
    return Plan(segments, frozenset(resident), tuple(reserved))


def _crosses(storage: Storage, segment_of: list[Segment]) -> bool:
    """True for an intermediate that a later segment reads."""
    if storage.from_outside or not storage.writers or not storage.readers:
        return False
    return segment_of[min(storage.writers)] is not segment_of[max(storage.readers)]
