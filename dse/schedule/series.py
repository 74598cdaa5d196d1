"""The groups that cover a graph at least cost, block by block: groups that hold joints are chosen in halves, as labels of each joint."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.schedule.candidates import MAX_SEGMENT_OPERATORS, Candidate
from dse.schedule.choice import Choice
from dse.schedule.growth import Growth, Ways
from dse.schedule.lattice import bits
from dse.schedule.open_groups import NO_WAY, Beginnings
from dse.schedule.segments import MAX_STAGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.schedule.growth import Front, Way
    from dse.schedule.lattice import Dependences
    from dse.schedule.open_groups import Ending, Halves, Joint
    from dse.schedule.segments import SegmentBuilder

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]
    BoolArray = NDArray[np.bool_]

WHOLE, CLOSED, ROW, SIZE, ARRAY, VECTOR, COPIES = range(7)
"""Columns of `Labels.held`: bytes as in `Beginnings`, operators, cycles."""
IN_TURNS: Final = 4
"""Columns that count where operators run one after another: array cycles are in the cost then."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a choice is made by: C pairs of a balance and a budget."""

    budgets: FloatArray
    """[C]."""
    bytes_per_cycle: FloatArray
    """[C]."""
    pipelined: bool

    @property
    def columns(self) -> int:
        """How many columns of a label count."""
        return COPIES + 1 if self.pipelined else IN_TURNS


@dataclass(frozen=True, slots=True)
class Labels:
    """Open groups at a joint, N of them."""

    way: IntArray
    """Numbers of their ways at the joint, ascending, [N]."""
    held: FloatArray
    """[N, columns]."""
    cost: FloatArray
    """Least cost of all that was done up to the joint, [N, C]; infinite where a group does not fit, or another one of its way is better."""
    most: FloatArray
    """Most bytes that groups before it hold, [N, C]."""
    start: IntArray
    """Number of the state in which it began, [N, C]."""


@dataclass(slots=True)
class _Table:
    """The dynamic programme: least costs by state, [C, states]."""

    best: FloatArray
    most: FloatArray
    taken: IntArray
    """Arc that leads to a state; `OPEN` where it is a group that holds a joint."""
    start: IntArray
    """State in which that group began."""
    way: IntArray
    """Its way, as a number of `SeriesChoice`."""


@dataclass(frozen=True, slots=True)
class _Ended:
    """Open groups that end in the same way, [C] each: least cost, most bytes held, the state in which they began, their way."""

    least: FloatArray
    fewest: FloatArray
    start: IntArray
    way: IntArray


OPEN: Final = -1
BATCH: Final = 512
"""Groups that are compared at once."""


