"""The tables of a run: one row per trial, one row per front member, and the front as JSON."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dse.campaign.view import Run
    from dse.search.archive import Member
    from dse.search.space import Value
    from dse.search.trial import TrialRecord


def pareto_json(run: Run) -> dict[str, object]:
    """The front: objectives, hypervolume, reference point (in the order of the objectives) and points."""
    objectives = run.header.goals.objectives
    return {
        "objectives": list(objectives),
        "hypervolume": run.archive.hypervolume,
        "reference_point": None if run.archive.reference is None else list(run.archive.reference),
        "points": [
            {
                "parameters": run.parameters(member),
                "values": {name: member.design.metrics[name] for name in objectives},
                "trial": member.trial,
            }
            for member in run.archive.members
        ],
    }


def pareto_rows(run: Run, members: Sequence[Member] | None = None) -> list[dict[str, object]]:
    """One row per front member (of all, or of `members`): trial, parameters, all metrics, bound, DRAM bytes; units are in the keys."""
    return [
        {
            "trial": member.trial,
            **run.parameters(member),
            **dict(_metrics(run, member.design.metrics)),
            "bound": member.design.bound,
            "dram_bytes": member.design.dram_bytes,
        }
        for member in (run.archive.members if members is None else members)
    ]


def trial_rows(run: Run) -> list[dict[str, object]]:
    """One row per trial; parameters and metrics are those of the design that it reports, empty where it has none."""
    return [_trial_row(run, record) for record in run.records]


def _trial_row(run: Run, record: TrialRecord) -> dict[str, object]:
    space = run.header.space
    row: dict[str, object] = {"trial": record.number, "state": str(record.state), **space.choice(record.outer)}
    best = record.best
    inner: Mapping[str, Value] = space.parameters(record.outer, best.inner) if best else {}
    row |= {dimension.path: inner.get(dimension.path) for dimension in space.inner}
    row |= {name: best.metrics[name] if best else None for name in run.header.goals.columns}
    row |= {"bound": best.bound if best else None, "designs": record.designs, "designs_priced": record.priced}
    row |= {"designs_fitting": record.fitting}
    row |= {"designs_feasible": record.feasible, "front_size": len(record.front), "error": record.error or None}
    row["infeasibility"] = str(record.lacking.why) if record.lacking else None
    return row


def _metrics(run: Run, metrics: Mapping[str, float]) -> Iterable[tuple[str, float]]:
    """Objectives first."""
    first = run.header.goals.objectives
    yield from ((name, metrics[name]) for name in first)
    yield from ((name, value) for name, value in metrics.items() if name not in first)


def to_csv(rows: Sequence[Mapping[str, object]], columns: Sequence[str] | None = None) -> str:
    """`rows` as CSV; floats keep every digit, None is empty, booleans are true and false."""
    names = list(columns if columns is not None else (rows[0] if rows else ()))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
    return out.getvalue()


def to_json(value: object) -> str:
    """Indented JSON with a final newline."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value
