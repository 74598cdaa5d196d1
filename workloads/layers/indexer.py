"""Lightning indexer of DeepSeek sparse attention: scores every cached position cheaply and keeps the best.

    I[s, t] = sum over heads j of w[s, j] · relu(q[s, j] · k[t])          selection of s: the top_k positions t

Source: DeepSeek-V3.2-Exp report, equations 1 and 2, and its inference/model.py. Left out: the Hadamard rotation of queries
and keys, which changes no product and only eases their quantisation.
Letters: b batch, s new tokens, t cached tokens, i heads of the indexer, n width, q query latent, d model.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

from dse.ir.tensor import Role
from workloads.layers.attention_core import append, visible_share
from workloads.layers.norm import layer_norm
from workloads.layers.rope import RotaryTables, rotate_heads

if TYPE_CHECKING:
    from workloads.builder import GraphBuilder
    from workloads.config import IndexerConfig, MlaConfig, Step

MASKED_BELOW = -60000.0
"""A score below this is that of a masked position: near the least number of FP16, the carrier."""


def parameters(config: MlaConfig, *, norms: bool) -> int:
    """Queries q·i·n, key d·n, weights of heads d·i, gain and bias of the key's norm 2·n. DeepSeek-V3.2: 13,959,424."""
    c = config.indexer
    if c is None:
        return 0
    return config.q_width * c.heads * c.width + config.d_model * (c.width + c.heads) + (2 * c.width if norms else 0)


def selects(config: MlaConfig, step: Step) -> bool:
    """Whether there are more positions than the indexer keeps; else attention is dense and only the index cache grows."""
    return config.indexer is not None and step.cache_len > config.indexer.top_k


def lower(b: GraphBuilder, x: str, latent: str, config: MlaConfig, step: Step) -> tuple[str, str] | None:
    """Positions for each query, [B, S, K], and their scores, or None where all positions are kept.

    x [B, S, D], latent query [B, S, Q]; the keys of all positions are a cache [B, T, N].
    """
    c = config.indexer
    assert c is not None
    keys = append(b, b.cache("index_cache", step.batch, step.cache_len, c.width), _key(b, x, config, c, step), axis=1)  # [B, T, N]
    if not selects(config, step):
        return None
    visible = visible_share(step.query_len, step.cache_len)
    query = b.einsum("bsq,qin->bisn", "index_query", latent, b.weight("w_index_query", config.q_width, c.heads, c.width))  # [B, I, S, N]
    if step.rope:
        tables = RotaryTables("rope_cos", "rope_sin")
        query = rotate_heads(b, "index_query_rope", query, tables, config.qk_rope, interleaved=c.interleaved)  # [B, I, S, N]
    score = b.einsum("bisn,btn->bist", "index_score", query, keys, Role.SCORE, visible)  # [B, I, S, T]
    score = b.node("Relu", "index_positive", score, role=Role.SCORE, visible=visible)  # [B, I, S, T]
    share = b.einsum("bsd,di->bis", "index_head_share", x, b.weight("w_index_heads", config.d_model, c.heads))  # [B, I, S]
    share = b.node("Mul", "index_share_scaled", share, b.scalar("index_scale", 1 / sqrt(c.heads * c.width)))  # [B, I, S]
    share = b.node("Unsqueeze", "index_share_column", share, b.integers("index_column", 3))  # [B, I, S, 1]
    score = b.node("Mul", "index_weighted", score, share, role=Role.SCORE, visible=visible)  # [B, I, S, T]
    score = b.node(
        "ReduceSum", "index_sum", score, b.integers("index_heads_axis", 1), role=Role.SCORE, visible=visible, keepdims=0
    )  # [B, S, T]
    if step.query_len > 1:
        score = b.node("Add", "index_masked", score, "mask", role=Role.SCORE, visible=visible)  # [B, S, T]
    best, chosen = b.nodes("TopK", ("index_top", "index_positions"), score, b.integers("index_top_k", c.top_k), visible=visible, axis=-1)
    return chosen, best


def _key(b: GraphBuilder, x: str, config: MlaConfig, c: IndexerConfig, step: Step) -> str:
    """The one key of each new token, [B, S, N]."""
    key = b.einsum("bsd,dn->bsn", "index_key_down", x, b.weight("w_index_key", config.d_model, c.width))  # [B, S, N]
    if step.norms:
        key = layer_norm(b, "index_key_norm", key, c.width, config.rms_eps)  # [B, S, N]
    if not step.rope:
        return key
    one = b.node("Unsqueeze", "index_key_head", key, b.integers("index_head_axis", 1))  # [B, 1, S, N]
    tables = RotaryTables("rope_cos", "rope_sin")
    one = rotate_heads(b, "index_key_rope", one, tables, config.qk_rope, interleaved=c.interleaved)  # [B, 1, S, N]
    return b.node("Squeeze", "index_key", one, b.integers("index_squeezed_axis", 1))  # [B, S, N]


def gather(b: GraphBuilder, cache: str, chosen: str, width: int, config: MlaConfig, step: Step) -> str:
    """Rows of the latent cache [B, T, C] that each query chose: [B, S, K, C].

    The caches of all sequences are one table; `index_rows` [B, 1, 1] is where each sequence starts.
    """
    table = b.node("Reshape", "latent_table", cache, b.integers("table_shape", step.batch * step.cache_len, width), role=Role.CACHE)
    rows = b.node("Add", "index_table_rows", chosen, b.index("index_rows", step.batch, 1, 1))  # [B, S, K]
    return b.node("Gather", "latent_selected", table, rows, axis=0)  # [B, S, K, C]


def selection_mask(b: GraphBuilder, best: str) -> str:
    """0 for chosen positions, minus infinity for those chosen for want of visible ones, as [B, 1, S, K]."""
    hidden = b.node("Less", "index_hidden", best, b.scalar("index_masked_below", MASKED_BELOW))  # [B, S, K]
    mask = b.node("Where", "index_mask", hidden, b.scalar("minus_infinity", float("-inf")), b.scalar("nothing", 0.0))  # [B, S, K]
    return b.node("Unsqueeze", "index_mask_heads", mask, b.integers("index_mask_axis", 1))  # [B, 1, S, K]
