"""Every form of router and expert gives the numbers of a plain one written here, for the loads that the router makes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from dse.ir.expert_load import LoadKind, Routing
from dse.ir.precision import precision
from tests.onnx_outputs import onnx_outputs
from workloads.builder import GraphBuilder
from workloads.config import Activation, MoeConfig, Scoring, Step
from workloads.layers import moe

GAP = 1e-4
"""Experts whose scores are nearer than this may be chosen either way; such examples are left out."""
BASE = MoeConfig(
    d_model=5,
    width=3,
    experts=8,
    experts_per_token=2,
    shared_experts=1,
    scoring=Scoring.SIGMOID,
    selection_bias=True,
    normalise_weights=True,
    routed_scaling=2.5,
    groups=4,
    groups_per_token=2,
)


@st.composite
def configs(draw: st.DrawFn) -> MoeConfig:
    groups = draw(st.sampled_from([1, 2, 4]))
    kept = draw(st.integers(1, groups))
    chosen = draw(st.integers(1, min(4, kept * 8 // groups)))
    return replace(
        BASE,
        experts_per_token=chosen,
        shared_experts=draw(st.integers(0, 2)),
        scoring=draw(st.sampled_from(Scoring)),
        selection_bias=draw(st.booleans()),
        normalise_weights=draw(st.booleans()),
        routed_scaling=draw(st.sampled_from([1.0, 2.5])),
        groups=groups,
        groups_per_token=kept,
        shared_width=draw(st.sampled_from([None, 4])),
        shared_gate=draw(st.booleans()),
        router_bias=draw(st.booleans()),
        bias=draw(st.booleans()),
        activation=draw(st.sampled_from([Activation.SILU, Activation.CLAMPED, Activation.GELU_TANH, Activation.RELU])),
        scale_input=chosen == 1 and draw(st.booleans()),
    )


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(x / 2))


def acted(gate: np.ndarray, up: np.ndarray, activation: Activation) -> np.ndarray:
    match activation:
        case Activation.CLAMPED:  # GPT-OSS, modeling code of the model's repository
            gate, up = np.minimum(gate, 7.0), np.clip(up, -7.0, 7.0)
            return (up + 1) * gate * sigmoid(1.702 * gate)
        case Activation.GELU_TANH:
            return up * 0.5 * gate * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
        case Activation.RELU:
            return up * np.maximum(gate, 0)
    return up * gate * sigmoid(gate)


def selected(scores: np.ndarray, c: MoeConfig) -> np.ndarray:
    """Experts of one token, best first: those of the best groups alone."""
    per = c.experts // c.groups
    merits = np.array([np.sort(g)[::-1][: 2 if c.selection_bias else 1].sum() for g in scores.reshape(c.groups, per)])
    order = np.argsort(-merits)
    assume(c.groups_per_token == c.groups or merits[order[c.groups_per_token - 1]] - merits[order[c.groups_per_token]] > GAP)
    inside = np.isin(np.arange(c.experts) // per, order[: c.groups_per_token])
    limited = np.where(inside, scores, -np.inf)
    best = np.argsort(-limited)
    if c.experts_per_token < c.experts:
        assume(limited[best[c.experts_per_token - 1]] - limited[best[c.experts_per_token]] > GAP)
    return best[: c.experts_per_token]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(configs(), st.integers(1, 5), st.integers(0, 2**32 - 1))
@example(BASE, 4, 1)  # DeepSeek-V3
@example(replace(BASE, scoring=Scoring.SOFTMAX, selection_bias=False, normalise_weights=False), 4, 2)  # DeepSeek-V2
@example(replace(BASE, groups=1, groups_per_token=1, shared_experts=0, router_bias=True, bias=True, activation=Activation.CLAMPED), 4, 3)
@example(replace(BASE, groups=1, groups_per_token=1, shared_gate=True, selection_bias=False, scoring=Scoring.SOFTMAX), 4, 4)  # Qwen2-MoE
@example(replace(BASE, experts_per_token=1, groups=1, groups_per_token=1, scale_input=True, normalise_weights=False), 4, 5)  # Llama 4
def test_every_form_equals_a_plain_one(c: MoeConfig, tokens: int, seed: int):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(tokens, c.d_model)) * 3  # large enough for the clamp to bite
    router, router_bias, bias = rng.normal(size=(c.d_model, c.experts)), rng.normal(size=c.experts), rng.normal(size=c.experts) * 0.1
    logits = x @ router + (router_bias if c.router_bias else 0)
    exps = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores = sigmoid(logits) if c.scoring is Scoring.SIGMOID else exps / exps.sum(axis=1, keepdims=True)
    table = np.array([selected(s + (bias if c.selection_bias else 0), c) for s in scores])
    loads = np.bincount(table.ravel(), minlength=c.experts)
    matrices = {n: rng.normal(size=(c.experts, *s)) for n, s in (("gate", (5, 3)), ("up", (5, 3)), ("down", (3, 5)))}
    biases = {n: rng.normal(size=(c.experts, 1, w)) for n, w in (("gate", 3), ("up", 3), ("down", 5))}

    step = Step(batch=1, query_len=tokens, cache_len=tokens, rope=False, norms=False)
    b = GraphBuilder("moe", precision("fp32"))
    b.output(moe.lower(b, b.activation("x", 1, tokens, c.d_model), c, step, Routing(LoadKind.LOADS, counts=tuple(map(float, loads)))))
    model = b.build()
    groups = moe.load_groups(tuple(int(n) for n in loads if n))
    labels = ("light", "heavy") if len(groups) <= 2 else tuple(f"load{i}" for i in range(len(groups)))
    arrays = {"x": x[None], "w_router": router, "router_logit_bias": router_bias, "router_bias": bias}
    rows: dict[tuple[int, int], int] = {}
    indices: dict[str, np.ndarray] = {}
    for label, (_, each) in zip(labels, groups, strict=False):
        members = [e for e in range(c.experts) if loads[e] == each]
        arrays |= {f"expert_w_{n}_{label}": m[members] for n, m in matrices.items()}
        arrays |= {f"expert_b_{n}_{label}": m[members] for n, m in biases.items()}
        indices[f"dispatch_{label}"] = np.array([[t for t in range(tokens) if e in table[t]] for e in members], dtype=np.int64)
        for e, each_tokens in zip(members, indices[f"dispatch_{label}"], strict=True):
            for t in each_tokens:
                rows[int(t), e] = len(rows)
    indices["combine"] = np.array([[rows[t, int(e)] for e in table[t]] for t in range(tokens)], dtype=np.int64)
    shared = c.shared.width if c.shared is not None else 0
    arrays |= {"shared_w_gate": rng.normal(size=(5, shared)), "shared_w_up": rng.normal(size=(5, shared))}
    arrays |= {"shared_w_down": rng.normal(size=(shared, 5)), "w_shared_gate": rng.normal(size=(5, 1))}

    expected = np.zeros_like(x)
    for t in range(tokens):
        weights = scores[t, table[t]]
        weights = weights / weights.sum() if c.normalise_weights else weights
        for e, w in zip(table[t], weights * c.routed_scaling, strict=True):
            token = x[t] * w if c.scale_input else x[t]
            gate, up = (token @ matrices[n][e] + (biases[n][e, 0] if c.bias else 0) for n in ("gate", "up"))
            out = acted(gate, up, c.activation) @ matrices["down"][e] + (biases["down"][e, 0] if c.bias else 0)
            expected[t] += out if c.scale_input else w * out
        if shared:
            out = acted(x[t] @ arrays["shared_w_gate"], x[t] @ arrays["shared_w_up"], Activation.SILU) @ arrays["shared_w_down"]
            expected[t] += out * (sigmoid(x[t] @ arrays["w_shared_gate"]) if c.shared_gate else 1)

    feeds = {v.name: indices[v.name] if v.name in indices else arrays[v.name].astype(np.float32) for v in model.graph.input}
    got = onnx_outputs(model, feeds)
    np.testing.assert_array_equal(got["routed_experts"].reshape(table.shape), table)
    result = next(v for n, v in got.items() if n != "routed_experts").reshape(expected.shape)
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(result / scale, expected / scale, rtol=1e-4, atol=1e-5)
