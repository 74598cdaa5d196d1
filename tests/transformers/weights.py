"""Weights of a model of the `transformers` package under the names and shapes of our lowered inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workloads.config import GqaConfig, MlaConfig, QkNorm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from workloads.config import ModelConfig, MoeConfig

    Arrays = dict[str, NDArray[np.float32]]
    State = Mapping[str, NDArray[np.float32]]


def renamed(state: State) -> State:
    """GPT-2's names as those of the other models; its matrices are stored input first."""
    if not any(".h." in name for name in state):
        return state
    found: Arrays = {"model.embed_tokens.weight": state["transformer.wte.weight"], "w_positions": state["transformer.wpe.weight"]}
    plain = {"ln_1": "input_layernorm", "ln_2": "post_attention_layernorm", "attn.c_proj": "self_attn.o_proj", "mlp.c_fc": "mlp.up_proj"}
    plain["mlp.c_proj"] = "mlp.down_proj"
    for name, value in state.items():
        layer, _, rest = name.removeprefix("transformer.h.").partition(".")
        part, _, kind = rest.rpartition(".")
        value = value.T if value.ndim == 2 else value
        if part == "attn.c_attn":
            for letter, third in zip("qkv", np.split(value, 3), strict=True):
                found[f"model.layers.{layer}.self_attn.{letter}_proj.{kind}"] = third
        elif part in plain:
            found[f"model.layers.{layer}.{plain[part]}.{kind}"] = value
        elif name.startswith("transformer.ln_f"):
            found[f"model.norm.{name.rpartition('.')[2]}"] = value
    found["lm_head.weight"] = state["lm_head.weight"]
    return found


def norm(state: State, source: str, target: str, *, plus_one: bool) -> Arrays:
    """Gain and bias of a norm; Gemma's gains are stored without the one."""
    found = {f"{target}_gain": state[f"{source}.weight"] + np.float32(plus_one)}
    if f"{source}.bias" in state:
        found[f"{target}_bias"] = state[f"{source}.bias"]
    return found


def outside(state: State, config: ModelConfig, *, plus_one: bool) -> Arrays:
    """Weights of embedding and head."""
    found = {"w_embedding": state["model.embed_tokens.weight"], **norm(state, "model.norm", "final_norm", plus_one=plus_one)}
    found["w_head"] = (state["model.embed_tokens.weight"] if config.tied_embedding else state["lm_head.weight"]).T
    if "w_positions" in state:
        found["w_positions"] = state["w_positions"]
    return found


def layer(state: State, index: int, config: ModelConfig, *, plus_one: bool) -> Arrays:
    """Weights of layer `index`, experts as stacks [E, ...] under `experts.gate`, `.up`, `.down`."""
    own = {name.removeprefix(f"model.layers.{index}."): v for name, v in state.items() if name.startswith(f"model.layers.{index}.")}
    before_ffn, after_attention = "post_attention_layernorm", None
    if config.post_norms:
        before_ffn, after_attention = "pre_feedforward_layernorm", "post_attention_layernorm"
    found = norm(own, "input_layernorm", "attention_norm", plus_one=plus_one)
    found |= norm(own, before_ffn, "ffn_norm", plus_one=plus_one)
    if after_attention is not None:
        found |= norm(own, after_attention, "attention_post_norm", plus_one=plus_one)
        found |= norm(own, "post_feedforward_layernorm", "ffn_post_norm", plus_one=plus_one)
    kind = config.pattern[index]
    form = config.local if kind.local else config.attention
    assert form is not None
    found |= latent(own, form) if isinstance(form, MlaConfig) else grouped(own, form, plus_one=plus_one)
    network = "feed_forward" if any(name.startswith("feed_forward") for name in own) else "mlp"
    if kind.moe:
        assert config.moe is not None
        return found | experts(own, f"{network}.", config.moe)
    return found | dense(own, f"{network}.", "ffn")


