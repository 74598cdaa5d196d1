"""Results formed again where they are read: counted by hand, against every schedule of small chains, and priced beside keeping them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper

from dse.cost.design_timeline import design_timeline
from dse.cost.evaluation import evaluate
from dse.cost.metrics import Objective
from dse.evaluate import compile_step, graph_step, price
from dse.ir.onnx_read import read_onnx
from dse.schedule.copies import with_copies
from dse.schedule.plan import Schedule, make_plans, plan_totals
from tests.unit.cost.design_points import points

from .byte_walker import walked
from .graphs import GEOMETRY, attention, swiglu_chain

HALF = TensorProto.FLOAT16
BF16 = replace(GEOMETRY, array=replace(GEOMETRY.array, macs_per_pe_per_cycle=(("bf16", 1), ("fp16", 1))))


def graph_of(name: str, nodes: list, inputs: dict[str, list[int]], output: tuple[str, list[int]]):
    values = [helper.make_tensor_value_info(n, HALF, shape) for n, shape in inputs.items()]
    made = helper.make_graph(nodes, name, values, [helper.make_tensor_value_info(output[0], HALF, output[1])])
    return read_onnx(helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), name=name)


def summary(rows: int, narrow: int, width: int):
    """t = x w, s = u t, o = t s: a summary over all rows of t, and t once more; x is narrow."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["t"], name="formed"),
        helper.make_node("MatMul", ["u", "t"], ["s"], name="summary"),
        helper.make_node("MatMul", ["t", "s"], ["o"], name="applied"),
    ]
    return graph_of("summary", nodes, {"x": [rows, narrow], "w": [narrow, width], "u": [width, rows]}, ("o", [rows, width]))


def narrow_keys(queries: int, keys: int, narrow: int, width: int):
    """Attention whose keys and values are formed from a narrow cache: k = w c, s = q k, p = softmax(s), o = p v."""
    nodes = [
        helper.make_node("MatMul", ["w", "c"], ["k"], name="keys"),
        helper.make_node("MatMul", ["q", "k"], ["s"], name="score"),
        helper.make_node("Softmax", ["s"], ["p"], name="probability", axis=-1),
        helper.make_node("MatMul", ["p", "v"], ["o"], name="context"),
    ]
    inputs = {"w": [width, narrow], "c": [narrow, keys], "q": [queries, width], "v": [keys, 4]}
    return graph_of("narrow_keys", nodes, inputs, ("o", [queries, 4]))


def least_bytes(book, budget: float, *, again: bool) -> float:
    """Fewest DRAM bytes of the plans of a book that hold at most `budget`."""
    found = [plan_totals(book.of(p).builder, p) for p in book.plans if again or p.again is None]
    return min(moved for held, moved, _ in found if held <= budget)


def test_a_result_read_twice_is_formed_twice() -> None:
    """4096 x 8 by 8 x 64. Formed twice: each time x 65,536 and w 1,024; u 524,288 and o 524,288; s 8,192 out and in: 1,198,080 bytes.
    Written once and read once it is 2,180,096, held whole 1,115,136."""
    book = make_plans(summary(4096, 8, 64), Schedule.FUSED, GEOMETRY)
    assert least_bytes(book, 100_000, again=False) == 2_180_096
    assert least_bytes(book, 100_000, again=True) == 2 * (65_536 + 1_024) + 524_288 * 2 + 2 * 8_192
    assert least_bytes(book, 600_000, again=True) == 1_115_136
    for plan in book.plans:
        if plan.again is not None:
            assert [(f.operator, f.name, f.times) for f in plan.again.formed] == [("formed", "formed", 1), ("formed", "formed.again", 1)]


def test_without_recomputation_nothing_is_formed_again() -> None:
    assert all(p.again is None for p in make_plans(summary(4096, 8, 64), Schedule.FUSED, GEOMETRY, recompute=False).plans)


def test_keys_are_formed_again_for_every_block_of_queries() -> None:
    """Keys of 64 elements from a cache of 4: reading the cache for each block of queries moves a sixteenth."""
    book = make_plans(narrow_keys(512, 512, 4, 64), Schedule.FUSED, GEOMETRY)
    found = {f.name: f.times for p in book.plans if p.again is not None for f in p.again.formed}
    assert set(found) == {"keys"}
    assert found["keys"] > 1
    small = [b for b in (2048.0 * 2**i for i in range(8)) if least_bytes(book, b, again=True) < 0.9 * least_bytes(book, b, again=False)]
    assert small


