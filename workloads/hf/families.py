"""Hugging Face configurations of Llama, Mistral, Qwen, Gemma, GPT-OSS, GLM, GPT-2 and Step-3."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from pydantic import AliasChoices, Field, PositiveFloat, PositiveInt

from dse.errors import InputError
from dse.files import validate
from workloads.config import Activation, FfnConfig, GqaConfig, ModelConfig, MoeConfig, QkNorm, Scoring, WindowForm
from workloads.hf.common import ConfigFile, DecoderFile, pattern, windowed
from workloads.schema import MAX_LAYERS, check_groups

if TYPE_CHECKING:
    from collections.abc import Callable

    from dse.files import Document

Silu = Literal["silu"]
_GELU: Final = {
    "gelu": Activation.GELU,
    "gelu_new": Activation.GELU_TANH,
    "gelu_pytorch_tanh": Activation.GELU_TANH,
    "relu": Activation.RELU,
}


class LlamaFile(DecoderFile):
    """Llama 2 and 3, Mistral, Qwen2, Qwen3."""

    intermediate_size: PositiveInt
    """Inner width."""
    hidden_act: Silu = "silu"
    """Nonlinearity."""
    attention_bias: bool = False
    """All four projections have biases."""
    mlp_bias: bool = False
    """The network has biases."""
    sliding_window: int | None = Field(default=None, ge=0)
    """Positions of the window; none where 0."""
    use_sliding_window: bool = True
    """Qwen: the window is used at all."""
    max_window_layers: int | None = Field(default=None, ge=0)
    """Qwen: layers before this one are full."""


class MixtralFile(LlamaFile):
    """Mixtral."""

    num_local_experts: PositiveInt
    """Experts."""
    num_experts_per_tok: PositiveInt
    """Experts per token."""


class QwenMoeFile(LlamaFile):
    """Qwen2-MoE and Qwen3-MoE."""

    moe_intermediate_size: PositiveInt
    """Inner width of an expert."""
    num_experts: PositiveInt = Field(validation_alias=AliasChoices("num_experts", "num_local_experts"))
    """Experts; newer files call them num_local_experts."""
    num_experts_per_tok: PositiveInt
    """Experts per token."""
    norm_topk_prob: bool = False
    """Weights of the chosen experts sum to one."""
    decoder_sparse_step: PositiveInt = 1
    """Every n-th layer is a mixture of experts."""
    mlp_only_layers: tuple[int, ...] = ()
    """Layers that are dense."""
    shared_expert_intermediate_size: PositiveInt | None = None
    """Inner width of the shared expert (Qwen2-MoE)."""


class GlmFile(LlamaFile):
    """GLM-4.5 and its kin."""

    moe_intermediate_size: PositiveInt
    """Inner width of an expert."""
    n_routed_experts: PositiveInt
    """Experts."""
    n_shared_experts: int = Field(ge=0)
    """Shared experts."""
    num_experts_per_tok: PositiveInt
    """Experts per token."""
    first_k_dense_replace: int = Field(ge=0)
    """Dense layers at the start."""
    n_group: PositiveInt = 1
    """Groups of the selection."""
    topk_group: PositiveInt = 1
    """Groups a token may use."""
    norm_topk_prob: bool = True
    """Weights of the chosen experts sum to one."""
    routed_scaling_factor: PositiveFloat = 1.0
    """Factor on the weights of routed experts."""
    use_qk_norm: bool = False
    """Every query and key vector is normalised."""
    num_nextn_predict_layers: int = Field(default=0, ge=0, le=MAX_LAYERS)
    """Multi-token-prediction modules."""


class GptOssFile(DecoderFile):
    """GPT-OSS."""

    intermediate_size: PositiveInt
    """Inner width of an expert."""
    num_local_experts: PositiveInt
    """Experts."""
    num_experts_per_tok: PositiveInt
    """Experts per token."""
    hidden_act: Silu = "silu"
    """Nonlinearity."""
    swiglu_limit: float = Field(default=7.0, ge=7.0, le=7.0)
    """Clipping of gate and up; 7."""
    attention_bias: bool = True
    """All four projections have biases."""
    sliding_window: PositiveInt = 128
    """Positions of the window."""


class Llama4File(DecoderFile):
    """Llama 4, the language model."""

    intermediate_size: PositiveInt
    """Inner width of an expert."""
    intermediate_size_mlp: PositiveInt
    """Inner width of dense layers."""
    num_local_experts: PositiveInt
    """Experts."""
    num_experts_per_tok: Literal[1] = 1
    """Experts per token."""
    interleave_moe_layer_step: PositiveInt = 1
    """Every n-th layer is a mixture of experts."""
    moe_layers: tuple[int, ...] | None = None
    """Layers that are mixtures of experts."""
    no_rope_layers: tuple[int, ...] | None = None
    """Per layer 1 for rotation and near positions, 0 for neither."""
    no_rope_layer_interval: PositiveInt = 4
    """Every n-th layer has no rotation and sees all positions."""
    attention_chunk_size: PositiveInt | None = 8192
    """Positions of a chunk."""
    use_qk_norm: bool = True
    """Rotated vectors are normalised."""
    attn_temperature_tuning: bool | int = True
    """Queries of layers without rotation are scaled by position."""
    attention_bias: bool = False
    """All four projections have biases."""
    hidden_act: Silu = "silu"
    """Nonlinearity."""


class GemmaFile(DecoderFile):
    """Gemma 2 and 3, the language model."""

    tie_word_embeddings: bool = True
    """The output head uses the embedding's matrix."""
    vocab_size: PositiveInt = 262208
    """Entries of the vocabulary; the default of Gemma 3."""
    num_attention_heads: PositiveInt = 8
    """Attention heads."""
    num_key_value_heads: PositiveInt | None = 4
    """Heads of keys and values."""
    head_dim: PositiveInt | None = 256
    """Width of a head."""
    intermediate_size: PositiveInt
    """Inner width."""
    hidden_activation: Literal["gelu_pytorch_tanh"] | None = "gelu_pytorch_tanh"
    """Nonlinearity."""
    query_pre_attn_scalar: PositiveFloat = 256.0
    """Scores are divided by its root."""
    attn_logit_softcapping: PositiveFloat | None = None
    """Scores are squashed to plus and minus this."""
    final_logit_softcapping: PositiveFloat | None = None
    """Logits are squashed to plus and minus this."""
    use_bidirectional_attention: Literal[False] | None = None
    """Attention is causal."""
    attention_bias: bool = False
    """All four projections have biases."""
    sliding_window: PositiveInt = 4096
    """Positions of the window."""
    sliding_window_pattern: PositiveInt | None = None
    """Every n-th layer is full."""


