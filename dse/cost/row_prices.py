"""Rows of counts of one matrix product priced at one design point."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from dse.cost.columns import DRAM_READ, DRAM_WRITE, busy_latency_s, counts_per_second, pj_per_count
from dse.mapping.counts import COUNT_NAMES, INNER_COLUMNS
from dse.units import JOULES_PER_PJ

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.hw.accelerator import Geometry
    from dse.hw.table import DesignTable
    from dse.mapping.problem import MatmulProblem

    FloatArray = NDArray[np.float64]


class MapObjective(StrEnum):
    """What the mapping minimises; ties go to energy, then latency (with energy: to latency)."""

    LATENCY = "latency"
    ENERGY = "energy"
    EDP = "edp"
    DRAM_BYTES = "dram_bytes"


def count_columns(everything: FloatArray) -> FloatArray:
    """A matrix of `Counts` [R, 6 + 3 L] without the footprints of inner memories, [R, 6 + 2 L]."""
    rows = len(everything)
    inner = everything[:, len(COUNT_NAMES) :].reshape(rows, -1, INNER_COLUMNS)[:, :, 1:].reshape(rows, -1)
    return np.concatenate((everything[:, : len(COUNT_NAMES)], inner), axis=1)


def prices(problem: MatmulProblem, geometry: Geometry, table: DesignTable, moved: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Seconds and picojoules [R] of count rows [R, C] at the first design point."""
    rates = counts_per_second(geometry, table)[:, :1]
    latency = busy_latency_s(geometry, moved, 1.0 / rates)[:, 0] + overhead_s(table)
    compute = problem.macs * float(table.mac_pj[problem.dtype][0])
    energy = moved @ pj_per_count(geometry, table)[:, 0] + compute + float(table.leakage_w[0]) * latency / JOULES_PER_PJ
    return latency, energy


def overhead_s(table: DesignTable) -> float:
    """Launch and first access to DRAM."""
    return float(table.launch_latency_s[0] + table.dram_latency_s[0])


def criteria(latency: FloatArray, energy: FloatArray, columns: FloatArray, objective: MapObjective) -> tuple[FloatArray, FloatArray]:
    """What is minimised, and what decides between ties; `columns` as of `count_columns`."""
    return criteria_of(latency, energy, columns[:, 1 + DRAM_READ] + columns[:, 1 + DRAM_WRITE], objective)


def criteria_of(latency: FloatArray, energy: FloatArray, dram_bytes: FloatArray, objective: MapObjective) -> tuple[FloatArray, FloatArray]:
    """What is minimised, and what decides between ties."""
    return {
        MapObjective.LATENCY: (latency, energy),
        MapObjective.ENERGY: (energy, latency),
        MapObjective.EDP: (latency * energy, energy),
        MapObjective.DRAM_BYTES: (dram_bytes, energy),
    }[objective]
