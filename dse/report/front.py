"""Pareto picture: every trial's own front pale, the front of all solid as a staircase, the knee ringed, an arrow to the better side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from dse.report.style import INK, PALE, colour, marker, styled
from dse.search.quantities import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from dse.report.data import FrontPoint

TIPS: Final = 300
"""Most front members that get a hover text."""


def front_figure(
    points: Sequence[FrontPoint],
    objectives: Sequence[str],
    maximise: Sequence[bool],
    schemes: Sequence[str],
    accelerators: Sequence[str],
) -> tuple[Figure, dict[str, list[str]]]:
    """Each further objective against the first, one panel each, and the hover texts of its dots (`to_svg`).

    The staircase is drawn for two objectives only: in a projection of more, the front is no staircase.
    """
    front = sorted((p for p in points if p.on_front), key=lambda p: p.values)
    pale = [p for p in points if not p.on_front]
    titles: dict[str, list[str]] = {}
    with styled():
        figure = Figure(figsize=(8.4, 0.6 + 3.8 * (len(objectives) - 1)), layout="constrained")
        FigureCanvasSVG(figure)
        panels: list[Axes] = list(figure.subplots(len(objectives) - 1, 1, squeeze=False)[:, 0])
        for column, axes in enumerate(panels, start=1):
            axes.scatter([p.values[0] for p in pale], [p.values[column] for p in pale], s=6, color=PALE, linewidths=0, zorder=1)
            if len(objectives) == 2:
                _staircase(axes, front, maximise)
            titles |= _members(axes, front, column, objectives, schemes, accelerators)
            _scales(axes, points, column)
            _better(axes, maximise[0], maximise[column])
            axes.set_xlabel(f"{objectives[0]} [{quantity(objectives[0]).unit}]")
            axes.set_ylabel(f"{objectives[column]} [{quantity(objectives[column]).unit}]")
        panels[0].set_title(f"Front of {len(front)} designs", loc="left")
        _legend(panels[0], front, bool(pale), schemes, accelerators)
    return figure, titles


def _staircase(axes: Axes, front: Sequence[FrontPoint], maximise: Sequence[bool]) -> None:
    """Steps through the corner that both neighbours dominate."""
    if front:
        where: Literal["pre", "post"] = "pre" if maximise[0] else "post"
        axes.step([p.values[0] for p in front], [p.values[1] for p in front], where=where, color=INK, linewidth=0.9, zorder=2)


def _members(
    axes: Axes,
    front: Sequence[FrontPoint],
    column: int,
    objectives: Sequence[str],
    schemes: Sequence[str],
    accelerators: Sequence[str],
) -> dict[str, list[str]]:
    """Dots that look alike are one collection: each of its own would take a hundred times as long to draw."""
    every = max(1, -(-len(front) // TIPS))
    alike: dict[tuple[str, str], list[int]] = {}
    for i, p in enumerate(front):
        alike.setdefault((colour(schemes, p.scheme), marker(accelerators, p.accelerator)), []).append(i)
        if p.knee:
            place = p.values[0], p.values[column]
            axes.scatter(*place, s=150, facecolors="none", edgecolors=INK, linewidths=1.2, zorder=4)
            axes.annotate("knee", place, xytext=(9, 9), textcoords="offset points", zorder=5)
    titles: dict[str, list[str]] = {}
    for (face, shape), which in alike.items():
        x, y = ([front[i].values[place] for i in which] for place in (0, column))
        dots = axes.scatter(x, y, s=22, color=face, marker=shape, linewidths=0, zorder=3)
        dots.set_gid(f"tips-{column}-{len(titles)}")
        titles[f"tips-{column}-{len(titles)}"] = [_tip(front[i], objectives) if i % every == 0 else "" for i in which]
    return titles


def _tip(p: FrontPoint, objectives: Sequence[str]) -> str:
    values = ", ".join(f"{name} {value:.4g} {quantity(name).unit}" for name, value in zip(objectives, p.values, strict=True))
    return f"trial {p.trial}: {values}; {p.label}"


def _scales(axes: Axes, points: Sequence[FrontPoint], column: int) -> None:
    for place, scale in ((0, axes.set_xscale), (column, axes.set_yscale)):
        values = [p.values[place] for p in points]
        if values and min(values) > 0 and max(values) > 10 * min(values):
            scale("log")


def _better(axes: Axes, right: bool, up: bool) -> None:
    """An arrow beside the plot that points to the better corner."""
    start, end = ((1.04, 1.12) if right else (1.12, 1.04)), ((0.06, 0.2) if up else (0.2, 0.06))
    axes.annotate(
        "",
        xy=(start[1], end[1]),
        xytext=(start[0], end[0]),
        xycoords="axes fraction",
        textcoords="axes fraction",
        annotation_clip=False,
        arrowprops={"arrowstyle": "-|>", "color": INK, "linewidth": 1.4},
    )
    axes.text(1.14, 0.13, "better", transform=axes.transAxes, va="center")


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
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
