"""Frontiers for one design point against all mappings of the space, one by one."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dse.cost.at_point import at_point
from dse.cost.best_mapping import best_mapping
from dse.cost.capacity import Infeasibility
from dse.cost.row_prices import MapObjective, count_columns, criteria, prices
from dse.hw.accelerator import ArrayDim, ArrayGeometry, Dataflow, Folds, Geometry, Loop, MemoryGeometry, MemoryPrices, OperandName
from dse.mapping.frontier import every_mapping, mapping_traffic, matmul_frontier
from dse.mapping.point_search import NEAR, Criteria
from dse.mapping.problem import MatmulProblem
from dse.plugins import load_accelerator

if TYPE_CHECKING:
    from dse.hw.table import DesignTable

L, R, OUT = OperandName
REGISTERS = {"registers": True, "overlapped": True, "replicated": ("x", "y"), "instances": 12}
DIMS = (ArrayDim("x", 4, (Loop.M, Loop.K)), ArrayDim("y", 3, (Loop.N, Loop.K)))
INNER = (
    (MemoryGeometry(overlapped=True, operands=(L, OUT)), MemoryGeometry(overlapped=True, operands=(R, OUT))),
    (MemoryGeometry(overlapped=True, operands=(R,)), MemoryGeometry(double_buffered=True, operands=(R,))),
    (MemoryGeometry(overlapped=True, operands=(L,), replicated=("rows",), instances=2), MemoryGeometry(operands=(L, R))),
    (
        MemoryGeometry(registers=True, overlapped=True, operands=(OUT,), replicated=("rows", "columns"), instances=4),
        MemoryGeometry(overlapped=True, operands=(L, OUT), capacity_shares=((L, 0.25), (OUT, 0.75))),
    ),
    (MemoryGeometry(operands=(L,)), MemoryGeometry(operands=(L,), shared_port=True), MemoryGeometry(operands=(L, R))),
)
"""Inside the outermost buffer, for arrays of rows and columns; some operand may lie in three memories or four."""
INNER_OF_DIMS = (
    (MemoryGeometry(operands=(R,), **REGISTERS), MemoryGeometry(overlapped=True, operands=(R, OUT), replicated=("x",), instances=4)),
    (MemoryGeometry(operands=(OUT,), **REGISTERS), MemoryGeometry(double_buffered=True, operands=(L, OUT))),
)


WITH_DIMS = (2, 23, 28)
"""Seeds that draw an array of dimensions and take few mappings."""
OUTER = (MemoryGeometry(overlapped=True), MemoryGeometry(), MemoryGeometry(double_buffered=True, overlapped=True, shared_port=True))


def drawn(seed: int) -> tuple[MatmulProblem, Geometry, DesignTable]:
    """A small product, a machine, and one design point of it."""
    rng = random.Random(seed)
    flow, folds = rng.choice(list(Dataflow)), rng.choice(list(Folds))
    if rng.random() < 0.3:
        inner = rng.choice(INNER_OF_DIMS)
        array = ArrayGeometry(12, 1, 1, (), folds, (("int8", 1),), 1, DIMS, (L, R, OUT))
    else:
        inner = rng.choice(INNER)
        array = ArrayGeometry(2, 2, rng.choice([1, 1, 2]), (flow,), folds, (("int8", rng.choice([1, 2])),))
    outer = rng.choice(OUTER)
    geometry = Geometry(array, double_buffered=outer.double_buffered, buffer=outer, inner=inner, dram_alike=rng.random() < 0.5)
    rate, one = rng.choice([0.001, 1, 100]), np.ones(1)
    memories = [
        MemoryPrices(
            name=f"l{i}",
            capacity_bytes=one * rng.choice([4, 9, 40]) * 3**i,
            read_bytes_per_s=one * (np.inf if level.registers else 1e12 * rate),
            write_bytes_per_s=one * (np.inf if level.registers else 1e11),
            read_pj_per_byte=one * 0.3 * 2**i,
            write_pj_per_byte=one * 0.4 * 2**i,
        )
        for i, level in enumerate(inner)
    ]
    table = load_accelerator("edge32").table({})
    room = np.array([float(rng.choice([2, 12, 40, 300]))])
    table = replace(
        table, inner=tuple(memories), buffer_capacity_bytes=room, dram_bytes_per_s=table.dram_bytes_per_s * rng.choice([rate, 1])
    )
    on_chip = rng.choice([(False, False)] * 3 + [(True, False), (False, True)])
    m, k, n = rng.choice([1, 2, 5]), rng.choice([1, 3, 6]), rng.choice([1, 2, 4])
    return MatmulProblem(rng.choice([1, 3]), m, k, n, 8, 8, 8, rng.choice([8, 32]), "int8", *on_chip), geometry, table


@pytest.mark.parametrize("seed", [1, 3, 5, 7, 9, 13, 15, 16, 17, 18, 19, 21, 23])
def test_no_mapping_beats_the_frontier_of_a_point(seed: int) -> None:
    """Every mapping that fits is matched or beaten by a row in room, energy and all times; rows cost what their mappings cost as given."""
    none_is_better(*drawn(seed))


@pytest.mark.parametrize("seed", WITH_DIMS)
def test_groups_side_by_side_at_a_point(seed: int) -> None:
    """The same where the first dimension of the array takes groups beside k, with three groups."""
    problem, geometry, table = drawn(seed)
    dims = (ArrayDim("x", 4, (Loop.GROUPS, Loop.K)), DIMS[1])
    none_is_better(replace(problem, groups=3), replace(geometry, array=replace(geometry.array, dims=dims)), table)


def none_is_better(problem: MatmulProblem, geometry: Geometry, table: DesignTable) -> None:
    """As `test_no_mapping_beats_the_frontier_of_a_point`."""
    asked = at_point(geometry, table)
    assert asked.point is not None
    compared = Criteria(asked.point)
    found = matmul_frontier(problem, asked)
    assert not found.in_part
    rows = found.counts.matrix()
    for row, mapping in zip(rows, found.mappings, strict=True):
        assert np.array_equal(mapping_traffic(problem, geometry, mapping)[1].matrix()[0], row)
    known = compared.of_rows(rows)
    assert not any((known[:, [i]] >= known[:, [j]]).all() for i in range(len(rows)) for j in range(len(rows)) if i != j)
    capacities = asked.point.capacity_bytes
    seen = 0
    for counts, _ in every_mapping(problem, geometry, most=2**17, capacities=capacities):
        here = compared.of_rows(counts.matrix()) * (1 + 1e-9)
        seen += here.shape[1]
        beaten = np.zeros(here.shape[1], dtype=np.bool_)
        for row in known.T:
            beaten |= (row[:, None] <= here).all(axis=0)
        assert beaten.all()
    if seen:
        assert compared.fits(rows).all()


@pytest.mark.parametrize("cells", [4, 200, 10**9])
@pytest.mark.parametrize("seed", [1, 3, 5, 9, 13, 17, 19])
def test_of_some_cells_the_distance_to_the_best_is_told(seed: int, cells: int) -> None:
    """No mapping has less energy, or a shorter longest busy time, than is told; where all cells were looked at each is matched to `NEAR`."""
    problem, geometry, table = drawn(seed)
    asked = replace(at_point(geometry, table), most_cells=cells)
    assert asked.point is not None
    compared = Criteria(asked.point)
    found = matmul_frontier(problem, asked)
    rows = found.counts.matrix()
    if not compared.fits(rows).all():
        return
    for row, mapping in zip(rows, found.mappings, strict=True):
        assert np.array_equal(mapping_traffic(problem, geometry, mapping)[1].matrix()[0], row)
    known, (busy, energy) = compared.of_rows(rows), found.behind
    assert found.in_part
    near = NEAR * (1 + 1e-9)
    for counts, _ in every_mapping(problem, geometry, most=2**17, capacities=asked.point.capacity_bytes):
        here = compared.of_rows(counts.matrix())
        assert known[1].min() <= here[1].min() * (1 + energy) * (1 + 1e-9)
        assert known[2:].max(axis=0).min() <= here[2:].max(axis=0).min() * (1 + busy) * (1 + 1e-9)
        if cells < 10**9:
            continue
        here[0] += near * asked.point.capacity_bytes[0]
        here[1] *= 1 + near
        here[2:] += near * here[2:].max(axis=0)
        assert (known[:, :, None] <= here[:, None] * (1 + 1e-9)).all(axis=0).any(axis=0).all()


@pytest.mark.parametrize("objective", list(MapObjective))
@pytest.mark.parametrize("seed", range(24, 30))
def test_the_best_mapping_is_a_row(seed: int, objective: MapObjective) -> None:
    """The search for one objective, over the same space, finds what pricing the rows finds."""
    problem, geometry, table = drawn(seed)
    best = best_mapping(problem, geometry, table, objective)
    found = matmul_frontier(problem, at_point(geometry, table))
    columns = count_columns(found.counts.matrix())
    if isinstance(best, Infeasibility):
        return
    latency, energy = prices(problem, geometry, table, columns[:, 1:])
    first, _ = criteria(latency, energy, columns, objective)
    expected, _ = criteria(np.array([best.latency_s]), np.array([best.energy_pj]), best.counts[None], objective)
    assert first.min() == pytest.approx(expected[0], rel=1e-8)


def test_where_nothing_fits_something_says_what_is_needed() -> None:
    """Registers of one byte hold no sum of four: the whole operator as one tile without a home."""
    array = ArrayGeometry(2, 2, 1, (Dataflow.OUTPUT_STATIONARY,), Folds.BROADCAST, (("int8", 1),))
    inner = (INNER[3][0], MemoryGeometry(operands=(OUT,)))
    geometry = Geometry(array, double_buffered=False, buffer=MemoryGeometry(overlapped=True), inner=inner)
    one = np.ones(1)
    memories = [
        MemoryPrices(
            name=name, capacity_bytes=one, read_bytes_per_s=one, write_bytes_per_s=one, read_pj_per_byte=one, write_pj_per_byte=one
        )
        for name in "rb"
    ]
    table = replace(load_accelerator("edge32").table({}), inner=tuple(memories))
    problem = MatmulProblem(1, 4, 4, 4, 8, 8, 8, 32, "int8")
    found = matmul_frontier(problem, at_point(geometry, table))
    assert len(found) == len(found.mappings) == 1
    assert found.counts.inner is not None
    assert found.counts.inner[0, 0] == 4.0
    assert isinstance(best_mapping(problem, geometry, table, MapObjective.LATENCY), Infeasibility)