class Gemma2File(GemmaFile):
    """Gemma 2, whose scores and logits are squashed unless the file says else."""

    vocab_size: PositiveInt = 256000
    """Entries of the vocabulary."""
    attn_logit_softcapping: PositiveFloat | None = 50.0
    """Scores are squashed to plus and minus this."""
    final_logit_softcapping: PositiveFloat | None = 30.0
    """Logits are squashed to plus and minus this."""


class Gpt2File(ConfigFile):
    """GPT-2 and models of its form, such as GPT-3."""

    model_type: str
    """Architecture."""
    n_embd: PositiveInt
    """Model width."""
    n_layer: PositiveInt = Field(le=MAX_LAYERS)
    """Decoder layers."""
    n_head: PositiveInt
    """Attention heads."""
    n_positions: PositiveInt
    """Rows of the position table."""
    n_inner: PositiveInt | None = None
    """Inner width; four times the model width where left out."""
    vocab_size: PositiveInt
    """Entries of the vocabulary."""
    layer_norm_epsilon: PositiveFloat = 1e-5
    """Epsilon of the normalisations."""
    activation_function: Literal["gelu", "gelu_new", "gelu_pytorch_tanh", "relu"] = "gelu_new"
    """Nonlinearity."""
    tie_word_embeddings: bool = True
    """The output head uses the embedding's matrix."""


class Step3File(DecoderFile):
    """Step-3, the language model: multi-matrix factorisation attention."""

    share_q_dim: PositiveInt
    """Width of the query latent."""
    num_attention_groups: Literal[1] = 1
    """Heads of keys and values."""
    head_dim: PositiveInt | None = 256
    """Width of a head."""
    intermediate_size: PositiveInt
    """Inner width of dense layers."""
    moe_intermediate_size: PositiveInt
    """Inner width of an expert."""
    share_expert_dim: PositiveInt
    """Inner width of the shared expert."""
    moe_num_experts: PositiveInt
    """Experts."""
    moe_top_k: PositiveInt
    """Experts per token."""
    norm_expert_weight: bool = False
    """Weights of the chosen experts sum to one."""
    moe_layers_enum: str | tuple[int, ...] = tuple(range(4, 60))
    """Layers that are mixtures of experts, as a list or a comma-separated text."""