class SeriesChoice(Choice):
    """Chooses among the fronts within blocks and among groups that hold joints; `states` are all downsets."""

    def __init__(self, builder: SegmentBuilder, halves: Halves, deps: Dependences, states: Sequence[int], elements: int) -> None:
        self._open_beside = any(w.beside for j in halves.joints for w in j.ways)
        super().__init__(halves.fronts, deps, states)
        self._builder, self._elements, self._states = builder, elements, states
        self._number = {mask: i for i, mask in enumerate(states)}
        self._every_way: dict[Way, int] = {}
        self._joints = [_JointTable(j, self._number, self._every_way) for j in halves.joints]
        self._ending = {end: (j, i) for j in self._joints for i, ends in enumerate(j.ends) for end in ends}
        self._ways = tuple(self._every_way)
        self._open: dict[tuple[int, int], Candidate] = {}

    def _set(self, fronts: Sequence[Front]) -> None:
        super()._set(fronts)
        self.has_beside |= self._open_beside
        kinds: dict[bytes, int] = {}
        columns = (self._peak, self._dram, self._cycles, self._step, self._busy, self._beside)
        ends = self._starts + self._sizes
        keys = [b"".join([c[a:b].tobytes() for c in columns]) for a, b in zip(self._starts.tolist(), ends.tolist(), strict=True)]
        self._kind: IntArray = np.array([kinds.setdefault(k, len(kinds)) for k in keys], dtype=np.int64)
        """By front: the same number for those that are the same in all columns, as those of identical branches."""

    def _of_all_groups(self, budgets: Sequence[float], every: Sequence[FloatArray], peak: FloatArray) -> tuple[FloatArray, FloatArray]:
        """As `Choice` has it, found once for each kind of front."""
        one = np.unique(self._kind, return_index=True)[1]
        kinds = copy(self)
        kinds._sizes = self._sizes[one]
        kinds._starts = np.cumsum(np.concatenate(([0], kinds._sizes)))[:-1]
        rows = np.concatenate([np.arange(a, a + n) for a, n in zip(self._starts[one].tolist(), kinds._sizes.tolist(), strict=True)])
        cost, held = super(SeriesChoice, kinds)._of_all_groups(budgets, [e[rows] for e in every], peak[rows])
        return cost[:, self._kind], held[:, self._kind]

    def least_at(
        self, budgets: Sequence[float], bytes_per_cycle: Sequence[float], *, beside: bool = True, pipelined: bool = False
    ) -> list[list[tuple[Candidate, ...]]]:
        """As `Choice.least_at`."""
        peak, every = self._measures(bytes_per_cycle, beside=beside, pipelined=pipelined)
        cost, held = self._of_all_groups(budgets, every, peak)
        terms = Terms(np.tile(np.asarray(budgets, dtype=np.float64), len(every)), np.repeat(bytes_per_cycle, len(budgets)), pipelined)
        shape = len(cost), len(self._states)
        table = _Table(np.zeros(shape), np.zeros(shape), *(np.zeros(shape, dtype=np.int64) for _ in range(3)))
        labels: dict[int, Labels] = {}
        joints = {j.state: i for i, j in enumerate(self._joints)}
        for state in range(len(self._states)):
            if state:
                self._reach(state, table, cost, held)
            if state in self._ending:
                joint, ending = self._ending[state]
                _replace(table, state, joint.end(ending, labels[joint.state], terms))
            if state in joints:
                i = joints[state]
                before = self._joints[i - 1].passed(labels[self._joints[i - 1].state], terms) if i else None
                labels[state] = self._joints[i].labels(table, terms, before, beside=beside)
        rows = np.split(np.arange(len(cost)), len(every))
        return [
            [self._series(table, int(r), budget, e, peak) for r, budget in zip(row, budgets, strict=True)]
            for row, e in zip(rows, every, strict=True)
        ]

    def _reach(self, state: int, table: _Table, cost: FloatArray, held: FloatArray) -> None:
        before, group = self._arcs[state]
        total = table.best[:, before] + cost[:, group]
        least = total.min(axis=1)
        holds = np.where(total <= least[:, None], np.maximum(table.most[:, before], held[:, group]), np.inf)
        pick = np.argmin(holds, axis=1)
        table.best[:, state], table.most[:, state], table.taken[:, state] = least, holds[np.arange(len(cost)), pick], pick

    def _series(self, table: _Table, row: int, budget: float, cost: FloatArray, peak: FloatArray) -> tuple[Candidate, ...]:
        found, state = [], len(self._states) - 1
        while state:
            pick = int(table.taken[row, state])
            if pick == OPEN:
                start = int(table.start[row, state])
                found.append(self._open_candidate(self._states[state] & ~self._states[start], int(table.way[row, state])))
                state = start
            else:
                candidate, state = self._arc(state, pick, budget, cost, peak)
                found.append(candidate)
        return tuple(found)

    def _open_candidate(self, mask: int, way: int) -> Candidate:
        """A group that holds a joint, counted in one piece; the same object whenever it is chosen."""
        if (mask, way) not in self._open:
            growth = Growth(Ways(self._builder, (self._ways[way],)), np.inf, self._elements)
            assert all(growth.take(p) for p in bits(mask)), "a group of two halves can't run as its halves do"
            front = growth.front()
            assert front is not None, "a group of two halves can't end as its second half does"
            totals = (float(c[0]) for c in (front.peak_bytes, front.dram_bytes, front.cycles))
            self._open[mask, way] = Candidate(front.members, front.ways[0], *totals)
        return self._open[mask, way]


