"""Lower bounds of what plans and combinations of a part cost, cheap enough to be found at every design point.

Latency is the largest, or a sum of largest, of terms that are linear in the charges of a point (seconds per count). What is largest at
one point is a lower bound at every other, so a few points of reference give linear forms, and a product of matrices bounds all points.

A plan is bounded by operators that need the least of every count over the rows that fit. For a combination any way through its windows
is a bound: stretches of windows in which each takes at least its own work, and stretches in which DRAM brings all bytes of the windows
but those that the buffer can have held ready before. Bytes ready at the end of a window are at most those before it, less what it took,
plus what DRAM had time for; so the times of such a stretch add up to at least its bytes. The longest way is the form.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
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
"""Points at which forms are worked out at a time, so that their values stay in the second-level cache."""
ROUNDING: Final = 1e-9
"""Relative error of sums that are added up in different orders, with room to spare."""


class Floors:
    """Lower bounds of N candidates at D points: plans in order, then combinations."""

    def __init__(self, rows: RowTable, orders: Sequence[IntArray], combinations: Combinations | None, charges: Charges) -> None:
        """`rows` of all operators of the plans, `orders` the operators of each plan."""
        self._rows = rows
        self._orders = orders
        self._combinations = combinations
        self._charges = charges
        self._groups = _groups(charges.capacity_bytes)
        self._members = np.stack([np.bincount(order, minlength=rows.operators) for order in orders]).astype(float)  # [P, Q]
        self._size = len(orders) + (0 if combinations is None else len(combinations.members))

    @cached_property
    def latency_s(self) -> FloatArray:
        """[N, D]; infinite where a candidate does not fit."""
        return self._where_they_fit(self._latency_s)

    @cached_property
    def energy_j(self) -> FloatArray:
        """[N, D]; infinite where a candidate does not fit."""
        plans, charges = len(self._orders), self._charges
        found = np.empty((self._size, charges.size))
        for group in self._groups:
            found[:plans, group] = _plan_energy_j(self._rows, self._members, charges.at(group))
        if self._combinations is not None:
            found[plans:] = spent_j(self._combinations, slice(None), charges)
        if charges.leakage_w.any():
            found += charges.leakage_w * self._latency_s
        return self._where_they_fit(found)

    @cached_property
    def _latency_s(self) -> FloatArray:
        charges, geometry = self._charges, self._rows.geometry
        found = np.empty((self._size, charges.size))
        references = [_references(charges, group) for group in self._groups]
        ways = None
        if self._combinations is not None:
            tops = np.repeat([charges.capacity_bytes[group].max() for group in self._groups], REFERENCES)
            at = replace(charges.at(np.concatenate(references)), capacity_bytes=tops)
            ways = _ways(self._combinations.table, at, geometry)
        for i, (group, reference) in enumerate(zip(self._groups, references, strict=True)):
            here = charges.at(group)
            forms = [_plan_forms(self._rows, self._members, charges.at(reference), float(here.capacity_bytes.max()), geometry)]
            if ways is not None:
                forms.append(ways[:, i * REFERENCES : (i + 1) * REFERENCES])
            found[:, group] = _values(np.concatenate(forms), here)
        return found

    def _where_they_fit(self, values: FloatArray) -> FloatArray:
        """The values, infinite elsewhere."""
        charges, table = self._charges, None if self._combinations is None else self._combinations.table
        fits = _least_bytes(self._rows, self._orders)[:, None] <= charges.capacity_bytes
        if table is not None:
            fits = np.concatenate((fits, table.fits(charges.capacity_bytes, charges.inner_capacity_bytes)))
        return np.where(fits, values, np.inf)


def _least_bytes(rows: RowTable, orders: Sequence[IntArray]) -> FloatArray:
    """Capacity [P] from which every operator of a plan has a row."""
    least = np.minimum.reduceat(rows.entry_bytes, rows.starts)
    return np.array([least[order].max() for order in orders])


def _groups(capacity: FloatArray) -> list[IntArray]:
    order = np.argsort(capacity, kind="stable")
    return np.array_split(order, -(-len(order) // GROUP_POINTS))


def _references(charges: Charges, group: IntArray) -> IntArray:
    """Points of the group, by the balance of compute and DRAM."""
    balance = np.broadcast_to(charges.seconds[DRAM_READ] / charges.seconds[ARRAY], charges.capacity_bytes.shape)[group]
    order = np.argsort(balance, kind="stable")
    return group[order[np.linspace(0, len(order) - 1, REFERENCES).astype(np.int64)]]


def _values(forms: FloatArray, here: Charges) -> FloatArray:
    """The largest [N, d] of linear forms [N, K, F] at the points."""
    columns = (*here.seconds, here.vector_s_per_op, here.launch_latency_s, here.dram_latency_s)
    point = np.stack([np.broadcast_to(c, (here.size,)) for c in columns])  # [F, d]
    every = np.ascontiguousarray(forms.swapaxes(0, 1)).reshape(-1, forms.shape[2])  # [K N, F]
    found = np.empty((len(forms), here.size))
    for start in range(0, here.size, CHUNK_POINTS):
        values = (every @ point[:, start : start + CHUNK_POINTS]).reshape(forms.shape[1], len(forms), -1)
        values.max(axis=0, out=found[:, start : start + CHUNK_POINTS])
    return found


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
    dram, write = at.seconds[DRAM_READ], at.seconds[BUFFER_WRITE]
    shape = (len(table.index), at.size)
    most = table.most_ready(rates_of(at))
    ready: FloatArray = np.zeros(shape)
    working, loading = np.zeros(shape), np.zeros(shape)
    working_form, loading_form = np.zeros((*shape, own_form.shape[2])), np.zeros((*shape, own_form.shape[2]))
    for w in range(table.index.shape[1] - 1):
        i = table.index[:, w]
        stream, fixed, port = (column[i][:, None] for column in (table.stream, table.fixed, table.port))
        short = np.maximum(stream - ready, 0.0)
        time, form = own[i], own_form[i]
        for least, seconds, column in (((fixed + short), dram, DRAM_READ), ((port + short), write, BUFFER_WRITE)):
            more = least * seconds > time
            if more.any():
                time = np.where(more, least * seconds, time)
                form = np.where(more[:, :, None], least[:, :, None] * _unit(column, form.shape[2]), form)
        later = working > loading
        longest, longest_form = np.where(later, working, loading), np.where(later[:, :, None], working_form, loading_form)
        begun = working - ready * dram
        later = begun > loading
        if later.any():
            begun_form = working_form - ready[:, :, None] * _unit(DRAM_READ, form.shape[2])
            loading, loading_form = np.where(later, begun, loading), np.where(later[:, :, None], begun_form, loading_form)
        working, working_form = longest + time, longest_form + form
        loading = loading + (stream + fixed) * dram
        loading_form[:, :, DRAM_READ] += stream + fixed
        ready = most[w]
    found = np.where((working > loading)[:, :, None], working_form, loading_form)
    found[:, :, -2], found[:, :, -1] = table.launches[:, None], table.touches[:, None]
    return np.asarray(found)


def _unit(column: int, size: int) -> FloatArray:
    found = np.zeros(size)
    found[column] = 1.0
    return found


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
