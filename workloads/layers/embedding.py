"""Embedding and output head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workloads.layers.norm import layer_norm, rms_norm

if TYPE_CHECKING:
    from workloads.builder import GraphBuilder
    from workloads.config import ModelConfig, Step


def lower_embedding(b: GraphBuilder, config: ModelConfig, step: Step) -> str:
    """One row of the table per token, and of a learned position table: ids [B, S] to `embedding_out` [B, S, D]."""
    table = b.weight("w_embedding", config.vocabulary, config.d_model)  # [vocabulary, D]
    ids = b.index("token_ids", step.batch, step.query_len)  # [B, S]
    rows = _rows(b, config, "token_rows" if config.positions else "embedding_out", table, ids)  # [B, S, D]
    if not config.positions:
        return rows
    places = b.weight("w_positions", config.positions, config.d_model)  # [positions, D]
    where = b.node("Gather", "position_rows", places, b.index("position_ids", step.batch, step.query_len), axis=0)  # [B, S, D]
    return b.node("Add", "embedding_out", rows, where)  # [B, S, D]


def _rows(b: GraphBuilder, config: ModelConfig, name: str, table: str, ids: str) -> str:
    """Rows of the table, scaled where the model does so (Gemma: by the root of the width): [B, S, D]."""
    if config.embedding_scale is None:
        return b.node("Gather", name, table, ids, axis=0)  # [B, S, D]
    rows = b.node("Gather", f"{name}_unscaled", table, ids, axis=0)  # [B, S, D]
    return b.node("Mul", name, rows, b.scalar("embedding_scale", config.embedding_scale))  # [B, S, D]


def lower_head(b: GraphBuilder, config: ModelConfig, batch: int, positions: int, *, norms: bool) -> str:
    """Logits of `positions` tokens per sequence: [B, P, D] to `logits` [B, P, vocabulary].

    With a softcap c: c · tanh(logits / c), the division done on the hidden state; source: Gemma 2, arXiv 2408.00118.
    """
    d = config.d_model
    x = b.activation("hidden", batch, positions, d)  # [B, P, D]
    if norms:
        norm = layer_norm if config.layer_norm else rms_norm
        x = norm(b, "final_norm", x, d, config.attention.rms_eps)  # [B, P, D]
    cap = config.logit_softcap
    if cap is not None:
        x = b.node("Mul", "hidden_scaled", x, b.scalar("softcap_inverse", 1 / cap))  # [B, P, D]
    head = b.weight("w_head", d, config.vocabulary)  # [D, vocabulary]
    logits = b.einsum("bpd,dw->bpw", "logits" if cap is None else "logits_plain", x, head)  # [B, P, vocabulary]
    if cap is None:
        return logits
    return b.node("Mul", "logits", b.node("Tanh", "logits_bent", logits), b.scalar("logit_softcap", cap))  # [B, P, vocabulary]


def lower_mtp_input(b: GraphBuilder, config: ModelConfig, step: Step) -> str:
    """Input of a multi-token-prediction layer: the hidden state and the next token's embedding, joined; `mtp_in` [B, S, D].

    Source: DeepSeek-V3, arXiv 2412.19437, section 2.2, equation 21.
    """
    d = config.d_model
    hidden = b.activation("hidden", step.batch, step.query_len, d)  # [B, S, D]
    table = b.weight("w_embedding", config.vocabulary, d)  # [vocabulary, D]
    rows = _rows(b, config, "next_tokens", table, b.index("token_ids", step.batch, step.query_len))  # [B, S, D]
    if step.norms:
        hidden = rms_norm(b, "hidden_norm", hidden, d, config.attention.rms_eps)  # [B, S, D]
        rows = rms_norm(b, "embedding_norm", rows, d, config.attention.rms_eps)  # [B, S, D]
    joined = b.node("Concat", "mtp_joined", rows, hidden, axis=2)  # [B, S, 2 D]
    return b.einsum("bsw,wd->bsd", "mtp_in", joined, b.weight("w_mtp", 2 * d, d))  # [B, S, D]
