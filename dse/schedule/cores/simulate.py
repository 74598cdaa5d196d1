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
class Use:
    """What a task takes of the chip; the pieces of a group share one."""

    holds: tuple[tuple[int, float], ...]
    """(resource, seconds that it is held from the start)."""
    lasts_s: float
    """Seconds until the task is done: at least as long as it holds any resource, longer where a port serves it late."""
    ports: tuple[tuple[int, float, bool], ...] = ()
    """(port, seconds, whether the task is done only when it has been served): a port serves tasks one after another in the order in
    which they start; nobody waits for it to start."""
    stalls: tuple[int, ...] = ()
    """Of what is held, what is held until the task is done."""

    @property
    def blocks(self) -> tuple[tuple[float, tuple[int, ...]], ...]:
        """Resources that are held for the same time, whatever its ports do."""
        until: dict[float, list[int]] = {}
        for resource, seconds in self.holds:
            if seconds > 0.0 and not (self.ports and resource in self.stalls):
                until.setdefault(seconds, []).append(resource)
        return tuple((seconds, tuple(resources)) for seconds, resources in until.items())


@dataclass(frozen=True, slots=True)
class Task:
    """Something that starts when all that it waits for is done and all its resources are free."""

    waits: tuple[int, ...]
    """Numbers of tasks that must be done first."""
    use: Use


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

    def __init__(self, waits: Sequence[tuple[int, ...]], kinds: Sequence[int], uses: Sequence[Use], resources: int) -> None:
        self.missing = [len(w) for w in waits]
        self.then: list[list[int]] = [[] for _ in waits]
        for number, before in enumerate(waits):
            for b in before:
                self.then[b].append(number)
        self.kinds = kinds
        self.takes = [(tuple(r for r, _ in u.holds), u.blocks, u.lasts_s, u.ports, u.stalls) for u in uses]
        """Of each use: its resources, those that are held for the same time, its length, ports, what it holds until it is done."""
        self.free_at_s = [0.0] * resources
        self.queues: list[list[int]] = [[] for _ in range(resources)]
        """Tasks that wait for a resource; while there are any, an event stands for the time at which it is free."""
        self.start_s, self.end_s = [float("nan")] * len(waits), [float("nan")] * len(waits)
        self.order: list[int] = []
        self.events: list[tuple[float, int]] = []
        """(time, number of the task that is done) or (time, -1 - number of the resource that is free)."""
        self.now_s = 0.0

    def start_ready(self, ready: list[int], freed: list[int]) -> None:
        """Start tasks in the order of their numbers: those that became ready, and those first in the queues of freed resources."""
        if not freed:
            ready.sort()
            for number in ready:
                self._try_start(number)
            return
        queues, free_at, now = self.queues, self.free_at_s, self.now_s
        candidates = [(number, -1) for number in ready]
        candidates.extend((heappop(queues[r]), r) for r in freed if queues[r] and free_at[r] <= now)
        heapify(candidates)
        while candidates:
            number, queue = heappop(candidates)
            self._try_start(number)
            if queue >= 0 and queues[queue] and free_at[queue] <= now:
                heappush(candidates, (heappop(queues[queue]), queue))

    def _try_start(self, number: int) -> None:
        """Start a task, or let it queue for the first of its resources that is not free."""
        resources, blocks, lasts, ports, stalls = self.takes[self.kinds[number]]
        now, free_at, queues, events = self.now_s, self.free_at_s, self.queues, self.events
        for r in resources:
            if free_at[r] > now:
                if not queues[r]:
                    heappush(events, (free_at[r], -1 - r))
                heappush(queues[r], number)
                return
        for seconds, held in blocks:
            at = now + seconds
            for r in held:
                free_at[r] = at
                if queues[r]:
                    heappush(events, (at, -1 - r))
        done = now + lasts
        if ports:
            done = self._served(done, ports, stalls)
        self.start_s[number] = now
        self.end_s[number] = done
        self.order.append(number)
        heappush(events, (done, number))

    def _served(self, done: float, ports: tuple[tuple[int, float, bool], ...], stalls: tuple[int, ...]) -> float:
        """When a task that starts now is done and has been served by its ports; what stalls with it is held so long."""
        free_at, now = self.free_at_s, self.now_s
        for port, seconds, waits in ports:
            at = free_at[port]
            free_at[port] = at = (at if at > now else now) + seconds
            if waits and at > done:
                done = at
        for r in stalls:
            free_at[r] = done
            if self.queues[r]:
                heappush(self.events, (done, -1 - r))
        return done

    def run(self) -> None:
        """Event after event: all of the same time are taken, then what may start does."""
        events, missing, then = self.events, self.missing, self.then
        self.start_ready([number for number, count in enumerate(missing) if count == 0], [])
        while events:
            self.now_s = now = events[0][0]
            ready: list[int] = []
            freed: list[int] = []
            while events and events[0][0] == now:
                what = heappop(events)[1]
                if what < 0:
                    freed.append(-1 - what)
                    continue
                for following in then[what]:
                    missing[following] -= 1
                    if not missing[following]:
                        ready.append(following)
            self.start_ready(ready, freed)


def simulate(tasks: Sequence[Task], resources: int) -> Simulation:
    """Run `tasks`; see `simulate_uses`.

    Raises:
        ValueError: tasks wait for each other in a circle.
    """
    uses = list(dict.fromkeys(t.use for t in tasks))
    number = {use: i for i, use in enumerate(uses)}
    return simulate_uses([t.waits for t in tasks], [number[t.use] for t in tasks], uses, resources)


def simulate_uses(waits: Sequence[tuple[int, ...]], kinds: Sequence[int], uses: Sequence[Use], resources: int) -> Simulation:
    """Run tasks that wait for the tasks `waits` and take `uses[kinds]`; of those that are ready and whose resources are free, the one
    with the lowest number starts first.

    A task with a lower number that waits for a second resource does not keep others from the first: no resource is idle while
    a ready task that needs nothing else could use it. Events at the same time are taken in the order of their numbers.

    Raises:
        ValueError: tasks wait for each other in a circle.
    """
    run = _Run(waits, kinds, uses, resources)
    run.run()
    if len(run.order) < len(waits):
        raise ValueError("tasks wait for each other in a circle")
    return Simulation(np.array(run.start_s), np.array(run.end_s), tuple(run.order))