def _model(file: DecoderFile, layers: tuple[tuple[bool, ...], tuple[bool, ...]], attention: GqaConfig, **more: object) -> ModelConfig:
    """A model of `layers` (which are local, which are mixtures of experts); `more` are fields of `ModelConfig`."""
    return ModelConfig(
        name=f"{file.model_type}_config",
        summary=f"{file.model_type} from a Hugging Face config.json, {file.num_hidden_layers} layers",
        pattern=pattern(*layers),
        vocabulary=file.vocab_size,
        tied_embedding=file.tie_word_embeddings,
        attention=attention,
        **more,  # type: ignore[arg-type]
    )


def _moe(file: DecoderFile, width: int, experts: int, chosen: int, **more: object) -> MoeConfig:
    """A mixture of experts; softmax over the chosen experts alone unless `more`, fields of `MoeConfig`, says else."""
    if chosen > experts:
        raise ValueError(f"{chosen} experts per token are more than the {experts} experts")
    values: dict[str, object] = {
        "shared_experts": 0,
        "scoring": Scoring.SOFTMAX,
        "selection_bias": False,
        "normalise_weights": True,
        "routed_scaling": 1.0,
        "groups": 1,
        "groups_per_token": 1,
        **more,
    }
    return MoeConfig(d_model=file.hidden_size, width=width, experts=experts, experts_per_token=chosen, **values)  # type: ignore[arg-type]


def _all(file: DecoderFile, value: bool) -> tuple[bool, ...]:
    return (value,) * file.num_hidden_layers


def _some(file: DecoderFile, layers: tuple[int, ...], key: str) -> tuple[bool, ...]:
    """Layers of a list of indices as flags."""
    wrong = [i for i in layers if not 0 <= i < file.num_hidden_layers]
    if wrong:
        raise ValueError(f"{key} names layer {wrong[0]}; allowed: 0 to {file.num_hidden_layers - 1}")
    return tuple(i in set(layers) for i in range(file.num_hidden_layers))


def _llama_attention(file: LlamaFile, *, qkv_bias: bool, o_bias: bool, qk_norm: QkNorm = QkNorm.NONE, rotary: float = 1.0) -> GqaConfig:
    return file.attention(qkv_bias=qkv_bias, o_bias=o_bias, qk_norm=qk_norm, rotary_share=rotary)


def _llama_local(file: LlamaFile) -> tuple[bool, ...]:
    """Local layers: all with a window, but for Qwen, where it is switched on and starts at a layer."""
    if not file.sliding_window or not file.use_sliding_window:
        return _all(file, False)
    first = file.max_window_layers or 0
    return file.local_layers([i >= first for i in range(file.num_hidden_layers)])


def llama(file: LlamaFile) -> ModelConfig:
    """Llama, Mistral, Qwen2, Qwen3: dense layers."""
    if file.model_type == "qwen2":
        attention = _llama_attention(file, qkv_bias=True, o_bias=False)
    else:
        norm = QkNorm.RMS if file.model_type == "qwen3" else QkNorm.NONE
        attention = _llama_attention(file, qkv_bias=file.attention_bias, o_bias=file.attention_bias, qk_norm=norm)
    local = _llama_local(file) if file.model_type != "llama" else _all(file, False)
    dense = FfnConfig(d_model=file.hidden_size, width=file.intermediate_size, bias=file.mlp_bias)
    near = windowed(attention, file.sliding_window) if any(local) else None
    return _model(file, (local, _all(file, False)), attention, local=near, dense=dense, moe=None)


def mixtral(file: MixtralFile) -> ModelConfig:
    """Mixtral: every layer a mixture of experts."""
    attention = _llama_attention(file, qkv_bias=False, o_bias=False)
    local = _llama_local(file)
    moe = _moe(file, file.intermediate_size, file.num_local_experts, file.num_experts_per_tok)
    near = windowed(attention, file.sliding_window) if any(local) else None
    return _model(file, (local, _all(file, True)), attention, local=near, dense=None, moe=moe)


