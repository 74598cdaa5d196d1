"""The choice of groups against other ways to find it: every partition of small graphs, and Dijkstra's shortest path on graphs of 40 and more."""

from __future__ import annotations

from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import combinations

import pytest
from onnx import TensorProto, helper

from dse.ir.onnx_read import read_onnx
from dse.ir.operator import Kind
from dse.schedule.candidates import MAX_SEGMENT_OPERATORS, WayBook, runs, segment_of
from dse.schedule.choice import Choice, in_order
from dse.schedule.growth import VECTOR_OPS_PER_ARRAY_MAC, Front, Hold, Way
from dse.schedule.lattice import Dependences, TooWideError, bits, dependences, downsets, every_group
from dse.schedule.plan import Schedule, make_plans, plan_totals
from dse.schedule.segments import SegmentBuilder
from dse.schedule.storage import find_storages

from .graphs import GEOMETRY, attention, branches, swiglu_chain, two_layers

BOTH = replace(GEOMETRY, array=replace(GEOMETRY.array, macs_per_pe_per_cycle=(("bf16", 1), ("fp16", 1))))
ELEMENTS = BOTH.array.elements
LARGEST = 2.0**30


def builder_of(graph) -> SegmentBuilder:
    return make_plans(graph, Schedule.LAYER_BY_LAYER, BOTH).builder


def least(builder: SegmentBuilder, budgets: list[float], bytes_per_cycle: float) -> list[float]:
    """What the dynamic programme finds, one cost per budget."""
    deps = dependences(builder)
    choice = Choice(every_group(builder, deps, LARGEST, ELEMENTS), deps, downsets(deps))
    return [sum(c.dram_bytes + c.cycles * bytes_per_cycle for c in groups) for groups in choice.least(budgets, bytes_per_cycle)]


@dataclass(frozen=True)
class Group:
    mask: int
    needed: int
    ways: tuple[tuple[float, float, float], ...]
    """(bytes held, DRAM bytes, cycles)."""


def groups_by_hand(builder: SegmentBuilder, sets: list[int]) -> list[Group]:
    """Each set with all its ways, every one built at once as a segment of an order in which the set is a run."""
    deps, book = dependences(builder), WayBook(builder)
    found = []
    for mask in sets:
        members = list(bits(mask))
        before = [p for p in range(len(builder.order)) if not mask >> p & 1 and not any(deps.needed[p] >> m & 1 for m in members)]
        behind = [p for p in range(len(builder.order)) if not mask >> p & 1 and p not in before]
        operators = tuple(builder.order[p] for p in (*before, *members, *behind))
        storages = find_storages(builder.graph, operators, builder.streams.axes)
        here = replace(builder, order=operators, storages=storages)
        first, last = len(before), len(before) + len(members) - 1
        ways = [Way((), Hold.NOTHING)] * (len(members) == 1) + [w for w in book.starting(members[0]).ways if runs_so(here, first, last, w)]
        totals = []
        for way in ways:
            segment = segment_of(here, first, last, way)
            if way.hold is not Hold.NOTHING and not segment.held:
                continue
            cycles = sum(segment.array_cycles)
            if segment.reducer is not None:
                sums = here.accumulator_bytes(segment.reducer, way.cuts)
                cycles += segment.slices * sums / (ELEMENTS * VECTOR_OPS_PER_ARRAY_MAC)
            totals.append((segment.peak_bytes, sum(segment.dram_bytes), cycles))
        if totals:
            found.append(Group(mask, needed_by(deps, mask), tuple(totals)))
    return found


def needed_by(deps: Dependences, mask: int) -> int:
    """What the operators of a set need from outside it."""
    needed = 0
    for p in bits(mask):
        needed |= deps.needed[p]
    return needed & ~mask


def runs_so(builder: SegmentBuilder, first: int, last: int, way: Way) -> bool:
    """Whether the operators `first` to `last` may run in this way: the rules of decision 0019, spelt out."""
    streams = [c.stream for c in way.cuts]
    softmax = None
    for p in range(first, last + 1):
        if all(s in builder.sliceable[p] for s in streams):
            continue
        summed = way.summed.stream if way.summed is not None else None
        others_good = all(s in builder.sliceable[p] for s in streams if s != summed)
        if way.hold not in (Hold.ALL, Hold.SPILLED) or not others_good or summed not in builder.reducible[p]:
            return False
        if builder.order[p].kind is Kind.CONTRACTION:
            if p == first or p != last:
                return False  # a sum that is cut ends its segment, and something must have been cut before
        elif softmax is None:
            softmax = p
    if way.hold in (Hold.ALL, Hold.SPILLED) and first == last:
        return False
    if way.hold is Hold.SPILLED and builder.spilled_parts(last, way.cuts) == 1:
        return False  # nothing is summed: the cuts are another way's
    return softmax is None or put_right(builder, softmax, last, way)


