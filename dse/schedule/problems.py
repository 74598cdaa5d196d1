"""Mapping problems of operators and of their slices."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from dse.errors import GraphError
from dse.ir.graph import multiply_type
from dse.ir.operator import matmul_shape
from dse.mapping.limits import LARGEST_FACE, LARGEST_PRODUCT, LARGEST_SIZE
from dse.mapping.problem import MatmulProblem
from dse.schedule.masks import touched_share

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.hw.accelerator import Geometry
    from dse.ir.graph import OperatorGraph
    from dse.ir.operator import MatmulShape, Operand, Operator


def sliced_along(operator: Operator, parts: Mapping[str, int]) -> Operator:
    """`operator` with each loop of `parts` cut to one of so many equal parts."""
    return replace(operator, dims=tuple((d, size // parts.get(d, 1)) for d, size in operator.dims))


def contraction_problem(graph: OperatorGraph, operator: Operator, parts: Mapping[str, int], geometry: Geometry) -> MatmulProblem:
    """The matrix product of one slice of a contraction, all operands in DRAM; each loop of `parts` is cut into so many.

    Raises:
        GraphError: the array cannot compute in the wider data type of the two operands, or sizes beyond `dse.mapping.limits`.
    """
    shape = matmul_shape(sliced_along(operator, parts))
    left, right, out = (graph.tensors[x.tensor] for x in (*operator.inputs[:2], operator.outputs[0]))
    dtype = multiply_type(graph, operator)
    if geometry.array.rate(dtype.name) is None:
        known = ", ".join(name for name, _ in geometry.array.macs_per_pe_per_cycle)
        raise GraphError.single(
            f"{graph.name}: node '{operator.name}'",
            f"multiplies in {dtype.name}, which the array cannot compute; it computes {known}. "
            "Choose another precision, or add the type to core.array.macs_per_pe_per_cycle",
        )
    if _too_large(shape):
        raise GraphError.single(
            f"{graph.name}: node '{operator.name}'",
            f"{shape.groups} products of {shape.m} x {shape.k} x {shape.n} are too large; allowed: sizes up to {LARGEST_SIZE}, two "
            f"multiply to at most {LARGEST_FACE}, MACs are at most {LARGEST_PRODUCT}",
        )
    return MatmulProblem(
        groups=shape.groups,
        m=shape.m,
        k=shape.k,
        n=shape.n,
        left_bits=left.dtype.stored_bits,
        right_bits=right.dtype.stored_bits,
        out_bits=out.dtype.stored_bits,
        partial_bits=max(graph.accumulation.stored_bits, out.dtype.stored_bits),
        dtype=dtype.name,
        left_share=distinct_share(operator, operator.inputs[0]),
        right_share=distinct_share(operator, operator.inputs[1]),
        out_share=distinct_share(operator, operator.outputs[0]),
        work_share=touched_share(graph, operator, geometry),
    )


def is_too_large(operator: Operator) -> bool:
    """Whether a contraction is larger as a whole than `contraction_problem` allows; parts of it may not be."""
    return _too_large(matmul_shape(operator))


def _too_large(shape: MatmulShape) -> bool:
    sizes = sorted((shape.m, shape.k, shape.n))
    return sizes[2] > LARGEST_SIZE or sizes[1] * sizes[2] > LARGEST_FACE or shape.groups * prod(sizes) > LARGEST_PRODUCT


def distinct_share(operator: Operator, operand: Operand) -> float:
    """Distinct elements of an operand over those that its loops count: below 1 for the windows of a convolution."""
    return min(1.0, operand.elements / prod(operator.size(d) for d in operand.axes if d is not None))
