"""Sizes beyond which a model file is refused: absurd ones would overflow 64-bit shapes or take memory by what a file declares."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Final

from dse.errors import InputError

if TYPE_CHECKING:
    from workloads.config import ModelConfig

LARGEST: Final = 2**22
"""Any one size (widths, heads, ranks, vocabulary, windows): 16 times the largest vocabulary in the catalogue."""
MOST_EXPERTS: Final = 2**14
"""Routed or shared experts of a layer."""
LARGEST_PROJECTION: Final = 2**24
"""Heads times head width."""


def check_limits(config: ModelConfig, path: str) -> ModelConfig:
    """Return `config` after checking its sizes.

    Raises:
        InputError: a size above the limits; names the file, the part and the size.
    """
    for part in ("attention", "local", "dense", "moe"):
        _check(getattr(config, part), part, path)
    for name in ("vocabulary", "positions"):
        _bounded(getattr(config, name), name, LARGEST, path)
    if config.moe is not None:
        _bounded(config.moe.experts, "moe.experts", MOST_EXPERTS, path)
        _bounded(config.moe.shared_experts, "moe.shared_experts", MOST_EXPERTS, path)
        shared = config.moe.shared
        _bounded(0 if shared is None else shared.width, "moe.shared_experts times their width", LARGEST_PROJECTION, path)
    for form in (config.attention, config.local):
        if form is not None:
            widths = [getattr(form, n) for n in ("head_width", "qk_nope", "qk_rope", "v_head", "kv_rank") if hasattr(form, n)]
            _bounded(form.heads * max(widths), "attention.heads times the widest head", LARGEST_PROJECTION, path)
    return config


def _check(part: object, name: str, path: str) -> None:
    if part is None or not is_dataclass(part):
        return
    for field in fields(part):
        value = getattr(part, field.name)
        if is_dataclass(value):
            _check(value, f"{name}.{field.name}", path)
        elif isinstance(value, int):
            _bounded(value, f"{name}.{field.name}", LARGEST, path)


def _bounded(value: int, name: str, limit: int, path: str) -> None:
    if value > limit:
        raise InputError.single(path, f"{name} is {value}; allowed: at most {limit}. Is it the right file?")
