"""Elementwise operators with numpy broadcasting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dse.ir.onnx_ops.registry import broadcast_axes, loop_names, register, vector_operator
from dse.ir.operator import Operator
from dse.ir.vector_costs import PER_OUTPUT_ELEMENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dse.ir.onnx_ops.registry import Node, ReadingContext


_TYPE_ONLY: Final = frozenset({"CastLike"})
"""Operators whose second input only says a type."""
_PAIRWISE: Final = frozenset({"Max", "Min", "Sum", "Mean"})
_BY_CHANNEL: Final = frozenset({"BatchNormalization", "QuantizeLinear", "DequantizeLinear"})
"""Operators whose further inputs may go along one axis of the first."""


@register(*PER_OUTPUT_ELEMENT)
def read_elementwise(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """One loop per output axis; constants of one element are immediates and no operands."""
    out = context.tensor(node.outputs[0])
    if len([name for name in node.outputs if name]) > 1:
        raise node.error("has outputs of training; export the model for inference")
    dims = loop_names(len(out.shape))
    inputs = [name for name in node.inputs if name][: 1 if node.op_type in _TYPE_ONLY else None]
    repeats = max(1, len(inputs) - 1) if node.op_type in _PAIRWISE else 1
    each = PER_OUTPUT_ELEMENT[node.op_type] * repeats + (node.op_type == "Mean")
    if node.op_type == "Gelu" and node.text("approximate", "none") == "tanh":
        each = PER_OUTPUT_ELEMENT["FastGelu"]
    return (
        vector_operator(
            node,
            dims=zip(dims, out.shape, strict=True),
            inputs=tuple(
                context.operand(name, _axes(node, context.shape(name), out.shape, dims, first=name == inputs[0]))
                for name in inputs
                if name not in context.immediates
            ),
            outputs=(context.operand(out.name, dims),),
            vector_ops=out.elements * each,
        ),
    )


def _axes(node: Node, shape: Sequence[int], out: Sequence[int], dims: Sequence[str], *, first: bool) -> tuple[str | None, ...]:
    """Loops that index an operand: broadcast, or along one axis for parameters of channels."""
    if first or node.op_type not in _BY_CHANNEL or len(shape) == 0:
        return broadcast_axes(shape, out, dims)
    if len(shape) > 1:  # blocks: each scale stands for several elements
        return tuple(d if size == o else None for d, size, o in zip(dims, shape, out, strict=True))
    axis = node.integer("axis", 1) % len(out)
    return (dims[axis] if shape[0] == out[axis] else None,)
