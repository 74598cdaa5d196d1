"""Operators whose results depend on whole rows: softmax, normalisation, reductions, rotary embedding, top-k."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from dse.ir.onnx_ops.registry import broadcast_axes, loop_names, register, vector_operator
from dse.ir.operator import Operator
from dse.ir.vector_costs import PER_INPUT_ELEMENT, top_k_operations_per_element

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dse.ir.onnx_ops.registry import Node, ReadingContext


def _axis(node: Node, axis: int, rank: int) -> int:
    """`axis` counted from the front."""
    if not -rank <= axis < rank:
        raise node.error(f"axis {axis} is out of range for a tensor of {rank} axes")
    return axis % rank


@register("Softmax", "LogSoftmax", "Hardmax", "LpNormalization")
def read_softmax(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Softmax along one axis (opset 13 and later)."""
    shape = context.shape(node.inputs[0])
    dims = loop_names(len(shape))
    axis = _axis(node, node.integer("axis", -1), len(shape))
    return (
        vector_operator(
            node,
            dims=zip(dims, shape, strict=True),
            inputs=(context.operand(node.inputs[0], dims),),
            outputs=(context.operand(node.outputs[0], dims),),
            vector_ops=prod(shape) * PER_INPUT_ELEMENT[node.op_type],
            reduced_dims=(dims[axis],),
        ),
    )


