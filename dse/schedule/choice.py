"""The groups that cover a graph at least cost: a dynamic programme over its downsets, all budgets and balances at once."""

from __future__ import annotations

from copy import copy
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

import numpy as np

from dse.schedule.candidates import Candidate
from dse.schedule.lattice import bits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from numpy.typing import NDArray

    from dse.schedule.growth import Front, Way
    from dse.schedule.lattice import Dependences

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]


class Choice:
    """Chooses among the fronts of all groups.

    `states` are downsets, as masks, each after those that it holds: all of them for every order of the operators, the prefixes of
    the schedule order for runs of it alone.
    """

    def __init__(self, fronts: Sequence[Front], deps: Dependences, states: Sequence[int]) -> None:
        masks = [sum(1 << p for p in f.members) for f in fronts]
        self._arcs = _arcs(fronts, masks, deps, states)
        self._made: dict[tuple[int, Way], Candidate] = {}
        self._set(fronts)

    def _set(self, fronts: Sequence[Front]) -> None:
        """Choose among these."""
        self._fronts = fronts
        self._starts = np.cumsum([0, *(len(f.ways) for f in fronts)])[:-1]
        self._sizes = np.diff([*self._starts.tolist(), sum(len(f.ways) for f in fronts)])
        self._peak, self._dram, self._cycles, self._step, self._busy = (
            np.concatenate([getattr(f, name) for f in fronts])
            for name in ("peak_bytes", "dram_bytes", "cycles", "step_bytes", "step_cycles")
        )
        self._beside = np.concatenate([[w.beside for w in f.ways] for f in fronts])
        self.has_beside = bool(self._beside.any())
        """Whether some way is offered beside the others."""

    def with_fronts(self, change: Callable[[Front], Front]) -> Self:
        """A choice among the same groups by what else is known of their ways."""
        other = copy(self)
        other._set([change(f) for f in self._fronts])
        return other

    def least(
        self, budgets: Sequence[float], bytes_per_cycle: float, *, beside: bool = True, pipelined: bool = False
    ) -> list[tuple[Candidate, ...]]:
        """For each budget of bytes held the groups that cover all operators with least DRAM bytes plus the bytes that could have
        moved during their cycles; fewest bytes held where costs are equal. Without `beside` no way that is `Way.beside`;
        `pipelined` counts bytes held and cycles where operators work on different slices at the same time."""
        return self.least_at(budgets, (bytes_per_cycle,), beside=beside, pipelined=pipelined)[0]

    def least_at(
        self, budgets: Sequence[float], bytes_per_cycle: Sequence[float], *, beside: bool = True, pipelined: bool = False
    ) -> list[list[tuple[Candidate, ...]]]:
        """`least` for each of several balances."""
        peak, every = self._measures(bytes_per_cycle, beside=beside, pipelined=pipelined)
        cost, held = self._of_all_groups(budgets, every, peak)
        best = np.zeros((len(cost), len(self._arcs)))
        most = np.zeros_like(best)
        taken = np.zeros(best.shape, dtype=np.int64)
        rows = np.arange(len(cost))
        for state, (before, group) in enumerate(self._arcs[1:], start=1):
            total = best[:, before] + cost[:, group]
            least = total.min(axis=1)
            holds = np.where(total <= least[:, None], np.maximum(most[:, before], held[:, group]), np.inf)
            pick = np.argmin(holds, axis=1)
            best[:, state], most[:, state], taken[:, state] = least, holds[rows, pick], pick
        paths = np.split(taken, len(every))
        return [[self._path(t[i], budget, e, peak) for i, budget in enumerate(budgets)] for t, e in zip(paths, every, strict=True)]

    def _measures(self, bytes_per_cycle: Sequence[float], *, beside: bool, pipelined: bool) -> tuple[FloatArray, list[FloatArray]]:
        """Bytes held by every way of every group, and its cost at each balance."""
        peak = self._step if pipelined else self._peak
        peak = peak if beside else np.where(self._beside, np.inf, peak)
        return peak, [self._dram + (self._busy if pipelined else self._cycles) * b for b in bytes_per_cycle]

    def _of_all_groups(self, budgets: Sequence[float], every: Sequence[FloatArray], peak: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Least costs and fewest bytes held with them, [balances x budgets, groups]."""
        found = [self._of_groups(np.array(budgets, dtype=np.float64), e, peak) for e in every]
        cost, held = (np.concatenate(columns) for columns in zip(*found, strict=True))
        return cost, held

    def _of_groups(self, budgets: FloatArray, every: FloatArray, peak: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Least cost of each group within each budget, and the fewest bytes held with it, [budgets, groups]."""
        fitting = np.where(peak <= budgets[:, None], every, np.inf)
        cost = np.minimum.reduceat(fitting, self._starts, axis=1)
        least = np.where(fitting <= np.repeat(cost, self._sizes, axis=1), peak, np.inf)
        return cost, np.minimum.reduceat(least, self._starts, axis=1)

    def _path(self, taken: IntArray, budget: float, cost: FloatArray, peak: FloatArray) -> tuple[Candidate, ...]:
        found, state = [], len(self._arcs) - 1
        while state:
            candidate, state = self._arc(state, int(taken[state]), budget, cost, peak)
            found.append(candidate)
        return tuple(found)

    def _arc(self, state: int, pick: int, budget: float, cost: FloatArray, peak: FloatArray) -> tuple[Candidate, int]:
        """The group of an arc into a state, and the state before."""
        before, groups = self._arcs[state]
        front, start = self._fronts[int(groups[pick])], int(self._starts[int(groups[pick])])
        here = slice(start, start + len(front.ways))
        every = np.where(peak[here] <= budget, cost[here], np.inf)
        return self._candidate(int(groups[pick]), int(np.argmin(every))), int(before[pick])

    def _candidate(self, group: int, way: int) -> Candidate:
        """A group run in one way; the same object whenever it is chosen."""
        front = self._fronts[group]
        key = group, front.ways[way]
        if key not in self._made:
            totals = (float(c[way]) for c in (front.peak_bytes, front.dram_bytes, front.cycles))
            self._made[key] = Candidate(front.members, front.ways[way], *totals)
        return self._made[key]


def _arcs(fronts: Sequence[Front], masks: list[int], deps: Dependences, states: Sequence[int]) -> list[tuple[IntArray, IntArray]]:
    """By state: (states before, groups) that lead to it."""
    number = {mask: i for i, mask in enumerate(states)}
    starting: dict[int, list[tuple[int, int, int]]] = {}
    for g, (front, mask) in enumerate(zip(fronts, masks, strict=True)):
        needed = 0
        for p in front.members:
            needed |= deps.needed[p]
        starting.setdefault(front.members[0], []).append((mask, needed & ~mask, g))
    into: list[tuple[list[int], list[int]]] = [([], []) for _ in states]
    every = (1 << len(deps.needed)) - 1
    for i, state in enumerate(states):
        for p in bits(every & ~state):
            if deps.needed[p] & ~state:
                continue
            for mask, needed, g in starting[p]:
                after = number.get(state | mask) if not (mask & state or needed & ~state) else None
                if after is not None:
                    into[after][0].append(i)
                    into[after][1].append(g)
    return [(np.array(a, dtype=np.int64), np.array(b, dtype=np.int64)) for a, b in into]


def in_order(groups: Sequence[Candidate], deps: Dependences) -> tuple[Candidate, ...]:
    """Groups one after another, each behind what it needs, otherwise as their first operators follow in the schedule order."""
    group_of = {p: g for g, c in enumerate(groups) for p in c.members}
    waits: list[set[int]] = []
    for c in groups:
        needed = inside = 0
        for p in c.members:
            needed, inside = needed | deps.needed[p], inside | 1 << p
        waits.append({group_of[q] for q in bits(needed & ~inside)})
    free = [(c.members[0], g) for g, c in enumerate(groups) if not waits[g]]
    heapify(free)
    found = []
    while free:
        _, g = heappop(free)
        found.append(groups[g])
        for other, waiting in enumerate(waits):
            if g in waiting:
                waiting.discard(g)
                if not waiting:
                    heappush(free, (groups[other].members[0], other))
    assert len(found) == len(groups), "groups need each other"
    return tuple(found)
