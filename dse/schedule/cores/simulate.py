"""A deterministic event simulation: tasks that wait for others and hold resources, first come by priority."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Task:
    """Something that starts when all that it waits for is done and all its resources are free."""

    name: str
    waits: tuple[int, ...]
    """Numbers of tasks that must be done first."""
    holds: tuple[tuple[int, float], ...]
    """(resource, seconds that it is held from the start)."""
    lasts_s: float
    """Seconds until it is done: at least as long as it holds any resource."""


@dataclass(frozen=True)
class Simulation:
    """When each task started and ended, arrays [tasks] in seconds, and the order in which they started."""

    start_s: FloatArray
    end_s: FloatArray
    order: tuple[int, ...]

    @property
    def makespan_s(self) -> float:
        """End of the last task."""
        return float(self.end_s.max()) if len(self.end_s) else 0.0


class _Run:
    """State of a simulation: what each task still waits for, until when each resource is held, and who queues for it."""

    def __init__(self, tasks: Sequence[Task], resources: int) -> None:
        self.tasks = tasks
        self.missing = [len(t.waits) for t in tasks]
        self.then: list[list[int]] = [[] for _ in tasks]
        for number, task in enumerate(tasks):
            for before in task.waits:
                self.then[before].append(number)
        self.free_at_s = [0.0] * resources
        self.queues: list[list[int]] = [[] for _ in range(resources)]
        self.start_s, self.end_s = [float("nan")] * len(tasks), [float("nan")] * len(tasks)
        self.order: list[int] = []
        self.events: list[tuple[float, int, tuple[int, ...], bool]] = []
        """(time, number of the task, resources that it frees, whether it is done)."""
        self.now_s = 0.0
        self.held: dict[int, list[tuple[float, tuple[int, ...]]]] = {}
        """Resources that tasks hold for the same time, by identity of what they hold: pieces of one group share it."""

    def start_ready(self, ready: list[int], freed: list[int]) -> None:
        """Start tasks in the order of their numbers: those that became ready, and those first in the queues of freed resources."""
        candidates = [(number, -1) for number in ready]
        candidates.extend((heappop(self.queues[r]), r) for r in freed if self.queues[r])
        heapify(candidates)
        while candidates:
            number, queue = heappop(candidates)
            self._try_start(number)
            if queue >= 0 and self.queues[queue] and self.free_at_s[queue] <= self.now_s:
                heappush(candidates, (heappop(self.queues[queue]), queue))

    def _try_start(self, number: int) -> None:
        """Start a task, or let it queue for the first of its resources that is not free."""
        task, now = self.tasks[number], self.now_s
        for resource, _ in task.holds:
            if self.free_at_s[resource] > now:
                heappush(self.queues[resource], number)
                return
        done = now + task.lasts_s
        self.start_s[number], self.end_s[number] = now, done
        self.order.append(number)
        freed: tuple[int, ...] = ()
        for seconds, resources in self._held(task):
            at = now + seconds
            for resource in resources:
                self.free_at_s[resource] = at
            if at == done and not freed:
                freed = resources
            else:
                heappush(self.events, (at, number, resources, False))
        heappush(self.events, (done, number, freed, True))

    def _held(self, task: Task) -> list[tuple[float, tuple[int, ...]]]:
        key = id(task.holds)
        if key not in self.held:
            until: dict[float, list[int]] = {}
            for resource, seconds in task.holds:
                if seconds > 0.0:
                    until.setdefault(seconds, []).append(resource)
            self.held[key] = [(seconds, tuple(resources)) for seconds, resources in until.items()]
        return self.held[key]

    def step(self) -> None:
        """Advance to the next event, take all of that time, and start what may."""
        self.now_s = now = self.events[0][0]
        ready: list[int] = []
        freed: list[int] = []
        while self.events and self.events[0][0] == now:
            _, number, resources, done = heappop(self.events)
            freed.extend(resources)
            if done:
                for following in self.then[number]:
                    self.missing[following] -= 1
                    if self.missing[following] == 0:
                        ready.append(following)
        self.start_ready(ready, freed)


def simulate(tasks: Sequence[Task], resources: int) -> Simulation:
    """Run `tasks`; of those that are ready and whose resources are free, the one with the lowest number starts first.

    A task with a lower number that waits for a second resource does not keep others from the first: no resource is idle while
    a ready task that needs nothing else could use it. Events at the same time are taken in the order of their numbers.

    Raises:
        ValueError: tasks wait for each other in a circle.
    """
    run = _Run(tasks, resources)
    run.start_ready([number for number, count in enumerate(run.missing) if count == 0], [])
    while run.events:
        run.step()
    if len(run.order) < len(tasks):
        raise ValueError("tasks wait for each other in a circle")
    return Simulation(np.array(run.start_s), np.array(run.end_s), tuple(run.order))


def replay(
    tasks: Sequence[Task], order: Sequence[int], holds_s: Sequence[FloatArray], lasts_s: Sequence[FloatArray]
) -> tuple[list[FloatArray], list[FloatArray]]:
    """When each task starts and ends, each [D], when every resource serves its tasks in `order`, for D sets of durations.

    `holds_s[task]` is [resources of the task, D], `lasts_s[task]` is [D]. A valid schedule for each of the D points: a task
    starts when what it waits for is done and its resources are free of the tasks before it.
    """
    free: dict[int, FloatArray] = {}
    starts: list[FloatArray] = [np.zeros(())] * len(tasks)
    ends: list[FloatArray] = [np.zeros(())] * len(tasks)
    for number in order:
        task = tasks[number]
        start: FloatArray = np.zeros(())
        for before in task.waits:
            start = np.maximum(start, ends[before])
        for resource, _ in task.holds:
            start = np.maximum(start, free.get(resource, start))
        for (resource, _), seconds in zip(task.holds, holds_s[number], strict=True):
            free[resource] = start + seconds
        starts[number], ends[number] = start, start + lasts_s[number]
    return starts, ends
