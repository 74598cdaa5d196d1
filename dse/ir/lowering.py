"""What is asked of a model (phase, batch, lengths, precision) and what comes back: ONNX models with repeat counts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from dse.ir.expert_load import UNIFORM, Routing

if TYPE_CHECKING:
    from onnx import ModelProto

    from dse.ir.tensor import DataType


class Phase(StrEnum):
    """Prefill processes a prompt; decode appends `query_len` tokens to a cache."""

    PREFILL = "prefill"
    DECODE = "decode"


class Masked(StrEnum):
    """What happens to scores that a causal or banded mask leaves out."""

    SKIPPED = "skipped"
    """Blocks without a visible score are not computed, as in FlashAttention and its kin."""
    COMPUTED = "computed"
    """The whole rectangle of scores is computed, as closed forms and eager kernels have it."""


class Part(StrEnum):
    """How much of a decoder layer is lowered."""

    LAYER = "layer"
    ATTENTION = "attention"
    FFN = "ffn"


@dataclass(frozen=True, slots=True)
class Precision:
    """Storage formats by use. `accumulation` is the format of partial sums."""

    name: str
    weight: DataType
    activation: DataType
    cache: DataType
    accumulation: DataType
    expert_weight: DataType | None = None
    """Format of the routed experts' weights where it is not that of other weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoweringRequest:
    """One forward step of one layer, or of all of them."""

    phase: Phase
    batch: int
    query_len: int
    """New tokens per sequence in this step."""
    cache_len: int
    """Positions that the last new token attends to, itself included: cached before plus `query_len`."""
    attention: str
    """Attention scheme, one of the model's `attention_schemes`."""
    precision: Precision
    rope: bool
    norms: bool
    part: Part
    layer: int | None
    """Layer index; None for all layers, each kind lowered once with its count."""
    routing: Routing = UNIFORM
    """How tokens spread over experts."""
    mtp: bool = False
    """With all layers: the multi-token-prediction modules too."""
    masked: Masked = Masked.SKIPPED

    @property
    def tokens(self) -> int:
        """New tokens in this step, all sequences together."""
        return self.batch * self.query_len


@dataclass(frozen=True)
class LoweredPart:
    """One ONNX model and how often it runs in a step."""

    name: str
    onnx: ModelProto
    count: int


@dataclass(frozen=True)
class LoweredWorkload:
    """All parts of a step, with the model's parameter counts over the same parts."""

    name: str
    parts: tuple[LoweredPart, ...]
    tokens: int
    parameters_total: int
    parameters_active: int
    """Parameters that one token uses: no routed expert that it is not sent to, and one row of the embedding."""
    embedding_parameters: int = 0
    """Parameters of the embedding that `parameters_active` leaves out; some publishers count them as active."""
    stored_weight_bytes: float | None = None
    """Bytes that all parameters take in memory; None where all have the format of the widest weight."""


class Model(Protocol):
    """A model of a workload catalogue; the plug-in point behind the entry-point group `dse.models`."""

    @property
    def name(self) -> str:
        """Catalogue name."""

    @property
    def attention_schemes(self) -> tuple[str, ...]:
        """Schemes that `LoweringRequest.attention` may name; the first is the default."""

    @property
    def layers(self) -> int:
        """Number of decoder layers; `LoweringRequest.layer` counts from 0."""

    @property
    def summary(self) -> str:
        """One line for `dse list`."""

    @property
    def precision(self) -> str:
        """Precision where none is asked for: a name or a list, see `dse.ir.precision.precision`."""

    def lower(self, request: LoweringRequest) -> LoweredWorkload:
        """ONNX models of one step.

        Raises:
            UsageError: the request does not fit the model (unknown scheme, layer out of range).
        """
