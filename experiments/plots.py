"""Lines of schemes, closed form as a line and the modelled flow as points, the same in every picture."""

from __future__ import annotations

from math import floor, log10
from typing import TYPE_CHECKING, Final

from matplotlib.ticker import FuncFormatter

from experiments.mla import COLOURS, LABELS, MARKS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

LEAST_PLAIN: Final = 1e-3
MOST_PLAIN: Final = 1e5
"""Tick labels in between are written as numbers."""
MOST_DECADES_BETWEEN: Final = 10**1.7
"""An axis whose ends are less apart has labels at 2 and 5 too."""


def scheme_lines(
    axes: Axes, x: Sequence[float], lines: Mapping[str, Sequence[float]], points: Mapping[str, Sequence[float]] | None = None
) -> None:
    """A line per scheme; `points` at the same x in the same colour."""
    for scheme, y in lines.items():
        axes.plot(x, y, color=COLOURS[scheme], label=LABELS[scheme])
    for scheme, y in (points or {}).items():
        label = None if scheme in lines else LABELS[scheme]
        axes.plot(x, y, MARKS[scheme], color=COLOURS[scheme], markersize=4, linestyle="none" if lines else "-", label=label)


def titled(axes: Axes, title: str, x: str, y: str, *, log: str = "") -> None:
    """Title, axis labels, and logarithmic axes by letter."""
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if "x" in log:
        axes.set_xscale("log")
        _plain_ticks(axes.xaxis)
    if "y" in log:
        axes.set_yscale("log")
        _plain_ticks(axes.yaxis)


def _plain_ticks(axis: Axis) -> None:
    """Numbers instead of powers between a thousandth and a hundred thousand; 2 and 5 are labelled where decades are few."""

    def decade(value: float, _position: int) -> str:
        return f"{value:g}" if LEAST_PLAIN <= value <= MOST_PLAIN else f"$10^{{{round(log10(value))}}}$"

    def between(value: float, _position: int) -> str:
        low, high = axis.get_view_interval()
        few = high < MOST_DECADES_BETWEEN * low
        lead = round(value / 10 ** floor(log10(value)))
        return f"{value:g}" if few and lead in (2, 5) and LEAST_PLAIN <= value <= MOST_PLAIN else ""

    axis.set_major_formatter(FuncFormatter(decade))
    axis.set_minor_formatter(FuncFormatter(between))


def bars(axes: Axes, names: Sequence[str], groups: Mapping[str, Sequence[float]]) -> None:
    """Bars side by side: a group of one colour for each label."""
    width = 0.8 / len(groups)
    for i, (label, heights) in enumerate(groups.items()):
        axes.bar([j + width * i for j in range(len(names))], heights, width=0.9 * width, label=label)
    axes.set_xticks([j + width * (len(groups) - 1) / 2 for j in range(len(names))], names, fontsize=7)


def key(axes: Axes) -> None:
    """The legend of these axes below the whole figure."""
    handles, labels = axes.get_legend_handles_labels()
    axes.get_figure(root=True).legend(handles, labels, loc="outside lower center", ncols=min(5, len(labels)), fontsize=8)
