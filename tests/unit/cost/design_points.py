"""Design points and work with round numbers, for figures that can be worked out by hand."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from dse.hw.accelerator import AreaBreakdown, ArrayGeometry, Dataflow, Folds, Geometry
from dse.hw.table import DesignTable
from dse.mapping.problem import MatmulProblem, VectorProblem
from dse.schedule.place import Work

DEFAULTS = {
    "clock_hz": 1e9,
    "buffer_capacity_bytes": 1e6,
    "buffer_read_bytes_per_s": 1e9,
    "buffer_write_bytes_per_s": 1e9,
    "buffer_read_pj_per_byte": 1.0,
    "buffer_write_pj_per_byte": 2.0,
    "dram_capacity_bytes": 1e12,
    "dram_bytes_per_s": 1e9,
    "dram_read_pj_per_byte": 10.0,
    "dram_write_pj_per_byte": 20.0,
    "dram_latency_s": 0.0,
    "vector_ops_per_cycle": 4.0,
    "vector_pj_per_op": 3.0,
    "launch_latency_s": 0.0,
    "leakage_w": 0.0,
    "array_sustained_fraction": 1.0,
    "dram_sustained_fraction": 1.0,
}


def points(**columns: float | list[float]) -> DesignTable:
    """A table of `DEFAULTS` with `columns` laid over them; a MAC takes 0.5 pJ."""
    given = {name: np.atleast_1d(np.asarray(columns.get(name, value), dtype=float)) for name, value in DEFAULTS.items()}
    size = max(column.size for column in given.values())
    wide = {name: np.broadcast_to(column, (size,)) for name, column in given.items()}
    one = np.ones(size)
    area = {f.name: one * (f.name == "array_mm2") for f in fields(AreaBreakdown)}
    return DesignTable(size=size, mac_pj={"int8": 0.5 * one}, area_by_component=area, area_mm2=one, **wide)


def geometry(*, double_buffered: bool = True) -> Geometry:
    """One weight-stationary array of 8 x 8."""
    array = ArrayGeometry(8, 8, 1, (Dataflow.WEIGHT_STATIONARY,), Folds.PIPELINED, (("int8", 1),))
    return Geometry(array, double_buffered=double_buffered)


def vector(**changes: float | bool) -> VectorProblem:
    """An elementwise operator: 1000 bytes from DRAM, 500 to it, 2000 operations."""
    given = {
        "read_bytes": 1000.0,
        "write_bytes": 500.0,
        "on_chip_read_bytes": 0.0,
        "on_chip_write_bytes": 0.0,
        "vector_ops": 2000.0,
        "row_bytes": 0.0,
        "rereads": False,
    }
    return VectorProblem(**(given | changes))  # type: ignore[arg-type]


def matmul() -> MatmulProblem:
    """4 x 8 x 8 in int8: 256 MACs, 32 + 64 bytes in, 32 bytes out, one pass of an 8 x 8 array."""
    return MatmulProblem(1, 4, 8, 8, 8, 8, 8, 32, "int8")


def work(
    problem: MatmulProblem | VectorProblem,
    *,
    slices: int = 1,
    fill_bytes: float = 0.0,
    drain_bytes: float = 0.0,
    reserved_bytes: float = 0.0,
    launches: int = 1,
    touches_dram: bool = True,
) -> Work:
    return Work(problem, slices, fill_bytes, drain_bytes, reserved_bytes, launches, touches_dram)
