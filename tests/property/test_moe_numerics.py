"""Executing the ONNX of a mixture of experts gives the numbers of a plain one written here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.ir.expert_load import UNIFORM, expected_active, expert_rows
from dse.ir.precision import precision
from tests.onnx_outputs import onnx_outputs
from workloads.builder import GraphBuilder
from workloads.config import MoeConfig, Scoring, Step
from workloads.layers import moe

TOLERANCE = {"rtol": 1e-4, "atol": 1e-5}


@dataclass(frozen=True)
class Case:
    config: MoeConfig
    step: Step
    seed: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    batch, query_len = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    experts = draw(st.integers(2, 8))
    config = MoeConfig(
        d_model=batch * query_len + draw(st.integers(0, 2)),  # at least one direction per token, so that routing can be set
        width=draw(st.integers(1, 4)),
        experts=experts,
        experts_per_token=draw(st.integers(1, experts)),
        shared_experts=draw(st.integers(0, 2)),
        scoring=draw(st.sampled_from(Scoring)),
        selection_bias=draw(st.booleans()),
        normalise_weights=draw(st.booleans()),
        routed_scaling=draw(st.sampled_from([1.0, 2.5])),
        groups=1,
        groups_per_token=1,
    )
    step = Step(batch=batch, query_len=query_len, cache_len=query_len, rope=False, norms=False)
    return Case(config, step, draw(st.integers(0, 2**32 - 1)))


def routing(case: Case, rng: np.random.Generator) -> tuple[np.ndarray, list[int], list[int]]:
    """Experts of each token [tokens, K] with exactly the loads of the lowering; the light and the heavy experts."""
    groups = moe.load_groups(expert_rows(UNIFORM, case.config.experts, case.config.experts_per_token, case.step.tokens))
    active, heavy = sum(count for count, _ in groups), groups[1][0] if len(groups) > 1 else 0
    chosen = rng.permutation(case.config.experts)[:active]
    slots = np.arange(case.step.tokens * case.config.experts_per_token) % active  # the first `heavy` slots once more
    table = chosen[slots].reshape(case.step.tokens, case.config.experts_per_token)
    return table, [int(e) for e in chosen[heavy:]], [int(e) for e in chosen[:heavy]]


def gated(x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray) -> np.ndarray:
    g = x @ gate
    return (g / (1 + np.exp(-g)) * (x @ up)) @ down


@settings(max_examples=60, deadline=None)
@given(cases())
def test_moe_equals_a_plain_one(case: Case):
    c, s = case.config, case.step
    rng = np.random.default_rng(case.seed)
    b = GraphBuilder("moe", precision("fp32"))
    b.output(moe.lower(b, b.activation("x", s.batch, s.query_len, c.d_model), c, s))
    model = b.build()
    table, light, heavy = routing(case, rng)

    x = np.linalg.qr(rng.normal(size=(c.d_model, c.d_model)))[0][: s.tokens]  # orthonormal rows: logits can be chosen
    logits = rng.uniform(-2, -1, size=(s.tokens, c.experts))
    np.put_along_axis(logits, table, rng.uniform(1, 2, size=table.shape), axis=1)
    bias = rng.uniform(-0.001, 0.001, size=c.experts)
    matrices = {n: rng.normal(size=(c.experts, *shape)) for n, shape in (("gate", (c.d_model, c.width)), ("up", (c.d_model, c.width)))}
    matrices["down"] = rng.normal(size=(c.experts, c.width, c.d_model))
    shared = c.shared_experts * c.width
    arrays = {
        "x": x.reshape(s.batch, s.query_len, c.d_model),
        "w_router": x.T @ logits,
        "router_bias": bias,
        "shared_w_gate": rng.normal(size=(c.d_model, shared)),
        "shared_w_up": rng.normal(size=(c.d_model, shared)),
        "shared_w_down": rng.normal(size=(shared, c.d_model)),
    }
    for label, members in (("light", light), ("heavy", heavy)):
        arrays |= {f"expert_w_{n}_{label}": m[members] for n, m in matrices.items()}

    scores = 1 / (1 + np.exp(-logits)) if c.scoring is Scoring.SIGMOID else np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    selection = scores + bias if c.selection_bias else scores
    order = np.argsort(-selection, axis=1)[:, : c.experts_per_token]
    assert {frozenset(r) for r in order.tolist()} == {frozenset(r) for r in table.tolist()}

    expected = np.zeros((s.tokens, c.d_model))
    for t in range(s.tokens):
        weights = scores[t, order[t]]
        weights = weights / weights.sum() if c.normalise_weights else weights
        for e, w in zip(order[t], weights * c.routed_scaling, strict=True):
            expected[t] += w * gated(x[t], *(matrices[n][e] for n in ("gate", "up", "down")))
        if shared:
            expected[t] += gated(x[t], *(arrays[f"shared_w_{n}"] for n in ("gate", "up", "down")))

    rows: dict[tuple[int, int], int] = {}
    indices: dict[str, np.ndarray] = {}
    for label, members in (("light", light), ("heavy", heavy)):
        tokens = [[t for t in range(s.tokens) if e in order[t]] for e in members]
        assert len({len(each) for each in tokens}) <= 1, "loads differ from the lowering's"
        indices[f"dispatch_{label}"] = np.array(tokens, dtype=np.int64)
        for e, each in zip(members, tokens, strict=True):
            for t in each:
                rows[t, e] = len(rows)
    indices["combine"] = np.array([[rows[t, int(e)] for e in order[t]] for t in range(s.tokens)], dtype=np.int64)

    feeds = {v.name: indices[v.name] if v.name in indices else arrays[v.name].astype(np.float32) for v in model.graph.input}
    got = onnx_outputs(model, feeds)
    np.testing.assert_array_equal(got["routed_experts"].reshape(order.shape), order)
    result = next(v for n, v in got.items() if n != "routed_experts").reshape(expected.shape)
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(result / scale, expected / scale, **TOLERANCE)


@given(st.integers(1, 64), st.integers(1, 3000), st.data())
def test_expert_loads_add_up(experts: int, tokens: int, data: st.DataObject):
    k = data.draw(st.integers(1, experts))
    rows = expert_rows(UNIFORM, experts, k, tokens)
    assert sum(rows) == tokens * k
    assert k <= len(rows) <= min(experts, tokens * k)
    assert rows[-1] >= 1
    assert rows[0] <= tokens, "no expert has a token twice"
    assert rows[0] - rows[-1] <= 1
    expected = expected_active(UNIFORM, experts, k, tokens)
    assert len(rows) == max(k, min(round(expected), experts)) or abs(expected % 1 - 0.5) < 1e-9
