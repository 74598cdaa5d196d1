"""Pictures of a timeline: what each resource does when (Gantt), and what lies in each memory meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from dse.report.style import INK, PALE, PALETTE, styled
from dse.units import BYTES_PER_GIB, BYTES_PER_KIB, BYTES_PER_MIB

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dse.schedule.timeline import MemoryLine, Timeline

MOST_COLOURED: Final = len(PALETTE)
"""Operators with a colour of their own: those with the most busy time; the others are pale."""
LABEL_SHARE: Final = 0.05
"""Least part of the width that a stretch needs to carry its operator's name."""
BAR_HEIGHT: Final = 0.72
FINEST: Final = 400
"""Stretches shorter than this part of the picture have no outline, which would hide them."""
CHARACTERS_ACROSS: Final = 130
"""Characters of a stretch's name that fit the whole width."""
_TIME_UNITS: Final = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))
_SIZE_UNITS: Final = ((BYTES_PER_GIB, "GiB"), (BYTES_PER_MIB, "MiB"), (BYTES_PER_KIB, "KiB"), (1, "bytes"))


def gantt_figure(timeline: Timeline) -> Figure:
    """A row per resource, a bar per stretch, coloured by operator; parts that repeat are bracketed above."""
    unit, unit_name = next((u for u in _TIME_UNITS if timeline.end_s >= u[0]), _TIME_UNITS[-1])
    colours = _colours(timeline)
    with styled():
        figure = Figure(figsize=(11.0, 1.5 + 0.5 * len(timeline.resources)), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for row, resource in enumerate(timeline.resources):
            for e in timeline.of(resource):
                left, width = e.start_s / unit, (e.end_s - e.start_s) / unit
                line = 0.3 if e.end_s - e.start_s > timeline.end_s / FINEST else 0.0
                colour = colours.get(e.operator, PALE)
                axes.barh(row, width, left=left, height=BAR_HEIGHT, color=colour, edgecolor="white", linewidth=line)
                text = e.label if e.label.startswith("load") else e.operator.rsplit("/", 1)[-1]
                share = (e.end_s - e.start_s) / timeline.end_s
                if share >= max(LABEL_SHARE, len(text) / CHARACTERS_ACROSS):
                    light = colour in (PALE, PALETTE[4], PALETTE[5])
                    axes.text(left + width / 2, row, text, ha="center", va="center", fontsize=6.5, color=INK if light else "white")
        names = [f"{r}  {timeline.busy_s(r) / timeline.end_s:.0%}" for r in timeline.resources]
        axes.set_yticks(range(len(timeline.resources)), names)
        axes.invert_yaxis()
        axes.set_xlim(0.0, timeline.end_s / unit)
        axes.set_xlabel(f"time ({unit_name}); beside each resource its busy share")
        axes.grid(visible=False, axis="y")
        _brackets(axes, timeline, unit)
        handles = [Patch(color=c, label=name) for name, c in colours.items()]
        if len({e.operator for e in timeline.events}) > len(colours):
            handles.append(Patch(color=PALE, label="others"))
        figure.legend(handles=handles, loc="outside lower center", ncols=min(5, max(1, len(handles))))
        axes.set_title(_title(timeline), loc="left", pad=18.0 if timeline.repeats else 6.0)
    return figure


def memory_figure(timeline: Timeline) -> Figure:
    """For each memory the bytes by role, stacked, with its capacity as a line."""
    unit, unit_name = next((u for u in _TIME_UNITS if timeline.end_s >= u[0]), _TIME_UNITS[-1])
    roles = list(dict.fromkeys(o.role for o in timeline.occupancies if max(o.size_bytes, default=0.0) > 0.0))
    with styled():
        figure = Figure(figsize=(11.0, 0.9 + 2.4 * len(timeline.memories)), layout="constrained")
        FigureCanvasSVG(figure)
        for number, memory in enumerate(timeline.memories):
            axes = figure.add_subplot(len(timeline.memories), 1, number + 1)
            _memory(axes, timeline, memory, roles, unit)
            axes.set_xlim(0.0, timeline.end_s / unit)
            if number + 1 == len(timeline.memories):
                axes.set_xlabel(f"time ({unit_name})")
        handles = [Patch(color=PALETTE[i % len(PALETTE)], label=role) for i, role in enumerate(roles)]
        figure.legend(handles=handles, loc="outside lower center", ncols=max(1, len(handles)))
    return figure


def _memory(axes: Axes, timeline: Timeline, memory: MemoryLine, roles: list[str], unit: float) -> None:
    mine = {o.role: o for o in timeline.occupancies if o.memory == memory.name}
    times = sorted({t for o in mine.values() for t in o.time_s} | {timeline.end_s})
    rows = [[mine[role].at(t) if role in mine else 0.0 for t in times] for role in roles]
    peak = max((sum(column) for column in zip(*rows, strict=True)), default=0.0)
    size, size_name = next((u for u in _SIZE_UNITS if memory.capacity_bytes >= u[0]), _SIZE_UNITS[-1])
    scaled = [[value / size for value in row] for row in rows]
    colours = [PALETTE[i % len(PALETTE)] for i in range(len(roles))]
    axes.stackplot([t / unit for t in times], *scaled, colors=colours, step="post", linewidth=0.0)
    capacity = memory.capacity_bytes / size
    axes.set_ylabel(size_name)
    share = peak / memory.capacity_bytes if memory.capacity_bytes else 0.0
    axes.set_title(f"{memory.name}: at most {peak / size:.4g} of {capacity:.4g} {size_name} ({share:.0%})", loc="left")
    axes.axhline(capacity, color=INK, linewidth=1.2, linestyle="--")
    axes.set_ylim(0.0, 1.08 * capacity)


def _colours(timeline: Timeline) -> dict[str, str]:
    """Colours of the operators with the most busy time over all resources, in order of their first event."""
    busy: dict[str, float] = {}
    for e in timeline.events:
        busy[e.operator] = busy.get(e.operator, 0.0) + e.end_s - e.start_s
    most = sorted(busy, key=lambda name: (-busy[name], name))[:MOST_COLOURED]
    first = {e.operator: e.start_s for e in sorted(timeline.events, key=lambda e: -e.start_s)}
    ordered = sorted(most, key=lambda name: (first[name], name))
    return {name: PALETTE[i] for i, name in enumerate(ordered)}


def _brackets(axes: Axes, timeline: Timeline, unit: float) -> None:
    for r in timeline.repeats:
        start, end = r.start_s / unit, r.end_s / unit
        arrow = {"arrowstyle": "|-|, widthA=0.2, widthB=0.2"}
        axes.annotate("", xy=(start, 1.02), xytext=(end, 1.02), xycoords=("data", "axes fraction"), arrowprops=arrow)
        axes.text((start + end) / 2, 1.03, f"{r.name} x {r.count}", transform=axes.get_xaxis_transform(), ha="center", fontsize=7.5)


def _title(timeline: Timeline) -> str:
    unit, name = next((u for u in _TIME_UNITS if timeline.latency_s >= u[0]), _TIME_UNITS[-1])
    cycles = timeline.latency_s * timeline.clock_hz
    return f"{timeline.name}: {timeline.latency_s / unit:.4g} {name}, {cycles:,.0f} cycles"
