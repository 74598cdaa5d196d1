"""Gated feed-forward network: down(swish(gate(x)) · up(x))."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workloads.builder import GraphBuilder
    from workloads.config import FfnConfig


def parameters(config: FfnConfig) -> int:
    """3 · d · f."""
    return 3 * config.d_model * config.width


def lower(b: GraphBuilder, x: str, config: FfnConfig, prefix: str = "ffn") -> str:
    """SwiGLU of x [B, S, D] with inner width F; gives `<prefix>_out` [B, S, D].

    Source: Shazeer 2020, arXiv 2002.05202, equation 6 (SwiGLU).
    """
    d, f = config.d_model, config.width
    gate = b.einsum("bsd,df->bsf", f"{prefix}_gate", x, b.weight(f"{prefix}_w_gate", d, f))  # [B, S, F]
    up = b.einsum("bsd,df->bsf", f"{prefix}_up", x, b.weight(f"{prefix}_w_up", d, f))  # [B, S, F]
    inner = b.node("Mul", f"{prefix}_inner", b.node("Swish", f"{prefix}_swish", gate), up)  # [B, S, F]
    return b.einsum("bsf,fd->bsd", f"{prefix}_out", inner, b.weight(f"{prefix}_w_down", f, d))  # [B, S, D]
