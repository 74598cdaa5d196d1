"""Graphs that nobody drew, on machines that nobody built: what holds for every one of them.

Branches, residuals, broadcasts, reductions, several outputs, convolutions and attention; buffers from 4 KiB, slow ports, few lanes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from dse.cost.choice import TIE_TOLERANCE
from dse.cost.design_timeline import design_timeline
from dse.cost.evaluation import evaluate
from dse.cost.metrics import Objective
from dse.evaluate import Schedule, compile_step, graph_step, price
from dse.ir.onnx_read import read_onnx
from dse.plugins import load_accelerator

if TYPE_CHECKING:
    from dse.cost.evaluation import Evaluation

EXACT = 1e-9
TIED = 2 * TIE_TOLERANCE
"""Mappings and then plans within a tie are decided by the other of latency and energy."""
KIND = TensorProto.BFLOAT16
SIZES = st.sampled_from([1, 3, 16, 37, 64, 100, 128, 256])


@dataclass
class Drawing:
    """An ONNX graph in the making; shapes by tensor."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[TensorProto] = field(default_factory=list)
    inputs: dict[str, list[int]] = field(default_factory=dict)
    shapes: dict[str, list[int]] = field(default_factory=dict)

    def put(self, op_type: str, inputs: list[str], shape: list[int], **attributes: object) -> str:
        name = f"{op_type.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=f"to_{name}", **attributes))
        self.shapes[name] = shape
        return name

    def weight(self, *shape: int) -> str:
        tensor = TensorProto(name=f"w{len(self.weights)}", data_type=KIND, dims=shape)
        self.weights.append(tensor)
        return tensor.name

    def numbers(self, *values: int) -> str:
        self.weights.append(numpy_helper.from_array(np.array(values, dtype=np.int64), f"n{len(self.weights)}"))
        return self.weights[-1].name

    def given(self, *shape: int) -> str:
        name = f"x{len(self.inputs)}"
        self.inputs[name] = self.shapes[name] = list(shape)
        return name

    def model(self) -> onnx.ModelProto:
        read = {i for n in self.nodes for i in n.input}
        outputs = [n.output[0] for n in self.nodes if n.output[0] not in read]
        made = [helper.make_tensor_value_info(n, KIND, self.shapes[n]) for n in outputs]
        given = [helper.make_tensor_value_info(n, KIND, s) for n, s in self.inputs.items()]
        graph = helper.make_graph(self.nodes, "g", given, made, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)


def _grow(draw: st.DrawFn, g: Drawing, live: list[str]) -> None:
    """One more operator on one of the last tensors."""
    x = draw(st.sampled_from(live[-4:]))
    shape = g.shapes[x]
    kind = draw(st.sampled_from(["product", "product", "activation", "pair", "softmax", "norm", "square", "mean", "double", "bias"]))
    if kind == "product":
        n = draw(SIZES)
        live.append(g.put("MatMul", [x, g.weight(shape[-1], n)], [*shape[:-1], n]))
    elif kind == "activation":
        live.append(g.put(draw(st.sampled_from(["Relu", "Sigmoid", "Gelu"])), [x], shape))
    elif kind == "pair":
        other = draw(st.sampled_from([y for y in live if g.shapes[y] == shape]))
        live.append(g.put(draw(st.sampled_from(["Add", "Mul"])), [x, other], shape))
    elif kind == "softmax":
        live.append(g.put("Softmax", [x], shape, axis=draw(st.sampled_from([-1, -2]))))
    elif kind == "norm":
        live.append(g.put("LayerNormalization", [x, g.weight(shape[-1])], shape, axis=-1))
    elif kind == "square":
        turned = g.put("Transpose", [x], [*shape[:-2], shape[-1], shape[-2]], perm=[*range(len(shape) - 2), len(shape) - 1, len(shape) - 2])
        live.append(g.put("MatMul", [x, turned], [*shape[:-1], shape[-2]]))
    elif kind == "mean":
        live += [g.put("ReduceMean", [x, g.numbers(-1)], [*shape[:-1], 1], keepdims=1), x]
    elif kind == "double":
        live.append(g.put("Concat", [x, x], [*shape[:-1], 2 * shape[-1]], axis=-1))
    else:
        live.append(g.put("Add", [x, g.weight(shape[-1])], shape))


@st.composite
def dense_graphs(draw: st.DrawFn) -> onnx.ModelProto:
    g = Drawing()
    live = [g.given(*draw(st.sampled_from([[], [2]])), draw(SIZES), draw(SIZES))]
    for _ in range(draw(st.integers(1, 9))):
        _grow(draw, g, live)
    return g.model()


