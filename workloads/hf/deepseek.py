"""Hugging Face configurations of the DeepSeek family: multi-head latent attention with mixtures of experts."""

from __future__ import annotations

from dataclasses import replace
from math import log, sqrt
from typing import TYPE_CHECKING, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from workloads.config import FfnConfig, IndexerConfig, MlaConfig, ModelConfig, MoeConfig, Scoring, first_dense
from workloads.hf.common import ConfigFile
from workloads.schema import MAX_LAYERS, check_groups

if TYPE_CHECKING:
    from workloads.config import GqaConfig


class RopeScaling(ConfigFile):
    """What stretched positions do to the scores."""

    factor: PositiveFloat | None = None
    """How many times as many positions."""
    mscale_all_dim: float | None = Field(default=None, ge=0)
    """Weight of the factor on the scores."""


class DeepseekConfigFile(ConfigFile):
    """The keys of a `config.json` that fix dimensions; all others are left alone."""

    model_type: str
    """Architecture."""
    hidden_size: PositiveInt
    """Model width."""
    num_hidden_layers: PositiveInt = Field(le=MAX_LAYERS)
    """Decoder layers."""
    vocab_size: PositiveInt
    """Entries of the vocabulary."""
    tie_word_embeddings: bool = False
    """The output head uses the embedding's matrix."""
    rms_norm_eps: PositiveFloat
    """Epsilon of the normalisations."""
    num_attention_heads: PositiveInt
    """Attention heads."""
    q_lora_rank: PositiveInt | None
    """Width of the query latent; null where queries are projected directly."""
    kv_lora_rank: PositiveInt
    """Width of the cached latent."""
    qk_nope_head_dim: PositiveInt
    """Query and key width per head without position."""
    qk_rope_head_dim: PositiveInt = Field(multiple_of=2)
    """Rotary width."""
    v_head_dim: PositiveInt
    """Value width per head."""
    intermediate_size: PositiveInt
    """Inner width of the dense layers."""
    hidden_act: Literal["silu"] = "silu"
    """Nonlinearity."""
    attention_bias: Literal[False] = False
    """Projections have no biases."""
    first_k_dense_replace: int = Field(ge=0)
    """Dense layers at the start."""
    moe_layer_freq: Literal[1] = 1
    """Every later layer is a mixture of experts."""
    n_routed_experts: PositiveInt
    """Routed experts."""
    num_experts_per_tok: PositiveInt
    """Routed experts per token."""
    n_shared_experts: int | None = Field(default=None, ge=0)
    """Shared experts."""
    moe_intermediate_size: PositiveInt
    """Inner width of one expert."""
    scoring_func: Literal["sigmoid", "softmax"] | None = None
    """How router logits become weights; left out: softmax in DeepSeek-V2, sigmoid from V3 on."""
    topk_method: Literal["noaux_tc", "greedy", "group_limited_greedy"] | None = None
    """How experts are selected; left out: greedy in DeepSeek-V2, noaux_tc from V3 on."""
    norm_topk_prob: bool
    """Weights of the chosen experts sum to one."""
    routed_scaling_factor: PositiveFloat
    """Factor on the weights of routed experts."""
    n_group: PositiveInt | None = None
    """Groups of the group-limited selection."""
    topk_group: PositiveInt | None = None
    """Groups a token may use."""
    num_nextn_predict_layers: int | None = Field(default=None, ge=0, le=MAX_LAYERS)
    """Multi-token-prediction modules; DeepSeek's own default is 1 from V3 on."""
    index_n_heads: PositiveInt | None = None
    """Heads of the indexer of sparse attention."""
    index_head_dim: PositiveInt | None = None
    """Width of its queries and key."""
    index_topk: PositiveInt | None = None
    """Positions that it keeps."""
    indexer_types: tuple[Literal["full"], ...] | None = None
    """Every layer has an indexer of its own; layers that share one are not modelled."""
    rope_scaling: RopeScaling | None = None
    """Stretching of positions; its factor on the scores."""
    rope_parameters: RopeScaling | None = None
    """The same as newer files call it."""

    @model_validator(mode="after")
    def _fits(self) -> DeepseekConfigFile:
        if self.num_experts_per_tok > self.n_routed_experts:
            raise ValueError(f"num_experts_per_tok {self.num_experts_per_tok} is larger than n_routed_experts {self.n_routed_experts}")
        if self.first_k_dense_replace > self.num_hidden_layers:
            raise ValueError(
                f"first_k_dense_replace {self.first_k_dense_replace} is larger than num_hidden_layers {self.num_hidden_layers}"
            )
        check_groups(self.n_routed_experts, self.num_experts_per_tok, *self.groups)
        if len({self.index_n_heads is None, self.index_head_dim is None, self.index_topk is None}) != 1:
            raise ValueError("index_n_heads, index_head_dim and index_topk go together; give all three or none")
        return self

    @property
    def second(self) -> bool:
        """DeepSeek-V2, whose router is another than that of the later models."""
        return self.model_type == "deepseek_v2"

    @property
    def selection(self) -> str:
        """How experts are selected."""
        return self.topk_method or ("greedy" if self.second else "noaux_tc")

    @property
    def scale(self) -> float | None:
        """Factor on the scores where positions are stretched: m² / sqrt(query width), m = 0.1 · mscale_all_dim · ln(factor) + 1.

        None where they are not. Source: DeepSeek-V3 inference/model.py (mscale).
        """
        given = self.rope_scaling or self.rope_parameters
        if given is None or given.factor is None or given.factor <= 1 or not given.mscale_all_dim:
            return None
        m = 0.1 * given.mscale_all_dim * log(given.factor) + 1
        return m * m / sqrt(self.qk_nope_head_dim + self.qk_rope_head_dim)

    @property
    def groups(self) -> tuple[int, int]:
        """Groups, and those a token may use; a greedy selection has one."""
        if self.selection == "greedy":
            return 1, 1
        return self.n_group or 1, self.topk_group or 1


