"""What a search is after: objectives with their directions, and constraints on metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.cost.metrics import METRICS, Direction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Constraint:
    """`metric` must be at most `limit` (or at least, where `at_least`), in the unit that `METRICS` gives."""

    metric: str
    limit: float
    at_least: bool

    def violation(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far `values` [D] miss the limit, as a share of the limit (of 1 where the limit is 0); at most 0 where met."""
        excess = self.limit - values if self.at_least else values - self.limit
        return excess / (abs(self.limit) or 1.0)

    def __str__(self) -> str:
        return f"{self.metric} {'>=' if self.at_least else '<='} {self.limit:g} {METRICS[self.metric].unit}"


@dataclass(frozen=True, slots=True)
class Goals:
    """Objectives (names of metrics, at least one) and constraints."""

    objectives: tuple[str, ...]
    constraints: tuple[Constraint, ...] = ()

    @property
    def maximise(self) -> list[bool]:
        """For each objective whether larger is better."""
        return [METRICS[name].better is Direction.MAXIMIZE for name in self.objectives]

    @property
    def units(self) -> tuple[str, ...]:
        """Unit of each objective."""
        return tuple(METRICS[name].unit for name in self.objectives)

    def values(self, metrics: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Objective values [D, M] from metric columns [D]."""
        return np.stack([metrics[name] for name in self.objectives], axis=1)

    def violations(self, metrics: Mapping[str, NDArray[np.float64]], size: int) -> NDArray[np.float64]:
        """Violation of each constraint [D, C]."""
        columns = [constraint.violation(metrics[constraint.metric]) for constraint in self.constraints]
        return np.stack(columns, axis=1) if columns else np.zeros((size, 0))


def better(first: float, second: float, *, maximise: bool) -> bool:
    """Whether `first` is strictly better than `second`."""
    return first > second if maximise else first < second
