"""What the points of a table charge: found once for everything that is priced at them, each column no wider than it must be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dse.cost.columns import pj_per_count, seconds_per_count
from dse.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from dse.hw.accelerator import Geometry
    from dse.hw.table import DesignTable

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Charges:
    """Charges of D points; columns are [D], or [1] where all points charge the same. Names and units as in `DesignTable`."""

    size: int
    capacity_bytes: FloatArray
    """Of the outermost buffer, always [D]."""
    inner_capacity_bytes: tuple[FloatArray, ...]
    """Of one instance of each inner memory, always [D]."""
    seconds: tuple[FloatArray, ...]
    """Seconds of one count of each column of `dse.cost.columns`."""
    pj: tuple[FloatArray, ...]
    """Picojoules of one count of each column."""
    vector_ops_per_s: FloatArray
    vector_s_per_op: FloatArray
    vector_pj_per_op: FloatArray
    mac_pj: Mapping[str, FloatArray]
    launch_latency_s: FloatArray
    dram_latency_s: FloatArray
    leakage_w: FloatArray

    @staticmethod
    def of(geometry: Geometry, table: DesignTable) -> Charges:
        """Of all points of `table`.

        Raises:
            UsageError: reading and writing DRAM cost different energies at some point, and the geometry is one where they never do.
        """
        if geometry.dram_alike and (table.dram_read_pj_per_byte != table.dram_write_pj_per_byte).any():
            raise UsageError(
                "these frontiers were made for equal energies of reading and writing DRAM, and a point of the table has different ones; "
                "compile for `geometry`, or for `geometry_for(paths of the columns)`"
            )
        vector_ops_per_s = table.vector_ops_per_cycle * table.clock_hz
        return Charges(
            size=table.size,
            capacity_bytes=table.buffer_capacity_bytes,
            inner_capacity_bytes=tuple(m.capacity_bytes for m in table.inner),
            seconds=tuple(narrow(c) for c in seconds_per_count(geometry, table)),
            pj=tuple(narrow(c) for c in pj_per_count(geometry, table)),
            vector_ops_per_s=narrow(vector_ops_per_s),
            vector_s_per_op=narrow(1.0 / vector_ops_per_s),
            vector_pj_per_op=narrow(table.vector_pj_per_op),
            mac_pj={dtype: narrow(column) for dtype, column in table.mac_pj.items()},
            launch_latency_s=narrow(table.launch_latency_s),
            dram_latency_s=narrow(table.dram_latency_s),
            leakage_w=narrow(table.leakage_w),
        )

    def at(self, where: slice | IntArray) -> Charges:
        """Of some of the points."""
        capacity = self.capacity_bytes[where]

        def some(column: FloatArray) -> FloatArray:
            return column if len(column) == 1 else column[where]

        return Charges(
            size=len(capacity),
            capacity_bytes=capacity,
            inner_capacity_bytes=tuple(c[where] for c in self.inner_capacity_bytes),
            seconds=tuple(map(some, self.seconds)),
            pj=tuple(map(some, self.pj)),
            vector_ops_per_s=some(self.vector_ops_per_s),
            vector_s_per_op=some(self.vector_s_per_op),
            vector_pj_per_op=some(self.vector_pj_per_op),
            mac_pj={dtype: some(column) for dtype, column in self.mac_pj.items()},
            launch_latency_s=some(self.launch_latency_s),
            dram_latency_s=some(self.dram_latency_s),
            leakage_w=some(self.leakage_w),
        )


def narrow(column: FloatArray) -> FloatArray:
    """The column as [1] if all its values are the same."""
    return column[:1] if len(column) and (column == column[0]).all() else column
