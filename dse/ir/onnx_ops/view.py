"""Operators that rename bytes: reshape, slice, split, transpose read in place, concatenation written in place."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dse.ir.onnx_ops.move import move
from dse.ir.onnx_ops.registry import loop_names, register
from dse.ir.operator import Kind, Operator
from dse.ir.tensor import Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dse.ir.onnx_ops.registry import Node, ReadingContext

_IN_PLACE_READERS = frozenset({"Einsum", "MatMul", "Gemm", "MatMulInteger"})


def _view(node: Node, context: ReadingContext, source_axes: Sequence[str | None], out_axes: Sequence[str | None]) -> Operator:
    """A view of the first input; every output shares its storage."""
    source = node.inputs[0]
    sizes: dict[str, int] = {}
    for axes, tensor in ((out_axes, node.outputs[0]), (source_axes, source)):
        sizes.update({d: size for d, size in zip(axes, context.shape(tensor), strict=True) if d is not None})
    outputs = [name for name in node.outputs if name]
    for name in outputs:
        context.share(name, source)
    return Operator(
        name=node.name,
        op_type=node.op_type,
        kind=Kind.VIEW,
        dims=tuple(sizes.items()),
        inputs=(context.operand(source, source_axes, sum(context.tensor(name).elements for name in outputs)),),
        outputs=tuple(context.operand(name, out_axes) for name in outputs),
    )


def _matched_axes(source: Sequence[int], out: Sequence[int]) -> tuple[list[str | None], list[str | None]]:
    """Loop names of axes that a reshape keeps; None for merged, split and inserted ones.

    Walks both shapes from the left; axes are kept where they start at the same stride and have the same size.
    """
    source_axes: list[str | None] = [None] * len(source)
    out_axes: list[str | None] = [None] * len(out)
    i = j = 0
    before_source = before_out = 1  # elements of the axes passed so far
    while i < len(source) and j < len(out):
        if before_source == before_out and source[i] == out[j]:
            source_axes[i] = out_axes[j] = f"d{j}"
            before_source, before_out, i, j = before_source * source[i], before_out * out[j], i + 1, j + 1
        elif before_source * source[i] <= before_out * out[j]:
            before_source, i = before_source * source[i], i + 1
        else:
            before_out, j = before_out * out[j], j + 1
    return source_axes, out_axes


@register("Identity", "Dropout", "BitCast")
def read_identity(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Another name for the same tensor; Dropout does nothing in inference.

    Raises:
        GraphError: a Dropout that makes a mask, as only training does.
    """
    if node.made(1):
        raise node.error("makes a mask, which only training needs; export the model for inference")
    dims = loop_names(len(context.shape(node.inputs[0])))
    return (_view(node, context, dims, dims),)


