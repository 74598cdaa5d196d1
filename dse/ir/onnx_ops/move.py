"""Operators that move data without arithmetic: gather, expand, cache append; costed by the bytes they touch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.ir.onnx_ops.registry import broadcast_axes, loop_names, register
from dse.ir.operator import Kind, Operand, Operator

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dse.ir.onnx_ops.registry import Node, ReadingContext


def move(node: Node, context: ReadingContext, inputs: tuple[Operand, ...], out_axes: tuple[str | None, ...] | None = None) -> Operator:
    """A move with one loop per axis of the first output."""
    shape = context.shape(node.outputs[0])
    dims = loop_names(len(shape))
    return Operator(
        name=node.name,
        op_type=node.op_type,
        kind=Kind.MOVE,
        dims=tuple(zip(dims, shape, strict=True)),
        inputs=inputs,
        outputs=tuple(context.operand(name, dims if out_axes is None else out_axes) for name in node.outputs if name),
    )


@register("Expand")
def read_expand(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Writes every copy; reads the source once."""
    out_shape = context.shape(node.outputs[0])
    axes = broadcast_axes(context.shape(node.inputs[0]), out_shape, loop_names(len(out_shape)))
    return (move(node, context, (context.operand(node.inputs[0], axes),)),)


@register("Gather")
def read_gather(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Rows of the data by index; touches the gathered rows only, each at most once."""
    data, indices = node.inputs[:2]
    data_rank, index_rank = len(context.shape(data)), len(context.shape(indices))
    axis = node.integer("axis", 0) % data_rank
    dims = loop_names(data_rank + index_rank - 1)
    data_axes = (*dims[:axis], None, *dims[axis + index_rank :])
    gathered = context.tensor(node.outputs[0]).elements
    operands = [context.operand(data, data_axes, gathered)]
    if indices not in context.immediates:
        operands.append(context.operand(indices, dims[axis : axis + index_rank]))
    return (move(node, context, tuple(operands)),)


@register("GatherElements")
def read_gather_elements(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """One element of the data per index."""
    data, indices = node.inputs[:2]
    shape = context.shape(node.outputs[0])
    dims = loop_names(len(shape))
    axis = node.integer("axis", 0) % len(shape)
    data_axes = tuple(
        d if i != axis and size == shape[i] else None for i, (d, size) in enumerate(zip(dims, context.shape(data), strict=True))
    )
    operands = (context.operand(data, data_axes, context.tensor(node.outputs[0]).elements), context.operand(indices, dims))
    return (move(node, context, operands),)


@register("TensorScatter")
def read_tensor_scatter(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Cache append in place: the result is stored where the past cache is, and only the new rows are written.

    The past cache is an operand of which no element is read.
    """
    past, update = node.inputs[:2]
    shape = context.shape(update)  # [B, …, S, …]
    dims = loop_names(len(shape))
    axis = node.integer("axis", -2) % len(shape)
    cache_axes = tuple(None if i == axis else d for i, d in enumerate(dims))
    touched = context.tensor(update).elements
    indices = tuple(context.operand(name, (dims[0],)) for name in node.inputs[2:3] if name and name not in context.immediates)
    context.share(node.outputs[0], past)
    return (
        Operator(
            name=node.name,
            op_type=node.op_type,
            kind=Kind.MOVE,
            dims=tuple(zip(dims, shape, strict=True)),
            inputs=(context.operand(past, cache_axes, 0), context.operand(update, dims), *indices),
            outputs=(context.operand(node.outputs[0], cache_axes, touched),),
        ),
    )
