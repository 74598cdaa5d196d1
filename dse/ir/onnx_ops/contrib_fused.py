"""Fusions of onnxruntime's optimiser: convolution with activation, embedding with norm, attention with projections, quantised products."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from onnx import TensorProto

from dse.ir.onnx_ops.attention import Attention, attention, operator_over
from dse.ir.onnx_ops.contraction import matrix_product, with_bias
from dse.ir.onnx_ops.convolution import convolution
from dse.ir.onnx_ops.quantised import RESCALE_OPERATIONS
from dse.ir.onnx_ops.registry import READERS, loop_names, register
from dse.ir.onnx_types import TensorType
from dse.ir.operator import Kind, Operator
from dse.ir.tensor import data_type
from dse.ir.vector_costs import PER_INPUT_ELEMENT, PER_OUTPUT_ELEMENT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from dse.ir.onnx_ops.registry import Node, ReadingContext

    Types = Sequence[TensorType | None]
    Values = Mapping[str, NDArray[Any]]

_SAME: Final = ("SAME_UPPER", "SAME_LOWER")


def _conv_shape(node: Node, types: Types, _: Values) -> Types:
    """Shape of a convolution's result. Source: ONNX, Conv."""
    source, weight = types[0], types[1]
    assert source is not None
    assert weight is not None
    rank = len(source.shape) - 2
    kernel = node.integers("kernel_shape") or weight.shape[2:]
    strides, dilations = node.integers("strides") or (1,) * rank, node.integers("dilations") or (1,) * rank
    pads = node.integers("pads") or (0,) * 2 * rank
    if node.text("auto_pad", "NOTSET") in _SAME:
        spatial = [-(-size // stride) for size, stride in zip(source.shape[2:], strides, strict=True)]
    else:
        each = zip(source.shape[2:], kernel, strides, dilations, pads[:rank], pads[rank:], strict=True)
        spatial = [(size + a + b - (k - 1) * d - 1) // s + 1 for size, k, s, d, a, b in each]
    return [TensorType(source.element_type, (source.shape[0], weight.shape[0], *spatial))]


@register("com.microsoft::FusedConv", shapes=_conv_shape)
def read_fused_conv(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Convolution, bias, a tensor added where there is one (input 3), and an activation function."""
    activation = node.text("activation", "")
    if activation and activation not in PER_OUTPUT_ELEMENT:
        raise node.error(f"activation '{activation}' has no cost; allowed: {', '.join(sorted(PER_OUTPUT_ELEMENT))}")
    out = context.tensor(node.outputs[0])
    operations = (PER_OUTPUT_ELEMENT[activation] if activation else 0) + PER_OUTPUT_ELEMENT["Add"] * bool(node.given(3))
    plain = context.invent(f"{out.name}.convolved", out.name, out.shape) if operations else out.name
    inner = replace(node, name=f"{node.name}.convolution" if operations else node.name, outputs=(plain,))
    products = with_bias(inner, context, lambda n: convolution(n, context, n.inputs[0], n.inputs[1]), node.given(2))
    if not operations:
        return products
    dims = loop_names(len(out.shape))
    sizes = dict(zip(dims, out.shape, strict=True))
    inputs = tuple(context.operand(name, dims) for name in (plain, node.given(3)) if name)
    last = operator_over(node.name, node.op_type, Kind.VECTOR, sizes, inputs, (context.operand(out.name, dims),), out.elements * operations)
    return (*products, last)


def _embedded(node: Node, types: Types, _: Values) -> Types:
    ids, words = types[0], types[2]
    assert ids is not None
    assert words is not None
    row = TensorType(words.element_type, (*ids.shape, words.shape[1]))
    return [row, TensorType(TensorProto.INT32, ids.shape[:1]), row][: len(node.outputs)]


@register("com.microsoft::EmbedLayerNormalization", shapes=_embedded)
def read_embed(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Rows of the tables of words, positions and segments, their sum, its norm; a count of the mask per sequence is left out."""
    out = context.tensor(node.outputs[0])
    batch, length, width = out.shape
    sizes = {"b": batch, "s": length, "d": width}
    rows, operators = [], []
    for part, table, ids in (("words", 2, node.given(0)), ("positions", 3, node.given(8)), ("segments", 4, node.given(1))):
        name = node.given(table)
        if not name:
            continue
        row = context.invent(f"{out.name}.{part}", out.name, out.shape)
        sources = [context.operand(name, (None, "d"), out.elements)]
        sources += [context.operand(ids, (None,) * len(context.shape(ids)))] if ids and ids not in context.immediates else []
        gathered = (context.operand(row, ("b", "s", "d")),)
        operators.append(operator_over(f"{node.name}.{part}", "Gather", Kind.MOVE, sizes, tuple(sources), gathered))
        rows.append(context.operand(row, ("b", "s", "d")))
    gains = [context.operand(name, ("d",)) for name in (node.given(5), node.given(6)) if name]
    made = tuple(context.operand(name, ("b",) if i == 1 else ("b", "s", "d")) for i, name in enumerate(node.outputs) if name)
    work = out.elements * (PER_INPUT_ELEMENT["LayerNormalization"] + len(rows) - 1)
    operators.append(operator_over(node.name, node.op_type, Kind.VECTOR, sizes, (*rows, *gains), made, work, ("d",)))
    return operators


def _attended(node: Node, types: Types, _: Values) -> Types:
    source, weight = types[0], types[1]
    assert source is not None
    assert weight is not None
    sizes = node.integers("qkv_hidden_sizes") or (weight.shape[1] // 3,) * 3
    if len(node.outputs) > 1:
        raise ValueError("keys and values cached in one tensor have no cost yet; export without past, or as GroupQueryAttention")
    return [TensorType(source.element_type, (*source.shape[:2], sizes[2]))]


@register("com.microsoft::Attention", shapes=_attended)
def read_attention(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """One product for queries, keys and values of [B, S, D], its bias, and attention of `num_heads` heads."""
    heads = node.integer("num_heads", 1)
    (batch, length, _), width = context.shape(node.inputs[0]), context.shape(node.inputs[1])[1]
    sizes = node.integers("qkv_hidden_sizes") or (width // 3,) * 3
    if heads < 1 or sum(sizes) != width or any(size % heads for size in sizes):
        raise ValueError(f"projections of {list(sizes)} for {heads} heads and {width} columns")
    made = context.invent(f"{node.outputs[0]}.projected", node.inputs[0], (batch, length, width))
    inner = replace(node, name=f"{node.name}.projection", outputs=(made,))
    operators = list(with_bias(inner, context, lambda n: matrix_product(n, context, n.inputs[0], n.inputs[1]), node.given(2)))
    parts = []
    whole = {"b": batch, "s": length}
    for part, size in zip(("query", "key", "value"), sizes, strict=True):
        parts.append(context.invent(f"{node.outputs[0]}.{part}.projected", made, (batch, length, size), storage=made))
        source = context.operand(made, ("b", "s", None), batch * length * size)
        target = context.operand(parts[-1], ("b", "s", None))
        operators.append(operator_over(f"{node.name}.{part}.split", "Split", Kind.VIEW, whole, (source,), (target,)))
    asked = Attention(heads=heads, kv_heads=heads, query=parts[0], key=parts[1], value=parts[2], mask=node.given(5) or node.given(3))
    return (*operators, *attention(node, context, asked))


def _product_of_floats(node: Node, types: Types, _: Values) -> Types:
    left, right = types[0], types[1]
    assert left is not None
    assert right is not None
    kind = left.element_type if node.op_type.endswith("DynamicQuantizeMatMul") else TensorProto.FLOAT
    return [TensorType(kind, (*left.shape[:-1], right.shape[-1]))]


@register("com.microsoft::DynamicQuantizeMatMul", "com.microsoft::MatMulIntegerToFloat", shapes=_product_of_floats)
def read_quantised_product(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Product of 8-bit integers with 32-bit sums, rescaled to floats with a bias; the left operand may be quantised first."""
    out = context.tensor(node.outputs[0])
    left = node.inputs[0]
    operators: list[Operator] = []
    dynamic = node.op_type.endswith("DynamicQuantizeMatMul")
    if dynamic:
        shape = context.shape(left)
        quantised = context.invent(f"{out.name}.quantised", left, shape, dtype=data_type("int8"))
        inner = replace(node, name=f"{node.name}.quantised", op_type="DynamicQuantizeLinear", inputs=(left,), outputs=(quantised,))
        operators += READERS["DynamicQuantizeLinear"](inner, context)
        left = quantised
    sums = context.invent(f"{out.name}.sums", out.name, out.shape, dtype=data_type("int32"))
    operators += matrix_product(replace(node, name=f"{node.name}.product", outputs=(sums,)), context, left, node.inputs[1])
    dims = loop_names(len(out.shape))
    bias = node.given(4 if dynamic else 6)
    more = [n for n in node.inputs[2:] if n and n not in context.immediates]
    operands = tuple(context.operand(n, (None,) * len(context.shape(n))) for n in more)
    sizes = dict(zip(dims, out.shape, strict=True))
    work = out.elements * (RESCALE_OPERATIONS + PER_OUTPUT_ELEMENT["Add"] * bool(bias))
    target = (context.operand(out.name, dims),)
    operators.append(operator_over(node.name, node.op_type, Kind.VECTOR, sizes, (context.operand(sums, dims), *operands), target, work))
    return operators
