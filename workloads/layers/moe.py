"""Mixture of experts: router, dispatch, grouped experts, combine, shared experts."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor
from typing import TYPE_CHECKING

from workloads.config import Scoring
from workloads.layers import ffn

if TYPE_CHECKING:
    from workloads.builder import GraphBuilder
    from workloads.config import MoeConfig, Step


@dataclass(frozen=True, slots=True)
class ExpertLoad:
    """Rows of the active experts: `light` experts have `rows` rows each, `heavy` experts one more."""

    light: int
    heavy: int
    rows: int

    @property
    def active(self) -> int:
        """Distinct experts that any token is sent to."""
        return self.light + self.heavy

    def groups(self) -> tuple[tuple[int, int], ...]:
        """(experts, rows) of each grouped product; there is always a light one."""
        return tuple(g for g in ((self.light, self.rows), (self.heavy, self.rows + 1)) if g[0])


def expected_active(experts: int, experts_per_token: int, tokens: int) -> float:
    """Expected number of distinct experts that `tokens` tokens use under uniform routing: E (1 - (1 - k/E)^tokens).

    A token misses a given expert with probability 1 - k/E, all tokens with its power, as tokens choose independently; the
    expectation adds over the E experts. Derived here. Worked number: E = 256, k = 8, 32 tokens: 163.3.
    """
    return float(experts * (1 - (1 - experts_per_token / experts) ** tokens))


def expert_load(config: MoeConfig, tokens: int) -> ExpertLoad:
    """The expected number of active experts, rounded, with tokens · k rows spread over them as evenly as integers allow.

    Between k (one token alone) and min(E, tokens · k). The group-limited selection of DeepSeek-V3 is not modelled: routing
    is uniform over all experts.
    """
    routed = tokens * config.experts_per_token
    nearest = floor(expected_active(config.experts, config.experts_per_token, tokens) + 0.5)
    active = max(config.experts_per_token, min(nearest, config.experts, routed))
    rows, heavy = divmod(routed, active)
    return ExpertLoad(light=active - heavy, heavy=heavy, rows=rows)


def router_parameters(config: MoeConfig) -> int:
    """d · E for the logits and, with a selection bias, E."""
    return config.d_model * config.experts + (config.experts if config.selection_bias else 0)


def parameters(config: MoeConfig, *, active_only: bool) -> int:
    """Router, shared experts, and all routed experts or the k of one token; 3 · d · f each."""
    routed = config.experts_per_token if active_only else config.experts
    return router_parameters(config) + (routed + config.shared_experts) * 3 * config.d_model * config.width


def lower(b: GraphBuilder, x: str, config: MoeConfig, step: Step) -> str:
    """Experts of x [B, S, D]; gives `moe_out` [B, S, D].

    Only the weights of the distinct active experts are read, each once: A · 3 · d · f elements; the routed products are
    tokens · k · 3 · d · f MACs exactly. Which expert a row goes to is known only at run time, so the permutations are
    inputs: `dispatch_light` [E1, r] and `dispatch_heavy` [E2, r + 1] give the token of each row, `combine` [tokens, k] the
    row of each token and choice, in the order of `routed_experts`, an output. Forming them (a counting sort of tokens · k
    integers) is not counted.
    """
    routed = _routed(b, x, config, step)  # [tokens, D]
    out = b.node("Reshape", "routed_out", routed, b.integers("token_shape", step.batch, step.query_len, config.d_model))  # [B, S, D]
    if config.shared is None:
        return out
    return b.node("Add", "moe_out", out, ffn.lower(b, x, config.shared, "shared"))  # [B, S, D]


def _gate_weights(b: GraphBuilder, x: str, config: MoeConfig, step: Step) -> str:
    """Weight of each chosen expert [tokens, K, 1]; source: arXiv 2412.19437, equations 13 to 16."""
    logits = b.einsum("bsd,de->bse", "router_logits", x, b.weight("w_router", config.d_model, config.experts))  # [B, S, E]
    if config.scoring is Scoring.SIGMOID:
        scores = b.node("Sigmoid", "router_scores", logits)  # [B, S, E]
    else:
        scores = b.node("Softmax", "router_scores", logits, axis=-1)  # [B, S, E]
    k = b.integers("experts_per_token", config.experts_per_token)
    if config.selection_bias:
        biased = b.node("Add", "router_biased", scores, b.weight("router_bias", config.experts))  # [B, S, E]
        _, chosen = b.nodes("TopK", ("router_top", "routed_experts"), biased, k, axis=-1)  # [B, S, K] both
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


def _routed(b: GraphBuilder, x: str, config: MoeConfig, step: Step) -> str:
    """Weighted sum of the routed experts [tokens, D]."""
    weights = _gate_weights(b, x, config, step)  # [tokens, K, 1]
    d = config.d_model
    tokens = b.node("Reshape", "moe_tokens", x, b.integers("tokens_shape", step.tokens, d))  # [tokens, D]
    load = expert_load(config, step.tokens)
    results = []
    for label, (experts, rows) in zip(("light", "heavy"), load.groups(), strict=False):
        result = _experts(b, tokens, config, label, experts, rows)  # [E', r, D]
        results.append(b.node("Reshape", f"expert_rows_{label}", result, b.integers(f"rows_shape_{label}", experts * rows, d)))  # [E' r, D]
    rows_all = b.node("Concat", "expert_rows", *results, axis=0) if len(results) > 1 else results[0]  # [tokens K, D]
    combine = b.index("combine", step.tokens, config.experts_per_token)  # [tokens, K]
    chosen = b.node("Gather", "expert_choice", rows_all, combine, axis=0)  # [tokens, K, D]
    weighted = b.node("Mul", "expert_weighted", chosen, weights)  # [tokens, K, D]
    return b.node("ReduceSum", "routed_sum", weighted, b.integers("choice_axis", 1), keepdims=0)  # [tokens, D]


def _experts(b: GraphBuilder, tokens: str, config: MoeConfig, label: str, experts: int, rows: int) -> str:
    """Gated experts of equal load as three grouped products; gives [E', r, D]."""
    d, f = config.d_model, config.width
    dispatch = b.index(f"dispatch_{label}", experts, rows)  # [E', r]
    x = b.node("Gather", f"expert_in_{label}", tokens, dispatch, axis=0)  # [E', r, D]
    gate = b.einsum("erd,edf->erf", f"expert_gate_{label}", x, b.weight(f"expert_w_gate_{label}", experts, d, f))  # [E', r, F]
    up = b.einsum("erd,edf->erf", f"expert_up_{label}", x, b.weight(f"expert_w_up_{label}", experts, d, f))  # [E', r, F]
    inner = b.node("Mul", f"expert_inner_{label}", b.node("Swish", f"expert_swish_{label}", gate), up)  # [E', r, F]
    return b.einsum("erf,efd->erd", f"expert_down_{label}", inner, b.weight(f"expert_w_down_{label}", experts, f, d))  # [E', r, D]
