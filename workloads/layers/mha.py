"""Plain multi-head attention: the baselines MHA_l and MHA_s of the MLA paper (arXiv 2506.02523, table 1)."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

from dse.ir.tensor import Role
from workloads.layers.attention_core import append, attention_inputs, probabilities
from workloads.layers.rope import rotary_tables, rotate_heads

if TYPE_CHECKING:
    from workloads.builder import GraphBuilder
    from workloads.config import MhaConfig, Step


def parameters(config: MhaConfig) -> int:
    """4 · d · h · n; MHA_l 469,762,048, MHA_s 172,006,912 (arXiv 2506.02523, table 1)."""
    return 4 * config.d_model * config.heads * config.head_width


def lower(b: GraphBuilder, x: str, config: MhaConfig, step: Step) -> str:
    """Attention of x [B, S, D] over caches of keys and values, each [B, H, T, N]; gives `attention_out` [B, S, D].

    With rope the even part of every query and key vector is rotated (no parameters; the paper has none). MACs count the
    full S x T rectangle of scores.
    """
    c = config
    attention_inputs(b, step)
    projection = (c.d_model, c.heads, c.head_width)
    cache_shape = (step.batch, c.heads, step.cache_len, c.head_width)
    query = b.einsum("bsd,dhn->bhsn", "query_up", x, b.weight("w_q", *projection))  # [B, H, S, N]
    key = b.einsum("bsd,dhn->bhsn", "key_up", x, b.weight("w_k", *projection))  # [B, H, S, N]
    value = b.einsum("bsd,dhn->bhsn", "value_up", x, b.weight("w_v", *projection))  # [B, H, S, N]
    if step.rope:
        rotated = c.head_width // 2 * 2
        tables = rotary_tables(b, step, rotated)
        query = rotate_heads(b, "query_rope", query, tables, rotated)  # [B, H, S, N]
        key = rotate_heads(b, "key_rope", key, tables, rotated)  # [B, H, S, N]
    query = b.node("Mul", "query_scaled", query, b.scalar("softmax_scale", 1 / sqrt(c.head_width)))  # [B, H, S, N]
    keys = append(b, b.cache("key_cache", *cache_shape), key, axis=2)  # [B, H, T, N]
    values = append(b, b.cache("value_cache", *cache_shape), value, axis=2)  # [B, H, T, N]
    score = b.einsum("bhsn,bhtn->bhst", "score", query, keys, Role.SCORE)  # [B, H, S, T]
    context = b.einsum("bhst,bhtn->bhsn", "context", probabilities(b, score, step), values)  # [B, H, S, N]
    return b.einsum("bhsn,hnd->bsd", "attention_out", context, b.weight("w_o", c.heads, c.head_width, c.d_model))  # [B, S, D]
