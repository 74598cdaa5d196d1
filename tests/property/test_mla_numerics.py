"""Executing the ONNX of every scheme gives the numbers of a plain MLA written here, for random small dimensions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.ir.precision import precision
from tests.onnx_outputs import onnx_outputs
from workloads.builder import GraphBuilder
from workloads.config import GqaConfig, MlaConfig, Step
from workloads.layers import gqa, mla

if TYPE_CHECKING:
    from onnx import ModelProto

EPS = 1e-6
TOLERANCE = {"rtol": 2e-4, "atol": 2e-5}
"""float32 sums of a few dozen products of order one; composites add one more rounding."""
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    config: MlaConfig
    step: Step
    seed: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    small = st.integers(1, 5)
    q_rank = draw(st.none() | small)
    query_len = draw(st.integers(1, 4))
    config = MlaConfig(
        d_model=draw(small),
        heads=draw(st.integers(1, 3)),
        q_rank=q_rank,
        kv_rank=draw(small),
        qk_nope=draw(small),
        qk_rope=2 * draw(st.integers(1, 3)),
        v_head=draw(small),
        rms_eps=EPS,
    )
    step = Step(
        batch=draw(st.integers(1, 3)),
        query_len=query_len,
        cache_len=query_len + draw(st.integers(0, 4)),
        rope=draw(st.booleans()),
        norms=draw(st.booleans()),
    )
    return Case(config, step, draw(st.integers(0, 2**32 - 1)))


def inputs(case: Case) -> Arrays:
    """Random float32 inputs of every scheme; the composites are products of the factors."""
    c, s = case.config, case.step
    rng = np.random.default_rng(case.seed)
    width = c.kv_rank + (c.qk_rope if s.rope else 0)
    shapes = {
        "x": (s.batch, s.query_len, c.d_model),
        "w_dq": (c.d_model, c.q_rank or 1),
        "w_uq": (c.q_width, c.heads, c.qk_nope),
        "w_qr": (c.q_width, c.heads, c.qk_rope),
        "w_dkv": (c.d_model, c.kv_rank),
        "w_kr": (c.d_model, c.qk_rope),
        "w_uk": (c.kv_rank, c.heads, c.qk_nope),
        "w_uv": (c.kv_rank, c.heads, c.v_head),
        "w_o": (c.heads, c.v_head, c.d_model),
        "query_norm_gain": (c.q_rank or 1,),
        "latent_norm_gain": (c.kv_rank,),
        "latent_cache": (s.batch, s.cache_len, width),
    }
    arrays: Arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    angle = rng.uniform(0, 6, size=(s.batch, s.query_len, c.qk_rope // 2))
    arrays["rope_cos"], arrays["rope_sin"] = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
    arrays["write_indices"] = np.full(s.batch, s.cache_len - s.query_len, dtype=np.int64)
    rows, columns = np.indices((s.query_len, s.cache_len))
    arrays["mask"] = np.where(columns <= rows + s.cache_len - s.query_len, 0, -np.inf).astype(np.float32)  # [S, T]
    arrays["w_uq_uk"] = np.einsum("qhn,rhn->qhr", arrays["w_uq"], arrays["w_uk"])
    arrays["w_uv_o"] = np.einsum("rhv,hvd->hrd", arrays["w_uv"], arrays["w_o"])
    return arrays


def rms_norm(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x * x).mean() + EPS) * gain


def rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """Neighbouring pairs of one vector, as complex numbers."""
    turned = (x[0::2] + 1j * x[1::2]) * (cos + 1j * sin)
    return np.stack([turned.real, turned.imag], axis=1).reshape(-1)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max())
    return e / e.sum()


def plain_mla(case: Case, arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Multi-head latent attention token by token and head by head in float64: output [B, S, D] and cache [B, T, R + E]."""
    c, s = case.config, case.step
    a = {k: v.astype(np.float64) for k, v in arrays.items()}
    cache = a["latent_cache"].copy()
    out = np.zeros((s.batch, s.query_len, c.d_model))
    first = s.cache_len - s.query_len
    for b in range(s.batch):
        for i in range(s.query_len):
            latent = a["x"][b, i] @ a["w_dkv"]
            cache[b, first + i, : c.kv_rank] = rms_norm(latent, a["latent_norm_gain"]) if s.norms else latent
            if s.rope:
                cache[b, first + i, c.kv_rank :] = rotate(a["x"][b, i] @ a["w_kr"], a["rope_cos"][b, i], a["rope_sin"][b, i])
        for i in range(s.query_len):
            query = a["x"][b, i]
            if c.q_rank is not None:
                query = query @ a["w_dq"]
                query = rms_norm(query, a["query_norm_gain"]) if s.norms else query
            for h in range(c.heads):
                q = query @ a["w_uq"][:, h]
                visible = cache[b, : first + i + 1]
                keys = visible[:, : c.kv_rank] @ a["w_uk"][:, h]
                if s.rope:
                    q = np.concatenate([q, rotate(query @ a["w_qr"][:, h], a["rope_cos"][b, i], a["rope_sin"][b, i])])
                    keys = np.concatenate([keys, visible[:, c.kv_rank :]], axis=1)
                values = visible[:, : c.kv_rank] @ a["w_uv"][:, h]
                out[b, i] += softmax(keys @ q / np.sqrt(len(q))) @ values @ a["w_o"][h]
    return out, cache


