"""Pooling over windows and over whole planes; runs on the vector unit."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Final

from dse.ir.onnx_ops.convolution import window_elements
from dse.ir.onnx_ops.registry import loop_names, register, vector_operator
from dse.ir.operator import Operator

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dse.ir.onnx_ops.registry import Node, ReadingContext

_PER_WINDOW_ELEMENT: Final = {
    "MaxPool": 1,  # one comparison
    "AveragePool": 1,  # one addition; the division is once per window and left out
    "LpPool": 2,  # one power, one addition; the root is once per window and left out
    "GlobalMaxPool": 1,  # one comparison
    "GlobalAveragePool": 1,  # one addition; the division is once per plane and left out
    "GlobalLpPool": 2,  # one power, one addition; the root is once per plane and left out
}
"""Elementary operations per element of a window."""


@register("MaxPool", "AveragePool", "LpPool")
def read_pool(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """One result per window; elements under several windows are read once."""
    source, out = context.shape(node.inputs[0]), context.shape(node.outputs[0])
    kernel = node.integers("kernel_shape") or ()
    if len(kernel) != len(source) - 2:
        raise ValueError(f"kernel {list(kernel)} for an input of {len(source)} axes")
    dims = loop_names(len(out))
    taps = tuple(f"k{i}" for i in range(len(kernel)))
    touched = window_elements(node, source, out, kernel)
    return (
        vector_operator(
            node,
            dims=(*zip(dims, out, strict=True), *zip(taps, kernel, strict=True)),
            inputs=(context.operand(node.inputs[0], (*dims[:2], *(None for _ in kernel)), touched),),
            outputs=tuple(context.operand(name, dims) for name in node.outputs if name),
            vector_ops=prod(out) * prod(kernel) * _PER_WINDOW_ELEMENT[node.op_type],
            reduced_dims=taps,
        ),
    )


@register("GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool")
def read_global_pool(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """One result per plane of [N, C, ...]."""
    shape = context.shape(node.inputs[0])
    dims = loop_names(len(shape))
    return (
        vector_operator(
            node,
            dims=zip(dims, shape, strict=True),
            inputs=(context.operand(node.inputs[0], dims),),
            outputs=(context.operand(node.outputs[0], (*dims[:2], *(None for _ in shape[2:]))),),
            vector_ops=prod(shape) * _PER_WINDOW_ELEMENT[node.op_type],
            reduced_dims=dims[2:],
        ),
    )
