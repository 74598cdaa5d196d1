"""Fused and quantised operators of onnxruntime: shapes as onnxruntime makes them, MACs and vector work by hand."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from dse.errors import GraphError
from dse.ir.onnx_read import read_onnx
from dse.ir.operator import Kind, matmul_shape

FLOATS = {"x": (2, 3, 8, 8), "w": (4, 3, 3, 3), "b": (4,), "z": (2, 4, 4, 4)}
ROWS = {"i": (2, 5, 6), "p": (6, 24), "c": (24,)}
TABLES = {"words": (9, 6), "places": (7, 6), "kinds": (2, 6), "g": (6,), "h": (6,)}
CASES = [  # operator, inputs, their shapes, attributes, MACs, vector operations
    ("FusedConv", ["x", "w", "b", "z"], FLOATS, {"strides": [2, 2], "pads": [1, 1, 1, 1], "activation": "Relu"}, 2 * 16 * 4 * 27, 128 * 3),
    ("FusedConv", ["x", "w"], FLOATS, {"auto_pad": "SAME_UPPER", "activation": "Sigmoid"}, 2 * 64 * 4 * 27, 512 * 4),
    ("Attention", ["i", "p", "c"], ROWS, {"num_heads": 2}, 10 * 6 * 24 + 2 * (2 * 2 * 25 * 4), 10 * 24 + 2 * 2 * 25 * 9),
    ("EmbedLayerNormalization", ["ids", "ids2", "words", "places", "kinds", "g", "h"], TABLES, {}, 0, 2 * 5 * 6 * (7 + 2)),
    ("QLinearAdd", ["qa", "s", "o", "qb", "s", "o", "s", "o"], {"qa": (2, 3), "qb": (3,)}, {}, 0, 6 * (1 + 4 + 4)),
    ("QLinearMul", ["qa", "s", "o", "qb", "s", "o", "s", "o"], {"qa": (2, 3), "qb": (2, 1)}, {}, 0, 6 * (1 + 4 + 4)),
    ("QLinearSigmoid", ["qa", "s", "o", "s", "o"], {"qa": (2, 3)}, {}, 0, 6 * (4 + 2 + 4)),
    ("QLinearLeakyRelu", ["qa", "s", "o", "s", "o"], {"qa": (2, 3)}, {}, 0, 6 * (2 + 2 + 4)),
    ("QLinearConcat", ["s", "o", "qa", "s", "o", "qb", "s", "o"], {"qa": (2, 3), "qb": (2, 4)}, {"axis": 1}, 0, 14 * 6),
    ("QLinearGlobalAveragePool", ["qa", "s", "o", "s", "o"], {"qa": (2, 3, 4, 5)}, {}, 0, 120 + 6 * 4),
    ("QGemm", ["qa", "s", "o", "qb", "s", "o"], {"qa": (2, 3), "qb": (5, 3)}, {"transB": 1}, 30, 10 * 4),
    ("DynamicQuantizeMatMul", ["v", "qb", "s", "o"], {"v": (2, 4, 3), "qb": (3, 5)}, {}, 120, 24 * 6 + 40 * 4),
    ("MatMulIntegerToFloat", ["qa", "qb", "s", "s"], {"qa": (2, 4, 3), "qb": (3, 5)}, {}, 120, 40 * 4),
]


def make(op_type: str, names: list[str], shapes: dict[str, tuple[int, ...]], attributes: dict[str, object]):
    """A model of one node and random inputs for it."""
    rng = np.random.default_rng(0)
    feeds: dict[str, np.ndarray] = {}
    for name in dict.fromkeys(names):
        if name in ("s", "o"):
            continue
        if name.startswith("ids"):
            feeds[name] = rng.integers(0, 2, size=(2, 5)).astype(np.int32)
        elif name.startswith("q"):
            feeds[name] = rng.integers(0, 200, size=shapes[name]).astype(np.uint8)
        else:
            feeds[name] = rng.normal(size=shapes[name]).astype(np.float32)
    outputs = ["y", "counts"] if op_type == "EmbedLayerNormalization" else ["y"]
    node = helper.make_node(op_type, names, outputs, name="fused", domain="com.microsoft", **attributes)
    inputs = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for n, v in feeds.items()]
    constants = [numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.uint8(3), "o")]
    made = [TensorProto.UINT8 if op_type[0] == "Q" and op_type != "QGemm" else TensorProto.FLOAT, TensorProto.INT32]
    results = [helper.make_tensor_value_info(n, t, None) for n, t in zip(outputs, made, strict=False)]
    graph = helper.make_graph([node], "g", inputs, results, [c for c in constants if c.name in names])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8), feeds


@pytest.mark.parametrize(
    ("op_type", "names", "shapes", "attributes", "macs", "vector_ops"), CASES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_shapes_and_counts(op_type, names, shapes, attributes, macs, vector_ops):
    model, feeds = make(op_type, names, shapes, attributes)
    (result, *_) = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)
    graph = read_onnx(model, name="fused")
    assert graph.tensors["y"].shape == result.shape
    assert sum(o.macs for o in graph.operators) == macs
    assert sum(o.vector_ops for o in graph.operators) == vector_ops
    assert all(matmul_shape(o).macs == o.macs for o in graph.operators if o.kind is Kind.CONTRACTION)


def test_what_has_no_cost_is_named():
    model, _ = make("FusedConv", ["x", "w"], FLOATS, {"activation": "Wobble"})
    with pytest.raises(GraphError, match=r"node 'fused' \(com.microsoft::FusedConv, opset 1\): activation 'Wobble' has no cost"):
        read_onnx(model, name="fused")
    model, _ = make("Attention", ["i", "p", "c"], ROWS, {"num_heads": 2})
    model.graph.node[0].output.append("present")
    with pytest.raises(GraphError, match="cached in one tensor"):
        read_onnx(model, name="fused")
