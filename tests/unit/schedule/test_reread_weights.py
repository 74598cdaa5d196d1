"""Slices read again what their cuts do not index: plans of one-row slices, each of which reads all weights, are not the only ones."""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

from dse.cost.evaluation import evaluate
from dse.cost.metrics import Objective
from dse.evaluate import compile_step, graph_step
from dse.ir.onnx_read import read_onnx
from dse.plugins import load_accelerator
from dse.units import HZ_PER_MHZ

STAGES = 12
ROWS, WIDTH = 256, 64


def branches() -> onnx.ModelProto:
    """Stages of two products, each behind its Relu, and their sum: all intermediates and weights are 1 MiB."""
    nodes, weights, last = [], [], "x"
    for i in range(STAGES):
        for side in "ab":
            weights.append(
                TensorProto(name=f"w{side}{i}", data_type=TensorProto.BFLOAT16, dims=(WIDTH, WIDTH), raw_data=bytes(2 * WIDTH**2))
            )
            nodes.append(helper.make_node("MatMul", [last, f"w{side}{i}"], [f"p{side}{i}"], name=f"product_{side}{i}"))
            nodes.append(helper.make_node("Relu", [f"p{side}{i}"], [f"r{side}{i}"], name=f"relu_{side}{i}"))
        nodes.append(helper.make_node("Add", [f"ra{i}", f"rb{i}"], [f"s{i}"], name=f"add_{i}"))
        last = f"s{i}"
    ends = [helper.make_tensor_value_info(name, TensorProto.BFLOAT16, (ROWS, WIDTH)) for name in ("x", last)]
    return helper.make_model(helper.make_graph(nodes, "branches", ends[:1], ends[1:], weights), opset_imports=[helper.make_opsetid("", 18)])


def test_what_fits_is_not_fetched_again() -> None:
    """Two products a stage keep the array for 2,048 cycles; alone, operators move 4.5 MB and take 2.9 times as long."""
    step = graph_step(read_onnx(branches(), name="branches"), 1)
    chip = load_accelerator("edge32")
    found = evaluate(compile_step(step, chip.geometry_for()), chip.table({}), Objective.LATENCY)
    assert found.latency_s * chip.file.clock_mhz * HZ_PER_MHZ >= STAGES * 2048 * (1 - 1e-9)
    assert found.schedule_gap < 0.15
