"""A plan at other prices: the order in which each core and channel serves its tasks is kept, all durations are those of the points."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dse.schedule.cores.energy import energy_items, plan_j
from dse.schedule.cores.simulate import Simulation, replay
from dse.schedule.cores.tasks import Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.hw.many_core import Chip
    from dse.schedule.cores.charges import ChipCharges
    from dse.schedule.cores.tasks import TaskList, Timing

    FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PlanPrices:
    """One plan over D design points."""

    latency_s: FloatArray
    """[D]"""
    energy_j: FloatArray
    """[D]"""
    busy_s: FloatArray
    """[resources, D]"""
    dram_bytes: float


def price_plan(outcome: Outcome, chip: Chip, charges: ChipCharges) -> PlanPrices:
    """Latency and energy of a plan at all points of `charges`; groups, cores, mappings, places, routes and orders are the plan's."""
    holds, lasts = _durations(outcome.tasks, charges)
    _, ends = replay(outcome.tasks.tasks, outcome.simulation.order, holds, lasts)
    latency = np.asarray(charges.nothing + np.max(np.stack(np.broadcast_arrays(*ends)), axis=0))
    busy: dict[int, FloatArray] = defaultdict(lambda: charges.nothing)
    for task, mine in zip(outcome.tasks.tasks, holds, strict=True):
        for (resource, _), seconds in zip(task.holds, mine, strict=True):
            busy[resource] = busy[resource] + seconds
    resources = np.stack([busy[r] for r in range(outcome.tasks.resources)])
    moved = sum(i.bytes for i in energy_items(outcome.layout, chip, charges) if i.component == "dram")
    return PlanPrices(latency, plan_j(outcome.layout, chip, charges, latency), resources, moved)


def retimed(outcome: Outcome, chip: Chip, charges: ChipCharges) -> Outcome:
    """The plan at the one point of `charges`, with the times of all its tasks."""
    holds, lasts = _durations(outcome.tasks, charges)
    starts, ends = replay(outcome.tasks.tasks, outcome.simulation.order, holds, lasts)
    start, end = (np.array([float(np.ravel(t)[0]) for t in times]) for times in (starts, ends))
    tasks = tuple(
        replace(
            task,
            holds=tuple((r, float(np.ravel(s)[0])) for (r, _), s in zip(task.holds, mine, strict=True)),
            lasts_s=float(np.ravel(last)[0]),
        )
        for task, mine, last in zip(outcome.tasks.tasks, holds, lasts, strict=True)
    )
    latency = float(end.max())
    return Outcome(
        outcome.layout,
        replace(outcome.tasks, tasks=tasks),
        Simulation(start, end, outcome.simulation.order),
        latency,
        float(plan_j(outcome.layout, chip, charges, latency)[0]),
    )


def _durations(tasks: TaskList, charges: ChipCharges) -> tuple[list[FloatArray], list[FloatArray]]:
    """For each task seconds that it holds its resources, [resources of the task, D], and that it lasts, [D]."""
    found: dict[tuple[int, int], tuple[FloatArray, FloatArray]] = {}
    for task, timing in zip(tasks.tasks, tasks.timings, strict=True):
        key = (id(timing), len(task.holds))
        if key not in found:
            found[key] = _duration(timing, len(task.holds), charges)
    every = [found[id(timing), len(task.holds)] for task, timing in zip(tasks.tasks, tasks.timings, strict=True)]
    return [holds for holds, _ in every], [lasts for _, lasts in every]


def _duration(timing: Timing, resources: int, charges: ChipCharges) -> tuple[FloatArray, FloatArray]:
    lasts = charges.nothing
    if timing.pattern is not None:
        moved = timing.size_bytes > 0.0 and bool(timing.pattern.channels)
        if moved:
            lasts = timing.size_bytes * charges.pattern_s(timing.pattern) + charges.pattern_latency_s(timing.pattern)
        used = [timing.size_bytes * part / charges.bytes_per_s[channel] for channel, part in timing.pattern.channels]
        used += [lasts] * len(timing.cores)
        return np.stack(used) if used else np.zeros((0, 1)), lasts
    if timing.part is not None:
        lasts = lasts + charges.kinds[timing.kind].part_s(timing.part) / timing.pieces
    elif timing.added is not None:
        lasts = lasts + charges.kinds[timing.kind].adding_s(timing.added)
    return np.broadcast_to(lasts, (resources, *lasts.shape)), lasts
