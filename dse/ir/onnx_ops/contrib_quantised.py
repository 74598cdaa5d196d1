"""Operators on 8-bit integers that onnxruntime's static quantisation writes: QGemm, QLinearAdd, QLinearConcat and their like."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from onnx import TensorProto

from dse.ir.onnx_ops.attention import operator_over
from dse.ir.onnx_ops.contraction import product_over
from dse.ir.onnx_ops.quantised import RESCALE_OPERATIONS
from dse.ir.onnx_ops.registry import broadcast_axes, loop_names, register
from dse.ir.onnx_types import TensorType
from dse.ir.operator import Kind
from dse.ir.tensor import data_type
from dse.ir.vector_costs import PER_OUTPUT_ELEMENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from dse.ir.onnx_ops.registry import Node, ReadingContext
    from dse.ir.operator import Operator

    Types = Sequence[TensorType | None]
    Values = Mapping[str, NDArray[Any]]

_WIDEN: Final = PER_OUTPUT_ELEMENT["DequantizeLinear"]
_PAIRS: Final = {"QLinearAdd": "Add", "QLinearMul": "Mul"}
_SINGLE: Final = {"QLinearSigmoid": "Sigmoid", "QLinearLeakyRelu": "LeakyRelu"}


def _type(types: Types, index: int) -> TensorType:
    found = types[index] if index < len(types) else None
    if found is None:
        raise ValueError(f"input {index} is missing")
    return found


def _pair_shape(_: Node, types: Types, __: Values) -> Types:
    left, right = _type(types, 0), _type(types, 3)
    return [TensorType(left.element_type, tuple(np.broadcast_shapes(left.shape, right.shape)))]


def _vector(node: Node, context: ReadingContext, sources: Sequence[str], each: int) -> Operator:
    """Widen every source, compute, store as 8 bits: `each` operations per result besides; scales and zero points are read too."""
    out = context.tensor(node.outputs[0])
    dims = loop_names(len(out.shape))
    inputs = tuple(context.operand(name, broadcast_axes(context.shape(name), out.shape, dims)) for name in sources)
    more = [n for n in node.inputs if n and n not in sources and n not in context.immediates]
    operands = tuple(context.operand(n, (None,) * len(context.shape(n))) for n in more)
    work = out.elements * (each + _WIDEN * len(sources) + RESCALE_OPERATIONS)
    sizes = dict(zip(dims, out.shape, strict=True))
    return operator_over(node.name, node.op_type, Kind.VECTOR, sizes, (*inputs, *operands), (context.operand(out.name, dims),), work)


@register(*(f"com.microsoft::{name}" for name in _PAIRS), shapes=_pair_shape)
def read_pair(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Sum or product of two quantised tensors."""
    plain = _PAIRS[node.op_type.rpartition("::")[2]]
    return (_vector(node, context, (node.inputs[0], node.inputs[3]), PER_OUTPUT_ELEMENT[plain]),)


def _like_first(node: Node, types: Types, _: Values) -> Types:
    return [_type(types, 0)] * len(node.outputs)


@register(*(f"com.microsoft::{name}" for name in _SINGLE), shapes=_like_first)
def read_single(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """A function of a quantised tensor."""
    plain = _SINGLE[node.op_type.rpartition("::")[2]]
    return (_vector(node, context, node.inputs[:1], PER_OUTPUT_ELEMENT[plain]),)


def _joined(node: Node, types: Types, _: Values) -> Types:
    parts = [_type(types, i) for i in range(2, len(types), 3)]
    axis = node.integer("axis", 0) % len(parts[0].shape)
    total = sum(part.shape[axis] for part in parts)
    return [TensorType(parts[0].element_type, (*parts[0].shape[:axis], total, *parts[0].shape[axis + 1 :]))]


@register("com.microsoft::QLinearConcat", shapes=_joined)
def read_concat(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Parts with scales of their own, each widened and stored with the scale of the result."""
    out = context.tensor(node.outputs[0])
    dims = loop_names(len(out.shape))
    axis = node.integer("axis", 0) % len(dims)
    axes = tuple(None if i == axis else d for i, d in enumerate(dims))
    inputs = tuple(context.operand(name, axes) for name in node.inputs[2::3])
    sizes = dict(zip(dims, out.shape, strict=True))
    target = (context.operand(out.name, dims),)
    work = out.elements * (_WIDEN + RESCALE_OPERATIONS)
    return (operator_over(node.name, node.op_type, Kind.VECTOR, sizes, inputs, target, work),)


def _averaged(node: Node, types: Types, _: Values) -> Types:
    source = _type(types, 0)
    spatial = len(source.shape) - 2
    last = node.integer("channels_last", 0)
    shape = (source.shape[0], *(1,) * spatial, source.shape[-1]) if last else (*source.shape[:2], *(1,) * spatial)
    return [TensorType(source.element_type, shape)]


@register("com.microsoft::QLinearGlobalAveragePool", shapes=_averaged)
def read_average(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Sum over all positions of a channel, then rescaling."""
    source, out = context.tensor(node.inputs[0]), context.tensor(node.outputs[0])
    dims = loop_names(len(source.shape))
    kept = tuple(d if a == b else None for d, a, b in zip(dims, source.shape, out.shape, strict=True))
    sizes = dict(zip(dims, source.shape, strict=True))
    reduced = tuple(d for d, k in zip(dims, kept, strict=True) if k is None)
    work = source.elements + out.elements * RESCALE_OPERATIONS
    inputs, target = (context.operand(source.name, dims),), (context.operand(out.name, kept),)
    return (operator_over(node.name, node.op_type, Kind.VECTOR, sizes, inputs, target, work, reduced),)


def _gemm_shape(node: Node, types: Types, _: Values) -> Types:
    left, right = _type(types, 0), _type(types, 3)
    rows = left.shape[1 if node.integer("transA", 0) else 0]
    columns = right.shape[0 if node.integer("transB", 0) else 1]
    quantised = len(types) > 7 and types[7] is not None
    return [TensorType(left.element_type if quantised else TensorProto.FLOAT, (rows, columns))]


@register("com.microsoft::QGemm", shapes=_gemm_shape)
def read_gemm(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Product of 8-bit matrices with 32-bit sums and bias, then rescaling."""
    out = context.tensor(node.outputs[0])
    sums = context.invent(f"{out.name}.sums", out.name, out.shape, dtype=data_type("int32"))
    left = ("k", "m") if node.integer("transA", 0) else ("m", "k")
    right = ("n", "k") if node.integer("transB", 0) else ("k", "n")
    inner = replace(node, name=f"{node.name}.product", inputs=(node.inputs[0], node.inputs[3]), outputs=(sums,))
    dims = loop_names(2)
    more = [n for i, n in enumerate(node.inputs) if n and i not in (0, 3) and n not in context.immediates]
    operands = tuple(context.operand(n, (None,) * len(context.shape(n))) for n in more)
    sizes = dict(zip(dims, out.shape, strict=True))
    work = out.elements * (RESCALE_OPERATIONS + bool(node.given(6)))
    target = (context.operand(out.name, dims),)
    rescale = operator_over(node.name, node.op_type, Kind.VECTOR, sizes, (context.operand(sums, dims), *operands), target, work)
    return (product_over(inner, context, left, right, ("m", "n")), rescale)
