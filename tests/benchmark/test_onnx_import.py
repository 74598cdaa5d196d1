"""How long an ONNX file takes to import, and how that grows with its nodes; `make bench` prints the table."""

from __future__ import annotations

import time
from math import log
from typing import TYPE_CHECKING

import pytest
from onnx import TensorProto, helper

from dse.ir.onnx_read import load_onnx

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.benchmark
NODES = (1250, 2500, 5000)
TARGET_S = 10.0


def chain(path: Path, nodes: int) -> None:
    """A file of blocks of ten nodes: product, bias, norm, activation, shape arithmetic, reshape, transpose, residual."""
    body, weights = [], [helper.make_tensor("k", TensorProto.INT64, [1], [-1]), helper.make_tensor("zero", TensorProto.INT64, [], [0])]
    x = "x"
    for i in range(nodes // 10):
        n = f"b{i}_"
        weights += [
            TensorProto(name=f"{n}{w}", data_type=TensorProto.FLOAT, dims=s) for w, s in (("w", [64, 64]), ("g", [64]), ("c", [64]))
        ]
        make = helper.make_node
        body += [
            make("MatMul", [x, f"{n}w"], [f"{n}p"]),
            make("Add", [f"{n}p", f"{n}c"], [f"{n}q"]),
            make("LayerNormalization", [f"{n}q", f"{n}g"], [f"{n}n"]),
            make("Relu", [f"{n}n"], [f"{n}r"]),
            make("Shape", [f"{n}r"], [f"{n}s"]),
            make("Gather", [f"{n}s", "zero"], [f"{n}d"]),
            make("Unsqueeze", [f"{n}d", "zero1"], [f"{n}u"]),
            make("Concat", [f"{n}u", "k"], [f"{n}v"], axis=0),
            make("Reshape", [f"{n}r", f"{n}v"], [f"{n}t"]),
            make("Add", [f"{n}t", x], [f"{n}y"]),
        ]
        x = f"{n}y"
    weights.append(helper.make_tensor("zero1", TensorProto.INT64, [1], [0]))
    shape = ["rows", 64]
    graph = helper.make_graph(
        body,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, shape)],
        weights,
    )
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString())


def test_import_is_linear(tmp_path: Path) -> None:
    seconds = []
    for nodes in NODES:
        file = tmp_path / f"{nodes}.onnx"
        chain(file, nodes)
        start = time.process_time()
        graph = load_onnx(file, dims={"rows": 128})
        seconds.append(time.process_time() - start)
        assert len(graph.operators) == nodes // 10 * 6
    exponent = log(seconds[-1] / seconds[0]) / log(NODES[-1] / NODES[0])
    for nodes, taken in zip(NODES, seconds, strict=True):
        print(f"import of {nodes:,} nodes: {taken:.2f} s CPU")
    print(f"exponent {exponent:.2f}; target at {NODES[-1]:,} nodes: {TARGET_S:.0f} s")
    assert seconds[-1] < TARGET_S
