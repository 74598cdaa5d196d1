"""The campaign file as a form: what may be written, checked before anything is loaded."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from dse.cost.metrics import METRICS, Objective
from dse.errors import did_you_mean
from dse.files import FileForm
from dse.ir.lowering import Part, Phase
from dse.search.strategy import SamplerName

Scalar = bool | int | float | str | None
MAX_POINTS: Final = 100_000
"""Most values of one dimension."""


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


class ValuesForm(FileForm):
    """The values of one dimension, in exactly one of four spellings."""

    values: Annotated[tuple[Scalar, ...], Field(min_length=1, max_length=MAX_POINTS)] | None = None
    """A list of values."""
    power_of_two: tuple[int, int] | None = None
    """[lowest, highest]: every power of two between, both included."""
    linear: tuple[float, float, int] | None = None
    """[lowest, highest, count]: evenly spaced, both included."""
    log: tuple[float, float, int] | None = None
    """[lowest, highest, count]: evenly spaced on a logarithmic scale, both included."""

    @model_validator(mode="after")
    def _one_spelling(self) -> Self:
        given = [name for name in ("values", "power_of_two", "linear", "log") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of values, power_of_two, linear, log; given: {', '.join(given) or 'none'}")
        return self

    @field_validator("values")
    @classmethod
    def _distinct(cls, values: tuple[Scalar, ...] | None) -> tuple[Scalar, ...] | None:
        for position, value in enumerate(values or ()):
            if any(type(other) is type(value) and other == value for other in (values or ())[:position]):
                raise ValueError(f"the value {value} is given twice; keep one")
        return values

    @field_validator("power_of_two")
    @classmethod
    def _powers(cls, bounds: tuple[int, int] | None) -> tuple[int, int] | None:
        for bound in bounds or ():
            if bound < 1 or bound & (bound - 1):
                raise ValueError(f"both ends must be powers of two such as 64 or 1024, not {bound}")
        if bounds and bounds[0] > bounds[1]:
            raise ValueError(f"the lowest value {bounds[0]} is above the highest {bounds[1]}; swap them")
        return bounds

    @field_validator("linear", "log")
    @classmethod
    def _range(cls, given: tuple[float, float, int] | None) -> tuple[float, float, int] | None:
        if given is None:
            return None
        low, high, count = given
        if not 2 <= count <= MAX_POINTS:
            raise ValueError(f"the count must be between 2 and {MAX_POINTS}, not {count}; write one value as values: [x]")
        if low >= high:
            raise ValueError(f"the lowest value {low:g} must be below the highest {high:g}")
        return given

    @field_validator("log")
    @classmethod
    def _positive(cls, given: tuple[float, float, int] | None) -> tuple[float, float, int] | None:
        if given is not None and given[0] <= 0:
            raise ValueError(f"a logarithmic range starts above 0, not at {given[0]:g}")
        return given


def _known_metric(name: str) -> str:
    if name not in METRICS:
        raise ValueError(f"metric '{name}' is not known; allowed: {', '.join(METRICS)}.{did_you_mean(name, METRICS)}")
    return name


class ConstraintForm(FileForm):
    """A limit on a metric."""

    metric: str
    """One of the metrics."""
    max: float | None = None
    """Highest value allowed, in the metric's unit."""
    min: float | None = None
    """Lowest value allowed, in the metric's unit."""

    _metric = field_validator("metric")(_known_metric)

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if (self.max is None) == (self.min is None):
            raise ValueError("needs exactly one of max and min; write two constraints for a range")
        return self


class ObjectiveForm(FileForm):
    """A metric to improve; which way is better belongs to the metric."""

    metric: str
    """One of the metrics."""

    _metric = field_validator("metric")(_known_metric)


class MappingForm(FileForm):
    """How a mapping is chosen for each design."""

    objective: Objective = Objective.EDP
    """`latency`, `energy` or `edp`."""


class BudgetForm(FileForm):
    """When to stop."""

    trials: Annotated[int, Field(ge=1)] = 1000
    """Most outer trials."""
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds of one session; checked after each batch."""


class CampaignForm(FileForm):
    """A campaign: which designs to price for which workload, and what is sought."""

    schema_version: Literal[1]
    """1."""
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
    """Lower case; names the folder under runs/."""
    question: str = ""
    """What the campaign should answer; heads the report."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the sampler."""
    workload: WorkloadForm
    """The step that is priced."""
    accelerator: str | Annotated[tuple[str, ...], Field(min_length=1)]
    """Name or path of an accelerator, or a list of them (then a dimension of the space)."""
    schedule: Literal["fused", "layer_by_layer"] = "fused"
    """Whether neighbouring operators may be fused."""
    mapping: MappingForm = MappingForm()
    """How a mapping is chosen for each design."""
    space: dict[str, ValuesForm] = Field(default_factory=dict)
    """Dimensions: path to values."""
    constraints: tuple[ConstraintForm, ...] = ()
    """Limits that a design must meet."""
    objectives: Annotated[tuple[ObjectiveForm, ...], Field(min_length=1, max_length=6)]
    """What to improve."""
    budget: BudgetForm = BudgetForm()
    """When to stop."""
    sampler: SamplerName = SamplerName.AUTO
    """How outer choices are chosen: exhaustive, tpe, nsga2, random or auto."""
    reference_point: dict[str, float] | None = None
    """Reference of the hypervolume, one value per objective; left out: derived from the first batch."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [objective.metric for objective in self.objectives]
        if len(set(names)) != len(names):
            raise ValueError(f"'objectives': a metric is given twice in {', '.join(names)}; keep one")
        if self.reference_point is not None and sorted(self.reference_point) != sorted(names):
            raise ValueError(f"'reference_point' needs one value for each objective: {', '.join(names)}")
        return self
