"""The campaign file as a form: what may be written, checked before anything is loaded."""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from dse.campaign.form_values import MAX_POINTS, Scalar, ValuesForm
from dse.campaign.form_workload import WorkloadForm
from dse.cost.metrics import Objective
from dse.errors import did_you_mean
from dse.files import FileForm
from dse.search.quantities import DESIGN_QUANTITIES, QUANTITIES, Across, column_name

__all__ = ["MAX_POINTS", "CampaignForm", "Scalar", "ValuesForm", "WorkloadForm"]

PARETO: Final = "pareto"
"""All objectives of mappings, as a dimension."""
WorkloadName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=32)]


def _known_metric(name: str) -> str:
    if name not in QUANTITIES:
        raise ValueError(f"metric '{name}' is not known; allowed: {', '.join(QUANTITIES)}.{did_you_mean(name, QUANTITIES)}")
    return name


class MetricForm(FileForm):
    """A metric, and with several workloads which of them it is of."""

    metric: str
    """One of the metrics."""
    workload: str | None = None
    """Name of a workload; left out: all."""
    across: Across | None = None
    """How several workloads are taken together: `worst` of them, or the `mix` of all by their weights."""

    _metric = field_validator("metric")(_known_metric)

    @property
    def column(self) -> str:
        """Name of the column that it means."""
        return column_name(self.metric, workload=self.workload, across=self.across)

    @model_validator(mode="after")
    def _of_what(self) -> Self:
        if self.metric in DESIGN_QUANTITIES and (self.workload or self.across):
            raise ValueError(f"{self.metric} belongs to the design, whatever it runs; leave out workload and across")
        return self


class ConstraintForm(MetricForm):
    """A limit on a metric."""

    max: float | None = None
    """Highest value allowed, in the metric's unit."""
    min: float | None = None
    """Lowest value allowed, in the metric's unit."""

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if (self.max is None) == (self.min is None):
            raise ValueError("needs exactly one of max and min; write two constraints for a range")
        return self


class ObjectiveForm(MetricForm):
    """A metric to improve; which way is better belongs to the metric."""


class MappingForm(FileForm):
    """How a mapping is chosen for each design."""

    objective: Objective | Literal["pareto"] = Objective.EDP
    """`latency`, `energy`, `edp`, or `pareto`: each of them, as a dimension `mapping.objective`, so that the front has the fastest, the
    most frugal and the balanced plan of a design."""


class StagnationForm(FileForm):
    """When the front has stopped to move."""

    trials: Annotated[int, Field(ge=1)] = 100
    """Latest trials that are looked at."""
    growth: Annotated[float, Field(ge=0, lt=1)] = 0.001
    """Least share by which they must have raised the hypervolume."""


class BudgetForm(FileForm):
    """When to stop."""

    trials: Annotated[int, Field(ge=1)] = 1000
    """Most outer trials."""
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds of one session; checked after each batch."""
    stagnation: StagnationForm | None = None
    """Stop when the hypervolume no longer grows; left out: never."""


class SamplerForm(FileForm):
    """A sampler with options."""

    name: str
    """auto, exhaustive, surrogate, tpe, nsga2, nsga3, gp, random, qmc, cmaes, or the name of a class in optuna.samplers."""
    options: dict[str, Scalar] = Field(default_factory=dict)
    """Options of that class."""


class LowFidelityForm(FileForm):
    """A first look at many outer choices by their bound instead of their cost."""

    screen: Annotated[int, Field(ge=1, le=100_000)] = 200
    """Outer choices that are looked at."""
    keep: Annotated[int, Field(ge=1, le=1_000)] = 20
    """Of these, the best, which the sampler's first trials evaluate in full."""


class SeedingForm(FileForm):
    """Which outer choices are evaluated before the sampler is asked. An enumeration needs none."""

    warm_start: tuple[str, ...] = ()
    """Run folders whose fronts are evaluated again here."""
    warm_start_keep: Annotated[int, Field(ge=1, le=1_000)] = 50
    """Most choices taken from them."""
    low_fidelity: LowFidelityForm | None = None
    """Left out: none."""


