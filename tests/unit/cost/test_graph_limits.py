"""Graphs that cannot be mapped get one error that names the node: too large, or with nothing in them."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from dse.errors import GraphError
from dse.evaluate import compile_step, graph_step
from dse.ir.onnx_read import read_onnx
from dse.plugins import load_accelerator


def compiled(op_type: str, shapes: list[list[int]], out: list[int]) -> None:
    """Compile one node for `h100_sxm`."""
    names = ["a", "b"][: len(shapes)]
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT16, s) for n, s in zip(names, shapes, strict=True)]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT16, out)
    graph = helper.make_graph([helper.make_node(op_type, names, ["y"], name="p")], "g", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    compile_step(graph_step(read_onnx(model, name="g"), 1), load_accelerator("h100_sxm").geometry)


@pytest.mark.parametrize(
    ("a", "b", "y"),
    [
        ([10**11, 4], [4, 4], [10**11, 4]),
        ([3 * 10**6, 3 * 10**6], [3 * 10**6, 4], [3 * 10**6, 4]),
        ([2**31, 2**31, 1], [2**31, 1, 1], [2**31, 2**31, 1]),
    ],
)
def test_products_beyond_what_is_mapped(a: list[int], b: list[int], y: list[int]) -> None:
    with pytest.raises(GraphError, match=r"g: node 'p': .* are too large; allowed: sizes up to 2147483647, two multiply to at most"):
        compiled("MatMul", [a, b], y)


@pytest.mark.parametrize(("op_type", "shapes", "y"), [("MatMul", [[0, 5], [5, 3]], [0, 3]), ("Identity", [[7, 5]], [7, 5])])
def test_nothing_to_compute(op_type: str, shapes: list[list[int]], y: list[int]) -> None:
    with pytest.raises(GraphError, match="g: nothing to compute"):
        compiled(op_type, shapes, y)
