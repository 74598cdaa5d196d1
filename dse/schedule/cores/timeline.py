"""The timeline of a plan on many cores: what each core and channel does when, and what lies in which memory meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dse.hw.topology import CELLS
from dse.schedule.cores.off_chip import off_chip_stays
from dse.schedule.cores.tasks import resource_names
from dse.schedule.timeline import Event, EventKind, MemoryLine, Occupancy, Timeline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.hw.many_core import Chip
    from dse.schedule.cores.tasks import Outcome

WORKING: Final = "working"
"""Role of the memory that a group works in: tiles, and what its slices pass on."""
AHEAD: Final = "loaded ahead"
SUMS: Final = "partial sums"
_KINDS: Final = {
    "load": EventKind.LOAD,
    "store": EventKind.STORE,
    "compute": EventKind.COMPUTE,
    "add": EventKind.COMPUTE,
    "transfer": EventKind.TRANSFER,
    "reduce": EventKind.TRANSFER,
}


def chip_timeline(name: str, outcome: Outcome, chip: Chip, clock_hz: float, stored: Mapping[str, float] | None = None) -> Timeline:
    """Events of all cores and of the channels that are used, and the occupancy of the cores' memories, shared buffers and, with what is
    `stored` there (bytes by role, the whole step), of the memory off chip."""
    names = resource_names(chip)
    layout, tasks, simulation = outcome.layout, outcome.tasks, outcome.simulation
    events = []
    for number, note in enumerate(tasks.notes):
        start, group = float(simulation.start_s[number]), layout.groups[note.group].group
        end, stalls = float(simulation.end_s[number]), tasks.uses[tasks.kinds[number]].stalls
        for resource, seconds in tasks.holds(number):
            if seconds > 0.0:
                label = f"{note.what} {note.tensor}"
                events.append(
                    Event(
                        names[resource],
                        start,
                        end if resource in stalls else start + seconds,
                        label,
                        group.operators[0].name,
                        _KINDS[note.what],
                    )
                )
    used = {e.resource for e in events}
    cores = [c.name for c in chip.cores if c.name in used]
    channels = [c.name for c in chip.interconnect.channels if c.name in used]
    resources = (*cores, *channels)
    order = {r: i for i, r in enumerate(resources)}
    events.sort(key=lambda e: (order[e.resource], e.start_s, e.end_s))
    memories = [MemoryLine(c.name, c.capacity_bytes) for c in chip.cores if c.name in used]
    memories += [MemoryLine(b.name, b.capacity_bytes) for b in chip.shared]
    found = occupancies(outcome, chip)
    if stored is not None:
        memory = MemoryLine(chip.dram.removesuffix(CELLS), chip.dram_capacity_bytes)
        memories.append(memory)
        found += [Occupancy(memory.name, role, (0.0,), (size,)) for role, size in sorted(stored.items())]
        found += _off_chip(outcome, memory.name)
    return Timeline(
        name,
        clock_hz,
        resources,
        tuple(events),
        tuple(memories),
        tuple(found),
        end_s=outcome.latency_s,
    )


def occupancies(outcome: Outcome, chip: Chip) -> list[Occupancy]:
    """Bytes by memory and role over time: a held tensor from the start of its writer until all its readers are over, working memory while
    its group runs."""
    layout, tasks, simulation = outcome.layout, outcome.tasks, outcome.simulation
    start = [float(min(simulation.start_s[t] for t in first)) for first in tasks.first]
    end = [float(max(simulation.end_s[t] for t in last)) for last in tasks.last]
    changes: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for held in layout.held:
        places = [held.buffer] if held.buffer is not None else [chip.cores[c].name for c in held.cores]
        for place in places:
            found = changes.setdefault((place, str(held.role)), [])
            found += [(start[held.writer], held.piece_bytes), (max(end[r] for r in (held.writer, *held.readers)), -held.piece_bytes)]
    for laid in layout.groups:
        need = laid.part.need_bytes
        ahead = laid.ahead_bytes - need
        for core, size in laid.reserved:
            for role, part in ((WORKING, need), (AHEAD, ahead), (SUMS, size - need - ahead)):
                if part > 0.0:
                    found = changes.setdefault((chip.cores[core].name, role), [])
                    found += [(start[laid.index], part), (end[laid.index], -part)]
    return [_occupancy(memory, role, sorted(steps)) for (memory, role), steps in sorted(changes.items())]


def _off_chip(outcome: Outcome, memory: str) -> list[Occupancy]:
    """Activations off chip: from the start of the group that sends one, or of all, until the last that loads it is over, or all are."""
    layout, tasks, simulation = outcome.layout, outcome.tasks, outcome.simulation
    start = [float(min(simulation.start_s[t] for t in first)) for first in tasks.first]
    end = [float(max(simulation.end_s[t] for t in last)) for last in tasks.last]
    changes: dict[str, list[tuple[float, float]]] = {}
    for lies in off_chip_stays(layout.groups):
        since = 0.0 if lies.writer is None else start[lies.writer]
        until = outcome.latency_s if lies.reader is None else end[lies.reader]
        changes.setdefault(str(lies.role), []).extend([(since, lies.size_bytes), (until, -lies.size_bytes)])
    return [_occupancy(memory, role, sorted(steps)) for role, steps in sorted(changes.items())]


def _occupancy(memory: str, role: str, steps: list[tuple[float, float]]) -> Occupancy:
    times, sizes, now = [0.0], [0.0], 0.0
    for at, change in steps:
        now += change
        if at == times[-1]:
            sizes[-1] = max(0.0, now)
        else:
            times.append(at)
            sizes.append(max(0.0, now))
    return Occupancy(memory, role, tuple(times), tuple(sizes))


def peak_bytes(outcome: Outcome, chip: Chip) -> dict[str, float]:
    """Most bytes that each memory holds at once."""
    steps: dict[str, list[tuple[float, float]]] = {}
    for o in occupancies(outcome, chip):
        before = 0.0
        for at, size in zip(o.time_s, o.size_bytes, strict=True):
            steps.setdefault(o.memory, []).append((at, size - before))
            before = size
    peaks = {}
    for memory, changes in steps.items():
        now = peak = 0.0
        for _, change in sorted(changes):
            now += change
            peak = max(peak, now)
        peaks[memory] = peak
    return peaks
