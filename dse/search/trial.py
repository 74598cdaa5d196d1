"""One outer trial: its record, as it is told to the strategy, written to the log and added to the archive."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class TrialState(StrEnum):
    """How a trial ended."""

    COMPLETE = "complete"
    """At least one design met every constraint."""
    INFEASIBLE = "infeasible"
    """No design fits the accelerator, or none meets the constraints."""
    FAILED = "failed"
    """The evaluator raised an error."""


@dataclass(frozen=True, slots=True)
class Design:
    """One priced inner point of a trial."""

    inner: int
    """Inner index in the space."""
    metrics: Mapping[str, float]
    """All of `METRICS`."""
    bound: str
    """The resource that is busiest over the step."""
    dram_bytes: float


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
    """Per constraint, as a share of its limit; at most 0 where met."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What the inner sweep of one outer choice found."""

    state: TrialState
    priced: int = 0
    """Designs priced."""
    fitting: int = 0
    """Designs that fit the accelerator's memories."""
    feasible: int = 0
    """Designs that also meet every constraint."""
    violated: tuple[int, ...] = ()
    """For each constraint, fitting designs that violate it."""
    attained: tuple[float, ...] = ()
    """For each constraint, the value nearest to its good side over the fitting designs."""
    front: tuple[Design, ...] = ()
    """Feasible designs that no other of this trial dominates, by inner index."""
    best: Design | None = None
    """The feasible design with the least energy-delay product: what the trial reports."""
    ceiling: Ceiling | None = None
    """Of `best`."""
    miss: Miss | None = None
    worst: tuple[float, ...] = ()
    """Worst value of each objective over the feasible designs."""
    marginals: tuple[Marginal, ...] = ()
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
