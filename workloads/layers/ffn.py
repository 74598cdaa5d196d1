"""Feed-forward network: down(act(gate(x)) · up(x)) where it is gated, down(act(up(x))) where it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workloads.config import Activation

if TYPE_CHECKING:
    from workloads.builder import GraphBuilder
    from workloads.config import FfnConfig

CLAMP = 7.0
"""GPT-OSS config.json, swiglu_limit."""
CLAMPED_SLOPE = 1.702
"""GPT-OSS reference code, alpha of its swiglu."""


def parameters(config: FfnConfig) -> int:
    """3 · d · f where gated, else 2 · d · f; with biases f for each inner product and d."""
    inner = 2 if config.gated else 1
    bias = inner * config.width + config.d_model if config.bias else 0
    return (inner + 1) * config.d_model * config.width + bias


def lower(b: GraphBuilder, x: str, config: FfnConfig, prefix: str = "ffn") -> str:
    """The network of x [B, S, D] with inner width F; gives `<prefix>_out` [B, S, D].

    Source: Shazeer 2020, arXiv 2002.05202, equations 5 and 6 (GEGLU, SwiGLU).
    """
    d, f, bias = config.d_model, config.width, config.bias
    up = _product(b, "bsd,df->bsf", f"{prefix}_up", x, (f"{prefix}_w_up", (d, f)), bias)  # [B, S, F]
    if config.gated:
        gate = _product(b, "bsd,df->bsf", f"{prefix}_gate", x, (f"{prefix}_w_gate", (d, f)), bias)  # [B, S, F]
        inner = gated(b, prefix, gate, up, config.activation)  # [B, S, F]
    else:
        inner = activate(b, f"{prefix}_act", up, config.activation)  # [B, S, F]
    return _product(b, "bsf,fd->bsd", f"{prefix}_out", inner, (f"{prefix}_w_down", (f, d)), bias)  # [B, S, D]


def _product(b: GraphBuilder, equation: str, name: str, x: str, weight: tuple[str, tuple[int, int]], bias: bool) -> str:
    matrix, shape = weight
    out = b.einsum(equation, f"{name}_product" if bias else name, x, b.weight(matrix, *shape))
    return b.node("Add", name, out, b.weight(f"{name}_bias", shape[1])) if bias else out


def activate(b: GraphBuilder, name: str, x: str, activation: Activation) -> str:
    """The nonlinearity of x, elementwise."""
    match activation:
        case Activation.SILU:
            return b.node("Swish", name, x)
        case Activation.GELU:
            return b.node("Gelu", name, x)
        case Activation.GELU_TANH:
            return b.node("Gelu", name, x, approximate="tanh")
        case Activation.RELU:
            return b.node("Relu", name, x)
        case Activation.CLAMPED:
            return b.node("Swish", name, x, alpha=CLAMPED_SLOPE)


def gated(b: GraphBuilder, prefix: str, gate: str, up: str, activation: Activation, suffix: str = "") -> str:
    """act(gate) · up; GPT-OSS clips both and adds one to up."""
    if activation is Activation.CLAMPED:
        low, high = b.scalar(f"{prefix}_low{suffix}", -CLAMP), b.scalar(f"{prefix}_high{suffix}", CLAMP)
        gate = b.node("Clip", f"{prefix}_gate_clipped{suffix}", gate, "", high)
        up = b.node("Clip", f"{prefix}_up_clipped{suffix}", up, low, high)
        up = b.node("Add", f"{prefix}_up_shifted{suffix}", up, b.scalar(f"{prefix}_one{suffix}", 1.0))
    return b.node("Mul", f"{prefix}_inner{suffix}", activate(b, f"{prefix}_swish{suffix}", gate, activation), up)
