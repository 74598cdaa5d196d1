"""Products of quantised tensors with their rescaling: QLinearMatMul, QLinearConv, MatMulNBits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from dse.ir.onnx_ops.contraction import matrix_product
from dse.ir.onnx_ops.convolution import convolution
from dse.ir.onnx_ops.registry import loop_names, register, vector_operator
from dse.ir.onnx_types import TensorType
from dse.ir.operator import Kind, Operator
from dse.ir.tensor import data_type
from dse.ir.vector_costs import BLOCK_OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from dse.ir.onnx_ops.registry import Node, ReadingContext

RESCALE_OPERATIONS: Final = 4
"""Per result: multiply by the scales, round, add the zero point, saturate."""


@register("QLinearMatMul")
def read_qlinear_matmul(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Product of 8-bit integers with 32-bit sums, then rescaling. Corrections for zero points are folded into the rescaling."""
    parameters = [node.given(i) for i in (1, 2, 4, 5, 6, 7)]
    return _rescaled(node, context, lambda n: matrix_product(n, context, n.inputs[0], n.inputs[3]), parameters)


@register("QLinearConv")
def read_qlinear_conv(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Convolution of 8-bit integers with 32-bit sums, then bias and rescaling."""
    parameters = [node.given(i) for i in (1, 2, 4, 5, 6, 7, 8)]
    return _rescaled(node, context, lambda n: convolution(n, context, n.inputs[0], n.inputs[3]), parameters)


def _rescaled(
    node: Node, context: ReadingContext, product_of: Callable[[Node], tuple[Operator, ...]], parameters: Sequence[str]
) -> tuple[Operator, ...]:
    out = context.tensor(node.outputs[0])
    sums = context.invent(f"{out.name}.sums", out.name, out.shape, dtype=data_type("int32"))
    operators = product_of(replace(node, name=f"{node.name}.product", outputs=(sums,)))
    dims = loop_names(len(out.shape))
    operands = [context.operand(p, (None,) * len(context.shape(p))) for p in parameters if p and p not in context.immediates]
    return (*operators, _vector(node, context, sums, operands, out.elements * RESCALE_OPERATIONS, dims))


def _vector(node: Node, context: ReadingContext, source: str, operands: Sequence[Any], operations: int, dims: tuple[str, ...]) -> Operator:
    out = context.tensor(node.outputs[0])
    return vector_operator(
        node,
        dims=zip(dims, out.shape, strict=True),
        inputs=(context.operand(source, dims), *operands),
        outputs=(context.operand(out.name, dims),),
        vector_ops=operations,
    )


def _nbits_shapes(node: Node, inputs: Sequence[TensorType | None], _: Mapping[str, object]) -> tuple[TensorType]:
    source = inputs[0]
    assert source is not None
    return (TensorType(source.element_type, (*source.shape[:-1], node.integer("N", 0))),)


@register("com.microsoft::MatMulNBits", shapes=_nbits_shapes)
def read_matmul_nbits(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """Activations [.., K] times weights [N, K] of 2, 4 or 8 bits in blocks along K, then the blocks' scales.

    Weights are read packed; scales are applied to the partial sums of each block. Source: onnxruntime, ContribOperators.md.
    """
    out = context.tensor(node.outputs[0])
    k, n, bits, block = node.integer("K", 0), node.integer("N", 0), node.integer("bits", 4), node.integer("block_size", 32)
    if bits not in (2, 4, 8) or min(k, n, block) < 1 or context.shape(node.inputs[0])[-1] != k:
        raise ValueError(f"K {k}, N {n}, {bits} bits in blocks of {block}")
    weight = context.invent(f"{out.name}.weight", node.inputs[1], (k, n), dtype=data_type(f"int{bits}"), storage=node.inputs[1])
    product = context.invent(f"{out.name}.product", out.name, out.shape)
    unpacked = Operator(
        name=f"{node.name}.unpacked",
        op_type="View",
        kind=Kind.VIEW,
        dims=(("k", k), ("n", n)),
        inputs=(context.operand(node.inputs[1], (None,) * len(context.shape(node.inputs[1]))),),
        outputs=(context.operand(weight, ("k", "n")),),
    )
    contraction = matrix_product(replace(node, name=f"{node.name}.product", outputs=(product,)), context, node.inputs[0], weight)
    blocks = -(-k // block)
    operands = [context.operand(p, (None,) * len(context.shape(p))) for p in node.inputs[2:] if p and p not in context.immediates]
    operations = out.elements * (BLOCK_OPERATIONS * blocks + bool(node.given(5)))
    return (unpacked, *contraction, _vector(node, context, product, operands, operations, loop_names(len(out.shape))))
