"""Two runs side by side: their fronts under one reference point."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.campaign.view import load_run
from dse.errors import UsageError
from dse.search.pareto import hypervolume

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.campaign.view import Run
    from dse.search.space import Value

Row = dict[str, str | int | float | None]


def compare_runs(a: str, b: str) -> list[Row]:
    """Rows of quantity, a, b and ratio b / a.

    Quantities: front size, hypervolume under A's reference point (unit: product of the objectives' units), share of each
    front that a point of the other dominates or equals, and the best value of each objective.

    Raises:
        RunError: a folder is no run.
        UsageError: the runs have different objectives, or one has no feasible design.
    """
    runs = load_run(a), load_run(b)
    objectives = runs[0].header.goals.objectives
    if runs[1].header.goals.objectives != objectives:
        raise UsageError(
            f"{a} has objectives {', '.join(objectives)}, {b} has {', '.join(runs[1].header.goals.objectives)}; they must agree"
        )
    fronts = _front(runs[0]), _front(runs[1])
    for folder, front in zip((a, b), fronts, strict=True):
        if len(front) == 0:
            raise UsageError(f"{folder} has no feasible design to compare")
    maximise = runs[0].header.goals.maximise
    reference = runs[0].archive.reference
    assert reference is not None, "a run with a front has a reference point"
    signs = np.where(maximise, -1.0, 1.0)
    volumes = [hypervolume(front, reference, maximise) for front in fronts]
    rows = [
        _row("front_designs", len(fronts[0]), len(fronts[1])),
        _row("hypervolume", *volumes),
        _row("share_matched_by_other", _matched(fronts[0] * signs, fronts[1] * signs), _matched(fronts[1] * signs, fronts[0] * signs)),
    ]
    for column, (name, up) in enumerate(zip(objectives, maximise, strict=True)):
        best = [float(front[:, column].max() if up else front[:, column].min()) for front in fronts]
        rows.append(_row(f"best_{name}", *best))
    return rows


def differing_designs(a: str, b: str) -> list[Row]:
    """Designs that stand on one front only, with their parameters and objectives: those of A first, each in the order of its front.

    Raises:
        RunError: a folder is no run.
    """
    runs = load_run(a), load_run(b)
    objectives = list(dict.fromkeys(name for run in runs for name in run.header.goals.objectives))
    paths = list(dict.fromkeys(path for run in runs for path in run.header.space.paths))
    fronts = [{tuple(sorted(run.parameters(m).items(), key=lambda item: item[0])): m for m in run.archive.members} for run in runs]
    rows: list[Row] = []
    for side, own, other in (("a", fronts[0], fronts[1]), ("b", fronts[1], fronts[0])):
        for key, member in own.items():
            if key not in other:
                known = dict(key)
                values = {name: member.design.metrics.get(name) for name in objectives}
                rows.append({"only_in": side, "trial": member.trial, **{p: _cell(known.get(p)) for p in paths}, **values})
    return rows


def _cell(value: Value) -> str | int | float | None:
    return str(value).lower() if isinstance(value, bool) else value


def _front(run: Run) -> NDArray[np.float64]:
    return run.archive.values


def _matched(mine: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Share of the rows of `mine` (all minimised) that some row of `other` is at most as large as in every column."""
    return float(np.mean([(other <= row).all(axis=1).any() for row in mine]))


def _row(quantity: str, a: float, b: float) -> Row:
    return {"quantity": quantity, "a": a, "b": b, "ratio": b / a if a else None}
