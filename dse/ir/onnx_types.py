"""ONNX element types as storage formats, and the type of a tensor while a model is read."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Final

from onnx import TensorProto

from dse.ir.tensor import DATA_TYPES

ELEMENT_TYPES: Final[dict[int, str]] = {
    TensorProto.DOUBLE: "fp64",
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.FLOAT8E4M3FN: "fp8",
    TensorProto.FLOAT8E4M3FNUZ: "fp8",
    TensorProto.FLOAT8E5M2: "fp8",
    TensorProto.FLOAT8E5M2FNUZ: "fp8",
    TensorProto.FLOAT8E8M0: "e8m0",
    TensorProto.FLOAT4E2M1: "fp4",
    TensorProto.INT4: "int4",
    TensorProto.UINT4: "int4",
    TensorProto.INT2: "int2",
    TensorProto.UINT2: "int2",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "int8",
    TensorProto.INT16: "int16",
    TensorProto.UINT16: "int16",
    TensorProto.INT32: "int32",
    TensorProto.UINT32: "int32",
    TensorProto.INT64: "int64",
    TensorProto.UINT64: "int64",
    TensorProto.BOOL: "bool",
}
"""Storage format of each ONNX element type; strings and complex numbers have none."""

FLOATS: Final = frozenset({"fp64", "fp32", "fp16", "bf16"})
"""Formats that a named precision replaces; a narrower one in a file is a decision of its author and stays."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """ONNX element type and concrete shape of a tensor."""

    element_type: int
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)


def format_name(element_type: int) -> str | None:
    """Name of the storage format of an ONNX element type; None where there is none."""
    name = ELEMENT_TYPES.get(element_type)
    return name if name in DATA_TYPES else None


def element_type_name(element_type: int) -> str:
    """ONNX name of an element type, for messages."""
    return TensorProto.DataType.Name(element_type) if element_type in TensorProto.DataType.values() else str(element_type)


def supported_names() -> str:
    """ONNX names of all supported element types, for messages."""
    return ", ".join(sorted(element_type_name(t) for t in ELEMENT_TYPES if format_name(t) is not None))
