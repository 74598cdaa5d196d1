"""Pictures of a timeline: what each resource does when (Gantt), and what lies in each memory meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from dse.report.style import INK, PALE, PALETTE, styled
from dse.report.timeline_rows import panels, rows
from dse.units import BYTES_PER_GIB, BYTES_PER_KIB, BYTES_PER_MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from dse.report.timeline_rows import Bar, Panel, Row
    from dse.schedule.timeline import Timeline

MOST_COLOURED: Final = len(PALETTE)
"""Operators with a colour of their own: those with the most busy time; the others are pale."""
ROLES: Final = ("activation", "cache", "score", "weight", "tiles", "loaded ahead", "working", "partial sums")
"""What lies in a memory, in the order of the colours."""
LABEL_SHARE: Final = 0.05
"""Least part of the width that a stretch needs to carry its operator's name."""
BAR_HEIGHT: Final = 0.72
LEAST_HEIGHT: Final = 0.06
"""Part of a row's height that a bar has at least: less would not be seen."""
FEW_ROWS: Final = 16
"""Up to so many rows have room for labels; more are drawn lower."""
FINEST: Final = 400
"""Stretches shorter than this part of the picture have no outline, which would hide them."""
LEAST_SHARE: Final = 0.15
"""Part of its capacity that a memory is full at least once for an axis up to the capacity; below, the axis is cut."""
CUT_LINE: Final = 1.45
"""Height of the capacity line above a cut, in peaks."""
CUT_AT: Final = 0.82
"""Height of the cut, in heights of that line."""
LEGEND_CHARACTERS: Final = 27
"""Characters of a name in the legend."""
CHARACTERS_ACROSS: Final = 130
"""Characters of a stretch's name that fit the whole width."""
_TIME_UNITS: Final = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))
_SIZE_UNITS: Final = ((BYTES_PER_GIB, "GiB"), (BYTES_PER_MIB, "MiB"), (BYTES_PER_KIB, "KiB"), (1, "bytes"))


