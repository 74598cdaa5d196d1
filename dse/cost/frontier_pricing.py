"""Prices one operator's frontier over a table of design points: the best row of each, with its latency and energy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.columns import busy_latency_s, pj_per_count, seconds_per_count
from dse.cost.metrics import Objective
from dse.mapping.counts import COUNT_NAMES, INNER_COLUMNS
from dse.mapping.frontier import not_dominated
from dse.schedule.place import Work, frontier_of
from dse.units import JOULES_PER_PJ

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from dse.hw.accelerator import Geometry
    from dse.hw.table import DesignTable

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

CHUNK_POINTS: Final = 8192
"""Design points priced at a time, so that a row's arrays stay in the second-level cache."""
TIE_TOLERANCE: Final = 5e-4
"""Latencies (energies) within this share of the best count as ties and are decided by energy (latency)."""
FOOTPRINT, DRAM_READ, DRAM_WRITE, BUFFER_READ, BUFFER_WRITE, ARRAY = range(6)


@dataclass(frozen=True)
class PricedOperator:
    """One operator over D design points, arrays [D]; infinite latency and energy where no mapping fits."""

    latency_s: FloatArray
    energy_j: FloatArray
    row: IntArray
    """Row of the operator's frontier; -1 where no mapping fits."""


class OperatorPricer:
    """Prices one placed operator; holds its counts and, for each capacity, the rows that some price could prefer."""

    def __init__(self, work: Work, geometry: Geometry) -> None:
        frontier = frontier_of(work, geometry)
        everything = frontier.counts.matrix()
        inner = everything[:, len(COUNT_NAMES) :].reshape(len(everything), -1, INNER_COLUMNS)  # [R, L, footprint read write]
        if inner.shape[1] != len(geometry.inner):  # an operator of the vector unit, which works on the outermost buffer
            inner = np.zeros((len(everything), len(geometry.inner), INNER_COLUMNS))
        counts = np.concatenate((everything[:, : len(COUNT_NAMES)], inner[:, :, 1:].reshape(len(everything), -1)), axis=1)
        counts[:, 1:] *= work.slices
        counts[:, DRAM_READ] += work.fill_bytes
        counts[:, BUFFER_WRITE] += work.fill_bytes
        counts[:, DRAM_WRITE] += work.drain_bytes
        counts[:, BUFFER_READ] += work.drain_bytes
        self.work = work
        self.geometry = geometry
        self.excess = frontier.excess
        self.counts = counts
        """[R, 6 + 2 L], all slices and transfers of held tensors included, in order of footprint: the footprint in the outermost
        buffer, then the columns of `dse.cost.columns`."""
        self.needed_bytes = counts[:, FOOTPRINT] + work.reserved_bytes
        self.inner_footprint_bytes = inner[:, :, 0]
        """[R, L] bytes of one instance of each inner memory."""
        self._inner_sizes = [np.unique(column) for column in self.inner_footprint_bytes.T]
        self._rows_at = lru_cache(maxsize=None)(self._find_rows)

    def _find_rows(self, fitting: tuple[int, ...]) -> IntArray:
        """Rows that fit and are not dominated once footprints no longer matter.

        `fitting` says how many rows fit the outermost buffer and, for each inner memory, how many of its different footprints do.
        """
        outer, *inner = fitting
        rows = np.arange(outer)
        for column, sizes, fits in zip(self.inner_footprint_bytes.T, self._inner_sizes, inner, strict=True):
            rows = rows[column[rows] <= sizes[fits - 1]] if fits else rows[:0]
        return rows[not_dominated(self.counts[rows, 1:])]

    def price(self, table: DesignTable, objective: Objective, edp_weight: FloatArray | None = None) -> PricedOperator:
        """The best row for each design point.

        `edp_weight` [D] in watts turns the objective into energy + weight x latency.
        """
        return best_of(self.candidates(table, Charges.of(self.geometry, table)), table.size, objective, edp_weight)

    def candidates(self, table: DesignTable, charges: Charges) -> Iterator[Candidates]:
        """The rows that fit, priced by the charges of `table`; points where none fits are left out."""
        for key, where in _capacity_classes(self._fitting(table)):
            rows = self._rows_at(key)
            for at in _chunks(where) if len(rows) else ():
                points = charges.at(at)
                latency = self._latency_s(rows, points)
                yield Candidates(at, rows, latency, self._energy_j(rows, points, latency))

    def _fitting(self, table: DesignTable) -> list[IntArray]:
        """For each memory how many of the rows (of the different footprints) fit, [D]."""
        fitting = [np.searchsorted(self.needed_bytes, table.buffer_capacity_bytes, side="right")]
        for sizes, memory in zip(self._inner_sizes, table.inner, strict=True):
            fitting.append(np.searchsorted(sizes, memory.capacity_bytes, side="right"))
        return fitting

    def _latency_s(self, rows: IntArray, points: Charges) -> FloatArray:
        """Seconds [rows, points]: the busiest resource where transfers overlap, their sum where they do not."""
        vector = self.work.vector_ops / points.vector_ops_per_s if self.work.vector_ops else None
        busy = busy_latency_s(self.geometry, self.counts[rows, 1:], points.seconds, vector)
        busy += self.overhead_s(points, slice(None))
        return busy

    def overhead_s(self, table: DesignTable | Charges, at: slice | IntArray) -> FloatArray:
        """Launch and first-access latency [points]."""
        return np.asarray(self.work.launches * table.launch_latency_s[at] + int(self.work.touches_dram) * table.dram_latency_s[at])

    def _energy_j(self, rows: IntArray, points: Charges, latency_s: FloatArray) -> FloatArray:
        """Joules [rows, points]: MACs, vector operations, every access at every level, and leakage over the latency."""
        compute = self.work.vector_ops * points.vector_pj_per_op
        if self.work.dtype is not None:
            compute = compute + self.work.macs * points.mac_pj[self.work.dtype]
        moved = self.counts[rows, DRAM_READ:ARRAY] @ points.pj[: ARRAY - 1]
        if self.geometry.inner:
            moved = moved + self.counts[rows, ARRAY + 1 :] @ points.pj[ARRAY:]
        moved += compute
        moved *= JOULES_PER_PJ
        moved += points.leakage_w * latency_s
        return np.asarray(moved)