def qwen_moe(file: QwenMoeFile) -> ModelConfig:
    """Qwen2-MoE and Qwen3-MoE."""
    second = file.model_type == "qwen2_moe"
    if second:
        attention = _llama_attention(file, qkv_bias=True, o_bias=False)
    else:
        attention = _llama_attention(file, qkv_bias=file.attention_bias, o_bias=file.attention_bias, qk_norm=QkNorm.RMS)
    dense_layers = _some(file, file.mlp_only_layers, "mlp_only_layers")
    sparse = tuple((i + 1) % file.decoder_sparse_step == 0 and not dense_layers[i] for i in range(file.num_hidden_layers))
    shared = file.shared_expert_intermediate_size if second else None
    moe = _moe(
        file,
        file.moe_intermediate_size,
        file.num_experts,
        file.num_experts_per_tok,
        normalise_weights=file.norm_topk_prob,
        shared_experts=0 if shared is None else 1,
        shared_width=shared,
        shared_gate=shared is not None,
    )
    local = _llama_local(file)
    near = windowed(attention, file.sliding_window) if any(local) else None
    dense = FfnConfig(d_model=file.hidden_size, width=file.intermediate_size)
    return _model(file, (local, sparse), attention, local=near, dense=dense, moe=moe)


def glm(file: GlmFile) -> ModelConfig:
    """GLM-4.5: half of each head rotated, DeepSeek's router."""
    norm = QkNorm.RMS if file.use_qk_norm else QkNorm.NONE
    attention = _llama_attention(file, qkv_bias=file.attention_bias, o_bias=False, qk_norm=norm, rotary=0.5)
    check_groups(file.n_routed_experts, file.num_experts_per_tok, file.n_group, file.topk_group)
    moe = _moe(
        file,
        file.moe_intermediate_size,
        file.n_routed_experts,
        file.num_experts_per_tok,
        shared_experts=file.n_shared_experts,
        scoring=Scoring.SIGMOID,
        selection_bias=True,
        normalise_weights=file.norm_topk_prob,
        routed_scaling=file.routed_scaling_factor,
        groups=file.n_group,
        groups_per_token=file.topk_group,
    )
    sparse = tuple(i >= file.first_k_dense_replace for i in range(file.num_hidden_layers))
    dense = FfnConfig(d_model=file.hidden_size, width=file.intermediate_size)
    return _model(file, (_all(file, False), sparse), attention, dense=dense, moe=moe, mtp_layers=file.num_nextn_predict_layers)


def gpt_oss(file: GptOssFile) -> ModelConfig:
    """GPT-OSS: windows on even layers, sinks, biases everywhere."""
    attention = file.attention(qkv_bias=file.attention_bias, o_bias=file.attention_bias, sinks=True)
    local = file.local_layers([i % 2 == 0 for i in range(file.num_hidden_layers)])
    moe = _moe(
        file,
        file.intermediate_size,
        file.num_local_experts,
        file.num_experts_per_tok,
        router_bias=True,
        bias=True,
        activation=Activation.CLAMPED,
    )
    near = windowed(attention, file.sliding_window)
    return _model(file, (local, _all(file, True)), attention, local=near, dense=None, moe=moe)


def llama4(file: Llama4File) -> ModelConfig:
    """Llama 4: rotated layers see their chunk, the others all positions; an expert and a shared one per token."""
    from dataclasses import replace

    n = file.num_hidden_layers
    bias = {"qkv_bias": file.attention_bias, "o_bias": file.attention_bias}
    rotated = replace(file.attention(qk_norm=QkNorm.L2 if file.use_qk_norm else QkNorm.NONE, **bias), interleaved=True)
    plain = replace(rotated, rotary=0, qk_norm=QkNorm.NONE, temperature=bool(file.attn_temperature_tuning))
    flags = file.no_rope_layers or tuple(int((i + 1) % file.no_rope_layer_interval != 0) for i in range(n))
    if len(flags) != n:
        raise ValueError(f"no_rope_layers has {len(flags)} entries, num_hidden_layers is {n}")
    near = windowed(rotated, file.attention_chunk_size, WindowForm.CHUNKED) or rotated
    step = file.interleave_moe_layer_step
    sparse = _some(file, file.moe_layers, "moe_layers") if file.moe_layers is not None else tuple((i + 1) % step == 0 for i in range(n))
    moe = _moe(
        file,
        file.intermediate_size,
        file.num_local_experts,
        file.num_experts_per_tok,
        shared_experts=1,
        scoring=Scoring.SIGMOID,
        normalise_weights=False,
        scale_input=True,
    )
    dense = FfnConfig(d_model=file.hidden_size, width=file.intermediate_size_mlp)
    return _model(file, (tuple(bool(f) for f in flags), sparse), plain, local=near, dense=dense, moe=moe)