def put_right(builder: SegmentBuilder, softmax: int, last: int, way: Way) -> bool:
    """Whether a softmax in pieces ends in the sum that puts it right, and nobody else needs what lies between."""
    if builder.reducer(last, way.cuts) is None:
        return False
    written = {a.storage for p in range(softmax, last) for a in builder.accesses[p] if not a.reads}
    return not any(builder.storages[s].to_outside or any(r > last for r in builder.storages[s].readers) for s in written)


def connected_sets(builder: SegmentBuilder) -> list[int]:
    """Connected sets that nothing lies between, grown by neighbours from every operator; a method other than that of the tree."""
    deps = dependences(builder)
    found = {1 << p for p in range(len(builder.order))}
    open_ = list(found)
    while open_:
        mask = open_.pop()
        if mask.bit_count() == MAX_SEGMENT_OPERATORS:
            continue
        near = 0
        for p in bits(mask):
            near |= deps.beside[p]
        for p in bits(near & ~mask):
            grown = closed(deps, mask | 1 << p)
            if grown not in found and grown.bit_count() <= MAX_SEGMENT_OPERATORS:
                found.add(grown)
                open_.append(grown)
    return sorted(found)


def closed(deps, mask: int) -> int:
    """With everything that lies between two of its operators."""
    needed = needing = 0
    for p in bits(mask):
        needed |= deps.needed[p]
        needing |= deps.needing[p]
    return mask | (needed & needing)


def dijkstra(groups: list[Group], operators: int, budget: float, bytes_per_cycle: float) -> float:
    """Least cost of a way from nothing done to everything done, group by group."""
    priced = []
    for g in groups:
        fitting = [dram + cycles * bytes_per_cycle for held, dram, cycles in g.ways if held <= budget]
        if fitting:
            priced.append((g.mask, g.needed, min(fitting)))
    queue, done = [(0.0, 0)], set()
    while queue:
        cost, state = heappop(queue)
        if state == (1 << operators) - 1:
            return cost
        if state in done:
            continue
        done.add(state)
        for mask, needed, more in priced:
            if not mask & state and not needed & ~state:
                heappush(queue, (cost + more, state | mask))
    raise AssertionError("operators alone always cover a graph")


def every_partition(groups: list[Group], operators: int, budget: float, bytes_per_cycle: float) -> float:
    """The least over all sequences of groups, tried one by one."""

    def rest(state: int) -> float:
        if state == (1 << operators) - 1:
            return 0.0
        costs = [float("inf")]
        for g in groups:
            if not g.mask & state and not g.needed & ~state:
                fitting = [dram + cycles * bytes_per_cycle for held, dram, cycles in g.ways if held <= budget]
                if fitting:
                    costs.append(min(fitting) + rest(state | g.mask))
        return min(costs)

    return rest(0)


BUDGETS = [0.0, 300.0, 1024.0, 4096.0, 65536.0, LARGEST]


@pytest.mark.parametrize("bytes_per_cycle", [0.0, 8.0])
@pytest.mark.parametrize("graph", [two_layers(), attention(16, 32, 8, 8), swiglu_chain(8, 16, 32, 1), branches(8, 16, (2, 1))])
def test_every_partition_of_small_graphs(graph, bytes_per_cycle: float) -> None:
    """All subsets of operators that are connected and convex, by the definition, in all sequences."""
    builder = builder_of(graph)
    deps, operators = dependences(builder), len(builder.order)
    sets = [sum(1 << p for p in s) for n in range(1, operators + 1) for s in combinations(range(operators), n)]
    sets = [s for s in sets if closed(deps, s) == s and is_connected(deps, s)]
    assert set(sets) == set(connected_sets(builder))
    groups = groups_by_hand(builder, sets)
    found = least(builder, BUDGETS, bytes_per_cycle)
    assert found == pytest.approx([every_partition(groups, operators, b, bytes_per_cycle) for b in BUDGETS], rel=1e-12)


def is_connected(deps, mask: int) -> bool:
    reached = mask & -mask
    while True:
        near = reached
        for p in bits(reached):
            near |= deps.beside[p] & mask
        if near == reached:
            return reached == mask
        reached = near


