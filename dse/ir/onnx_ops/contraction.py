"""Contractions: MatMul and Gemm, with one loop name per axis."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from dse.ir.onnx_ops.registry import broadcast_axes, loop_names, register
from dse.ir.operator import Kind, Operator
from dse.ir.vector_costs import PER_OUTPUT_ELEMENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dse.ir.onnx_ops.registry import Node, ReadingContext


def product_over(
    node: Node, context: ReadingContext, left: Sequence[str | None], right: Sequence[str | None], out: Sequence[str]
) -> Operator:
    """Two-operand contraction; MACs are the product of all loop sizes."""
    sizes: dict[str, int] = {}
    for tensor, axes in ((node.outputs[0], out), (node.inputs[0], left), (node.inputs[1], right)):
        for axis, size in zip(axes, context.shape(tensor), strict=True):
            if axis is not None and sizes.setdefault(axis, size) != size:
                raise node.error(f"index '{axis}' has size {sizes[axis]} and size {size}; expand the smaller operand first")
    inputs = (context.operand(node.inputs[0], left), context.operand(node.inputs[1], right))
    return Operator(
        name=node.name,
        op_type=node.op_type,
        kind=Kind.CONTRACTION,
        dims=tuple(sizes.items()),
        inputs=inputs,
        outputs=(context.operand(node.outputs[0], out),),
        macs=prod(sizes.values()),
    )


@register("MatMul", "MatMulInteger")
def read_matmul(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Matrix product with numpy broadcasting; a broadcast batch axis belongs to the operand that has it."""
    return matrix_product(node, context, node.inputs[0], node.inputs[1])


def matrix_product(node: Node, context: ReadingContext, left_name: str, right_name: str) -> tuple[Operator, ...]:
    """The product of two named tensors, written to the node's first output."""
    node = replace(node, inputs=(left_name, right_name))
    return (_product(node, context, ("m", "k"), ("k", "n")),)


def fused_matmul(node: Node, context: ReadingContext) -> tuple[Operator, ...]:
    """alpha op(A) op(B), either operand read transposed."""
    left = ("k", "m") if node.integer("transA", 0) else ("m", "k")
    right = ("n", "k") if node.integer("transB", 0) else ("k", "n")
    scaled = int(node.number("alpha", 1.0) != 1.0)
    return with_bias(node, context, lambda n: (_product(n, context, left, right),), "", scaled=scaled)


def _product(node: Node, context: ReadingContext, left_core: tuple[str, ...], right_core: tuple[str, ...]) -> Operator:
    left_shape, right_shape, out_shape = (context.shape(name) for name in (*node.inputs[:2], node.outputs[0]))
    left_core = left_core[2 - min(2, len(left_shape)) :]
    right_core = right_core[: min(2, len(right_shape))]
    out_core = tuple(d for d in ("m", "n") if d in left_core + right_core)
    batch_shape = out_shape[: len(out_shape) - len(out_core)]
    batch = tuple(f"g{i}" for i in range(len(batch_shape)))
    left = broadcast_axes(left_shape[: len(left_shape) - len(left_core)], batch_shape, batch)
    right = broadcast_axes(right_shape[: len(right_shape) - len(right_core)], batch_shape, batch)
    return product_over(node, context, left + left_core, right + right_core, batch + out_core)


@register("Gemm")
def read_gemm(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """alpha A B + beta C as a contraction and, with a bias, an addition; scaling by alpha and beta counts as vector work."""
    left = ("k", "m") if node.integer("transA", 0) else ("m", "k")
    right = ("n", "k") if node.integer("transB", 0) else ("k", "n")
    scaled = sum(node.number(name, 1.0) != 1.0 for name in ("alpha", "beta"))
    return with_bias(node, context, lambda n: (product_over(n, context, left, right, ("m", "n")),), node.given(2), scaled=scaled)


def with_bias(
    node: Node, context: ReadingContext, product_of: Callable[[Node], tuple[Operator, ...]], bias: str, *, scaled: int = 0
) -> tuple[Operator, ...]:
    """A product and, where there is a bias or a scale, the vector operator that adds and scales.

    `product_of` makes the operators of the product for a node whose output is the product. A bias of one axis goes along
    axis 1 of a result of more than two axes (channels), else it broadcasts.
    """
    if not bias and not scaled:
        return product_of(node)
    out = context.tensor(node.outputs[0])
    product = context.invent(f"{out.name}.product", out.name, out.shape)
    operators = product_of(replace(node, name=f"{node.name}.product", outputs=(product,)))
    dims = loop_names(len(out.shape))
    operands = [context.operand(product, dims)]
    if bias and bias not in context.immediates:
        shape = context.shape(bias)
        channels = len(shape) == 1 and len(out.shape) > 2
        operands.append(context.operand(bias, (dims[1],) if channels else broadcast_axes(shape, out.shape, dims)))
    addition = Operator(
        name=node.name,
        op_type="Add" if bias else "Mul",
        kind=Kind.VECTOR,
        dims=tuple(zip(dims, out.shape, strict=True)),
        inputs=tuple(operands),
        outputs=(context.operand(out.name, dims),),
        vector_ops=out.elements * (PER_OUTPUT_ELEMENT["Add"] * bool(bias) + PER_OUTPUT_ELEMENT["Mul"] * scaled),
    )
    return (*operators, addition)
