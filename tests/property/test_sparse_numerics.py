"""Sparse latent attention that drops visible positions gives the numbers of a plain one written here, in every scheme."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from dse.ir.precision import precision
from tests.onnx_outputs import onnx_outputs
from workloads.builder import GraphBuilder
from workloads.config import IndexerConfig, MlaConfig, Step
from workloads.layers import mla

EPS = 1e-6
CONFIG = MlaConfig(
    d_model=6,
    heads=2,
    q_rank=4,
    kv_rank=5,
    qk_nope=3,
    qk_rope=2,
    v_head=3,
    rms_eps=EPS,
    indexer=IndexerConfig(heads=8, width=4, top_k=3),
)
GAP = 1e-4
"""Positions whose scores are nearer than this may be chosen either way; such examples are left out."""


def rms(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * gain


def turned(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """The first two elements rotated as one pair."""
    return np.concatenate([x[..., :1] * cos - x[..., 1:2] * sin, x[..., :1] * sin + x[..., 1:2] * cos, x[..., 2:]], axis=-1)


def plain(a: dict[str, np.ndarray], query_len: int, cache_len: int) -> np.ndarray:
    """Attention of the new tokens of one sequence, keys and values written out per head."""
    c, i = CONFIG, CONFIG.indexer
    assert i is not None
    first = cache_len - query_len
    x, cos, sin = a["x"], a["rope_cos"], a["rope_sin"]
    latent = np.concatenate([rms(x @ a["w_dkv"], a["latent_norm_gain"]), turned(x @ a["w_kr"], cos, sin)], axis=-1)
    index_key = x @ a["w_index_key"]
    spread = np.sqrt(index_key.var(-1, keepdims=True) + EPS)
    index_key = (index_key - index_key.mean(-1, keepdims=True)) / spread * a["index_key_norm_gain"] + a["index_key_norm_bias"]
    cache, index_cache = a["latent_cache"].copy(), a["index_cache"].copy()
    cache[first:], index_cache[first:] = latent, turned(index_key, cos, sin)
    query_latent = rms(x @ a["w_dq"], a["query_norm_gain"])
    out = np.zeros((query_len, c.d_model))
    for s in range(query_len):
        seen = first + s + 1
        merit = np.zeros(seen)
        for h in range(i.heads):
            q = turned(query_latent[s] @ a["w_index_query"][:, h], cos[s], sin[s])
            merit += (x[s] @ a["w_index_heads"][:, h]) * np.maximum(index_cache[:seen] @ q, 0)
        order = np.argsort(-merit)
        if seen > i.top_k:
            assume(merit[order[i.top_k - 1]] - merit[order[i.top_k]] > GAP)
        rows = cache[order[: i.top_k]]
        for h in range(c.heads):
            keys = np.concatenate([rows[:, : c.kv_rank] @ a["w_uk"][:, h], rows[:, c.kv_rank :]], axis=1)
            q = np.concatenate([query_latent[s] @ a["w_uq"][:, h], turned(query_latent[s] @ a["w_qr"][:, h], cos[s], sin[s])])
            score = keys @ q / np.sqrt(c.qk_nope + c.qk_rope)
            p = np.exp(score - score.max())
            out[s] += p / p.sum() @ (rows[:, : c.kv_rank] @ a["w_uv"][:, h]) @ a["w_o"][h]
    return out


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 3), st.integers(1, 6), st.sampled_from(sorted(mla.SCHEMES)), st.integers(0, 2**32 - 1))
@example(1, 6, "left_to_right", 1)  # decode of one token
@example(1, 3, "naive", 2)
@example(3, 4, "reuse_both", 3)
def test_sparse_attention_equals_a_plain_one(query_len: int, before: int, scheme: str, seed: int):
    rng = np.random.default_rng(seed)
    cache_len = before + query_len
    b = GraphBuilder("mla", precision("fp32"))
    step = Step(2, query_len, cache_len, rope=True, norms=True)
    b.output(mla.lower(b, b.activation("x", 2, query_len, CONFIG.d_model), CONFIG, step, mla.SCHEMES[scheme]))
    model = b.build()
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input}
    factors = {"w_uq": [4, 2, 3], "w_uk": [5, 2, 3], "w_uv": [5, 2, 3], "w_o": [2, 3, 6]}  # schemes take these or their products
    a = {name: rng.normal(size=shape) for name, shape in {**factors, **shapes}.items()}
    a["w_uq_uk"] = np.einsum("qhn,rhn->qhr", a["w_uq"], a["w_uk"])
    a["w_uv_o"] = np.einsum("rhv,hvd->hrd", a["w_uv"], a["w_o"])
    a["write_indices"] = np.full(2, before)
    a["index_rows"] = np.arange(2).reshape(2, 1, 1) * cache_len
    a["mask"] = np.triu(np.full((query_len, cache_len), -np.inf), before + 1)
    own = ("x", "rope_cos", "rope_sin", "latent_cache", "index_cache")
    if cache_len <= CONFIG.indexer.top_k:  # all positions are kept, so the lowering has no queries of the indexer
        a |= {"w_index_query": rng.normal(size=[4, 8, 4]), "w_index_heads": rng.normal(size=[6, 8])}
    expected = [plain({k: v[n] if k in own else v for k, v in a.items()}, query_len, cache_len) for n in range(2)]
    feeds = {n: a[n].astype(np.int64 if n in ("write_indices", "index_rows") else np.float32) for n in shapes}
    got = onnx_outputs(model, feeds)["attention_out"]
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(got / scale, np.array(expected) / scale, rtol=2e-4, atol=2e-4)
