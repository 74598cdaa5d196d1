"""Named precisions: which storage format each role of tensor takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dse.errors import UsageError, did_you_mean
from dse.ir.lowering import Precision
from dse.ir.tensor import Role, data_type

if TYPE_CHECKING:
    from dse.ir.tensor import DataType

# name: (weight, activation, cache, accumulation)
_FORMATS: Final = {
    "fp32": ("fp32", "fp32", "fp32", "fp32"),  # the reference; every format 32 bits
    "bf16": ("bf16", "bf16", "bf16", "fp32"),  # DeepSeek-V3 config.json, torch_dtype; tensor cores accumulate in FP32
    "fp16": ("fp16", "fp16", "fp16", "fp32"),  # as bf16, IEEE half
    "fp8": ("fp8", "fp8", "fp8", "fp32"),  # every operand one byte; block scales are not counted (b = 1 of the closed forms)
    "int8": ("int8", "int8", "int8", "int32"),  # the TPU form: 8-bit operands, 32-bit sums
    "w8a16": ("int8", "bf16", "bf16", "fp32"),  # weight-only quantisation
    "w8a16_fp8": ("fp8", "bf16", "bf16", "fp32"),  # DeepSeek-V3 weights as published (README_WEIGHTS: fp8 e4m3), BF16 arithmetic
}

PRECISIONS: Final = {
    name: Precision(
        name=name,
        weight=data_type(weight),
        activation=data_type(activation),
        cache=data_type(cache),
        accumulation=data_type(accumulation),
    )
    for name, (weight, activation, cache, accumulation) in _FORMATS.items()
}


def precision(name: str) -> Precision:
    """The precision called `name`; scales of block formats are not counted as bytes.

    Raises:
        UsageError: no such precision; lists the allowed ones.
    """
    if name not in PRECISIONS:
        raise UsageError(f"precision '{name}' is not known; allowed: {', '.join(PRECISIONS)}.{did_you_mean(name, PRECISIONS)}")
    return PRECISIONS[name]


def storage_type(formats: Precision, role: Role) -> DataType:
    """The format that a tensor of `role` is stored in; scores are activations."""
    match role:
        case Role.WEIGHT:
            return formats.weight
        case Role.CACHE:
            return formats.cache
        case Role.ACTIVATION | Role.SCORE:
            return formats.activation
