"""Models exported by other tools: counts equal those of independent counters, whatever the exporter, opset and way of attention."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import version_converter

from dse.ir.onnx_read import load_onnx, read_onnx
from dse.ir.operator import Kind, matmul_shape
from dse.ir.precision import precision
from dse.ir.summary import summarise, weight_elements
from dse.ir.tensor import Role

DATA = Path(__file__).resolve().parents[2] / "data" / "onnx"
DIMS = {
    "resnet18": {"batch": 1},
    "llama": {"batch": 2, "query": 3, "past": 5},
    "gpt2": {"batch": 2, "seq": 16},
    "bert": {"batch": 2, "seq": 16},
    "mobile": {},
    **{key: {"batch": 2, "seq": 16} for key in ("bertq", "bertfused", "hfllama4bit", "hfdeepseek", "hfopt")},
    "mobilenetfused": {},
}
# torch 2.13.0, torch.utils.flop_counter.FlopCounterMode on the module itself, one forward pass; two FLOPs are one MAC.
TORCH_FLOPS = {
    "resnet18": 3_628_146_688,
    "llama": 8_355_840,
    "gpt2": 40_992_768,
    "bert": 12_910_592,
    "mobile": 11_791_104,
    "bertq": 3_932_160,
    "bertfused": 3_932_160,
    "hfllama4bit": 4_603_904,
    "hfdeepseek": 3_817_472,
    "hfopt": 4_341_760,
    "mobilenetfused": 13_032_960,
}
FILES = sorted(DATA.glob("*.onnx"))


def read(path: Path, **options):
    return load_onnx(path, dims=DIMS[path.stem.split("_")[0]], **options)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_macs_equal_torch(path: Path):
    graph = read(path)
    assert 2 * summarise(graph).totals.macs == TORCH_FLOPS[path.stem.split("_")[0]]
    products = [o for o in graph.operators if o.kind is Kind.CONTRACTION]
    assert [matmul_shape(o).macs for o in products] == [o.macs for o in products]


def test_resnet18_against_onnx_tool():
    """onnx-tool 1.0.1 on the same file: Conv 1,816,045,056, Gemm 513,000; it counts a bias as one MAC per output, we as vector work."""
    graph = read(DATA / "resnet18_script_13.onnx")
    products = [o for o in graph.operators if o.kind is Kind.CONTRACTION]
    additions = {o.name: o.vector_ops for o in graph.operators if o.op_type == "Add" and f"{o.name}.product" in {p.name for p in products}}
    convolutions = [o for o in products if o.op_type == "Conv"]
    biases = sum(additions[o.name.removesuffix(".product")] for o in convolutions)
    assert sum(o.macs for o in convolutions) + biases == 1_816_045_056
    (gemm,) = (o for o in products if o.op_type == "Gemm")
    assert gemm.macs + additions[gemm.name.removesuffix(".product")] == 513_000
    assert weight_elements(graph) == 11_680_872  # onnx-tool's parameters; batch norms are folded by the exporter


def test_llama_block_against_onnx_tool():
    """onnx-tool 1.0.1: MatMul 4,177,920 MACs."""
    graph = read(DATA / "llama_math_script_17.onnx")
    assert sum(o.macs for o in graph.operators) == 4_177_920
    assert (
        weight_elements(graph) == 692_736 - 256 + 16
    )  # torch's parameters; the exporter stores two equal gains once, and 16 rotary frequencies


@pytest.mark.parametrize("name", ["llama_math_script_17", "llama_dynamo_18", "llama_dynamo_23"])
def test_caches_are_appended_in_place_and_scores_are_scores(name: str):
    """Cache of 2 sequences, 2 heads, 8 positions of 32, keys and values, fp32: 2 * 2 * 8 * 32 * 2 * 4 bytes."""
    graph = read(DATA / f"{name}.onnx")
    caches = {t.storage: t for t in graph.tensors.values() if t.role is Role.CACHE and t.storage == t.name}
    assert sorted(t.size_bytes for t in caches.values()) == [4096, 4096]
    appends = [o for o in graph.operators if o.kind is Kind.MOVE and any(graph.tensors[x.tensor].role is Role.CACHE for x in o.outputs)]
    assert sum(o.outputs[0].elements for o in appends) == 2 * 2 * 2 * 3 * 32
    scores = [t for t in graph.tensors.values() if t.role is Role.SCORE]
    assert scores
    assert {t.elements for t in scores} == {2 * 8 * 3 * 8}


def test_windows_of_a_convolution_count_each_input_once():
    """conv1 of resnet18: 7 x 7, stride 2, padding 3 over 3 x 224 x 224; all positions are touched, once."""
    graph = read(DATA / "resnet18_dynamo_18.onnx", precision=precision("bf16"))
    first = next(o for o in graph.operators if o.kind is Kind.CONTRACTION)
    shape = matmul_shape(first)
    assert (shape.groups, shape.m, shape.k, shape.n) == (1, 112 * 112, 3 * 49, 64)
    assert [x.elements for x in (*first.inputs, *first.outputs)] == [3 * 224 * 224, 64 * 147, 64 * 112 * 112]
    assert {graph.tensors[x.tensor].dtype.name for x in first.inputs} == {"bf16"}


def test_depthwise_is_groups():
    graph = read(DATA / "mobile_dynamo_18.onnx")
    shapes = [matmul_shape(o) for o in graph.operators if o.op_type == "Conv" and o.kind is Kind.CONTRACTION]
    assert any(s.groups == 32 and s.n == 1 and s.k == 9 for s in shapes)


@pytest.mark.parametrize("name", ["llama_math_script_17", "llama_dynamo_18", "llama_dynamo_23"])
def test_an_empty_past(name: str):
    """Without 5 cached positions two products over 2 sequences, 8 heads, 3 queries and 32 elements per head are 5 positions shorter."""
    graph = load_onnx(DATA / f"{name}.onnx", dims={"batch": 2, "query": 3, "past": 0})
    assert 2 * summarise(graph).totals.macs == TORCH_FLOPS["llama"] - 2 * 2 * (2 * 8 * 3 * 5 * 32)


@pytest.mark.parametrize(
    "name", ["bert_script_13", "resnet18_script_13", "mobile_script_13", "llama_math_script_17", "llama_dynamo_18", "llama_dynamo_23"]
)
def test_every_opset_counts_the_same(name: str):
    """A block or net of one opset, rewritten by onnx' own converter for each later one up to the newest."""
    model = onnx.load(DATA / f"{name}.onnx", load_external_data=False)
    counts = {}
    for opset in range(int(name.split("_")[-1]), onnx.defs.onnx_opset_version() + 1):
        converted = version_converter.convert_version(model, opset)
        assert converted.opset_import[0].version == opset
        totals = summarise(read_onnx(converted, name=name, dims=DIMS[name.split("_")[0]])).totals
        counts[opset] = (totals.macs, totals.weight_bytes, totals.vector_ops)
    assert set(counts) >= {23, onnx.defs.onnx_opset_version()}
    own = summarise(read(DATA / f"{name}.onnx")).totals
    assert set(counts.values()) == {(own.macs, own.weight_bytes, own.vector_ops)}, counts
