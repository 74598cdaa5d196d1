"""Dimensions of a decoder model, as frozen values; letters as in the glossary of the design."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexerConfig:
    """Lightning indexer of DeepSeek sparse attention: picks the cached positions that a query attends to."""

    heads: int
    width: int
    """Width of its queries and of its one cached key."""
    top_k: int
    """Positions that are kept per query."""
    interleaved: bool = False
    """Neighbouring elements are rotated as pairs, else the two halves of the rotated part."""


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
    indexer: IndexerConfig | None = None
    """Sparse attention over the positions that it picks; None attends to all."""
    scale: float | None = None
    """Factor on the scores; None is 1 / sqrt of the query width."""

    @property
    def q_width(self) -> int:
        """Width of what queries are projected from."""
        return self.d_model if self.q_rank is None else self.q_rank


class QkNorm(StrEnum):
    """Normalisation of every query and key vector."""

    NONE = "none"
    RMS = "rms"
    """With a gain per element, shared by the heads."""
    L2 = "l2"
    """Without gain."""


class WindowForm(StrEnum):
    """Which earlier positions a local layer sees."""

    SLIDING = "sliding"
    """The last `size`, itself included."""
    CHUNKED = "chunked"
    """Those of its own chunk of `size` positions."""


@dataclass(frozen=True, slots=True)
class Window:
    """A limit on what a query sees."""

    size: int
    form: WindowForm = WindowForm.SLIDING

    def length(self, query_len: int, cache_len: int) -> int:
        """Positions that any of the last `query_len` queries of `cache_len` sees: what the step needs of the cache."""
        first = cache_len - query_len
        start = max(0, first - self.size + 1) if self.form is WindowForm.SLIDING else first // self.size * self.size
        return cache_len - start


@dataclass(frozen=True, slots=True, kw_only=True)
class GqaConfig:
    """Attention whose heads share keys and values in groups: multi-head, grouped-query and multi-query."""

    d_model: int
    heads: int
    kv_heads: int
    head_width: int
    """Width of queries, keys and values per head."""
    rms_eps: float
    q_rank: int | None = None
    """Width of a normalised query latent (multi-matrix factorisation attention); None projects queries directly."""
    rotary: int | None = None
    """Leading elements of a head that are rotated, 0 for none; None for the even part of the head."""
    interleaved: bool = True
    """Neighbouring elements are rotated as pairs, else the two halves."""
    qkv_bias: bool = False
    o_bias: bool = False
    qk_norm: QkNorm = QkNorm.NONE
    window: Window | None = None
    sinks: bool = False
    """A learned logit per head takes part in the softmax."""
    softcap: float | None = None
    """Scores are squashed to plus and minus this."""
    scale: float | None = None
    """Factor on the scores; None is 1 / sqrt(head_width)."""
    temperature: bool = False
    """Queries are scaled by a factor that depends on their position."""

    @property
    def rotated(self) -> int:
        """Elements of a head that are rotated; even."""
        return self.head_width // 2 * 2 if self.rotary is None else self.rotary


class Activation(StrEnum):
    """Nonlinearity of a feed-forward network."""

    SILU = "silu"
    GELU = "gelu"
    GELU_TANH = "gelu_tanh"
    RELU = "relu"
    CLAMPED = "clamped_swiglu"
    """GPT-OSS: gate and up clipped, swish of 1.702 times the gate, one added to up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FfnConfig:
    """Feed-forward network of three matrices where it is gated (SwiGLU), else two."""

    d_model: int
    width: int
    gated: bool = True
    activation: Activation = Activation.SILU
    bias: bool = False


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
    """Groups of the group-limited selection."""
    groups_per_token: int
    shared_width: int | None = None
    """Inner width of one shared expert; None is that of a routed one."""
    shared_gate: bool = False
    """The shared experts' output is scaled by a sigmoid of the token."""
    router_bias: bool = False
    bias: bool = False
    """Experts have biases."""
    activation: Activation = Activation.SILU
    scale_input: bool = False
    """The expert's weight multiplies its input, not its output (one expert per token)."""

    @property
    def shared(self) -> FfnConfig | None:
        """All shared experts as one network of their summed width."""
        width = self.width if self.shared_width is None else self.shared_width
        return FfnConfig(d_model=self.d_model, width=self.shared_experts * width) if self.shared_experts else None


@dataclass(frozen=True, slots=True)
class LayerKind:
    """One kind of decoder layer."""

    local: bool
    """Local attention, else the model's main one."""
    moe: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """A decoder model: layers of a main and a local attention, each with a dense network or a mixture of experts."""

    name: str
    summary: str
    pattern: tuple[LayerKind, ...]
    """The kind of every layer."""
    vocabulary: int
    tied_embedding: bool
    attention: MlaConfig | GqaConfig
    local: GqaConfig | None = None
    """Attention of the local layers."""
    dense: FfnConfig | None
    moe: MoeConfig | None
    mha_small: GqaConfig | None = None
    """The MHA baseline of equal parameter count, where the MLA paper gives one."""
    layer_norm: bool = False
    """Normalisations subtract the mean and have a bias, else RMS."""
    post_norms: bool = False
    """Attention and network are normalised once more before they are added."""
    positions: int = 0
    """Rows of a learned position table that is added to the embedding; 0 for none."""
    mtp_layers: int = 0
    """Multi-token-prediction modules."""
    embedding_scale: float | None = None
    """Factor on the embedding's rows; None for none."""
    logit_softcap: float | None = None
    """Logits are squashed to plus and minus this; None leaves them."""
    precision: str = "bf16"
    """Precision where none is asked for."""

    @property
    def layers(self) -> int:
        """Decoder layers."""
        return len(self.pattern)

    @property
    def d_model(self) -> int:
        """Model width."""
        return self.attention.d_model

    @property
    def mha_large(self) -> GqaConfig | None:
        """The MHA baseline of the MLA paper with the inner dimensions of this model's attention (without rotary part)."""
        a = self.attention
        if isinstance(a, GqaConfig):
            return None
        return GqaConfig(d_model=a.d_model, heads=a.heads, kv_heads=a.heads, head_width=a.qk_nope, rms_eps=a.rms_eps)


def first_dense(layers: int, dense: int) -> tuple[LayerKind, ...]:
    """The pattern of a model whose first `dense` layers are dense and the others mixtures of experts."""
    return tuple(LayerKind(local=False, moe=i >= dense) for i in range(layers))


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
