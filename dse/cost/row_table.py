"""Rows of several operators' frontiers in one matrix: the best row of each operator at many design points at once.

A row can be left out at a point if another one of its operator fits there too and needs no more of anything. Points are taken in order
of capacity, some at a time: a row is looked at if it fits some of them and none that fits all of them makes it useless.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dse.cost.choice import TIE_TOLERANCE
from dse.cost.columns import busy_latency_s, moved_pj
from dse.cost.metrics import Objective
from dse.units import JOULES_PER_PJ

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from dse.cost.charges import Charges
    from dse.cost.frontier_pricing import OperatorPricer
    from dse.hw.accelerator import Geometry

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]
    BoolArray = NDArray[np.bool_]

BOX_ENTRIES: Final = 32_768
"""Rows times points priced at a time, so that their arrays stay in the second-level cache."""
MOST_POINTS: Final = 8192
"""Most points of a box."""
CALL: Final = 20_000
"""Rows times points that cost as much as the calls for one box."""
RUN_POINTS: Final = 64
"""Boxes hold one capacity where at least so many points share each."""
INNER_CLASSES: Final = 16
"""Most ways in which inner memories fit rows that are told apart; beyond that all rows are tried wherever they fit."""
PRICES: Final = 8
"""Prices of counts for which the least energies of rows are kept."""
MOST_RANKS: Final = 24
"""Rows of one operator up to which the rows of all operators are compared rank by rank."""
BLOCK: Final = 64
"""Rows that are compared at a time with the rows before them."""


@dataclass(frozen=True, slots=True)
class BestRows:
    """The best row of Q operators at some points; infinite where none fits."""

    at: slice | IntArray
    """Which of the points."""
    latency_s: FloatArray
    """[Q, d]."""
    energy_j: FloatArray
    row: IntArray
    """[Q, d], in the matrix of the table; -1 where none fits."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows to choose from where inner memories fit in one way, in order of operator and footprint."""

    number: IntArray
    """In the matrix."""
    operator: IntArray
    entry_bytes: FloatArray
    """Capacity from which a row fits."""
    exit_bytes: FloatArray
    """Capacity from which another row makes it useless."""
    inner_fits: bool
    """Whether all of them fit the inner memories."""


@dataclass(frozen=True, slots=True)
class _Ranks:
    """Rows in order of rank: first rows of all operators, then second rows of those that have one, and so on.

    Operators with more rows come first, so that each rank is an upper part of the one before.
    """

    rows: IntArray
    """Positions in what was ranked."""
    edges: tuple[int, ...]
    """Where each rank starts in `rows`, and the end."""
    operators: IntArray
    """Operator of each place in a rank."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Some rows at the points of a box."""

    tried: IntArray
    """Their numbers among the rows to choose from."""
    energy_j: FloatArray
    """[rows, d] or [rows, 1], without leakage."""
    fits: BoolArray | None
    """[rows, d]; None where all fit everywhere."""


