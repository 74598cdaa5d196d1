"""What the trials say of the designs of an untried outer choice: a Gaussian process per quantity through the probes of all trials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.search.gaussian import Scales, choose_scales, fit
from dse.search.probes import interpolation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dse.search.gaussian import Fitted
    from dse.search.goals import Goals
    from dse.search.space import Space
    from dse.search.trial import TrialRecord

    Array = NDArray[np.float64]
    Indices = NDArray[np.int64]

SMALLEST: Final = 1e-300
"""Values below count as this before their logarithm is taken."""
FITS_ABOVE: Final = 0.5
"""Of 1 for designs that fit and 0 for those that do not: a prediction above counts as fitting."""
ROUNDS: Final = 3
"""Of row and column means by which missing probes are filled; they settle after two."""
FITS: Final = ""
"""Name of the process for whether a design fits, beside the columns."""


def model_columns(goals: Goals) -> tuple[str, ...]:
    """Columns that are predicted: objectives first, then what constraints ask for."""
    return tuple(dict.fromkeys([*goals.objectives, *(c.metric for c in goals.constraints)]))


def logs(tables: Sequence[Mapping[str, Sequence[float | None]]], name: str, points: int) -> tuple[Array, NDArray[np.bool_]]:
    """Logarithms of column `name` of each table [N, J], what is missing filled in; what was there [N, J]."""
    nothing = (None,) * points
    table = np.array([[np.nan if v is None else v for v in one.get(name, nothing)] for one in tables])
    return _filled(np.log(np.maximum(table, SMALLEST))), np.isfinite(table)


def probed(record: TrialRecord) -> bool:
    """Whether any probe of the trial has values."""
    return any(value is not None for column in record.probes.values() for value in column)


@dataclass(frozen=True, slots=True)
class FrontModel:
    """Processes by column; targets are the probes."""

    space: Space
    processes: Mapping[str, Fitted]

    def means(self, columns: Sequence[str], digits: Indices, inner: Indices, bounds: Mapping[str, Array] | None = None) -> Array:
        """Expected logarithms of `columns` for outer choices `digits` [C, dims] at inner indices `inner` [P]: [C, P, columns].

        `bounds`: logarithms of their bounds at the probes [C, J], where the processes are of what lies above the bounds.
        """
        weights = interpolation(self.space, inner)
        found = []
        for name in columns:
            at_probes = self.processes[name].predict(digits)
            found.append((at_probes if bounds is None else at_probes + bounds[name]) @ weights.T)
        return np.stack(found, axis=2)

    def deviations(self, columns: Sequence[str], digits: Indices, inner: Indices) -> Array:
        """Standard deviations of the same [C, P, columns]; probes move together."""
        weights = interpolation(self.space, inner)
        return np.stack([self.processes[name].deviation(digits) @ weights.T for name in columns], axis=2)

    def fits(self, digits: Indices, inner: Indices) -> NDArray[np.bool_]:
        """Whether the designs may be expected to fit and to be within the limits [C, P]."""
        if FITS not in self.processes:
            return np.ones((len(digits), len(inner)), dtype=np.bool_)
        found: NDArray[np.bool_] = self.processes[FITS].predict(digits) @ interpolation(self.space, inner).T > FITS_ABOVE
        return found


@dataclass(frozen=True, slots=True)
class ModelData:
    """Trials as tables: logarithms by column [N, J] with nothing missing; what was known [N + K, J] of these and of infeasible trials."""

    digits: Indices
    values: Mapping[str, Array]
    fit_digits: Indices
    known: Array

    @classmethod
    def of(
        cls, records: Sequence[TrialRecord], hopeless: Sequence[TrialRecord], digits: Indices, columns: Sequence[str], *, above: bool
    ) -> ModelData:
        """`records` have probes, `hopeless` have none; `digits`: of both, in this order. `above`: relative to the bounds."""
        points = len(next(iter(records[0].probes.values())))
        values, known = {}, np.ones((len(records), points), dtype=np.bool_)
        for name in columns:
            values[name], known = logs([record.probes for record in records], name, points)
            if above:
                values[name] = values[name] - logs([record.bounds for record in records], name, points)[0]
        none = np.zeros((len(hopeless), points), dtype=np.bool_)
        return cls(digits[: len(records)], values, digits, np.concatenate([known, none]).astype(np.float64))

    @property
    def all_fit(self) -> bool:
        """Whether no probe is missing."""
        return bool(self.known.all())


def scales_of(tables: Sequence[Array], data: ModelData) -> dict[str, Scales]:
    """Scales by column."""
    found = {name: choose_scales(tables, data.digits, values) for name, values in data.values.items()}
    if not data.all_fit:
        found[FITS] = choose_scales(tables, data.fit_digits, data.known)
    return found


def fit_model(space: Space, tables: Sequence[Array], data: ModelData, scales: Mapping[str, Scales]) -> FrontModel:
    """The processes; a column without scales of its own takes those of the first."""
    any_scales = next(iter(scales.values()))
    processes = {name: fit(tables, data.digits, values, scales[name]) for name, values in data.values.items()}
    if not data.all_fit:
        processes[FITS] = fit(tables, data.fit_digits, data.known, scales.get(FITS, any_scales))
    return FrontModel(space, processes)


def _filled(table: Array) -> Array:
    """`table` [N, J] with what is missing replaced by the sum of a row's and a column's share."""
    missing = ~np.isfinite(table)
    if not missing.any():
        return table
    rows, columns = np.zeros((len(table), 1)), np.zeros((1, table.shape[1]))
    for _ in range(ROUNDS):
        rows = _mean(table - columns, missing, axis=1)
        columns = _mean(table - rows, missing, axis=0)
    return np.where(missing, rows + columns, table)


def _mean(table: Array, missing: NDArray[np.bool_], *, axis: int) -> Array:
    """Mean of what is there; 0 where nothing is."""
    there = (~missing).sum(axis=axis, keepdims=True)
    total: Array = np.where(missing, 0.0, table).sum(axis=axis, keepdims=True)
    found: Array = total / np.maximum(there, 1)
    return found
