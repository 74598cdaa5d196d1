"""The archive: every non-dominated design found so far, in a fixed order, with its hypervolume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.search.pareto import hypervolume, knee, non_dominated, reference_from_worst

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
        self._members: list[Member] = []
        self._values = np.zeros((0, len(goals.objectives)))

    @property
    def reference(self) -> tuple[float, ...] | None:
        """Reference point [M]: as given, else frozen after the first batch that has feasible designs.

        Derived: the worst value of each objective over all feasible designs priced in that batch, moved 10 % of
        its magnitude to the bad side. None before.
        """
        return self._reference

    @property
    def members(self) -> tuple[Member, ...]:
        """The front, ordered by the first objective from its best value on, then trial and inner index."""
        maximise = self._goals.maximise
        signed = np.where(maximise, -self._values, self._values)
        order = sorted(
            range(len(self._members)),
            key=lambda i: (*signed[i].tolist(), self._members[i].trial, self._members[i].design.inner),
        )
        return tuple(self._members[i] for i in order)

    @property
    def hypervolume(self) -> float:
        """Hypervolume of the front against `reference`; 0 while there is none."""
        return 0.0 if self._reference is None else hypervolume(self._values, self._reference, self._goals.maximise)

    def __len__(self) -> int:
        return len(self._members)

    def add_batch(self, records: Iterable[TrialRecord]) -> None:
        """Take in the fronts of one batch of trials, in the order of their numbers."""
        records = list(records)
        if self._reference is None:
            self._freeze_reference(records)
        for record in records:
            self._add(record)

    def knee(self) -> Member | None:
        """The knee of the front; None while the front is empty."""
        members = self.members
        if not members:
            return None
        values = np.array([[m.design.metrics[name] for name in self._goals.objectives] for m in members])
        return members[knee(values, self._goals.maximise)]

    def best(self, objective: str) -> Member | None:
        """The front member that is best in `objective`; ties go to the better in the other objectives."""
        column = self._goals.objectives.index(objective)
        maximise = self._goals.maximise
        members = self.members

        def rank(member: Member) -> tuple[float, ...]:
            signed = [
                -member.design.metrics[name] if up else member.design.metrics[name]
                for name, up in zip(self._goals.objectives, maximise, strict=True)
            ]
            return (signed[column], *signed)

        return min(members, key=rank, default=None)

    def _freeze_reference(self, records: list[TrialRecord]) -> None:
        worst = [record.worst for record in records if record.worst]
        if worst:
            columns = np.array(worst)
            extremes = np.where(self._goals.maximise, columns.min(axis=0), columns.max(axis=0))
            self._reference = reference_from_worst(extremes.tolist(), self._goals.maximise)

    def _add(self, record: TrialRecord) -> None:
        if not record.front:
            return
        new = np.array([[design.metrics[name] for name in self._goals.objectives] for design in record.front])
        values = np.concatenate([self._values, new])
        members = [*self._members, *(Member(record.number, record.outer, design) for design in record.front)]
        keep = non_dominated(values, self._goals.maximise)
        self._values = values[keep]
        self._members = [member for member, kept in zip(members, keep, strict=True) if kept]