class RowTable:
    """The rows of Q operators, in order."""

    def __init__(self, pricers: Sequence[OperatorPricer], geometry: Geometry) -> None:
        self.geometry = geometry
        self.operators = len(pricers)
        self._pricers = tuple(pricers)
        self.counts = np.concatenate([p.counts[:, 1:] for p in pricers])
        """[R, C] with the columns of `dse.cost.columns`."""
        sizes = [len(p.counts) for p in pricers]
        self.starts = np.cumsum([0, *sizes])[:-1]
        """First row of each operator."""
        self.operator = np.repeat(np.arange(len(pricers)), sizes)
        self.entry_bytes = np.concatenate([p.needed_bytes for p in pricers])
        self.inner_bytes = np.concatenate([p.inner_footprint_bytes for p in pricers])
        """[R, L]."""
        self._inner_sizes = [np.unique(column) for column in self.inner_bytes.T]
        works = [p.work for p in pricers]
        self.vector_ops = np.array([w.vector_ops for w in works])
        self.launches = np.array([float(w.launches) for w in works])
        self.touches = np.array([float(w.touches_dram) for w in works])
        self.macs = np.array([w.macs for w in works])
        self.dtypes = tuple(w.dtype for w in works)
        self._rows = lru_cache(maxsize=INNER_CLASSES)(self._find_rows)
        self._least_pj = lru_cache(maxsize=PRICES)(self._find_least_pj)

    def least_counts(self, capacity_bytes: float) -> FloatArray:
        """The least of every count [Q, C] over the rows of each operator that fit the outermost buffer; of its first row if none does."""
        return np.asarray(self._least[self._last_fitting(capacity_bytes)[0]])

    def least_moved_pj(self, capacity_bytes: float, pj: tuple[float, ...]) -> FloatArray:
        """The least picojoules [Q] of all bytes moved, over the same rows, at `pj` per count; infinite where none fits."""
        last, fits = self._last_fitting(capacity_bytes)
        return np.where(fits, self._least_pj(pj)[last], np.inf)

    def _last_fitting(self, capacity_bytes: float) -> tuple[IntArray, BoolArray]:
        """The last row of each operator that fits the outermost buffer [Q], its first if none does, and whether one does."""
        fitting = np.add.reduceat(self.entry_bytes <= capacity_bytes, self.starts, dtype=np.int64)
        return self.starts + np.maximum(fitting - 1, 0), fitting > 0

    @cached_property
    def _least(self) -> FloatArray:
        """The least of every count [R, C] over a row and those of its operator before it."""
        return np.concatenate([np.minimum.accumulate(p.counts[:, 1:], axis=0) for p in self._pricers])

    def _find_least_pj(self, pj: tuple[float, ...]) -> FloatArray:
        """The least picojoules [R] of the bytes of a row and those of its operator before it."""
        moved = moved_pj(self.counts, [np.array([each]) for each in pj])[:, 0]
        ends = np.append(self.starts[1:], len(moved)).tolist()
        return np.concatenate([np.minimum.accumulate(moved[i:j]) for i, j in zip(self.starts.tolist(), ends, strict=True)])

    def best(self, charges: Charges, objective: Objective, edp_weight_w: FloatArray | None = None) -> Iterator[BestRows]:
        """The best row of every operator at each point, some points at a time.

        As `dse.cost.choice` has it, but that of rows with the same second value the one with the least first is taken, and
        the last of equal ones, which is the one that no other makes useless.
        """
        for rows, at in self._by_inner(charges):
            capacity = charges.capacity_bytes if at is None else charges.capacity_bytes[at]
            order = None if (capacity[1:] >= capacity[:-1]).all() else np.argsort(capacity, kind="stable")
            for start, stop in _boxes(capacity if order is None else capacity[order], rows, self.operators):
                where: slice | IntArray = slice(start, stop) if order is None else order[start:stop]
                if at is not None:
                    where = at[where]
                weight = None if edp_weight_w is None else edp_weight_w[where]
                yield BestRows(where, *self._price_box(rows, charges.at(where), objective, weight))

    def _by_inner(self, charges: Charges) -> Iterator[tuple[_Rows, IntArray | None]]:
        """Points whose inner memories fit the same rows, and these rows; all points together where there are too many such groups."""
        if not self._inner_sizes:
            yield self._rows(()), None
            return
        pairs = zip(self._inner_sizes, charges.inner_capacity_bytes, strict=True)
        fitting = np.stack([np.searchsorted(sizes, capacity, side="right") for sizes, capacity in pairs])  # [L, D]
        keys, group = np.unique(fitting, axis=1, return_inverse=True)
        if keys.shape[1] > INNER_CLASSES:
            yield self._rows(None), None
            return
        for i, key in enumerate(keys.T):
            yield self._rows(tuple(key.tolist())), np.flatnonzero(group.ravel() == i) if keys.shape[1] > 1 else None

    def _find_rows(self, fitting: tuple[int, ...] | None) -> _Rows:
        """`fitting`: how many of the different footprints fit each inner memory; None: some here and some there."""
        limits = None
        if fitting is not None:
            limits = tuple(sizes[fits - 1] if fits else -1.0 for sizes, fits in zip(self._inner_sizes, fitting, strict=True))
        useful = [p.useful_rows(limits) for p in self._pricers]
        number = np.concatenate([rows + start for (rows, _), start in zip(useful, self.starts.tolist(), strict=True)])
        return _Rows(number, self.operator[number], self.entry_bytes[number], np.concatenate([e for _, e in useful]), fitting is not None)

    def _price_box(
        self, rows: _Rows, here: Charges, objective: Objective, weight: FloatArray | None
    ) -> tuple[FloatArray, FloatArray, IntArray]:
        """Latency, energy and row [Q, d]; `here` are the charges of the points, in order of capacity."""
        shape = (self.operators, here.size)
        found = np.full(shape, np.inf), np.full(shape, np.inf), np.full(shape, -1)
        tried = np.flatnonzero((rows.entry_bytes <= here.capacity_bytes[-1]) & (rows.exit_bytes > here.capacity_bytes[0]))
        if len(tried) == 0:
            return found
        fits = self._fits(rows, tried, here)
        energy = self._moved_and_computed_j(rows.number[tried], here)
        if objective is Objective.ENERGY and weight is None and energy.shape[1] == 1 and not here.leakage_w.any():
            keep = _worth(energy[:, 0], rows.operator[tried], fits)
            tried, energy, fits = tried[keep], energy[keep], None if fits is None else fits[keep]
        starts = np.flatnonzero(np.diff(rows.operator[tried], prepend=-1))
        sizes = np.diff(starts, append=len(tried))
        ranked = np.repeat(sizes <= MOST_RANKS, sizes)
        for some in (ranked, ~ranked):
            if not some.any():
                continue
            every = some.all()
            part = _Part(*((tried, energy, fits) if every else (tried[some], energy[some], None if fits is None else fits[some])))
            operators, *best = self._best_of(part, rows, here, objective, weight, by_rank=some is ranked)
            for whole, values in zip(found, best, strict=True):
                whole[operators] = values
        if fits is not None:
            found[2][np.isinf(found[0])] = -1
        return found

    def _best_of(
        self, part: _Part, rows: _Rows, here: Charges, objective: Objective, weight: FloatArray | None, *, by_rank: bool
    ) -> tuple[IntArray, FloatArray, FloatArray, IntArray]:
        """Operators, and of each latency, energy and row, [q, d] or [q, 1]."""
        operator = rows.operator[part.tried]
        starts = np.flatnonzero(np.diff(operator, prepend=-1))
        ranks = _ranked(operator, starts) if by_rank else _Ranks(np.arange(len(operator)), (), operator[starts])
        number, energy = rows.number[part.tried[ranks.rows]], part.energy_j[ranks.rows]
        latency = self._latency_s(number, here)
        if here.leakage_w.any():
            energy = energy + here.leakage_w * latency
        score = None if weight is None else energy + weight * latency
        if part.fits is not None:
            fits = part.fits[ranks.rows]
            latency, energy = np.where(fits, latency, np.inf), np.where(fits, energy, np.inf)
            score = None if score is None else np.where(fits, score, np.inf)
        if by_rank:
            found = _sought(latency, energy, ranks, objective, score)
        else:
            found = _sought_one_by_one(latency, energy, starts, objective, score)
        return ranks.operators, found[0], found[1], number[found[2]]

    def _fits(self, rows: _Rows, tried: IntArray, here: Charges) -> BoolArray | None:
        """Which of the rows fit at which points, [tried, d]; None where all fit everywhere."""
        fits: BoolArray | None = None
        if (rows.entry_bytes[tried] > here.capacity_bytes[0]).any():
            fits = rows.entry_bytes[tried, None] <= here.capacity_bytes
        if not rows.inner_fits:
            for sizes, capacity in zip(self.inner_bytes[rows.number[tried]].T, here.inner_capacity_bytes, strict=True):
                inside = sizes[:, None] <= capacity
                fits = inside if fits is None else fits & inside
        return fits

    def _latency_s(self, number: IntArray, here: Charges) -> FloatArray:
        """Seconds [rows, d]: the busiest resource where transfers overlap, their sum where they do not; then launch and first access.

        [rows, 1] where all points charge the same.
        """
        operator = self.operator[number]
        vector_ops = self.vector_ops[operator]
        vector = vector_ops[:, None] / here.vector_ops_per_s if vector_ops.any() else None
        busy = busy_latency_s(self.geometry, self.counts[number], here.seconds, vector)
        if here.launch_latency_s.any() or here.dram_latency_s.any():
            launches, touches = self.launches[operator, None], self.touches[operator, None]
            busy = busy + (launches * here.launch_latency_s + touches * here.dram_latency_s)
        return busy

    def _moved_and_computed_j(self, number: IntArray, here: Charges) -> FloatArray:
        """Joules [rows, d] but for leakage: MACs, vector operations, every access at every level; [rows, 1] as in `_latency_s`."""
        moved = moved_pj(self.counts[number], here.pj)
        return np.asarray((moved + self.computed_pj(here)[self.operator[number]]) * JOULES_PER_PJ)

    def computed_pj(self, here: Charges) -> FloatArray:
        """Picojoules [Q, d or 1] of MACs and vector operations."""
        compute = self.vector_ops[:, None] * here.vector_pj_per_op
        for dtype in dict.fromkeys(d for d in self.dtypes if d is not None):
            macs = np.where([d == dtype for d in self.dtypes], self.macs, 0.0)
            compute = compute + macs[:, None] * here.mac_pj[dtype]
        return compute


