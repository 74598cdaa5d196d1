"""Timelines: what `problems` finds, parts in series, the trace and the pictures drawn from one."""

from __future__ import annotations

import json

import pytest

from dse.report.style import to_svg
from dse.report.timeline_figure import gantt_figure, memory_figure
from dse.report.trace import perfetto_json
from dse.schedule.timeline import Event, EventKind, MemoryLine, Occupancy, Repeat, Timeline, in_series


def line(*events: Event, name: str = "line", end_s: float = 4.0, repeats: tuple[Repeat, ...] = ()) -> Timeline:
    held = Occupancy("buffer", "weight", (0.0, 2.0), (100.0, 50.0))
    return Timeline(name, 1e9, ("array", "dram"), events, (MemoryLine("buffer", 200.0),), (held,), repeats, end_s)


def event(resource: str, start_s: float, end_s: float, *, repeats: int = 1) -> Event:
    return Event(resource, start_s, end_s, f"{resource} {start_s}", "score", EventKind.COMPUTE, repeats)


def test_a_sound_line_has_no_problems() -> None:
    found = line(event("array", 0, 1), event("array", 1, 3), event("dram", 0, 4))
    assert found.problems() == []
    assert found.busy_s("array") == 3
    assert found.peak_bytes("buffer") == 100


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (event("array", 0.5, 2), "array: array 0 and array 0.5 overlap"),
        (event("array", 3, 5), "array: array 3 lies outside the picture"),
        (event("array", 3, 2), "array: array 3 ends before it starts"),
        (event("vector", 3, 4), "vector 3: resource vector is not listed"),
    ],
)
def test_problems_are_named(wrong: Event, problem: str) -> None:
    assert problem in line(event("array", 0, 1), wrong).problems()


def test_parts_in_series_count_as_often_as_they_run() -> None:
    """4 s three times, then 2 s once: 14 s, of which 6 s are drawn."""
    found = in_series("both", [(line(event("array", 0, 1), name="layer"), 3), (line(event("dram", 0, 2), name="head", end_s=2.0), 1)])
    assert found.problems() == []
    assert found.end_s == 6
    assert found.latency_s == 14
    assert [(e.operator, e.start_s) for e in found.events] == [("layer/score", 0), ("head/score", 4)]
    assert [o.at(5.0) for o in found.occupancies] == [100.0]


def test_the_trace_has_a_track_per_resource_and_no_overlap() -> None:
    found = line(event("array", 0, 1), event("array", 1, 3, repeats=7), event("dram", 0, 4), repeats=(Repeat("layer", 0.0, 4.0, 60),))
    trace = json.loads(perfetto_json(found))
    tracks = {e["tid"]: e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "thread_name" and e["pid"] == 1}
    assert tracks == {11: "array", 12: "dram"}
    slices = [e for e in trace["traceEvents"] if e["ph"] == "X" and e["pid"] == 1]
    assert [(e["name"], e["ts"], e["dur"]) for e in slices] == [
        ("array 0", 0.0, 1e6),
        ("array 1 x 7", 1e6, 2e6),
        ("dram 0", 0.0, 4e6),
    ]
    assert [e["name"] for e in trace["traceEvents"] if e["ph"] == "X" and e["pid"] == 3] == ["layer x 60"]
    counters = [(e["ts"], e["args"]) for e in trace["traceEvents"] if e["ph"] == "C"]
    assert counters == [(0.0, {"weight": 100.0}), (2e6, {"weight": 50.0})]
    assert trace["otherData"]["latency_s"] == 4.0 * 60


def test_pictures_name_resources_capacity_and_repeats() -> None:
    found = line(event("array", 0, 1), event("dram", 0, 4), repeats=(Repeat("layer", 0.0, 4.0, 60),))
    gantt, memory = gantt_figure(found), memory_figure(found)
    assert [label.get_text() for label in gantt.axes[0].get_yticklabels()] == ["array  25%", "dram  100%"]
    assert "layer x 60" in [t.get_text() for t in gantt.axes[0].texts]
    assert memory.axes[0].get_title(loc="left") == "buffer: at most 100 of 200 bytes (50%)"
    assert to_svg(gantt) == to_svg(gantt_figure(found))
