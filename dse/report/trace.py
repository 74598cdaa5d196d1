"""A timeline as a trace that Perfetto (ui.perfetto.dev) and chrome://tracing open."""

from __future__ import annotations

import json
from math import inf, nextafter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dse.schedule.timeline import Timeline

NS_PER_S: Final = 1e9
NS_PER_US: Final = 1e3
RESOURCES_PROCESS, MEMORIES_PROCESS, PARTS_PROCESS = 1, 2, 3
LEAST_NS: Final = 1000
"""A trace lasts at least so long: a shorter one is stretched, since its stretches would be lost in whole nanoseconds."""
STRETCH: Final = 1000
FIRST_TRACK: Final = 11
"""Number of a process's first track: viewers call the track whose number is its process's the main thread."""


def perfetto_json(timeline: Timeline) -> str:
    """The JSON object format of trace events: a track per resource, a counter per memory with a series per role.

    Times are in microseconds, on whole nanoseconds: viewers count in these, and drop a slice that begins before the one before it on
    its track has ended, be it by rounding. A timeline of less than a microsecond is drawn 1,000 times as long, or more; `otherData`
    has the factor as `time_scale`. A stretch that has no whole nanosecond is left out, since it would be drawn inside its neighbour;
    `otherData` says how many there are. Source of the format: "Trace Event Format", Google, sections "Complete Events", "Counter
    Events" and "Metadata Events"; of the rule: issues 4280 and 6277 of google/perfetto.
    """
    events: list[dict[str, object]] = []
    scale = _scale(timeline.end_s)
    title = timeline.name if scale == 1 else f"{timeline.name}, times x {scale:,}"
    events += _names(RESOURCES_PROCESS, title, timeline.resources)
    number = {resource: FIRST_TRACK + i for i, resource in enumerate(timeline.resources)}
    over_ns = dict.fromkeys(timeline.resources, 0)
    too_short = 0
    for e in timeline.events:
        start_ns = max(_ns(e.start_s * scale), over_ns[e.resource])
        end_ns = over_ns[e.resource] = max(_ns(e.end_s * scale), start_ns)
        if end_ns == start_ns:
            too_short += 1
            continue
        events.append(
            {
                "ph": "X",
                "pid": RESOURCES_PROCESS,
                "tid": number[e.resource],
                "ts": _us(start_ns),
                "dur": _us(end_ns - start_ns),
                "name": f"{e.label} x {e.repeats}" if e.repeats > 1 else e.label,
                "cat": str(e.kind),
                "args": {"operator": e.operator, "repeats": e.repeats, "cycles": (e.end_s - e.start_s) * timeline.clock_hz},
            }
        )
    if timeline.repeats:
        events += _names(PARTS_PROCESS, "parts", ("parts",))
    for r in timeline.repeats:
        ts, dur = _us(_ns(r.start_s * scale)), _us(_ns(r.end_s * scale) - _ns(r.start_s * scale))
        name = f"{r.name} x {r.count}"
        events.append({"ph": "X", "pid": PARTS_PROCESS, "tid": FIRST_TRACK, "ts": ts, "dur": dur, "name": name, "args": {"runs": r.count}})
    if timeline.memories:
        events += _names(MEMORIES_PROCESS, "memories", ())
    for memory in timeline.memories:
        mine = [o for o in timeline.occupancies if o.memory == memory.name]
        for time_s in sorted({t for o in mine for t in o.time_s}):
            sizes = {o.role: o.at(time_s) for o in mine}
            events.append(
                {"ph": "C", "pid": MEMORIES_PROCESS, "ts": _us(_ns(time_s * scale)), "name": f"{memory.name} bytes", "args": sizes}
            )
    other = {
        "workload": timeline.name,
        "latency_s": timeline.latency_s,
        "clock_hz": timeline.clock_hz,
        "capacity_bytes": {m.name: m.capacity_bytes for m in timeline.memories},
        "stretches_below_one_ns": too_short,
        "time_scale": scale,
    }
    document = {"displayTimeUnit": "ns", "otherData": other, "traceEvents": events}
    return json.dumps(document, allow_nan=False, separators=(",", ":")) + "\n"


def _scale(end_s: float) -> int:
    """The power of 1,000 by which times are stretched."""
    scale = 1
    while 0.0 < end_s * scale * NS_PER_S < LEAST_NS:
        scale *= STRETCH
    return scale


def _ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)


def _us(nanoseconds: int) -> float:
    """Microseconds whose product with 1,000 is not below the whole number of nanoseconds: some viewers cut it off there."""
    found = nanoseconds / NS_PER_US
    return found if int(found * NS_PER_US) == nanoseconds else nextafter(found, inf)


def _names(process: int, name: str, tracks: tuple[str, ...]) -> list[dict[str, object]]:
    """Names of a process and of its tracks, in the order given."""
    found: list[dict[str, object]] = [{"ph": "M", "pid": process, "name": "process_name", "args": {"name": name}}]
    for i, track in enumerate(tracks):
        found.append({"ph": "M", "pid": process, "tid": FIRST_TRACK + i, "name": "thread_name", "args": {"name": track}})
        found.append({"ph": "M", "pid": process, "tid": FIRST_TRACK + i, "name": "thread_sort_index", "args": {"sort_index": i}})
    return found
