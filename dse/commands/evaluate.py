"""`dse eval`: one workload on one accelerator."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from dse.commands.common import FormatOption, SetOption, examples
from dse.commands.enums import ObjectiveName, PlacementName, PlanObjectiveName, ScheduleName
from dse.commands.workload_options import with_workload
from dse.errors import InfeasibleError
from dse.report.output import Format, write_json, write_records

if TYPE_CHECKING:
    from dse.cost.evaluation import Evaluation
    from dse.cost.plan_front import FrontPoint
    from dse.report.output import Cell
    from dse.workload import WorkloadOptions

AcceleratorOption = Annotated[str, typer.Option("-a", "--accelerator", help="Accelerator of the catalogue, or a YAML.", show_default=False)]
ObjectiveOption = Annotated[ObjectiveName, typer.Option(help="What mappings and plans minimise.")]
PlanObjectiveOption = Annotated[
    PlanObjectiveName, typer.Option(help="What mappings and plans minimise; pareto lists all between the fastest and the most frugal.")
]
PlacementOption = Annotated[
    PlacementName,
    typer.Option(help="How cores of a chip are found; exact tries all, cp-sat (OR-Tools) proves a gap."),
]
FRONT_COLUMNS: Final = ("latency_s", "latency_cycles", "energy_j", "edp_js")
ScheduleOption = Annotated[ScheduleName, typer.Option(help="fused keeps intermediates on chip where that is best.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    epilog = examples(
        "dse eval --model deepseek_v3 --part attention --attention recompute -a flat_cloud",
        "dse eval --model deepseek_v3 -a h100_sxm --batch 32 --set memories.hbm.bandwidth_gb_per_s=4800 --format json",
    )
    app.command("eval", epilog=epilog)(with_workload(eval_))


def eval_(
    workload: WorkloadOptions,
    accelerator: AcceleratorOption,
    settings: SetOption = [],  # noqa: B006  typer copies it
    objective: PlanObjectiveOption = PlanObjectiveName.LATENCY,
    schedule: ScheduleOption = ScheduleName.FUSED,
    placement: PlacementOption = PlacementName.AUTO,
    calibrated: Annotated[
        bool, typer.Option("--calibrated", help="Launches and sustained rates of measured products instead of data-sheet peaks.")
    ] = False,
    mapping_excess: Annotated[
        float, typer.Option(help="Share by which counts of mappings may be above the best: fewer are kept. 0 is exact.")
    ] = 0.0,
    form: FormatOption = Format.TABLE,
) -> None:
    """Evaluate one workload on one accelerator: latency, energy, area, what bounds it, and where it all goes.

    The roofline is the larger of MACs at peak and compulsory bytes at the DRAM rate. Exit code 4 where the accelerator
    cannot hold the workload. On a chip of many cores operators are divided over cores and simulated over its channels.
    With the objective pareto the choice of least energy-delay product is explained and all others are listed (CSV: these alone).
    """
    from dse.commands.chip_tables import write_chip_tables
    from dse.cost.evaluation import Evaluation
    from dse.single import evaluate_any, front_any

    front: tuple[FrontPoint, ...] = ()
    shown, how = objective, {"schedule": schedule.value, "placement": placement.value}
    if objective is PlanObjectiveName.PARETO:
        found, front = front_any(workload, accelerator, settings, calibrated=calibrated, mapping_excess=mapping_excess, **how)
        shown = PlanObjectiveName.EDP
    else:
        found = evaluate_any(
            workload, accelerator, settings, objective=objective.value, calibrated=calibrated, mapping_excess=mapping_excess, **how
        )
    rows = [p.to_json_dict(found.clock_hz) for p in front]
    if form is Format.JSON:
        write_json(found.to_json_dict() | ({"front": rows} if objective is PlanObjectiveName.PARETO else {}))
    elif form is Format.CSV and objective is PlanObjectiveName.PARETO:
        write_records(rows, FRONT_COLUMNS, form)
    elif form is Format.CSV:
        found_rows = found.to_json_dict()["breakdown"]
        write_records(found_rows, ("operator", "component", "role", "cycles", "energy_j", "bytes"), form)  # type: ignore[arg-type]
    elif found.feasible:
        if front:
            write_records(rows, FRONT_COLUMNS, form, title="Choices that are best for some worth of a second in joules")
        if isinstance(found, Evaluation):
            _write_tables(found, shown)
        else:
            write_chip_tables(found, shown.value)
    elif not isinstance(found, Evaluation):
        write_chip_tables(found, shown.value)
    if not found.feasible:
        raise InfeasibleError("; ".join(map(str, found.infeasibility)))


def _write_tables(found: Evaluation, objective: PlanObjectiveName) -> None:
    values = found.to_json_dict()
    facts: list[dict[str, Cell]] = [
        {"quantity": name, "value": values[name]}  # type: ignore[dict-item]
        for name in ("latency_s", "latency_cycles", "energy_j", "tokens_per_s", "joules_per_token", "area_mm2")
    ]
    assert found.bound is not None
    facts += [
        {"quantity": "bound", "value": f"{found.bound}, busy {found.bound_share:.1%} of the time"},
        {"quantity": "roofline_cycles", "value": found.roofline.cycles},
        {"quantity": "roofline_ratio", "value": values["roofline_ratio"]},  # type: ignore[dict-item]
    ]
    if found.schedule_bound is not None:
        groups = "the best of every order" if found.schedule_bound.groups_exact else "the best runs of one order"
        facts.append({"quantity": "schedule_gap", "value": f"at most {found.schedule_gap:.1%} above any schedule; groups: {groups}"})
    if found.recomputed:
        facts.append({"quantity": "recomputed", "value": _recomputed(found)})
    if found.excess:
        facts.append({"quantity": "mapping_excess", "value": f"counts at most {found.excess:.1%} above the best of the mapping space"})
    if found.in_part:
        said = f"{found.in_part} products; busy time at most {found.behind[0]:.1%}, energy {found.behind[1]:.1%} above the least of one"
        facts.append({"quantity": "searched_in_part", "value": said})
    write_records(facts, ("quantity", "value"), Format.TABLE, title=f"Least {objective} of its mappings and plans")
    rows: list[dict[str, Cell]] = [
        {
            "operator": o.operator,
            "cycles": o.latency_s * found.clock_hz,
            "latency_share": o.latency_s / found.latency_s,
            "energy_j": o.energy_j,
            "bound": str(o.bound),
            "dram_bytes": sum(b.bytes for b in found.breakdown if b.operator == o.operator and b.component == "dram"),
            "runs": o.runs,
        }
        for o in found.operators
    ]
    write_records(rows, tuple(rows[0]), Format.TABLE, title="Operators")
    areas: list[dict[str, Cell]] = [
        {"component": name.removesuffix("_mm2"), "area_mm2": value} for name, value in asdict(found.area).items()
    ]
    write_records(areas, ("component", "area_mm2"), Format.TABLE, title="Area by component")
    write_records(
        _spent(found), ("component", "role", "energy_j", "energy_share", "bytes"), Format.TABLE, title="Energy by component and role"
    )


def _recomputed(found: Evaluation) -> str:
    """Results that are formed more than once, with how often."""
    times: dict[str, int] = {}
    for r in found.recomputed:
        times[r.of] = times.get(r.of, 0) + r.times
    return "; ".join(f"{of} {n} times" for of, n in times.items())


def _spent(found: Evaluation) -> list[dict[str, Cell]]:
    keys = sorted({(b.component, b.role) for b in found.breakdown})
    rows: list[dict[str, Cell]] = []
    for component, role in keys:
        mine = [b for b in found.breakdown if (b.component, b.role) == (component, role)]
        energy = sum(b.energy_j for b in mine)
        rows.append(
            {
                "component": component,
                "role": role,
                "energy_j": energy,
                "energy_share": energy / found.energy_j,
                "bytes": sum(b.bytes for b in mine),
            }
        )
    return rows
