"""Prices one operator's frontier over a table of design points: the best row of each, with its latency and energy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.charges import Charges
from dse.cost.choice import TIE_TOLERANCE, choose
from dse.cost.row_table import INNER_CLASSES, MOST_POINTS, RowTable, exits
from dse.mapping.counts import COUNT_NAMES, INNER_COLUMNS
from dse.schedule.place import Work, frontier_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.cost.metrics import Objective
    from dse.hw.accelerator import Geometry
    from dse.hw.table import DesignTable

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

__all__ = ["CHUNK_POINTS", "TIE_TOLERANCE", "OperatorPricer", "PricedOperator", "choose"]

CHUNK_POINTS: Final = MOST_POINTS
"""Most design points priced at a time."""
FOOTPRINT, DRAM_READ, DRAM_WRITE, BUFFER_READ, BUFFER_WRITE, ARRAY = range(6)


@dataclass(frozen=True)
class PricedOperator:
    """One operator over D design points, arrays [D]; infinite latency and energy where no mapping fits."""

    latency_s: FloatArray
    energy_j: FloatArray
    row: IntArray
    """Row of the operator's frontier; -1 where no mapping fits."""


class OperatorPricer:
    """Prices one placed operator; holds the counts of its mappings."""

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
        self.in_part, self.behind = frontier.in_part, frontier.behind
        self.mappings = frontier.mappings
        """Of each row; empty on the vector unit."""
        self.counts = counts
        """[R, 6 + 2 L], all slices and transfers of held tensors included, in order of footprint: the footprint in the outermost
        buffer, then the columns of `dse.cost.columns`."""
        self.needed_bytes = counts[:, FOOTPRINT] + work.reserved_bytes
        self.inner_footprint_bytes = inner[:, :, 0]
        """[R, L] bytes of one instance of each inner memory."""
        self.useful_rows = lru_cache(maxsize=INNER_CLASSES)(self._useful_rows)

    def _useful_rows(self, inner_limits: tuple[float, ...] | None) -> tuple[IntArray, FloatArray]:
        """Rows whose inner footprints are within the limits, and for each the capacity from which another one makes it useless.

        Without limits one that may take the place of another has no larger inner footprints.
        """
        compared = self.counts[:, 1:]
        if self.geometry.dram_alike:
            compared = np.concatenate((compared[:, :1] + compared[:, 1:2], compared[:, 2:]), axis=1)
        if inner_limits is None:
            rows = np.arange(len(self.counts))
            compared = np.concatenate((compared, self.inner_footprint_bytes), axis=1)
        else:
            rows = np.flatnonzero((self.inner_footprint_bytes <= np.array(inner_limits)).all(axis=1))
        return rows, exits(self.needed_bytes[rows], compared[rows])

    @cached_property
    def rows(self) -> RowTable:
        """The rows in the form in which they are priced."""
        return RowTable([self], self.geometry)

    def price(self, table: DesignTable, objective: Objective, edp_weight: FloatArray | None = None) -> PricedOperator:
        """The best row for each design point.

        `edp_weight` [D] in watts turns the objective into energy + weight x latency.
        """
        latency, energy, row = np.full(table.size, np.inf), np.full(table.size, np.inf), np.full(table.size, -1, dtype=np.int64)
        for best in self.rows.best(Charges.of(self.geometry, table), objective, edp_weight):
            latency[best.at], energy[best.at], row[best.at] = best.latency_s[0], best.energy_j[0], best.row[0]
        return PricedOperator(latency, energy, row)

    def overhead_s(self, table: DesignTable, at: slice | IntArray) -> FloatArray:
        """Launch and first-access latency [points]."""
        return np.asarray(self.work.launches * table.launch_latency_s[at] + int(self.work.touches_dram) * table.dram_latency_s[at])
