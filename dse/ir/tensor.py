"""Tensors of an operator graph: shape, storage precision, role."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from math import prod
from typing import Final

from dse.errors import UsageError, did_you_mean
from dse.units import BITS_PER_BYTE


class Role(StrEnum):
    """What a tensor is to the model; decides residence and appears in every breakdown."""

    WEIGHT = "weight"
    ACTIVATION = "activation"
    CACHE = "cache"
    SCORE = "score"


@dataclass(frozen=True, slots=True)
class DataType:
    """A storage format: elements of `bits`, and one scale of `scale_bits` for each block of `block_elements`.

    Scales are spread evenly over the elements: blocks that overhang the edge of a tensor are not counted, and neither
    is a scale for a whole tensor.
    """

    name: str
    bits: int
    """Bits of one element."""
    scale_bits: int = 0
    """Bits of the scale that a block shares."""
    block_elements: int = 1
    """Elements under one scale, a power of two."""
    element: str = ""
    """Format of the elements where there are scales: what the multipliers see."""

    @property
    def stored_bits(self) -> float:
        """Bits that an element takes in memory with its share of the scale; exact, as blocks are powers of two.

        Worked number: mxfp4, 4 bits and 8 bits for 32 elements: 4.25.
        """
        return self.bits + self.scale_bits / self.block_elements

    @property
    def arithmetic(self) -> str:
        """Format that multipliers compute in; rates of an array are given by this name."""
        return self.element or self.name


DATA_TYPES: Final = {
    t.name: t
    for t in (
        DataType("fp64", 64),  # IEEE 754 binary64
        DataType("fp32", 32),  # IEEE 754 binary32
        DataType("bf16", 16),  # bfloat16
        DataType("fp16", 16),  # IEEE 754 binary16
        DataType("fp8", 8),  # OCP 8-bit floating point, E4M3 or E5M2; at most one scale per tensor
        DataType("fp4", 4),  # OCP 4-bit floating point, E2M1
        DataType("int8", 8),  # two's complement; at most one scale per tensor or channel
        DataType("int4", 4),  # two's complement; at most one scale per tensor or channel
        DataType("int2", 2),  # two's complement
        DataType("int16", 16),  # two's complement
        DataType("int32", 32),  # two's complement
        DataType("int64", 64),  # two's complement, ONNX indices
        DataType("bool", 8),  # one byte per element, as ONNX Runtime stores it
        DataType("e8m0", 8),  # OCP Microscaling Formats 1.0: a power of two, for scales alone
        DataType("fp8_128x128", 8, 32, 128 * 128, "fp8"),  # DeepSeek-V3, arXiv 2412.19437, section 3.3: weights, FP32 scale per 128 x 128
        DataType("fp8_1x128", 8, 32, 128, "fp8"),  # DeepSeek-V3, arXiv 2412.19437, section 3.3: activations, FP32 scale per 1 x 128
        DataType("mxfp8", 8, 8, 32, "fp8"),  # OCP Microscaling Formats 1.0, table 1: E8M0 scale per 32
        DataType("mxfp4", 4, 8, 32, "fp4"),  # OCP Microscaling Formats 1.0, table 1: E8M0 scale per 32
        DataType("nvfp4", 4, 8, 16, "fp4"),  # NVIDIA Blackwell: E4M3 scale per 16, and one FP32 scale per tensor, not counted
        DataType("int4_g128", 4, 16, 128, "int4"),  # GPTQ and AWQ: 16-bit scale per group of 128, symmetric
        DataType("int4_g32", 4, 16, 32, "int4"),  # Kimi-K2-Thinking config.json, compressed-tensors: 16-bit scale per group of 32
    )
}

ARITHMETIC_TYPES: Final = tuple(name for name, t in DATA_TYPES.items() if not t.element)
"""Formats that an array can have a rate for."""


def data_type(name: str) -> DataType:
    """The data type called `name`.

    Raises:
        UsageError: no such type; lists the allowed ones.
    """
    if name not in DATA_TYPES:
        raise UsageError(f"data type '{name}' is not known; allowed: {', '.join(DATA_TYPES)}.{did_you_mean(name, DATA_TYPES)}")
    return DATA_TYPES[name]


def wider_element(left: DataType, right: DataType) -> DataType:
    """The format in which two operands are multiplied: that of the wider elements, the first where they are as wide.

    The narrower operand is converted first: weight-only quantisation computes in the activations' format.
    """
    return data_type(max((left, right), key=lambda t: t.bits).arithmetic)


def stored_bytes(elements: int, dtype: DataType) -> Fraction:
    """Bytes that `elements` take in `dtype`, scales included; exact."""
    return elements * Fraction(dtype.stored_bits) / BITS_PER_BYTE


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor; `storage` names the tensor whose bytes it shares (itself unless it is a view or updated in place)."""

    name: str
    shape: tuple[int, ...]
    dtype: DataType
    role: Role
    storage: str

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def size_bytes(self) -> Fraction:
        """Bytes that the elements take in their storage format, scales included."""
        return stored_bytes(self.elements, self.dtype)
