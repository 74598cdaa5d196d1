"""Prices against every plan of small graphs: all cuts into groups, all numbers of slices that divide, all mappings, priced one by one."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

import dse.schedule.candidates as candidates
import dse.schedule.plan as plans
from dse.cost.choice import TIE_TOLERANCE
from dse.cost.frontier_pricing import OperatorPricer
from dse.cost.metrics import Objective
from dse.cost.schedule_bound import schedule_bound
from dse.evaluate import compile_step, graph_step, price
from dse.schedule.candidates import WayBook, segment_of
from dse.schedule.growth import Hold, Way
from dse.schedule.lattice import bits, dependences
from dse.schedule.place import place
from dse.schedule.plan import Plan, PlanBook, Schedule, make_plans
from dse.schedule.segments import SegmentBuilder
from dse.schedule.storage import find_storages
from tests.unit.cost.design_points import points

from .graphs import attention, swiglu_chain, two_layers
from .test_choice import BOTH, closed, is_connected, runs_so

CAPACITIES = [0.0, 600.0, 1500.0, 4000.0, 2.0**20]
MOST = np.array([1.0, 1.32, 1.0, 1.0, 1.0]) * (1 + TIE_TOLERANCE)
"""Most that the choice may be above the best of all plans there. In the second buffer, which is about as large as an operand, plans are estimated
without the tiles that come back for lack of room."""


def every_divisor(size: int, step: int = 2) -> tuple[int, ...]:
    return tuple(n for n in range(size, 0, -1) if size % n == 0 and (n > 1 or size == 1))


def table(balance: float):
    """Prices with `balance` seconds per byte of DRAM for each second per array cycle."""
    found = points(dram_bytes_per_s=1e9 / balance, buffer_capacity_bytes=CAPACITIES)
    one = np.ones(found.size)
    found.mac_pj.update(fp16=0.5 * one, bf16=0.5 * one)
    return found


def priced_groups(graph, prices, objective: Objective) -> dict[int, np.ndarray]:
    """By set of operators: the least of its objective at each capacity, over all ways to run it."""
    builder = make_plans(graph, Schedule.LAYER_BY_LAYER, BOTH).builder
    deps, size, book = dependences(builder), len(builder.order), WayBook(builder)
    sets = [sum(1 << p for p in s) for n in range(1, size + 1) for s in combinations(range(size), n)]
    found = {}
    for mask in (s for s in sets if closed(deps, s) == s and is_connected(deps, s)):
        members = list(bits(mask))
        before = [p for p in range(size) if not mask >> p & 1 and not any(deps.needed[p] >> m & 1 for m in members)]
        order = (*before, *members, *(p for p in range(size) if not mask >> p & 1 and p not in before))
        operators = tuple(builder.order[p] for p in order)
        here = SegmentBuilder(
            builder.graph, operators, builder.streams, find_storages(graph, operators, builder.streams.axes), builder.cycles
        )
        first, last = len(before), len(before) + len(members) - 1
        ways = [Way((), Hold.NOTHING)] * (first == last) + [w for w in book.starting(members[0]).ways if runs_so(here, first, last, w)]
        costs = [cost_of(here, first, last, way, prices, objective) for way in ways]
        if costs:
            found[mask] = np.min(costs, axis=0)
    return found


def cost_of(builder: SegmentBuilder, first: int, last: int, way: Way, prices, objective: Objective) -> np.ndarray:
    """The operators of one group, each with its best mapping at every capacity."""
    group = segment_of(builder, first, last, way)
    alone = {p: builder.build(p, p, (), frozenset()) for p in range(len(builder.order)) if not first <= p <= last}
    segments = (*(alone[p] for p in range(first)), group, *(alone[p] for p in range(last + 1, len(builder.order))))
    plan = Plan(segments, frozenset(), tuple(r for s in segments for r in s.reserved_bytes))
    placed = place(PlanBook(builder.graph, builder, (plan,)), plan, BOTH)
    mine = placed[first : last + 1 + (group.reducer is not None)]
    found = [OperatorPricer(o.work, BOTH).price(prices, objective) for o in mine]
    return sum(f.latency_s if objective is Objective.LATENCY else f.energy_j for f in found)


@pytest.mark.parametrize("objective", [Objective.LATENCY, Objective.ENERGY])
@pytest.mark.parametrize("balance", [1.0, 30.0])
@pytest.mark.parametrize(
    "graph", [two_layers(), attention(16, 32, 8, 8), swiglu_chain(8, 16, 32, 1)], ids=["layers", "attention", "swiglu"]
)
def test_no_plan_is_much_better(monkeypatch: pytest.MonkeyPatch, graph, balance: float, objective: Objective) -> None:
    """Nothing held across groups in the plans tried here, nothing overlapped: the choice may be better, and never much worse. And none of
    them is below the bound."""
    monkeypatch.setattr(plans, "BUDGETS_BYTES", tuple(64.0 * 2 ** (i / 2) for i in range(29)))  # for graphs of some KiB
    prices, step = table(balance), graph_step(graph, 1)
    found = compile_step(step, BOTH)
    chosen = price(found, prices, objective=objective)
    monkeypatch.setattr(candidates, "slice_counts", every_divisor)
    groups = priced_groups(graph, prices, objective)
    deps = dependences(make_plans(graph, Schedule.LAYER_BY_LAYER, BOTH).builder)
    best: dict[int, np.ndarray] = {0: np.zeros(prices.size)}
    for state in sorted(range(1 << len(deps.needed)), key=int.bit_count):
        for mask, cost in groups.items() if state in best else ():
            needed = 0
            for p in bits(mask):
                needed |= deps.needed[p]
            if not mask & state and not needed & ~mask & ~state:
                after = best.get(state | mask, np.full(prices.size, np.inf))
                best[state | mask] = np.minimum(after, best[state] + cost)
    least = best[(1 << len(deps.needed)) - 1]
    value = chosen.latency_s if objective is Objective.LATENCY else chosen.energy_j
    assert (value <= least * MOST).all(), value / least
    for i, cost in enumerate(least.tolist()):
        bound = schedule_bound(found, prices.at(np.array([i])))
        assert (bound.latency_s if objective is Objective.LATENCY else bound.energy_j) <= cost * (1 + 1e-9)