def _boxes(capacity: FloatArray, rows: _Rows, operators: int) -> Iterator[tuple[int, int]]:
    """Start and end of points that are priced together; `capacity` [D] ascends.

    A larger box has more rows that fit only some of its points: with r such rows per point and n points, a cost of CALL + n (n r) is
    least per point at n^2 = CALL / r.
    """
    changes = np.flatnonzero(capacity[1:] != capacity[:-1]) + 1
    size = max(BOX_ENTRIES // operators, 1)
    if len(changes) * RUN_POINTS < len(capacity):
        edges = [0, *changes.tolist(), len(capacity)]
    else:
        edges = [0, len(capacity)]
        low, high = capacity[0], capacity[-1]
        entering = int(np.count_nonzero((rows.entry_bytes > low) & (rows.entry_bytes <= high)))
        size = min(size, int((CALL * len(capacity) / max(entering, 1)) ** 0.5) + 1)
    size = min(size, MOST_POINTS)
    for start, stop in pairwise(edges):
        for first in range(start, stop, size):
            yield first, min(first + size, stop)


def exits(entry_bytes: FloatArray, counts: FloatArray) -> FloatArray:
    """Capacity [R] from which another row of the operator fits that needs at most as much of everything, or of equal rows a later one.

    Rows [R, C] are in order of entry; where one that enters earlier needs less, minus infinity.
    """
    exits = np.full(len(entry_bytes), np.inf)
    open_rows = np.zeros(0, dtype=np.int64)
    for start in range(0, len(entry_bytes), BLOCK):
        new = np.arange(start, min(start + BLOCK, len(entry_bytes)))
        open_rows = np.concatenate((open_rows, new))
        later = open_rows[:, None] < new
        beats, beaten_by_earlier = later, later.copy()
        for column in counts.T:
            mine, theirs = column[open_rows, None], column[new]
            beats &= theirs <= mine
            beaten_by_earlier &= mine <= theirs
        beaten = beats.any(axis=1)
        exits[open_rows[beaten]] = entry_bytes[new[beats[beaten].argmax(axis=1)]]
        useless = new[(beaten_by_earlier & ~beats).any(axis=0)]  # not the equal ones
        exits[useless] = -np.inf
        open_rows = open_rows[~beaten & ~np.isin(open_rows, useless)]
    return exits


def _worth(energy_j: FloatArray, operator: IntArray, fits: BoolArray | None) -> IntArray:
    """Rows that may be within the tolerance of the least energy [R] of their operator."""
    everywhere = energy_j if fits is None else np.where(fits.all(axis=1), energy_j, np.inf)
    starts = np.flatnonzero(np.diff(operator, prepend=-1))
    least = np.minimum.reduceat(everywhere, starts)
    return np.flatnonzero(energy_j <= np.repeat(least, np.diff(starts, append=len(operator))) * (1 + TIE_TOLERANCE))


def _ranked(operator: IntArray, starts: IntArray) -> _Ranks:
    """Rows by rank, from the operator of each, ascending, and where each operator starts."""
    sizes = np.diff(starts, append=len(operator))
    most = np.argsort(-sizes, kind="stable")
    place = np.empty_like(most)
    place[most] = np.arange(len(most))
    rank = np.arange(len(operator)) - np.repeat(starts, sizes)
    rows = np.lexsort((np.repeat(place, sizes), rank))
    edges = np.searchsorted(rank[rows], np.arange(sizes.max() + 1))
    return _Ranks(rows, tuple(edges.tolist()), operator[starts][most])


def _sought(
    latency: FloatArray, energy: FloatArray, ranks: _Ranks, objective: Objective, score: FloatArray | None
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Latency, energy and position of the best row of each operator, from those of all rows by rank, [rows, d] or [rows, 1].

    `score`: what is least, instead of the objective.
    """
    edges, every = ranks.edges, ranks.edges[1]
    several = edges[2] - every if len(edges) > 2 else 0
    if not several:
        return latency[:every], energy[:every], np.arange(every)[:, None]
    first, second = (energy, latency) if objective is Objective.ENERGY else (latency, energy)
    limit = None if score is not None else _limit(first, edges)
    sought, carried = (second, (first,)) if score is None else (score, (first, second))
    size = max(latency.shape[1], energy.shape[1], 1 if score is None else score.shape[1])
    best = np.full((several, size), np.inf)
    kept = [np.full((several, size), np.inf) for _ in carried]
    pick = np.zeros((several, size), dtype=np.int64)
    for start, stop in pairwise(edges):
        some = min(stop - start, several)
        mine = slice(start, start + some)
        value = sought[mine] if limit is None else np.where(first[mine] <= limit[:some], sought[mine], np.inf)
        less = first[mine] <= kept[0][:some] if score is None else True
        better = (value < best[:some]) | ((value == best[:some]) & less)
        np.copyto(best[:some], value, where=better)
        for column, given in zip(kept, carried, strict=True):
            np.copyto(column[:some], given[mine], where=better)
        np.copyto(pick[:some], np.arange(start, start + some)[:, None], where=better)
    chosen = (kept[0], best) if score is None else (kept[0], kept[1])
    one, other = (_above(c, column[several:every]) for c, column in zip(chosen, (first, second), strict=True))
    places = _above(pick, np.arange(several, every)[:, None])
    return (other, one, places) if objective is Objective.ENERGY else (one, other, places)


def _sought_one_by_one(
    latency: FloatArray, energy: FloatArray, starts: IntArray, objective: Objective, score: FloatArray | None
) -> tuple[FloatArray, FloatArray, IntArray]:
    """The same from rows in order of operator, one operator after another."""
    first, second = (energy, latency) if objective is Objective.ENERGY else (latency, energy)
    size = max(latency.shape[1], energy.shape[1], 1 if score is None else score.shape[1])
    found = np.empty((len(starts), size)), np.empty((len(starts), size)), np.empty((len(starts), size), dtype=np.int64)
    for operator, (start, stop) in enumerate(pairwise([*starts.tolist(), len(latency)])):
        mine = slice(start, stop)
        if stop - start == 1:
            pick = np.full(1, start)
        else:
            if score is None:
                here = first[mine]
                value = np.where(here <= here.min(axis=0) * (1 + TIE_TOLERANCE), second[mine], np.inf)
                last = np.where(value == value.min(axis=0), here, np.inf)
            else:
                last = score[mine]
            pick = stop - 1 - np.argmin(last[::-1], axis=0)
        for column, every in zip(found, (latency, energy), strict=False):
            column[operator] = every[pick, np.arange(size) if every.shape[1] > 1 else 0]
        found[2][operator] = pick
    return found


def _above(upper: NDArray[Any], lower: NDArray[Any]) -> NDArray[Any]:  # floats or integers
    """Both, one above the other; `lower` [n, d] or [n, 1]."""
    return np.concatenate((upper, np.broadcast_to(lower, (len(lower), upper.shape[1]))))


def _limit(first: FloatArray, edges: tuple[int, ...]) -> FloatArray:
    """Of each operator that has several rows, what counts as a tie with its least value."""
    least = first[: edges[2] - edges[1]].copy()
    for start, stop in pairwise(edges[1:]):
        np.minimum(least[: stop - start], first[start:stop], out=least[: stop - start])
    return least * (1 + TIE_TOLERANCE)
