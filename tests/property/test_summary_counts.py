"""Counts of the lowered layers equal sums over the raw ONNX, which know nothing of operators, views or roles of ours."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, prod

from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto

from dse.ir.lowering import LoweringRequest, Part, Phase
from dse.ir.onnx_read import read_onnx
from dse.ir.precision import PRECISIONS
from dse.ir.summary import summarise
from dse.ir.tensor import data_type
from workloads.catalogue import CATALOGUE


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, LoweringRequest]:
    name = draw(st.sampled_from(CATALOGUE.names()))
    query_len = draw(st.integers(1, 64))
    part = draw(st.sampled_from(Part))
    schemes = [s for s in CATALOGUE.load(name).attention_schemes if s != "mha_s" or part is not Part.LAYER]
    return name, LoweringRequest(
        phase=draw(st.sampled_from(Phase)),
        batch=draw(st.integers(1, 300)),
        query_len=query_len,
        cache_len=query_len + draw(st.integers(0, 5000)),
        attention=draw(st.sampled_from(schemes)),
        precision=PRECISIONS[draw(st.sampled_from(sorted(PRECISIONS)))],
        rope=draw(st.booleans()),
        norms=draw(st.booleans()),
        part=part,
        layer=draw(st.sampled_from([0, 5])),
    )


def shapes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    graph = model.graph
    return {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in (*graph.input, *graph.value_info, *graph.output)}


def einsum_macs(model: ModelProto) -> int:
    known = shapes(model)
    total = 0
    for node in model.graph.node:
        if node.op_type == "Einsum":
            left, right = node.attribute[0].s.decode().split("->")[0].split(",")
            sizes = dict(zip(left + right, known[node.input[0]] + known[node.input[1]], strict=True))
            total += prod(sizes.values())
    return total


def input_bytes(model: ModelProto, role: str) -> int:
    total = 0
    for value in model.graph.input:
        metadata = {p.key: p.value for p in value.metadata_props}
        if metadata.get("dse.role") == role:
            total += ceil(Fraction(data_type(metadata["dse.dtype"]).stored_bits) * prod(shapes(model)[value.name]) / 8)
    return total


@settings(max_examples=150, deadline=None)
@given(requests())
def test_summary_equals_the_raw_file(asked: tuple[str, LoweringRequest]):
    name, request = asked
    lowered = CATALOGUE.load(name).lower(request)
    model = lowered.parts[0].onnx
    graph = read_onnx(model, name="part")
    totals = summarise(graph).totals
    assert totals.macs == einsum_macs(model)
    assert totals.weight_bytes == input_bytes(model, "weight")
    assert totals.cache_bytes == input_bytes(model, "cache")
    assert len(graph.operators) == len(model.graph.node), "nothing dropped"
    assert all(o.macs or o.vector_ops or o.kind in ("move", "view") for o in graph.operators), "nothing free"
