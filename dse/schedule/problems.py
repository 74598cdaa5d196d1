"""Mapping problems of operators and of their slices."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dse.errors import GraphError
from dse.ir.graph import multiply_type
from dse.ir.operator import matmul_shape
from dse.mapping.problem import MatmulProblem

if TYPE_CHECKING:
    from dse.hw.accelerator import Geometry
    from dse.ir.graph import OperatorGraph
    from dse.ir.operator import Operator


def slice_operator(operator: Operator, dim: str | None, slices: int) -> Operator:
    """`operator` with loop `dim` cut to one of `slices` equal parts; the operator itself where `dim` is None."""
    if dim is None:
        return operator
    return replace(operator, dims=tuple((d, size // slices if d == dim else size) for d, size in operator.dims))


def slice_problem(graph: OperatorGraph, operator: Operator, dim: str | None, slices: int, geometry: Geometry) -> MatmulProblem:
    """The matrix product of one slice of a contraction, all operands in DRAM.

    Raises:
        GraphError: the array cannot compute in the wider data type of the two operands.
    """
    shape = matmul_shape(slice_operator(operator, dim, slices))
    left, right, out = (graph.tensors[x.tensor] for x in (*operator.inputs[:2], operator.outputs[0]))
    dtype = multiply_type(graph, operator)
    if geometry.array.rate(dtype.name) is None:
        known = ", ".join(name for name, _ in geometry.array.macs_per_pe_per_cycle)
        raise GraphError.single(
            f"{graph.name}: node '{operator.name}'",
            f"multiplies in {dtype.name}, which the array cannot compute; it computes {known}. "
            "Choose another precision, or add the type to core.array.macs_per_pe_per_cycle",
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
    )
