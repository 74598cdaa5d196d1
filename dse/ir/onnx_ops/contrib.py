"""Operators of onnxruntime that exported transformers contain: normalisations with a residual, fused products, attention."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

from dse.ir.onnx_ops.attention import Attention, attention
from dse.ir.onnx_ops.contraction import fused_matmul
from dse.ir.onnx_ops.registry import READERS, broadcast_axes, loop_names, register, vector_operator
from dse.ir.onnx_types import TensorType
from dse.ir.operator import Operator
from dse.ir.vector_costs import PER_INPUT_ELEMENT, PER_OUTPUT_ELEMENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from dse.ir.onnx_ops.registry import Node, ReadingContext

    Types = Sequence[TensorType | None]
    Values = Mapping[str, NDArray[Any]]


def _given(types: Types, index: int) -> TensorType:
    found = types[index] if index < len(types) else None
    if found is None:
        raise ValueError(f"input {index} is missing")
    return found


def like_first(node: Node, types: Types, _: object) -> Types:
    """Every output has the type of the first input."""
    return [_given(types, 0)] * len(node.outputs)


def _normalised(node: Node, types: Types, _: object) -> Types:
    source = _given(types, 0)
    row = TensorType(source.element_type, (*source.shape[:-1], 1))
    return [source, row, row, source][: len(node.outputs)]


@register("com.microsoft::Gelu", "com.microsoft::FastGelu", "com.microsoft::QuickGelu", "com.microsoft::BiasGelu", shapes=like_first)
def read_gelu(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Activation functions, with an addition where a bias is given."""
    out = context.tensor(node.outputs[0])
    dims = loop_names(len(out.shape))
    plain = node.op_type.rpartition("::")[2].replace("Bias", "")
    bias = node.given(1)
    operands = [context.operand(bias, broadcast_axes(context.shape(bias), out.shape, dims))] if bias else []
    operations = PER_OUTPUT_ELEMENT[plain] + PER_OUTPUT_ELEMENT["Add"] * bool(bias)
    return (
        vector_operator(
            node,
            dims=zip(dims, out.shape, strict=True),
            inputs=(context.operand(node.inputs[0], dims), *operands),
            outputs=(context.operand(out.name, dims),),
            vector_ops=out.elements * operations,
        ),
    )


