"""The workloads of a campaign file: the steps that every design is priced for."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, field_validator

from dse.campaign.form_values import Scalar
from dse.errors import did_you_mean
from dse.files import FileForm
from dse.ir.lowering import Masked, Part, Phase

MAX_SCENARIOS: Final = 64
"""Most steps that one design is priced for."""


class WorkloadForm(FileForm):
    """The step that is priced; every field may also be a dimension of the space (`workload.batch`)."""

    model: str
    """Name of a model in a catalogue (`dse list models`) or path of a model file."""
    phase: Phase = Phase.DECODE
    """`prefill` or `decode`."""
    batch: Annotated[int, Field(ge=1)] = 1
    """Sequences that run together."""
    query_len: Annotated[int, Field(ge=1)] | None = None
    """New tokens per sequence; left out: 1 in decode, cache_len in prefill."""
    cache_len: Annotated[int, Field(ge=1)]
    """Positions that the last new token attends to, itself included."""
    part: Part = Part.LAYER
    """`layer`, `attention` or `ffn`."""
    layer: Annotated[int, Field(ge=0)] | None = None
    """Index of the layer; left out: all layers."""
    precision: str = "bf16"
    """Name of a precision."""
    rope: bool = True
    """Whether rotary embeddings are computed."""
    norms: bool | None = None
    """Whether normalisations are computed; left out: in a layer, not in attention or ffn alone."""
    attention: str | None = None
    """Attention scheme; left out: the model's first."""
    routing: str = "uniform"
    """How tokens spread over the experts of a mixture: uniform, worst, zipf:S, histogram:FILE or loads:FILE."""
    seed: Annotated[int, Field(ge=0)] | None = None
    """Seed by which the experts' loads are drawn, as one batch has them; left out: expected loads."""
    masked: Masked = Masked.SKIPPED
    """Whether blocks of scores that a causal or sliding mask leaves out are `skipped` or `computed`."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Steps of this workload in the mix, relative to the other workloads."""
    over: dict[str, Annotated[tuple[Scalar, ...], Field(min_length=1, max_length=MAX_SCENARIOS)]] = Field(default_factory=dict)
    """Fields that take several values, each a step of its own: lengths, batches, routings. They share the weight equally."""

    @field_validator("over")
    @classmethod
    def _known_fields(cls, over: dict[str, tuple[Scalar, ...]]) -> dict[str, tuple[Scalar, ...]]:
        allowed = [name for name in cls.model_fields if name not in ("weight", "over")]
        for name in over:
            if name not in allowed:
                raise ValueError(f"'{name}' is no field of a workload; allowed: {', '.join(allowed)}.{did_you_mean(name, allowed)}")
        return over
