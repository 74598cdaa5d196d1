"""Prices one operator's frontier over a table of design points: the best row of each, with its latency and energy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.metrics import Objective
from dse.mapping.frontier import not_dominated
from dse.schedule.place import Work, frontier_of
from dse.units import JOULES_PER_PJ

if TYPE_CHECKING:
    from collections.abc import Iterator

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
        counts = frontier.counts.matrix()
        counts[:, 1:] *= work.slices
        counts[:, DRAM_READ] += work.fill_bytes
        counts[:, BUFFER_WRITE] += work.fill_bytes
        counts[:, DRAM_WRITE] += work.drain_bytes
        counts[:, BUFFER_READ] += work.drain_bytes
        self.work = work
        self.geometry = geometry
        self.excess = frontier.excess
        self.counts = counts
        """[R, 6], all slices and transfers of held tensors included, in order of footprint."""
        self.overlap = geometry.double_buffered
        self.needed_bytes = counts[:, FOOTPRINT] + work.reserved_bytes
        self._rows_at = lru_cache(maxsize=None)(self._find_rows)

    def _find_rows(self, fitting: int) -> IntArray:
        """Rows among the first `fitting` that are not dominated once the footprint no longer matters."""
        return not_dominated(self.counts[:fitting, 1:])

    def price(self, table: DesignTable, objective: Objective, edp_weight: FloatArray | None = None) -> PricedOperator:
        """The best row for each design point.

        `edp_weight` [D] in watts turns the objective into energy + weight x latency.
        """
        d = table.size
        fitting = np.searchsorted(self.needed_bytes, table.buffer_capacity_bytes, side="right")
        latency, energy, row = np.full(d, np.inf), np.full(d, np.inf), np.full(d, -1, dtype=np.int64)
        for count, where in _capacity_classes(fitting):
            rows = self._rows_at(count)
            for at in _chunks(where):
                weight = None if edp_weight is None else edp_weight[at]
                latency[at], energy[at], row[at] = self._best(rows, table, at, objective, weight)
        return PricedOperator(latency, energy, row)

    def _best(
        self, rows: IntArray, table: DesignTable, at: slice | IntArray, objective: Objective, weight: FloatArray | None
    ) -> tuple[FloatArray, FloatArray, IntArray]:
        latency = self.latency_s(rows, table, at)
        energy = self.energy_j(rows, table, at, latency)
        if len(rows) == 1:
            return latency[0], energy[0], np.broadcast_to(rows, latency[0].shape)
        pick = choose(latency, energy, objective, weight)
        points = np.arange(latency.shape[1])
        return latency[pick, points], energy[pick, points], rows[pick]

    def latency_s(self, rows: IntArray, table: DesignTable, at: slice | IntArray) -> FloatArray:
        """Seconds [rows, points]: the busiest resource where transfers overlap, DRAM plus the busiest other where not."""
        c = self.counts[rows]
        on_chip = np.outer(c[:, ARRAY], 1.0 / (table.clock_hz[at] * table.array_sustained_fraction[at]))
        np.maximum(on_chip, np.outer(c[:, BUFFER_READ], 1.0 / table.buffer_read_bytes_per_s[at]), out=on_chip)
        np.maximum(on_chip, np.outer(c[:, BUFFER_WRITE], 1.0 / table.buffer_write_bytes_per_s[at]), out=on_chip)
        if self.work.vector_ops:
            np.maximum(on_chip, self.work.vector_ops / (table.vector_ops_per_cycle[at] * table.clock_hz[at]), out=on_chip)
        dram = np.outer(c[:, DRAM_READ] + c[:, DRAM_WRITE], 1.0 / (table.dram_bytes_per_s[at] * table.dram_sustained_fraction[at]))
        busy = np.maximum(on_chip, dram) if self.overlap else on_chip + dram
        return np.asarray(busy + self.overhead_s(table, at))

    def overhead_s(self, table: DesignTable, at: slice | IntArray) -> FloatArray:
        """Launch and first-access latency [points]."""
        return np.asarray(self.work.launches * table.launch_latency_s[at] + int(self.work.touches_dram) * table.dram_latency_s[at])

    def energy_j(self, rows: IntArray, table: DesignTable, at: slice | IntArray, latency_s: FloatArray) -> FloatArray:
        """Joules [rows, points]: MACs, vector operations, every access at every level, and leakage over the latency."""
        prices = np.stack(
            (
                table.dram_read_pj_per_byte[at],
                table.dram_write_pj_per_byte[at],
                table.buffer_read_pj_per_byte[at],
                table.buffer_write_pj_per_byte[at],
            )
        )
        compute = self.work.vector_ops * table.vector_pj_per_op[at]
        if self.work.dtype is not None:
            compute = compute + self.work.macs * table.mac_pj[self.work.dtype][at]
        return np.asarray((self.counts[rows, DRAM_READ:ARRAY] @ prices + compute) * JOULES_PER_PJ + table.leakage_w[at] * latency_s)


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


def _capacity_classes(fitting: IntArray) -> Iterator[tuple[int, slice | IntArray]]:
    """Points by the number of rows that fit, those with none left out; a slice where all points are of one class."""
    if len(fitting) and (fitting == fitting[0]).all():
        classes: list[slice | IntArray] = [slice(0, len(fitting))]
    else:
        order = np.argsort(fitting, kind="stable")
        classes = [part for part in np.split(order, np.flatnonzero(np.diff(fitting[order])) + 1) if len(part)]
    for where in classes:
        count = int(fitting[where][0])
        if count:
            yield count, where


def _chunks(where: slice | IntArray) -> Iterator[slice | IntArray]:
    """Parts of `where` of at most `CHUNK_POINTS` points."""
    if isinstance(where, slice):
        yield from (slice(start, min(start + CHUNK_POINTS, where.stop)) for start in range(0, where.stop, CHUNK_POINTS))
    else:
        yield from (where[start : start + CHUNK_POINTS] for start in range(0, len(where), CHUNK_POINTS))
