"""A plan at other prices: the order in which each core and channel serves its tasks is kept, all durations are those of the point."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dse.schedule.cores.simulate import Simulation, Use
from dse.schedule.cores.tasks import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.schedule.cores.charges import ChipCharges
    from dse.schedule.cores.replay import Replay
    from dse.schedule.cores.takes import Take


def retimed(outcome: Outcome, takes: Sequence[Take], replay: Replay, seconds: list[float], charges: ChipCharges) -> Outcome:
    """The plan at the one point of `charges`, with the times of all its tasks; `seconds` are those of the rows of `takes` there."""
    start, end = replay.times_of_one(seconds)
    uses = tuple(_used(use, take, seconds) for use, take in zip(outcome.tasks.uses, takes, strict=True))
    latency = float(end.max())
    return Outcome(
        outcome.layout,
        replace(outcome.tasks, uses=uses),
        Simulation(start, end, outcome.simulation.order),
        latency,
        float(outcome.spends.joules(charges, latency)[0]),
        outcome.spends,
    )


def _used(use: Use, take: Take, seconds: list[float]) -> Use:
    """The same resources and ports for other times."""
    held = {r: seconds[row] for row, _, resources in take.blocks for r in resources}
    ports = tuple((port, seconds[row], waits) for port, row, waits in take.ports)
    return Use(tuple((r, held.get(r, seconds[take.lasts])) for r, _ in use.holds), seconds[take.lasts], ports, use.stalls)