def grouped(own: State, c: GqaConfig, *, plus_one: bool) -> Arrays:
    """Projections, biases, norms and sinks of attention with keys and values of its own."""
    found: Arrays = {}
    for letter, heads in (("q", c.heads), ("k", c.kv_heads), ("v", c.kv_heads)):
        found[f"w_{letter}"] = own[f"self_attn.{letter}_proj.weight"].reshape(heads, c.head_width, c.d_model).transpose(2, 0, 1)
        if c.qkv_bias:
            found[f"b_{letter}"] = own[f"self_attn.{letter}_proj.bias"].reshape(heads, 1, c.head_width)
    heads_of = (c.heads,) if c.heads == c.kv_heads else (c.kv_heads, c.heads // c.kv_heads)
    found["w_o"] = own["self_attn.o_proj.weight"].T.reshape(*heads_of, c.head_width, c.d_model)
    if c.o_bias:
        found["b_o"] = own["self_attn.o_proj.bias"]
    if c.qk_norm is QkNorm.RMS:
        found |= norm(own, "self_attn.q_norm", "query_norm", plus_one=plus_one)
        found |= norm(own, "self_attn.k_norm", "key_norm", plus_one=plus_one)
    if c.sinks:
        found["sinks"] = own["self_attn.sinks"].reshape(*heads_of, 1, 1)
    return found


def latent(own: State, c: MlaConfig) -> Arrays:
    """Factors of latent attention, their products, and the indexer."""
    a = {name.removeprefix("self_attn.").removesuffix(".weight"): v for name, v in own.items() if name.startswith("self_attn.")}
    query = a["q_proj" if c.q_rank is None else "q_b_proj"].reshape(c.heads, c.qk_nope + c.qk_rope, c.q_width).transpose(2, 0, 1)
    key_value = a["kv_b_proj"].reshape(c.heads, c.qk_nope + c.v_head, c.kv_rank).transpose(2, 0, 1)
    down = a["kv_a_proj_with_mqa"].T
    found = {
        "w_uq": query[..., : c.qk_nope],
        "w_qr": query[..., c.qk_nope :],
        "w_uk": key_value[..., : c.qk_nope],
        "w_uv": key_value[..., c.qk_nope :],
        "w_dkv": down[:, : c.kv_rank],
        "w_kr": down[:, c.kv_rank :],
        "latent_norm_gain": a["kv_a_layernorm"],
        "w_o": a["o_proj"].T.reshape(c.heads, c.v_head, c.d_model),
    }
    found["w_uq_uk"] = np.einsum("qhn,rhn->qhr", found["w_uq"], found["w_uk"])
    found["w_uv_o"] = np.einsum("rhv,hvd->hrd", found["w_uv"], found["w_o"])
    if c.q_rank is not None:
        found |= {"w_dq": a["q_a_proj"].T, "query_norm_gain": a["q_a_layernorm"]}
    if c.indexer is not None:
        i = c.indexer
        found["w_index_query"] = a["indexer.wq_b"].reshape(i.heads, i.width, c.q_width).transpose(2, 0, 1)
        found |= {"w_index_key": a["indexer.wk"].T, "w_index_heads": a["indexer.weights_proj"].T}
        found |= {"index_key_norm_gain": a["indexer.k_norm"], "index_key_norm_bias": a["indexer.k_norm.bias"]}
    return found


def dense(own: State, source: str, target: str) -> Arrays:
    """The matrices of a network, and their biases."""
    found: Arrays = {}
    for theirs, ours, biased in (("gate", "gate", "gate"), ("up", "up", "up"), ("down", "down", "out")):
        if f"{source}{theirs}_proj.weight" in own:
            found[f"{target}_w_{ours}"] = own[f"{source}{theirs}_proj.weight"].T
        if f"{source}{theirs}_proj.bias" in own:
            found[f"{target}_{biased}_bias"] = own[f"{source}{theirs}_proj.bias"]
    return found


def experts(own: State, source: str, c: MoeConfig) -> Arrays:
    """Router, shared experts, and the routed ones as stacks."""
    router = f"{source}router" if f"{source}router.weight" in own else f"{source}gate"
    found = {"w_router": own[f"{router}.weight"].T}
    if c.router_bias:
        found["router_logit_bias"] = own[f"{router}.bias"]
    if c.selection_bias:
        found["router_bias"] = own[f"{router}.e_score_correction_bias"]
    for shared in ("shared_experts", "shared_expert"):
        found |= dense(own, f"{source}{shared}.", "shared")
    if c.shared_gate:
        found["w_shared_gate"] = own[f"{source}shared_expert_gate.weight"].T
    both, down = own[f"{source}experts.gate_up_proj"], own[f"{source}experts.down_proj"]
    if both.shape[1] != c.d_model or c.d_model == 2 * c.width:  # stored output first
        both, down = both.transpose(0, 2, 1), down.transpose(0, 2, 1)
    if not c.bias:
        return found | {"experts.gate": both[..., : c.width], "experts.up": both[..., c.width :], "experts.down": down}
    found |= {"experts.gate": both[..., ::2], "experts.up": both[..., 1::2], "experts.down": down}  # GPT-OSS: gate and up alternate
    bias = own[f"{source}experts.gate_up_proj_bias"][:, None, :]
    return found | {
        "bias.gate": bias[..., ::2],
        "bias.up": bias[..., 1::2],
        "bias.down": own[f"{source}experts.down_proj_bias"][:, None, :],
    }
