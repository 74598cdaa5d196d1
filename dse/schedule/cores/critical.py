"""What keeps a simulated plan from ending sooner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.schedule.cores.tasks import Outcome, TaskList

LOOK_BACK: Final = 200
"""Tasks among which the one is looked for that held a resource before."""


def critical_way(outcome: Outcome) -> list[tuple[int, int | None]]:
    """(Use, resource that is held; None: until it is done) along a way through a simulated plan on which nothing waits, from its
    end as far back as ports let it: what it takes at other durations is a bound there, as each resource keeps its order."""
    tasks, kinds = outcome.tasks, outcome.tasks.kinds
    start, end, order = outcome.simulation.start_s.tolist(), outcome.simulation.end_s.tolist(), outcome.simulation.order
    blocks = [use.blocks for use in tasks.uses]
    place = {task: i for i, task in enumerate(order)}
    task = max(range(len(end)), key=end.__getitem__)
    way: list[tuple[int, int | None]] = [(kinds[task], None)]
    while start[task] > 0.0:
        before = next((b for b in tasks.waits[task] if end[b] == start[task]), None)
        if before is not None:
            way.append((kinds[before], None))
            task = before
            continue
        found = _holder(task, tasks, blocks, start, end, order[max(0, place[task] - LOOK_BACK) : place[task]])
        if found is None:
            break
        way.append((kinds[found[0]], found[1]))
        task = found[0]
    return way


def _holder(
    task: int,
    tasks: TaskList,
    blocks: Sequence[tuple[tuple[float, tuple[int, ...]], ...]],
    start: Sequence[float],
    end: Sequence[float],
    before: Sequence[int],
) -> tuple[int, int | None] | None:
    """The latest of the tasks `before` that was done with a resource of `task` just when that started, with the resource; None for the
    resource where it held that until it was done."""
    kinds, at = tasks.kinds, start[task]
    mine = {r for r, _ in tasks.uses[kinds[task]].holds}
    for b in reversed(before):
        for seconds, resources in blocks[kinds[b]]:
            if start[b] + seconds == at and not mine.isdisjoint(resources):
                return b, next(r for r in resources if r in mine)
        if end[b] == at and not mine.isdisjoint(tasks.uses[kinds[b]].stalls):
            return b, None
    return None
