"""Convolutions as matrix products over windows that are never stored: Conv, ConvTranspose and their integer forms."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Final

from dse.ir.onnx_ops.contraction import with_bias
from dse.ir.onnx_ops.registry import register
from dse.ir.operator import Kind, Operand, Operator

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dse.ir.onnx_ops.registry import Node, ReadingContext

MAX_COUNTED_POSITIONS: Final = 1_000_000
"""Window positions along one axis that are enumerated to find the distinct ones; beyond that all are taken to be touched."""


def touched_positions(size: int, out: int, kernel: int, stride: int, dilation: int, pad: int) -> int:
    """Positions of an input axis that some window covers, at most `size`.

    Output o and kernel tap t touch o * stride + t * dilation - pad. Source: ONNX, definition of Conv. Worked number: a
    kernel of 1 with stride 2 over 8 positions touches 4.
    """
    if (dilation == 1 or kernel == 1) and stride <= kernel:  # one stretch without gaps
        return max(1, min(size, (out - 1) * stride + kernel - pad) - max(0, -pad))
    if out * kernel > MAX_COUNTED_POSITIONS:
        return min(size, out * kernel)
    found = {o * stride + t * dilation - pad for o in range(out) for t in range(kernel)}
    return max(1, sum(0 <= position < size for position in found))


def leading_pads(node: Node, shape: Sequence[int], out: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
    """Padding before the first position of each spatial axis."""
    rank = len(kernel)
    strides, dilations = node.integers("strides") or (1,) * rank, node.integers("dilations") or (1,) * rank
    mode = node.text("auto_pad", "NOTSET")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        total = [max(0, (o - 1) * s + (k - 1) * d + 1 - i) for i, o, k, s, d in zip(shape, out, kernel, strides, dilations, strict=True)]
        return tuple(t // 2 if mode == "SAME_UPPER" else t - t // 2 for t in total)
    return (node.integers("pads") or (0,) * 2 * rank)[:rank]


def window_elements(node: Node, source: Sequence[int], out: Sequence[int], kernel: Sequence[int]) -> int:
    """Distinct elements of an input [N, C, ...] that the windows of a convolution or pooling cover."""
    rank = len(kernel)
    strides, dilations = node.integers("strides") or (1,) * rank, node.integers("dilations") or (1,) * rank
    pads = leading_pads(node, source[2:], out[2:], kernel)
    each = zip(source[2:], out[2:], kernel, strides, dilations, pads, strict=True)
    return source[0] * source[1] * prod(touched_positions(*sizes) for sizes in each)


@register("Conv", "ConvInteger")
def read_conv(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Groups of products [N O, C/g K] x [C/g K, M/g] over the windows of the input, then the bias.

    The windows are a view of the input that counts each element that they cover once; a 3 x 3 window does not read its
    input nine times from DRAM. Elements that two tiles of a mapping share are not counted again.
    """
    bias = node.given(2) if node.op_type == "Conv" else ""
    return with_bias(node, context, lambda n: convolution(n, context, n.inputs[0], n.inputs[1]), bias)


def convolution(node: Node, context: ReadingContext, source: str, weight: str) -> tuple[Operator, ...]:
    """The operators of a convolution without bias, from `source` [N, C, ...] and `weight` [M, C/g, ...] to the node's output."""
    out = node.outputs[0]
    in_shape, w_shape, out_shape = context.shape(source), context.shape(weight), context.shape(out)
    groups = node.integer("group", 1)
    kernel, spatial = w_shape[2:], out_shape[2:]
    if groups < 1 or in_shape[1] != groups * w_shape[1] or w_shape[0] % groups or len(kernel) != len(spatial) or not kernel:
        raise ValueError(f"input {list(in_shape)}, weight {list(w_shape)} and {groups} groups")
    n_o, n_k = tuple(f"o{i}" for i in range(len(spatial))), tuple(f"k{i}" for i in range(len(kernel)))
    per_group = w_shape[0] // groups
    dims = (("n", in_shape[0]), ("g", groups), *zip(n_o, spatial, strict=True), ("m", per_group), ("c", w_shape[1]))
    dims = (*dims, *zip(n_k, kernel, strict=True))
    sizes = dict(dims)
    touched = window_elements(node, in_shape, out_shape, kernel)
    views: list[Operator] = []
    window_axes = ("n", "g", *n_o, "c", *n_k)
    windows = context.invent(f"{out}.windows", source, [sizes[d] for d in window_axes], storage=source)
    channel = "c" if groups == 1 else ("g" if w_shape[1] == 1 else None)
    along = [o if k == 1 and out_size == size else None for o, k, size, out_size in zip(n_o, kernel, in_shape[2:], spatial, strict=True)]
    views.append(
        _view(
            f"{node.name}.windows",
            dims,
            context.operand(source, ("n", channel, *along), touched),
            context.operand(windows, window_axes, touched),
        )
    )
    left = replace(context.operand(windows, window_axes, touched), reach=_reach(node, in_shape, out_shape, kernel))
    right, view = _split_channels(node, context, weight, dims, groups, ("m", "c", *n_k), f"{out}.filters")
    views += view
    if groups == 1 or per_group == 1:
        product = context.operand(out, ("n", "m" if groups == 1 else "g", *n_o))
        after = []
    else:
        split_axes = ("n", "g", "m", *n_o)
        split = context.invent(f"{out}.groups", out, [sizes[d] for d in split_axes], storage=out)
        product = context.operand(split, split_axes)
        after = [_view(f"{node.name}.groups", dims, product, context.operand(out, ("n", None, *n_o)))]
    return (*views, _contraction(node, dims, left, right, product), *after)


