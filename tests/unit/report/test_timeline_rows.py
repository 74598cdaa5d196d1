"""What pictures and traces of a timeline show: rows for all that are alike, sums of short stretches, slices that never overlap."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.report.timeline_figure import gantt_figure, memory_figure
from dse.report.timeline_rows import BINS, MOST_PANELS, MOST_ROWS, panels, rows
from dse.report.trace import perfetto_json
from dse.schedule.timeline import Event, EventKind, MemoryLine, Occupancy, Timeline
from dse.units import BYTES_PER_GIB, BYTES_PER_MIB


def line(events: list[Event], *, end_s: float, memories: int = 0) -> Timeline:
    names = tuple(f"m{i}" for i in range(memories))
    return Timeline(
        "work",
        1e9,
        tuple(dict.fromkeys(e.resource for e in events)),
        tuple(events),
        tuple(MemoryLine(n, 100.0) for n in names),
        tuple(Occupancy(n, "weight", (0.0,), (float(i % 20),)) for i, n in enumerate(names)),
        end_s=end_s,
    )


def computes(resource: str, start_s: float, end_s: float, operator: str = "a") -> Event:
    return Event(resource, start_s, end_s, f"compute {operator}", operator, EventKind.COMPUTE)


def test_cores_that_do_the_same_share_a_row() -> None:
    found, left_out = rows(line([computes(f"core{i}", 0.0, 1.0 if i < 3 else 2.0) for i in range(5)], end_s=2.0))
    assert [row.title for row in found] == ["core0 and 2 alike", "core3 and 1 alike"]
    assert left_out == ()


def test_short_stretches_are_summed_and_nothing_is_lost() -> None:
    step = 1.0 / 2000
    short = [computes("core", i * step, i * step + step / 4) for i in range(1000)]  # a quarter of the first half
    (row,), _ = rows(line([*short, computes("core", 0.5, 1.0, "long")], end_s=1.0))
    sums = [bar for bar in row.bars if not bar.label]
    assert len(sums) == BINS // 2
    assert all(bar.height == pytest.approx(0.25) for bar in sums)
    assert sum(bar.height * (bar.end_s - bar.start_s) for bar in row.bars) == pytest.approx(row.busy_s)
    assert [(bar.start_s, bar.end_s, bar.operator) for bar in row.bars if bar.label] == [(0.5, 1.0, "long")]


def test_a_role_has_one_colour_in_every_picture() -> None:
    colours = []
    for roles in (("weight", "tiles"), ("activation", "weight")):
        held = tuple(Occupancy("m", role, (0.0,), (20.0,)) for role in roles)
        timeline = Timeline("work", 1e9, (), (), (MemoryLine("m", 100.0),), held, end_s=1.0)
        (legend,) = memory_figure(timeline).legends
        colours.append(
            {text.get_text(): patch.get_facecolor() for text, patch in zip(legend.get_texts(), legend.get_patches(), strict=True)}
        )
    assert colours[0]["weight"] == colours[1]["weight"]
    assert len({*colours[0].values(), *colours[1].values()}) == 3


def test_of_many_rows_those_that_compute_stay() -> None:
    moves = [Event(f"link{i}", 0.0, 1.0 + i / 100, "load x", "a", EventKind.LOAD) for i in range(40)]
    timeline = line([*moves, computes("core", 0.0, 0.1)], end_s=2.0)
    found, left_out = rows(timeline)
    assert len(found) == MOST_ROWS
    assert found[-1].title == "core"
    assert max(row.busy_s for row in left_out) <= min(row.busy_s for row in found if not row.computes)
    assert "left out: 17 resources" in gantt_figure(timeline).axes[0].get_xlabel()


def test_memories_that_hold_the_same_share_a_panel() -> None:
    timeline = line([computes("core", 0.0, 1.0)], end_s=1.0, memories=36)
    found, left_out = panels(timeline)
    assert len(found) == MOST_PANELS == len(memory_figure(timeline).axes)
    assert sum(len(p.names) for p in (*found, *left_out)) == 36
    assert min(p.peak_bytes for p in found) >= max(p.peak_bytes for p in left_out)


@pytest.mark.parametrize("held_bytes", [0.0, 1.0, 3 * BYTES_PER_MIB, 57.5 * BYTES_PER_GIB, 60 * BYTES_PER_GIB, 384 * BYTES_PER_GIB])
def test_little_in_a_large_memory_is_seen_under_a_cut_axis(held_bytes: float) -> None:
    capacity_bytes = 384.0 * BYTES_PER_GIB
    held = Occupancy("dram", "weight", (0.0,), (held_bytes,))
    drawn = Timeline("work", 1e9, (), (), (MemoryLine("dram", capacity_bytes),), (held,), end_s=1.0)
    (axes,) = memory_figure(drawn).axes
    unit = {"bytes": 1, "KiB": 2**10, "MiB": BYTES_PER_MIB, "GiB": BYTES_PER_GIB}[axes.get_ylabel()]
    line = axes.lines[0].get_ydata()[0]
    assert held_bytes / unit <= line * (1 + 1e-12) <= axes.get_ylim()[1]
    said = [t.get_text() for t in axes.texts]
    if 0 < held_bytes < 0.15 * capacity_bytes:
        assert said == ["capacity 384 GiB, axis cut"]
        assert held_bytes / unit > 0.6 * axes.get_ylim()[1]
        assert all(tick < line for tick in axes.get_yticks())
    else:
        assert said == []
        assert line == pytest.approx(384.0)


@given(st.lists(st.floats(1e-12, 1e-3), min_size=2, max_size=40), st.floats(0.0, 10.0))
def test_slices_of_a_track_never_overlap_however_a_viewer_reads_them(lengths: list[float], start_s: float) -> None:
    events, at = [], start_s
    for length in lengths:
        events.append(computes("core", at, at + length))
        at += length
    trace = json.loads(perfetto_json(line(events, end_s=at)))
    slices, scale = [e for e in trace["traceEvents"] if e["ph"] == "X"], trace["otherData"]["time_scale"]
    assert scale == 1 or at * scale < 1e-3  # never stretched further than needed
    assert at * scale >= 1e-6
    assert len(slices) + trace["otherData"]["stretches_below_one_ns"] == len(lengths)
    assert all(e["dur"] >= 1e-3 for e in slices)  # else it would be drawn inside its neighbour
    for to_ns in (lambda us: int(us * 1000.0), lambda us: round(us * 1000.0)):  # cut off, and rounded
        for a, b in pairwise(slices):
            assert to_ns(b["ts"]) >= to_ns(a["ts"]) + to_ns(a["dur"])
    drawn = [made for made in events if round(made.end_s * scale * 1e9) > round(made.start_s * scale * 1e9)]
    for e, made in zip(slices, drawn, strict=True):
        assert abs(e["ts"] * 1e-6 - made.start_s * scale) <= 1e-9
        assert abs(e["dur"] * 1e-6 - (made.end_s - made.start_s) * scale) <= 2e-9
