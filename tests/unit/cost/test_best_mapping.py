"""The search for one design point against pricing every mapping of the space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.cost.best_mapping import best_mapping, choose
from dse.cost.row_prices import MapObjective, count_columns, criteria, prices
from dse.hw.accelerator import Geometry, MemoryGeometry, OperandName
from dse.hw.table import DesignTable, MemoryColumns
from dse.mapping.counts import INNER_COLUMNS
from dse.mapping.frontier import every_mapping
from dse.mapping.problem import MatmulProblem
from dse.plugins import load_accelerator

L, R, OUT = OperandName.LEFT, OperandName.RIGHT, OperandName.OUT
INNER = (
    (),
    (MemoryGeometry(overlapped=True, operands=(L, OUT)),),
    (MemoryGeometry(overlapped=True, operands=(OUT,)), MemoryGeometry(double_buffered=True, operands=(R, OUT))),
    (MemoryGeometry(registers=True, operands=(R,), replicated=("rows", "columns"), instances=1024),),
    (MemoryGeometry(overlapped=True, operands=(L,), replicated=("rows",), instances=32), MemoryGeometry(overlapped=True)),
)


def every_priced(problem: MatmulProblem, geometry: Geometry, table: DesignTable, objective: MapObjective) -> tuple[float, float]:
    """Both criteria of the choice out of all mappings of the space that fit."""
    firsts, seconds = [], []
    capacities = (float(table.buffer_capacity_bytes[0]), *(float(m.capacity_bytes[0]) for m in table.inner))
    for counts, _ in every_mapping(problem, geometry, most=10**7, capacities=capacities):
        fits = np.ones(len(counts), dtype=np.bool_)
        for i, memory in enumerate(table.inner):
            assert counts.inner is not None
            fits &= counts.inner[:, INNER_COLUMNS * i] <= memory.capacity_bytes[0]
        columns = count_columns(counts.take(np.flatnonzero(fits)).matrix())
        latency, energy = prices(problem, geometry, table, columns[:, 1:])
        first, second = criteria(latency, energy, columns, objective)
        firsts.append(first)
        seconds.append(second)
    first, second = np.concatenate(firsts), np.concatenate(seconds)
    at = choose(first, second)
    return float(first[at]), float(second[at])


sizes = st.sampled_from([1, 2, 7, 31, 32, 33, 64, 97, 200])


@settings(deadline=None, max_examples=30)
@given(
    groups=st.sampled_from([1, 3]),
    m=sizes,
    k=sizes,
    n=sizes,
    chip=st.sampled_from(["edge32", "h100_sxm", "tpu_v4i", "flat_edge"]),
    inner=st.sampled_from(INNER),
    kib=st.sampled_from([0.01, 0.5, 2, 16, 200, 4000]),
    inner_bytes=st.sampled_from([2, 64, 3000]),
    rate=st.sampled_from([0.01, 1, 100]),
    objective=st.sampled_from(list(MapObjective)),
    on_chip=st.sampled_from([(False, False)] * 3 + [(True, False), (False, True), (True, True)]),
)
def test_no_mapping_of_the_space_is_better(
    groups: int,
    m: int,
    k: int,
    n: int,
    chip: str,
    inner: tuple[MemoryGeometry, ...],
    kib: float,
    inner_bytes: float,
    rate: float,
    objective: MapObjective,
    on_chip: tuple[bool, bool],
) -> None:
    description = load_accelerator(chip)
    geometry, table = description.geometry, description.table({})
    if geometry.array.count == 1 and not geometry.inner:
        geometry = replace(geometry, inner=inner)
        one = np.ones(1)
        memories = [
            MemoryColumns(
                name=f"l{i}",
                capacity_bytes=one * inner_bytes,
                read_bytes_per_s=one * (np.inf if level.registers else 1e12 * rate),
                write_bytes_per_s=one * (np.inf if level.registers else 1e11),
                read_pj_per_byte=one * 0.3,
                write_pj_per_byte=one * 0.4,
            )
            for i, level in enumerate(inner)
        ]
        table = replace(table, inner=tuple(memories))
    table = replace(table, buffer_capacity_bytes=np.array([1024 * kib]), dram_bytes_per_s=table.dram_bytes_per_s * rate)
    problem = MatmulProblem(groups, m, k, n, 8, 8, 8, 32, geometry.array.macs_per_pe_per_cycle[0][0], *on_chip)
    found = best_mapping(problem, geometry, table, objective)
    first, second = criteria(np.array([found.latency_s]), np.array([found.energy_pj]), found.counts[None], objective)
    assert (float(first[0]), float(second[0])) == pytest.approx(every_priced(problem, geometry, table, objective), rel=3e-9)