def gantt_figure(timeline: Timeline) -> Figure:
    """A row per resource, or for all that do the same; a bar per stretch, coloured by operator; parts that repeat are bracketed above.

    Many short stretches are drawn as one bar, as high as the part of the time that is busy.
    """
    unit, unit_name = next((u for u in _TIME_UNITS if timeline.end_s >= u[0]), _TIME_UNITS[-1])
    colours = _colours(timeline)
    drawn, left_out = rows(timeline)
    with styled():
        figure = Figure(figsize=(11.0, 1.7 + (0.5 if len(drawn) <= FEW_ROWS else 0.3) * len(drawn)), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        for position, row in enumerate(drawn):
            for bar in row.bars:
                _bar(axes, position, bar, timeline.end_s, unit, colours.get(bar.operator, PALE))
        axes.set_yticks(range(len(drawn)), [f"{row.title}  {row.busy_s / timeline.end_s:.0%}" for row in drawn])
        axes.set_ylim(len(drawn) - 0.4, -0.6)
        axes.set_xlim(0.0, timeline.end_s / unit)
        axes.set_xlabel(f"time ({unit_name}); beside each resource its busy share{_notes(drawn, left_out, timeline.end_s)}")
        axes.grid(visible=False, axis="y")
        _brackets(axes, timeline, unit)
        handles = [Patch(color=c, label=_short(name)) for name, c in colours.items()]
        if len({e.operator for e in timeline.events}) > len(colours):
            handles.append(Patch(color=PALE, label="others"))
        figure.legend(handles=handles, loc="outside lower center", ncols=min(5, max(1, len(handles))))
        figure.suptitle(_title(timeline), x=0.01, ha="left", fontsize=10.0)
    return figure


def _bar(axes: Axes, position: int, bar: Bar, end_s: float, unit: float, colour: str) -> None:
    left, width = bar.start_s / unit, (bar.end_s - bar.start_s) / unit
    height = BAR_HEIGHT * max(bar.height, LEAST_HEIGHT)
    bottom = position + (BAR_HEIGHT - height) / 2  # rows grow downwards: short bars stand on the row's line
    line = 0.3 if bar.label and bar.end_s - bar.start_s > end_s / FINEST else 0.0
    axes.barh(bottom, width, left=left, height=height, color=colour, edgecolor="white", linewidth=line)
    text = bar.label if bar.label.startswith("load") else bar.operator.rsplit("/", 1)[-1]
    if bar.label and (bar.end_s - bar.start_s) / end_s >= max(LABEL_SHARE, len(text) / CHARACTERS_ACROSS):
        light = colour in (PALE, PALETTE[4], PALETTE[5])
        axes.text(left + width / 2, position, text, ha="center", va="center", fontsize=6.5, color=INK if light else "white")


def _notes(drawn: Sequence[Row], left_out: Sequence[Row], end_s: float) -> str:
    """What the axis says of bars that are sums, and of rows that are not drawn."""
    found = ""
    if any(not bar.label for row in drawn for bar in row.bars):
        found += "\nlow bars: many short stretches, as high as the part of the time that is busy"
    if left_out:
        number = sum(len(row.names) for row in left_out)
        found += f"\nleft out: {number} resources, each busy at most {max(row.busy_s for row in left_out) / end_s:.1%} of the time"
    return found


def memory_figure(timeline: Timeline) -> Figure:
    """For each memory, or for all that hold the same, the bytes by role, stacked, with its capacity as a line."""
    unit, unit_name = next((u for u in _TIME_UNITS if timeline.end_s >= u[0]), _TIME_UNITS[-1])
    roles = list(dict.fromkeys(o.role for o in timeline.occupancies if max(o.size_bytes, default=0.0) > 0.0))
    drawn, left_out = panels(timeline)
    with styled():
        figure = Figure(figsize=(11.0, 0.9 + 2.4 * len(drawn)), layout="constrained")
        FigureCanvasSVG(figure)
        for number, panel in enumerate(drawn):
            axes = figure.add_subplot(len(drawn), 1, number + 1)
            _memory(axes, timeline, panel, roles, unit)
            axes.set_xlim(0.0, timeline.end_s / unit)
            if number + 1 == len(drawn):
                label = f"time ({unit_name}); dashed: capacity"
                if left_out:
                    label += f"; left out: {sum(len(p.names) for p in left_out)} memories that are never as full"
                axes.set_xlabel(label)
        handles = [Patch(color=_role_colour(role), label=role) for role in roles]
        figure.legend(handles=handles, loc="outside lower center", ncols=max(1, len(handles)))
    return figure


def _role_colour(role: str) -> str:
    """The same in every picture, whatever else lies in the memories."""
    return PALETTE[ROLES.index(role)] if role in ROLES else PALE


def _memory(axes: Axes, timeline: Timeline, panel: Panel, roles: list[str], unit: float) -> None:
    """One panel up to the capacity; where so little lies in the memory that nothing would be seen, the axis is cut below the line."""
    memory = panel.memory
    mine = {o.role: o for o in timeline.occupancies if o.memory == memory.name}
    times = sorted({t for o in mine.values() for t in o.time_s} | {timeline.end_s})
    rows = [[mine[role].at(t) if role in mine else 0.0 for t in times] for role in roles]
    peak = max((sum(column) for column in zip(*rows, strict=True)), default=0.0)
    share = peak / memory.capacity_bytes if memory.capacity_bytes else 0.0
    cut = 0.0 < share < LEAST_SHARE
    size, size_name = _size_unit(peak if cut else memory.capacity_bytes)
    scaled = [[value / size for value in row] for row in rows]
    colours = [_role_colour(role) for role in roles]
    if scaled:
        axes.stackplot([t / unit for t in times], *scaled, colors=colours, step="post", linewidth=0.0)
    axes.set_ylabel(size_name)
    line = CUT_LINE * peak / size if cut else memory.capacity_bytes / size
    axes.axhline(line, color=INK, linewidth=1.2, linestyle="--")
    axes.set_ylim(0.0, 1.08 * line)
    if cut:
        _cut(axes, line, memory.capacity_bytes)
    held = f"{peak / size:.4g}" if _size_unit(memory.capacity_bytes) == (size, size_name) else f"{peak / size:.4g} {size_name}"
    axes.set_title(f"{panel.title}: at most {held} of {_sized(memory.capacity_bytes)} ({_percent(share)})", loc="left")


def _cut(axes: Axes, line: float, capacity_bytes: float) -> None:
    """The mark of a cut axis, no ticks above it, and what the line above it stands for."""
    axes.set_yticks([tick for tick in axes.get_yticks() if tick <= CUT_AT * line])
    across = axes.get_yaxis_transform()
    for at in (CUT_AT * line, (CUT_AT + 0.04) * line):
        axes.plot([-0.008, 0.008], [at - 0.02 * line, at + 0.02 * line], transform=across, color=INK, linewidth=1.0, clip_on=False)
    axes.text(0.995, 1.015 * line, f"capacity {_sized(capacity_bytes)}, axis cut", transform=across, ha="right", va="bottom", fontsize=7.5)


def _size_unit(size_bytes: float) -> tuple[float, str]:
    return next((u for u in _SIZE_UNITS if size_bytes >= u[0]), _SIZE_UNITS[-1])


def _sized(size_bytes: float) -> str:
    size, name = _size_unit(size_bytes)
    return f"{size_bytes / size:.4g} {name}"


def _percent(share: float) -> str:
    """A whole number of percent, or two digits below ten."""
    return f"{share:.0%}" if share >= LEAST_SHARE or not share else f"{100 * share:.2g}%"


def _short(name: str) -> str:
    """A name that fits a legend of five columns: its end tells operators apart, its beginning says where they belong."""
    return name if len(name) <= LEGEND_CHARACTERS else f"{name[: LEGEND_CHARACTERS // 3]}…{name[-(LEGEND_CHARACTERS * 2 // 3 - 1) :]}"


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
