"""The metrics that a priced design point has: names, units, directions, and how each follows from latency and energy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from dse.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Direction(StrEnum):
    """Which way is better."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"


class Objective(StrEnum):
    """What the choice among mappings minimises; ties are broken on the other of latency and energy."""

    LATENCY = "latency"
    ENERGY = "energy"
    EDP = "edp"


class Resource(StrEnum):
    """What can bound an operator."""

    ARRAY = "array"
    VECTOR = "vector"
    BUFFER_READ = "buffer_read"
    BUFFER_WRITE = "buffer_write"
    DRAM = "dram"
    OVERHEAD = "overhead"
    INNER = "inner_memory"
    """The busiest port of the memories inside the outermost buffer."""
    LINK = "link"
    """Links between the chips of a system, or between the cores of a chip."""


RESOURCES: Final = tuple(Resource)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of a design point."""

    name: str
    unit: str
    better: Direction
    meaning: str


METRICS: Final = {
    m.name: m
    for m in (
        Metric("tokens_per_s", "token/s", Direction.MAXIMIZE, "new tokens of the step over its latency"),
        Metric("joules_per_token", "J/token", Direction.MINIMIZE, "energy of the step over its new tokens"),
        Metric("latency_s", "s", Direction.MINIMIZE, "time of the step"),
        Metric("energy_j", "J", Direction.MINIMIZE, "energy of the step"),
        Metric("edp_js", "J s", Direction.MINIMIZE, "energy times latency of the step"),
        Metric("area_mm2", "mm2", Direction.MINIMIZE, "silicon area"),
        Metric("power_w", "W", Direction.MINIMIZE, "energy over latency of the step"),
    )
}


def metric(name: str) -> Metric:
    """The metric called `name`.

    Raises:
        UsageError: no such metric; lists the allowed ones.
    """
    if name not in METRICS:
        raise UsageError(f"metric '{name}' is not known; allowed: {', '.join(METRICS)}.{did_you_mean(name, METRICS)}")
    return METRICS[name]


@dataclass(frozen=True)
class Priced:
    """A workload priced over a table of D design points; all arrays are [D].

    Infeasible points have infinite latency and energy.
    """

    tokens: int
    latency_s: NDArray[np.float64]
    energy_j: NDArray[np.float64]
    area_mm2: NDArray[np.float64]
    dram_bytes: NDArray[np.float64]
    bound: NDArray[np.int8]
    """Index into `RESOURCES` of the resource that is busiest over the step; -1 where infeasible."""
    feasible: NDArray[np.bool_]
    chips: int = 1
    """Chips that share the work; 1 but for systems."""

    def metric(self, name: str) -> NDArray[np.float64]:
        """Values of metric `name` [D], in the unit that `METRICS` gives.

        Raises:
            UsageError: no such metric.
        """
        metric(name)
        match name:
            case "tokens_per_s":
                return self.tokens / self.latency_s
            case "joules_per_token":
                return self.energy_j / self.tokens
            case "edp_js":
                return self.energy_j * self.latency_s
            case "power_w":
                return self.energy_j / self.latency_s
            case _:
                values: NDArray[np.float64] = getattr(self, name)
                return values
