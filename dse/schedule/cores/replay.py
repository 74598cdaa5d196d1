"""A plan at other durations: each resource serves its tasks in the order of a simulation, and every task starts as soon as it may."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.schedule.cores.simulate import Use

    FloatArray = NDArray[np.float64]
    Edges = tuple[tuple[int, int], ...]
    """((task or service before, number of a span), ...)."""

_AT_ONCE: Final[tuple[int, tuple[int, ...]]] = (-1, ())
"""The span of no length."""


@dataclass(frozen=True, eq=False)
class Durations:
    """Seconds of U uses at D points."""

    holds_s: tuple[FloatArray, ...]
    """For each use [resources of the use and then its ports, D]."""
    lasts_s: FloatArray
    """[U, D]"""


@dataclass(frozen=True, eq=False)
class Order:
    """What each task starts after, in the order in which tasks start: the start of an earlier one and what that takes.

    Holds for all durations under which tasks last at least as long as they hold any resource.
    """

    kinds: tuple[int, ...]
    """Use of each task."""
    steps: tuple[tuple[int, Edges], ...]
    """(task, ((task before it, number of a span), ...)); services of ports stand behind the tasks, numbered from their count on."""
    spans: tuple[tuple[int, tuple[int, ...]], ...]
    """(use, which of its resources and ports: the longest hold of these counts; none: until it is done, ports apart), or `_AT_ONCE`."""
    last: Edges
    """(task or service, span) of which one ends last."""
    served: tuple[tuple[int, int, int], ...] = ()
    """(task, service of a port, span of it): the task is done only then."""

    @staticmethod
    def of(
        waits: Sequence[tuple[int, ...]],
        kinds: Sequence[int],
        uses: Sequence[Use],
        order: Sequence[int],
        alike: Sequence[tuple[object, ...]] | None = None,
        ports: frozenset[int] | None = None,
    ) -> Order:
        """Tasks that wait for `waits` and take `uses[kinds]`, as a simulation started them in `order`.

        `alike` has for each use what the times of its ports depend on: those with the same serve for the same time at all points.
        Of ports those in `ports` are followed, all if it is None.
        """
        return _Compiler(waits, kinds, uses, alike, ports).compiled(order)

    @cached_property
    def _edges(self) -> dict[int, Edges]:
        """What each task starts after."""
        return dict(self.steps)

    def _spans_s(self, durations: Durations) -> list[FloatArray]:
        """Seconds [D] of each span."""
        none = np.zeros(durations.lasts_s.shape[1:])
        return [
            none if use < 0 else durations.holds_s[use][list(places)].max(axis=0) if places else durations.lasts_s[use]
            for use, places in self.spans
        ]

    def starts_s(self, durations: Durations) -> FloatArray:
        """When each task, then each service of a port, starts, [tasks + services, D]: a valid schedule for each point."""
        spans = np.stack(self._spans_s(durations)) if self.spans else np.zeros((0, 1))
        if spans.shape[1] == 1:
            return np.array(self._starts_of_one(spans[:, 0].tolist()))[:, None]
        return self._starts_of_many(spans)

    def latency_s(self, spans: FloatArray) -> FloatArray:
        """When the last task ends, [D], where spans take [spans, D]."""
        starts = self._starts_of_many(spans)
        latency: FloatArray = starts[self.last[0][0]] + spans[self.last[0][1]]
        for task, span in self.last[1:]:
            np.maximum(latency, starts[task] + spans[span], out=latency)
        return latency

    def latency_of_one(self, spans: list[float], *, keep_path: bool) -> tuple[float, list[int], list[float]]:
        """When the last task ends where spans take so long, the spans of a way to it on which nothing waits, if it is asked for, and when
        each task, then each service, starts."""
        starts = self._starts_of_one(spans)
        latency, task, span = max((starts[t] + spans[s], t, s) for t, s in self.last)
        path = [span]
        while keep_path and starts[task] > 0.0:
            task, span = next((b, s) for b, s in self._edges[task] if starts[b] + spans[s] == starts[task])
            path.append(span)
        return latency, path if keep_path else [], starts

    def _starts_of_many(self, spans: FloatArray) -> FloatArray:
        starts = np.zeros((len(self.steps), spans.shape[1]))
        for task, edges in self.steps:
            mine = starts[task]
            for before, span in edges:
                np.maximum(mine, starts[before] + spans[span], out=mine)
        return starts

    def _starts_of_one(self, spans: list[float]) -> list[float]:
        starts = [0.0] * len(self.steps)
        for task, edges in self.steps:
            if len(edges) == 2:  # most
                (before, span), (other, its) = edges
                start = starts[before] + spans[span]
                at = starts[other] + spans[its]
                starts[task] = at if at > start else start
                continue
            start = 0.0
            for before, span in edges:
                at = starts[before] + spans[span]
                if at > start:
                    start = at
            starts[task] = start
        return starts

    def ends_s(self, starts: FloatArray, durations: Durations) -> FloatArray:
        """When the last task ends, [D]."""
        spans = self._spans_s(durations)
        return np.asarray(np.stack([starts[task] + spans[span] for task, span in self.last]).max(axis=0))

    def each_end_s(self, starts: FloatArray, durations: Durations) -> FloatArray:
        """When each task ends, [tasks, D]."""
        ends = starts[: len(self.kinds)] + durations.lasts_s[list(self.kinds)]
        spans = self._spans_s(durations) if self.served else []
        for task, service, span in self.served:
            ends[task] = np.maximum(ends[task], starts[service] + spans[span])
        return np.asarray(ends)


class _Compiler:
    """Finds what each task starts after."""

    def __init__(
        self,
        waits: Sequence[tuple[int, ...]],
        kinds: Sequence[int],
        uses: Sequence[Use],
        alike: Sequence[tuple[object, ...]] | None,
        ports: frozenset[int] | None,
    ) -> None:
        self.waits, self.kinds, self.uses, self.alike = waits, kinds, uses, alike
        self.served = [[(i, p, waits) for i, (p, _, waits) in enumerate(u.ports) if ports is None or p in ports] for u in uses]
        """Of each use the ports that are followed, with their places and whether it waits for them."""
        self.port_spans: dict[object, int] = {}
        self.resources = [tuple(r for r, _ in u.holds) for u in uses]
        self.numbers: dict[tuple[int, tuple[int, ...]], int] = {(k, ()): k for k in range(len(uses))}
        self.holder: dict[int, tuple[int, int]] = {}
        self.steps: list[tuple[int, Edges]] = []
        self.services: dict[int, list[tuple[int, int]]] = {}
        """By task, (service, span) of its ports."""
        self.number = len(waits)
        """Of the next service."""
        self.serving: dict[int, tuple[int, int]] = {}
        """By port, the last of its services."""

    def span(self, use: int, places: tuple[int, ...]) -> int:
        """Number of a span."""
        return self.numbers.setdefault((use, places), len(self.numbers))

    def compiled(self, order: Sequence[int]) -> Order:
        """All tasks in the order in which they start."""
        followed = bytearray(len(self.waits))
        for task in order:
            for before in self._starts(task):  # ends no later
                followed[before] = 1
            if self.served[self.kinds[task]]:
                self._serve(task)
        ends = [t for t in range(len(self.waits)) if not followed[t]]
        last = [(t, self.kinds[t]) for t in ends] + [service for t in ends for service in self.services.get(t, ())]
        served = tuple((t, *service) for t, services in self.services.items() for service in services)
        return Order(tuple(self.kinds), tuple(self.steps), tuple(self.numbers), tuple(last), served)

    def _starts(self, task: int) -> tuple[int, ...]:
        """What a task starts after: the ends of those that it waits for, and who held its resources before. Given are those that end no
        later than it does: of the latter such as use the same."""
        kinds, waited = self.kinds, dict.fromkeys(self.waits[task])
        holds: dict[int, tuple[int, ...]] = {}
        stalled: dict[int, None] = {}
        for place, r in enumerate(self.resources[kinds[task]]):
            before = self.holder.get(r)
            if before is not None and before[0] not in waited:
                holds[before[0]] = (*holds.get(before[0], ()), before[1])
                if before[0] in self.services and r in self.uses[kinds[before[0]]].stalls:
                    stalled[before[0]] = None
            self.holder[r] = task, place
        edges = [(b, kinds[b]) for b in waited]
        edges += [(b, self.span(kinds[b], places)) for b, places in holds.items()]
        if self.services:
            edges += [service for b in (*waited, *stalled) for service in self.services.get(b, ())]
        self.steps.append((task, tuple(edges)))
        return (*waited, *(b for b in holds if kinds[b] == kinds[task]))

    def _serve(self, task: int) -> None:
        """The ports of a task serve it after those that started before."""
        kind = self.kinds[task]
        begun: dict[tuple[tuple[int, int], ...], int] = {}
        for i, port, waits in self.served[kind]:
            before = (self.serving[port],) if port in self.serving else ()
            if before not in begun:  # ports that have served alike begin with this task at the same time
                begun[before], self.number = self.number, self.number + 1
                self.steps.append((begun[before], ((task, self.span(*_AT_ONCE)), *before)))
            self.serving[port] = begun[before], self._port_span(kind, i)
            mine = self.services.setdefault(task, []) if waits else []
            if self.serving[port] not in mine:
                mine.append(self.serving[port])

    def _port_span(self, kind: int, port: int) -> int:
        """Number of the span of a port of a use."""
        places = (len(self.uses[kind].holds) + port,)
        if self.alike is None:
            return self.span(kind, places)
        key = self.alike[kind][port]
        if key not in self.port_spans:
            self.port_spans[key] = self.span(kind, places)
        return self.port_spans[key]
