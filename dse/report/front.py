"""Pareto picture: every trial's own front pale, the front of all solid as a staircase, the knee ringed, an arrow to the better side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from dse.cost.metrics import METRICS
from dse.report.style import INK, PALE, colour, marker, new_figure, styled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dse.report.data import FrontPoint

TIPS: Final = 300
"""Most front members that get a hover text."""


def front_figure(
    points: Sequence[FrontPoint], objectives: Sequence[str], maximise: Sequence[bool], schemes: Sequence[str], accelerators: Sequence[str]
) -> tuple[Figure, dict[str, str]]:
    """The first two objectives against each other, and hover texts by gid; more objectives are projected."""
    with styled():
        figure, axes = new_figure()
        pale = [p for p in points if not p.on_front]
        front = sorted((p for p in points if p.on_front), key=lambda p: p.values)
        axes.scatter([p.values[0] for p in pale], [p.values[1] for p in pale], s=6, color=PALE, linewidths=0, zorder=1)
        if len(objectives) == 2:
            _staircase(axes, front, maximise)
        titles = _members(axes, front, objectives, schemes, accelerators)
        for p in front:
            if p.knee:
                x, y = p.values[:2]
                axes.scatter(x, y, s=150, facecolors="none", edgecolors=INK, linewidths=1.2, zorder=4)
                axes.annotate("knee", (x, y), xytext=(9, 9), textcoords="offset points")
        _scales(axes, points)
        _better(axes, maximise)
        axes.set_xlabel(f"{objectives[0]} [{METRICS[objectives[0]].unit}]")
        axes.set_ylabel(f"{objectives[1]} [{METRICS[objectives[1]].unit}]")
        _legend(axes, front, bool(pale), schemes, accelerators)
        axes.set_title(f"Front of {len(front)} designs", loc="left")
    return figure, titles


def _staircase(axes: Axes, front: Sequence[FrontPoint], maximise: Sequence[bool]) -> None:
    """Steps through the corner that both neighbours dominate."""
    if front:
        where: Literal["pre", "post"] = "pre" if maximise[0] else "post"
        axes.step([p.values[0] for p in front], [p.values[1] for p in front], where=where, color=INK, linewidth=0.9, zorder=2)


def _members(
    axes: Axes, front: Sequence[FrontPoint], objectives: Sequence[str], schemes: Sequence[str], accelerators: Sequence[str]
) -> dict[str, str]:
    titles: dict[str, str] = {}
    every = max(1, -(-len(front) // TIPS))
    for i, p in enumerate(front):
        x, y = p.values[:2]
        face, shape = colour(schemes, p.scheme), marker(accelerators, p.accelerator)
        dots = axes.scatter(x, y, s=24, color=face, marker=shape, linewidths=0, zorder=3)
        if i % every == 0:
            dots.set_gid(f"tip-{i}")
            values = ", ".join(f"{name} {value:.4g} {METRICS[name].unit}" for name, value in zip(objectives, p.values, strict=True))
            titles[f"tip-{i}"] = f"trial {p.trial}: {values}; {p.label}"
    return titles


def _scales(axes: Axes, points: Sequence[FrontPoint]) -> None:
    for column, scale in ((0, axes.set_xscale), (1, axes.set_yscale)):
        values = [p.values[column] for p in points]
        if values and min(values) > 0 and max(values) > 10 * min(values):
            scale("log")


def _better(axes: Axes, maximise: Sequence[bool]) -> None:
    x, y = (0.97 if maximise[0] else 0.03), (0.97 if maximise[1] else 0.03)
    start = (x - 0.09 if maximise[0] else x + 0.09, y - 0.12 if maximise[1] else y + 0.12)
    axes.annotate(
        "better",
        xy=(x, y),
        xytext=start,
        xycoords="axes fraction",
        textcoords="axes fraction",
        ha="center",
        va="center",
        color=INK,
        arrowprops={"arrowstyle": "-|>", "color": INK, "linewidth": 1.2},
    )


def _legend(axes: Axes, front: Sequence[FrontPoint], pale: bool, schemes: Sequence[str], accelerators: Sequence[str]) -> None:
    for scheme in schemes:
        if scheme and any(p.scheme == scheme for p in front):
            axes.scatter([], [], s=24, color=colour(schemes, scheme), label=scheme)
    if len(accelerators) > 1:
        for accelerator in accelerators:
            if any(p.accelerator == accelerator for p in front):
                axes.scatter([], [], s=24, facecolors="none", edgecolors=INK, marker=marker(accelerators, accelerator), label=accelerator)
    if pale:
        axes.scatter([], [], s=8, color=PALE, label="best of one trial, dominated by another")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