@register("SimplifiedLayerNormalization", "com.microsoft::SimplifiedLayerNormalization", shapes=_normalised)
def read_simplified(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """RMSNormalization under the name that onnxruntime gave it first."""
    return READERS["RMSNormalization"](replace(node, op_type="RMSNormalization"), context)


@register("com.microsoft::SkipLayerNormalization", "com.microsoft::SkipSimplifiedLayerNormalization", shapes=_normalised)
def read_skip_normalization(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Sum of input, skip and bias, normalised over the last axis; the sum may be a result too (output 3)."""
    plain = "RMSNormalization" if "Simplified" in node.op_type else "LayerNormalization"
    shape = context.shape(node.inputs[0])
    dims = loop_names(len(shape))
    inputs = [name for name in node.inputs if name and name not in context.immediates]
    bias = node.given(4 if plain == "LayerNormalization" else 3)
    return (
        vector_operator(
            node,
            dims=zip(dims, shape, strict=True),
            inputs=tuple(context.operand(name, broadcast_axes(context.shape(name), shape, dims)) for name in inputs),
            outputs=tuple(context.operand(o, broadcast_axes(context.shape(o), shape, dims)) for o in node.outputs if o),
            vector_ops=prod(shape) * (PER_INPUT_ELEMENT[plain] + PER_OUTPUT_ELEMENT["Add"] * (1 + bool(bias))),
            reduced_dims=(dims[-1],),
        ),
    )


def _fused_matmul_shape(node: Node, types: Types, _: object) -> Types:
    left, right = _given(types, 0), _given(types, 1)
    rows = left.shape[-1] if node.integer("transA", 0) else left.shape[-2]
    columns = right.shape[-2] if node.integer("transB", 0) else right.shape[-1]
    batch = left.shape[:-2] if len(left.shape) >= len(right.shape) else right.shape[:-2]
    return [TensorType(left.element_type, (*batch, rows, columns))]


@register("com.microsoft::FusedMatMul", shapes=_fused_matmul_shape)
def read_fused_matmul(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """alpha op(A) op(B) with transposed operands read in place."""
    if node.integer("transBatchA", 0) or node.integer("transBatchB", 0):
        raise node.error("transposed batch axes (transBatchA, transBatchB) have no cost; export without this fusion")
    return fused_matmul(node, context)


def _rotated(node: Node, types: Types, _: object) -> Types:
    return [_given(types, 0)]


@register("com.microsoft::RotaryEmbedding", shapes=_rotated)
def read_rotary(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """RotaryEmbedding with positions before the tables."""
    source, positions, cosine, sine = node.inputs[:4]
    return READERS["RotaryEmbedding"](replace(node, op_type="RotaryEmbedding", inputs=(source, cosine, sine, positions)), context)


def _grouped_shapes(node: Node, types: Types, values: Values) -> Types:
    query = _given(types, 0)
    heads, kv_heads = node.integer("num_heads", 0), node.integer("kv_num_heads", 0)
    packed = len(types) < 2 or types[1] is None
    width = query.shape[-1] // (heads + 2 * kv_heads if packed else heads)
    past = types[3] if len(types) > 3 else None
    new = query.shape[1]
    known = values.get(node.given(6))
    total = int(known.reshape(-1)[0]) if known is not None and known.size == 1 else new + (past.shape[2] if past is not None else 0)
    total = max(total, past.shape[2] if past is not None else 0)
    cache = TensorType(past.element_type if past is not None else query.element_type, (query.shape[0], kv_heads, total, width))
    return [TensorType(query.element_type, (*query.shape[:2], heads * width)), cache, cache][: len(node.outputs)]


@register("com.microsoft::GroupQueryAttention", shapes=_grouped_shapes)
def read_grouped(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Attention of several query heads per key head over a cache that is appended in place, with rotation where asked for.

    The cache is as long as `total_sequence_length` where that is known before running, else past and new positions; windows
    (`local_window_size`) are attended to as far as they reach. Source: onnxruntime, ContribOperators.md.
    """
    heads, kv_heads = node.integer("num_heads", 0), node.integer("kv_num_heads", 0)
    if heads < 1 or kv_heads < 1 or heads % kv_heads:
        raise ValueError(f"{heads} heads and {kv_heads} key heads")
    if not node.given(1):
        raise node.error("packed queries, keys and values have no cost yet; split them before the attention")
    window = node.integer("local_window_size", -1)
    return attention(
        node,
        context,
        Attention(
            heads=heads,
            kv_heads=kv_heads,
            query=node.inputs[0],
            key=node.inputs[1],
            value=node.inputs[2],
            past_key=node.given(3),
            past_value=node.given(4),
            present_key=node.made(1),
            present_value=node.made(2),
            tables=(node.given(7), node.given(8)) if node.integer("do_rotary", 0) else ("", ""),
            mask=node.given(10),
            softcap=node.number("softcap", 0.0) != 0.0,
            window=window if window > 0 else None,
        ),
    )


def _multi_head_shapes(node: Node, types: Types, _: object) -> Types:
    query = _given(types, 0)
    heads = node.integer("num_heads", 1)
    value = types[2] if len(types) > 2 else None
    if len(query.shape) != 3 or value is None or len(value.shape) != 3:
        raise ValueError("packed queries, keys and values have no cost yet; split them before the attention")
    past = types[6] if len(types) > 6 else None
    total = value.shape[1] + (past.shape[2] if past is not None else 0)
    width = value.shape[2] // heads
    out = TensorType(query.element_type, (*query.shape[:2], value.shape[2]))
    keys = TensorType(query.element_type, (query.shape[0], heads, total, query.shape[2] // heads))
    return [out, keys, TensorType(query.element_type, (query.shape[0], heads, total, width))][: len(node.outputs)]


@register("com.microsoft::MultiHeadAttention", shapes=_multi_head_shapes)
def read_multi_head(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Attention of [B, S, H E] queries over [B, T, H E] keys and values, with a bias for the projections and a cache."""
    heads = node.integer("num_heads", 1)
    if node.given(3):
        raise node.error("a fused projection bias has no cost yet; export without this fusion")
    return attention(
        node,
        context,
        Attention(
            heads=heads,
            kv_heads=heads,
            query=node.inputs[0],
            key=node.inputs[1],
            value=node.inputs[2],
            past_key=node.given(6),
            past_value=node.given(7),
            present_key=node.made(1),
            present_value=node.made(2),
            mask=node.given(5) or node.given(4),
        ),
    )