@register("RMSNormalization", "LayerNormalization")
def read_normalization(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Normalisation over the axes from `axis` on, with gain and, for LayerNormalization, bias."""
    shape = context.shape(node.inputs[0])
    dims = loop_names(len(shape))
    axis = _axis(node, node.integer("axis", -1), len(shape))
    parameters = [name for name in node.inputs[1:] if name and name not in context.immediates]
    return (
        vector_operator(
            node,
            dims=zip(dims, shape, strict=True),
            inputs=(
                context.operand(node.inputs[0], dims),
                *(context.operand(p, broadcast_axes(context.shape(p), shape, dims)) for p in parameters),
            ),
            outputs=tuple(context.operand(o, broadcast_axes(context.shape(o), shape, dims)) for o in node.outputs if o),
            vector_ops=prod(shape) * PER_INPUT_ELEMENT[node.op_type],
            reduced_dims=dims[axis:],
        ),
    )


@register("GroupNormalization", "InstanceNormalization")
def read_group_normalization(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Normalisation of [N, C, ...] over the positions of a group of channels, or of one channel; gain and bias by channel or group."""
    shape = context.shape(node.inputs[0])
    dims = loop_names(len(shape))
    groups = node.integer("num_groups", shape[1]) if node.op_type == "GroupNormalization" else shape[1]
    if groups < 1 or shape[1] % groups:
        raise node.error(f"{shape[1]} channels do not divide into {groups} groups")
    alone = groups == shape[1]
    parameters = [
        context.operand(name, (dims[1] if context.shape(name) == shape[1:2] else None,))
        for name in node.inputs[1:3]
        if name and name not in context.immediates
    ]
    return (
        vector_operator(
            node,
            dims=zip(dims, shape, strict=True),
            inputs=(context.operand(node.inputs[0], dims), *parameters),
            outputs=(context.operand(node.outputs[0], dims),),
            vector_ops=prod(shape) * PER_INPUT_ELEMENT[node.op_type],
            reduced_elements=prod(shape[1:]) // groups,
            reduced_dims=dims[2:] if alone else dims[1:],
        ),
    )


@register("CumSum", "CumProd")
def read_running(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Running sum or product along one axis."""
    shape = context.shape(node.inputs[0])
    dims = loop_names(len(shape))
    given = context.integers(node, 1)
    axis = _axis(node, given[0], len(shape)) if given else 0
    return (
        vector_operator(
            node,
            dims=zip(dims, shape, strict=True),
            inputs=(context.operand(node.inputs[0], dims),),
            outputs=(context.operand(node.outputs[0], dims),),
            vector_ops=prod(shape) * PER_INPUT_ELEMENT[node.op_type],
            reduced_dims=(dims[axis],),
        ),
    )


@register("DynamicQuantizeLinear")
def read_dynamic_quantize(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Range of the whole tensor, then quantisation; scale and zero point are results."""
    shape = context.shape(node.inputs[0])
    dims = loop_names(len(shape))
    return (
        vector_operator(
            node,
            dims=zip(dims, shape, strict=True),
            inputs=(context.operand(node.inputs[0], dims),),
            outputs=tuple(context.operand(name, dims if i == 0 else ()) for i, name in enumerate(node.outputs) if name),
            vector_ops=prod(shape) * PER_INPUT_ELEMENT[node.op_type],
            reduced_dims=dims,
        ),
    )


@register("ArgMax", "ArgMin", *(name for name in PER_INPUT_ELEMENT if name.startswith("Reduce")))
def read_reduction(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Reduction over constant axes, kept as size 1 or dropped."""
    shape = context.shape(node.inputs[0])
    dims = loop_names(len(shape))
    given = (node.integer("axis", 0),) if node.op_type.startswith("Arg") else node.integers("axes")
    given = context.integers(node, 1) if given is None else given
    if not given and node.integer("noop_with_empty_axes", 0):
        return _no_reduction(node, context, dims)
    reduced = sorted({_axis(node, a, len(shape)) for a in given}) if given else list(range(len(shape)))
    keep = bool(node.integer("keepdims", 1))
    out_axes = tuple((None if i in reduced else d) for i, d in enumerate(dims) if keep or i not in reduced)
    kept = [i for i in range(len(shape)) if i not in reduced]
    return (
        vector_operator(
            node,
            dims=((dims[i], shape[i]) for i in (*kept, *reduced)),
            inputs=(context.operand(node.inputs[0], dims),),
            outputs=(context.operand(node.outputs[0], out_axes),),
            vector_ops=prod(shape) * PER_INPUT_ELEMENT[node.op_type],
            reduced_dims=tuple(dims[i] for i in reduced),
        ),
    )


def _no_reduction(node: Node, context: ReadingContext, dims: tuple[str, ...]) -> tuple[Operator, ...]:
    """A reduction over no axis: its elementwise part, if it has one, for every element."""
    out = context.tensor(node.outputs[0])
    return (
        vector_operator(
            node,
            dims=zip(dims, out.shape, strict=True),
            inputs=(context.operand(node.inputs[0], dims),),
            outputs=(context.operand(out.name, dims),),
            vector_ops=out.elements * PER_INPUT_ELEMENT[node.op_type],
        ),
    )


@register("RotaryEmbedding")
def read_rotary(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Rotation of pairs of the last axis; input [B, H, S, E] or [B, S, H*E], cosine and sine [B, S, E/2] or by position.

    Each result depends on the two elements of its pair.
    """
    shape = context.shape(node.inputs[0])
    dims = loop_names(len(shape))
    batch, sequence = (dims[0], dims[2]) if len(shape) == 4 else (dims[0], dims[1])
    head = shape[-1] if len(shape) == 4 else shape[-1] // max(1, node.integer("num_heads", 1))
    rotated = node.integer("rotary_embedding_dim", 0) or head
    sizes = dict(zip(dims, shape, strict=True))
    tables = []
    for name in node.inputs[1:3]:
        if len(context.shape(name)) == 3:  # [B, S, E/2]
            tables.append(context.operand(name, (batch, sequence, None)))
        else:  # [positions, E/2], only the rows of this step's positions
            tables.append(context.operand(name, (None, None), sizes[batch] * sizes[sequence] * context.shape(name)[-1]))
    positions = [context.operand(name, (batch, sequence)) for name in node.inputs[3:4] if name]
    return (
        vector_operator(
            node,
            dims=sizes.items(),
            inputs=(context.operand(node.inputs[0], dims), *tables, *positions),
            outputs=(context.operand(node.outputs[0], dims),),
            vector_ops=prod(shape) // head * rotated * PER_INPUT_ELEMENT["RotaryEmbedding"],
            reduced_elements=2,
            reduced_dims=(dims[-1],),
        ),
    )


@register("TopK")
def read_top_k(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """The k largest along an axis, with their indices."""
    shape = context.shape(node.inputs[0])
    dims = loop_names(len(shape))
    axis = _axis(node, node.integer("axis", -1), len(shape))
    outputs = [name for name in node.outputs if name]
    out_axes = tuple(None if i == axis else d for i, d in enumerate(dims))
    return (
        vector_operator(
            node,
            dims=zip(dims, shape, strict=True),
            inputs=(context.operand(node.inputs[0], dims),),
            outputs=tuple(context.operand(name, out_axes) for name in outputs),
            vector_ops=prod(shape) * top_k_operations_per_element(context.shape(outputs[0])[axis]),
            reduced_dims=(dims[axis],),
        ),
    )
