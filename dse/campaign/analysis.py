"""Questions to a finished run: which dimension matters, and what it takes to reach a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import UsageError, did_you_mean
from dse.search.pareto import hypervolume, non_dominated
from dse.search.quantities import maximise
from dse.search.space import digits_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.campaign.view import Run
    from dse.search.space import Dimension, Value

Row = dict[str, "str | int | float | bool | None"]


@dataclass(frozen=True, slots=True)
class Best:
    """The best value of an objective over all feasible designs that share one value of one dimension."""

    dimension: Dimension
    position: int
    objective: str
    value: float
    trial: int
    inner: int


def bests(run: Run) -> list[Best]:
    """By dimension, value and objective, over all trials; exact where the run is."""
    found: dict[tuple[int, int, str], Best] = {}
    for at, best in _candidates(run):
        key = (at, best.position, best.objective)
        known = found.get(key)
        if known is None or (best.value > known.value if maximise(best.objective) else best.value < known.value):
            found[key] = best
    objectives = run.header.goals.objectives
    return [found[key] for key in sorted(found, key=lambda key: (key[0], objectives.index(key[2]), key[1]))]


def importance_rows(run: Run) -> list[Row]:
    """For every dimension and objective: its best and worst value, and how much the choice between them matters.

    `ratio` is the best over the worst of the values' bests (at least 1): what a designer loses who fixes this dimension at its worst
    value and chooses all others well; at 1 every value does as well, and none is named. Rows are ordered by it within each objective.
    """
    groups: dict[tuple[str, str], list[Best]] = {}
    for best in bests(run):
        groups.setdefault((best.objective, best.dimension.path), []).append(best)
    rows: list[Row] = []
    for (objective, path), members in groups.items():
        ordered = sorted(members, key=lambda b: -b.value if maximise(objective) else b.value)
        first, last = ordered[0], ordered[-1]
        ratio = max(first.value / last.value, last.value / first.value) if first.value and last.value else None
        rows.append(
            {
                "objective": objective,
                "dimension": path,
                "ratio": ratio,
                "best_at": None if ratio == 1 else _shown(first.dimension.values[first.position]),
                "best": first.value,
                "worst_at": None if ratio == 1 else _shown(last.dimension.values[last.position]),
                "worst": last.value,
            }
        )
    order = list(run.header.goals.objectives)
    return sorted(rows, key=lambda row: (order.index(str(row["objective"])), -float(row["ratio"] or 0)))


def marginal_fronts(run: Run, path: str) -> list[Row]:
    """For every value of outer dimension `path`: size and hypervolume of the front of its designs alone, and its best of each objective.

    Raises:
        UsageError: no such outer dimension.
    """
    names = [d.path for d in run.header.space.outer]
    if path not in names:
        raise UsageError(f"--by {path}: the run has no such outer dimension; it has: {', '.join(names)}.{did_you_mean(path, names)}")
    at = names.index(path)
    goals = run.header.goals
    rows: list[Row] = []
    for position, value in enumerate(run.header.space.outer[at].values):
        own = [r for r in run.records if len(r.front) and digits_of(run.header.space.outer, r.outer)[at] == position]
        columns = [np.stack([np.asarray(r.front.metrics[n]) for n in goals.objectives], axis=1) for r in own]
        values = np.concatenate(columns) if columns else np.zeros((0, len(goals.objectives)))
        front = values[non_dominated(values, goals.maximise)]
        volume = hypervolume(front, run.archive.reference, goals.maximise) if run.archive.reference is not None else 0.0
        row: Row = {path: _shown(value), "trials": len(own), "front": len(front), "hypervolume": volume}
        for column, (name, up) in enumerate(zip(goals.objectives, goals.maximise, strict=True)):
            row[f"best_{name}"] = None if not len(front) else float(front[:, column].max() if up else front[:, column].min())
        rows.append(row)
    return rows


def need_rows(run: Run, path: str, objective: str, target: float, *, by: str | None = None) -> list[Row]:
    """The least value of dimension `path` with which some design reaches `target` in `objective`; for each value of outer dimension `by`.

    Raises:
        UsageError: no such dimension or objective, or a dimension whose values are no numbers.
    """
    space, objectives = run.header.space, run.header.goals.objectives
    dimension = next((d for d in (*space.outer, *space.inner) if d.path == path), None)
    if dimension is None:
        raise UsageError(f"{path}: the run has no such dimension; it has: {', '.join(space.paths)}.{did_you_mean(path, space.paths)}")
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in dimension.values):
        raise UsageError(f"{path}: its values are no numbers, so none is the least; see dse analyse")
    if objective not in objectives:
        raise UsageError(f"{objective} is no objective of the run; it has: {', '.join(objectives)}.{did_you_mean(objective, objectives)}")
    outer = [d.path for d in space.outer]
    if by is not None and by not in outer:
        raise UsageError(f"--by {by}: the run has no such outer dimension; it has: {', '.join(outer)}.{did_you_mean(by, outer)}")
    up = maximise(objective)
    groups: dict[str, list[Best]] = {}
    for _, best in _candidates(run):
        if best.dimension.path == path and best.objective == objective:
            group = "" if by is None else str(space.choice(run.records[best.trial].outer)[by])
            groups.setdefault(group, []).append(best)
    rows: list[Row] = []
    for group, members in groups.items():
        enough = [b for b in members if (b.value >= target if up else b.value <= target)]
        least = min(enough, key=lambda b: (float(str(dimension.values[b.position])), -b.value if up else b.value), default=None)
        nearest = (max if up else min)(members, key=lambda b: b.value)
        shown = least or nearest
        head: Row = {} if by is None else {by: group}
        rows.append(
            {
                **head,
                "reached": least is not None,
                path: float(str(dimension.values[least.position])) if least else None,
                objective: shown.value,
                "trial": shown.trial,
                **{p: _shown(v) for p, v in space.parameters(run.records[shown.trial].outer, shown.inner).items() if p not in (path, by)},
            }
        )
    return rows


def _candidates(run: Run) -> Iterator[tuple[int, Best]]:
    """(place of the dimension, best of one trial) for every dimension; of the outer ones the trial's front knows the best."""
    space, objectives = run.header.space, run.header.goals.objectives
    inner = {d.path: (len(space.outer) + i, d) for i, d in enumerate(space.inner)}
    for record in run.records:
        if not len(record.front):
            continue
        for name in objectives:
            column = record.front.metrics[name]
            value = max(column) if maximise(name) else min(column)
            row = column.index(value)
            for at, (dimension, digit) in enumerate(zip(space.outer, digits_of(space.outer, record.outer), strict=True)):
                yield at, Best(dimension, digit, name, value, record.number, record.front.inner[row])
        for marginal in record.marginals:
            at, dimension = inner[marginal.path]
            yield at, Best(dimension, marginal.position, marginal.objective, marginal.value, record.number, marginal.inner)


def _shown(value: Value) -> str | int | float:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value).lower() if value is None else str(value)
