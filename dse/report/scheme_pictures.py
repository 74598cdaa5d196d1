"""Pictures that compare schemes: best of each objective by accelerator, and where reuse and recompute cross."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from dse.report.style import INK, colour, new_figure, styled
from dse.search.quantities import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from dse.report.data import Crossover, CrossoverPoint, SchemeBest


def schemes_figure(rows: Sequence[SchemeBest], objectives: Sequence[str], schemes: Sequence[str], accelerators: Sequence[str]) -> Figure:
    """One panel per objective: bars by accelerator and scheme on a logarithmic axis; the winner carries its value."""
    with styled():
        figure = Figure(figsize=(8.0, 2.9 * len(objectives)), layout="constrained")
        FigureCanvasSVG(figure)
        panels: list[Axes] = list(figure.subplots(len(objectives), 1, squeeze=False)[:, 0])
        for axes, objective in zip(panels, objectives, strict=True):
            _bars(axes, [row for row in rows if row.objective == objective], schemes, accelerators)
            unit, better = quantity(objective).unit, quantity(objective).better.value.removesuffix("imize")
            axes.set_ylabel(f"{objective} [{unit}]")
            axes.set_title(f"Best {objective} of each scheme ({'higher' if better == 'max' else 'lower'} is better)", loc="left")
        panels[0].legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
    return figure


def _bars(axes: Axes, rows: Sequence[SchemeBest], schemes: Sequence[str], accelerators: Sequence[str]) -> None:
    width = 0.8 / max(len(schemes), 1)
    for i, scheme in enumerate(schemes):
        own = {row.accelerator: row for row in rows if row.scheme == scheme}
        places = [(k + (i - (len(schemes) - 1) / 2) * width, own[a]) for k, a in enumerate(accelerators) if a in own]
        axes.bar([x for x, _ in places], [row.value for _, row in places], width * 0.92, color=colour(schemes, scheme), label=scheme)
        for x, row in places:
            if row.wins:
                axes.annotate(f"{row.value:.3g}", (x, row.value), xytext=(0, 2), textcoords="offset points", ha="center", fontsize=7)
    axes.set_xticks(range(len(accelerators)), accelerators)
    axes.set_yscale("log")
    values = [row.value for row in rows if row.value > 0]
    if values:
        axes.set_ylim(min(values) / 2, max(values) * 2)
    axes.grid(visible=False, axis="x")


def crossover_figure(points: Sequence[CrossoverPoint], closed: Crossover | None, accelerators: Sequence[str]) -> Figure:
    """Throughput of the second scheme over that of the first against the ridge; above 1 the second wins."""
    with styled():
        figure, axes = new_figure()
        first, second = points[0].first, points[0].second
        for accelerator in accelerators:
            own = sorted((p for p in points if p.accelerator == accelerator), key=lambda p: p.ridge_operations_per_byte)
            if own:
                axes.plot(
                    [p.ridge_operations_per_byte for p in own],
                    [p.ratio for p in own],
                    color=colour(accelerators, accelerator),
                    marker=".",
                    label=accelerator,
                )
        axes.axhline(1.0, color=INK, linewidth=0.8)
        if closed:
            x = closed.ridge_operations_per_byte
            axes.axvline(x, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
            axes.annotate(
                f"closed forms: {x:.3g} op/byte", (x, 0.02), xycoords=("data", "axes fraction"), xytext=(4, 0), textcoords="offset points"
            )
        axes.set_xscale("log")
        axes.set_xlabel("peak operations per second over DRAM bytes per second, the ridge [op/byte]")
        axes.set_ylabel(f"tokens/s of {second} over tokens/s of {first}")
        axes.set_title(f"Above 1 {second} is faster, below 1 {first} is", loc="left")
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
    return figure
