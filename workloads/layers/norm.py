"""Normalisations: root mean square, and with mean and bias."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workloads.builder import GraphBuilder


def rms_norm(b: GraphBuilder, name: str, x: str, width: int, eps: float) -> str:
    """x / sqrt(mean(x²) + eps) · gain over the last axis of `width`; the gain `<name>_gain` is a weight of [width].

    Source: Zhang and Sennrich 2019, arXiv 1910.07467, equation 4.
    """
    gain = b.weight(f"{name}_gain", width)  # [D]
    return b.node("RMSNormalization", name, x, gain, axis=-1, epsilon=eps)  # as x


def layer_norm(b: GraphBuilder, name: str, x: str, width: int, eps: float) -> str:
    """(x - mean) / sqrt(variance + eps) · gain + bias over the last axis of `width`.

    Source: Ba, Kiros and Hinton 2016, arXiv 1607.06450, equation 3.
    """
    gain, bias = b.weight(f"{name}_gain", width), b.weight(f"{name}_bias", width)  # [D] both
    return b.node("LayerNormalization", name, x, gain, bias, axis=-1, epsilon=eps)  # as x
