"""Copies that rearrange, repeat, fill or resample: Pad, Tile, Resize, scatter and their like; costed by the bytes they touch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dse.ir.onnx_ops.move import move
from dse.ir.onnx_ops.registry import loop_names, register
from dse.ir.operator import Kind, Operator

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dse.ir.onnx_ops.registry import Node, ReadingContext
    from dse.ir.operator import Operand

_TAPS: Final = {"nearest": 1, "linear": 2, "cubic": 4, "bilinear": 2, "bicubic": 4}
"""Source elements per axis that an interpolated element depends on."""


def _whole(context: ReadingContext, name: str, *, at_most: int | None = None) -> Operand:
    """An operand whose axes no loop indexes alone."""
    tensor = context.tensor(name)
    return context.operand(name, (None,) * len(tensor.shape), tensor.elements if at_most is None else at_most)


@register("Pad", "Tile", "DepthToSpace", "SpaceToDepth", "ReverseSequence", "Trilu", "CenterCropPad", "Col2Im", "MaxUnpool")
def read_copy(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Writes every element of the result; reads those of the source that it needs, each once."""
    out = context.tensor(node.outputs[0])
    dims = loop_names(len(out.shape))
    source = context.shape(node.inputs[0])
    axes: tuple[str | None, ...] = (None,) * len(source)
    if len(source) == len(dims):
        axes = tuple(d if a == b else None for d, a, b in zip(dims, source, out.shape, strict=True))
    elements = context.tensor(node.inputs[0]).elements
    operands = [context.operand(node.inputs[0], axes, elements if node.op_type in ("Tile", "Col2Im") else min(elements, out.elements))]
    if node.op_type == "MaxUnpool":
        operands.append(_whole(context, node.inputs[1]))
    return (move(node, context, tuple(operands)),)


@register("ConstantOfShape", "Range", "EyeLike", "OneHot")
def read_fill(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Writes its result; OneHot reads indices."""
    operands = tuple(_whole(context, name) for name in node.inputs[:1] if node.op_type == "OneHot" and name not in context.immediates)
    return (move(node, context, operands),)


@register("GatherND")
def read_gather_nd(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Slices of the data by index tuples, after `batch_dims` leading axes; touches what it gathers, each at most once."""
    data, indices = node.inputs[:2]
    out = context.tensor(node.outputs[0])
    dims = loop_names(len(out.shape))
    batch = node.integer("batch_dims", 0)
    data_shape, index_shape = context.shape(data), context.shape(indices)
    depth = index_shape[-1]
    tail = len(data_shape) - batch - depth
    if batch < 0 or tail < 0:
        raise ValueError(f"data {list(data_shape)}, indices {list(index_shape)}, batch_dims {batch}")
    axes = (*dims[:batch], *(None for _ in range(depth)), *dims[len(dims) - tail :])
    operands = [context.operand(data, axes, out.elements)]
    if indices not in context.immediates:
        operands.append(context.operand(indices, (*dims[: len(index_shape) - 1], None)))
    return (move(node, context, tuple(operands)),)


@register("ScatterND", "ScatterElements")
def read_scatter(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Updates written into the data in place where nobody else needs the old ones, else into a copy of all of them."""
    data, indices, updates = node.inputs[:3]
    out = node.outputs[0]
    reads = tuple(_whole(context, name) for name in (updates, indices) if name not in context.immediates)
    touched = context.tensor(updates).elements
    adds = touched if node.text("reduction", "none") != "none" else 0
    in_place = len(context.uses[data]) == 1 and data not in context.stored and data not in context.entering
    if in_place:
        context.share(out, data)
        source, target = _whole(context, data, at_most=adds), _whole(context, out, at_most=touched)
    else:
        source, target = _whole(context, data), _whole(context, out)
    shape = context.shape(updates)
    return (
        Operator(
            name=node.name,
            op_type=node.op_type,
            kind=Kind.VECTOR if adds else Kind.MOVE,
            dims=tuple(zip(loop_names(len(shape)), shape, strict=True)),
            inputs=(source, *reads),
            outputs=(target,),
            vector_ops=adds,
        ),
    )


@register("Resize", "GridSample")
def read_resize(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Interpolation: per element one multiply and one add for each source element, as an axis-by-axis resampling has."""
    source, out = context.tensor(node.inputs[0]), context.tensor(node.outputs[0])
    dims = loop_names(len(out.shape))
    mode = node.text("mode", "nearest" if node.op_type == "Resize" else "linear")
    if mode not in _TAPS:
        raise node.error(f"mode '{mode}' is not known; allowed: {', '.join(_TAPS)}")
    changed = [i for i, (a, b) in enumerate(zip(source.shape, out.shape, strict=True)) if a != b]
    if node.op_type == "GridSample":
        changed = list(range(2, len(source.shape)))
    axes = tuple(None if i in changed else d for i, d in enumerate(dims))
    touched = min(source.elements, out.elements * _TAPS[mode] ** len(changed))
    grid = tuple(_whole(context, node.inputs[1]) for _ in range(node.op_type == "GridSample"))
    operations = 0 if _TAPS[mode] == 1 else 2 * _TAPS[mode] * max(1, len(changed)) * out.elements
    return (
        Operator(
            name=node.name,
            op_type=node.op_type,
            kind=Kind.VECTOR if operations else Kind.MOVE,
            dims=tuple(zip(dims, out.shape, strict=True)),
            inputs=(context.operand(source.name, axes, touched), *grid),
            outputs=(context.operand(out.name, dims),),
            vector_ops=operations,
        ),
    )
