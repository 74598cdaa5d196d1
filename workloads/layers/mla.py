"""Multi-head latent attention in every association order, lowered from one definition.

    score  = Q_latent · W_UQ · W_UK^T · latent^T          output = P · latent · W_UV · W_O

with the latent cached (R values per token, plus E rotated key values with rope). Source: DeepSeek-V2, arXiv 2405.04434,
section 2.1 and appendix C; the orders: Geens and Verhelst, arXiv 2506.02523, section 2.
Letters: b batch, s new tokens, t cached tokens, h heads, d model, q query latent, r latent, n key width, e rotary width,
v value width, c concatenated width.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from math import sqrt
from typing import TYPE_CHECKING, Final

from dse.ir.tensor import Role
from workloads.layers import indexer
from workloads.layers.attention_core import append, attention_inputs, probabilities, visible_share
from workloads.layers.norm import rms_norm
from workloads.layers.rope import RotaryTables, rotary_tables, rotate_heads, rotate_shared

if TYPE_CHECKING:
    from fractions import Fraction

    from workloads.builder import GraphBuilder
    from workloads.config import MlaConfig, Step


class Order(StrEnum):
    """Association order of a chain x · A · B · latent; A · B is the product of weights alone."""

    EXPAND = "expand"
    """(x A) (B latent): keys or values of the whole cache are formed at every step."""
    LEFT_TO_RIGHT = "left_to_right"
    """((x A) B) latent."""
    REUSE = "reuse"
    """(x (A B)) latent, A B formed once beforehand, stored, and read at every step."""
    RECOMPUTE = "recompute"
    """(x (A B)) latent, A B formed from the small factors at every step."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """How both chains are evaluated. The output chain is read from the probabilities: P · latent · W_UV · W_O."""

    name: str
    query: Order
    output: Order


_NAMED: Final = {
    (Order.LEFT_TO_RIGHT, Order.LEFT_TO_RIGHT): "left_to_right",
    (Order.EXPAND, Order.EXPAND): "naive",
    (Order.REUSE, Order.LEFT_TO_RIGHT): "reuse",
    (Order.RECOMPUTE, Order.LEFT_TO_RIGHT): "recompute",
    (Order.REUSE, Order.REUSE): "reuse_both",
    (Order.RECOMPUTE, Order.RECOMPUTE): "recompute_both",
}


def schemes() -> tuple[Scheme, ...]:
    """Every pair of orders, the named ones first; the others are called `<query>__<output>`."""
    others = [pair for pair in product(Order, Order) if pair not in _NAMED]
    return tuple(Scheme(_NAMED.get(pair, f"{pair[0]}__{pair[1]}"), *pair) for pair in (*_NAMED, *others))


SCHEMES: Final = {scheme.name: scheme for scheme in schemes()}
NAMED_SCHEMES: Final = tuple(_NAMED.values())
"""Names that papers and kernels know."""


def parameters(config: MlaConfig, *, rope: bool, norms: bool) -> int:
    """Parameters of one attention layer, whatever the scheme (a stored product of weights adds none).

    d·q + q·h·(n + e) + d·(r + e) + r·h·(n + v) + h·v·d, with the gains of the latent norms if `norms`.
    DeepSeek-V3: 174,063,616 without rope, 187,105,280 with. Source: arXiv 2506.02523, table 1; arithmetic.
    """
    c = config
    rotary = c.qk_rope if rope else 0
    query = c.q_width * c.heads * (c.qk_nope + rotary) + (c.d_model * c.q_rank if c.q_rank is not None else 0)
    key_value = c.d_model * (c.kv_rank + rotary) + c.kv_rank * c.heads * (c.qk_nope + c.v_head)
    gains = c.kv_rank + (c.q_rank or 0) if norms else 0
    return query + key_value + c.heads * c.v_head * c.d_model + gains + indexer.parameters(c, norms=norms)


def lower(b: GraphBuilder, x: str, config: MlaConfig, step: Step, scheme: Scheme) -> str:
    """Attention of x [B, S, D] over the latent cache [B, T, R (+ E)]; gives `attention_out` [B, S, D].

    Every scheme gives the same numbers; the composites of REUSE are the inputs `w_uq_uk` [Q, H, R] and `w_uv_o` [H, R, D].
    MACs count the full S x T rectangle of scores, masked or not.
    """
    attention_inputs(b, step)
    latent_cache = _latents(b, x, config, step)  # [B, T, R (+ E)]
    query_latent = _query_latent(b, x, config, step)  # [B, S, Q]
    chosen = indexer.lower(b, x, query_latent, config, step) if config.indexer is not None else None
    query = _query(b, query_latent, config, step, scheme.query)  # [B, H, S, R (+ E)], or [B, H, S, N (+ E)] for EXPAND
    r, e = config.kv_rank, config.qk_rope if step.rope else 0
    most = config.indexer.top_k if chosen is not None and config.indexer is not None else None
    visible = visible_share(step.query_len, step.cache_len, most=most)
    rows = "bt" if chosen is None else "bst"
    cached = latent_cache if chosen is None else indexer.gather(b, latent_cache, chosen[0], r + e, config, step)  # [B, T or S, K, R (+ E)]
    latent = _columns(b, "latent_cached", cached, 0, r, len(rows)) if e else cached  # [B, T, R], a view: values alias keys
    if scheme.query is Order.EXPAND:
        keys = _expanded_keys(b, latent, cached, config, step, rows)  # [B, T, H, N (+ E)]
        score = b.einsum(f"bhsc,{rows}hc->bhst", "score", query, keys, Role.SCORE, visible)  # [B, H, S, T]
    else:
        score = b.einsum(f"bhsc,{rows}c->bhst", "score", query, cached, Role.SCORE, visible)  # [B, H, S, T]
    if chosen is None:
        probability = probabilities(b, score, step, visible)
    else:
        if step.query_len > 1:
            score = b.node("Add", "score_masked", score, indexer.selection_mask(b, chosen[1]), role=Role.SCORE, visible=visible)
        probability = b.node("Softmax", "probability", score, role=Role.SCORE, visible=visible, axis=-1)  # [B, H, S, K]
    return _output(b, probability, latent, config, scheme.output, visible, rows)


def _latents(b: GraphBuilder, x: str, config: MlaConfig, step: Step) -> str:
    """Latent (and rotated key) of the new tokens, appended to the cache."""
    c = config
    latent = b.einsum("bsd,dr->bsr", "latent_down", x, b.weight("w_dkv", c.d_model, c.kv_rank))  # [B, S, R]
    if step.norms:
        latent = rms_norm(b, "latent_norm", latent, c.kv_rank, c.rms_eps)  # [B, S, R]
    if not step.rope:
        return append(b, b.cache("latent_cache", step.batch, step.cache_len, c.kv_rank), latent, axis=1)  # [B, T, R]
    tables = rotary_tables(b, step, c.qk_rope)
    key = b.einsum("bsd,de->bse", "key_rope_down", x, b.weight("w_kr", c.d_model, c.qk_rope))  # [B, S, E]
    key = rotate_shared(b, "key_rope", key, tables)  # [B, S, E]
    new = b.node("Concat", "latent_new", latent, key, axis=2)  # [B, S, R + E], written in place
    return append(b, b.cache("latent_cache", step.batch, step.cache_len, c.kv_rank + c.qk_rope), new, axis=1)  # [B, T, R + E]


def _query_latent(b: GraphBuilder, x: str, config: MlaConfig, step: Step) -> str:
    """What queries are projected from: x itself, or its normalised latent [B, S, Q]."""
    c = config
    if c.q_rank is None:
        return x
    latent = b.einsum("bsd,dq->bsq", "query_down", x, b.weight("w_dq", c.d_model, c.q_rank))  # [B, S, Q]
    return rms_norm(b, "query_norm", latent, c.q_rank, c.rms_eps) if step.norms else latent  # [B, S, Q]


def _query(b: GraphBuilder, query: str, config: MlaConfig, step: Step, order: Order) -> str:
    """Queries in the space that meets the cache, scaled by 1/sqrt of the full query width."""
    c = config
    width = c.qk_nope + (c.qk_rope if step.rope else 0)
    scale = 1 / sqrt(width) if c.scale is None else c.scale
    query = b.node("Mul", "query_scaled", query, b.scalar("softmax_scale", scale))  # [B, S, Q]; cheapest place to scale
    content = _content_query(b, query, c, order)  # [B, H, S, N or R]
    if not step.rope:
        return content
    rotary = b.einsum("bsq,qhe->bhse", "query_rope_up", query, b.weight("w_qr", c.q_width, c.heads, c.qk_rope))  # [B, H, S, E]
    rotary = rotate_heads(b, "query_rope", rotary, RotaryTables("rope_cos", "rope_sin"), c.qk_rope)  # [B, H, S, E]
    return b.node("Concat", "query_full", content, rotary, axis=3)  # [B, H, S, N + E or R + E], written in place


def _content_query(b: GraphBuilder, query: str, config: MlaConfig, order: Order) -> str:
    """The part of the query without position: [B, H, S, N] for EXPAND, [B, H, S, R] else."""
    c = config
    if order is Order.REUSE:
        return b.einsum("bsq,qhr->bhsr", "query_absorbed", query, b.weight("w_uq_uk", c.q_width, c.heads, c.kv_rank))  # [B, H, S, R]
    w_uq = b.weight("w_uq", c.q_width, c.heads, c.qk_nope)  # [Q, H, N]
    if order is Order.EXPAND:
        return b.einsum("bsq,qhn->bhsn", "query_up", query, w_uq)  # [B, H, S, N]; keys bring w_uk
    w_uk = b.weight("w_uk", c.kv_rank, c.heads, c.qk_nope)  # [R, H, N]
    if order is Order.RECOMPUTE:
        composite = b.einsum("qhn,rhn->hqr", "query_composite", w_uq, w_uk)  # [H, Q, R]
        return b.einsum("bsq,hqr->bhsr", "query_absorbed", query, composite)  # [B, H, S, R]
    up = b.einsum("bsq,qhn->bhsn", "query_up", query, w_uq)  # [B, H, S, N]
    return b.einsum("bhsn,rhn->bhsr", "query_absorbed", up, w_uk)  # [B, H, S, R]


def _expanded_keys(b: GraphBuilder, latent: str, cached: str, config: MlaConfig, step: Step, rows: str) -> str:
    """Keys of every head for the whole cache, or for the chosen positions of each query; the shared rotated key copied.

    `rows` are the letters of the rows: bt, or bst where every query has its own.
    """
    c = config
    w_uk = b.weight("w_uk", c.kv_rank, c.heads, c.qk_nope)  # [R, H, N]
    keys = b.einsum(f"{rows}r,rhn->{rows}hn", "keys_expanded", latent, w_uk)  # [B, T, H, N]
    if not step.rope:
        return keys
    rank = len(rows)
    rotary = _columns(b, "key_rope_cached", cached, c.kv_rank, c.kv_rank + c.qk_rope, rank)  # [B, T, E]
    rotary = b.node("Unsqueeze", "key_rope_head", rotary, b.integers("head_axis", rank), role=Role.CACHE)  # [B, T, 1, E]
    most = step.cache_len if c.indexer is None or rank == 2 else c.indexer.top_k
    sizes = (step.batch, most) if rank == 2 else (step.batch, step.query_len, most)
    shape = b.integers("key_rope_shape", *sizes, c.heads, c.qk_rope)
    rotary = b.node("Expand", "key_rope_heads", rotary, shape)  # [B, T, H, E]
    return b.node("Concat", "keys_full", keys, rotary, axis=rank + 1)  # [B, T, H, N + E], written in place


def _columns(b: GraphBuilder, name: str, source: str, start: int, end: int, axis: int) -> str:
    """Columns start to end of the cache [B, T, R + E], or of what queries chose of it, read in place."""
    bounds = (b.integers(f"{name}_start", start), b.integers(f"{name}_end", end), b.integers(f"{name}_axis", axis))
    return b.node("Slice", name, source, *bounds, role=Role.CACHE)


def _output(b: GraphBuilder, probability: str, latent: str, config: MlaConfig, order: Order, visible: Fraction, rows: str) -> str:
    """P · latent · W_UV · W_O in the given order; probability [B, H, S, T], latent [B, T, R]."""
    c = config
    if order is Order.REUSE:
        context = b.einsum(f"bhst,{rows}r->bhsr", "context", probability, latent, visible=visible)  # [B, H, S, R]
        return b.einsum("bhsr,hrd->bsd", "attention_out", context, b.weight("w_uv_o", c.heads, c.kv_rank, c.d_model))  # [B, S, D]
    w_uv = b.weight("w_uv", c.kv_rank, c.heads, c.v_head)  # [R, H, V]
    w_o = b.weight("w_o", c.heads, c.v_head, c.d_model)  # [H, V, D]
    if order is Order.EXPAND:
        values = b.einsum(f"{rows}r,rhv->{rows}hv", "values_expanded", latent, w_uv)  # [B, T, H, V]
        value = b.einsum(f"bhst,{rows}hv->bhsv", "context", probability, values, visible=visible)  # [B, H, S, V]
        return b.einsum("bhsv,hvd->bsd", "attention_out", value, w_o)  # [B, S, D]
    context = b.einsum(f"bhst,{rows}r->bhsr", "context", probability, latent, visible=visible)  # [B, H, S, R]
    if order is Order.RECOMPUTE:
        composite = b.einsum("rhv,hvd->hrd", "output_composite", w_uv, w_o)  # [H, R, D]
        return b.einsum("bhsr,hrd->bsd", "attention_out", context, composite)  # [B, S, D]
    value = b.einsum("bhsr,rhv->bhsv", "value_up", context, w_uv)  # [B, H, S, V]
    return b.einsum("bhsv,hvd->bsd", "attention_out", value, w_o)  # [B, S, D]
