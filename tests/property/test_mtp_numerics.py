"""The multi-token-prediction module as lowered, a prompt and then further tokens on its own cache, gives the numbers of a plain one.

The plain one runs the whole sequence at once in float64. Source: DeepSeek-V3, arXiv 2412.19437, section 2.2, equations 21 to 23.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dse.ir.expert_load import LoadKind, Routing
from dse.ir.lowering import LoweringRequest, Part, Phase
from dse.ir.precision import precision
from tests.onnx_outputs import onnx_outputs
from tests.property.test_mla_numerics import EPS, TOLERANCE, Arrays, Case, plain_mla, rms_norm
from tests.property.test_moe_variants import acted, selected, sigmoid
from tests.transformers.lowered import dispatched
from workloads.catalogue import CATALOGUE
from workloads.config import Activation, MlaConfig, Step

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto

    from workloads.config import MoeConfig
    from workloads.model import DecoderModel

CONFIG = {
    "model_type": "deepseek_v3",
    "hidden_size": 6,
    "num_hidden_layers": 2,
    "vocab_size": 11,
    "rms_norm_eps": EPS,
    "num_attention_heads": 2,
    "q_lora_rank": 4,
    "kv_lora_rank": 5,
    "qk_nope_head_dim": 3,
    "qk_rope_head_dim": 2,
    "v_head_dim": 3,
    "intermediate_size": 7,
    "first_k_dense_replace": 1,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "moe_intermediate_size": 3,
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "n_group": 4,
    "topk_group": 2,
    "num_nextn_predict_layers": 1,
}
"""Every mechanism of DeepSeek-V3 at sizes of a few."""
MATRICES = ("gate", "up", "down")


@dataclass(frozen=True)
class Sizes:
    """A prompt of `prompt` tokens, then steps of `more` tokens each."""

    batch: int
    prompt: int
    more: tuple[int, ...]

    @property
    def total(self) -> int:
        return self.prompt + sum(self.more)

    @property
    def bounds(self) -> list[tuple[int, int]]:
        """First token and end of every step."""
        ends = np.cumsum([self.prompt, *self.more]).tolist()
        return list(zip([0, *ends], ends, strict=False))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> DecoderModel:
    path: Path = tmp_path_factory.mktemp("config") / "config.json"
    path.write_text(json.dumps(CONFIG))
    return CATALOGUE.from_file(str(path))


def drawn(model: DecoderModel, sizes: Sizes, rng: np.random.Generator) -> Arrays:
    """Random weights of the module by the names of the lowering, token ids and the main model's hidden states [B, T, D]."""
    c, moe = model.config.attention, moe_of(model)
    assert isinstance(c, MlaConfig)
    d, f, words = c.d_model, moe.width, model.config.vocabulary
    rank = c.q_width
    shapes = {
        "hidden": (sizes.batch, sizes.total, d),
        "w_embedding": (words, d),
        "w_mtp": (2 * d, d),
        "w_dq": (d, rank),
        "w_uq": (rank, c.heads, c.qk_nope),
        "w_qr": (rank, c.heads, c.qk_rope),
        "w_dkv": (d, c.kv_rank),
        "w_kr": (d, c.qk_rope),
        "w_uk": (c.kv_rank, c.heads, c.qk_nope),
        "w_uv": (c.kv_rank, c.heads, c.v_head),
        "w_o": (c.heads, c.v_head, d),
        "w_router": (d, moe.experts),
        "router_bias": (moe.experts,),
        **{name: (moe.experts, *((f, d) if name == "down" else (d, f))) for name in MATRICES},
        **{f"shared_w_{name}": (f, d) if name == "down" else (d, f) for name in MATRICES},
        "w_head": (d, words),
    }
    arrays = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    gains = ("hidden_norm", "embedding_norm", "attention_norm", "ffn_norm", "final_norm")
    arrays |= {f"{name}_gain": rng.normal(size=d) for name in gains}
    arrays |= {"query_norm_gain": rng.normal(size=rank), "latent_norm_gain": rng.normal(size=c.kv_rank)}
    arrays["w_uq_uk"] = np.einsum("qhn,rhn->qhr", arrays["w_uq"], arrays["w_uk"])
    arrays["w_uv_o"] = np.einsum("rhv,hvd->hrd", arrays["w_uv"], arrays["w_o"])
    angle = rng.uniform(0, 6, size=(sizes.batch, sizes.total, c.qk_rope // 2))
    return arrays | {
        "rope_cos": np.cos(angle),
        "rope_sin": np.sin(angle),
        "token_ids": rng.integers(words, size=(sizes.batch, sizes.total)),
    }


def moe_of(model: DecoderModel) -> MoeConfig:
    assert model.config.moe is not None
    return model.config.moe


def each_row(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
    return np.apply_along_axis(rms_norm, -1, x, gain)


def plain_module(model: DecoderModel, sizes: Sizes, a: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Logits [B, T, vocabulary] and chosen experts [B, T, K] of every position.

    `w_mtp` is M of equation 21 with its halves as the published weights have them: the embedding's first, then the hidden state's.
    """
    c = model.config.attention
    assert isinstance(c, MlaConfig)
    d = c.d_model
    of_embedding, of_hidden = a["w_mtp"][:d], a["w_mtp"][d:]
    tokens = each_row(a["w_embedding"][a["token_ids"]], a["embedding_norm_gain"])
    x = each_row(a["hidden"], a["hidden_norm_gain"]) @ of_hidden + tokens @ of_embedding
    step = Step(sizes.batch, sizes.total, sizes.total, rope=True, norms=True)
    empty = np.zeros((sizes.batch, sizes.total, c.kv_rank + c.qk_rope))
    attended, _ = plain_mla(Case(c, step, 0), {**a, "x": each_row(x, a["attention_norm_gain"]), "latent_cache": empty})
    x = x + attended
    chosen = np.zeros((sizes.batch, sizes.total, moe_of(model).experts_per_token), dtype=np.int64)
    for b, t in np.ndindex(sizes.batch, sizes.total):
        added, chosen[b, t] = plain_experts(moe_of(model), rms_norm(x[b, t], a["ffn_norm_gain"]), a)
        x[b, t] += added
    return each_row(x, a["final_norm_gain"]) @ a["w_head"], chosen


def plain_experts(c: MoeConfig, x: np.ndarray, a: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Shared and routed experts of one token [D], and which are chosen; equations 12 to 16."""

    def expert(gate: np.ndarray, up: np.ndarray, down: np.ndarray) -> np.ndarray:
        return acted(x @ gate, x @ up, Activation.SILU) @ down

    scores = sigmoid(x @ a["w_router"])
    best = selected(scores + a["router_bias"], c)
    weights = scores[best] / scores[best].sum() * c.routed_scaling
    routed = sum(w * expert(*(a[n][e] for n in MATRICES)) for w, e in zip(weights, best, strict=True))
    return routed + expert(*(a[f"shared_w_{n}"] for n in MATRICES)), best


def executed(onnx: ModelProto, arrays: Arrays) -> Arrays:
    """Outputs of a part; floats are fed as the part carries them."""
    return onnx_outputs(onnx, {k: v.astype(np.float32 if v.dtype.kind == "f" else np.int64) for k, v in arrays.items()})


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    sizes=st.builds(Sizes, st.integers(1, 2), st.integers(1, 5), st.lists(st.integers(1, 3), max_size=3).map(tuple)),
    scheme=st.sampled_from(["left_to_right", "naive", "reuse_both", "recompute"]),
    seed=st.integers(0, 2**32 - 1),
)
@example(sizes=Sizes(batch=2, prompt=4, more=(1, 2)), scheme="left_to_right", seed=1)
def test_the_module_equals_a_plain_one(model: DecoderModel, sizes: Sizes, scheme: str, seed: int) -> None:
    a = drawn(model, sizes, np.random.default_rng(seed))
    logits, chosen = plain_module(model, sizes, a)
    scale = max(1.0, float(np.abs(logits).max()))
    past: np.ndarray | None = None
    for first, end in sizes.bounds:
        phase = Phase.PREFILL if first == 0 else Phase.DECODE
        table = chosen[:, first:end].reshape(-1, chosen.shape[2])
        loads = np.bincount(table.ravel(), minlength=moe_of(model).experts)
        request = LoweringRequest(
            phase=phase,
            batch=sizes.batch,
            query_len=end - first,
            cache_len=end,
            attention=scheme,
            precision=precision("fp32"),
            rope=True,
            norms=True,
            part=Part.LAYER,
            layer=None,
            routing=Routing(LoadKind.LOADS, counts=tuple(map(float, loads))),
            mtp=True,
        )
        parts = {p.name: p.onnx for p in model.lower(request).parts}
        now = {k: v[:, first:end] if k in ("hidden", "token_ids", "rope_cos", "rope_sin") else v for k, v in a.items()}
        joined = executed(parts["mtp_input"], now)["mtp_in"]
        room = np.full((sizes.batch, end - first, 7), 7.0)  # latent 5 and rotated key 2, of the new tokens: nobody may read it
        now |= {
            "x": joined,
            "latent_cache": room if past is None else np.concatenate([past, room], axis=1),
            "write_indices": np.full(sizes.batch, first),
            "mask": np.triu(np.full((end - first, end), -np.inf), first + 1),
        }
        members, permutations = dispatched(table, loads)
        now |= permutations | {f"expert_w_{n}_{label}": a[n][experts] for n in MATRICES for label, experts in members.items()}
        layer = executed(parts["mtp_layer_moe"], now)
        np.testing.assert_array_equal(layer["routed_experts"].reshape(table.shape), table)
        past = layer["latent_cache_after"]
        last = end - 1 if phase is Phase.PREFILL else first
        got = executed(parts["mtp_head"], now | {"hidden": layer["ffn_residual"][:, last - first :]})["logits"]
        np.testing.assert_allclose(got / scale, logits[:, last:end] / scale, **TOLERANCE)
