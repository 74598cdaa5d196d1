"""Small ONNX models for the tests of the reader."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from onnx import ModelProto, NodeProto

Shape = "Sequence[int | str | None]"


def model(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, Shape],
    outputs: Sequence[str],
    *,
    weights: Mapping[str, Sequence[int]] | None = None,
    integers: Mapping[str, Sequence[int]] | None = None,
    element_type: int = TensorProto.FLOAT16,
    opset: int = 24,
) -> ModelProto:
    """A model whose float inputs and weights have one element type; outputs have no declared shape."""
    initialisers = [helper.make_tensor(n, element_type, s, np.zeros(s).reshape(-1)) for n, s in (weights or {}).items()]
    initialisers += [numpy_helper.from_array(np.array(v, dtype=np.int64), n) for n, v in (integers or {}).items()]
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info(n, TensorProto.INT64 if n.startswith("index") else element_type, s) for n, s in inputs.items()],
        [helper.make_empty_tensor_value_info(n) for n in outputs],
        initialisers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


node = helper.make_node
