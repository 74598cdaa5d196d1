"""Lines of schemes, closed form as a line and the modelled flow as points, the same in every picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments.mla import COLOURS, LABELS, MARKS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes


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
    if "y" in log:
        axes.set_yscale("log")


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