class CampaignForm(FileForm):
    """A campaign: which designs to price for which workloads, and what is sought."""

    schema_version: Literal[1]
    """1."""
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
    """Lower case; names the folder under runs/."""
    include: str | tuple[str, ...] | None = None
    """Campaign files, beside this one, that this one completes: what is written here stands over what they say."""
    question: str = ""
    """What the campaign should answer; heads the report."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the sampler."""
    workload: WorkloadForm | None = None
    """The step that is priced; or several under `workloads`."""
    workloads: dict[WorkloadName, WorkloadForm] = Field(default_factory=dict)
    """Several steps that every design is priced for, by name."""
    accelerator: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Name or path of an accelerator, or a list of them (then a dimension of the space)."""
    system: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Instead of an accelerator: name or path of a system of many chips, or a list; batches count sequences of the whole system."""
    parallel: str = ""
    """With a system: degrees as `dse system --parallel` takes them; of a pattern such as `tp=*` the fastest at each design count."""
    chip_model: Literal["roofline", "calibrated", "mapped"] = "roofline"
    """With a system: how one chip is timed."""
    schedule: Literal["fused", "layer_by_layer"] = "fused"
    """Whether neighbouring operators may be fused."""
    mapping: MappingForm = MappingForm()
    """How a mapping is chosen for each design."""
    matrix: dict[str, Annotated[tuple[Scalar, ...], Field(min_length=1)]] = Field(default_factory=dict)
    """Fields of this file with several values each (`workload.model`, `accelerator`, …): every combination is a run of its own."""
    space: dict[str, ValuesForm] = Field(default_factory=dict)
    """Dimensions: path to values."""
    limits: tuple[str, ...] = ()
    """Conditions on paths of the space, checked before anything is priced: `core.array.rows * core.array.columns <= 65536`."""
    constraints: tuple[ConstraintForm, ...] = ()
    """Limits on metrics that a design must meet."""
    objectives: Annotated[tuple[ObjectiveForm, ...], Field(min_length=1, max_length=6)]
    """What to improve."""
    report: MetricForm | None = None
    """The metric by which a trial reports its best design; left out: energy times delay (of the mix)."""
    prices_usd: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """What makes up `cost_usd`: dollars for one unit of `area_mm2`, of a field of the accelerator, or `fixed`."""
    budget: BudgetForm = BudgetForm()
    """When to stop."""
    sampler: str | SamplerForm = "auto"
    """How outer choices are chosen: the name of a sampler (see SamplerForm), or {name, options}."""
    seeding: SeedingForm = SeedingForm()
    """Outer choices to begin with."""
    reference_point: dict[str, float] | None = None
    """Reference of the hypervolume, one value per objective; left out: derived from the first batch."""

    @property
    def hardware(self) -> str | tuple[str, ...]:
        """The accelerators, or the systems."""
        given = self.accelerator if self.system is None else self.system
        assert given is not None
        return given

    @property
    def steps(self) -> dict[str, WorkloadForm]:
        """The workloads by name; the only one of a campaign without names is called ''."""
        return {"": self.workload} if self.workload is not None else dict(self.workloads)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.workload is None) == (not self.workloads):
            raise ValueError("'workload' is missing; write it, or several under 'workloads', but not both")
        if (self.accelerator is None) == (self.system is None):
            raise ValueError("'accelerator' is missing; write it, or a 'system' of many chips, but not both")
        if self.system is None and (self.parallel or self.chip_model != "roofline"):
            raise ValueError("'parallel' and 'chip_model' belong to a 'system'; leave them out")
        if self.system is not None and self.mapping.objective == PARETO:
            raise ValueError(
                "'mapping.objective': pareto is of the plans of one chip, the steps of a system are as fast as they can be; leave it out"
            )
        names = [objective.column for objective in self.objectives]
        if len(set(names)) != len(names):
            raise ValueError(f"'objectives': a metric is given twice in {', '.join(names)}; keep one")
        if self.reference_point is not None and sorted(self.reference_point) != sorted(names):
            raise ValueError(f"'reference_point' needs one value for each objective: {', '.join(names)}")
        return self