@register("Reshape", "Squeeze", "Unsqueeze", "Flatten")
def read_reshape(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """The same elements in the same order under another shape."""
    source_axes, out_axes = _matched_axes(context.shape(node.inputs[0]), context.shape(node.outputs[0]))
    return (_view(node, context, source_axes, out_axes),)


@register("Slice")
def read_slice(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Part of a tensor read in place; a step other than 1 makes it a move."""
    source, out = context.shape(node.inputs[0]), context.shape(node.outputs[0])
    dims = loop_names(len(out))
    axes = tuple(d if a == b else None for d, a, b in zip(dims, source, out, strict=True))
    steps = context.integers(node, 4)
    if steps is not None and any(step != 1 for step in steps):
        return (move(node, context, (context.operand(node.inputs[0], axes, context.tensor(node.outputs[0]).elements),)),)
    return (_view(node, context, axes, axes),)


@register("Split")
def read_split(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Several parts of one tensor, each read in place."""
    shape = context.shape(node.inputs[0])
    axis = node.integer("axis", 0) % len(shape)
    axes = tuple(None if i == axis else d for i, d in enumerate(loop_names(len(shape))))
    return (_view(node, context, axes, axes),)


@register("Transpose")
def read_transpose(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """A view where only contractions read it (they take any order of axes), else a move of every element."""
    rank = len(context.shape(node.inputs[0]))
    permutation = node.integers("perm") or tuple(reversed(range(rank)))
    dims = loop_names(rank)
    source_axes: list[str | None] = [None] * rank
    for out_axis, source_axis in enumerate(permutation):
        source_axes[source_axis] = dims[out_axis]
    uses = context.uses[node.outputs[0]]
    if uses and all(use in _IN_PLACE_READERS for use in uses):
        return (_view(node, context, source_axes, dims),)
    return (move(node, context, (context.operand(node.inputs[0], source_axes),)),)


def _written_in_place(name: str, context: ReadingContext) -> str | None:
    """The tensor whose producer can write straight into a concatenation that reads `name`, or None.

    Goes back through views of the whole tensor as long as nobody else reads it.
    """
    while len(context.uses[name]) == 1 and name in context.producers:
        producer = context.producers[name]
        if producer.kind is not Kind.VIEW:
            return None if name in context.aliases else name
        source = producer.inputs[0].tensor
        if len(producer.outputs) != 1 or context.tensor(source).elements != context.tensor(name).elements or len(producer.inputs) != 1:
            return None
        name = source
    return None


def _is_append(parts: Sequence[str], context: ReadingContext, out: str) -> bool:
    """Whether a concatenation appends to a cache: an input of the graph that nothing else reads, followed by new positions, leaves it."""
    past = parts[0]
    alone = len(parts) == 2 and past in context.entering and len(context.uses[past]) == 1
    return alone and out in context.leaving and context.tensor(past).role in (Role.ACTIVATION, Role.CACHE)


def _append(node: Node, context: ReadingContext, parts: Sequence[str], axes: tuple[str | None, ...]) -> Operator:
    """New positions written behind the past ones; the past cache is taken to have room for them, so nothing of it moves."""
    past, new = parts
    out = node.outputs[0]
    return append_to_cache(node.name, node.op_type, context, past, new, out, axes)


def append_to_cache(
    name: str, op_type: str, context: ReadingContext, past: str, new: str, present: str, axes: tuple[str | None, ...]
) -> Operator:
    """`new` written into the storage of `past`, which then is `present`; `axes` has None where positions are."""
    tensor = context.tensor(past)
    context.extra[past] = replace(tensor, shape=context.shape(present), role=Role.CACHE)
    context.extra[present] = replace(context.tensor(present), dtype=tensor.dtype, role=Role.CACHE)
    context.share(present, past)
    shape = context.shape(new)
    dims = tuple((d or "t", size) for d, size in zip(axes, shape, strict=True))
    new_axes = tuple(d for d, _ in dims)
    return Operator(
        name=name,
        op_type=op_type,
        kind=Kind.MOVE,
        dims=dims,
        inputs=(context.operand(past, axes, 0), context.operand(new, new_axes)),
        outputs=(context.operand(present, axes, context.tensor(new).elements),),
    )


@register("Concat")
def read_concat(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """A view where every part is computed for this concatenation alone, as producers then write in place; else a move.

    As a view, the parts share the storage of the result.
    """
    shape = context.shape(node.outputs[0])
    axis = node.integer("axis", 0) % len(shape)
    dims = loop_names(len(shape))
    axes = tuple(None if i == axis else d for i, d in enumerate(dims))
    out = node.outputs[0]
    parts = [name for name in node.inputs if name]
    if _is_append(parts, context, out):
        return (_append(node, context, parts, axes),)
    inputs = tuple(context.operand(name, axes) for name in parts)
    sources = [_written_in_place(name, context) for name in parts]
    formats = {context.tensor(name).dtype for name in (*parts, out)}
    if len(formats) > 1 or any(source is None for source in sources):
        return (move(node, context, inputs),)
    for source in sources:
        assert source is not None
        context.share(source, out)
    return (
        Operator(
            name=node.name,
            op_type=node.op_type,
            kind=Kind.VIEW,
            dims=tuple(zip(dims, shape, strict=True)),
            inputs=inputs,
            outputs=(context.operand(out, dims),),
        ),
    )
