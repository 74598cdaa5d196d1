"""What runs when, and what lies in which memory meanwhile: the form that pictures and traces are drawn from."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class EventKind(StrEnum):
    """What a resource is busy with."""

    COMPUTE = "compute"
    LOAD = "load"
    """Bytes from off chip."""
    STORE = "store"
    """Bytes to off chip."""
    TRANSFER = "transfer"
    """Bytes between memories on chip, or between cores."""
    OVERHEAD = "overhead"
    """Launch, or the wait for the first byte: nothing works for it."""


@dataclass(frozen=True, slots=True)
class Event:
    """One stretch during which one resource works for one operator."""

    resource: str
    start_s: float
    end_s: float
    label: str
    operator: str
    kind: EventKind
    repeats: int = 1
    """How often the stretch comes one after the other: a round of slices, drawn as one piece."""


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Bytes that tensors of one role occupy in one memory: `size_bytes[i]` from `time_s[i]` until `time_s[i + 1]`, or the end."""

    memory: str
    role: str
    time_s: tuple[float, ...]
    """Ascending, the first 0."""
    size_bytes: tuple[float, ...]

    def at(self, time_s: float) -> float:
        """Bytes at `time_s`."""
        return self.size_bytes[max(0, bisect_right(self.time_s, time_s) - 1)]


@dataclass(frozen=True, slots=True)
class MemoryLine:
    """One memory whose occupancy is drawn."""

    name: str
    capacity_bytes: float


@dataclass(frozen=True, slots=True)
class Repeat:
    """A stretch of the picture that runs `count` times, drawn once: layers that are alike."""

    name: str
    start_s: float
    end_s: float
    count: int


@dataclass(frozen=True)
class Timeline:
    """One design point as events on named resources, in order of resource and start; no two events of a resource overlap."""

    name: str
    clock_hz: float
    resources: tuple[str, ...]
    """In the order in which they are drawn."""
    events: tuple[Event, ...]
    memories: tuple[MemoryLine, ...] = ()
    occupancies: tuple[Occupancy, ...] = ()
    repeats: tuple[Repeat, ...] = ()
    """Stretches drawn once and run several times; empty where all is drawn."""
    end_s: float = 0.0
    """End of what is drawn."""

    @property
    def latency_s(self) -> float:
        """Seconds with every repeated stretch counted as often as it runs."""
        return self.end_s + sum((r.count - 1) * (r.end_s - r.start_s) for r in self.repeats)

    @cached_property
    def _of(self) -> Mapping[str, tuple[Event, ...]]:
        found: dict[str, list[Event]] = {}
        for e in self.events:
            found.setdefault(e.resource, []).append(e)
        return {resource: tuple(events) for resource, events in found.items()}

    def of(self, resource: str) -> tuple[Event, ...]:
        """Events of one resource in order of start."""
        return self._of.get(resource, ())

    def busy_s(self, resource: str) -> float:
        """Seconds of the picture during which `resource` works."""
        return sum(e.end_s - e.start_s for e in self.of(resource))

    def peak_bytes(self, memory: str) -> float:
        """Most bytes that lie in `memory` at once."""
        mine = [o for o in self.occupancies if o.memory == memory]
        return max((sum(o.at(t) for o in mine) for t in {t for o in mine for t in o.time_s}), default=0.0)

    def problems(self) -> list[str]:
        """What is wrong with it, in words; empty for a sound timeline. Stretches may touch and differ by rounding."""
        slack = 1e-9 * max(self.end_s, 1e-30)
        found = []
        for e in self.events:
            if e.end_s < e.start_s - slack:
                found.append(f"{e.resource}: {e.label} ends before it starts")
            if e.start_s < -slack or e.end_s > self.end_s + slack:
                found.append(f"{e.resource}: {e.label} lies outside the picture")
            if e.resource not in self.resources:
                found.append(f"{e.label}: resource {e.resource} is not listed")
        for resource in self.resources:
            for a, b in pairwise(sorted(self.of(resource), key=lambda e: (e.start_s, e.end_s))):
                if b.start_s < a.end_s - slack:
                    found.append(f"{resource}: {a.label} and {b.label} overlap")
        found += [
            f"{o.memory}: times of {o.role} are not ascending or lack sizes"
            for o in self.occupancies
            if list(o.time_s) != sorted(o.time_s) or len(o.time_s) != len(o.size_bytes)
        ]
        return found


def in_series(name: str, parts: Sequence[tuple[Timeline, int]]) -> Timeline:
    """Timelines of the same chip one after another, each drawn once with how often it runs; resources in order of appearance."""
    events: list[Event] = []
    repeats: list[Repeat] = []
    samples: dict[tuple[str, str], list[tuple[float, float]]] = {}
    now = 0.0
    for timeline, count in parts:
        prefix = f"{timeline.name}/" if len(parts) > 1 else ""
        events += [replace(e, start_s=e.start_s + now, end_s=e.end_s + now, operator=prefix + e.operator) for e in timeline.events]
        for o in timeline.occupancies:
            steps = samples.setdefault((o.memory, o.role), [(0.0, 0.0)] if now else [])
            steps += [(t + now, size) for t, size in zip(o.time_s, o.size_bytes, strict=True)]
        if count > 1:
            repeats.append(Repeat(timeline.name, now, now + timeline.end_s, count))
        now += timeline.end_s
        for steps in samples.values():
            steps.append((now, 0.0))
    resources = tuple(dict.fromkeys(r for t, _ in parts for r in t.resources))
    order = {r: i for i, r in enumerate(resources)}
    return Timeline(
        name=name,
        clock_hz=parts[0][0].clock_hz,
        resources=resources,
        events=tuple(sorted(events, key=lambda e: (order[e.resource], e.start_s, e.end_s))),
        memories=tuple(dict.fromkeys(m for t, _ in parts for m in t.memories)),
        occupancies=tuple(Occupancy(m, r, tuple(t for t, _ in s), tuple(b for _, b in s)) for (m, r), s in samples.items()),
        repeats=tuple(repeats),
        end_s=now,
    )
