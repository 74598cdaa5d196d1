"""The file form of a model: what a YAML of the catalogue may say."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PositiveFloat, PositiveInt, Tag, model_validator

from dse.files import FileForm
from workloads.config import (
    Activation,
    FfnConfig,
    GqaConfig,
    IndexerConfig,
    LayerKind,
    MlaConfig,
    ModelConfig,
    MoeConfig,
    QkNorm,
    Scoring,
    Window,
    WindowForm,
)

MAX_LAYERS = 4096
"""More decoder layers are refused: the deepest published models have some hundred."""
ActivationName = Literal["silu", "gelu", "gelu_tanh", "relu", "clamped_swiglu"]


class IndexerFile(FileForm):
    """Indexer of sparse attention."""

    heads: PositiveInt
    """Heads of its queries."""
    width: PositiveInt
    """Width of its queries and of its cached key."""
    top_k: PositiveInt
    """Positions kept per query."""
    interleaved: bool = False
    """Neighbouring elements are rotated as pairs, else the two halves."""


class AttentionFile(FileForm):
    """Multi-head latent attention."""

    kind: Literal["mla"] = "mla"
    """Multi-head latent attention; may be left out."""
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
    indexer: IndexerFile | None = None
    """Indexer of sparse attention; left out where all positions are attended."""
    score_scale: PositiveFloat | None = None
    """Factor on the scores; left out: 1 / sqrt of the query width."""


class LocalFile(FileForm):
    """Layers that see only near positions; the other layers see all."""

    form: Literal["sliding", "chunked"]
    """Sliding: the last `size` positions. Chunked: those of the own chunk of `size`."""
    size: PositiveInt
    """Positions."""
    full_every: int = Field(ge=0)
    """Every n-th layer is full, the others are local; 0: all are local."""
    full_rope: bool = True
    """Full layers rotate queries and keys too."""


class GqaFile(FileForm):
    """Multi-head, grouped-query or multi-query attention."""

    kind: Literal["gqa"]
    """Keys and values of their own, shared by groups of heads."""
    heads: PositiveInt
    """Attention heads."""
    kv_heads: PositiveInt
    """Heads of keys and values."""
    head_width: PositiveInt
    """Width of queries, keys and values per head."""
    q_rank: PositiveInt | None = None
    """Width of a normalised query latent (multi-matrix factorisation attention)."""
    rotary: int | None = Field(default=None, ge=0, multiple_of=2)
    """Leading elements of a head that are rotated, 0 for none; left out: all."""
    qkv_bias: bool = False
    """Biases of the query, key and value projections."""
    o_bias: bool = False
    """Bias of the output projection."""
    qk_norm: Literal["none", "rms", "l2"] = "none"
    """Norm of every query and key vector: none, rms with gains, l2 without."""
    sinks: bool = False
    """A learned logit per head takes part in the softmax."""
    softcap: PositiveFloat | None = None
    """Scores are squashed to plus and minus this."""
    score_scale: PositiveFloat | None = None
    """Factor on the scores; left out: 1 / sqrt(head_width)."""
    temperature: bool = False
    """Queries of full layers are scaled by position."""
    local: LocalFile | None = None
    """Layers that see only near positions."""

    @model_validator(mode="after")
    def _fits(self) -> GqaFile:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} is not a multiple of kv_heads {self.kv_heads}")
        if self.rotary is not None and self.rotary > self.head_width:
            raise ValueError(f"rotary {self.rotary} is larger than head_width {self.head_width}")
        return self


def _kind(given: Any) -> str:  # Any: whatever the file says
    found = given.get("kind", "mla") if isinstance(given, dict) else getattr(given, "kind", "mla")
    return found if found in ("mla", "gqa") else "mla"


AnyAttention = Annotated[Annotated[AttentionFile, Tag("mla")] | Annotated[GqaFile, Tag("gqa")], Discriminator(_kind)]


class DenseFile(FileForm):
    """Dense feed-forward layers, the first ones of the model."""

    layers: int = Field(ge=0)
    """Number of layers, counted from the first; those that moe.every leaves dense are not counted."""
    width: PositiveInt
    """Inner width."""
    gated: bool = True
    """Three matrices (SwiGLU), else two."""
    activation: ActivationName = "silu"
    """Nonlinearity."""
    bias: bool = False
    """The matrices have biases."""


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
    """Groups of the group-limited selection."""
    groups_per_token: PositiveInt
    """Groups a token may use."""
    every: PositiveInt = 1
    """Behind the first dense layers, every n-th layer of the model is a mixture of experts, the others are dense."""
    last_dense: int = Field(default=0, ge=0, le=MAX_LAYERS)
    """Layers at the end of the model that are dense."""
    shared_width: PositiveInt | None = None
    """Inner width of one shared expert, where it is not that of a routed one."""
    shared_gate: bool = False
    """The shared experts' output is scaled by a sigmoid of the token."""
    router_bias: bool = False
    """The router's logits have a bias."""
    bias: bool = False
    """The experts' matrices have biases."""
    activation: ActivationName = "silu"
    """Nonlinearity of the experts."""
    scale_input: bool = False
    """An expert's weight multiplies its input, not its output."""

    @model_validator(mode="after")
    def _fits(self) -> MoeFile:
        if self.experts_per_token > self.experts:
            raise ValueError(f"experts_per_token {self.experts_per_token} is larger than experts {self.experts}")
        check_groups(self.experts, self.experts_per_token, self.groups, self.groups_per_token)
        if self.scale_input and self.experts_per_token != 1:
            raise ValueError(f"scale_input is for one expert per token; experts_per_token is {self.experts_per_token}")
        return self


