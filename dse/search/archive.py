"""The archive: every non-dominated design found so far, in a fixed order, with its hypervolume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.search.pareto import epsilon_thin, hypervolume, hypervolume_is_exact, knee, non_dominated, reference_from_worst

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from dse.search.goals import Goals
    from dse.search.trial import Design, TrialRecord


@dataclass(frozen=True, slots=True)
class Member:
    """A design on the front and the trial that found it."""

    trial: int
    outer: int
    design: Design


class Archive:
    """All non-dominated designs of the trials added so far.

    Of designs with equal objectives the first is kept: lowest trial number, then lowest inner index. So the
    content depends on the trials only, not on how they were batched.
    """

    def __init__(self, goals: Goals, reference: Sequence[float] | None = None) -> None:
        """`reference`: the reference point of the hypervolume; None derives it (see `reference`)."""
        self._goals = goals
        self._reference: tuple[float, ...] | None = None if reference is None else tuple(reference)
        self._records: dict[int, TrialRecord] = {}
        self._values = np.zeros((0, len(goals.objectives)))
        self._trials = np.zeros(0, dtype=np.int64)
        self._rows = np.zeros(0, dtype=np.int64)
        self._members: tuple[Member, ...] | None = None
        self._hypervolume: float | None = None

    @property
    def reference(self) -> tuple[float, ...] | None:
        """Reference point [M]: as given, else frozen after the first batch that has feasible designs.

        Derived: the worst value of each objective over all feasible designs priced in that batch, moved 10 % of
        its magnitude to the bad side. None before.
        """
        return self._reference

    @property
    def values(self) -> NDArray[np.float64]:
        """Objectives of the front [A, M], in the order of `members`."""
        return self._values[self._order()]

    @property
    def members(self) -> tuple[Member, ...]:
        """The front, ordered by the first objective from its best value on, then trial and inner index."""
        if self._members is None:
            places = zip(self._trials[self._order()].tolist(), self._rows[self._order()].tolist(), strict=True)
            self._members = tuple(Member(t, self._records[t].outer, self._records[t].front[row]) for t, row in places)
        return self._members

    @property
    def hypervolume(self) -> float:
        """Hypervolume of the front against `reference`; 0 while there is none. See `hypervolume_exact`."""
        if self._hypervolume is None:
            maximise = self._goals.maximise
            self._hypervolume = 0.0 if self._reference is None else hypervolume(self._values, self._reference, maximise)
        return self._hypervolume

    @property
    def hypervolume_exact(self) -> bool:
        """False where the front has so many designs and objectives that the hypervolume is sampled."""
        return hypervolume_is_exact(*self._values.shape)

    def __len__(self) -> int:
        return len(self._values)

    def add_batch(self, records: Iterable[TrialRecord]) -> None:
        """Take in the fronts of one batch of trials, in the order of their numbers."""
        records = list(records)
        if self._reference is None:
            self._freeze_reference(records)
        found = [record for record in records if len(record.front)]
        if not found:
            return
        names = self._goals.objectives
        values = [np.stack([np.asarray(record.front.metrics[name]) for name in names], axis=1) for record in found]
        trials = [np.full(len(rows), record.number, dtype=np.int64) for record, rows in zip(found, values, strict=True)]
        merged = np.concatenate([self._values, *values])
        keep = non_dominated(merged, self._goals.maximise)
        self._values = merged[keep]
        self._trials = np.concatenate([self._trials, *trials])[keep]
        self._rows = np.concatenate([self._rows, *(np.arange(len(rows), dtype=np.int64) for rows in values)])[keep]
        self._records |= {record.number: record for record in found}
        alive = set(np.unique(self._trials).tolist())
        self._records = {number: record for number, record in self._records.items() if number in alive}
        self._members = self._hypervolume = None

    def knee(self) -> Member | None:
        """The knee of the front; None while the front is empty."""
        return self.members[knee(self.values, self._goals.maximise)] if len(self) else None

    def thinned(self, count: int) -> tuple[Member, ...]:
        """At most about `count` members that cover the front, for display only (see `epsilon_thin`)."""
        keep = epsilon_thin(self.values, self._goals.maximise, count)
        return tuple(member for member, kept in zip(self.members, keep, strict=True) if kept)

    def best_value(self, objective: str) -> float | None:
        """The best value of `objective` on the front; None while it is empty."""
        column = self._goals.objectives.index(objective)
        if not len(self):
            return None
        values = self._values[:, column]
        return float(values.max() if self._goals.maximise[column] else values.min())

    def best(self, objective: str) -> Member | None:
        """The front member that is best in `objective`; ties go to the better in the other objectives."""
        if not len(self):
            return None
        column = self._goals.objectives.index(objective)
        signed = np.where(self._goals.maximise, -self.values, self.values)
        keys = [signed[:, i] for i in reversed(range(signed.shape[1]))]
        return self.members[int(np.lexsort([*keys, signed[:, column]])[0])]

    def _order(self) -> NDArray[np.intp]:
        signed = np.where(self._goals.maximise, -self._values, self._values)
        return np.lexsort([self._rows, self._trials, *(signed[:, i] for i in reversed(range(signed.shape[1])))])

    def _freeze_reference(self, records: list[TrialRecord]) -> None:
        worst = [record.worst for record in records if record.worst]
        if worst:
            columns = np.array(worst)
            extremes = np.where(self._goals.maximise, columns.min(axis=0), columns.max(axis=0))
            self._reference = reference_from_worst(extremes.tolist(), self._goals.maximise)
