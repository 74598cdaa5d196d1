"""What a picture of a timeline shows: rows of bars and panels of memories, each drawn once for all that are alike."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dse.schedule.timeline import EventKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.schedule.timeline import Event, MemoryLine, Timeline

SHORT: Final = 300
"""Stretches shorter than this part of the picture are summed up: drawn one by one they would be a grey haze."""
BINS: Final = 100
"""Parts of the picture over which short stretches are summed up."""
MOST_ROWS: Final = 24
"""Rows drawn: of more those that compute, and the busiest of the others."""
MOST_PANELS: Final = 8
"""Memories drawn: of more the fullest."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One stretch, or what many short ones come to in one part of the picture."""

    start_s: float
    end_s: float
    operator: str
    """Of many short stretches, the one with the most time."""
    label: str
    """Empty for a sum of short stretches."""
    height: float = 1.0
    """Part of the time that is busy."""


@dataclass(frozen=True, slots=True)
class Row:
    """Resources that do the same at the same time."""

    names: tuple[str, ...]
    bars: tuple[Bar, ...]
    busy_s: float

    computes: bool

    @property
    def title(self) -> str:
        """Its name, or the first with the number of the others."""
        return alike(self.names)


def alike(names: Sequence[str]) -> str:
    """`a`, or `a and 3 alike`."""
    return names[0] if len(names) < 2 else f"{names[0]} and {len(names) - 1} alike"


def rows(timeline: Timeline) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """(rows drawn, rows left out) in the order of the resources; what is left out only moves data, and is less busy than what is drawn."""
    found: dict[tuple[tuple[float, float, str], ...], list[str]] = {}
    for resource in timeline.resources:
        key = tuple((e.start_s, e.end_s, e.operator) for e in timeline.of(resource))
        found.setdefault(key, []).append(resource)
    every = [_row(tuple(names), timeline) for names in found.values()]
    kept = sorted(range(len(every)), key=lambda i: (not every[i].computes, -every[i].busy_s, i))[:MOST_ROWS]
    return tuple(every[i] for i in sorted(kept)), tuple(row for i, row in enumerate(every) if i not in kept)


def _row(names: tuple[str, ...], timeline: Timeline) -> Row:
    events = timeline.of(names[0])
    computes = any(e.kind is EventKind.COMPUTE for e in events)
    return Row(names, _bars(events, timeline.end_s), timeline.busy_s(names[0]), computes)


def _bars(events: Sequence[Event], end_s: float) -> tuple[Bar, ...]:
    """Long stretches as they are, before them what the short ones come to in each part of the picture."""
    least, width = end_s / SHORT, end_s / BINS
    busy: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    long: list[Bar] = []
    for e in events:
        if e.end_s - e.start_s >= least:
            long.append(Bar(e.start_s, e.end_s, e.operator, e.label))
            continue
        at = e.start_s
        while at < e.end_s:
            place = int(at / width)
            place = min(place + ((place + 1) * width <= at), BINS - 1)  # the quotient may be rounded down across an edge
            until = e.end_s if place == BINS - 1 else min(e.end_s, (place + 1) * width)
            busy[place][e.operator] += until - at
            at = until
    sums = []
    for place, shares in sorted(busy.items()):
        most = max(shares, key=lambda name: (shares[name], name))
        sums.append(Bar(place * width, (place + 1) * width, most, "", min(1.0, sum(shares.values()) / width)))
    return (*sums, *long)


@dataclass(frozen=True, slots=True)
class Panel:
    """Memories that hold the same at the same time."""

    names: tuple[str, ...]
    memory: MemoryLine
    peak_bytes: float

    @property
    def title(self) -> str:
        """As of a row."""
        return alike(self.names)


def panels(timeline: Timeline) -> tuple[tuple[Panel, ...], tuple[Panel, ...]]:
    """(memories drawn, memories left out) in their order; what is left out is less full than all that is drawn."""
    found: dict[object, list[MemoryLine]] = {}
    for memory in timeline.memories:
        mine = tuple((o.role, o.time_s, o.size_bytes) for o in timeline.occupancies if o.memory == memory.name)
        found.setdefault((memory.capacity_bytes, mine), []).append(memory)
    every = [Panel(tuple(m.name for m in group), group[0], timeline.peak_bytes(group[0].name)) for group in found.values()]
    fullest = sorted(range(len(every)), key=lambda i: (-every[i].peak_bytes / max(every[i].memory.capacity_bytes, 1e-30), i))
    kept = fullest[:MOST_PANELS]
    return tuple(every[i] for i in sorted(kept)), tuple(panel for i, panel in enumerate(every) if i not in kept)
