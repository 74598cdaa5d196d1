"""One small model of each architecture of the `transformers` package that our readers know, with random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import transformers

if TYPE_CHECKING:
    from collections.abc import Mapping

DENSE = {
    "vocab_size": 40,
    "hidden_size": 24,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
}
LATENT = {
    **{k: v for k, v in DENSE.items() if k != "head_dim"},
    "num_key_value_heads": 4,
    "num_hidden_layers": 3,
    "q_lora_rank": 12,
    "kv_lora_rank": 10,
    "qk_nope_head_dim": 6,
    "qk_rope_head_dim": 4,
    "v_head_dim": 5,
    "first_k_dense_replace": 1,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "n_shared_experts": 2,
    "moe_intermediate_size": 7,
    "routed_scaling_factor": 2.5,
}
GROUPED = {"n_group": 4, "topk_group": 2}
# Many heads: with few, many positions score exactly 0 behind the ReLU, and which of them are chosen is not defined.
INDEXER = {"index_n_heads": 16, "index_head_dim": 8, "index_topk": 5}
EXPERTS = {"num_local_experts": 6, "num_experts_per_tok": 2}
WINDOWS = ["sliding_attention", "full_attention"]

CASES: Mapping[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {**DENSE, "attention_bias": True, "mlp_bias": True}),
    "mistral": ("MistralConfig", {**DENSE, "sliding_window": 3}),
    "qwen2": ("Qwen2Config", {k: v for k, v in DENSE.items() if k != "head_dim"}),
    "qwen3": ("Qwen3Config", {**DENSE, "tie_word_embeddings": True}),
    "mixtral": ("MixtralConfig", {**DENSE, **EXPERTS}),
    "qwen2_moe": (
        "Qwen2MoeConfig",
        {
            **{k: v for k, v in DENSE.items() if k != "head_dim"},
            "num_experts": 6,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 7,
            "shared_expert_intermediate_size": 9,
            "mlp_only_layers": [1],
        },
    ),
    "qwen3_moe": (
        "Qwen3MoeConfig",
        {**DENSE, "num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 7, "norm_topk_prob": True},
    ),
    "glm4_moe": (
        "Glm4MoeConfig",
        {
            **DENSE,
            "attention_bias": True,
            "use_qk_norm": True,
            "first_k_dense_replace": 1,
            "n_routed_experts": 8,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 7,
            "routed_scaling_factor": 2.5,
            **GROUPED,
        },
    ),
    "gpt_oss": ("GptOssConfig", {**DENSE, **EXPERTS, "sliding_window": 3, "layer_types": WINDOWS}),
    "gemma2": ("Gemma2Config", {**DENSE, "sliding_window": 3, "layer_types": WINDOWS, "query_pre_attn_scalar": 9}),
    "gemma3": ("Gemma3TextConfig", {**DENSE, "sliding_window": 3, "layer_types": WINDOWS, "final_logit_softcapping": 2.0}),
    "gpt2": ("GPT2Config", {"vocab_size": 40, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 64}),
    "llama4": (
        "Llama4TextConfig",
        {
            **DENSE,
            "intermediate_size_mlp": 11,
            "num_hidden_layers": 4,
            "num_local_experts": 4,
            "num_experts_per_tok": 1,
            "interleave_moe_layer_step": 2,
            "attention_chunk_size": 4,
            "floor_scale": 2,
        },
    ),
    "deepseek_v2": ("DeepseekV2Config", {**LATENT, **GROUPED, "topk_method": "group_limited_greedy"}),
    "deepseek_v2_lite": ("DeepseekV2Config", {**LATENT, "q_lora_rank": None, "topk_method": "greedy"}),
    "deepseek_v3": ("DeepseekV3Config", {**LATENT, **GROUPED}),
    "deepseek_v32": ("DeepseekV32Config", {**LATENT, **GROUPED, **INDEXER}),
    "glm_moe_dsa": ("GlmMoeDsaConfig", {**LATENT, **INDEXER}),
}


def make(name: str, seed: int = 0) -> torch.nn.Module:
    """The model called `name` with random weights, norms and biases too, in float32, with attention computed in the open."""
    form, values = CASES[name]
    config = getattr(transformers, form)(**values)
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for tensor in (*model.parameters(), *(b for n, b in model.named_buffers() if n.endswith("e_score_correction_bias"))):
            fan_in = tensor.shape[-1] if tensor.dim() > 1 else 4
            tensor.copy_(torch.randn_like(tensor) / fan_in**0.5)
    return model
