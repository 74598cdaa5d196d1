"""The file form of a model: what a YAML of the catalogue may say."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from dse.files import FileForm
from workloads.config import FfnConfig, MhaConfig, MlaConfig, ModelConfig, MoeConfig, Scoring


class AttentionFile(FileForm):
    """Multi-head latent attention."""

    heads: PositiveInt
    """Attention heads."""
    q_rank: PositiveInt | None
    """Width of the query latent; null where queries are projected directly."""
    kv_rank: PositiveInt
    """Width of the cached latent."""
    qk_nope: PositiveInt
    """Query and key width per head without position."""
    qk_rope: PositiveInt = Field(multiple_of=2)
    """Rotary width, shared by all heads; even."""
    v_head: PositiveInt
    """Value width per head."""
    rope_theta: PositiveFloat
    """Base of the rotary angles; recorded."""


class DenseFile(FileForm):
    """Dense feed-forward layers, the first ones of the model."""

    layers: int = Field(ge=0)
    """Number of layers, counted from the first."""
    width: PositiveInt
    """Inner width."""


class MoeFile(FileForm):
    """Mixture-of-experts layers."""

    experts: PositiveInt
    """Routed experts."""
    experts_per_token: PositiveInt
    """Routed experts per token."""
    shared_experts: int = Field(ge=0)
    """Experts that every token uses."""
    width: PositiveInt
    """Inner width of one expert."""
    scoring: Literal["sigmoid", "softmax"]
    """How router logits become weights."""
    selection_bias: bool
    """A bias per expert that counts for the selection only."""
    normalise_weights: bool
    """Weights of the chosen experts are made to sum to one."""
    routed_scaling: PositiveFloat
    """Factor on the weights of routed experts."""
    groups: PositiveInt
    """Groups of the group-limited selection; recorded."""
    groups_per_token: PositiveInt
    """Groups a token may use; recorded."""

    @model_validator(mode="after")
    def _fits(self) -> MoeFile:
        if self.experts_per_token > self.experts:
            raise ValueError(f"experts_per_token {self.experts_per_token} is larger than experts {self.experts}")
        return self


class MhaFile(FileForm):
    """A multi-head attention baseline."""

    d_model: PositiveInt
    """Model width."""
    heads: PositiveInt
    """Attention heads."""
    head_width: PositiveInt
    """Width of queries, keys and values per head."""


class ModelFile(FileForm):
    """A decoder model with multi-head latent attention."""

    schema_version: Literal[1]
    """Version of this form."""
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Catalogue name: lower case, digits, underscores."""
    summary: str
    """One line for lists."""
    layers: PositiveInt
    """Decoder layers."""
    d_model: PositiveInt
    """Model width."""
    vocabulary: PositiveInt
    """Entries of the vocabulary."""
    tied_embedding: bool
    """The output head uses the embedding's matrix."""
    rms_eps: PositiveFloat
    """Epsilon of the normalisations."""
    attention: AttentionFile
    """Multi-head latent attention."""
    dense: DenseFile
    """Dense feed-forward layers."""
    moe: MoeFile | None = None
    """Mixture-of-experts layers: all that are not dense."""
    mha_small: MhaFile | None = None
    """The multi-head attention of equal parameter count, if a paper gives one."""

    @model_validator(mode="after")
    def _layers_add_up(self) -> ModelFile:
        if self.dense.layers > self.layers:
            raise ValueError(f"dense.layers {self.dense.layers} is larger than layers {self.layers}")
        if self.moe is None and self.dense.layers != self.layers:
            raise ValueError(f"moe is missing, and dense.layers is {self.dense.layers} of {self.layers} layers; describe the other layers")
        return self


def to_config(file: ModelFile) -> ModelConfig:
    """The frozen form of a checked file."""
    a, moe, small = file.attention, file.moe, file.mha_small
    return ModelConfig(
        name=file.name,
        summary=file.summary,
        layers=file.layers,
        dense_layers=file.dense.layers,
        vocabulary=file.vocabulary,
        tied_embedding=file.tied_embedding,
        attention=MlaConfig(
            d_model=file.d_model,
            heads=a.heads,
            q_rank=a.q_rank,
            kv_rank=a.kv_rank,
            qk_nope=a.qk_nope,
            qk_rope=a.qk_rope,
            v_head=a.v_head,
            rms_eps=file.rms_eps,
        ),
        dense=FfnConfig(d_model=file.d_model, width=file.dense.width),
        moe=None
        if moe is None
        else MoeConfig(
            d_model=file.d_model,
            width=moe.width,
            experts=moe.experts,
            experts_per_token=moe.experts_per_token,
            shared_experts=moe.shared_experts,
            scoring=Scoring(moe.scoring),
            selection_bias=moe.selection_bias,
            normalise_weights=moe.normalise_weights,
            routed_scaling=moe.routed_scaling,
            groups=moe.groups,
            groups_per_token=moe.groups_per_token,
        ),
        mha_small=None
        if small is None
        else MhaConfig(d_model=small.d_model, heads=small.heads, head_width=small.head_width, rms_eps=file.rms_eps),
    )
