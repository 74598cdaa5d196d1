"""Lower bounds of what plans and combinations of a part cost, cheap enough to be found at every design point.

Latency is the largest, or a sum of largest, of terms that are linear in the charges of a point (seconds per count). What is largest at
one point is a lower bound at every other, so a few points of reference give linear forms, and a product of matrices bounds all points.

A plan is bounded by operators that need the least of every count over the rows that fit. For a combination any way through its windows
is a bound: stretches of windows in which each takes at least its own work, and stretches in which DRAM brings all bytes of the windows
but those that the buffer can have held ready before. Bytes ready at the end of a window are at most those before it, less what it took,
plus what DRAM had time for; so the times of such a stretch add up to at least its bytes. The longest way is the form.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.columns import ARRAY, BUFFER_WRITE, DRAM_READ, stages
from dse.cost.combination_pricing import rates_of, spent_j
from dse.units import JOULES_PER_PJ

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.cost.charges import Charges
    from dse.cost.combinations import Combinations
    from dse.cost.row_table import RowTable
    from dse.cost.window_table import WindowTable
    from dse.hw.accelerator import Geometry

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

GROUP_POINTS: Final = 4096
"""Points of about one capacity that have their references in common."""
REFERENCES: Final = 8
"""Points of reference of a group."""
CHUNK_POINTS: Final = 512
"""Points at which bounds are worked out at a time, so that they stay in the second-level cache."""
ROUNDING: Final = 1e-9
"""Relative error of sums that are added up in different orders, with room to spare."""


class Floors:
    """Lower bounds of N candidates at D points: plans in order, then combinations. Rounding is allowed for."""

    def __init__(self, rows: RowTable, orders: Sequence[IntArray], combinations: Combinations | None, charges: Charges) -> None:
        """`rows` of all operators of the plans, `orders` the operators of each plan."""
        self._rows = rows
        self._orders = orders
        self._combinations = combinations
        self._order = _order(charges.capacity_bytes)
        self._charges = charges if self._order is None else charges.at(self._order)  # in order of capacity
        self._groups = _pieces(slice(0, charges.size), GROUP_POINTS)
        self._members = np.stack([np.bincount(order, minlength=rows.operators) for order in orders]).astype(float)  # [P, Q]
        self._least_bytes = _least_bytes(rows, orders)
        self._size = len(orders) + (0 if combinations is None else len(combinations.members))

    @cached_property
    def latency_s(self) -> FloatArray:
        """[N, D]; infinite where a candidate does not fit."""
        return self._in_place(self._latency_s)

    @cached_property
    def energy_j(self) -> FloatArray:
        """[N, D]; infinite where a candidate does not fit."""
        plans, charges = len(self._orders), self._charges
        leaks = charges.leakage_w.any()
        found = np.empty((self._size, charges.size))
        for group in self._groups:
            found[:plans, group] = _plan_energy_j(self._rows, self._members, charges.at(group))
            for at in _pieces(group, CHUNK_POINTS):
                here = charges.at(at)
                if self._combinations is not None:
                    found[plans:, at] = spent_j(self._combinations, slice(None), here)
                if leaks:
                    found[:, at] += here.leakage_w * np.where(np.isfinite(self._latency_s[:, at]), self._latency_s[:, at], 0.0)
                self._where_they_fit(found[:, at], here)
        return self._in_place(found)

    @cached_property
    def _latency_s(self) -> FloatArray:
        """In order of capacity."""
        charges, geometry = self._charges, self._rows.geometry
        found = np.empty((self._size, charges.size))
        references = [_references(charges, group) for group in self._groups]
        ways = None
        if self._combinations is not None:
            tops = np.repeat([charges.capacity_bytes[group.stop - 1] for group in self._groups], REFERENCES)
            every = replace(charges.at(np.concatenate(references)), capacity_bytes=tops)
            ways = _ways(self._combinations.table, every, geometry)
        for i, (group, reference) in enumerate(zip(self._groups, references, strict=True)):
            top = float(charges.capacity_bytes[group.stop - 1])
            forms = [_plan_forms(self._rows, self._members, charges.at(reference), top, geometry)]
            if ways is not None:
                forms.append(ways[:, i * REFERENCES : (i + 1) * REFERENCES])
            largest = _Largest(np.concatenate(forms))
            for at in _pieces(group, CHUNK_POINTS):
                here = charges.at(at)
                largest.put(found[:, at], here)
                self._where_they_fit(found[:, at], here)
        return found

    def _where_they_fit(self, values: FloatArray, here: Charges) -> None:
        """Makes `values` [N, d] at some points bounds in spite of rounding, infinite where a candidate does not fit."""
        values *= 1 - ROUNDING
        fits = self._least_bytes[:, None] <= here.capacity_bytes
        if self._combinations is not None:
            fits = np.concatenate((fits, self._combinations.table.fits(here.capacity_bytes, here.inner_capacity_bytes)))
        np.copyto(values, np.inf, where=~fits)

    def _in_place(self, found: FloatArray) -> FloatArray:
        """What was found in order of capacity, in the order of the points."""
        if self._order is None:
            return found
        placed = np.empty_like(found)
        placed[:, self._order] = found
        return placed


def _order(capacity: FloatArray) -> IntArray | None:
    """The points by capacity; None where they are."""
    return None if (capacity[1:] >= capacity[:-1]).all() else np.argsort(capacity, kind="stable")


def _pieces(points: slice, most: int) -> list[slice]:
    """Points that follow each other, at most so many in one of equal pieces."""
    edges = np.linspace(points.start, points.stop, -(-(points.stop - points.start) // most) + 1).astype(np.int64).tolist()
    return [slice(*pair) for pair in pairwise(edges)]


def _least_bytes(rows: RowTable, orders: Sequence[IntArray]) -> FloatArray:
    """Capacity [P] from which every operator of a plan has a row."""
    least = np.minimum.reduceat(rows.entry_bytes, rows.starts)
    return np.array([least[order].max() for order in orders])


def _references(charges: Charges, group: slice) -> IntArray:
    """Points of the group, by the balance of compute and DRAM."""
    balance = np.broadcast_to(charges.seconds[DRAM_READ] / charges.seconds[ARRAY], charges.capacity_bytes.shape)[group]
    order = np.argsort(balance, kind="stable")
    return np.asarray(group.start + order[np.linspace(0, len(order) - 1, REFERENCES).astype(np.int64)])


class _Largest:
    """The largest of linear forms [N, K, F]."""

    def __init__(self, forms: FloatArray) -> None:
        self._references = forms.shape[1]
        self._forms = np.ascontiguousarray(forms.swapaxes(0, 1)).reshape(-1, forms.shape[2])  # [K N, F]

    def put(self, found: FloatArray, here: Charges) -> None:
        """Their values at some points, into `found` [N, d]."""
        columns = (*here.seconds, here.vector_s_per_op, here.launch_latency_s, here.dram_latency_s)
        point = np.stack([np.broadcast_to(c, (here.size,)) for c in columns])  # [F, d]
        (self._forms @ point).reshape(self._references, -1, here.size).max(axis=0, out=found)


def _busiest(
    geometry: Geometry, counts: FloatArray, vector_ops: FloatArray, at: Charges
) -> tuple[FloatArray, list[tuple[IntArray, FloatArray]]]:
    """Seconds [M, K] of count rows [M, C] with vector work [M] at K points, and the terms that they are the sum of.

    A term is a column of charges [M, K] and how often it is paid [M, K]; the vector unit has the column after the last.
    """
    shape = (len(counts), at.size)
    total: FloatArray | None = None
    terms: list[tuple[IntArray, FloatArray]] = []
    overlaps = True
    for stage in stages(geometry):
        given = [(busy.columns[0], counts[:, busy.columns].sum(axis=1), at.seconds[busy.columns[0]]) for busy in stage.resources]
        if total is None:
            given.append((counts.shape[1], vector_ops, at.vector_s_per_op))
        time, column, amount = np.zeros(shape), np.zeros(shape, dtype=np.int64), np.zeros(shape)
        for number, each, seconds in given:
            here = np.broadcast_to(each[:, None] * seconds, shape)
            more = here > time
            time, column, amount = np.where(more, here, time), np.where(more, number, column), np.where(more, each[:, None], amount)
        if total is None or not overlaps:
            total = time if total is None else total + time
        else:
            more = time > total
            terms = [(c, np.where(more, 0.0, a)) for c, a in terms]
            amount = np.where(more, amount, 0.0)
            total = np.maximum(total, time)
        terms.append((column, amount))
        overlaps = stage.overlaps
    assert total is not None
    return total, terms


def _plan_forms(rows: RowTable, members: FloatArray, at: Charges, top: float, geometry: Geometry) -> FloatArray:
    """[P, K, F]."""
    _, terms = _busiest(geometry, rows.least_counts(top), rows.vector_ops, at)
    features = rows.counts.shape[1] + 3
    forms = np.zeros((len(members), at.size, features))
    for column, amount in terms:
        for feature in range(features - 2):
            forms[:, :, feature] += members @ np.where(column == feature, amount, 0.0)
    forms[:, :, -2], forms[:, :, -1] = (members @ rows.launches)[:, None], (members @ rows.touches)[:, None]
    return forms


def _plan_energy_j(rows: RowTable, members: FloatArray, here: Charges) -> FloatArray:
    """Joules [P, d or 1] but for leakage: rows at the least charges of the points, times how much more each point charges at least."""
    least = tuple(float(c.min()) for c in here.pj)
    ratios = [c / low for c, low in zip(here.pj, least, strict=True) if low > 0]
    share = np.minimum.reduce(np.broadcast_arrays(*ratios)) if ratios else np.ones(1)
    bytes_pj = _dot(members, rows.least_moved_pj(float(here.capacity_bytes.max()), least))
    return np.asarray((bytes_pj[:, None] * share + members @ rows.computed_pj(here)) * JOULES_PER_PJ)


def _dot(members: FloatArray, values: FloatArray) -> FloatArray:
    """Sums [P] over the members of each plan; infinite where one of these is."""
    finite = np.isfinite(values)
    return np.where(members[:, ~finite].any(axis=1), np.inf, members[:, finite] @ values[finite])


def _ways(table: WindowTable, at: Charges, geometry: Geometry) -> FloatArray:
    """The longest way of each sequence at points of reference, as forms [N, K, F] of its length.

    They bound points whose buffer is at most as large as that of the reference, so that no more can be held ready.
    """
    own, own_form = _window_forms(table, at, geometry)
    steps = _longest(table, at, own)
    working = steps.works
    found = np.zeros((*working.shape, own_form.shape[2]))
    for w in range(len(steps.taken) - 1, -1, -1):  # from the end back along the way
        i, taken = table.index[:, w], steps.taken[w]
        ready = steps.ready[w]
        found += np.where((working & (taken.by == _OWN))[:, :, None], own_form[i], 0.0)
        found[:, :, DRAM_READ] += np.where(working, np.where(taken.by == _DRAM, taken.dram_bytes, 0.0), taken.all_bytes)
        found[:, :, BUFFER_WRITE] += np.where(working & (taken.by == _PORT), taken.port_bytes, 0.0)
        found[:, :, DRAM_READ] -= np.where(~working & taken.begun, ready, 0.0)
        working = np.where(working, taken.after_work, taken.begun)
    found[:, :, -2], found[:, :, -1] = table.launches[:, None], table.touches[:, None]
    return found


_OWN, _DRAM, _PORT = range(3)


@dataclass(frozen=True, slots=True)
class _Step:
    """What the longest ways take in one window, [N, K] each; bytes [N, K] or [N, 1]."""

    by: NDArray[np.int8]
    """The window lasts as long as its own work, as its DRAM traffic or as the writes into its buffer."""
    dram_bytes: FloatArray
    port_bytes: FloatArray
    all_bytes: FloatArray
    """From DRAM, what may have been ready before included."""
    after_work: NDArray[np.bool_]
    """The window comes after one that a way stays in for its work, not for loads."""
    begun: NDArray[np.bool_]
    """A stretch of loads begins with it."""


@dataclass(frozen=True, slots=True)
class _Steps:
    taken: list[_Step]
    ready: list[FloatArray]
    """Bytes that may lie ready at the start of each window."""
    works: NDArray[np.bool_]
    """The longest ways end with work."""


def _longest(table: WindowTable, at: Charges, own: FloatArray) -> _Steps:
    """What the longest way of each sequence takes, window by window."""
    dram, write = at.seconds[DRAM_READ], at.seconds[BUFFER_WRITE]
    shape = (len(table.index), at.size)
    ready = [np.zeros(shape), *table.most_ready(rates_of(at))]
    working, loading = np.zeros(shape), np.zeros(shape)
    taken: list[_Step] = []
    for w in range(table.index.shape[1] - 1):
        i = table.index[:, w]
        stream, fixed, port = (column[i][:, None] for column in (table.stream, table.fixed, table.port))
        short = np.maximum(stream - ready[w], 0.0)
        time, by = own[i], np.full(shape, _OWN, dtype=np.int8)
        for number, least, seconds in ((_DRAM, fixed + short, dram), (_PORT, port + short, write)):
            other = least * seconds
            np.copyto(by, number, where=other > time)
            time = np.maximum(time, other)
        begun_s = working - ready[w] * dram
        taken.append(_Step(by, fixed + short, port + short, stream + fixed, working > loading, begun_s > loading))
        working, loading = np.maximum(working, loading) + time, np.maximum(begun_s, loading) + (stream + fixed) * dram
    return _Steps(taken, ready, working > loading)


def _window_forms(table: WindowTable, at: Charges, geometry: Geometry) -> tuple[FloatArray, FloatArray]:
    """Seconds [U, K] of every distinct window by everything but loads, and their forms [U, K, F]; a last one of 0."""
    total, terms = _busiest(geometry, table.phases, table.phase_vector_ops, at)
    features = table.phases.shape[1] + 3
    windows = len(table.starts)
    forms = np.zeros((windows + 1, at.size, features))
    for column, amount in terms:
        for feature in range(features - 2):
            forms[:windows, :, feature] += np.add.reduceat(np.where(column == feature, amount, 0.0), table.starts, axis=0)
    own = np.add.reduceat(total, table.starts, axis=0)
    return np.concatenate((own, np.zeros((1, at.size)))), forms
