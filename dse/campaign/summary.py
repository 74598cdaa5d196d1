"""A finished run in rows: the top of the front, which scheme wins where, and why nothing was feasible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dse.report.data import scheme_bests, schemes
from dse.search.space import with_values
from dse.search.trial import TrialState

if TYPE_CHECKING:
    from dse.campaign.view import Run

NEAREST: Final = 3
"""Nearest misses that are told."""


def winners(run: Run) -> list[dict[str, str | int | float]]:
    """The winning scheme by accelerator and objective, with its lead over the next; empty where schemes are no dimension."""
    if schemes(run) == ("",):
        return []
    rows = scheme_bests(run)
    found: list[dict[str, str | int | float]] = []
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
                    "lead": ratios.get(second, 1.0),
                    "trial": row.trial,
                }
            )
    return found


def diagnosis(run: Run) -> str:
    """Why no design is feasible: how many fit, which constraint bites, the nearest misses."""
    priced, fitting = run.priced, sum(record.fitting for record in run.records)
    lines = [f"none of {priced:,} designs is feasible: {fitting:,} fit the accelerators' memories"]
    if not fitting:
        lines.append("  nothing fits: the weights and caches need more DRAM, or another precision or part (dse eval says how much)")
    for position, constraint in enumerate(run.header.goals.constraints):
        violated = sum(record.violated[position] for record in run.records if record.violated)
        attained = [record.attained[position] for record in run.records if record.attained]
        if attained:
            best = (max if constraint.at_least else min)(attained)
            lines.append(f"  {constraint}: violated by {violated:,} of {fitting:,}; the nearest that any design comes is {best:.6g}")
    misses = [record for record in run.records if record.state is TrialState.INFEASIBLE and record.miss]
    misses.sort(key=lambda record: sum(max(v, 0.0) for v in record.miss.violations) if record.miss else 0.0)
    for record in misses[:NEAREST]:
        assert record.miss is not None
        by = ", ".join(
            f"{c.metric} {record.miss.design.metrics[c.metric]:.6g} (off by {v:.1%})"
            for c, v in zip(run.header.goals.constraints, record.miss.violations, strict=True)
            if v > 0
        )
        place = with_values(run.header.space.parameters(record.outer, record.miss.design.inner))
        lines.append(f"  nearest miss, trial {record.number}: {by} at {place}")
    lines.append("  loosen the constraint that bites, or widen the space")
    return "\n".join(lines)
