"""Embedding and output head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workloads.layers.norm import rms_norm

if TYPE_CHECKING:
    from workloads.builder import GraphBuilder
    from workloads.config import ModelConfig, Step


def lower_embedding(b: GraphBuilder, config: ModelConfig, step: Step) -> str:
    """One row of the table per token: ids [B, S] to `embedding_out` [B, S, D]."""
    table = b.weight("w_embedding", config.vocabulary, config.attention.d_model)  # [vocabulary, D]
    return b.node("Gather", "embedding_out", table, b.index("token_ids", step.batch, step.query_len), axis=0)  # [B, S, D]


def lower_head(b: GraphBuilder, config: ModelConfig, batch: int, positions: int, *, norms: bool) -> str:
    """Logits of `positions` tokens per sequence: [B, P, D] to `logits` [B, P, vocabulary]."""
    d = config.attention.d_model
    x = b.activation("hidden", batch, positions, d)  # [B, P, D]
    if norms:
        x = rms_norm(b, "final_norm", x, d, config.attention.rms_eps)  # [B, P, D]
    return b.einsum("bpd,dw->bpw", "logits", x, b.weight("w_head", d, config.vocabulary))  # [B, P, vocabulary]
