"""Mixture of experts: router, dispatch, grouped experts, combine, shared experts."""

from __future__ import annotations

from collections import Counter
from math import floor, log
from typing import TYPE_CHECKING

from dse.ir.expert_load import UNIFORM, expert_rows
from workloads.config import Scoring
from workloads.layers import ffn

if TYPE_CHECKING:
    from dse.ir.expert_load import Routing
    from workloads.builder import GraphBuilder
    from workloads.config import MoeConfig, Step


MAX_GROUPS = 8
"""Grouped products of one layer at most; loads between are merged, see `load_groups`."""


def load_groups(rows: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """(experts, rows each) of the grouped products for loads `rows`, the lightest first.

    Experts of equal load form one product. Where there are more than eight loads, neighbours are merged by powers of a
    ratio, and their rows spread evenly as integers allow, so that experts and rows are kept exactly.
    """
    if len(set(rows)) <= MAX_GROUPS:
        return tuple((rows.count(n), n) for n in sorted(set(rows)))
    largest, least = max(rows), min(rows)
    buckets: dict[int, list[int]] = {}
    for n in rows:
        place = 0 if n == least else min(MAX_GROUPS // 2 - 1, floor(log(n / least) / log(largest / least) * (MAX_GROUPS // 2)))
        buckets.setdefault(place, []).append(n)
    found: Counter[int] = Counter()
    for members in buckets.values():
        each, heavy = divmod(sum(members), len(members))
        found[each] += len(members) - heavy
        if heavy:
            found[each + 1] += heavy
    return tuple((count, n) for n, count in sorted(found.items()) if count)


def router_parameters(config: MoeConfig) -> int:
    """d · E for the logits and E for each kind of bias."""
    return config.d_model * config.experts + config.experts * (config.selection_bias + config.router_bias)


def parameters(config: MoeConfig, *, active_only: bool) -> int:
    """Router, shared experts with their gate, and all routed experts or the k of one token."""
    routed = config.experts_per_token if active_only else config.experts
    shared = ffn.parameters(config.shared) if config.shared is not None else 0
    gate = config.d_model if config.shared_gate else 0
    return router_parameters(config) + shared + gate + routed * expert_parameters(config)


def expert_parameters(config: MoeConfig) -> int:
    """3 · d · f of one routed expert, with biases 2 · f + d."""
    return 3 * config.d_model * config.width + (2 * config.width + config.d_model if config.bias else 0)


def lower(b: GraphBuilder, x: str, config: MoeConfig, step: Step, routing: Routing = UNIFORM) -> str:
    """Experts of x [B, S, D]; gives `moe_out` [B, S, D].

    Only the weights of the distinct active experts are read, each once: A · 3 · d · f elements; the routed products are
    tokens · k · 3 · d · f MACs exactly. Which expert a row goes to is known only at run time, so the permutations are
    inputs: `dispatch_<group>` [E', r] gives the token of each row, `combine` [tokens, k] the row of each token and choice, in
    the order of `routed_experts`, an output. Forming them (a counting sort of tokens · k integers) is not counted. Groups
    are called light and heavy where there are two, load0, load1, ... where there are more.
    """
    routed = _routed(b, x, config, step, routing)  # [tokens, D]
    out = b.node("Reshape", "routed_out", routed, b.integers("token_shape", step.batch, step.query_len, config.d_model))  # [B, S, D]
    if config.shared is None:
        return out
    shared = ffn.lower(b, x, config.shared, "shared")  # [B, S, D]
    if config.shared_gate:
        gate = b.einsum("bsd,dg->bsg", "shared_gate_logit", x, b.weight("w_shared_gate", config.d_model, 1))  # [B, S, 1]
        shared = b.node("Mul", "shared_gated", shared, b.node("Sigmoid", "shared_gate_share", gate))  # [B, S, D]
    return b.node("Add", "moe_out", out, shared)  # [B, S, D]


def _gate_weights(b: GraphBuilder, x: str, config: MoeConfig, step: Step) -> str:
    """Weight of each chosen expert [tokens, K, 1]; source: arXiv 2412.19437, equations 13 to 16."""
    logits = b.einsum("bsd,de->bse", "router_logits", x, b.weight("w_router", config.d_model, config.experts))  # [B, S, E]
    if config.router_bias:
        logits = b.node("Add", "router_logits_biased", logits, b.weight("router_logit_bias", config.experts))  # [B, S, E]
    if config.scoring is Scoring.SIGMOID:
        scores = b.node("Sigmoid", "router_scores", logits)  # [B, S, E]
    else:
        scores = b.node("Softmax", "router_scores", logits, axis=-1)  # [B, S, E]
    k = b.integers("experts_per_token", config.experts_per_token)
    selection = _selection(b, scores, config, step)  # [B, S, E]
    if selection != scores:
        _, chosen = b.nodes("TopK", ("router_top", "routed_experts"), selection, k, axis=-1)  # [B, S, K] both
        weights = b.node("GatherElements", "router_weights", scores, chosen, axis=2)  # [B, S, K]
    else:
        weights, chosen = b.nodes("TopK", ("router_top", "routed_experts"), scores, k, axis=-1)  # [B, S, K] both
    b.output(chosen)
    if config.normalise_weights:
        total = b.node("ReduceSum", "router_total", weights, b.integers("router_axis", 2), keepdims=1)  # [B, S, 1]
        weights = b.node("Div", "router_normalised", weights, total)  # [B, S, K]
    if config.routed_scaling != 1.0:
        weights = b.node("Mul", "router_scaled", weights, b.scalar("routed_scaling", config.routed_scaling))  # [B, S, K]
    return b.node("Reshape", "router_rows", weights, b.integers("router_shape", step.tokens, config.experts_per_token, 1))  # [tokens, K, 1]


def _selection(b: GraphBuilder, scores: str, config: MoeConfig, step: Step) -> str:
    """Scores [B, S, E] by which experts are chosen: with the bias, and minus infinity outside the best groups.

    A group counts by the sum of its two best experts where there is a selection bias (DeepSeek-V3, arXiv 2412.19437,
    section 2.1.2 and inference code), by its best one where there is none (DeepSeek-V2, arXiv 2405.04434, section 2.2.2).
    """
    c = config
    if c.selection_bias:
        scores = b.node("Add", "router_biased", scores, b.weight("router_bias", c.experts))  # [B, S, E]
    if c.groups_per_token >= c.groups:
        return scores
    sizes = (step.batch, step.query_len, c.groups, c.experts // c.groups)
    grouped = b.node("Reshape", "router_grouped", scores, b.integers("router_groups_shape", *sizes))  # [B, S, G, E/G]
    axis = b.integers("router_group_axis", 3)
    if c.selection_bias and c.experts // c.groups > 1:
        best, _ = b.nodes("TopK", ("group_top", "group_top_index"), grouped, b.integers("two", 2), axis=-1)  # [B, S, G, 2]
        merit = b.node("ReduceSum", "group_merit", best, axis, keepdims=0)  # [B, S, G]
    else:
        merit = b.node("ReduceMax", "group_merit", grouped, axis, keepdims=0)  # [B, S, G]
    kept, _ = b.nodes("TopK", ("group_kept", "group_kept_index"), merit, b.integers("groups_kept", c.groups_per_token), axis=-1)
    least = b.node("ReduceMin", "group_least", kept, b.integers("group_axis", 2), keepdims=1)  # [B, S, 1]
    inside = b.node("GreaterOrEqual", "group_inside", merit, least)  # [B, S, G]
    inside = b.node("Unsqueeze", "group_mask", inside, axis)  # [B, S, G, 1]
    limited = b.node("Where", "router_limited", inside, grouped, b.scalar("outside", float("-inf")))  # [B, S, G, E/G]
    return b.node("Reshape", "router_selection", limited, b.integers("router_all_shape", step.batch, step.query_len, c.experts))


def _routed(b: GraphBuilder, x: str, config: MoeConfig, step: Step, routing: Routing) -> str:
    """Weighted sum of the routed experts [tokens, D]."""
    weights = _gate_weights(b, x, config, step)  # [tokens, K, 1]
    d = config.d_model
    tokens = b.node("Reshape", "moe_tokens", x, b.integers("tokens_shape", step.tokens, d))  # [tokens, D]
    if config.scale_input:
        scale = b.node("Reshape", "token_scale", weights, b.integers("token_scale_shape", step.tokens, 1))  # [tokens, 1]
        tokens = b.node("Mul", "tokens_scaled", tokens, scale)  # [tokens, D]
    groups = load_groups(expert_rows(routing, config.experts, config.experts_per_token, step.tokens))
    labels = ("light", "heavy") if len(groups) <= 2 else tuple(f"load{i}" for i in range(len(groups)))
    results = []
    for label, (experts, rows) in zip(labels, groups, strict=False):
        result = _experts(b, tokens, config, label, experts, rows)  # [E', r, D]
        results.append(b.node("Reshape", f"expert_rows_{label}", result, b.integers(f"rows_shape_{label}", experts * rows, d)))  # [E' r, D]
    rows_all = b.node("Concat", "expert_rows", *results, axis=0) if len(results) > 1 else results[0]  # [tokens K, D]
    combine = b.index("combine", step.tokens, config.experts_per_token)  # [tokens, K]
    chosen = b.node("Gather", "expert_choice", rows_all, combine, axis=0)  # [tokens, K, D]
    weighted = chosen if config.scale_input else b.node("Mul", "expert_weighted", chosen, weights)  # [tokens, K, D]
    return b.node("ReduceSum", "routed_sum", weighted, b.integers("choice_axis", 1), keepdims=0)  # [tokens, D]


def _experts(b: GraphBuilder, tokens: str, config: MoeConfig, label: str, experts: int, rows: int) -> str:
    """Gated experts of equal load as three grouped products; gives [E', r, D]."""
    d, f = config.d_model, config.width
    dispatch = b.index(f"dispatch_{label}", experts, rows)  # [E', r]
    x = b.node("Gather", f"expert_in_{label}", tokens, dispatch, axis=0)  # [E', r, D]
    gate = _expert_product(b, "erd,edf->erf", f"gate_{label}", x, (experts, d, f), config)  # [E', r, F]
    up = _expert_product(b, "erd,edf->erf", f"up_{label}", x, (experts, d, f), config)  # [E', r, F]
    inner = ffn.gated(b, "expert", gate, up, config.activation, f"_{label}")  # [E', r, F]
    return _expert_product(b, "erf,efd->erd", f"down_{label}", inner, (experts, f, d), config)  # [E', r, D]


def _expert_product(b: GraphBuilder, equation: str, name: str, x: str, shape: tuple[int, int, int], config: MoeConfig) -> str:
    """One matrix of each expert of a group, with its bias."""
    full = f"expert_{name}"
    out = b.einsum(equation, f"{full}_product" if config.bias else full, x, b.weight(f"expert_w_{name}", *shape, expert=True))
    if not config.bias:
        return out
    return b.node("Add", full, out, b.weight(f"expert_b_{name}", shape[0], 1, shape[2]))