class _JointTable:
    """A joint with the states that its groups begin and end in."""

    def __init__(self, joint: Joint, number: dict[int, int], ways: dict[Way, int]) -> None:
        self._joint = joint
        done = next(m for m in number if m >> joint.position & 1)  # the smallest: everything before the joint, and the joint
        self.state = number[done]
        self._starts = np.array([number[done & ~m] for masks in joint.kinds for m in masks], dtype=np.int64)
        self._first = np.cumsum([0, *(len(masks) for masks in joint.kinds)])
        """Starts of each kind of beginnings."""
        order = np.argsort(joint.beginnings.way, kind="stable")
        b = self._beginnings = Beginnings(*(getattr(joint.beginnings, f.name)[order] for f in fields(Beginnings)))
        columns = (b.whole, b.closed, b.row, b.size, b.array, b.vector, b.copies)
        self._held = np.stack([np.asarray(c, dtype=np.float64) for c in columns], axis=1)
        self._batches = _batches(b.way)
        self.ends = [[number[done | m] for m in masks] for _, masks in joint.endings]
        self._ended: dict[int, _Ended] = {}
        self._every = np.array([ways.setdefault(w, len(ways)) for w in joint.ways], dtype=np.int64)
        self._beside = np.array([w.beside for w in joint.ways])
        self._cut = np.array([bool(w.cuts) and any(c.slices > 1 for c in w.cuts) for w in joint.ways])

    def labels(self, table: _Table, terms: Terms, before: Labels | None, *, beside: bool) -> Labels:
        """The open groups, those from before among them, that no other one of their way beats; without `beside` none whose way is so."""
        self._ended.clear()
        best = _least_of(table.best[:, self._starts].T, table.most[:, self._starts].T, self._first)
        parts = [self._begun(rows, best, terms, beside=beside) for rows in self._batches]
        if before is not None:
            parts.append(self._fitting(before, terms, beside=beside))
        found = _alike(_joined(parts)) if before is not None else _joined(parts)
        _drop_beaten(found)
        return _left(found)

    def _begun(self, rows: slice, best: _Best, terms: Terms, *, beside: bool) -> Labels:
        """Those that begin behind the joint before."""
        b = self._beginnings
        kind = b.kind[rows]
        cost = best.least[kind] + b.dram[rows, None]
        if not terms.pipelined:
            cost += b.array[rows, None] * terms.bytes_per_cycle
        begun = Labels(b.way[rows], self._held[rows, : terms.columns], cost, best.fewest[kind], self._starts[best.place[kind]])
        return _alike(self._fitting(begun, terms, beside=beside))

    def _fitting(self, labels: Labels, terms: Terms, *, beside: bool) -> Labels:
        """Costs become infinite where more is held than fits, and of ways that are not asked for."""
        peak = np.maximum(labels.held[:, CLOSED], labels.held[:, ROW]) + labels.held[:, WHOLE]
        if not beside:
            peak = np.where(self._beside[labels.way], np.inf, peak)
        return replace(labels, cost=np.where(peak[:, None] <= terms.budgets, labels.cost, np.inf))

    def passed(self, labels: Labels, terms: Terms) -> Labels | None:
        """Open groups as they come to the next joint."""
        p = self._joint.passage
        if p is None:
            return None
        to = p.to[labels.way]
        kept = np.flatnonzero((to != NO_WAY) & (labels.held[:, SIZE] + p.size <= MAX_SEGMENT_OPERATORS))
        w, held = labels.way[kept], labels.held[kept].copy()
        held[:, CLOSED] = np.maximum(np.maximum(held[:, CLOSED], held[:, ROW] + p.row[w]), p.rest[w])
        held[:, ROW] = p.next_row[w]
        held[:, WHOLE] += p.whole[w]
        held[:, SIZE] += p.size
        cost = labels.cost[kept] + p.dram[w][:, None]
        if terms.pipelined:
            for column, more in ((ARRAY, p.array), (VECTOR, p.vector), (COPIES, p.copies)):
                held[:, column] += more[w]
        else:
            cost += p.array[w][:, None] * terms.bytes_per_cycle
        return Labels(to[kept], held, cost, labels.most[kept], labels.start[kept])

    def end(self, ending: int, labels: Labels, terms: Terms) -> _Ended:
        """The best open groups that end so."""
        if ending not in self._ended:
            self._ended[ending] = self._end(self._joint.endings[ending][0], labels, terms)
        return self._ended[ending]

    def _end(self, e: Ending, labels: Labels, terms: Terms) -> _Ended:
        kept = np.flatnonzero(e.good[labels.way] & (labels.held[:, SIZE] + e.size <= MAX_SEGMENT_OPERATORS))
        if not len(kept):
            none = np.full(len(terms.budgets), np.inf)
            return _Ended(none, none, np.zeros(len(none), dtype=np.int64), np.zeros(len(none), dtype=np.int64))
        w, held = labels.way[kept], labels.held[kept]
        peak, cycles = self._total(e, w, held, pipelined=terms.pipelined)
        cost = labels.cost[kept] + e.dram[w][:, None] + cycles[:, None] * terms.bytes_per_cycle
        cost = np.where(peak[:, None] <= terms.budgets, cost, np.inf)
        least = cost.min(axis=0)
        holds = np.where(cost <= least, np.maximum(labels.most[kept], peak[:, None]), np.inf)
        pick, every = np.argmin(holds, axis=0), np.arange(len(least))
        return _Ended(least, holds[pick, every], labels.start[kept[pick], every], self._every[w[pick]])

    def _total(self, e: Ending, w: IntArray, held: FloatArray, *, pipelined: bool) -> tuple[FloatArray, FloatArray]:
        """Bytes held and cycles of whole groups; cycles beside those that are in the cost, [N] each."""
        peak = np.maximum(np.maximum(held[:, CLOSED], held[:, ROW] + e.row[w]), e.rest[w]) + held[:, WHOLE] + e.held[w]
        if not pipelined:
            return peak, (e.array + e.added)[w]
        stages = held[:, SIZE] + e.size + e.reduces[w]
        together = self._cut[w] & (stages <= MAX_STAGES)
        array, vector = held[:, ARRAY] + e.array[w], held[:, VECTOR] + e.vector[w]
        step = np.maximum(held[:, COPIES] + held[:, WHOLE] + e.copies[w], peak)
        return np.where(together, step, peak), np.where(together, np.maximum(array, vector), array + vector)


