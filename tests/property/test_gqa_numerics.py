"""Executing the ONNX of grouped attention and of sparse latent attention gives the numbers of a plain one written here."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.ir.precision import precision
from tests.onnx_outputs import onnx_outputs
from workloads.builder import GraphBuilder
from workloads.config import GqaConfig, IndexerConfig, MlaConfig, QkNorm, Step, Window, WindowForm
from workloads.layers import gqa, mla
from workloads.layers.attention_core import visible_share

EPS = 1e-6


@st.composite
def cases(draw: st.DrawFn) -> tuple[GqaConfig, Step, int]:
    groups = draw(st.integers(1, 3))
    window = draw(st.none() | st.builds(Window, st.integers(1, 5), st.sampled_from(WindowForm)))
    config = GqaConfig(
        d_model=draw(st.integers(1, 5)),
        heads=groups * draw(st.integers(1, 3)),
        kv_heads=groups,
        head_width=draw(st.integers(2, 5)),
        rms_eps=EPS,
        q_rank=draw(st.none() | st.integers(1, 4)),
        rotary=draw(st.sampled_from([0, 2])),
        interleaved=draw(st.booleans()),
        qkv_bias=draw(st.booleans()),
        o_bias=draw(st.booleans()),
        qk_norm=draw(st.sampled_from(QkNorm)),
        window=window,
        sinks=draw(st.booleans()),
        softcap=draw(st.sampled_from([None, 3.0])),
        temperature=draw(st.booleans()),
    )
    query_len = draw(st.integers(1, 4))
    step = Step(2, query_len, query_len + draw(st.integers(0, 6)), rope=draw(st.booleans()), norms=draw(st.booleans()))
    return config, step, draw(st.integers(0, 2**32 - 1))


def seen(config: GqaConfig, position: int) -> range:
    """Positions that the query at `position` sees."""
    w = config.window
    if w is None:
        return range(position + 1)
    start = position - w.size + 1 if w.form is WindowForm.SLIDING else position // w.size * w.size
    return range(max(0, start), position + 1)


def rms(x: np.ndarray, gain: np.ndarray | float) -> np.ndarray:
    return x / np.sqrt((x * x).mean() + EPS) * gain


def turn(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, interleaved: bool) -> np.ndarray:
    """The first two elements as one pair; with two, both layouts are the same."""
    out = x.copy()
    out[0], out[1] = x[0] * cos[0] - x[1] * sin[0], x[0] * sin[0] + x[1] * cos[0]
    return out


@settings(max_examples=80, deadline=None)
@given(cases())
def test_gqa_equals_a_plain_one(case: tuple[GqaConfig, Step, int]):  # noqa: C901  one plain attention, read from top to bottom
    c, s, seed = case
    rng = np.random.default_rng(seed)
    b = GraphBuilder("gqa", precision("fp32"))
    b.output(gqa.lower(b, b.activation("x", s.batch, s.query_len, c.d_model), c, s))
    model = b.build()
    a = {v.name: rng.normal(size=[d.dim_value for d in v.type.tensor_type.shape.dim]) for v in model.graph.input}
    keys_len = a["key_cache"].shape[2]
    first, base = s.cache_len - s.query_len, s.cache_len - keys_len
    a["write_indices"] = np.full(s.batch, first - base, dtype=np.int64)
    if s.query_len > 1:
        mask = np.full((s.query_len, keys_len), -np.inf)
        for i in range(s.query_len):
            for t in seen(c, first + i):
                mask[i, t - base] = 0
        a["mask"] = mask
        assert visible_share(s.query_len, s.cache_len, c.window) == pytest.approx((mask == 0).mean())
    expected = np.zeros((s.batch, s.query_len, c.d_model))
    for n in range(s.batch):
        keys, values = a["key_cache"][n].copy(), a["value_cache"][n].copy()
        queries = np.zeros((s.query_len, c.heads, c.head_width))
        for i in range(s.query_len):
            x = a["x"][n, i]

            def shaped(v: np.ndarray, name: str, i: int = i, n: int = n) -> np.ndarray:
                if s.norms and c.qk_norm is QkNorm.RMS:
                    v = rms(v, a[f"{name}_norm_gain"])
                if s.rope and c.rotary:
                    v = turn(v, a["rope_cos"][n, i], a["rope_sin"][n, i], c.interleaved)
                return rms(v, 1.0) if s.norms and c.qk_norm is QkNorm.L2 else v

            for g in range(c.kv_heads):
                k, v = x @ a["w_k"][:, g], x @ a["w_v"][:, g]
                if c.qkv_bias:
                    k, v = k + a["b_k"][g, 0], v + a["b_v"][g, 0]
                keys[g, first - base + i], values[g, first - base + i] = shaped(k, "key"), v
            z = x
            if c.q_rank is not None:
                z = x @ a["w_dq"]
                z = rms(z, a["query_latent_norm_gain"]) if s.norms else z
            for h in range(c.heads):
                q = z @ a["w_q"][:, h]
                q = shaped(q + a["b_q"][h, 0] if c.qkv_bias else q, "query")
                queries[i, h] = q * a["temperature"][i, 0] if c.temperature else q
        share = c.heads // c.kv_heads
        for i in range(s.query_len):
            visible = [t - base for t in seen(c, first + i)]
            for h in range(c.heads):
                g = h // share
                score = keys[g, visible] @ queries[i, h] / np.sqrt(c.head_width)
                score = c.softcap * np.tanh(score / c.softcap) if c.softcap else score
                sink = a["sinks"].reshape(-1)[h] if c.sinks else -np.inf
                top = max(score.max(), sink)
                e = np.exp(score - top)
                p = e / (e.sum() + np.exp(sink - top))
                expected[n, i] += p @ values[g, visible] @ a["w_o"].reshape(c.heads, c.head_width, c.d_model)[h]
        if c.o_bias:
            expected[n] += a["b_o"]
    feeds = {k: v if v.dtype == np.int64 else v.astype(np.float32) for k, v in a.items()}
    got = onnx_outputs(model, feeds)["attention_out"]
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(got / scale, expected / scale, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("query_len", [2, 4])
@pytest.mark.parametrize("scheme", mla.SCHEMES)
def test_sparse_attention_that_keeps_the_visible_positions_is_dense(scheme: str, query_len: int):
    """Queries that see at most top_k positions must give dense attention; masked choices may not count."""
    rng = np.random.default_rng(3)
    dense = MlaConfig(d_model=6, heads=2, q_rank=4, kv_rank=5, qk_nope=3, qk_rope=2, v_head=3, rms_eps=EPS)
    sparse = replace(dense, indexer=IndexerConfig(heads=2, width=4, top_k=4))
    step = Step(2, query_len, 5, rope=True, norms=True)
    values: dict[str, np.ndarray] = {}
    outputs = []
    for config in (dense, sparse):
        b = GraphBuilder("mla", precision("fp32"))
        b.output(mla.lower(b, b.activation("x", 2, query_len, 6), config, step, mla.SCHEMES[scheme]))
        model = b.build()
        for v in model.graph.input:
            if v.name not in values:
                values[v.name] = rng.normal(size=[d.dim_value for d in v.type.tensor_type.shape.dim]).astype(np.float32)
        values["write_indices"] = np.full(2, 5 - query_len, dtype=np.int64)
        values["index_rows"] = np.arange(2, dtype=np.int64).reshape(2, 1, 1) * 5
        # each query sees at most 4 of 5 positions: the first position is hidden from the last query
        mask = np.triu(np.full((query_len, 5), -np.inf, dtype=np.float32), 5 - query_len + 1)
        mask[-1, 0] = -np.inf
        values["mask"] = mask
        feeds = {v.name: values[v.name] for v in model.graph.input}
        outputs.append(onnx_outputs(model, feeds))
    np.testing.assert_allclose(outputs[0]["attention_out"], outputs[1]["attention_out"], rtol=1e-4, atol=1e-4)
