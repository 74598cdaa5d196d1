"""Groups counted as pipelines: what growth finds for all ways at once, against segments built one by one; and plans that only this offers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper

from dse.cost.schedule_bound import schedule_bound
from dse.evaluate import compile_step, graph_step, price
from dse.ir.onnx_read import read_onnx
from dse.plugins import load_accelerator
from dse.schedule.again import repeats
from dse.schedule.candidates import candidates, segment_of
from dse.schedule.choice import Choice
from dse.schedule.growth import VECTOR_OPS_PER_ARRAY_MAC
from dse.schedule.lattice import dependences, downsets, every_group
from dse.schedule.rounds import can_pipeline, pipelined_bytes
from dse.schedule.storage import find_storages

from .graphs import attention, branches, swiglu_chain, two_layers
from .test_choice import ELEMENTS, LARGEST, builder_of

GRAPHS = [two_layers(), attention(16, 32, 8, 8), attention(64, 64, 8, 8), swiglu_chain(8, 16, 32, 2), branches(8, 16, (2, 1))]


@pytest.mark.parametrize("graph", GRAPHS)
def test_bytes_and_cycles_as_pipelines_are_those_of_the_segments(graph) -> None:
    builder = builder_of(graph)
    deps = dependences(builder)
    pipelines = 0
    for front in every_group(builder, deps, LARGEST, ELEMENTS):
        needed = {p for p in range(len(builder.order)) if any(deps.needed[m] >> p & 1 for m in front.members)}
        before = sorted(needed - set(front.members))
        behind = [p for p in range(len(builder.order)) if p not in front.members and p not in needed]
        order = tuple(builder.order[p] for p in (*before, *front.members, *behind))
        here = replace(builder, order=order, storages=find_storages(graph, order, builder.streams.axes))
        first = len(before)
        for candidate, held, cycles in zip(candidates(front), front.step_bytes.tolist(), front.step_cycles.tolist(), strict=True):
            segment = segment_of(here, first, first + len(front.members) - 1, candidate.way)
            array, vector = sum(segment.array_cycles), 0.0
            for p in range(segment.first, segment.last + 1):
                vector += order[p].vector_ops * repeats(here, p, segment.cuts) / (ELEMENTS * VECTOR_OPS_PER_ARRAY_MAC)
            if segment.reducer is not None:
                sums = here.accumulator_bytes(segment.reducer, segment.cuts)
                vector += segment.slices * sums / (ELEMENTS * VECTOR_OPS_PER_ARRAY_MAC)
            if can_pipeline(segment):
                pipelines += 1
                assert held == pytest.approx(max(segment.peak_bytes, pipelined_bytes(here, segment)))
                assert cycles == pytest.approx(max(array, vector))
            else:
                assert held == pytest.approx(segment.peak_bytes)
                assert cycles == pytest.approx(array + vector)
    assert pipelines


@pytest.mark.parametrize("graph", GRAPHS)
def test_the_choice_as_pipelines_costs_least_so(graph) -> None:
    """No more than the choice in turns, where that one fits; and it holds no more than the budget."""
    builder = builder_of(graph)
    deps = dependences(builder)
    fronts = every_group(builder, deps, LARGEST, ELEMENTS)
    choice = Choice(fronts, deps, downsets(deps))
    totals = {
        (f.members, way): (held, dram + 8.0 * cycles)
        for f in fronts
        for way, held, dram, cycles in zip(f.ways, f.step_bytes.tolist(), f.dram_bytes.tolist(), f.step_cycles.tolist(), strict=True)
    }
    budgets = [0.0, 300.0, 1024.0, 4096.0, 65536.0]
    in_turns, in_step = (choice.least(budgets, 8.0, pipelined=pipelined) for pipelined in (False, True))
    for budget, turns, step in zip(budgets, in_turns, in_step, strict=True):
        mine, theirs = ([totals[c.members, c.way] for c in groups] for groups in (step, turns))
        assert all(held <= budget for held, _ in mine)
        if all(held <= budget for held, _ in theirs):
            assert sum(cost for _, cost in mine) <= sum(cost for _, cost in theirs) * (1 + 1e-12)


def test_a_chain_of_products_and_activations_runs_beside_itself() -> None:
    """Twelve products of 64 x 64 by 64 x 64 with an activation each on 32 x 32 units and 32 lanes: the vector unit works on one slice while the
    array works on the next, so the chain takes 15 % longer than its bound at most, mostly to fill the pipelines; with groups chosen in turns alone 50 %."""
    found = compile_step(graph_step(products(12, 64), 64), load_accelerator("edge32").geometry_for())
    prices = load_accelerator("edge32").table({"memories.glb.capacity_kib": np.array([64.0, 256.0])})
    chosen, bound = price(found, prices), schedule_bound(found, prices)
    assert (chosen.latency_s <= bound.latency_s * 1.15).all(), chosen.latency_s / bound.latency_s


def products(blocks: int, size: int):
    values, nodes = [], []
    for i in range(blocks):
        values.append(helper.make_tensor_value_info(f"w{i}", TensorProto.BFLOAT16, [size, size]))
        nodes.append(helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"p{i}"], name=f"product{i}"))
        nodes.append(helper.make_node("Relu", [f"p{i}"], [f"x{i + 1}"], name=f"relu{i}"))
    ends = [helper.make_tensor_value_info(f"x{i}", TensorProto.BFLOAT16, [size, size]) for i in (0, blocks)]
    made = helper.make_graph(nodes, "products", [ends[0], *values], [ends[1]])
    return read_onnx(helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), name="products")