def _batches(way: IntArray) -> list[slice]:
    """Rows of whole ways, about `BATCH` at once."""
    bounds = [0]
    for low in np.flatnonzero(np.concatenate((way[1:] != way[:-1], [True]))).tolist():
        if low + 1 - bounds[-1] >= BATCH or low + 1 == len(way):
            bounds.append(low + 1)
    return [slice(a, b) for a, b in pairwise(bounds)]


@dataclass(frozen=True, slots=True)
class _Best:
    """Of several rows: least cost, fewest bytes held with it, and the row, [groups, C] each."""

    least: FloatArray
    fewest: FloatArray
    place: IntArray


def _least_of(cost: FloatArray, most: FloatArray, first: IntArray) -> _Best:
    """Of rows `first[g]` to `first[g + 1]`, for each g."""
    if len(first) == len(cost) + 1:
        return _Best(cost, most, np.broadcast_to(np.arange(len(cost))[:, None], cost.shape))
    sizes = np.diff(first)
    least: FloatArray = np.minimum.reduceat(cost, first[:-1], axis=0)
    most = np.where(cost <= np.repeat(least, sizes, axis=0), most, np.inf)
    fewest: FloatArray = np.minimum.reduceat(most, first[:-1], axis=0)
    place = np.where(most <= np.repeat(fewest, sizes, axis=0), np.arange(len(cost))[:, None], len(cost))
    return _Best(least, fewest, np.minimum(np.minimum.reduceat(place, first[:-1], axis=0), len(cost) - 1))


