"""A plan at other durations: each resource serves its tasks in the order of a simulation, and every task starts as soon as it may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from dse.schedule.cores.takes import needed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.schedule.cores.takes import Take

    FloatArray = NDArray[np.float64]
    Way = tuple["Way", int] | None
    """(the way before, row of seconds that it goes on with); None where nothing is waited for."""


KINS: Final = 1 << 20
"""More than there are kins of blocks."""


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
        return _Compiler(waits, kinds, takes).compiled(order)

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

    def way_of_one(self, seconds: list[float]) -> list[int]:
        """Rows of a way through the plan on which nothing waits: what they take is its length, and a bound at other durations."""
        free: list[tuple[float, Way]] = [(0.0, None)] * self.ports
        moments: list[tuple[float, Way]] = []
        for after, until, lasts, ports in self.steps:
            now, way = max([moments[before] for before in after], key=_time, default=(0.0, None))
            moments.extend([(now + seconds[row], (way, row)) for row in until])
            done: tuple[float, Way] = now + seconds[lasts], (way, lasts)
            for port, row, waited in ports:
                at, before = free[port] if free[port][0] > now else (now, way)
                free[port] = at + seconds[row], (before, row)
                if waited and free[port][0] > done[0]:
                    done = free[port]
            moments.append(done)
        way = max([moments[i] for i in self.last], key=_time, default=(0.0, None))[1]
        found: list[int] = []
        while way is not None:
            way, row = way
            found.append(row)
        return found


def _time(moment: tuple[float, Way]) -> float:
    return moment[0]


class _Compiler:
    """Finds which moments each task starts after."""

    def __init__(self, waits: Sequence[tuple[int, ...]], kinds: Sequence[int], takes: Sequence[Take]) -> None:
        self.waits, self.kinds = waits, kinds
        self.takes, resources, self.ports = needed(takes)
        self.resources = [(*(r for b in t.blocks for r in b.resources), *t.until_done) for t in self.takes]
        self.until = [-1] * resources
        """The moment until which each resource is held; -1 before all."""
        self.owners: list[int] = []
        """Task of each moment, ..."""
        self.kin: list[int] = []
        """... what tells of which others of it the later is the longer, the task and the kin of the block, ..."""
        self.rows: list[int] = []
        """... and the row that leads to it."""
        self.ends = [0] * len(waits)
        """The moment at which each task is done."""

    def compiled(self, order: Sequence[int]) -> Replay:
        """All tasks in the order in which they start; moments for which nobody waits are left out."""
        after = [self._start(task) for task in order]
        wanted = bytearray(len(self.owners))
        for mine in after:
            for m in mine:
                wanted[m] = 1
        number = [0] * len(self.owners)
        steps: list[_Step] = []
        count = first = 0
        for mine, task in zip(after, order, strict=True):
            end, until = self.ends[task], []
            for m in range(first, end):
                if wanted[m]:
                    number[m] = count
                    count += 1
                    until.append(self.rows[m])
            number[end] = count
            count, first, take = count + 1, end + 1, self.takes[self.kinds[task]]
            steps.append(_Step(tuple([number[m] for m in mine]), tuple(until), take.lasts, take.ports))
        ends = [self.ends[task] for task in order]
        last = tuple([number[end] for end in ends if not wanted[end]])
        return Replay(tuple(steps), tuple(order), self.ports, tuple([number[end] for end in ends]), last)

    def _start(self, task: int) -> list[int]:
        """The moments that a task starts after: the ends of those that it waits for, and those at which others are done with its resources,
        of which the longest of their kin stand for the others."""
        kind, waited, until = self.kinds[task], self.waits[task], self.until
        found: dict[int, int] = {}
        for m in {until[r] for r in self.resources[kind]}:
            if m >= 0 and self.owners[m] not in waited:
                kin = self.kin[m]
                if m > found.get(kin, -1):
                    found[kin] = m
        take, kins = self.takes[kind], KINS * task
        for block in take.blocks:
            m = len(self.rows)
            for r in block.resources:
                until[r] = m
            self._moment(task, kins + block.kin, block.row)
        m = self.ends[task] = len(self.rows)
        for r in take.until_done:
            until[r] = m
        self._moment(task, kins, take.lasts)
        return [*dict.fromkeys([self.ends[b] for b in waited]), *sorted(found.values())]

    def _moment(self, task: int, kin: int, row: int) -> None:
        self.owners.append(task)
        self.kin.append(kin)
        self.rows.append(row)
