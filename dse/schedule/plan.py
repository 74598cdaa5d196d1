"""Plans: an operator graph cut into segments, with the tensors that stay on chip; several, for chips of different size."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import log1p
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.mapping.frontier import not_dominated
from dse.schedule.again import Balance, Rewritten, repeats, with_recomputation, work
from dse.schedule.candidates import runs, segment_of
from dse.schedule.choice import Choice, in_order
from dse.schedule.cycles import CycleTable
from dse.schedule.growth import VECTOR_OPS_PER_ARRAY_MAC
from dse.schedule.lattice import MOST_SETS, TooWideError, dependences, downsets, every_group
from dse.schedule.open_groups import BlockTrees, Halves
from dse.schedule.rereads import Rereads
from dse.schedule.rounds import can_pipeline, pipelined_bytes
from dse.schedule.segments import Segment, SegmentBuilder
from dse.schedule.series import SeriesChoice
from dse.schedule.storage import find_storages
from dse.schedule.streams import as_late_as_possible, find_streams
from dse.units import BYTES_PER_KIB

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from dse.hw.accelerator import Geometry
    from dse.ir.graph import OperatorGraph
    from dse.ir.operator import Operator
    from dse.schedule.again import Again
    from dse.schedule.candidates import Candidate
    from dse.schedule.lattice import Dependences
    from dse.schedule.storage import Storage

    FloatArray = NDArray[np.float64]


class Schedule(StrEnum):
    """How the operators of a graph follow each other."""

    FUSED = "fused"
    """Segments run slice by slice with intermediates on chip; each design point takes the best of several plans."""
    LAYER_BY_LAYER = "layer_by_layer"
    """Every operator reads its inputs from DRAM and writes its outputs there."""


BUDGETS_BYTES: Final = tuple(float(16 * BYTES_PER_KIB * 2 ** (i / 2)) for i in range(33))
"""Plans are made for these budgets of held bytes, 16 KiB to 1 GiB."""
LARGEST_BUDGET_BYTES: Final = BUDGETS_BYTES[-1]
BALANCES_MACS_PER_BYTE: Final = (32.0, 128.0, 2048.0)
"""Array peak over DRAM rate for which plans are made: 64 and 256 operations per byte, about the ends of today's
accelerators (138.9 to 320, arXiv 2507.15465 Table I, and slower edge arrays), and one at which hardly more than traffic counts. With
traffic alone slices would be cut so thin that their passes cost more, in energy too."""
MACS_PER_BUFFER_BYTE: Final = 8.0
"""Array peak over the buffer's rate for which plans are made: edge32 8, tpu7x 21 to 32 (accelerators/catalogue); the lowest, so that what
slices read again counts where every chip waits for it."""
RESIDENTS_STEP: Final = 4
"""Intermediates stay across segments as far as a budget goes, and as far as this many times that: slices that run as a pipeline hold
several copies, so a cut made for a smaller budget may be the best with room for them beside it."""
PLAN_EXCESS: Final = 0.01
"""Plans that another one is within this of in everything, and within `HELD_EXCESS` in bytes held, are not priced."""
HELD_EXCESS: Final = 0.25
"""Less than the ratio of budgets: a plan that is left out holds at most this much less than one that stays."""
FEW_STATES: Final = 200
"""Downsets up to which the groups of all blocks are not counted first: the whole graph is hardly too wide then."""
HELD: Final = [0, 4]
"""Bytes held among what plans are compared by: at once, and as pipelines."""
PIPELINE_GAIN: Final = 0.05
"""Share of the cost of all others by which a plan whose groups were chosen as pipelines must be better to be priced as well."""
FRUGAL_MACS_PER_BYTE: Final = 65536.0
"""Balance at which plans for least energy are made, beside the others: a cycle counts as what the array takes from the buffer meanwhile, 16
bytes of DRAM on tpu7x (measured there, slices of latent attention: 500 pJ per cycle at 32 pJ per byte)."""
FRUGAL_GAIN: Final = 0.05
"""Share of the cost of all others by which such a plan must be better to be priced as well."""
LEAST_EXCESS: Final = 0.0005
"""But for the one that holds least of those within this of the fewest DRAM bytes at no more cycles: differences that prices count
as ties (TIE_TOLERANCE)."""


Totals = tuple[float, float, float, float]
"""Bytes held at once, DRAM bytes, array cycles, and vector operations of what is formed again."""


@dataclass(frozen=True)
class Plan:
    """Segments in order, and storages that stay on chip across segments from their first writer to their last reader."""

    segments: tuple[Segment, ...]
    resident: frozenset[str]
    reserved_bytes: tuple[float, ...]
    """Bytes held while each operator runs, residents included."""
    order: tuple[int, ...] | None = None
    """Positions in the schedule order, in the order of this plan; None where that is the schedule order."""
    again: Again | None = None
    """What is formed again, over a graph of its own with its own order; None where every result is formed once."""

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
    exact: bool = True
    """Whether the groups of the plans are the best of all that any order of the operators allows, by the costs of `make_plans`;
    else they are the best runs of the schedule order."""
    builders: Mapping[tuple[int, ...] | Again, SegmentBuilder] = field(default_factory=dict)
    """By order, or by what is formed again: builders of the plans that have one of their own."""

    @property
    def order(self) -> tuple[Operator, ...]:
        """Operators in the schedule order; views are not among them."""
        return self.builder.order

    def of(self, plan: Plan) -> PlanBook:
        """The book whose order is that of `plan`, and whose graph has what the plan forms again."""
        own = plan.again or plan.order
        return self if own is None else replace(self, graph=self.builders[own].graph, builder=self.builders[own])


def make_plans(
    graph: OperatorGraph,
    schedule: Schedule,
    geometry: Geometry,
    *,
    any_order: bool = True,
    recompute: bool = True,
    spill: bool = True,
    fine: bool = True,
) -> PlanBook:
    """Plans for `graph`: for each budget of held bytes and each balance, the cut into segments of least cost.

    Cost is the sum over segments of DRAM bytes plus the bytes that the balance could have moved during their cycles, so that
    neither hides the other. A dynamic programme over the downsets of the graph, exact for connected groups of up to
    `MAX_SEGMENT_OPERATORS` operators in any order that their dependences allow, each run in the ways of `candidates`; over the
    prefixes of the schedule order, so exact for its runs, where a graph has too many downsets or groups even between two joints
    (`dse.schedule.joints`), or without `any_order`.
    Ties go to fewer bytes held. With `recompute` each of these plans is offered a second time with intermediates formed again
    where that costs less (see `with_recomputation`); with `spill` unfinished sums may go out and come back. Plans with such ways, and with
    others that are `Way.beside`, are added to those without and displace none of them. Plans that another one
    beats in bytes held, DRAM bytes, cycles and vector operations are left out. Groups are chosen once more by what they hold and how long
    they take as pipelines, array and an assumed vector unit side by side; plans of these are added where they cost less so by
    `PIPELINE_GAIN`. Plans for least energy are made at a balance of their own, with what comes again for lack of room
    (`dse.schedule.rereads`), and added where they are better by `FRUGAL_GAIN`. Without `fine` numbers of slices are tried in steps of
    four, and every other budget, nothing counts what slices read again, and nothing is chosen as pipelines or for least energy. Which
    of the others runs is decided for each design point when it is priced.

    Raises:
        GraphError: a contraction in a data type that the array cannot compute.
    """
    order = as_late_as_possible(graph)
    streams = find_streams(graph)
    storages = find_storages(graph, order, streams.axes)
    cycles = CycleTable(graph, geometry)
    waits = MACS_PER_BUFFER_BYTE / geometry.array.elements if fine else 0.0
    builder = SegmentBuilder(graph, order, streams, storages, cycles, cycles.prepare, spill, fine, waits)
    alone = [builder.build(p, p, (), frozenset()) for p in range(len(order))]
    first = Plan(tuple(alone), frozenset(), (0.0,) * len(order))
    if schedule is Schedule.LAYER_BY_LAYER or not order:
        return PlanBook(graph, builder, (first,))
    return _fused(builder, first, geometry, any_order=any_order, recompute=recompute)


def _fused(builder: SegmentBuilder, first: Plan, geometry: Geometry, *, any_order: bool, recompute: bool) -> PlanBook:
    """The plan that holds nothing, and those that no other one beats."""
    deps, elements = dependences(builder), geometry.array.elements
    choice, exact = _choice(builder, deps, elements, any_order=any_order)
    maker = _PlanMaker(builder, elements)
    plans = {first: (*plan_totals(builder, first), 0.0)}
    outlines = _outlines(choice, deps, elements, fine=builder.fine)
    balance: dict[Plan, tuple[float, float]] = {}
    for groups, outline in outlines.items():
        for plan, totals in maker.plans(groups, outline[0]):
            if plan not in plans:
                plans[plan], balance[plan] = totals, outline
    kept = _not_beaten(plans, maker)
    if recompute:
        more = dict(found for p in kept if p in balance for found in maker.again(p, plans[p], *balance[p]))
        kept = _not_beaten({p: plans[p] for p in kept} | more, maker)
        plans |= more
    if builder.fine:
        offered = maker.offered(_outlines(choice, deps, elements, pipelined=True), outlines)
        kept += _sooner_as_pipelines({p: plans[p] for p in kept}, offered, maker)
        again = Rereads(builder, geometry, BUDGETS_BYTES)
        roomy = choice.with_fronts(again.with_rooms)
        offered = maker.offered(_outlines(roomy, deps, elements, balances=(FRUGAL_MACS_PER_BYTE,), beside=True), outlines)
        kept += _more_frugal({p: plans[p] for p in kept if p in plans}, offered, again, maker)
    if choice.has_beside:
        offered = maker.offered(_outlines(choice, deps, elements, beside=True, fine=builder.fine), outlines)
        kept += tuple(p for p in _not_beaten(plans | offered, maker) if p not in plans and p not in kept)
    own = {p.again or p.order: maker.builder(p) for p in kept}
    return PlanBook(builder.graph, builder, kept, exact, {key: b for key, b in own.items() if key is not None})


def _outlines(
    choice: Choice,
    deps: Dependences,
    elements: int,
    *,
    balances: Sequence[float] = BALANCES_MACS_PER_BYTE,
    beside: bool = False,
    pipelined: bool = False,
    fine: bool = True,
) -> dict[tuple[Candidate, ...], tuple[float, float]]:
    """The best groups of every budget and balance, each with the first (bytes held, bytes per cycle) for which they are."""
    found: dict[tuple[Candidate, ...], tuple[float, float]] = {}
    ordered: dict[tuple[int, ...], tuple[Candidate, ...]] = {}
    budgets = BUDGETS_BYTES if fine else BUDGETS_BYTES[::2]
    rates = [elements / intensity for intensity in balances]
    chosen = choice.least_at(budgets, rates, beside=beside, pipelined=pipelined)
    for balance, at_balance in zip(rates, chosen, strict=True):
        for budget, groups in zip(budgets, at_balance, strict=True):
            same = tuple(map(id, groups))  # a way to run a group is one object
            if same not in ordered:
                ordered[same] = in_order(groups, deps)
                found.setdefault(ordered[same], (budget, balance))
    return found


def _not_beaten(plans: Mapping[Plan, Totals], maker: _PlanMaker) -> tuple[Plan, ...]:
    """Plans that no other one beats, also where their slices run as pipelines; the first is always among them."""
    totals = list(plans.values())
    compared = np.column_stack((np.array(totals), [maker.in_step(p) for p in plans]))
    if maker.fine:
        compared[:, HELD] = np.maximum(compared[:, HELD], 1.0) ** (log1p(PLAN_EXCESS) / log1p(HELD_EXCESS))
    found = {0, _least_bytes(totals), *not_dominated(compared, excess=PLAN_EXCESS).tolist()}
    return tuple(p for i, p in enumerate(plans) if i in found)


def _sooner_as_pipelines(kept: Mapping[Plan, Totals], offered: Mapping[Plan, Totals], maker: _PlanMaker) -> tuple[Plan, ...]:
    """Those of `offered` that as pipelines, in no more bytes than they hold so, cost less by `PIPELINE_GAIN` at some balance than all kept
    and those offered that hold less."""
    bytes_per_cycle = maker.elements / np.array(BALANCES_MACS_PER_BYTE)

    def of(plans: Mapping[Plan, Totals]) -> tuple[FloatArray, FloatArray]:
        """Bytes held [N] and costs [N, balances]."""
        held, cycles = np.array([maker.in_step(p) for p in plans]).reshape(-1, 2).T
        return held, np.array([t[1] for t in plans.values()])[:, None] + cycles[:, None] * bytes_per_cycle

    held, cost = of(kept)
    new_held, new_cost = of(offered)
    found, plans = [], list(offered)
    for i in np.argsort(new_held, kind="stable").tolist():
        if (new_cost[i] < cost[held <= new_held[i]].min(axis=0) * (1 - PIPELINE_GAIN)).any():
            found.append(plans[i])
            held, cost = np.append(held, new_held[i]), np.vstack((cost, new_cost[i]))
    return tuple(found)


def _more_frugal(kept: Mapping[Plan, Totals], offered: Mapping[Plan, Totals], again: Rereads, maker: _PlanMaker) -> tuple[Plan, ...]:
    """Those of `offered` that in some budget cost less by `FRUGAL_GAIN` than all kept and those offered that hold less: DRAM bytes, those
    that come again for lack of room among them, and a little for cycles."""

    def costs(plan: Plan, totals: Totals) -> FloatArray:
        """In each budget, [N]."""
        return again.of_plan(maker.builder(plan), plan) + totals[1] + totals[2] * maker.elements / FRUGAL_MACS_PER_BYTE

    least = np.min([costs(p, t) for p, t in kept.items()], axis=0)
    found = []
    for plan, totals in sorted(offered.items(), key=lambda x: x[1][:2]):
        here = costs(plan, totals)
        if (here < least * (1 - FRUGAL_GAIN)).any():
            found.append(plan)
            least = np.minimum(least, here)
    return tuple(found)


def _least_bytes(totals: list[Totals]) -> int:
    """Of the plans with about the fewest cycles and among them about the fewest DRAM bytes the one that holds least."""
    fast = [i for i, t in enumerate(totals) if t[2] <= min(t[2] for t in totals) * (1 + PLAN_EXCESS)]
    few = [i for i in fast if totals[i][1] <= min(totals[j][1] for j in fast) * (1 + LEAST_EXCESS)]
    return min(few, key=lambda i: totals[i])


def _choice(builder: SegmentBuilder, deps: Dependences, elements: int, *, any_order: bool) -> tuple[Choice, bool]:
    """What there is to choose from, and whether it is everything."""
    prefixes = [(1 << p) - 1 for p in range(len(builder.order) + 1)]
    if any_order:
        try:
            states = downsets(deps)
            trees = BlockTrees(builder, deps) if len(states) > FEW_STATES else None
            if trees is None or trees.sets <= MOST_SETS:
                try:
                    return Choice(every_group(builder, deps, LARGEST_BUDGET_BYTES, elements), deps, states), True
                except TooWideError:
                    trees = trees or BlockTrees(builder, deps)
            halves = Halves(builder, trees, LARGEST_BUDGET_BYTES, elements)
            return SeriesChoice(builder, halves, deps, states, elements), True
        except TooWideError:
            pass
    return Choice(list(runs(builder, LARGEST_BUDGET_BYTES, elements)), deps, prefixes), False


class _PlanMaker:
    """Plans from groups; segments and builders that several plans share are made once."""

    def __init__(self, builder: SegmentBuilder, elements: int) -> None:
        self._builder = builder
        self.elements = elements
        self._builders: dict[tuple[int, ...], SegmentBuilder] = {}
        self._segments: dict[tuple[tuple[int, ...] | None, Candidate], Segment] = {}
        self._again: dict[Again, SegmentBuilder] = {}
        self._rewritten = Rewritten()
        self._in_step: dict[tuple[tuple[int, ...] | Again | None, Segment], tuple[float, float]] = {}

    @property
    def fine(self) -> bool:
        """Whether slices go in the finer steps."""
        return self._builder.fine

    def builder(self, plan: Plan) -> SegmentBuilder:
        """The builder in whose order the positions of `plan` count."""
        if plan.again is not None:
            return self._again[plan.again]
        return self._builder if plan.order is None else self._builders[plan.order]

    def again(self, plan: Plan, totals: Totals, budget_bytes: float, bytes_per_cycle: float) -> Iterator[tuple[Plan, Totals]]:
        """The plan with intermediates formed again where that costs less, in as many bytes held as before or the budget; and its totals."""
        room = max(budget_bytes, plan.peak_bytes)
        builder = self.builder(plan)
        balance = Balance.within_reason(bytes_per_cycle, self.elements)
        draft = with_recomputation(builder, plan.segments, plan.resident, room, balance, self._rewritten)
        if draft is None:
            return
        self._again.setdefault(draft.again, draft.builder)
        reserved = tuple(r for s in draft.segments for r in s.reserved_bytes)
        found = Plan(draft.segments, frozenset(), reserved, again=draft.again)
        if plan.resident:
            found = _with_residents(draft.builder, found, room)
        (cycles, operations), before = work(draft.builder, found.segments), work(builder, plan.segments)
        moved = plan_totals(draft.builder, found)[1]
        yield found, (found.peak_bytes, moved, totals[2] + cycles - before[0], operations - before[1])

    def in_step(self, plan: Plan) -> tuple[float, float]:
        """(bytes held at once, cycles of array and vector unit) where operators of a segment work on different slices at the same time:
        segments of slices take the longer of the two units, others both."""
        most = cycles = 0.0
        for s in plan.segments:
            held, busy = self._segment_in_step(plan, s)
            beside = max(plan.reserved_bytes[s.first : s.last + 1]) - s.peak_bytes
            most, cycles = max(most, held + max(beside, 0.0)), cycles + busy
        return most, cycles

    def _segment_in_step(self, plan: Plan, segment: Segment) -> tuple[float, float]:
        key = plan.again or plan.order, segment
        if key not in self._in_step:
            builder, positions = self.builder(plan), range(segment.first, segment.last + 1)
            operations = sum(builder.order[p].vector_ops * repeats(builder, p, segment.cuts) for p in positions)
            array, vector = sum(segment.array_cycles), operations / (self.elements * VECTOR_OPS_PER_ARRAY_MAC)
            if can_pipeline(segment):
                self._in_step[key] = max(segment.peak_bytes, pipelined_bytes(builder, segment)), max(array, vector)
            else:
                self._in_step[key] = segment.peak_bytes, array + vector
        return self._in_step[key]

    def offered(
        self, outlines: Mapping[tuple[Candidate, ...], tuple[float, float]], known: Container[tuple[Candidate, ...]]
    ) -> dict[Plan, Totals]:
        """The plans of all outlines that are not `known`, with their totals."""
        return dict(found for groups, outline in outlines.items() if groups not in known for found in self.plans(groups, outline[0]))

    def plans(self, groups: tuple[Candidate, ...], budget_bytes: float) -> list[tuple[Plan, Totals]]:
        """Without and with intermediates that stay across segments, in the budget and in a wider one; with their totals."""
        positions = tuple(p for c in groups for p in c.members)
        order = None if positions == tuple(range(len(positions))) else positions
        builder = self._builder
        if order is not None:
            if order not in self._builders:
                self._builders[order] = _reordered(builder, order)
            builder = self._builders[order]
        segments, first = [], 0
        for c in groups:
            if (order, c) not in self._segments:
                self._segments[order, c] = segment_of(builder, first, first + len(c.members) - 1, c.way)
            segments.append(self._segments[order, c])
            first += len(c.members)
        bare = Plan(tuple(segments), frozenset(), tuple(r for s in segments for r in s.reserved_bytes), order)
        found = (bare, *(_with_residents(builder, bare, b) for b in (budget_bytes, RESIDENTS_STEP * budget_bytes)))
        cycles = sum(c.cycles for c in groups)
        return [(p, (p.peak_bytes, plan_totals(builder, p)[1], cycles, 0.0)) for p in dict.fromkeys(found)]


def _reordered(builder: SegmentBuilder, order: tuple[int, ...]) -> SegmentBuilder:
    operators = tuple(builder.order[p] for p in order)
    storages = find_storages(builder.graph, operators, builder.streams.axes)
    return replace(builder, order=operators, storages=storages, prepare=None)


def plan_totals(builder: SegmentBuilder, plan: Plan) -> tuple[float, float, float]:
    """(bytes held at once, DRAM bytes at least, array cycles at least) of a plan; `builder` has its order."""
    moved = [builder.dram_bytes(s.first, s.last, s.cuts, s.held, plan.resident) for s in plan.segments]
    return plan.peak_bytes, sum(sum(m) for m in moved), sum(sum(s.array_cycles) for s in plan.segments)


def _with_residents(builder: SegmentBuilder, plan: Plan, budget_bytes: float) -> Plan:
    """Hold further intermediates whole across segments, smallest first, as far as the budget goes."""
    segments, reserved = plan.segments, list(plan.reserved_bytes)
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
    return Plan(segments, frozenset(resident), tuple(reserved), plan.order, plan.again)


def _crosses(storage: Storage, segment_at: list[Segment]) -> bool:
    """True for an intermediate that a later segment reads."""
    if storage.from_outside or not storage.writers or not storage.readers:
        return False
    return segment_at[min(storage.writers)] is not segment_at[max(storage.readers)]