@dataclass(frozen=True, slots=True)
class Charges:
    """What the points of a table charge: found once for all operators."""

    seconds: FloatArray
    """[C, D] per count."""
    pj: FloatArray
    """[C, D] per count."""
    vector_ops_per_s: FloatArray
    vector_pj_per_op: FloatArray
    mac_pj: Mapping[str, FloatArray]
    launch_latency_s: FloatArray
    dram_latency_s: FloatArray
    leakage_w: FloatArray

    @staticmethod
    def of(geometry: Geometry, table: DesignTable) -> Charges:
        """Of all points of `table`."""
        return Charges(
            seconds_per_count(geometry, table),
            pj_per_count(geometry, table),
            table.vector_ops_per_cycle * table.clock_hz,
            table.vector_pj_per_op,
            table.mac_pj,
            table.launch_latency_s,
            table.dram_latency_s,
            table.leakage_w,
        )

    def at(self, where: slice | IntArray) -> Charges:
        """Of some of the points."""
        if isinstance(where, slice) and where == slice(0, len(self.leakage_w)):
            return self
        return Charges(
            self.seconds[:, where],
            self.pj[:, where],
            self.vector_ops_per_s[where],
            self.vector_pj_per_op[where],
            {dtype: column[where] for dtype, column in self.mac_pj.items()},
            self.launch_latency_s[where],
            self.dram_latency_s[where],
            self.leakage_w[where],
        )


