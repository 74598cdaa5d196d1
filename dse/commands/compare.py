"""`dse compare`: two accelerators on one workload, two results of `dse eval`, or two runs."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dse.commands.common import FormatOption, SetOption, examples
from dse.commands.enums import ObjectiveName, ScheduleName
from dse.commands.evaluate import ObjectiveOption, ScheduleOption
from dse.commands.workload_options import with_workload
from dse.errors import InfeasibleError, InputError, UsageError
from dse.report.output import Format, write_records

if TYPE_CHECKING:
    from dse.report.output import Cell
    from dse.workload import WorkloadOptions

QUANTITIES = (
    "latency_s",
    "energy_j",
    "tokens_per_s",
    "joules_per_token",
    "area_mm2",
    "latency_cycles",
    "roofline_cycles",
    "roofline_ratio",
)
logger = logging.getLogger(__name__)
_SIDE = "Accelerator (name or YAML), result of dse eval --format json, or run folder."


def register(app: typer.Typer) -> None:
    """Add the command."""
    epilog = examples(
        "dse compare flat_cloud tpu7x --model deepseek_v3 --part attention --batch 32",
        "dse compare runs/mla_smoke runs/mla_smoke --format json",
    )
    app.command("compare", epilog=epilog)(with_workload(compare))


def compare(
    workload: WorkloadOptions,
    a: Annotated[str, typer.Argument(metavar="A", help=_SIDE, show_default=False)],
    b: Annotated[str, typer.Argument(metavar="B", help=_SIDE, show_default=False)],
    settings: SetOption = [],  # noqa: B006  typer copies it
    objective: ObjectiveOption = ObjectiveName.LATENCY,
    schedule: ScheduleOption = ScheduleName.FUSED,
    designs: Annotated[bool, typer.Option("--designs", help="Of two runs: the designs that stand on one front only.")] = False,
    form: FormatOption = Format.TABLE,
) -> None:
    """Compare two things of one kind, quantity by quantity, with the ratio of B to A.

    Two accelerators are evaluated on the workload given (see dse eval). Two runs are compared by their fronts: size,
    share of points that the other front dominates or equals, best of each objective, and hypervolume under A's
    reference point. Of a side that is not feasible the row `infeasibility` says what it lacks; exit code 4 where neither is.
    """
    runs = [Path(side).is_dir() for side in (a, b)]
    if any(runs) and not all(runs):
        raise UsageError(f"{a} and {b} are not of one kind: one is a run folder")
    if designs:
        if not all(runs):
            raise UsageError("--designs compares two run folders; leave it out")
        from dse.campaign.compare import differing_designs

        found = differing_designs(a, b)
        columns = tuple(found[0]) if found else ("only_in",)
        write_records(found, columns, form, title=f"A = {a}, B = {b}; designs that stand on one front only")
        return
    if all(runs):
        from dse.campaign.compare import compare_runs

        rows, lacking = compare_runs(a, b), []
    else:
        sides = [_side(side, workload, settings, objective, schedule) for side in (a, b)]
        rows = [_row(name, *(values.get(name) for values, _ in sides)) for name in (*QUANTITIES, "bound")]
        lacking = [found[1] for found in sides]
        if any(lacking):
            rows.append(_row("infeasibility", *(None if why is None else why[0] for why in lacking)))
    write_records(rows, ("quantity", "a", "b", "ratio"), form, title=f"A = {a}, B = {b}; ratio B / A")
    told = [f"{name}, {side}, is not feasible: {why[1]}" for name, side, why in zip("AB", (a, b), lacking, strict=False) if why is not None]
    if len(told) == len((a, b)):
        raise InfeasibleError("; ".join(told))
    for line in told:
        logger.warning(line)


def _row(name: str, a: Cell, b: Cell) -> dict[str, Cell]:
    numbers = isinstance(a, int | float) and isinstance(b, int | float) and a
    return {"quantity": name, "a": a, "b": b, "ratio": b / a if numbers else None}  # type: ignore[operator]


def _side(
    side: str, workload: WorkloadOptions, settings: list[str], objective: ObjectiveName, schedule: ScheduleName
) -> tuple[dict[str, Cell], tuple[str, str] | None]:
    from dse.single import evaluate_any

    values: dict[str, Any]  # Any: JSON
    if side.endswith(".json"):
        values = _read_result(side)
    else:
        values = evaluate_any(workload, side, settings, objective=objective.value, schedule=schedule.value).to_json_dict()
    bound = values.get("bound")
    found: dict[str, Any] = {name: values.get(name) for name in QUANTITIES}
    found["bound"] = bound["resource"] if isinstance(bound, dict) else None
    return found, _why(values)


def _why(values: dict[str, Any]) -> tuple[str, str] | None:  # Any: JSON
    """What an infeasible side lacks, in short and in words; None where it is feasible."""
    if values.get("feasible", True):
        return None
    entries = values.get("infeasibility")
    found = [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []
    short = "; ".join(f"{e.get('resource')} {_bytes(e.get('demand_bytes'))} of {_bytes(e.get('bound_bytes'))}" for e in found)
    return short or "infeasible", "; ".join(f"{e.get('resource')}: {e.get('message')}" for e in found) or "the result does not say why"


def _bytes(size: object) -> str:
    from dse.cost.capacity import in_gib

    return in_gib(float(size)) if isinstance(size, int | float) else "?"


def _read_result(path: str) -> dict[str, Any]:  # Any: JSON from outside, checked below
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError.single(path, f"cannot be read: {error.strerror}; give a file that dse eval --format json wrote") from error
    except ValueError as error:
        raise InputError.single(path, f"is no JSON: {error}; give a file that dse eval --format json wrote") from error
    if not isinstance(values, dict) or "latency_s" not in values:
        raise InputError.single(path, "is not a result of dse eval: it has no latency_s; write one with dse eval --format json")
    return values
