"""Mutated configurations are read and lowered, or refused with an error of ours; never a traceback, never by declared size."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dse.errors import DseError
from dse.ir.lowering import LoweringRequest, Part, Phase
from dse.ir.precision import precision
from workloads.catalogue import CATALOGUE

COMMON = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "vocab_size": 100,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 32,
}
MLA = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_nope_head_dim": 4, "qk_rope_head_dim": 4, "v_head_dim": 4, "rms_norm_eps": 1e-6}
ROUTER = {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "first_k_dense_replace": 1, "n_shared_experts": 1}
SCORES = {
    "scoring_func": "sigmoid",
    "topk_method": "noaux_tc",
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "n_group": 2,
    "topk_group": 1,
}
INDEXER = {"index_n_heads": 2, "index_head_dim": 4, "index_topk": 4}
CONFIGS = [
    {"model_type": "llama", **COMMON},
    {"model_type": "mistral", "sliding_window": 3, **COMMON},
    {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2, **COMMON},
    {"model_type": "qwen3_moe", "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "mlp_only_layers": [1], **COMMON},
    {"model_type": "gpt_oss", "num_local_experts": 4, "num_experts_per_tok": 2, "quantization_config": {"quant_method": "mxfp4"}, **COMMON},
    {"model_type": "gemma2", "sliding_window": 3, "head_dim": 8, **COMMON},
    {"model_type": "llama4_text", "intermediate_size_mlp": 64, "num_local_experts": 4, "interleave_moe_layer_step": 2, **COMMON},
    {"model_type": "deepseek_v32", **COMMON, **MLA, **ROUTER, **SCORES, **INDEXER},
    {"model_type": "glm4_moe", **COMMON, **ROUTER},
    {
        "model_type": "glm_moe_dsa",
        **COMMON,
        **MLA,
        **ROUTER,
        **SCORES,
        **INDEXER,
        "indexer_types": ["full"] * 4,
        "rope_parameters": {"factor": 40},
    },
    {"model_type": "deepseek_v2", **COMMON, **MLA, **ROUTER, "norm_topk_prob": False, "routed_scaling_factor": 1.0, "rope_scaling": None},
    {
        "model_type": "qwen3_moe",
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 8,
        "layer_types": None,
        **COMMON,
    },
    {"model_type": "qwen2_moe", "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8, "sliding_window": 0, **COMMON},
    {"model_type": "gemma3_text", "sliding_window": 3, "final_logit_softcapping": 2.0, "query_pre_attn_scalar": 8, **COMMON},
    {
        "model_type": "step3_text",
        "share_q_dim": 8,
        "moe_intermediate_size": 8,
        "share_expert_dim": 8,
        "moe_num_experts": 4,
        "moe_top_k": 2,
        "moe_layers_enum": "1,2",
        **COMMON,
    },
    {"model_type": "kimi_k25", "text_config": {"model_type": "kimi_k2", **COMMON, **MLA, **ROUTER, **SCORES}},
    {"model_type": "llama", "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}, **COMMON},
    {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64, "vocab_size": 50},
]
VALUES = st.sampled_from([None, 0, -1, 1, 2, 3, 7, 10**6, 10**18, 10**30, "x", True, [], {}, 1.5, [1], [10**9], {"a": 1}])


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(CONFIGS), st.data())
def test_mutations(tmp_path: Path, config: dict[str, object], data: st.DataObject):
    changes = data.draw(st.dictionaries(st.sampled_from(sorted(config)), VALUES, max_size=3))
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**config, **changes}))
    try:
        model = CATALOGUE.from_file(str(path))
        lowered = model.lower(
            LoweringRequest(
                phase=Phase.PREFILL,
                batch=2,
                query_len=3,
                cache_len=9,
                attention=model.attention_schemes[0],
                precision=precision(model.precision),
                rope=True,
                norms=True,
                part=Part.LAYER,
                layer=None,
            )
        )
    except DseError as e:
        assert str(e)
    else:
        assert lowered.parameters_total >= lowered.parameters_active > 0


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: str(c["model_type"]))
def test_unchanged_configurations_are_read(tmp_path: Path, config: dict[str, object]):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    inner = config.get("text_config", config)
    assert CATALOGUE.from_file(str(path)).layers == inner.get("num_hidden_layers", inner.get("n_layer"))
