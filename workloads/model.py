"""A decoder model as the engine sees it: a request in, ONNX models with repeat counts out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dse.errors import UsageError, did_you_mean
from dse.ir.expert_load import UNIFORM
from dse.ir.lowering import LoweredPart, LoweredWorkload, Part, Phase
from dse.ir.tensor import stored_bytes
from workloads import parameters
from workloads.builder import GraphBuilder
from workloads.config import GqaConfig, MlaConfig, Step
from workloads.kinds import part_kinds
from workloads.layers import embedding, ffn, gqa, mla, moe
from workloads.layers.norm import layer_norm, rms_norm

if TYPE_CHECKING:
    from onnx import ModelProto

    from dse.ir.lowering import LoweringRequest
    from workloads.config import ModelConfig
    from workloads.kinds import PartKind

MHA_LARGE: Final = "mha_l"
MHA_SMALL: Final = "mha_s"
LARGEST_SIZE: Final = 2**31 - 1
"""Largest batch, query or cache length: 32-bit sizes."""


@dataclass(frozen=True, slots=True)
class DecoderModel:
    """A model of the catalogue."""

    config: ModelConfig

    @property
    def name(self) -> str:
        """Catalogue name."""
        return self.config.name

    @property
    def layers(self) -> int:
        """Number of decoder layers."""
        return self.config.layers

    @property
    def summary(self) -> str:
        """One line for lists."""
        return self.config.summary

    @property
    def precision(self) -> str:
        """Precision where none is asked for."""
        return self.config.precision

    @property
    def attention_schemes(self) -> tuple[str, ...]:
        """Named MLA schemes and the MHA baselines that fit this model, the first the default; one name where it is no MLA."""
        form = self.config.attention
        if isinstance(form, GqaConfig):
            return (_plain_scheme(form),)
        small = (MHA_SMALL,) if self.config.mha_small is not None else ()
        return (*mla.NAMED_SCHEMES, MHA_LARGE, *small)

    def lower(self, request: LoweringRequest) -> LoweredWorkload:
        """ONNX models of one step of one layer, or of the whole model (`layer` None).

        The whole model is: embedding (one row per token), every kind of layer, and the output head with its norm (every
        new token in decode, the last token of each sequence in prefill), then the multi-token-prediction modules where
        they are asked for; with part attention or ffn only those. Parameters are counted over the same parts, see
        `workloads.parameters`.

        Raises:
            UsageError: sizes below 1, cache shorter than the query, unknown scheme, layer out of range, positions beyond a
                learned table, modules that the model has not, a routing that does not fit, or a baseline whose width is
                not the model's in a part that is more than attention.
        """
        _check_sizes(request)
        self._check_fit(request)
        kinds = part_kinds(self.config, request)
        parts = tuple(LoweredPart(name=kind.name, onnx=self._build(kind, request), count=count) for kind, count in kinds.items())
        counted = parameters.of_parts(self.config, request, kinds, self._mha(request.attention))
        p = request.precision
        stored = stored_bytes(counted.total - counted.experts, p.weight) + stored_bytes(counted.experts, p.expert_weight or p.weight)
        embedded = parameters.embedding_rest(self.config) if any(kind.name == "embedding" for kind in kinds) else 0
        return LoweredWorkload(
            name=_title(self.config, request),
            parts=parts,
            tokens=request.tokens,
            parameters_total=counted.total,
            parameters_active=counted.active,
            embedding_parameters=embedded,
            stored_weight_bytes=float(stored),
        )

    def _mha(self, scheme: str) -> GqaConfig | None:
        return {MHA_LARGE: self.config.mha_large, MHA_SMALL: self.config.mha_small}.get(scheme)

    def _check_fit(self, request: LoweringRequest) -> None:
        c = self.config
        every = tuple(mla.SCHEMES) if isinstance(c.attention, MlaConfig) else ()
        if request.attention not in (*self.attention_schemes, *every):
            allowed = ", ".join(self.attention_schemes)
            near = did_you_mean(request.attention, self.attention_schemes)
            raise UsageError(f"attention scheme '{request.attention}' is not known for {c.name}; allowed: {allowed}.{near}")
        if request.layer is not None and not 0 <= request.layer < c.layers:
            raise UsageError(f"layer {request.layer} does not exist in {c.name}; allowed: 0 to {c.layers - 1}")
        if c.positions and request.cache_len > c.positions:
            raise UsageError(f"--cache-len {request.cache_len} is beyond the {c.positions} learned positions of {c.name}")
        if request.mtp and (request.layer is not None or request.part is not Part.LAYER or not c.mtp_layers):
            has = f"{c.name} has {c.mtp_layers or 'no'} multi-token-prediction modules"
            raise UsageError(f"--mtp goes with --all-layers and the whole layer of a model that has such modules; {has}")
        self._check_baseline(request)

    def _check_baseline(self, request: LoweringRequest) -> None:
        c = self.config
        baseline = self._mha(request.attention)
        if baseline is not None and request.part is Part.LAYER and baseline.d_model != c.d_model:
            raise UsageError(
                f"{request.attention} has width {baseline.d_model}, {c.name} has {c.d_model}; lower it with --part attention only"
            )

    def _build(self, kind: PartKind, request: LoweringRequest) -> ModelProto:
        """The ONNX model of one part."""
        c = self.config
        step = Step(request.batch, request.query_len, request.cache_len, request.rope, request.norms)
        b = GraphBuilder(f"{c.name}_{kind.name}", request.precision, masked=request.masked)
        if kind.is_layer:
            self._build_layer(b, kind, request, step)
        elif kind.name == "embedding":
            b.output(embedding.lower_embedding(b, c, step))
        elif kind.name == "mtp_input":
            b.output(embedding.lower_mtp_input(b, c, step))
        else:
            positions = 1 if request.phase is Phase.PREFILL else request.query_len
            b.output(embedding.lower_head(b, c, step.batch, positions, norms=step.norms))
        return b.build()

    def _build_layer(self, b: GraphBuilder, kind: PartKind, request: LoweringRequest, step: Step) -> None:
        c = self.config
        baseline = self._mha(request.attention) if request.part is not Part.FFN else None
        width = c.d_model if baseline is None else baseline.d_model
        x = b.activation("x", step.batch, step.query_len, width)  # [B, S, D]
        if request.part is not Part.FFN:
            residual = x
            x = self._norm(b, "attention_norm", x, width, step)  # [B, S, D]
            x = self._attention(b, x, kind, request, step, baseline)  # [B, S, D]
            if c.post_norms:
                x = self._norm(b, "attention_post_norm", x, width, step)  # [B, S, D]
            if request.part is Part.ATTENTION:
                b.output(x)
                return
            x = b.node("Add", "attention_residual", residual, x)  # [B, S, D]
        residual = x
        x = self._norm(b, "ffn_norm", x, width, step)  # [B, S, D]
        if kind.moe:
            assert c.moe is not None
            x = moe.lower(b, x, c.moe, step, request.routing)  # [B, S, D]
        else:
            assert c.dense is not None
            x = ffn.lower(b, x, c.dense)  # [B, S, D]
        if c.post_norms:
            x = self._norm(b, "ffn_post_norm", x, width, step)  # [B, S, D]
        b.output(b.node("Add", "ffn_residual", residual, x) if request.part is Part.LAYER else x)  # [B, S, D]

    def _norm(self, b: GraphBuilder, name: str, x: str, width: int, step: Step) -> str:
        if not step.norms:
            return x
        return (layer_norm if self.config.layer_norm else rms_norm)(b, name, x, width, self.config.attention.rms_eps)

    def _attention(self, b: GraphBuilder, x: str, kind: PartKind, request: LoweringRequest, step: Step, baseline: GqaConfig | None) -> str:
        form = baseline or (self.config.local if kind.local else self.config.attention)
        assert form is not None
        if isinstance(form, MlaConfig):
            return mla.lower(b, x, form, step, mla.SCHEMES[request.attention])  # [B, S, D]
        return gqa.lower(b, x, form, step)  # [B, S, D]


def _plain_scheme(form: GqaConfig) -> str:
    """Name of the one way to compute attention without a latent cache."""
    if form.q_rank is not None:
        return "mfa"
    if form.kv_heads == form.heads:
        return "mha"
    return "mqa" if form.kv_heads == 1 else "gqa"


def _check_sizes(request: LoweringRequest) -> None:
    for option, size in (("batch", request.batch), ("query-len", request.query_len), ("cache-len", request.cache_len)):
        if not 1 <= size <= LARGEST_SIZE:
            raise UsageError(f"--{option} is {size}; allowed: 1 to {LARGEST_SIZE}")
    if request.cache_len < request.query_len:
        raise UsageError(
            f"--cache-len {request.cache_len} is less than --query-len {request.query_len}; the cache length counts the new tokens too, "
            "so it is at least the query length"
        )


def _title(config: ModelConfig, request: LoweringRequest) -> str:
    where = "all_layers" if request.layer is None else f"layer{request.layer}"
    sizes = f"b{request.batch}_s{request.query_len}_t{request.cache_len}"
    routing = "" if request.routing == UNIFORM else f"_{request.routing}"
    return f"{config.name}_{where}_{request.part}_{request.phase}_{request.attention}_{sizes}_{request.precision.name}{routing}"
