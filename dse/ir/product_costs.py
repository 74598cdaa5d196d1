"""Vector operations beside a matrix product: operands widened, partial sums of scaled blocks added up, results quantised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dse.ir.operator import Kind, matmul_shape
from dse.ir.tensor import Role, wider_element
from dse.ir.vector_costs import BLOCK_OPERATIONS, PER_OUTPUT_ELEMENT, QUANTISE_OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.ir.operator import Operand, Operator
    from dse.ir.tensor import DataType, Tensor

LARGEST_SCALE_OF_ARRAYS_BITS: Final = 8
"""Scales up to this are applied by the array: E8M0 and E4M3, PTX ISA 8.7, tcgen05.mma with .block_scale. Wider ones are not."""
LONGEST_BLOCK: Final = 128
"""Elements of a block along the sum at most: blocks of 128 x 128 have so many. Source: DeepSeek-V3, arXiv 2412.19437, section 3.5.2."""


@dataclass(frozen=True, slots=True)
class BesideProduct:
    """Vector operations that one contraction brings along."""

    widened: Operand | None
    """The operand that is converted to the format of the other."""
    widening: int
    """Work of that, each element once."""
    on_results: int
    """Work on results and their partial sums; it follows the products, wherever these are cut."""

    @property
    def total(self) -> int:
        """All of them."""
        return self.widening + self.on_results


def beside_product(operator: Operator, tensors: Mapping[str, Tensor]) -> BesideProduct:
    """What `operator`, a contraction, leaves to the vector unit.

    Weight-only quantisation: each weight is scaled to the activations' format once, on its way to the array. Operands
    multiplied in their stored elements, with scales wider than an array applies: the partial sum of every block is
    multiplied by the scales and added, 2 operations per result and block. A result stored with block scales is quantised.

    Worked number: fp8 in blocks, m = 1, k = 7168, n = 2048: 2 · 2048 · 56 + 3 · 2048 = 235,520.
    """
    assert operator.kind is Kind.CONTRACTION, operator.name
    operands = operator.inputs[:2]
    types = [tensors[x.tensor].dtype for x in operands]
    target = wider_element(*types).name
    widened = next((x for x, t in zip(operands, types, strict=True) if t.arithmetic != target), None)
    result = operator.outputs[0]
    on_results = 0
    block = _block([t for t in types if t.arithmetic == target])
    if block:
        shape = matmul_shape(operator)
        on_results += BLOCK_OPERATIONS * shape.groups * shape.m * shape.n * -(-shape.k // block)
    stored = tensors[result.tensor]
    if stored.role is Role.ACTIVATION and stored.dtype.scale_bits:
        on_results += QUANTISE_OPERATIONS * result.elements
    return BesideProduct(widened, widened.elements * PER_OUTPUT_ELEMENT["Cast"] if widened is not None else 0, on_results)


def _block(types: list[DataType]) -> int:
    """Products between two scalings of the partial sum, 0 where the array scales or nothing does."""
    scaled = [t.block_elements for t in types if t.scale_bits > LARGEST_SCALE_OF_ARRAYS_BITS]
    return min(*scaled, LONGEST_BLOCK) if scaled else 0
