"""Precisions: which storage format each role of tensor takes, by name or role by role."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from dse.errors import UsageError, did_you_mean
from dse.ir.lowering import Precision
from dse.ir.tensor import ARITHMETIC_TYPES, Role, data_type

if TYPE_CHECKING:
    from dse.ir.tensor import DataType

# name: (weight, activation, cache, accumulation)
_FORMATS: Final = {
    "fp32": ("fp32", "fp32", "fp32", "fp32"),  # the reference; every format 32 bits
    "bf16": ("bf16", "bf16", "bf16", "fp32"),  # DeepSeek-V3 config.json, torch_dtype; tensor cores accumulate in FP32
    "fp16": ("fp16", "fp16", "fp16", "fp32"),  # as bf16, IEEE half
    "fp8": ("fp8", "fp8", "fp8", "fp32"),  # every operand one byte, one scale per tensor (b = 1 of the closed forms)
    "int8": ("int8", "int8", "int8", "int32"),  # the TPU form: 8-bit operands, 32-bit sums
    "int16": ("int16", "int16", "int16", "int32"),  # 16-bit integers, as the Eyeriss-like cores that Stream ships; 32-bit sums
    "w8a16": ("int8", "bf16", "bf16", "fp32"),  # weight-only quantisation
    "w8a16_fp8": ("fp8", "bf16", "bf16", "fp32"),  # DeepSeek-V3 weights as published (README_WEIGHTS: fp8 e4m3), BF16 arithmetic
    "fp8_block": ("fp8_128x128", "fp8_1x128", "bf16", "fp32"),  # DeepSeek-V3, arXiv 2412.19437, section 3.3; cache as its inference code
    "w4a16": ("int4_g128", "bf16", "bf16", "fp32"),  # GPTQ and AWQ: weight-only, groups of 128
    "w4a16_g32": ("int4_g32", "bf16", "bf16", "fp32"),  # Kimi-K2-Thinking config.json: weight-only, groups of 32
    "mxfp8": ("mxfp8", "mxfp8", "fp8", "fp32"),  # OCP Microscaling Formats 1.0 for both operands
    "mxfp4": ("mxfp4", "bf16", "bf16", "fp32"),  # weight-only, as GPT-OSS' experts
    "nvfp4": ("nvfp4", "nvfp4", "fp8", "fp32"),  # NVIDIA Blackwell: both operands 4-bit, FP8 cache
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

_FIELDS: Final = {
    "weights": "weight",
    "experts": "expert_weight",
    "activations": "activation",
    "cache": "cache",
    "accumulation": "accumulation",
}
"""Key in a list of formats: field of a precision."""


def precision(text: str) -> Precision:
    """The precision that `text` says: a name, or a list such as `weights=nvfp4,activations=bf16,cache=fp8`.

    Keys: weights, experts (the routed experts' weights, where they differ), activations, cache, accumulation. What a list
    leaves out is as in bf16; a name may come first (`fp8,cache=bf16`).

    Raises:
        UsageError: no such precision, key or format, a key twice, or sums in a format with scales; says what is allowed.
    """
    if text in PRECISIONS:
        return PRECISIONS[text]
    first, *rest = text.split(",")
    base = PRECISIONS["bf16"]
    if "=" in first:
        rest = [first, *rest]
    elif first in PRECISIONS:
        base = PRECISIONS[first]
    else:
        raise UsageError(
            f"precision '{text}' is not known; allowed: {', '.join(PRECISIONS)}, or formats by role "
            f"(weights=...,activations=...,cache=...,accumulation=...).{did_you_mean(first, PRECISIONS)}"
        )
    found: dict[str, DataType] = {}
    for item in rest:
        key, _, value = item.partition("=")
        if key not in _FIELDS or not value:
            raise UsageError(f"precision '{text}': '{item}' is not KEY=FORMAT; keys: {', '.join(_FIELDS)}.{did_you_mean(key, _FIELDS)}")
        if _FIELDS[key] in found:
            raise UsageError(f"precision '{text}': '{key}' is given twice")
        try:
            found[_FIELDS[key]] = data_type(value)
        except UsageError as e:
            raise UsageError(f"precision '{text}': {e}") from e
    if "accumulation" in found and found["accumulation"].name not in ARITHMETIC_TYPES:
        raise UsageError(f"precision '{text}': sums cannot have block scales; accumulation may be: {', '.join(ARITHMETIC_TYPES)}")
    formats = Precision(
        name="",
        weight=found.get("weight", base.weight),
        activation=found.get("activation", base.activation),
        cache=found.get("cache", base.cache),
        accumulation=found.get("accumulation", base.accumulation),
        expert_weight=found.get("expert_weight", base.expert_weight),
    )
    return replace(formats, name=_name(formats))


def _name(formats: Precision) -> str:
    """A name for a precision by role, the same for the same formats."""
    parts = [formats.weight.name, formats.activation.name, formats.cache.name, formats.accumulation.name]
    if formats.expert_weight is not None:
        parts.insert(1, formats.expert_weight.name)
    return "-".join(parts)


def storage_type(formats: Precision, role: Role, *, expert: bool = False) -> DataType:
    """The format that a tensor of `role` is stored in; scores are activations; `expert` says a routed expert's weight."""
    match role:
        case Role.WEIGHT:
            return formats.expert_weight if expert and formats.expert_weight is not None else formats.weight
        case Role.CACHE:
            return formats.cache
        case Role.ACTIVATION | Role.SCORE:
            return formats.activation
