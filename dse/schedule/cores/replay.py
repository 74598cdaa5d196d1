"""A plan at other durations: each resource serves its tasks in the order of a simulation, and every task starts as soon as it may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.schedule.cores.simulate import Use

    FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Durations:
    """Seconds of U uses at D points."""

    holds_s: tuple[FloatArray, ...]
    """For each use [resources of the use, D]."""
    lasts_s: FloatArray
    """[U, D]"""


@dataclass(frozen=True, eq=False)
class Order:
    """What each task starts after, in the order in which tasks start: the start of an earlier one and what that takes.

    Holds for all durations under which tasks last at least as long as they hold any resource.
    """

    kinds: tuple[int, ...]
    """Use of each task."""
    steps: tuple[tuple[int, tuple[tuple[int, int], ...]], ...]
    """(task, ((task before it, number of a span), ...))."""
    spans: tuple[tuple[int, tuple[int, ...]], ...]
    """(use, which of its resources: the longest hold of these counts; none: until it is done)."""
    last: tuple[int, ...]
    """Tasks of which one ends last."""

    @staticmethod
    def of(waits: Sequence[tuple[int, ...]], kinds: Sequence[int], uses: Sequence[Use], order: Sequence[int]) -> Order:
        """Tasks that wait for `waits` and take `uses[kinds]`, as a simulation started them in `order`."""
        resources = [tuple(r for r, _ in u.holds) for u in uses]
        numbers: dict[tuple[int, tuple[int, ...]], int] = {(k, ()): k for k in range(len(uses))}
        holder: dict[int, tuple[int, int]] = {}
        followed = bytearray(len(waits))
        steps = []
        for task in order:
            after = dict.fromkeys(waits[task])
            holds: dict[int, tuple[int, ...]] = {}
            for place, r in enumerate(resources[kinds[task]]):
                before = holder.get(r)
                if before is not None and before[0] not in after:
                    holds[before[0]] = (*holds.get(before[0], ()), before[1])
                holder[r] = task, place
            for before_it in after:
                followed[before_it] = 1
            edges = [(b, kinds[b]) for b in after]
            edges += [(b, numbers.setdefault((kinds[b], places), len(numbers))) for b, places in holds.items()]
            steps.append((task, tuple(edges)))
        last = tuple(t for t in range(len(waits)) if not followed[t])
        return Order(tuple(kinds), tuple(steps), tuple(numbers), last)

    def _spans_s(self, durations: Durations) -> list[FloatArray]:
        """Seconds [D] of each span."""
        return [durations.holds_s[use][list(places)].max(axis=0) if places else durations.lasts_s[use] for use, places in self.spans]

    def starts_s(self, durations: Durations) -> FloatArray:
        """When each task starts, [tasks, D]: a valid schedule for each point."""
        spans = np.stack(self._spans_s(durations)) if self.spans else np.zeros((0, 1))
        if spans.shape[1] == 1:
            return np.array(self._starts_of_one(spans[:, 0].tolist()))[:, None]
        starts = np.zeros((len(self.kinds), spans.shape[1]))
        for task, edges in self.steps:
            mine = starts[task]
            for before, span in edges:
                np.maximum(mine, starts[before] + spans[span], out=mine)
        return starts

    def _starts_of_one(self, spans: list[float]) -> list[float]:
        starts = [0.0] * len(self.kinds)
        for task, edges in self.steps:
            start = 0.0
            for before, span in edges:
                at = starts[before] + spans[span]
                if at > start:
                    start = at
            starts[task] = start
        return starts

    def ends_s(self, starts: FloatArray, durations: Durations) -> FloatArray:
        """When the last task ends, [D]."""
        last = list(self.last)
        return np.asarray((starts[last] + durations.lasts_s[[self.kinds[t] for t in last]]).max(axis=0))