def check_groups(experts: int, chosen: int, groups: int, kept: int) -> None:
    """Raise a ValueError unless a group-limited selection can choose its experts."""
    if experts % groups:
        raise ValueError(f"experts {experts} cannot be split into {groups} equal groups")
    if kept > groups:
        raise ValueError(f"groups_per_token {kept} is larger than groups {groups}")
    if kept * (experts // groups) < chosen:
        raise ValueError(f"{kept} groups of {experts // groups} experts are fewer than the {chosen} that a token needs")


class MhaFile(FileForm):
    """A multi-head attention baseline."""

    d_model: PositiveInt
    """Model width."""
    heads: PositiveInt
    """Attention heads."""
    head_width: PositiveInt
    """Width of queries, keys and values per head."""


class ModelFile(FileForm):
    """A decoder model."""

    schema_version: Literal[1]
    """Version of this form."""
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    """Catalogue name: lower case, digits, underscores."""
    summary: str
    """One line for lists."""
    layers: PositiveInt = Field(le=MAX_LAYERS)
    """Decoder layers."""
    d_model: PositiveInt
    """Model width."""
    vocabulary: PositiveInt
    """Entries of the vocabulary."""
    tied_embedding: bool
    """The output head uses the embedding's matrix."""
    rms_eps: PositiveFloat
    """Epsilon of the normalisations."""
    attention: AnyAttention
    """Attention: latent, or with keys and values of its own."""
    dense: DenseFile | None = None
    """Dense feed-forward layers."""
    moe: MoeFile | None = None
    """Mixture-of-experts layers: all that are not dense."""
    mha_small: MhaFile | None = None
    """The multi-head attention of equal parameter count, if a paper gives one."""
    layer_norm: bool = False
    """Normalisations subtract the mean and have a bias, else RMS."""
    post_norms: bool = False
    """Attention and network are normalised once more before they are added."""
    positions: int = Field(default=0, ge=0)
    """Rows of a learned position table; 0 for none."""
    mtp_layers: int = Field(default=0, ge=0, le=MAX_LAYERS)
    """Multi-token-prediction modules."""
    embedding_scale: PositiveFloat | None = None
    """Factor on the embedding's rows."""
    logit_softcap: PositiveFloat | None = None
    """Logits are squashed to plus and minus this."""

    @model_validator(mode="after")
    def _layers_add_up(self) -> ModelFile:
        dense = 0 if self.dense is None else self.dense.layers
        if dense > self.layers:
            raise ValueError(f"dense.layers {dense} is larger than layers {self.layers}")
        if self.moe is None and dense != self.layers:
            raise ValueError(f"moe is missing, and dense.layers is {dense} of {self.layers} layers; describe the other layers")
        if self.moe is not None and self.moe.every > 1 and self.dense is None:
            raise ValueError(f"moe.every is {self.moe.every}, and dense is missing; describe the layers between")
        if self.moe is not None and self.moe.last_dense:
            if self.dense is None:
                raise ValueError(f"moe.last_dense is {self.moe.last_dense}, and dense is missing; describe these layers")
            if dense + self.moe.last_dense >= self.layers:
                raise ValueError(f"moe.last_dense {self.moe.last_dense} and dense.layers {dense} leave no mixture of {self.layers} layers")
        return self


def to_config(file: ModelFile) -> ModelConfig:
    """The frozen form of a checked file."""
    attention, local = _attention(file)
    dense, moe, small = file.dense, file.moe, file.mha_small
    first = 0 if dense is None else dense.layers
    every = 1 if moe is None else moe.every
    last = file.layers - (0 if moe is None else moe.last_dense)
    full_every = 1 if not isinstance(file.attention, GqaFile) or file.attention.local is None else file.attention.local.full_every
    return ModelConfig(
        name=file.name,
        summary=file.summary,
        pattern=tuple(
            LayerKind(
                local=full_every != 1 and (full_every == 0 or (i + 1) % full_every != 0),
                moe=moe is not None and first <= i < last and (i + 1) % every == 0,
            )
            for i in range(file.layers)
        ),
        vocabulary=file.vocabulary,
        tied_embedding=file.tied_embedding,
        attention=attention,
        local=local,
        dense=None
        if dense is None
        else FfnConfig(
            d_model=file.d_model, width=dense.width, gated=dense.gated, activation=Activation(dense.activation), bias=dense.bias
        ),
        moe=None if moe is None else _moe(file.d_model, moe),
        mha_small=None
        if small is None
        else GqaConfig(d_model=small.d_model, heads=small.heads, kv_heads=small.heads, head_width=small.head_width, rms_eps=file.rms_eps),
        layer_norm=file.layer_norm,
        post_norms=file.post_norms,
        positions=file.positions,
        mtp_layers=file.mtp_layers,
        embedding_scale=file.embedding_scale,
        logit_softcap=file.logit_softcap,
    )


def _attention(file: ModelFile) -> tuple[MlaConfig | GqaConfig, GqaConfig | None]:
    """The main attention, and the local one where there is one."""
    a = file.attention
    if isinstance(a, AttentionFile):
        return MlaConfig(
            d_model=file.d_model,
            heads=a.heads,
            q_rank=a.q_rank,
            kv_rank=a.kv_rank,
            qk_nope=a.qk_nope,
            qk_rope=a.qk_rope,
            v_head=a.v_head,
            rms_eps=file.rms_eps,
            scale=a.score_scale,
            indexer=None if a.indexer is None else IndexerConfig(**a.indexer.model_dump()),
        ), None
    full = GqaConfig(
        d_model=file.d_model,
        heads=a.heads,
        kv_heads=a.kv_heads,
        head_width=a.head_width,
        rms_eps=file.rms_eps,
        q_rank=a.q_rank,
        rotary=a.rotary,
        qkv_bias=a.qkv_bias,
        o_bias=a.o_bias,
        qk_norm=QkNorm(a.qk_norm),
        sinks=a.sinks,
        softcap=a.softcap,
        scale=a.score_scale,
    )
    return with_local(full, a.local, temperature=a.temperature)


def with_local(full: GqaConfig, local: LocalFile | None, *, temperature: bool = False) -> tuple[GqaConfig, GqaConfig | None]:
    """Full attention and its local form; full layers without rotation have no norm of their vectors either (Llama 4)."""
    from dataclasses import replace

    if local is None:
        return replace(full, temperature=temperature), None
    near = replace(full, window=Window(local.size, WindowForm(local.form)))
    norm = full.qk_norm if local.full_rope else QkNorm.NONE
    return replace(full, rotary=full.rotary if local.full_rope else 0, qk_norm=norm, temperature=temperature), near


def _moe(d_model: int, moe: MoeFile) -> MoeConfig:
    given = moe.model_dump(exclude={"every", "last_dense", "scoring", "activation"})
    return MoeConfig(d_model=d_model, scoring=Scoring(moe.scoring), activation=Activation(moe.activation), **given)
