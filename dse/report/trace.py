"""A timeline as a trace that Perfetto (ui.perfetto.dev) and chrome://tracing open."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dse.schedule.timeline import Timeline

MICROSECONDS: Final = 1e6
RESOURCES_PROCESS, MEMORIES_PROCESS, PARTS_PROCESS = 1, 2, 3


def perfetto_json(timeline: Timeline) -> str:
    """The JSON object format of trace events: a track per resource, a counter per memory with a series per role.

    Times are in microseconds. Events of one track do not overlap (`Timeline.problems`), so no slice hides another. Source of the
    format: "Trace Event Format", Google, sections "Complete Events", "Counter Events" and "Metadata Events".
    """
    events: list[dict[str, object]] = []
    events += _names(RESOURCES_PROCESS, timeline.name, timeline.resources)
    for e in timeline.events:
        events.append(
            {
                "ph": "X",
                "pid": RESOURCES_PROCESS,
                "tid": timeline.resources.index(e.resource) + 1,
                "ts": e.start_s * MICROSECONDS,
                "dur": (e.end_s - e.start_s) * MICROSECONDS,
                "name": f"{e.label} x {e.repeats}" if e.repeats > 1 else e.label,
                "cat": str(e.kind),
                "args": {"operator": e.operator, "repeats": e.repeats, "cycles": (e.end_s - e.start_s) * timeline.clock_hz},
            }
        )
    if timeline.repeats:
        events += _names(PARTS_PROCESS, "parts", ("parts",))
    for r in timeline.repeats:
        dur = (r.end_s - r.start_s) * MICROSECONDS
        name = f"{r.name} x {r.count}"
        ts = r.start_s * MICROSECONDS
        events.append({"ph": "X", "pid": PARTS_PROCESS, "tid": 1, "ts": ts, "dur": dur, "name": name, "args": {"runs": r.count}})
    if timeline.memories:
        events += _names(MEMORIES_PROCESS, "memories", ())
    for memory in timeline.memories:
        mine = [o for o in timeline.occupancies if o.memory == memory.name]
        for time_s in sorted({t for o in mine for t in o.time_s}):
            sizes = {o.role: o.at(time_s) for o in mine}
            ts = time_s * MICROSECONDS
            events.append({"ph": "C", "pid": MEMORIES_PROCESS, "ts": ts, "name": f"{memory.name} bytes", "args": sizes})
    other = {
        "workload": timeline.name,
        "latency_s": timeline.latency_s,
        "clock_hz": timeline.clock_hz,
        "capacity_bytes": {m.name: m.capacity_bytes for m in timeline.memories},
    }
    document = {"displayTimeUnit": "ns", "otherData": other, "traceEvents": events}
    return json.dumps(document, allow_nan=False, separators=(",", ":")) + "\n"


def _names(process: int, name: str, tracks: tuple[str, ...]) -> list[dict[str, object]]:
    """Names of a process and of its tracks, in the order given."""
    found: list[dict[str, object]] = [{"ph": "M", "pid": process, "name": "process_name", "args": {"name": name}}]
    for i, track in enumerate(tracks):
        found.append({"ph": "M", "pid": process, "tid": i + 1, "name": "thread_name", "args": {"name": track}})
        found.append({"ph": "M", "pid": process, "tid": i + 1, "name": "thread_sort_index", "args": {"sort_index": i}})
    return found
