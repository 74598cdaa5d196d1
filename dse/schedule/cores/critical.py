"""What keeps a simulated plan from ending sooner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dse.schedule.cores.tasks import Outcome

LOOK_BACK: Final = 200
"""Tasks among which the one is looked for that held a resource before."""


def critical_way(outcome: Outcome) -> list[tuple[int, int | None]]:
    """(Use, resource that is held; None: until it is done) along a way through a simulated plan on which nothing waits, from its
    end as far back as ports let it: what it takes at other durations is a bound there, as each resource keeps its order."""
    tasks, kinds = outcome.tasks, outcome.tasks.kinds
    start, end, order = outcome.simulation.start_s.tolist(), outcome.simulation.end_s.tolist(), outcome.simulation.order
    place = {task: i for i, task in enumerate(order)}
    task = max(range(len(end)), key=end.__getitem__)
    way: list[tuple[int, int | None]] = [(kinds[task], None)]
    while start[task] > 0.0:
        before = next((b for b in tasks.waits[task] if end[b] == start[task]), None)
        if before is not None:
            way.append((kinds[before], None))
            task = before
            continue
        mine = {r for r, _ in tasks.uses[kinds[task]].holds}
        held = (
            (b, r)
            for b in order[max(0, place[task] - LOOK_BACK) : place[task]][::-1]
            for r, seconds in tasks.uses[kinds[b]].holds
            if r in mine and start[b] + seconds == start[task]
        )
        found = next(held, None)
        if found is None:
            break
        way.append((kinds[found[0]], found[1]))
        task = found[0]
    return way