@pytest.mark.parametrize(
    "graph",
    [branches(8, 16, (0,) * 40), swiglu_chain(8, 16, 32, 7), branches(8, 16, (3, 2, 4, 1, 3, 2, 2, 2))],
    ids=["chain", "swiglu", "series_parallel"],
)
def test_graphs_of_forty_operators_and_more(graph) -> None:
    """A chain of 40 products, 7 SwiGLU blocks in series (42 operators), and 8 forks of two branches (43)."""
    builder = builder_of(graph)
    deps, operators = dependences(builder), len(builder.order)
    assert operators >= 40
    fronts = {sum(1 << p for p in f.members): f for f in every_group(builder, deps, LARGEST, ELEMENTS)}
    assert set(fronts) == set(connected_sets(builder))
    groups = [Group(mask, needed_by(deps, mask), front_of(front)) for mask, front in fronts.items()]
    budgets = [300.0, 2048.0, 16384.0, LARGEST]
    found = least(builder, budgets, 8.0)
    assert found == pytest.approx([dijkstra(groups, operators, b, 8.0) for b in budgets], rel=1e-12)


def front_of(front: Front) -> tuple[tuple[float, float, float], ...]:
    return tuple(zip(front.peak_bytes.tolist(), front.dram_bytes.tolist(), front.cycles.tolist(), strict=True))


def test_an_order_of_its_own_holds_what_the_schedule_order_spills() -> None:
    """Gate and up projection of a SwiGLU block whole, and activation, product and down projection row by row: no run of the
    schedule order, which has the activation before the up projection. 7 to 14 % fewer bytes in small buffers."""
    builder = builder_of(swiglu_chain(128, 128, 128, 1))
    deps = dependences(builder)
    prefixes = [(1 << p) - 1 for p in range(len(builder.order) + 1)]
    in_runs = Choice(list(runs(builder, LARGEST, ELEMENTS)), deps, prefixes)
    anywhere = Choice(every_group(builder, deps, LARGEST, ELEMENTS), deps, downsets(deps))
    budgets = [2.0**i for i in range(8, 20)]
    costs = [[sum(c.dram_bytes for c in cut) for cut in choice.least(budgets, 0.0)] for choice in (in_runs, anywhere)]
    assert all(b <= a for a, b in zip(*costs, strict=True))
    assert costs[1][0] < 0.9 * costs[0][0]
    for groups in anywhere.least(budgets, 0.0):
        seen = 0
        for c in in_order(groups, deps):
            mask = sum(1 << p for p in c.members)
            assert not mask & seen
            assert all(not deps.needed[p] & ~(seen | mask) for p in c.members)
            seen |= mask
        assert seen == (1 << len(builder.order)) - 1


def test_plans_in_an_order_of_their_own_count_what_was_chosen() -> None:
    """Segments of a plan in another order add up to the totals by which it was chosen."""
    book = make_plans(swiglu_chain(128, 128, 128, 1), Schedule.FUSED, BOTH)
    assert book.exact
    own = [p for p in book.plans if p.order is not None]
    assert own
    for plan in own:
        assert sorted(plan.order) == list(range(len(book.order)))
        builder = book.of(plan).builder
        assert [o.name for o in builder.order] == [book.order[p].name for p in plan.order]
        assert plan_totals(builder, plan)[1] <= plan_totals(book.builder, book.plans[0])[1]


def test_a_graph_that_is_too_wide_is_cut_along_the_schedule_order() -> None:
    """Sixteen branches of three: 4 ** 16 downsets."""
    graph = fan(16, 3)
    with pytest.raises(TooWideError):
        downsets(dependences(builder_of(graph)))
    book = make_plans(graph, Schedule.FUSED, BOTH)
    assert not book.exact
    assert all(p.order is None for p in book.plans)


def fan(branch_count: int, length: int):
    """x -> `branch_count` chains of `length` activations, added up."""
    kind, shape = TensorProto.FLOAT16, [8, 16]
    nodes, ends = [], []
    for b in range(branch_count):
        at = "x"
        for i in range(length):
            nodes.append(helper.make_node("Relu", [at], [f"b{b}_{i}"], name=f"relu{b}_{i}"))
            at = f"b{b}_{i}"
        ends.append(at)
    total = ends[0]
    for b, end in enumerate(ends[1:], start=1):
        nodes.append(helper.make_node("Add", [total, end], [f"s{b}"], name=f"add{b}"))
        total = f"s{b}"
    values = [helper.make_tensor_value_info(n, kind, shape) for n in ("x", total)]
    graph = helper.make_graph(nodes, "fan", [values[0]], [values[1]])
    return read_onnx(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), name="fan")