def _reach(node: Node, source: Sequence[int], out: Sequence[int], kernel: Sequence[int]) -> tuple[tuple[str, int, int, int], ...]:
    """How windows follow each other where no gap lies between them, see `Operand.reach`; gaps inside dilated windows count as covered."""
    rank = len(kernel)
    strides, dilations = node.integers("strides") or (1,) * rank, node.integers("dilations") or (1,) * rank
    pads = leading_pads(node, source[2:], out[2:], kernel)
    found = []
    for i, (k, step, dilation) in enumerate(zip(kernel, strides, dilations, strict=True)):
        span = (k - 1) * dilation + 1
        if span >= step:
            positions = touched_positions(source[2 + i], out[2 + i], k, step, dilation, pads[i])
            found.append((f"o{i}", step, min(span, positions), positions))
    return tuple(found)


@register("ConvTranspose")
def read_conv_transpose(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Groups of products [N I, C/g] x [C/g, M/g K] whose results overlap in the output, then the bias.

    Overlapping results are added as partial sums; the output counts once.
    """
    return with_bias(node, context, lambda n: _transposed(n, context), node.given(2))


def _transposed(node: Node, context: ReadingContext) -> tuple[Operator, ...]:
    source, weight, out = node.inputs[0], node.inputs[1], node.outputs[0]
    in_shape, w_shape, out_shape = context.shape(source), context.shape(weight), context.shape(out)
    groups = node.integer("group", 1)
    if groups < 1 or in_shape[1] != w_shape[0] or in_shape[1] % groups or out_shape[1] != groups * w_shape[1]:
        raise ValueError(f"input {list(in_shape)}, weight {list(w_shape)} and {groups} groups")
    n_i, n_k = tuple(f"i{i}" for i in range(len(in_shape) - 2)), tuple(f"k{i}" for i in range(len(w_shape) - 2))
    dims = (("n", in_shape[0]), ("g", groups), *zip(n_i, in_shape[2:], strict=True), ("m", w_shape[1]), *zip(n_k, w_shape[2:], strict=True))
    dims = (*dims, ("c", in_shape[1] // groups))
    sizes = dict(dims)
    left, views = _split_channels(node, context, source, dims, groups, ("c", *n_i), f"{out}.channels", first=("n",))
    right, more = _split_channels(node, context, weight, dims, groups, ("c", "m", *n_k), f"{out}.filters")
    window_axes = ("n", *(("g",) if groups > 1 else ()), *n_i, "m", *n_k)
    windows = context.invent(f"{out}.windows", out, [sizes[d] for d in window_axes], storage=out)
    product = context.operand(windows, window_axes, context.tensor(out).elements)
    channel = "m" if groups == 1 else None
    after = _view(f"{node.name}.overlap", dims, product, context.operand(out, ("n", channel, *(None for _ in n_i))))
    return (*views, *more, _contraction(node, dims, left, right, product), after)


def _split_channels(
    node: Node,
    context: ReadingContext,
    name: str,
    dims: tuple[tuple[str, int], ...],
    groups: int,
    axes: tuple[str, ...],
    view_name: str,
    *,
    first: tuple[str, ...] = (),
) -> tuple[Operand, list[Operator]]:
    """`name` with its channel axis split into groups and the rest; the tensor itself where there is one group."""
    if groups == 1:
        return context.operand(name, (*first, *axes)), []
    sizes = dict(dims)
    split_axes = (*first, "g", *axes)
    view = context.invent(view_name, name, [sizes[d] for d in split_axes], storage=name)
    operand = context.operand(view, split_axes)
    channel = "g" if sizes[axes[0]] == 1 else None
    return operand, [
        _view(f"{node.name}.{view_name.rpartition('.')[2]}", dims, context.operand(name, (*first, channel, *axes[1:])), operand)
    ]


def _view(name: str, dims: tuple[tuple[str, int], ...], source: Operand, out: Operand) -> Operator:
    used = {d for d in (*source.axes, *out.axes) if d is not None}
    return Operator(
        name=name, op_type="View", kind=Kind.VIEW, dims=tuple((d, s) for d, s in dims if d in used), inputs=(source,), outputs=(out,)
    )


def _contraction(node: Node, dims: tuple[tuple[str, int], ...], left: Operand, right: Operand, out: Operand) -> Operator:
    used = {d for x in (left, right, out) for d in x.axes}
    kept = tuple((d, size) for d, size in dims if d in used)
    return Operator(
        name=node.name,
        op_type=node.op_type,
        kind=Kind.CONTRACTION,
        dims=kept,
        inputs=(left, right),
        outputs=(out,),
        macs=prod(size for _, size in kept),
    )
