"""Fused attention against closed forms: FlashAttention-2's order (arXiv 2307.08691) moves N_q (E + F) + (N_q / B) N_k (E + F) elements.

Unfused: the scores and the probabilities go out and come back, 4 N_q N_k elements more than compulsory.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dse.cost.metrics import Objective
from dse.evaluate import Schedule, compile_step, graph_step, price
from dse.schedule.candidates import WayBook
from dse.schedule.growth import Hold
from dse.schedule.plan import make_plans
from dse.schedule.segments import Cut
from tests.unit.cost.design_points import points

from .graphs import GEOMETRY, attention

BYTES = 2
QUERIES, KEYS, E, F = 64, 128, 16, 32


def streams() -> tuple[str, str]:
    """Names of the streams of queries and of keys."""
    builder = make_plans(attention(QUERIES, KEYS, E, F), Schedule.FUSED, GEOMETRY).builder
    names = {builder.streams.sizes[s]: s for s in builder.streams.loops["probability"]}
    return names[QUERIES], names[KEYS]


@pytest.mark.parametrize("slices", [2, 4, 16, 64])
@pytest.mark.parametrize("columns", [2, 8, 32])
def test_query_stationary_order_moves_the_closed_form(slices: int, columns: int) -> None:
    """Rows of queries stay, keys and values run past them, scores never leave; counted by the segment itself."""
    builder = make_plans(attention(QUERIES, KEYS, E, F), Schedule.FUSED, GEOMETRY).builder
    queries, keys = streams()
    held = frozenset(builder.storages)
    segment = builder.build(0, 2, (Cut(queries, slices), Cut(keys, columns)), held)
    closed = QUERIES * (E + F) + slices * KEYS * (E + F)
    assert sum(segment.dram_bytes) == BYTES * closed


def test_keys_past_all_queries_are_compulsory() -> None:
    builder = make_plans(attention(QUERIES, KEYS, E, F), Schedule.FUSED, GEOMETRY).builder
    segment = builder.build(0, 2, (Cut(streams()[1], 16),), frozenset(builder.storages))
    assert sum(segment.dram_bytes) == BYTES * (QUERIES + KEYS) * (E + F)


def test_rows_of_queries_against_columns_of_keys_are_offered() -> None:
    builder = make_plans(attention(QUERIES, KEYS, E, F), Schedule.FUSED, GEOMETRY).builder
    queries, keys = streams()
    offered = {w.cuts for w in WayBook(builder).starting(0).ways if w.hold is Hold.ALL}
    assert (Cut(queries, 4), Cut(keys, 8)) in offered
    assert (Cut(queries, 64), Cut(keys, 2)) in offered


def test_traffic_of_the_best_plan_by_buffer_size() -> None:
    """Where DRAM is all that counts: never below compulsory, compulsory once everything fits, unfused at most, falling with the buffer."""
    graph = attention(QUERIES, KEYS, E, F)
    sizes = [0.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0, 65536.0, 262144.0]
    found = price(compile_step(graph_step(graph, 1), GEOMETRY), dram_bound(sizes), objective=Objective.LATENCY)
    compulsory = BYTES * (QUERIES + KEYS) * (E + F)
    assert (found.dram_bytes >= compulsory).all()
    assert found.dram_bytes[-1] == compulsory
    assert all(a >= b * (1 - 1e-3) for a, b in zip(found.dram_bytes[:-1], found.dram_bytes[1:], strict=True))
    alone = price(compile_step(graph_step(graph, 1), GEOMETRY, schedule=Schedule.LAYER_BY_LAYER), dram_bound(sizes))
    assert (found.dram_bytes <= alone.dram_bytes * (1 + 1e-3)).all()
    assert alone.dram_bytes[-1] == compulsory + 4 * BYTES * QUERIES * KEYS


def dram_bound(sizes: list[float]):
    table = points(dram_bytes_per_s=1.0, buffer_capacity_bytes=sizes)
    table.mac_pj["fp16"] = np.ones(table.size)
    return table


@pytest.mark.parametrize("blocks", [2, 4])
@pytest.mark.parametrize("rows", [8, 64])
def test_key_stationary_order_moves_the_closed_form(blocks: int, rows: int) -> None:
    """Blocks of keys and values stay, all queries run past each, sums and statistics go out and come back: T = N_k (E + F) + t N_q E +
    N_q F + 2 (t - 1) N_q (F + 2), sums and statistics in 4 bytes, the result once in 2 (FlashAttention, NeurIPS 2022, algorithm 1)."""
    builder = make_plans(attention(QUERIES, KEYS, E, F), Schedule.FUSED, GEOMETRY).builder
    queries, keys = streams()
    segment = builder.build(0, 2, (Cut(keys, blocks), Cut(queries, rows)), frozenset(builder.storages))
    once = KEYS * (E + F) + blocks * QUERIES * E + QUERIES * F
    assert sum(segment.dram_bytes) == BYTES * once + 4 * 2 * (blocks - 1) * QUERIES * (F + 2)
    assert segment.spilled_parts == blocks


def test_key_stationary_ways_are_offered_and_may_be_declined() -> None:
    builder = make_plans(attention(QUERIES, KEYS, E, F), Schedule.FUSED, GEOMETRY).builder
    queries, keys = streams()
    ways = [w for w in WayBook(builder).starting(0).ways if w.hold is Hold.SPILLED]
    assert (Cut(keys, 2), Cut(queries, 64)) in [w.cuts for w in ways]
    without = make_plans(attention(QUERIES, KEYS, E, F), Schedule.FUSED, GEOMETRY, spill=False)
    assert not any(w.hold is Hold.SPILLED for w in WayBook(without.builder).starting(0).ways)
    assert all(s.spilled_parts == 1 for p in without.plans for s in p.segments)


def test_key_stationary_plans_are_priced_and_drawn() -> None:
    """Few keys too many for the buffer and many queries: two blocks of keys move less than any other order, at what the plan says."""
    graph = attention(4096, 512, 64, 4)
    compiled = compile_step(graph_step(graph, 1), GEOMETRY)
    spilled = [i for i, p in enumerate(compiled.parts[0].plans) if any(s.spilled_parts > 1 for s in p.plan.segments)]
    assert spilled
    sizes = [2.0**i for i in range(12, 18)]
    table = dram_bound(sizes)
    found = price(compiled, table)
    kept = replace(compiled, parts=(replace(compiled.parts[0], plans=compiled.parts[0].plans, combinations=None),))
    assert (found.latency_s <= price(kept, table).latency_s * (1 + 1e-3)).all()
    for i in spilled:
        plan = compiled.parts[0].plans[i]
        combine = next(o for o in plan.operators if o.op_type == "Combine")
        parts = max(s.spilled_parts for s in plan.plan.segments)
        away = sum(p.size_bytes for p in (*combine.inputs, *combine.outputs) if not p.on_chip) * combine.work.slices
        assert away == pytest.approx(4 * 2 * (parts - 1) * 4096 * (4 + 2))
        assert combine.work.touches_dram
