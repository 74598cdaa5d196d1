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
    """A storage format."""

    name: str
    bits: int


DATA_TYPES: Final = {
    t.name: t
    for t in (
        DataType("fp64", 64),  # IEEE 754 binary64
        DataType("fp32", 32),  # IEEE 754 binary32
        DataType("bf16", 16),  # bfloat16
        DataType("fp16", 16),  # IEEE 754 binary16
        DataType("fp8", 8),  # OCP 8-bit floating point, E4M3 or E5M2
        DataType("int8", 8),  # two's complement
        DataType("int32", 32),  # two's complement
        DataType("int64", 64),  # two's complement, ONNX indices
        DataType("bool", 8),  # one byte per element, as ONNX Runtime stores it
    )
}


def data_type(name: str) -> DataType:
    """The data type called `name`.

    Raises:
        UsageError: no such type; lists the allowed ones.
    """
    if name not in DATA_TYPES:
        raise UsageError(f"data type '{name}' is not known; allowed: {', '.join(DATA_TYPES)}.{did_you_mean(name, DATA_TYPES)}")
    return DATA_TYPES[name]


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
        """Bytes that the elements take in their storage format."""
        return Fraction(self.elements * self.dtype.bits, BITS_PER_BYTE)
