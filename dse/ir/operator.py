"""Operators as loop nests: named dimensions, and which of them index each operand."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from math import ceil, prod


class Kind(StrEnum):
    """How an operator is costed."""

    CONTRACTION = "contraction"
    """Sum of products of two operands: MatMul, Gemm, Einsum; runs on the MAC array."""
    VECTOR = "vector"
    """Elementwise, reduction, softmax, normalisation, top-k: runs on the vector unit."""
    MOVE = "move"
    """Moves data without arithmetic: gather, copy, cache append; runs on the vector unit's ports."""
    VIEW = "view"
    """Renames bytes: reshape, slice of a tensor read in place; moves nothing."""


@dataclass(frozen=True, slots=True)
class Operand:
    """One tensor as an operator touches it."""

    tensor: str
    axes: tuple[str | None, ...]
    """Loop dimension that indexes each tensor axis; None where the axis is not indexed by one loop alone."""
    elements: int
    """Distinct elements touched: below the tensor's own number for gathers, in-place updates and slices."""
    reach: tuple[tuple[str, int, int, int], ...] = ()
    """(loop dimension, step, span, positions) of windows without gaps between them: an index of the dimension covers `span` of the
    `positions` of a tensor axis, `step` further on than the index before it."""

    def elements_of(self, dim: str, indices: int, size: int) -> int:
        """Distinct elements that `indices` neighbours of the `size` indices of a loop touch: windows at their edges whole."""
        if dim not in self.axes:
            return self.elements
        for windowed, step, span, positions in self.reach:
            if windowed == dim:
                return ceil(self.elements * min(positions, (indices - 1) * step + span) / positions)
        return ceil(self.elements * indices / size)


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of a graph. MACs and vector operations are totals over the whole loop nest."""

    name: str
    op_type: str
    """ONNX operator type."""
    kind: Kind
    dims: tuple[tuple[str, int], ...]
    """Loop dimensions, (name, size), output dimensions first."""
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    macs: int = 0
    """Multiply-accumulates; one MAC is two FLOPs."""
    vector_ops: int = 0
    """Elementary operations of the vector unit."""
    reduced_elements: int = 1
    """Length of the row that one result of a softmax, norm or reduction depends on; 1 for elementwise."""
    reduced_dims: tuple[str, ...] = ()
    """Loop dimensions that one result of a vector operator depends on as a whole (softmax, norm, reduction, top-k axis)."""
    visible: Fraction = Fraction(1)
    """Share of the loop nest that a causal or banded mask leaves; a tiled kernel skips the rest. Counts are of the whole nest."""

    @property
    def visible_macs(self) -> int:
        """Multiply-accumulates that the mask leaves, rounded up."""
        return ceil(self.macs * self.visible)

    def size(self, dim: str) -> int:
        """Size of loop dimension `dim`."""
        for name, size in self.dims:
            if name == dim:
                return size
        raise KeyError(dim)


@dataclass(frozen=True, slots=True)
class MatmulShape:
    """A contraction seen as `groups` independent products C[m, n] = A[m, k] B[k, n], left[groups, m, k], right[groups, k, n]."""

    groups: int
    m: int
    k: int
    n: int
    group_dims: tuple[str, ...]
    m_dims: tuple[str, ...]
    k_dims: tuple[str, ...]
    n_dims: tuple[str, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all groups."""
        return self.groups * self.m * self.k * self.n


def matmul_shape(operator: Operator) -> MatmulShape:
    """Classify the dimensions of a two-operand contraction.

    A dimension of left, right and output is a group; of left and output only, M; of right and output only, N; of left
    and right only, K. Source: derived here from the definition of the Einstein sum.
    """
    assert operator.kind is Kind.CONTRACTION, operator.name
    left, right = (frozenset(o.axes) for o in operator.inputs[:2])
    out = frozenset(operator.outputs[0].axes)
    sizes = dict(operator.dims)
    names = tuple(sizes)
    groups = tuple(d for d in names if d in left and d in right and d in out)
    m = tuple(d for d in names if d in left and d not in right)
    n = tuple(d for d in names if d in right and d not in left)
    k = tuple(d for d in names if d in left and d in right and d not in out)
    assert len(groups) + len(m) + len(n) + len(k) == len(names), operator.name
    return MatmulShape(
        groups=prod(sizes[d] for d in groups),
        m=prod(sizes[d] for d in m),
        k=prod(sizes[d] for d in k),
        n=prod(sizes[d] for d in n),
        group_dims=groups,
        m_dims=m,
        k_dims=k,
        n_dims=n,
    )