def gemma(file: GemmaFile) -> ModelConfig:
    """Gemma 2 and 3: norms before and behind, alternating windows."""
    third = file.model_type == "gemma3_text"
    attention = file.attention(
        qkv_bias=file.attention_bias,
        o_bias=file.attention_bias,
        qk_norm=QkNorm.RMS if third else QkNorm.NONE,
        softcap=None if third else file.attn_logit_softcapping,
        scale=1 / sqrt(file.query_pre_attn_scalar),
    )
    every = file.sliding_window_pattern or (6 if third else 2)
    local = file.local_layers([(i + 1) % every != 0 for i in range(file.num_hidden_layers)])
    dense = FfnConfig(d_model=file.hidden_size, width=file.intermediate_size, activation=Activation.GELU_TANH)
    near = windowed(attention, file.sliding_window)
    return _model(
        file,
        (local, _all(file, False)),
        attention,
        local=near,
        dense=dense,
        moe=None,
        post_norms=True,
        embedding_scale=sqrt(file.hidden_size),
        logit_softcap=file.final_logit_softcapping,
    )


def step3(file: Step3File) -> ModelConfig:
    """Step-3: queries through a latent, one head of keys and values."""
    one = file.model_copy(update={"num_key_value_heads": 1})
    attention = one.attention(q_rank=file.share_q_dim)
    listed = file.moe_layers_enum
    if isinstance(listed, str):
        parts = [part.strip() for part in listed.split(",")]
        if not all(part.isdecimal() and len(part) < 6 for part in parts):
            raise ValueError(f"moe_layers_enum is '{listed[:40]}'; a list of layers such as 4,5,6 is needed")
        listed = tuple(int(part) for part in parts)
    moe = _moe(
        file,
        file.moe_intermediate_size,
        file.moe_num_experts,
        file.moe_top_k,
        shared_experts=1,
        shared_width=file.share_expert_dim,
        normalise_weights=file.norm_expert_weight,
    )
    dense = FfnConfig(d_model=file.hidden_size, width=file.intermediate_size)
    return _model(file, (_all(file, False), _some(file, listed, "moe_layers_enum")), attention, dense=dense, moe=moe)


def gpt2(file: Gpt2File) -> ModelConfig:
    """GPT-2: learned positions, layer norms and biases."""
    if file.n_embd % file.n_head:
        raise ValueError(f"n_embd {file.n_embd} is not a multiple of n_head {file.n_head}")
    attention = GqaConfig(
        d_model=file.n_embd,
        heads=file.n_head,
        kv_heads=file.n_head,
        head_width=file.n_embd // file.n_head,
        rms_eps=file.layer_norm_epsilon,
        rotary=0,
        qkv_bias=True,
        o_bias=True,
    )
    layers = (False,) * file.n_layer
    return ModelConfig(
        name=f"{file.model_type}_config",
        summary=f"{file.model_type} from a Hugging Face config.json, {file.n_layer} layers",
        pattern=pattern(layers, layers),
        vocabulary=file.vocab_size,
        tied_embedding=file.tie_word_embeddings,
        attention=attention,
        dense=FfnConfig(
            d_model=file.n_embd,
            width=file.n_inner or 4 * file.n_embd,
            gated=False,
            activation=_GELU[file.activation_function],
            bias=True,
        ),
        moe=None,
        layer_norm=True,
        positions=file.n_positions,
    )


_Form = TypeVar("_Form", bound=ConfigFile)


def _reader(form: type[_Form], make: Callable[[_Form], ModelConfig]) -> Callable[[Document], ModelConfig]:
    """A reader that turns values which do not fit each other into an error of the file."""

    def read(document: Document) -> ModelConfig:
        file = validate(document, form)
        try:
            return make(file)
        except ValueError as e:
            raise InputError.single(document.where(), str(e)) from e

    return read


READERS: Final[dict[str, Callable[[Document], ModelConfig]]] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), _reader(LlamaFile, llama)),
    "mixtral": _reader(MixtralFile, mixtral),
    **dict.fromkeys(("qwen2_moe", "qwen3_moe"), _reader(QwenMoeFile, qwen_moe)),
    "glm4_moe": _reader(GlmFile, glm),
    "gpt_oss": _reader(GptOssFile, gpt_oss),
    **dict.fromkeys(("llama4_text",), _reader(Llama4File, llama4)),
    "gemma2": _reader(Gemma2File, gemma),
    "gemma3_text": _reader(GemmaFile, gemma),
    "gpt2": _reader(Gpt2File, gpt2),
    "step3_text": _reader(Step3File, step3),
}
"""Architecture to its reader."""
