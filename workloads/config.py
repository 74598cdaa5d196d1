"""Dimensions of a decoder model, as frozen values; letters as in the glossary of the design."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class MlaConfig:
    """Multi-head latent attention."""

    d_model: int
    heads: int
    q_rank: int | None
    """Width of the query latent; None where queries are projected from the input directly."""
    kv_rank: int
    """Width R of the latent that is cached."""
    qk_nope: int
    """Query and key width per head without position."""
    qk_rope: int
    """Width of the rotary part, one key for all heads."""
    v_head: int
    rms_eps: float

    @property
    def q_width(self) -> int:
        """Width of what queries are projected from."""
        return self.d_model if self.q_rank is None else self.q_rank


@dataclass(frozen=True, slots=True, kw_only=True)
class MhaConfig:
    """Plain multi-head attention, the baseline of the MLA paper; keys, queries and values have one width."""

    d_model: int
    heads: int
    head_width: int
    rms_eps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FfnConfig:
    """Gated feed-forward network (SwiGLU) of three matrices."""

    d_model: int
    width: int


class Scoring(StrEnum):
    """How router logits become expert weights."""

    SIGMOID = "sigmoid"
    SOFTMAX = "softmax"


@dataclass(frozen=True, slots=True, kw_only=True)
class MoeConfig:
    """Mixture of gated experts, some of them shared by all tokens."""

    d_model: int
    width: int
    experts: int
    experts_per_token: int
    shared_experts: int
    scoring: Scoring
    selection_bias: bool
    """A bias per expert added for the selection only (auxiliary-loss-free balancing of DeepSeek-V3)."""
    normalise_weights: bool
    routed_scaling: float
    groups: int
    """Groups of the group-limited selection; recorded, routing is modelled as uniform over all experts."""
    groups_per_token: int

    @property
    def shared(self) -> FfnConfig | None:
        """All shared experts as one network of their summed width."""
        return FfnConfig(d_model=self.d_model, width=self.shared_experts * self.width) if self.shared_experts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """A decoder model: the first layers dense, the others mixture-of-experts."""

    name: str
    summary: str
    layers: int
    dense_layers: int
    vocabulary: int
    tied_embedding: bool
    attention: MlaConfig
    dense: FfnConfig
    moe: MoeConfig | None
    mha_small: MhaConfig | None
    """The MHA baseline of equal parameter count, where the MLA paper gives one."""

    @property
    def mha_large(self) -> MhaConfig:
        """The MHA baseline of the MLA paper with the inner dimensions of this model's attention (without rotary part)."""
        a = self.attention
        return MhaConfig(d_model=a.d_model, heads=a.heads, head_width=a.qk_nope, rms_eps=a.rms_eps)


@dataclass(frozen=True, slots=True)
class Step:
    """Sizes of one forward step and which optional parts are lowered."""

    batch: int
    query_len: int
    cache_len: int
    """Positions attended to, the new ones included."""
    rope: bool
    norms: bool

    @property
    def tokens(self) -> int:
        """New tokens of all sequences."""
        return self.batch * self.query_len
