"""One outer trial: its record, as it is told to the strategy, written to the log and added to the archive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum

from dse.cost.capacity import Infeasibility


class TrialState(StrEnum):
    """How a trial ended."""

    COMPLETE = "complete"
    """At least one design met every limit and constraint."""
    INFEASIBLE = "infeasible"
    """No design fits the accelerator, or none meets the limits and constraints."""
    FAILED = "failed"
    """The evaluator raised an error, or ended its process twice."""


@dataclass(frozen=True, slots=True)
class Design:
    """One priced inner point of a trial."""

    inner: int
    """Inner index in the space."""
    metrics: Mapping[str, float]
    """`Goals.columns`; of a design that was never priced only what is known without."""
    bound: str
    """The resource that is busiest over the step (with several workloads: over the one that takes longest in the mix)."""
    dram_bytes: float
    """Of the step; with several workloads of the mix."""


@dataclass(frozen=True, slots=True)
class Front:
    """Designs as columns of one length; iterates over `Design`."""

    inner: tuple[int, ...] = ()
    metrics: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    bound: tuple[str, ...] = ()
    dram_bytes: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, row: int) -> Design:
        values = {name: column[row] for name, column in self.metrics.items()}
        return Design(self.inner[row], values, self.bound[row], self.dram_bytes[row])

    def __iter__(self) -> Iterator[Design]:
        return (self[row] for row in range(len(self.inner)))


@dataclass(frozen=True, slots=True)
class Marginal:
    """The best value of one objective over all feasible designs of a trial that share one value of one inner dimension."""

    path: str
    position: int
    """Position of the value among the values of the dimension."""
    objective: str
    value: float
    inner: int
    """The design that has it."""
    peak_macs_per_s: float
    dram_bytes_per_s: float


@dataclass(frozen=True, slots=True)
class Marginals:
    """Marginals as columns of one length; iterates over `Marginal`."""

    path: tuple[str, ...] = ()
    position: tuple[int, ...] = ()
    objective: tuple[str, ...] = ()
    value: tuple[float, ...] = ()
    inner: tuple[int, ...] = ()
    peak_macs_per_s: tuple[float, ...] = ()
    dram_bytes_per_s: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.path)

    def __iter__(self) -> Iterator[Marginal]:
        columns = [getattr(self, f.name) for f in fields(self)]
        return (Marginal(*row) for row in zip(*columns, strict=True))


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Roofs over one design, and what the workload asks: the roofline picture."""

    macs: float
    """Of the step."""
    compulsory_bytes: float
    """DRAM bytes of the step at least: weights, caches, inputs and outputs once."""
    peak_macs_per_s: float
    dram_bytes_per_s: float


@dataclass(frozen=True, slots=True)
class Miss:
    """The design that comes nearest to meeting all constraints, of a trial where none meets them."""

    design: Design
    violations: tuple[float, ...]
    """Per constraint, as a share of its limit; at most 0 where met, and 0 where it was not priced any more."""


@dataclass(frozen=True, slots=True)
class Lacking:
    """The design that comes nearest to fitting, of a trial where none fits, and what it lacks."""

    inner: int
    """Inner index in the space."""
    why: Infeasibility


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What the inner sweep of one outer choice found."""

    state: TrialState
    designs: int = 0
    """Inner points of the choice, all decided: excluded, screened or priced."""
    excluded: int = 0
    """Designs that the limits of the campaign exclude."""
    screened: int = 0
    """Designs that needed no pricing: too little DRAM, or a constraint on area or cost not met."""
    priced: int = 0
    """Designs priced."""
    fitting: int = 0
    """Priced designs that fit the accelerator's memories."""
    feasible: int = 0
    """Designs that also meet every constraint."""
    violated: tuple[int, ...] = ()
    """For each constraint, the designs that violate it, of those that it was checked for."""
    attained: tuple[float | None, ...] = ()
    """For each constraint, the value nearest to its good side over the designs that it was checked for; None without any."""
    front: Front = field(default_factory=Front)
    """Feasible designs that no other of this trial dominates, by inner index."""
    best: Design | None = None
    """The feasible design that is best by the campaign's scalar (energy times delay unless said): what the trial reports."""
    ceiling: Ceiling | None = None
    """Of `best`, where there is one workload."""
    miss: Miss | None = None
    lacking: Lacking | None = None
    worst: tuple[float, ...] = ()
    """Worst value of each objective over the feasible designs."""
    marginals: Marginals = field(default_factory=Marginals)
    probes: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    """Values at `probe_points`, by column; null where a design does not fit or a limit excludes it. Only where a sampler asks."""
    bounds: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    """The same by the evaluator's bound."""
    error: str = ""
    """`ErrorClass: message` of a failed trial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord(Sweep):
    """A sweep with its place in the campaign."""

    number: int
    batch: int
    outer: int
    """Outer index in the space."""
    sampler_state: Mapping[str, object] = field(default_factory=dict)
    """What the sampler keeps of this trial (JSON); empty for samplers that keep nothing."""


def failed(error: Exception) -> Sweep:
    """The outcome of a trial whose evaluation raised `error`."""
    return Sweep(state=TrialState.FAILED, error=f"{type(error).__name__}: {error}")


def recorded(result: Sweep, *, number: int, batch: int, outer: int, sampler_state: Mapping[str, object]) -> TrialRecord:
    """`result` with its place in the campaign."""
    found = {f.name: getattr(result, f.name) for f in fields(result)}
    return TrialRecord(**found, number=number, batch=batch, outer=outer, sampler_state=sampler_state)
