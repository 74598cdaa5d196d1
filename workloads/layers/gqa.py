"""Attention with keys and values of its own: multi-head, grouped-query, multi-query, with window, sinks, biases, norms.

Letters: b batch, s new tokens, t cached tokens, h heads, g heads of keys and values, q queries per such head, d model,
r query latent, n head width.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

from dse.ir.tensor import Role
from workloads.config import QkNorm
from workloads.layers.attention_core import append, attention_inputs, probabilities, visible_share
from workloads.layers.norm import rms_norm
from workloads.layers.rope import RotaryTables, rotary_tables, rotate_heads

if TYPE_CHECKING:
    from fractions import Fraction

    from workloads.builder import GraphBuilder
    from workloads.config import GqaConfig, Step


def parameters(config: GqaConfig, *, norms: bool) -> int:
    """Projections, biases, sinks and, with `norms`, gains.

    d·h·n + 2·d·g·n + h·n·d; queries through a latent d·r + r·h·n. MHA_l 469,762,048, MHA_s 172,006,912 (arXiv 2506.02523,
    table 1).
    """
    c = config
    inner, keys = c.heads * c.head_width, c.kv_heads * c.head_width
    query = c.d_model * inner if c.q_rank is None else c.d_model * c.q_rank + c.q_rank * inner
    biases = (inner + 2 * keys if c.qkv_bias else 0) + (c.d_model if c.o_bias else 0)
    gains = (2 * c.head_width if c.qk_norm is QkNorm.RMS else 0) + (c.q_rank or 0)
    return query + 2 * c.d_model * keys + inner * c.d_model + biases + (c.heads if c.sinks else 0) + (gains if norms else 0)


def lower(b: GraphBuilder, x: str, config: GqaConfig, step: Step) -> str:
    """Attention of x [B, S, D] over caches of keys and values, each [B, G, T', N]; gives `attention_out` [B, S, D].

    T' is what a window leaves of the T positions for any of the S queries. Queries of one head of keys are one matrix:
    [B, G, Q, S, N] where heads are shared, [B, H, S, N] where they are not. MACs count the full S x T' rectangle of scores.
    Sources: Ainslie et al., arXiv 2305.13245 (groups); GPT-OSS model card, arXiv 2508.10925 (sinks, windows); Gemma 2,
    arXiv 2408.00118 (softcap); Step-3, arXiv 2507.19427 (query latent).
    """
    c = config
    keys_len = step.cache_len if c.window is None else c.window.length(step.query_len, step.cache_len)
    attention_inputs(b, step, keys_len)
    visible = visible_share(step.query_len, step.cache_len, c.window)
    query = _query(b, x, c, step)  # [B, H, S, N] or [B, G, Q, S, N]
    shape = (step.batch, c.kv_heads, keys_len, c.head_width)
    head = "h" if c.kv_heads == c.heads else "g"
    key = b.einsum(f"bsd,d{head}n->b{head}sn", "key_up", x, b.weight("w_k", c.d_model, c.kv_heads, c.head_width))  # [B, G, S, N]
    value = b.einsum(f"bsd,d{head}n->b{head}sn", "value_up", x, b.weight("w_v", c.d_model, c.kv_heads, c.head_width))  # [B, G, S, N]
    if c.qkv_bias:
        key = b.node("Add", "key_biased", key, b.weight("b_k", c.kv_heads, 1, c.head_width))  # [B, G, S, N]
        value = b.node("Add", "value_biased", value, b.weight("b_v", c.kv_heads, 1, c.head_width))  # [B, G, S, N]
    key = _position(b, "key", _normed(b, "key", key, c, step, before=True), c, step)  # [B, G, S, N]
    key = _normed(b, "key", key, c, step, before=False)
    keys = append(b, b.cache("key_cache", *shape), key, axis=2)  # [B, G, T, N]
    values = append(b, b.cache("value_cache", *shape), value, axis=2)  # [B, G, T, N]
    group = "h" if c.kv_heads == c.heads else "gq"
    score = b.einsum(f"b{group}sn,b{head}tn->b{group}st", "score", query, keys, Role.SCORE, visible)  # [B, H, S, T] or [B, G, Q, S, T]
    score = _capped(b, score, c, visible)
    probability = _with_sinks(b, score, c, step, keys_len, visible)
    context = b.einsum(f"b{group}st,b{head}tn->b{group}sn", "context", probability, values, visible=visible)  # [B, H, S, N]
    heads = (c.heads,) if group == "h" else (c.kv_heads, c.heads // c.kv_heads)
    biased = c.o_bias
    out = b.einsum(
        f"b{group}sn,{group}nd->bsd",
        "attention_projected" if biased else "attention_out",
        context,
        b.weight("w_o", *heads, c.head_width, c.d_model),
    )  # [B, S, D]
    return b.node("Add", "attention_out", out, b.weight("b_o", c.d_model)) if biased else out  # [B, S, D]


def _query(b: GraphBuilder, x: str, config: GqaConfig, step: Step) -> str:
    """Scaled queries, [B, H, S, N], or [B, G, Q, S, N] where heads share keys."""
    c = config
    width = c.d_model
    if c.q_rank is not None:
        width = c.q_rank
        x = b.einsum("bsd,dr->bsr", "query_down", x, b.weight("w_dq", c.d_model, width))  # [B, S, R]
        if step.norms:
            x = rms_norm(b, "query_latent_norm", x, width, c.rms_eps)  # [B, S, R]
    query = b.einsum("bsd,dhn->bhsn", "query_up", x, b.weight("w_q", width, c.heads, c.head_width))  # [B, H, S, N]
    if c.qkv_bias:
        query = b.node("Add", "query_biased", query, b.weight("b_q", c.heads, 1, c.head_width))  # [B, H, S, N]
    if step.rope and c.rotated:
        rotary_tables(b, step, c.rotated)
    query = _position(b, "query", _normed(b, "query", query, c, step, before=True), c, step)  # [B, H, S, N]
    query = _normed(b, "query", query, c, step, before=False)
    if c.temperature:
        query = b.node("Mul", "query_tempered", query, b.activation("temperature", step.query_len, 1))  # [B, H, S, N]
    scale = 1 / sqrt(c.head_width) if c.scale is None else c.scale
    scale = scale if c.softcap is None else scale / c.softcap
    query = b.node("Mul", "query_scaled", query, b.scalar("softmax_scale", scale))  # [B, H, S, N]
    if c.kv_heads == c.heads:
        return query
    sizes = (step.batch, c.kv_heads, c.heads // c.kv_heads, step.query_len, c.head_width)
    return b.node("Reshape", "query_grouped", query, b.integers("query_shape", *sizes))  # [B, G, Q, S, N]


def _normed(b: GraphBuilder, name: str, x: str, config: GqaConfig, step: Step, *, before: bool) -> str:
    """Norm of each vector of x [B, H, S, N]: with a gain before the rotation, without one after it."""
    if not step.norms or config.qk_norm is not (QkNorm.RMS if before else QkNorm.L2):
        return x
    if before:
        return rms_norm(b, f"{name}_norm", x, config.head_width, config.rms_eps)  # [B, H, S, N]
    ones = b.constants(f"{name}_norm_ones", 1.0, config.head_width)  # [N]
    return b.node("RMSNormalization", f"{name}_norm", x, ones, axis=-1, epsilon=config.rms_eps)  # [B, H, S, N]


def _position(b: GraphBuilder, name: str, x: str, config: GqaConfig, step: Step) -> str:
    """x [B, H, S, N] with its leading elements rotated."""
    if not step.rope or not config.rotated:
        return x
    tables = RotaryTables("rope_cos", "rope_sin")
    return rotate_heads(b, f"{name}_rope", x, tables, config.rotated, interleaved=config.interleaved)  # [B, H, S, N]


def _capped(b: GraphBuilder, score: str, config: GqaConfig, visible: Fraction) -> str:
    """softcap · tanh(score / softcap); queries bring the division."""
    if config.softcap is None:
        return score
    bent = b.node("Tanh", "score_bent", score, role=Role.SCORE, visible=visible)
    return b.node("Mul", "score_capped", bent, b.scalar("softcap", config.softcap), role=Role.SCORE, visible=visible)


def _with_sinks(b: GraphBuilder, score: str, config: GqaConfig, step: Step, keys: int, visible: Fraction) -> str:
    """Probabilities [..., S, T]; a sink is one more column of the softmax, dropped behind it."""
    c = config
    if not c.sinks:
        return probabilities(b, score, step, visible)
    if step.query_len > 1:
        score = b.node("Add", "score_masked", score, "mask", role=Role.SCORE, visible=visible)
    heads = (c.heads,) if c.heads == c.kv_heads else (c.kv_heads, c.heads // c.kv_heads)
    sizes = b.integers("sinks_shape", step.batch, *heads, step.query_len, 1)
    sinks = b.node("Expand", "sinks_expanded", b.weight("sinks", *heads, 1, 1), sizes, role=Role.SCORE)  # [..., S, 1]
    joined = b.node("Concat", "score_sinks", score, sinks, role=Role.SCORE, axis=-1)  # [..., S, T + 1], written in place
    full = b.node("Softmax", "probability_sinks", joined, role=Role.SCORE, visible=visible, axis=-1)  # [..., S, T + 1]
    bounds = (b.integers("sinks_start", 0), b.integers("sinks_end", keys), b.integers("sinks_axis", len(heads) + 2))
    return b.node("Slice", "probability", full, *bounds, role=Role.SCORE)  # [..., S, T], a view
