"""All pictures of a run: each an SVG with the CSV of its numbers beside it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from dse.campaign.tables import to_csv
from dse.files import atomic_write
from dse.report import data
from dse.report.front import front_figure
from dse.report.progress_picture import hypervolume_figure
from dse.report.roofline import roofline_figure
from dse.report.scheme_pictures import crossover_figure, schemes_figure
from dse.report.style import to_svg

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dse.campaign.view import Run


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn picture and its numbers."""

    name: str
    caption: str
    svg: str
    csv: str


def pictures(run: Run) -> list[Picture]:
    """The pictures that the run has data for, in the order of the page."""
    makers = (_front, _schemes, _crossover, _roofline, _hypervolume)
    return [picture for maker in makers if (picture := maker(run)) is not None]


def write_pictures(run: Run, drawn: Sequence[Picture]) -> None:
    """`figures/<name>.svg` and `.csv` in the run's folder."""
    folder = run.folder / "figures"
    folder.mkdir(exist_ok=True)
    for picture in drawn:
        atomic_write(folder / f"{picture.name}.svg", picture.svg)
        atomic_write(folder / f"{picture.name}.csv", picture.csv)


def _front(run: Run) -> Picture | None:
    goals = run.header.goals
    points = data.front_points(run)
    if not points or len(goals.objectives) < 2:
        return None
    figure, titles = front_figure(points, goals.objectives, goals.maximise, data.schemes(run), data.accelerators(run))
    rows = [
        {
            "accelerator": p.accelerator,
            "scheme": p.scheme,
            "trial": p.trial,
            **dict(zip(goals.objectives, p.values, strict=True)),
            "on_front": p.on_front,
            "knee": p.knee,
            "parameters": p.label,
        }
        for p in points
    ]
    shown = "" if len(goals.objectives) == 2 else f" of {len(goals.objectives)} objectives, each against the first"
    caption = (
        f"Pareto front{shown}: no priced design is as good as one of these in all objectives and better in one."
        f" Pale: the best designs of single trials that a design of another trial dominates. Hypervolume {run.archive.hypervolume:.6g}."
    )
    return Picture("pareto", caption, to_svg(figure, titles), to_csv(rows))


def _schemes(run: Run) -> Picture | None:
    rows = data.scheme_bests(run)
    if not rows or data.schemes(run) == ("",):
        return None
    objectives = [name for name in run.header.goals.objectives if any(row.objective == name for row in rows)]
    figure = schemes_figure(rows, objectives, data.schemes(run), data.accelerators(run))
    caption = "Best value of each objective that each scheme reaches over the whole inner sweep of each accelerator; winners are labelled."
    return Picture("schemes", caption, to_svg(figure), _csv(rows))


def _crossover(run: Run) -> Picture | None:
    pair = data.crossover_pair(run)
    points = data.crossover_points(run, pair) if pair else []
    if not pair or not points:
        return None
    closed = data.crossover(run, pair)
    caption = (
        f"Reuse against recompute over the balance of compute and bandwidth: best throughput of '{pair[1]}' over that of '{pair[0]}'"
        " at each DRAM bandwidth, other fields free."
    )
    if closed:
        caption += (
            f" Dashed: where the closed forms put the crossover, 2 MACs({pair[1]}) / compulsory bytes({pair[0]})"
            f" = {closed.ridge_operations_per_byte:.4g} op/byte. They assume every array element busy: where one query fills an array"
            " badly, the crossover of priced designs lies at a higher ridge."
        )
    return Picture("crossover", caption, to_svg(crossover_figure(points, closed, data.accelerators(run))), _csv(points))


def _roofline(run: Run) -> Picture | None:
    points = data.roofline_points(run)
    if not points:
        return None
    figure, titles = roofline_figure(points, data.schemes(run), data.accelerators(run))
    caption = (
        "Roofline: attainable operations per second (one MAC is two) over operations per DRAM byte, with the roofs of the fastest"
        " of the marked designs of each accelerator; sustained rates."
    )
    return Picture("roofline", caption, to_svg(figure, titles), _csv(points))


def _hypervolume(run: Run) -> Picture | None:
    if not run.hypervolumes or run.archive.reference is None:
        return None
    figure = hypervolume_figure(run.hypervolumes, run.archive.reference, " x ".join(run.header.goals.units))
    rows = [{"trials": trials, "hypervolume": value} for trials, value in run.hypervolumes]
    return Picture("hypervolume", "Hypervolume of the front after each batch of trials.", to_svg(figure), to_csv(rows))


def _csv(rows: Sequence[object]) -> str:
    plain: list[Mapping[str, object]] = [asdict(row) for row in rows]  # type: ignore[call-overload]
    return to_csv(plain)
