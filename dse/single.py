"""One workload on one accelerator, from names to an explained design point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.cost.evaluation import Evaluation, evaluate
from dse.cost.metrics import Objective
from dse.evaluate import Schedule, compile_step
from dse.files import parse_setting
from dse.plugins import load_accelerator, load_chip, names_chip
from dse.workload import WorkloadOptions, load_workload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.cost.many_core import ChipEvaluation


def evaluate_any(
    workload: WorkloadOptions, accelerator: str, settings: Sequence[str] = (), *, objective: str = "latency", schedule: str = "fused"
) -> Evaluation | ChipEvaluation:
    """As `evaluate_single`, and for chips of many cores.

    Raises:
        UsageError: as `evaluate_single`.
        InputError: as `evaluate_single`, or an operator that no core of a chip may run.
    """
    if not names_chip(accelerator):
        return evaluate_single(workload, accelerator, settings, objective=objective, schedule=schedule)
    from dse.cost.many_core import evaluate_chip

    description = load_chip(accelerator)
    overrides = dict(parse_setting(text) for text in settings)
    if overrides:
        description = description.with_overrides(overrides, origin="--set")
    step = load_workload(workload).step
    return evaluate_chip(
        description,
        step.graphs,
        tokens=step.tokens,
        stored_bytes=step.stored_bytes,
        objective=Objective(objective),
        schedule=Schedule(schedule),
    )


def evaluate_single(
    workload: WorkloadOptions, accelerator: str, settings: Sequence[str] = (), *, objective: str = "latency", schedule: str = "fused"
) -> Evaluation:
    """Evaluate `workload` on `accelerator` (a name or a file) with `path=value` settings laid over it.

    Raises:
        UsageError: unknown names, options or settings, with what is allowed.
        InputError: a file is missing or wrong, or the array cannot compute in the workload's data type.
    """
    description = load_accelerator(accelerator)
    overrides = dict(parse_setting(text) for text in settings)
    if overrides:
        description = description.with_overrides(overrides, origin="--set")
    compiled = compile_step(load_workload(workload).step, description.geometry, schedule=Schedule(schedule))
    return evaluate(compiled, description.table({}), Objective(objective))