def lower(case: Case, scheme: mla.Scheme) -> ModelProto:
    b = GraphBuilder(scheme.name, precision("fp32"))
    x = b.activation("x", case.step.batch, case.step.query_len, case.config.d_model)
    b.output(mla.lower(b, x, case.config, case.step, scheme))
    return b.build()


def feeds(model: ModelProto, arrays: Arrays) -> Arrays:
    return {value.name: arrays[value.name] for value in model.graph.input}


@settings(max_examples=40, deadline=None)
@given(cases())
def test_every_scheme_equals_a_plain_mla(case: Case):
    arrays = inputs(case)
    expected, cache = plain_mla(case, arrays)
    scale = max(1.0, float(np.abs(expected).max()))
    for scheme in mla.schemes():
        got = onnx_outputs(lower(case, scheme), arrays)
        np.testing.assert_allclose(got["attention_out"] / scale, expected / scale, **TOLERANCE, err_msg=scheme.name)
        np.testing.assert_allclose(got["latent_cache_after"], cache, **TOLERANCE, err_msg=scheme.name)


@pytest.mark.parametrize("query_len", [1, 3])
@pytest.mark.parametrize("rope", [False, True])
def test_onnxruntime_agrees(rope: bool, query_len: int):
    onnxruntime = pytest.importorskip("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of every cache copy
    options.intra_op_num_threads = 1
    config = MlaConfig(d_model=12, heads=3, q_rank=6, kv_rank=8, qk_nope=4, qk_rope=2, v_head=5, rms_eps=EPS)
    case = Case(config, Step(batch=2, query_len=query_len, cache_len=7, rope=rope, norms=True), seed=1)
    arrays = inputs(case)
    expected, _ = plain_mla(case, arrays)
    for scheme in mla.schemes():
        model = lower(case, scheme)
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        (got,) = session.run(["attention_out"], feeds(model, arrays))
        np.testing.assert_allclose(got, expected, rtol=2e-4, atol=2e-3, err_msg=scheme.name)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 5), st.integers(1, 3), st.integers(2, 5), st.integers(1, 3), st.integers(0, 3), st.booleans(), st.integers(0, 2**32 - 1)
)
def test_mha_equals_a_plain_mha(d_model: int, heads: int, width: int, query_len: int, cached: int, rope: bool, seed: int):
    step = Step(batch=2, query_len=query_len, cache_len=query_len + cached, rope=rope, norms=False)
    rng = np.random.default_rng(seed)
    b = GraphBuilder("mha", precision("fp32"))
    config = GqaConfig(d_model=d_model, heads=heads, kv_heads=heads, head_width=width, rms_eps=EPS)
    b.output(gqa.lower(b, b.activation("x", step.batch, query_len, d_model), config, step))
    model = b.build()
    arrays: Arrays = {
        v.name: rng.normal(size=[d.dim_value for d in v.type.tensor_type.shape.dim]).astype(np.float32) for v in model.graph.input
    }
    arrays["write_indices"] = np.full(step.batch, cached, dtype=np.int64)
    if query_len > 1:
        arrays["mask"] = np.triu(np.full((query_len, step.cache_len), -np.inf, dtype=np.float32), cached + 1)
    expected = np.zeros((step.batch, query_len, d_model))
    turned = width // 2 * 2
    for n in range(step.batch):
        for h in range(heads):
            keys, values = arrays["key_cache"][n, h].astype(float), arrays["value_cache"][n, h].astype(float)
            queries = []
            for i in range(query_len):
                q, k, v = (arrays["x"][n, i].astype(float) @ arrays[w][:, h] for w in ("w_q", "w_k", "w_v"))
                if rope:
                    table = (arrays["rope_cos"][n, i], arrays["rope_sin"][n, i])
                    q[:turned], k[:turned] = rotate(q[:turned], *table), rotate(k[:turned], *table)
                keys[cached + i], values[cached + i] = k, v
                queries.append(q)
            for i, q in enumerate(queries):
                seen = cached + i + 1
                expected[n, i] += softmax(keys[:seen] @ q / np.sqrt(width)) @ values[:seen] @ arrays["w_o"][h]
    got = onnx_outputs(model, arrays)["attention_out"]
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(got / scale, expected / scale, **TOLERANCE)
