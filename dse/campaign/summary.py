"""A finished run in rows: the top of the front, which scheme wins where, and why nothing was feasible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dse.campaign.view import LOG, load_run
from dse.errors import RunError
from dse.report.data import scheme_bests, schemes
from dse.search.pareto import hypervolume
from dse.search.space import with_values
from dse.search.trial import TrialState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dse.campaign.view import Run

NEAREST: Final = 3
"""Nearest misses that are told."""


def winners(run: Run) -> list[dict[str, str | int | float | None]]:
    """The winning scheme by accelerator and objective, with its lead over the next, none where no other was tried.

    Empty where schemes are no dimension.
    """
    if schemes(run) == ("",):
        return []
    rows = scheme_bests(run)
    found: list[dict[str, str | int | float | None]] = []
    for row in rows:
        if row.wins:
            others = [r for r in rows if (r.accelerator, r.objective) == (row.accelerator, row.objective) and not r.wins]
            ratios = {r.scheme: max(r.value / row.value, row.value / r.value) for r in others}
            second = min(ratios, key=lambda scheme: ratios[scheme], default="")
            found.append(
                {
                    "accelerator": row.accelerator,
                    "objective": row.objective,
                    "scheme": row.scheme,
                    "value": row.value,
                    "next": second,
                    "lead": ratios.get(second),
                    "trial": row.trial,
                }
            )
    return found


def diagnosis(run: Run) -> str:
    """Why no design is feasible: how many fit, which constraint bites, the nearest misses."""
    total = {name: sum(getattr(r, name) for r in run.records) for name in ("designs", "excluded", "screened", "priced", "fitting")}
    parts = [f"limits exclude {total['excluded']:,}"] if total["excluded"] else []
    if total["screened"]:
        parts.append(f"DRAM capacity, area or cost rule out {total['screened']:,} before pricing")
    if total["priced"] or not parts:
        priced = f" of {total['priced']:,} that were priced" if parts else ""
        parts.insert(0, f"{total['fitting']:,}{priced} fit the accelerators' memories")
    lines = [f"none of {total['designs']:,} designs is feasible: {'; '.join(parts)}"]
    if total["excluded"] == total["designs"]:
        lines += [f"  limit: {limit.text}" for limit in run.header.limits.expressions]
    by_design = any(constraint.of_design for constraint in run.header.goals.constraints)
    if not total["fitting"] and total["excluded"] < total["designs"] and not by_design:
        lines += _lacking(run)
    for position, constraint in enumerate(run.header.goals.constraints):
        violated = sum(record.violated[position] for record in run.records if record.violated)
        attained = [value for record in run.records if record.attained and (value := record.attained[position]) is not None]
        if attained:
            best = (max if constraint.at_least else min)(attained)
            checked = total["designs"] - total["excluded"] if constraint.of_design else total["fitting"]
            lines.append(f"  {constraint}: violated by {violated:,} of {checked:,}; the nearest that any design comes is {best:.6g}")
    misses = [record for record in run.records if record.state is TrialState.INFEASIBLE and record.miss]
    misses.sort(key=lambda record: sum(max(v, 0.0) for v in record.miss.violations) if record.miss else 0.0)
    for record in misses[:NEAREST]:
        assert record.miss is not None
        by = ", ".join(
            f"{c.metric} {record.miss.design.metrics[c.metric]:.6g} (off by {v:.1%})"
            for c, v in zip(run.header.goals.constraints, record.miss.violations, strict=True)
            if v > 0 and c.metric in record.miss.design.metrics
        )
        place = with_values(run.header.space.parameters(record.outer, record.miss.design.inner))
        lines.append(f"  nearest miss, trial {record.number}: {by} at {place}")
    lines.append("  loosen the constraint that bites, or widen the space")
    return "\n".join(lines)


def _lacking(run: Run) -> list[str]:
    """The designs that come nearest to fitting, and what they lack."""
    found = [(record, record.lacking) for record in run.records if record.lacking is not None]
    found.sort(key=lambda pair: pair[1].why.demand_bytes / pair[1].why.bound_bytes)
    if not found:
        return ["  nothing fits; dse eval of one design says what it lacks"]
    lines = ["  nothing fits; what lacks least:"]
    for record, lacking in found[:NEAREST]:
        place = with_values(run.header.space.parameters(record.outer, lacking.inner))
        lines.append(f"  trial {record.number}: {lacking.why}, at {place}")
    return lines


def all_runs(folder: Path) -> list[Run]:
    """Every run in `folder` or below, by path.

    Raises:
        RunError: there is none.
    """
    places = sorted(path.parent for path in folder.rglob(LOG)) if folder.is_dir() else []
    if not places:
        raise RunError(f"{folder}: holds no run; give the folder of a campaign, such as runs/NAME")
    return [load_run(place) for place in places]


def run_rows(runs: Sequence[Run]) -> list[dict[str, str | int | float | None]]:
    """One row per run: its place, trials, front, hypervolume, best of each objective.

    Hypervolumes of runs with the same objectives are under one reference point: in each objective the worst of theirs.
    """
    references = _common_references(runs)
    return [
        {
            "run": str(run.folder),
            "sampler": str(run.header.sampler),
            "trials": len(run.records),
            "failed": len(run.failures),
            "designs": run.designs,
            "exact": "yes" if run.exact else "no",
            "front": len(run.archive),
            "hypervolume": _hypervolume(run, references.get(run.header.goals.objectives)),
            **{f"best_{name}": run.archive.best_value(name) for name in run.header.goals.objectives},
        }
        for run in runs
    ]


def _common_references(runs: Sequence[Run]) -> dict[tuple[str, ...], tuple[float, ...]]:
    """By objectives the worst value of the runs' reference points."""
    found: dict[tuple[str, ...], tuple[float, ...]] = {}
    for run in runs:
        goals, reference = run.header.goals, run.archive.reference
        if reference is not None:
            known = found.get(goals.objectives, reference)
            columns = zip(known, reference, goals.maximise, strict=True)
            found[goals.objectives] = tuple(min(a, b) if up else max(a, b) for a, b, up in columns)
    return found


def _hypervolume(run: Run, reference: tuple[float, ...] | None) -> float:
    if reference is None or tuple(reference) == run.archive.reference:
        return run.archive.hypervolume
    return hypervolume(run.archive.values, reference, run.header.goals.maximise)
