"""The search for one design point against pricing every mapping of the space."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.cost.best_mapping import best_mapping, choose
from dse.cost.capacity import Infeasibility
from dse.cost.row_prices import MapObjective, count_columns, criteria, prices
from dse.hw.accelerator import ArrayDim, ArrayGeometry, Dataflow, Folds, Geometry, Loop, MemoryGeometry, OperandName
from dse.hw.table import DesignTable, MemoryColumns
from dse.mapping.counts import INNER_COLUMNS
from dse.mapping.flows import ways
from dse.mapping.frontier import every_mapping
from dse.mapping.many_ways import least_cycles, side_by_side
from dse.mapping.problem import MatmulProblem
from dse.mapping.space import view_of, whole_blocks_of
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
    for counts, _ in every_mapping(problem, geometry, most=10**7, capacities=capacities, turning=True):
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


def with_inner(table: DesignTable, inner: tuple[MemoryGeometry, ...], inner_bytes: float, rate: float) -> DesignTable:
    """The table with memories inside the outermost buffer, of `inner_bytes` each."""
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
    return replace(table, inner=tuple(memories))


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
        table = with_inner(table, inner, inner_bytes, rate)
    table = replace(table, buffer_capacity_bytes=np.array([1024 * kib]), dram_bytes_per_s=table.dram_bytes_per_s * rate)
    problem = MatmulProblem(groups, m, k, n, 8, 8, 8, 32, geometry.array.macs_per_pe_per_cycle[0][0], *on_chip)
    found = best_mapping(problem, geometry, table, objective)
    first, second = criteria(np.array([found.latency_s]), np.array([found.energy_pj]), found.counts[None], objective)
    assert (float(first[0]), float(second[0])) == pytest.approx(every_priced(problem, geometry, table, objective), rel=3e-9)


THREE = (
    (MemoryGeometry(overlapped=True, operands=(L, OUT)), MemoryGeometry(overlapped=True, operands=(R, OUT))),
    (MemoryGeometry(overlapped=True, operands=(R,)), MemoryGeometry(double_buffered=True, operands=(R,))),
    (MemoryGeometry(overlapped=True, operands=(L,), replicated=("rows",), instances=2), MemoryGeometry(operands=(L, R))),
    (
        MemoryGeometry(registers=True, overlapped=True, operands=(OUT,), replicated=("rows", "columns"), instances=4),
        MemoryGeometry(overlapped=True, operands=(L, OUT)),
    ),
    (MemoryGeometry(operands=(L,)), MemoryGeometry(operands=(L,)), MemoryGeometry(operands=(L, R))),
)
"""Two or three memories inside the outermost buffer, with an operand that may lie in three or four."""


@pytest.mark.parametrize("seed", range(9))
def test_no_mapping_with_three_tiles_of_an_operand_is_better(seed: int) -> None:
    """Choices of memories are searched all at once where an operand may lie in three: the same choice as out of all mappings priced."""
    rng = random.Random(seed)
    inner, flow, folds = THREE[seed % len(THREE)], rng.choice(list(Dataflow)), rng.choice(list(Folds))
    array = ArrayGeometry(2, 2, rng.choice([1, 1, 2]), (flow,), folds, (("int8", 1),))
    room, inner_bytes, rate = rng.choice([2, 12, 40, 300]), rng.choice([4, 9, 40]), rng.choice([0.001, 1, 100])
    objective, on_chip = rng.choice(list(MapObjective)), rng.choice([(False, False)] * 3 + [(True, False), (False, True)])
    geometry = Geometry(array, double_buffered=False, buffer=MemoryGeometry(overlapped=True), inner=inner)
    table = with_inner(load_accelerator("edge32").table({}), inner, inner_bytes, rate)
    memories = [
        replace(x, capacity_bytes=x.capacity_bytes * 3**i, read_pj_per_byte=x.read_pj_per_byte * 2**i) for i, x in enumerate(table.inner)
    ]
    table = replace(
        table, inner=tuple(memories), buffer_capacity_bytes=np.array([float(room)]), dram_bytes_per_s=table.dram_bytes_per_s * rate
    )
    problem = MatmulProblem(
        rng.choice([1, 3]), rng.choice([1, 2, 5]), rng.choice([3, 6]), rng.choice([1, 4, 5]), 8, 8, 8, 32, "int8", *on_chip
    )
    found = best_mapping(problem, geometry, table, objective)
    assert not isinstance(found, Infeasibility)
    first, second = criteria(np.array([found.latency_s]), np.array([found.energy_pj]), found.counts[None], objective)
    assert (float(first[0]), float(second[0])) == pytest.approx(every_priced(problem, geometry, table, objective), rel=3e-9)


def test_tiles_below_a_pass_are_found_on_an_array_of_the_long_form() -> None:
    """Six bytes hold two tiles of one element along k, not of a whole pass of three: the least energy needs those."""
    array = ArrayGeometry(3, 1, 1, (), Folds.BROADCAST, (("int8", 1),), 1, (ArrayDim("d", 3, (Loop.K, Loop.N)),), (L,))
    geometry = Geometry(array, double_buffered=True, buffer=MemoryGeometry(double_buffered=True, overlapped=True))
    table = replace(load_accelerator("edge32").table({}), buffer_capacity_bytes=np.array([6.0]))
    problem = MatmulProblem(2, 2, 5, 1, 8, 8, 8, 8, "int8")
    found = best_mapping(problem, geometry, table, MapObjective.ENERGY)
    assert not isinstance(found, Infeasibility)
    assert (found.energy_pj, found.counts[1:3].sum()) == (pytest.approx(2540.0), 34)


DIMS = (ArrayDim("x", 4, (Loop.M, Loop.K)), ArrayDim("y", 3, (Loop.N, Loop.K)))
"""An array of the long form: 4 x 3, six ways to spread its loops."""
INNER_OF_DIMS = (
    (),
    (MemoryGeometry(registers=True, overlapped=True, operands=(R,), replicated=("x", "y"), instances=12),),
    (
        MemoryGeometry(registers=True, overlapped=True, operands=(OUT,), replicated=("x",), instances=4),
        MemoryGeometry(double_buffered=True, operands=(L,), replicated=("y",), instances=3),
    ),
    (
        MemoryGeometry(overlapped=True, operands=(L, OUT), replicated=("x",), instances=4),
        MemoryGeometry(overlapped=True, operands=(R, OUT)),
    ),
)


def array_of(folds: Folds, stationary: tuple[OperandName, ...] = (L, R, OUT)) -> ArrayGeometry:
    return ArrayGeometry(12, 1, 1, (), folds, (("int8", 2),), 1, DIMS, stationary)


@settings(deadline=None, max_examples=20)
@given(
    groups=st.sampled_from([1, 3]),
    m=st.sampled_from([1, 2, 7, 17]),
    k=st.sampled_from([1, 5, 12, 27]),
    n=st.sampled_from([1, 6, 13]),
    folds=st.sampled_from(list(Folds)),
    stationary=st.sampled_from([(L, R, OUT), (R,), (OUT,), (L, OUT)]),
    on_chip=st.sampled_from([(False, False), (False, True), (True, False)]),
    inner=st.sampled_from(INNER_OF_DIMS),
    kib=st.sampled_from([0.01, 0.2, 1, 4000]),
    inner_bytes=st.sampled_from([4, 64, 3000]),
    rate=st.sampled_from([0.01, 1, 100]),
    objective=st.sampled_from(list(MapObjective)),
)
def test_no_mapping_on_any_way_to_use_an_array_is_better(
    groups: int,
    m: int,
    k: int,
    n: int,
    folds: Folds,
    stationary: tuple[OperandName, ...],
    on_chip: tuple[bool, bool],
    inner: tuple[MemoryGeometry, ...],
    kib: float,
    inner_bytes: float,
    rate: float,
    objective: MapObjective,
) -> None:
    """All ways are searched together, by floors of cells of many of them: the same choice as out of all mappings priced."""
    geometry = Geometry(array_of(folds, stationary), double_buffered=True, inner=inner)
    table = load_accelerator("edge32").table({})
    table = with_inner(table, inner, inner_bytes, rate)
    table = replace(table, buffer_capacity_bytes=np.array([1024 * kib]), dram_bytes_per_s=table.dram_bytes_per_s * rate)
    problem = MatmulProblem(groups, m, k, n, 8, 8, 8, 32, "int8", *on_chip)
    found = best_mapping(problem, geometry, table, objective)
    assert not isinstance(found, Infeasibility)
    first, second = criteria(np.array([found.latency_s]), np.array([found.energy_pj]), found.counts[None], objective)
    assert (float(first[0]), float(second[0])) == pytest.approx(every_priced(problem, geometry, table, objective), rel=3e-9)


@pytest.mark.parametrize("folds", list(Folds))
def test_least_cycles_of_many_ways(folds: Folds) -> None:
    """Side by side as one by one: the whole product as one tile."""
    array = array_of(folds)
    problem = MatmulProblem(3, 31, 50, 17, 8, 8, 8, 32, "int8")
    geometry = Geometry(array, double_buffered=False)
    for dataflow in Dataflow:
        views = [view_of(problem, replace(geometry, array=way), dataflow) for way in ways(geometry) if dataflow in way.dataflows]
        start = (np.zeros(1, dtype=np.int64),) * 3
        expected = [min(float(block.cycles(start)[0]) for block in whole_blocks_of(view)) for view in views]
        assert least_cycles(side_by_side(views), views) == pytest.approx(expected, rel=1e-12)