def to_model(file: DeepseekConfigFile) -> ModelConfig:
    """The model of a checked file."""
    mtp = file.num_nextn_predict_layers
    if mtp is None:
        mtp = 0 if file.second else 1
    attention = MlaConfig(
        d_model=file.hidden_size,
        heads=file.num_attention_heads,
        q_rank=file.q_lora_rank,
        kv_rank=file.kv_lora_rank,
        qk_nope=file.qk_nope_head_dim,
        qk_rope=file.qk_rope_head_dim,
        v_head=file.v_head_dim,
        rms_eps=file.rms_norm_eps,
        indexer=_indexer(file),
        scale=file.scale,
    )
    groups, groups_per_token = file.groups
    moe = MoeConfig(
        d_model=file.hidden_size,
        width=file.moe_intermediate_size,
        experts=file.n_routed_experts,
        experts_per_token=file.num_experts_per_tok,
        shared_experts=file.n_shared_experts or 0,
        scoring=Scoring(file.scoring_func or ("softmax" if file.second else "sigmoid")),
        selection_bias=file.selection == "noaux_tc",
        normalise_weights=file.norm_topk_prob,
        routed_scaling=file.routed_scaling_factor,
        groups=groups,
        groups_per_token=groups_per_token,
    )
    return ModelConfig(
        name=f"{file.model_type}_config",
        summary=f"{file.model_type} from a Hugging Face config.json, {file.num_hidden_layers} layers",
        pattern=first_dense(file.num_hidden_layers, file.first_k_dense_replace),
        vocabulary=file.vocab_size,
        tied_embedding=file.tie_word_embeddings,
        attention=attention,
        dense=FfnConfig(d_model=file.hidden_size, width=file.intermediate_size),
        moe=moe,
        mha_small=_published_baseline(attention),
        mtp_layers=mtp,
    )


def _published_baseline(attention: MlaConfig) -> GqaConfig | None:
    """The MLA paper's MHA_s, where the attention is the one of the paper (DeepSeek-V3's)."""
    from workloads.catalogue import model_config

    paper = model_config("deepseek_v3")
    return paper.mha_small if replace(paper.attention, scale=None) == replace(attention, scale=None) else None


def _indexer(file: DeepseekConfigFile) -> IndexerConfig | None:
    if file.index_n_heads is None or file.index_head_dim is None or file.index_topk is None:
        return None
    pairs = file.model_type == "glm_moe_dsa"  # DeepSeek-V3.2 rotates the indexer's halves, GLM its neighbouring elements
    return IndexerConfig(heads=file.index_n_heads, width=file.index_head_dim, top_k=file.index_topk, interleaved=pairs)