@st.composite
def conv_graphs(draw: st.DrawFn) -> onnx.ModelProto:
    g = Drawing()
    side, width = draw(st.sampled_from([7, 14, 28])), draw(st.sampled_from([3, 16, 32]))
    x = g.given(draw(st.sampled_from([1, 2])), width, side, side)
    for _ in range(draw(st.integers(1, 5))):
        n, c, h, w = g.shapes[x]
        kernel, stride, out = draw(st.sampled_from([1, 3])), draw(st.sampled_from([1, 1, 2])), draw(st.sampled_from([16, 32]))
        size = [(s + 2 * (kernel // 2) - kernel) // stride + 1 for s in (h, w)]
        y = g.put("Conv", [x, g.weight(out, c, kernel, kernel)], [n, out, *size], strides=[stride] * 2, pads=[kernel // 2] * 4)
        x = g.put("Add", [x, y], g.shapes[y]) if g.shapes[y] == g.shapes[x] else g.put("Relu", [y], g.shapes[y])
    return g.model()


@st.composite
def machines(draw: st.DrawFn) -> str:
    def pick(*values: object) -> object:
        return draw(st.sampled_from(values))

    dataflows = draw(st.sampled_from(["[weight_stationary]", "[output_stationary]", "[weight_stationary, input_stationary]"]))
    return f"""schema_version: 1
name: drawn
summary: a machine that nobody built
technology: generic_7nm
clock_mhz: 1000
core:
  count: 1
  array: {{rows: {pick(4, 16, 48)}, columns: {pick(8, 32)}, count: {pick(1, 2)}, dataflows: {dataflows}, folds: {pick("pipelined", "broadcast")},
    macs_per_pe_per_cycle: {{bf16: 1}}}}
  vector: {{lanes: {pick(1, 16, 256)}}}
memories:
  sram: {{kind: buffer, capacity_kib: {pick(4, 32, 256, 4096)}, read_gb_per_s: {pick(16, 256)}, write_gb_per_s: {pick(16, 256)},
    double_buffered: {pick("true", "true", "false")}}}
  dram: {{kind: dram, capacity_gib: 8, bandwidth_gb_per_s: {pick(1, 30, 1000)}, latency_ns: {pick(0, 100)}}}
overheads: {{launch_latency_us: {pick(0, 1)}}}
leakage_w: {pick(0, 0.3)}
"""


def _value(found: Evaluation, objective: Objective) -> float:
    return {
        Objective.LATENCY: found.latency_s,
        Objective.ENERGY: found.energy_j,
        Objective.EDP: found.latency_s * found.energy_j,
    }[objective]


@settings(max_examples=25)
@given(st.one_of(dense_graphs(), dense_graphs(), conv_graphs()), machines())
def test_what_holds_for_every_graph_on_every_machine(tmp_path_factory: pytest.TempPathFactory, model: onnx.ModelProto, text: str) -> None:
    """Not before roofline and bound; the timeline is the price; energies add up; no memory over its capacity; groups never lose against
    operators one by one; each objective is best at itself; more of anything is never slower."""
    path = tmp_path_factory.mktemp("machine") / "drawn.yaml"
    path.write_text(text)
    chip, work = load_accelerator(str(path)), graph_step(read_onnx(model, name="g"), 1)
    compiled, one_by_one = compile_step(work, chip.geometry), compile_step(work, chip.geometry, schedule=Schedule.LAYER_BY_LAYER)
    table = chip.table({})
    found = {objective: evaluate(compiled, table, objective) for objective in Objective}
    if not found[Objective.LATENCY].feasible:
        assert not evaluate(one_by_one, table, Objective.LATENCY).feasible
        assert all(i.message and i.levers for i in found[Objective.LATENCY].infeasibility)
        return
    for objective, one in found.items():
        assert one.latency_s * one.clock_hz >= one.roofline.cycles * (1 - EXACT)
        assert one.schedule_gap >= -EXACT
        assert sum(row.energy_j for row in one.breakdown) == pytest.approx(one.energy_j, rel=EXACT)
        line = design_timeline(compiled, table, objective)
        assert line.problems() == []
        assert line.latency_s == pytest.approx(one.latency_s, rel=EXACT)
        assert all(line.peak_bytes(m.name) <= m.capacity_bytes * (1 + EXACT) for m in line.memories)
        assert all(_value(one, objective) <= _value(other, objective) * (1 + TIED) for other in found.values())
        assert _value(one, objective) <= _value(evaluate(one_by_one, table, objective), objective) * (1 + TIED)
    more = {
        "clock_mhz": 1500.0,
        "memories.sram.capacity_kib": 1.37 * chip.file.memories["sram"].capacity_kib,
        "memories.dram.bandwidth_gb_per_s": 1.1 * chip.file.memories["dram"].bandwidth_gb_per_s,
    }
    for name, value in more.items():
        assert price(compiled, chip.table({name: value})).latency_s[0] <= found[Objective.LATENCY].latency_s * (1 + TIED), name