def _replace(table: _Table, state: int, by: _Ended) -> None:
    """Put open groups that end in a state into the table, where they are better."""
    best, most = table.best[:, state], table.most[:, state]
    better = np.flatnonzero((by.least < best) | ((by.least == best) & (by.fewest < most)))
    table.best[better, state], table.most[better, state] = by.least[better], by.fewest[better]
    table.taken[better, state], table.start[better, state], table.way[better, state] = OPEN, by.start[better], by.way[better]


def _joined(parts: Sequence[Labels]) -> Labels:
    if len(parts) == 1:
        return parts[0]
    columns = ([getattr(p, f.name) for p in parts] for f in fields(Labels))
    return Labels(*(np.concatenate(c) for c in columns))


def _left(labels: Labels) -> Labels:
    """Those of finite cost somewhere."""
    kept = np.flatnonzero(np.isfinite(labels.cost).any(axis=1))
    return Labels(labels.way[kept], labels.held[kept], labels.cost[kept], labels.most[kept], labels.start[kept])


def _alike(labels: Labels) -> Labels:
    """One for all that are the same but for their costs: of each pair of budget and balance the least."""
    labels = _left(labels)
    keys: FloatArray = np.column_stack((labels.way, labels.held)).astype(np.float64)
    order = np.lexsort(keys.T[::-1])
    keys = keys[order]
    first = np.flatnonzero(np.concatenate((np.ones(min(len(keys), 1), dtype=bool), (keys[1:] != keys[:-1]).any(axis=1))))
    if not len(first):
        return labels
    cost: FloatArray = labels.cost[order]
    most, start = labels.most[order], labels.start[order]
    if len(first) < len(order):
        best = _least_of(cost, most, np.append(first, len(order)))
        start = start[best.place, np.arange(cost.shape[1])]
        cost, most = best.least, best.fewest
    return Labels(keys[first, 0].astype(np.int64), keys[first, 1:], cost, most, start)


def _drop_beaten(labels: Labels) -> None:
    """Costs become infinite where another label of the same way holds no more of anything and costs no more: of those that hold no more
    the cheapest in the largest budget is compared, and the one that holds least. What is not found so is only in the way."""
    bounds = np.flatnonzero(np.concatenate(([True], labels.way[1:] != labels.way[:-1], [True])))
    for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        if high - low == 1:
            continue
        held, cost, most = labels.held[low:high], labels.cost[low:high].copy(), labels.most[low:high]
        below: BoolArray = np.logical_and.reduce(held[:, None] <= held, axis=2)  # [by, of]
        if held.shape[1] > SIZE + 1:
            below &= held[:, None, SIZE] == held[:, SIZE]  # with one operator more a group may be too long for a pipeline, which holds more
        np.fill_diagonal(below, val=False)
        for key in (cost[:, -1], held[:, WHOLE] + np.maximum(held[:, CLOSED], held[:, ROW])):
            rank = np.argsort(np.argsort(key, kind="stable"), kind="stable")
            among = np.where(below, rank[:, None], high - low)
            by = np.argmin(among, axis=0)
            has = (among[by, np.arange(high - low)] < high - low)[:, None]
            beaten = has & ((cost[by] < cost) | ((cost[by] == cost) & (most[by] <= most)))
            labels.cost[low:high][beaten] = np.inf
