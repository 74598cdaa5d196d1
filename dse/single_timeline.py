"""The timeline of one workload on one accelerator, or of one design of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dse.cost.design_timeline import design_timeline
from dse.cost.evaluation import evaluate
from dse.cost.metrics import Objective
from dse.errors import InfeasibleError, UsageError
from dse.evaluate import Schedule, compile_step
from dse.files import parse_setting
from dse.ir.tensor import Role
from dse.overrides import laid_over
from dse.plugins import load_accelerator, names_chip
from dse.schedule.timeline import in_series
from dse.workload import WorkloadOptions, load_workload

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dse.cost.many_core import ChipEvaluation
    from dse.cost.workload_pricing import CompiledWorkload
    from dse.evaluate import Step
    from dse.hw.many_core import Chip
    from dse.hw.table import DesignTable
    from dse.schedule.timeline import Timeline


def timeline_single(
    workload: WorkloadOptions,
    accelerator: str,
    settings: Sequence[str] = (),
    *,
    objective: str = "latency",
    schedule: str = "fused",
    placement: str = "auto",
) -> Timeline:
    """The timeline of what `dse eval` prices with the same arguments.

    Raises:
        UsageError: unknown names, options or settings, with what is allowed.
        InputError: a file is missing or wrong, or the array cannot compute in the workload's data type.
        InfeasibleError: the accelerator cannot hold the workload.
    """
    if names_chip(accelerator):
        return _of_chip(workload, accelerator, settings, objective=objective, schedule=schedule, placement=placement)
    if placement != "auto":
        raise UsageError(f"--placement {placement}: {accelerator} has one core; placements are for chips of many cores")
    description = laid_over(load_accelerator(accelerator), settings)
    compiled = compile_step(load_workload(workload).step, description.geometry_for(), schedule=Schedule(schedule))
    return _timeline(compiled, description.table({}), Objective(objective))


def _of_chip(
    workload: WorkloadOptions, accelerator: str, settings: Sequence[str], *, objective: str, schedule: str, placement: str
) -> Timeline:
    """On a chip of many cores: the plan of each part as it was simulated."""
    from dse.cost.many_core import ChipEvaluation
    from dse.plugins import load_chip
    from dse.single import evaluate_any

    found = evaluate_any(workload, accelerator, settings, objective=objective, schedule=schedule, placement=placement)
    assert isinstance(found, ChipEvaluation)
    description = load_chip(accelerator)
    overrides = dict(parse_setting(text) for text in settings)
    chip = (description.with_overrides(overrides, origin="--set") if overrides else description).chip
    return _drawn(load_workload(workload).step, found, chip)


def _drawn(step: Step, found: ChipEvaluation, chip: Chip) -> Timeline:
    """The plans of an evaluation as they were simulated, one part after the other."""
    from dse.schedule.cores.timeline import chip_timeline

    if not found.feasible:
        raise InfeasibleError("; ".join(map(str, found.infeasibility)))
    caches = step.cache_bytes
    stored = {str(Role.CACHE): caches, str(Role.WEIGHT): step.stored_bytes - caches}
    drawn = [(chip_timeline(p.name, p.planned.outcome, chip, found.clock_hz, stored), p.count) for p in found.parts]
    return in_series(step.name, drawn)


def timeline_of_run(path: Path, *, trial: int | None = None, workload: int = 0) -> Timeline:
    """The timeline of one design of a run: the best of its first objective, or the best that `trial` found.

    `workload` is the number of the scenario, in a campaign with several.

    Raises:
        RunError: no run there.
        UsageError: no such trial or workload, or nothing feasible in it.
    """
    from dse.campaign.chip_prepared import PreparedChip, point_of
    from dse.campaign.evaluator import CatalogueSources, WorkloadEvaluator
    from dse.campaign.plan import load_plan
    from dse.campaign.prepared import table_of
    from dse.campaign.view import load_run

    run = load_run(path)
    members = [m for m in run.archive.members if trial in (None, m.trial)]
    if not members:
        found = f"trial {trial}" if trial is not None else "the run"
        raise UsageError(f"{run.folder}: {found} has no design on the front; dse pareto {run.folder} lists them with their trials")
    first = run.header.goals.objectives[0]
    sign = -1.0 if run.header.goals.maximise[0] else 1.0
    best = min(members, key=lambda m: (sign * m.design.metrics[first], m.trial, m.design.inner))
    files = str(run.folder / str(run.manifest.get("campaign_folder", ".")))  # models and accelerators that are named by path
    plan = replace(load_plan(run.folder / "config.resolved.yaml", CatalogueSources(files)), folder=files)
    if plan.form.system is not None:
        raise UsageError(
            f"{run.folder}: is a run over systems of many chips, of which no timeline is drawn; dse system --operators lists a step"
        )
    prepared = WorkloadEvaluator(plan).prepare(run.header.space.choice(best.outer))
    if not 0 <= workload < len(prepared.steps):
        raise UsageError(f"--workload {workload}: the campaign has workloads 0 to {len(prepared.steps) - 1}")
    columns = run.header.space.columns(np.array([best.design.inner]))
    if isinstance(prepared, PreparedChip):
        point = point_of(prepared.description, columns, 0)
        step, chip = prepared.steps[workload].step, prepared.description.with_overrides(point).chip
        return _drawn(step, next(prepared.plans[workload].evaluate([point])), chip)
    return _timeline(prepared.compiled[workload], table_of(prepared.description, columns), prepared.objective)


def _timeline(compiled: CompiledWorkload, table: DesignTable, objective: Objective) -> Timeline:
    found = evaluate(compiled, table, objective)
    if not found.feasible:
        raise InfeasibleError("; ".join(map(str, found.infeasibility)))
    return design_timeline(compiled, table, objective)
