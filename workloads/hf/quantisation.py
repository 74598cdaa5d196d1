"""What a configuration's `quantization_config` says about precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dse.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.files import Document

_METHODS: Final = ("fp8", "mxfp4", "compressed-tensors", "gptq", "awq")


def quantised_precision(document: Document) -> str:
    """Precision text for `dse.ir.precision.precision`; bf16 where the weights are not quantised.

    Known: DeepSeek's and Qwen's block FP8, GPT-OSS' MXFP4 experts, and 4-bit or 8-bit integer weights with groups
    (compressed-tensors, GPTQ, AWQ). With compressed-tensors and MXFP4 the routed experts alone are quantised, where the
    attention is listed as left out.

    Raises:
        InputError: another method, width, group or block size.
    """
    given = document.data.get("quantization_config")
    if given is None:
        return "bf16"
    where = ("quantization_config",)
    if not isinstance(given, dict):
        raise InputError.single(document.where(where), f"'quantization_config' is {given!r}; an object is needed")
    method = given.get("quant_method")
    if method == "fp8":
        block = given.get("weight_block_size")
        if block is None:
            return "fp8,cache=bf16"
        if block == [128, 128]:
            return "fp8_block"
        raise _refused(document, "weight_block_size", block, "[128, 128] or none")
    if method == "mxfp4":
        return "experts=mxfp4" if given.get("modules_to_not_convert") else "mxfp4"
    if method in ("gptq", "awq"):
        return _integer(document, given, "bits", "weights")
    if method == "compressed-tensors":
        return _compressed(document, given)
    raise _refused(document, "quant_method", method, ", ".join(_METHODS))


def _compressed(document: Document, given: Mapping[str, object]) -> str:
    groups = given.get("config_groups")
    first = next(iter(groups.values()), None) if isinstance(groups, dict) else None
    weights = first.get("weights") if isinstance(first, dict) else None
    if not isinstance(weights, dict) or not isinstance(first, dict):
        raise _refused(document, "config_groups", groups, "one group with weights")
    ignored = given.get("ignore")
    only_experts = isinstance(ignored, list) and any("attn" in str(name) for name in ignored)
    if weights.get("type") == "float" and weights.get("num_bits") == 8:
        return "w8a16_fp8" if first.get("input_activations") is None else "fp8,cache=bf16"
    return _integer(document, weights, "num_bits", "experts" if only_experts else "weights")


def _integer(document: Document, given: Mapping[str, object], key: str, role: str) -> str:
    bits, group = given.get(key), given.get("group_size")
    if bits == 8:
        return f"{role}=int8"
    if bits == 4 and group in (32, 128):
        return f"{role}=int4_g{group}"
    if bits == 4 and group in (None, -1):
        return f"{role}=int4"
    raise _refused(document, key, f"{bits} with group_size {group}", "8, or 4 with group_size 32 or 128")


def _refused(document: Document, key: str, given: object, allowed: str) -> InputError:
    return InputError.single(
        document.where(("quantization_config", key)),
        f"'quantization_config.{key}' is {given!r}; allowed: {allowed}. Remove it and give --precision",
    )
