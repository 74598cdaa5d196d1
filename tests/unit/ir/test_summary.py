"""Summaries equal sums taken from the ONNX file itself, and share stored bytes out once."""

from __future__ import annotations

from math import prod

import pytest
from onnx import TensorProto

from dse.ir.lowering import LoweringRequest, Part, Phase
from dse.ir.onnx_read import read_onnx
from dse.ir.precision import precision
from dse.ir.summary import Counts, summarise, summarise_workload, weight_elements
from dse.ir.tensor import Role
from workloads.catalogue import CATALOGUE

from .onnx_models import model, node


def example():
    """Two layers with one shared weight [5, 5] and a bias, a softmax, and a view between."""
    nodes = [
        node("MatMul", ["x", "w"], ["a"], name="first"),
        node("Add", ["a", "b"], ["c"], name="bias"),
        node("MatMul", ["c", "w"], ["d"], name="second"),
        node("Reshape", ["d", "shape"], ["e"], name="view"),
        node("Softmax", ["e"], ["y"], name="softmax"),
    ]
    return model(nodes, {"x": [4, 5]}, ["y"], weights={"w": [5, 5], "b": [5]}, integers={"shape": [2, 10]})


def test_by_hand():
    """fp16; x, a, c, d, e, y of 20 elements are 40 bytes each; w 50 bytes, once; b 10 bytes."""
    summary = summarise(read_onnx(example(), name="g"))
    rows = {o.name: o.counts for o in summary.operators}
    assert rows["first"] == Counts(macs=100, weight_bytes=50, activation_bytes=80)
    assert rows["bias"] == Counts(vector_ops=20, weight_bytes=10, activation_bytes=80)
    assert rows["second"] == Counts(macs=100, activation_bytes=80)
    assert rows["view"] == Counts()
    assert rows["softmax"] == Counts(vector_ops=140, activation_bytes=80)
    assert summary.totals == Counts(macs=200, vector_ops=160, weight_bytes=60, activation_bytes=320)
    assert weight_elements(read_onnx(example(), name="g")) == 30


def test_intensity_by_hand():
    """first: 200 operations over 130 bytes. Products use weights, the rest are of activations: y is no score without a second product."""
    summary = summarise(read_onnx(example(), name="g"), count=3)
    rows = {o.name: o.counts for o in summary.operators}
    assert rows["first"].intensity_op_per_byte == 200 / 130
    assert rows["view"].intensity_op_per_byte is None
    roles = {r.role: r for r in summary.roles}
    assert (roles[Role.WEIGHT].macs, roles[Role.WEIGHT].size_bytes) == (600, 180)
    assert roles[Role.WEIGHT].intensity_op_per_byte == 1200 / 180
    assert (roles[Role.ACTIVATION].vector_ops, roles[Role.ACTIVATION].size_bytes) == (480, 960)
    assert roles[Role.CACHE].intensity_op_per_byte is None
    assert sum(r.macs for r in summary.roles) == summary.totals.macs
    assert sum(r.size_bytes for r in summary.roles) == summary.totals.total_bytes


def test_repetitions_multiply_and_names_say_their_graph():
    graph = read_onnx(example(), name="g")
    other = read_onnx(example(), name="h")
    summary = summarise_workload([(graph, 3), (other, 1)])
    assert summary.totals.macs == 800
    assert summary.totals.weight_bytes == 240
    assert [o.name for o in summary.operators][:2] == ["g/first", "g/bias"]
    assert {o.count for o in summary.operators} == {1, 3}
    assert summarise_workload([(graph, 3)]).operators[0].name == "first"


def test_json_form():
    form = summarise(read_onnx(example(), name="g"), count=2).to_json_dict()
    assert set(form) == {"totals", "roles", "operators"}
    first = form["operators"][0]  # type: ignore[index]
    assert {"name", "op_type", "macs", "weight_bytes", "cache_bytes", "activation_bytes", "count"} <= set(first)
    assert form["totals"]["macs"] == 400  # type: ignore[index]


@pytest.mark.parametrize("touched", [[(0, 3)], [(0, 8), (0, 8)], [(0, 3), (3, 8)]])
def test_cache_bytes_are_attributed_once(touched: list[tuple[int, int]]):
    """Slices of one cache [2, 8] of fp16: never more than its 32 bytes."""
    nodes, outputs, integers = [], [], {"axis": [1]}
    for i, (start, end) in enumerate(touched):
        integers |= {f"s{i}": [start], f"e{i}": [end]}
        nodes += [node("Slice", ["cache", f"s{i}", f"e{i}", "axis"], [f"v{i}"]), node("Relu", [f"v{i}"], [f"y{i}"])]
        outputs.append(f"y{i}")
    source = model(nodes, {"cache": [2, 8]}, outputs, integers=integers)
    source.graph.input[0].metadata_props.add(key="dse.role", value="cache")
    wanted = min(2 * 8, sum(2 * (end - start) for start, end in touched)) * 2
    assert summarise(read_onnx(source, name="c")).totals.cache_bytes == wanted


def test_mac_count_from_the_file_itself():
    """A chain of batched products in float32, counted from declared shapes only."""
    source = model(
        [node("Einsum", ["x", "u"], ["a"], equation="bsd,dhk->bhsk"), node("Einsum", ["a", "v"], ["y"], equation="bhsk,hkd->bsd")],
        {"x": [2, 3, 5]},
        ["y"],
        weights={"u": [5, 7, 11], "v": [7, 11, 5]},
        element_type=TensorProto.FLOAT,
    )
    totals = summarise(read_onnx(source, name="m")).totals
    assert totals.macs == 2 * prod((2, 3, 5, 7, 11))
    assert totals.weight_bytes == 4 * 2 * prod((5, 7, 11))


def test_storing_with_block_scales_is_vector_work():
    """DeepSeek-V3's attention norm, one token: 4 operations per element; in blocks of 128 it is quantised as well, 3 more.

    The product behind it adds up 7168 / 128 partial sums of each of its 1536 results and quantises these: nothing is free.
    """
    model = CATALOGUE.load("deepseek_v3")
    found = {}
    for name in ("fp8", "fp8_block"):
        request = LoweringRequest(
            phase=Phase.DECODE,
            batch=1,
            query_len=1,
            cache_len=64,
            attention="left_to_right",
            precision=precision(name),
            rope=True,
            norms=True,
            part=Part.ATTENTION,
            layer=3,
        )
        (part,) = model.lower(request).parts
        found[name] = {o.name: o.counts.vector_ops for o in summarise(read_onnx(part.onnx, name=name)).operators}
    assert (found["fp8"]["attention_norm"], found["fp8_block"]["attention_norm"]) == (4 * 7168, 7 * 7168)
    assert (found["fp8"]["query_down"], found["fp8_block"]["query_down"]) == (0, 1536 * (2 * 7168 // 128 + 3))
    assert found["fp8"]["probability"] == found["fp8_block"]["probability"]
