"""Elementwise operators with numpy broadcasting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.ir.onnx_ops.registry import broadcast_axes, loop_names, register
from dse.ir.operator import Kind, Operator
from dse.ir.vector_costs import PER_OUTPUT_ELEMENT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dse.ir.onnx_ops.registry import Node, ReadingContext


@register(*PER_OUTPUT_ELEMENT)
def read_elementwise(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """One loop per output axis; constants of one element are immediates and no operands."""
    out = context.tensor(node.outputs[0])
    dims = loop_names(len(out.shape))
    inputs = [name for name in node.inputs if name]
    repeats = max(1, len(inputs) - 1) if node.op_type in ("Max", "Min") else 1
    return (
        Operator(
            name=node.name,
            op_type=node.op_type,
            kind=Kind.VECTOR,
            dims=tuple(zip(dims, out.shape, strict=True)),
            inputs=tuple(
                context.operand(name, broadcast_axes(context.shape(name), out.shape, dims))
                for name in inputs
                if name not in context.immediates
            ),
            outputs=(context.operand(out.name, dims),),
            vector_ops=out.elements * PER_OUTPUT_ELEMENT[node.op_type] * repeats,
        ),
    )
