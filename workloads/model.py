"""A decoder model as the engine sees it: a request in, ONNX models with repeat counts out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dse.errors import UsageError, did_you_mean
from dse.ir.lowering import LoweredPart, LoweredWorkload, Part, Phase
from workloads import parameters
from workloads.builder import GraphBuilder
from workloads.config import Step
from workloads.layers import embedding, ffn, mha, mla, moe
from workloads.layers.norm import rms_norm

if TYPE_CHECKING:
    from onnx import ModelProto

    from dse.ir.lowering import LoweringRequest
    from workloads.config import MhaConfig, ModelConfig

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
    def attention_schemes(self) -> tuple[str, ...]:
        """Named MLA schemes, then the MHA baselines that fit this model; the first is the default."""
        small = (MHA_SMALL,) if self.config.mha_small is not None else ()
        return (*mla.NAMED_SCHEMES, MHA_LARGE, *small)

    def lower(self, request: LoweringRequest) -> LoweredWorkload:
        """ONNX models of one step of one layer, or of the whole model (`layer` None).

        The whole model is: embedding (one row per token), the dense layers, the MoE layers, and the output head with its
        norm (every new token in decode, the last token of each sequence in prefill); with part attention or ffn only
        those. Parameters are counted over the same parts, see `workloads.parameters`.

        Raises:
            UsageError: sizes below 1, cache shorter than the query, unknown scheme, layer out of range, or a baseline whose
                width is not the model's in a part that is more than attention.
        """
        _check_sizes(request)
        self._check_fit(request)
        parts = tuple(
            LoweredPart(name=kind, onnx=self._build(kind, request), count=count) for kind, count in _kinds(self.config, request).items()
        )
        counted = parameters.of_parts(self.config, request, {part.name: part.count for part in parts}, self._mha(request.attention))
        return LoweredWorkload(
            name=_title(self.config, request),
            parts=parts,
            tokens=request.tokens,
            parameters_total=counted.total,
            parameters_active=counted.active,
        )

    def _mha(self, scheme: str) -> MhaConfig | None:
        return {MHA_LARGE: self.config.mha_large, MHA_SMALL: self.config.mha_small}.get(scheme)

    def _check_fit(self, request: LoweringRequest) -> None:
        c = self.config
        if request.attention not in self.attention_schemes:
            allowed = ", ".join(self.attention_schemes)
            near = did_you_mean(request.attention, self.attention_schemes)
            raise UsageError(f"attention scheme '{request.attention}' is not known for {c.name}; allowed: {allowed}.{near}")
        if request.layer is not None and not 0 <= request.layer < c.layers:
            raise UsageError(f"layer {request.layer} does not exist in {c.name}; allowed: 0 to {c.layers - 1}")
        baseline = self._mha(request.attention)
        if baseline is not None and request.part is Part.LAYER and baseline.d_model != c.attention.d_model:
            raise UsageError(
                f"{request.attention} has width {baseline.d_model}, {c.name} has {c.attention.d_model}; lower it with --part attention only"
            )

    def _build(self, kind: str, request: LoweringRequest) -> ModelProto:
        """The ONNX model of one part."""
        c = self.config
        step = Step(request.batch, request.query_len, request.cache_len, request.rope, request.norms)
        b = GraphBuilder(f"{c.name}_{kind}", request.precision)
        if kind == "embedding":
            b.output(embedding.lower_embedding(b, c, step))
        elif kind == "head":
            positions = 1 if request.phase is Phase.PREFILL else request.query_len
            b.output(embedding.lower_head(b, c, step.batch, positions, norms=step.norms))
        else:
            self._build_layer(b, kind, request, step)
        return b.build()

    def _build_layer(self, b: GraphBuilder, kind: str, request: LoweringRequest, step: Step) -> None:
        c = self.config
        baseline = self._mha(request.attention) if request.part is not Part.FFN else None
        width = c.attention.d_model if baseline is None else baseline.d_model
        x = b.activation("x", step.batch, step.query_len, width)  # [B, S, D]
        if request.part is not Part.FFN:
            residual = x
            if step.norms:
                x = rms_norm(b, "attention_norm", x, width, c.attention.rms_eps)  # [B, S, D]
            if baseline is not None:
                x = mha.lower(b, x, baseline, step)  # [B, S, D]
            else:
                x = mla.lower(b, x, c.attention, step, mla.SCHEMES[request.attention])  # [B, S, D]
            if request.part is Part.ATTENTION:
                b.output(x)
                return
            x = b.node("Add", "attention_residual", residual, x)  # [B, S, D]
        residual = x
        if step.norms:
            x = rms_norm(b, "ffn_norm", x, width, c.attention.rms_eps)  # [B, S, D]
        if kind.endswith("moe"):
            assert c.moe is not None
            x = moe.lower(b, x, c.moe, step)  # [B, S, D]
        else:
            x = ffn.lower(b, x, c.dense)  # [B, S, D]
        b.output(b.node("Add", "ffn_residual", residual, x) if request.part is Part.LAYER else x)  # [B, S, D]


def _check_sizes(request: LoweringRequest) -> None:
    for option, size in (("batch", request.batch), ("query-len", request.query_len), ("cache-len", request.cache_len)):
        if not 1 <= size <= LARGEST_SIZE:
            raise UsageError(f"--{option} is {size}; allowed: 1 to {LARGEST_SIZE}")
    if request.cache_len < request.query_len:
        raise UsageError(
            f"--cache-len {request.cache_len} is less than --query-len {request.query_len}; the cache length counts the new tokens too, "
            "so it is at least the query length"
        )


def _kinds(config: ModelConfig, request: LoweringRequest) -> dict[str, int]:
    """Names of the parts to lower, in the order they run, with their counts."""
    if request.part is Part.ATTENTION:
        return {"attention": config.layers if request.layer is None else 1}
    dense, sparse = f"{request.part}_dense", f"{request.part}_moe"
    if request.layer is not None:
        return {dense if request.layer < config.dense_layers else sparse: 1}
    layers = {dense: config.dense_layers, sparse: config.layers - config.dense_layers}
    if request.part is Part.LAYER:
        layers = {"embedding": 1, **layers, "head": 1}
    return {kind: count for kind, count in layers.items() if count}


def _title(config: ModelConfig, request: LoweringRequest) -> str:
    where = "all_layers" if request.layer is None else f"layer{request.layer}"
    sizes = f"b{request.batch}_s{request.query_len}_t{request.cache_len}"
    return f"{config.name}_{where}_{request.part}_{request.phase}_{request.attention}_{sizes}_{request.precision.name}"
