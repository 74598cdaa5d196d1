"""What a search is after: objectives with their directions, constraints, and the steps that every design is priced for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.search.quantities import AREA, COST, DESIGN_QUANTITIES, ONE, Scenario, maximise, quantity, stored_columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Constraint:
    """`metric` (a column) must be at most `limit` (or at least, where `at_least`), in the unit that `quantity` gives."""

    metric: str
    limit: float
    at_least: bool

    def violation(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far `values` [D] miss the limit, as a share of the limit (of 1 where the limit is 0); at most 0 where met."""
        excess = self.limit - values if self.at_least else values - self.limit
        return excess / (abs(self.limit) or 1.0)

    @property
    def of_design(self) -> bool:
        """Whether it can be checked before anything is compiled."""
        return self.metric in DESIGN_QUANTITIES

    def __str__(self) -> str:
        return f"{self.metric} {'>=' if self.at_least else '<='} {self.limit:g} {quantity(self.metric).unit}"


@dataclass(frozen=True, slots=True)
class Goals:
    """Objectives (columns, at least one), constraints, scenarios, and the scalar by which a trial reports its best design."""

    objectives: tuple[str, ...]
    constraints: tuple[Constraint, ...] = ()
    scenarios: tuple[Scenario, ...] = ONE
    report: str = "edp_js"

    @property
    def maximise(self) -> list[bool]:
        """For each objective whether larger is better."""
        return [maximise(name) for name in self.objectives]

    @property
    def units(self) -> tuple[str, ...]:
        """Unit of each objective."""
        return tuple(quantity(name).unit for name in self.objectives)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns kept for every design of a front, objectives first."""
        asked = (*self.objectives, *(c.metric for c in self.constraints), self.report)
        return stored_columns(self.scenarios, asked, priced=COST in asked)

    def values(self, metrics: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Objective values [D, M] from columns [D]."""
        return np.stack([metrics[name] for name in self.objectives], axis=1)

    def violations(self, metrics: Mapping[str, NDArray[np.float64]], size: int) -> NDArray[np.float64]:
        """Violation of each constraint [D, C]."""
        columns = [constraint.violation(metrics[constraint.metric]) for constraint in self.constraints]
        return np.stack(columns, axis=1) if columns else np.zeros((size, 0))


def better(first: float, second: float, *, maximise: bool) -> bool:
    """Whether `first` is strictly better than `second`."""
    return first > second if maximise else first < second


__all__ = ["AREA", "COST", "Constraint", "Goals", "better"]
