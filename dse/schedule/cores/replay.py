"""A plan at other durations: each resource serves its tasks in the order of a simulation, and every task starts as soon as it may."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dse.schedule.cores.takes import needed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.schedule.cores.takes import Take

    FloatArray = NDArray[np.float64]
    Way = tuple["Way", int] | None
    """(the way before, row of seconds that it goes on with); None where nothing is waited for."""


class _Step(NamedTuple):
    """One task. What it waits for, and what it makes others wait for, are moments, numbered as the steps bring them."""

    after: tuple[int, ...]
    """Moments after which it starts."""
    until: tuple[int, ...]
    """Rows of what it holds, each until a moment for which others wait."""
    lasts: int
    """Row until the moment at which it is done, its last one, ports apart."""
    ports: tuple[tuple[int, int, bool], ...]


@dataclass(frozen=True, eq=False)
class Replay:
    """Tasks as a simulation started them."""

    steps: tuple[_Step, ...]
    order: tuple[int, ...]
    """Number in the simulation of each step."""
    ports: int
    """Number of ports, those that serve all tasks alike counted once."""
    ends: tuple[int, ...]
    """The moment at which each step is done."""
    last: tuple[int, ...]
    """Of these, those that no other step waits for: one of them is the end."""

    @staticmethod
    def of(waits: Sequence[tuple[int, ...]], kinds: Sequence[int], takes: Sequence[Take], order: Sequence[int]) -> Replay:
        """Tasks that wait for `waits` and take `takes[kinds]`, as a simulation started them in `order`."""
        mine, resources, ports = needed(takes)
        after, first, wanted = _moments(waits, kinds, mine, resources, order)
        number, count = [-1] * len(wanted), 0
        steps: list[_Step] = []
        for before, task in zip(after, order, strict=True):
            take, begin = mine[kinds[task]], first[task]
            until = tuple([b.row for m, b in enumerate(take.blocks, begin) if wanted[m]])
            end = begin + len(take.blocks)
            for m in range(begin, end + 1) if until else (end,):
                if m == end or wanted[m]:
                    number[m] = count
                    count += 1
            steps.append(_Step(tuple([number[m] for m in before]), until, take.lasts, take.ports))
        ends = [first[task] + len(mine[kinds[task]].blocks) for task in order]
        last = tuple([number[end] for end in ends if not wanted[end]])
        return Replay(tuple(steps), tuple(order), ports, tuple([number[end] for end in ends]), last)

    def latency_of_one(self, seconds: list[float]) -> float:
        """When the last task ends where rows take so long."""
        moments = self._of_one(seconds)[1]
        return max((moments[i] for i in self.last), default=0.0)

    def times_of_one(self, seconds: list[float]) -> tuple[FloatArray, FloatArray]:
        """When each task starts and ends, arrays [tasks] in the order of the simulation."""
        mine, moments = self._of_one(seconds)
        starts, ends = np.zeros(len(self.order)), np.zeros(len(self.order))
        starts[list(self.order)], ends[list(self.order)] = mine, [moments[i] for i in self.ends]
        return starts, ends

    def _of_one(self, seconds: list[float]) -> tuple[list[float], list[float]]:
        """Start of each step, and all moments."""
        free = [0.0] * self.ports
        starts: list[float] = []
        moments: list[float] = []
        for after, until, lasts, ports in self.steps:
            now = 0.0
            for before in after:
                if moments[before] > now:
                    now = moments[before]
            starts.append(now)
            if until:
                moments.extend([now + seconds[row] for row in until])
            done = now + seconds[lasts]
            for port, row, waited in ports:
                at = free[port]
                free[port] = at = (at if at > now else now) + seconds[row]
                if waited and at > done:
                    done = at
            moments.append(done)
        return starts, moments

    def latency_s(self, seconds: FloatArray) -> FloatArray:
        """When the last task ends, [D], where rows take [rows, D]; of each point what `latency_of_one` gives."""
        nothing = np.zeros(seconds.shape[1])
        free = [nothing] * self.ports
        moments: list[FloatArray] = []
        for after, until, lasts, ports in self.steps:
            now = moments[after[0]] if after else nothing
            for before in after[1:]:
                now = np.maximum(now, moments[before])
            moments.extend([now + seconds[row] for row in until])
            done = now + seconds[lasts]
            for port, row, waited in ports:
                free[port] = at = np.maximum(free[port], now) + seconds[row]
                if waited:
                    done = np.maximum(done, at)
            moments.append(done)
        return np.asarray(np.stack([nothing, *(moments[i] for i in self.last)]).max(axis=0))

    def way_of_one(self, seconds: list[float]) -> tuple[float, list[int]]:
        """When the last task ends, and the rows of a way there on which nothing waits: what they take is a bound at other durations."""
        starts, moments = self._of_one(seconds)
        found: list[int] = []
        if not self.last:
            return 0.0, found
        latency = max(moments[i] for i in self.last)
        served: dict[int, list[tuple[int, float, int]]] = {}
        at = max(self.last, key=moments.__getitem__)
        while True:
            step = bisect_left(self.ends, at)
            after, until, lasts, _ = self.steps[step]
            row = lasts if at == self.ends[step] else until[at - self.ends[step]]
            if starts[step] + seconds[row] < moments[at]:
                step, rows = self._kept(step, moments[at], seconds, starts, served)
                found += rows
            else:
                found.append(row)
            after = self.steps[step].after
            if not starts[step]:
                return latency, found
            at = next(m for m in after if moments[m] == starts[step])

    def _kept(
        self, step: int, end: float, seconds: list[float], starts: list[float], served: dict[int, list[tuple[int, float, int]]]
    ) -> tuple[int, list[int]]:
        """The step with which a port began to be busy that keeps one until `end`, and the rows of what it served from then on."""
        for port, _, waited in self.steps[step].ports:
            if not waited:
                continue
            if port not in served:
                served[port] = self._services(port, seconds, starts)
            mine = served[port]
            place = bisect_left(mine, (step,))
            if mine[place][1] != end:
                continue
            rows = [mine[place][2]]
            while place and mine[place - 1][1] > starts[mine[place][0]]:
                place -= 1
                rows.append(mine[place][2])
            return mine[place][0], rows
        raise AssertionError("some port keeps a task that ends later than it lasts")

    def _services(self, port: int, seconds: list[float], starts: list[float]) -> list[tuple[int, float, int]]:
        """(Step, end, row) of all that a port serves, in order."""
        found: list[tuple[int, float, int]] = []
        at = 0.0
        for i, step in enumerate(self.steps):
            for mine, row, _ in step.ports:
                if mine == port:
                    at = max(at, starts[i]) + seconds[row]
                    found.append((i, at, row))
        return found


def _moments(
    waits: Sequence[tuple[int, ...]], kinds: Sequence[int], takes: Sequence[Take], resources: int, order: Sequence[int]
) -> tuple[list[list[int]], list[int], bytearray]:
    """For each task in order the moments that it starts after: the ends of those that it waits for, and those at which others are done with
    its resources, of which the longest of their kin stand for the others; the first moment of each task (one for each block, then its end);
    and which moments somebody waits for."""
    held = [(*(r for b in t.blocks for r in b.resources), *t.until_done) for t in takes]
    kin = [tuple([b.kin for b in t.blocks]) for t in takes]
    until = [-1] * resources
    owners: list[int] = []
    first, ends = [0] * len(waits), [0] * len(waits)
    found: list[list[int]] = []
    for task in order:
        kind, waited = kinds[task], waits[task]
        after = [ends[b] for b in waited]
        beside = [m for m in dict.fromkeys([until[r] for r in held[kind]]) if m >= 0 and owners[m] not in waited]
        if len(beside) > 1:
            longest: dict[tuple[int, int], int] = {}
            for m in beside:
                owner = owners[m]
                kins = kin[kinds[owner]]
                key = owner, kins[m - first[owner]] if m < ends[owner] else -1
                if m > longest.get(key, -1):
                    longest[key] = m
            beside = list(longest.values())
        found.append(after + beside)
        take, begin = takes[kind], len(owners)
        first[task] = begin
        for m, block in enumerate(take.blocks, begin):
            for r in block.resources:
                until[r] = m
        ends[task] = end = begin + len(take.blocks)
        for r in take.until_done:
            until[r] = end
        owners.extend([task] * (end - begin + 1))
    wanted = bytearray(len(owners))
    for after in found:
        for m in after:
            wanted[m] = 1
    return found, first, wanted
