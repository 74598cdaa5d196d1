"""One workload on one accelerator, from names to an explained design point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dse.cost.at_point import at_point
from dse.cost.evaluation import Evaluation, evaluate, hopeless
from dse.cost.metrics import Objective
from dse.errors import UsageError
from dse.evaluate import Schedule, compile_step
from dse.ir.precision import precision
from dse.overrides import laid_over
from dse.plugins import load_accelerator, load_chip, names_chip
from dse.workload import WorkloadOptions, load_workload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.cost.many_core import ChipEvaluation
    from dse.cost.plan_front import FrontPoint
    from dse.cost.workload_pricing import CompiledWorkload
    from dse.hw.table import DesignTable

DEFAULT_PRECISION: Final = "bf16"
"""Format whose measured constants an ONNX file with formats of its own takes."""


def evaluate_any(
    workload: WorkloadOptions,
    accelerator: str,
    settings: Sequence[str] = (),
    *,
    objective: str = "latency",
    schedule: str = "fused",
    placement: str = "auto",
    calibrated: bool = False,
    mapping_excess: float = 0.0,
) -> Evaluation | ChipEvaluation:
    """As `evaluate_single`, and for chips of many cores.

    Raises:
        UsageError: as `evaluate_single`; a chip of many cores, of which nothing was measured, calibrated; a placement for one core, or
            one that cannot be had.
        InputError: as `evaluate_single`, or an operator that no core of a chip may run.
    """
    if not names_chip(accelerator):
        if placement != "auto":
            raise UsageError(f"--placement {placement}: {accelerator} has one core; placements are for chips of many cores")
        return evaluate_single(
            workload,
            accelerator,
            settings,
            objective=objective,
            schedule=schedule,
            calibrated=calibrated,
            mapping_excess=mapping_excess,
        )
    if mapping_excess:
        raise UsageError(f"--mapping-excess: the cores of {accelerator}, a chip of many cores, have exact frontiers; leave it out")
    if calibrated:
        raise UsageError(f"--calibrated: nothing is measured of {accelerator}, a chip of many cores; leave it out")
    from dse.cost.many_core import evaluate_chip
    from dse.schedule.cores.relaxation import Placement

    description = laid_over(load_chip(accelerator), settings)
    step = load_workload(workload).step
    return evaluate_chip(
        description,
        step.graphs,
        tokens=step.tokens,
        stored_bytes=step.stored_bytes,
        objective=Objective(objective),
        schedule=Schedule(schedule),
        placement=Placement(placement),
    )


def front_any(
    workload: WorkloadOptions,
    accelerator: str,
    settings: Sequence[str] = (),
    *,
    schedule: str = "fused",
    placement: str = "auto",
    calibrated: bool = False,
    mapping_excess: float = 0.0,
) -> tuple[Evaluation | ChipEvaluation, tuple[FrontPoint, ...]]:
    """The choice of least energy-delay product, explained, and all choices between the fastest and the most frugal, the fastest first.

    On one core every choice of plans and mappings that is best for some worth of a second in joules (`plan_front`); on a chip of many
    cores those of `evaluate_any` for latency, energy and their product that no other one beats. No choices where it is infeasible.

    Raises:
        UsageError: as `evaluate_any`.
        InputError: as `evaluate_any`.
    """
    from dse.cost.plan_front import FrontPoint, not_dominated, plan_front

    if names_chip(accelerator):
        by = {
            o: evaluate_any(workload, accelerator, settings, objective=o, schedule=schedule, placement=placement, calibrated=calibrated)
            for o in map(str, Objective)
        }
        points = {FrontPoint(e.latency_s, e.energy_j) for e in by.values() if e.feasible}
        best = min(by.values(), key=lambda e: e.energy_j * e.latency_s)
        return best, tuple(not_dominated(points))
    if placement != "auto":
        raise UsageError(f"--placement {placement}: {accelerator} has one core; placements are for chips of many cores")
    made = _made(workload, accelerator, settings, schedule=schedule, calibrated=calibrated, mapping_excess=mapping_excess)
    if isinstance(made, Evaluation):
        return made, ()
    compiled, table = made
    return evaluate(compiled, table, Objective.EDP), plan_front(compiled, table)


def evaluate_single(
    workload: WorkloadOptions,
    accelerator: str,
    settings: Sequence[str] = (),
    *,
    objective: str = "latency",
    schedule: str = "fused",
    calibrated: bool = False,
    mapping_excess: float = 0.0,
) -> Evaluation:
    """Evaluate `workload` on `accelerator` (a name or a file) with `path=value` settings laid over it.

    `calibrated` puts the launch latency and the sustained rates of measured products in the place of data-sheet peaks; settings
    come after it. With `mapping_excess` above 0 shorter frontiers are made, with mappings whose counts are up to that share above the best.

    Raises:
        UsageError: unknown names, options or settings, with what is allowed; calibrated, and nothing was measured of the chip.
        InputError: a file is missing or wrong, or the array cannot compute in the workload's data type.
    """
    made = _made(workload, accelerator, settings, schedule=schedule, calibrated=calibrated, mapping_excess=mapping_excess)
    return made if isinstance(made, Evaluation) else evaluate(*made, Objective(objective))


def _made(
    workload: WorkloadOptions, accelerator: str, settings: Sequence[str], *, schedule: str, calibrated: bool, mapping_excess: float
) -> Evaluation | tuple[CompiledWorkload, DesignTable]:
    """The compiled step and its only design point; the verdict where nothing need be compiled for it."""
    description = load_accelerator(accelerator)
    loaded = load_workload(workload)
    if calibrated:
        from dse.validation.silicon.sustained import sustained_settings

        formats = precision(loaded.precision or DEFAULT_PRECISION)
        description = description.with_overrides(sustained_settings(description, formats), origin="--calibrated")
    description = laid_over(description, settings)
    step, table = loaded.step, description.table({})
    verdict = hopeless(step.graphs, tokens=step.tokens, stored_bytes=step.stored_bytes, geometry=description.geometry, table=table)
    if verdict is not None:
        return verdict
    geometry = at_point(description.geometry_for(mapping_excess=mapping_excess), table)
    compiled = compile_step(step, geometry, schedule=Schedule(schedule))
    return compiled, table