@pytest.mark.parametrize(
    "graph", [summary(512, 8, 64), narrow_keys(512, 512, 4, 64), attention(64, 128, 16, 32), swiglu_chain(64, 16, 64, 1)]
)
def test_plans_move_what_walking_through_them_moves(graph) -> None:
    """Region by region, slice by slice."""
    book = make_plans(graph, Schedule.FUSED, BF16)
    assert len(book.plans) > 2
    for plan in book.plans:
        builder = book.of(plan).builder
        assert walked(builder, plan.segments, plan.resident) == plan_totals(builder, plan)[1]


def every_design():
    table = points(dram_bytes_per_s=[1e-3, 1.0, 1e3, 1e9], buffer_capacity_bytes=100_000.0)
    table.mac_pj["fp16"] = np.ones(table.size)
    return table


def test_both_are_priced_and_the_cheaper_taken() -> None:
    """Where bytes are dear the result is formed again, where operations are it is read back: never worse than either alone."""
    step = graph_step(summary(4096, 8, 64), 1)
    both = compile_step(step, GEOMETRY)
    book = make_plans(step.graphs[0][0], Schedule.FUSED, GEOMETRY)
    for objective in (Objective.LATENCY, Objective.ENERGY):
        kept = replace(both, parts=(without(both.parts[0]),))
        table = every_design()
        table.mac_pj["fp16"][:] = [1e-3, 1.0, 1e3, 1e6]
        one, other = price(both, table, objective=objective), price(kept, table, objective=objective)
        values = [(p.latency_s if objective is Objective.LATENCY else p.energy_j) for p in (one, other)]
        assert (values[0] <= values[1] * (1 + 1e-3)).all()
    one, other = (price(c, table, objective=Objective.ENERGY) for c in (both, kept))
    assert one.energy_j[0] < 0.7 * other.energy_j[0]
    assert one.energy_j[-1] == other.energy_j[-1]
    assert any(p.again for p in book.plans)


def without(part):
    """A part with the plans alone that form nothing again."""
    plans = tuple(p for p in part.plans if p.plan.again is None)
    return replace(part, plans=plans, combinations=None)


def test_what_is_formed_again_is_told_and_paid_for() -> None:
    """Operators, MACs, energy, JSON and timeline: 4096 x 8 x 64 MACs twice."""
    compiled = compile_step(graph_step(summary(4096, 8, 64), 1), GEOMETRY)
    table = points(dram_bytes_per_s=1e6, buffer_capacity_bytes=100_000.0)
    table.mac_pj["fp16"] = np.ones(1)
    found = evaluate(compiled, table, Objective.LATENCY)
    assert found.to_json_dict()["recomputed"] == [
        {"operator": "formed", "of": "formed", "times": 1},
        {"operator": "formed.again", "of": "formed", "times": 1},
    ]
    macs_pj = sum(b.energy_j for b in found.breakdown if b.component == "array") * 1e12
    assert macs_pj == pytest.approx(2 * 4096 * 8 * 64 + 2 * 4096 * 64 * 64)
    assert found.schedule_bound is not None
    assert found.schedule_bound.latency_s <= found.latency_s
    assert found.schedule_bound.energy_j <= found.energy_j
    drawn = design_timeline(compiled, table, Objective.LATENCY)
    assert drawn.end_s == pytest.approx(found.latency_s)
    assert any(e.operator == "formed.again" for e in drawn.events)


def test_a_copy_has_its_own_readers() -> None:
    """Each of the two readers finds its own result; where the first forming is left without readers the copy takes its place."""
    graph = summary(64, 8, 16)
    copied = with_copies(graph, ["formed"], frozenset({"applied"}))
    read = {o.name: [x.tensor for x in o.inputs] for o in copied.graph.operators}
    assert read == {"formed": ["x", "w"], "formed.again": ["x", "w"], "summary": ["u", "t"], "applied": ["t.again", "s"]}
    assert not copied.dropped
    moved = with_copies(graph, ["formed"], frozenset({"applied", "summary"}))
    assert [o.name for o in moved.graph.operators] == ["formed", "summary", "applied"]
    assert moved.dropped == {"formed"}
    twice = with_copies(copied.graph, ["formed"], frozenset({"summary"}))
    assert [o.name for o in twice.graph.operators] == ["formed", "formed.again", "summary", "applied"]
