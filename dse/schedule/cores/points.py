"""A plan at other prices: the order in which each core and channel serves its tasks is kept, all durations are those of the points."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dse.schedule.cores.replay import Durations
from dse.schedule.cores.simulate import Simulation, Use
from dse.schedule.cores.tasks import Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.schedule.cores.charges import ChipCharges
    from dse.schedule.cores.tasks import TaskList, Timing

    FloatArray = NDArray[np.float64]


def retimed(outcome: Outcome, charges: ChipCharges) -> Outcome:
    """The plan at the one point of `charges`, with the times of all its tasks."""
    tasks, durations = outcome.tasks, _durations(outcome.tasks, charges)
    starts = outcome.order.starts_s(durations)
    start, end = starts[: len(tasks.kinds), 0], outcome.order.each_end_s(starts, durations)[:, 0]
    lasts = durations.lasts_s[:, 0]
    uses = tuple(_used(use, held[:, 0], float(last)) for use, held, last in zip(tasks.uses, durations.holds_s, lasts, strict=True))
    latency = float(end.max())
    return Outcome(
        outcome.layout,
        replace(tasks, uses=uses),
        Simulation(start, end, outcome.simulation.order),
        latency,
        float(outcome.spends.joules(charges, latency)[0]),
        outcome.spends,
    )


def _durations(tasks: TaskList, charges: ChipCharges) -> Durations:
    """Seconds that uses hold their resources and last, at all points."""
    found = [_duration(timing, len(use.holds), charges) for use, timing in zip(tasks.uses, tasks.timings, strict=True)]
    holds = tuple(
        np.concatenate([held, [charges.touch_s(t) / timing.pieces for t in timing.touches]]) if timing.touches else held
        for (held, _), timing in zip(found, tasks.timings, strict=True)
    )
    return Durations(holds, np.stack([lasts for _, lasts in found]))


def _used(use: Use, seconds: FloatArray, lasts_s: float) -> Use:
    """The same resources and ports for other times, [resources and then ports]."""
    times = [float(s) for s in seconds]
    holds = tuple((r, s) for (r, _), s in zip(use.holds, times, strict=False))
    ports = tuple((p, s, waits) for (p, _, waits), s in zip(use.ports, times[len(holds) :], strict=True))
    return Use(holds, lasts_s, ports, use.stalls)


def _duration(timing: Timing, resources: int, charges: ChipCharges) -> tuple[FloatArray, FloatArray]:
    lasts = charges.nothing
    if timing.pattern is not None:
        moved = timing.size_bytes > 0.0 and bool(timing.pattern.channels)
        if moved:
            lasts = timing.size_bytes * charges.pattern_s(timing.pattern) + charges.pattern_latency_s(timing.pattern)
        used = [timing.size_bytes * part / charges.bytes_per_s[channel] for channel, part in timing.pattern.channels]
        used += [lasts] * len(timing.cores)
        return np.stack(used) if used else np.zeros((0, *lasts.shape)), lasts
    if timing.part is not None:
        lasts = lasts + charges.kinds[timing.kind].part_s(timing.part) / timing.pieces
    elif timing.added is not None:
        lasts = lasts + charges.kinds[timing.kind].adding_s(timing.added)
    return np.broadcast_to(lasts, (resources, *lasts.shape)), lasts