@dataclass(frozen=True, slots=True)
class Candidates:
    """Rows of one operator's frontier, priced at points that have them in common."""

    at: slice | IntArray
    """Which points."""
    rows: IntArray
    latency_s: FloatArray
    """[rows, points]."""
    energy_j: FloatArray

    def best(self, objective: Objective, weight: FloatArray | None) -> tuple[FloatArray, FloatArray, IntArray]:
        """Latency, energy and row at each point; `weight` as in `choose`."""
        if len(self.rows) == 1:
            return self.latency_s[0], self.energy_j[0], np.broadcast_to(self.rows, self.latency_s[0].shape)
        pick = choose(self.latency_s, self.energy_j, objective, weight)
        every = np.arange(len(pick))
        return self.latency_s[pick, every], self.energy_j[pick, every], self.rows[pick]


def best_of(candidates: Iterable[Candidates], size: int, objective: Objective, edp_weight: FloatArray | None = None) -> PricedOperator:
    """The best row for each of `size` design points, infinite and -1 where there is none."""
    latency, energy, row = np.full(size, np.inf), np.full(size, np.inf), np.full(size, -1, dtype=np.int64)
    for c in candidates:
        best = c.best(objective, None if edp_weight is None else edp_weight[c.at])
        if isinstance(c.at, slice) and c.at == slice(0, size):
            return PricedOperator(*best)
        latency[c.at], energy[c.at], row[c.at] = best
    return PricedOperator(latency, energy, row)


def choose(latency_s: FloatArray, energy_j: FloatArray, objective: Objective, edp_weight_w: FloatArray | None) -> IntArray:
    """The best of C candidates for each of D points, from latency and energy [C, D]; the first where they are equal.

    With `edp_weight_w` [D] least energy + weight x latency; else least latency (energy), and among candidates within
    `TIE_TOLERANCE` of it least energy (latency): a shade of latency never costs a multiple of the energy.
    """
    if edp_weight_w is not None:
        return np.asarray(np.argmin(energy_j + edp_weight_w * latency_s, axis=0))
    first, second = (energy_j, latency_s) if objective is Objective.ENERGY else (latency_s, energy_j)
    limit = first.min(axis=0) * (1 + TIE_TOLERANCE)
    return np.asarray(np.argmin(np.where(first <= limit, second, np.inf), axis=0))


def _capacity_classes(fitting: list[IntArray]) -> Iterator[tuple[tuple[int, ...], slice | IntArray]]:
    """Points by what fits each memory, those where nothing fits left out; slices where points of a class follow each other."""
    changes = np.flatnonzero(np.any([column[1:] != column[:-1] for column in fitting], axis=0)) + 1
    classes: list[slice | IntArray]
    if len(changes) <= len(fitting) and len(fitting[0]):
        edges = [0, *changes.tolist(), len(fitting[0])]
        classes = [slice(start, stop) for start, stop in pairwise(edges)]
    else:
        order = np.lexsort(fitting[::-1])
        changes = np.flatnonzero(np.any([np.diff(column[order]) for column in fitting], axis=0)) + 1
        parts = np.split(order, changes)
        classes = [_as_slice(part) for part in parts if len(part)]
    for where in classes:
        key = tuple(int(column[where][0]) for column in fitting)
        if key[0]:
            yield key, where


def _as_slice(where: IntArray) -> slice | IntArray:
    """Ascending numbers without gaps as a slice."""
    first, last = int(where[0]), int(where[-1])
    return slice(first, last + 1) if last - first + 1 == len(where) else where


def _chunks(where: slice | IntArray) -> Iterator[slice | IntArray]:
    """Parts of `where` of at most `CHUNK_POINTS` points."""
    if isinstance(where, slice):
        yield from (slice(start, min(start + CHUNK_POINTS, where.stop)) for start in range(where.start, where.stop, CHUNK_POINTS))
    else:
        yield from (where[start : start + CHUNK_POINTS] for start in range(0, len(where), CHUNK_POINTS))
