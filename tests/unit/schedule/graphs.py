"""Small graphs whose traffic can be counted by hand."""

from __future__ import annotations

from onnx import TensorProto, helper

from dse.hw.accelerator import ArrayGeometry, Dataflow, Folds, Geometry
from dse.ir.graph import OperatorGraph
from dse.ir.onnx_read import read_onnx

GEOMETRY = Geometry(
    ArrayGeometry(32, 32, 1, (Dataflow.OUTPUT_STATIONARY, Dataflow.WEIGHT_STATIONARY), Folds.PIPELINED, (("fp16", 1),)),
    double_buffered=True,
)
"""An array larger than any of the graphs' products: one pass each."""


def two_layers() -> OperatorGraph:
    """x [4, 8] -> h = x w1 [4, 16] -> a = relu(h) -> y = a w2 [4, 8], fp16.

    Bytes: x 64, w1 256, h 128, a 128, w2 256, y 64.
    """
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT16, shape) for name, shape in (("x", [4, 8]), ("y", [4, 8]))}
    weights = [helper.make_tensor(n, TensorProto.FLOAT16, s, [0.0] * (s[0] * s[1])) for n, s in (("w1", [8, 16]), ("w2", [16, 8]))]
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["h"], name="up"),
        helper.make_node("Relu", ["h"], ["a"], name="relu"),
        helper.make_node("MatMul", ["a", "w2"], ["y"], name="down"),
    ]
    graph = helper.make_graph(nodes, "two_layers", [values["x"]], [values["y"]], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return read_onnx(model, name="two_layers")


def swiglu_chain(rows: int, width: int, hidden: int, blocks: int) -> OperatorGraph:
    """`blocks` times x -> (silu(x wg) * (x wu)) wd in bf16, weights as inputs."""
    kind = TensorProto.BFLOAT16
    inputs = [helper.make_tensor_value_info("x0", kind, [rows, width])]
    nodes = []
    for i in range(blocks):
        for name, shape in (("wg", [width, hidden]), ("wu", [width, hidden]), ("wd", [hidden, width])):
            inputs.append(helper.make_tensor_value_info(f"{name}{i}", kind, shape))
        nodes += [
            helper.make_node("MatMul", [f"x{i}", f"wg{i}"], [f"g{i}"], name=f"gate{i}"),
            helper.make_node("MatMul", [f"x{i}", f"wu{i}"], [f"u{i}"], name=f"up{i}"),
            helper.make_node("Sigmoid", [f"g{i}"], [f"s{i}"], name=f"sigmoid{i}"),
            helper.make_node("Mul", [f"g{i}", f"s{i}"], [f"a{i}"], name=f"silu{i}"),
            helper.make_node("Mul", [f"a{i}", f"u{i}"], [f"b{i}"], name=f"product{i}"),
            helper.make_node("MatMul", [f"b{i}", f"wd{i}"], [f"x{i + 1}"], name=f"down{i}"),
        ]
    output = helper.make_tensor_value_info(f"x{blocks}", kind, [rows, width])
    graph = helper.make_graph(nodes, "swiglu_chain", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    return read_onnx(model, name="swiglu_chain")


def attention(queries: int, keys: int, width: int, value_width: int) -> OperatorGraph:
    """softmax(q k) v of one head in fp16: q [queries, width], k [width, keys], v [keys, value_width]."""
    kind = TensorProto.FLOAT16
    shapes = (("q", [queries, width]), ("k", [width, keys]), ("v", [keys, value_width]))
    inputs = [helper.make_tensor_value_info(name, kind, shape) for name, shape in shapes]
    nodes = [
        helper.make_node("MatMul", ["q", "k"], ["s"], name="score"),
        helper.make_node("Softmax", ["s"], ["p"], name="probability", axis=-1),
        helper.make_node("MatMul", ["p", "v"], ["o"], name="context"),
    ]
    output = helper.make_tensor_value_info("o", kind, [queries, value_width])
    graph = helper.make_graph(nodes, "attention", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return read_onnx(model, name="attention")


def branches(rows: int, width: int, lengths: tuple[int, ...]) -> OperatorGraph:
    """In series, for each of `lengths`: a product, then where it is not 0 a fork of an activation and of so many, added up; fp16."""
    kind = TensorProto.FLOAT16
    inputs = [helper.make_tensor_value_info("x0", kind, [rows, width])]
    nodes, at = [], "x0"
    for i, length in enumerate(lengths):
        inputs.append(helper.make_tensor_value_info(f"w{i}", kind, [width, width]))
        nodes.append(helper.make_node("MatMul", [at, f"w{i}"], [f"p{i}"], name=f"product{i}"))
        at = f"p{i}"
        if length:
            nodes.append(helper.make_node("Sigmoid", [at], [f"g{i}"], name=f"gate{i}"))
            other = at
            for j in range(length):
                nodes.append(helper.make_node("Relu", [other], [f"r{i}_{j}"], name=f"relu{i}_{j}"))
                other = f"r{i}_{j}"
            nodes.append(helper.make_node("Mul", [f"g{i}", other], [f"m{i}"], name=f"join{i}"))
            at = f"m{i}"
    output = helper.make_tensor_value_info(at, kind, [rows, width])
    graph = helper.make_graph(nodes, "branches", inputs, [output])
    return read_onnx(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), name="branches")
