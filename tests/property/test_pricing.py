"""Prices over random design points: monotone, bounded, additive, and the same whichever way the table is cut."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.cost.frontier_pricing import BUFFER_READ, BUFFER_WRITE, CHUNK_POINTS, DRAM_READ, DRAM_WRITE, TIE_TOLERANCE, OperatorPricer
from dse.cost.metrics import RESOURCES, Objective
from dse.cost.roofline import roofline
from dse.cost.workload_pricing import CompiledWorkload
from dse.evaluate import compile_step, price
from dse.hw.read import AcceleratorDescription
from dse.hw.table import DesignTable
from dse.ir.lowering import Part
from dse.mapping.problem import MatmulProblem
from dse.plugins import load_accelerator
from dse.schedule.place import Work
from dse.workload import WorkloadOptions, load_workload

TIES = 1 + TIE_TOLERANCE
"""Two results that differ by less may have been chosen by the other objective."""

RANGES = {
    "clock_mhz": (100.0, 3000.0),
    "core.array.mac_energy_pj.bf16": (0.05, 5.0),
    "core.array.sustained_fraction": (0.1, 1.0),
    "core.vector.lanes": (16.0, 65536.0),
    "core.vector.energy_pj_per_op": (0.1, 10.0),
    "memories.sram.capacity_kib": (0.25, 1e6),
    "memories.sram.read_gb_per_s": (100.0, 50_000.0),
    "memories.sram.write_gb_per_s": (100.0, 50_000.0),
    "memories.sram.read_energy_pj_per_byte": (0.1, 20.0),
    "memories.sram.write_energy_pj_per_byte": (0.1, 20.0),
    "memories.dram.bandwidth_gb_per_s": (5.0, 10_000.0),
    "memories.dram.capacity_gib": (0.05, 100.0),
    "memories.dram.read_energy_pj_per_byte": (5.0, 300.0),
    "memories.dram.write_energy_pj_per_byte": (5.0, 300.0),
    "memories.dram.latency_ns": (0.001, 1000.0),
    "memories.dram.sustained_fraction": (0.2, 1.0),
    "overheads.launch_latency_us": (0.001, 10.0),
    "leakage_w": (0.001, 100.0),
}
"""Fields of `flat_cloud`, drawn evenly in their logarithm."""


@cache
def chip() -> AcceleratorDescription:
    return load_accelerator("flat_cloud")


@cache
def compiled(scheme: str) -> CompiledWorkload:
    """DeepSeek-V3's attention, 4 sequences of 2048 positions: 0.35 to 1.2 GiB of weights, caches beside."""
    options = WorkloadOptions(model="deepseek_v3", attention=scheme, part=Part.ATTENTION, batch=4, cache_len=2048)
    return compile_step(load_workload(options).step, chip().geometry)


def draw(seed: int, size: int, **fixed: float) -> dict[str, np.ndarray]:
    """`size` random design points; `fixed` replaces a column, named with `__` for dots."""
    rng = np.random.default_rng(seed)
    columns = {path: np.exp(rng.uniform(np.log(low), np.log(high), size)) for path, (low, high) in RANGES.items()}
    columns["core.vector.lanes"] = np.floor(columns["core.vector.lanes"])
    return columns | {path.replace("__", "."): np.full(size, value) for path, value in fixed.items()}


seeds = st.integers(0, 2**32 - 1)
schemes = st.sampled_from(["left_to_right", "recompute", "reuse"])


@pytest.mark.parametrize(
    "path",
    [
        "clock_mhz",
        "core.array.sustained_fraction",
        "core.vector.lanes",
        "memories.sram.capacity_kib",
        "memories.sram.read_gb_per_s",
        "memories.sram.write_gb_per_s",
        "memories.dram.bandwidth_gb_per_s",
        "memories.dram.sustained_fraction",
    ],
)
@settings(max_examples=15, deadline=None)
@given(seed=seeds, scheme=schemes, factor=st.floats(1.0, 64.0))
def test_more_is_never_slower(path: str, seed: int, scheme: str, factor: float) -> None:
    """Bandwidth, capacity, clock, lanes, sustained share."""
    less = draw(seed, 16, memories__dram__capacity_gib=80)
    more = less | {path: less[path] * factor}
    if path.endswith("sustained_fraction"):
        more[path] = np.minimum(more[path], 1.0)
    if path.endswith("lanes"):
        more[path] = np.floor(more[path])
    a, b = (price(compiled(scheme), chip().table(columns)) for columns in (less, more))
    assert (b.latency_s <= a.latency_s * TIES).all()


@settings(max_examples=15, deadline=None)
@given(seed=seeds, scheme=schemes, factor=st.floats(1.0, 64.0), leaks=st.booleans())
def test_a_larger_buffer_never_raises_the_least_energy(seed: int, scheme: str, factor: float, leaks: bool) -> None:
    """Leakage is a price of its own here, not one of area."""
    less = draw(seed, 16, memories__dram__capacity_gib=80, **({} if leaks else {"leakage_w": 0}))
    more = less | {"memories.sram.capacity_kib": less["memories.sram.capacity_kib"] * factor}
    a, b = (price(compiled(scheme), chip().table(columns), objective=Objective.ENERGY) for columns in (less, more))
    assert (b.energy_j <= a.energy_j * TIES).all()


@settings(max_examples=15, deadline=None)
@given(seed=seeds, scheme=schemes)
def test_least_traffic_falls_with_the_buffer(seed: int, scheme: str) -> None:
    """Where DRAM bytes are all that costs, a larger buffer never moves more, and none moves less than the compulsory ones."""
    sizes = np.sort(draw(seed, 16)["memories.sram.capacity_kib"])
    dear = {"memories.dram.read_energy_pj_per_byte": 1e9, "memories.dram.write_energy_pj_per_byte": 1e9}
    found = price(compiled(scheme), chip().table({**dear, "memories.sram.capacity_kib": sizes}), objective=Objective.ENERGY)
    assert (np.diff(found.dram_bytes) <= TIE_TOLERANCE * found.dram_bytes[:-1]).all()
    assert found.dram_bytes.min() >= roofline(compiled(scheme), chip().table({})).compulsory_bytes


@settings(max_examples=15, deadline=None)
@given(seed=seeds, scheme=schemes, objective=st.sampled_from(list(Objective)))
def test_never_below_the_roofline_and_finite_or_infeasible(seed: int, scheme: str, objective: Objective) -> None:
    columns = draw(seed, 8)
    table = chip().table(columns)
    found = price(compiled(scheme), table, objective=objective)
    fits = compiled(scheme).stored_bytes <= table.dram_capacity_bytes
    assert (found.feasible == fits).all()
    values = np.stack([found.latency_s, found.energy_j])
    assert np.isfinite(values[:, fits]).all()
    assert (values[:, fits] > 0).all()
    assert np.isposinf(values[:, ~fits]).all()
    assert np.isfinite(found.area_mm2).all()
    assert ((found.bound >= 0) == fits).all()
    assert (found.bound < len(RESOURCES)).all()
    for i in np.flatnonzero(fits):
        point = chip().table({path: column[i] for path, column in columns.items()})
        assert found.latency_s[i] * table.clock_hz[i] >= roofline(compiled(scheme), point).cycles * (1 - 1e-12)


@settings(max_examples=15, deadline=None)
@given(seed=seeds, scheme=schemes, objective=st.sampled_from(list(Objective)))
def test_a_table_is_its_points(seed: int, scheme: str, objective: Objective) -> None:
    """One by one, backwards, and among the points of another table: the same numbers."""
    columns = draw(seed, 24)
    whole = price(compiled(scheme), chip().table(columns), objective=objective)
    backwards = price(compiled(scheme), chip().table({p: c[::-1] for p, c in columns.items()}), objective=objective)
    more = draw(seed + 1, 40)
    among = price(compiled(scheme), chip().table({p: np.concatenate((more[p], c)) for p, c in columns.items()}), objective=objective)
    single = [price(compiled(scheme), chip().table({p: c[i] for p, c in columns.items()}), objective=objective) for i in range(24)]
    for name in ("latency_s", "energy_j", "area_mm2", "bound", "feasible"):
        expected = getattr(whole, name)
        np.testing.assert_allclose(getattr(backwards, name)[::-1], expected, rtol=1e-12)
        np.testing.assert_allclose(getattr(among, name)[40:], expected, rtol=1e-12)
        np.testing.assert_allclose(np.concatenate([getattr(s, name) for s in single]), expected, rtol=1e-12)


@pytest.mark.parametrize("objective", list(Objective))
def test_chunks_do_not_show(objective: Objective) -> None:
    """More points than are priced at a time, with one capacity (slices) and with many (index lists)."""
    size = 2 * CHUNK_POINTS + 17
    for fixed in ({"memories__sram__capacity_kib": 32768}, {}):
        columns = draw(7, size, **fixed)
        whole = price(compiled("left_to_right"), chip().table(columns), objective=objective)
        cut = 5000
        parts = [
            price(compiled("left_to_right"), chip().table({p: c[start : start + cut] for p, c in columns.items()}), objective=objective)
            for start in range(0, size, cut)
        ]
        for name in ("latency_s", "energy_j", "dram_bytes"):
            joined = np.concatenate([getattr(p, name) for p in parts])
            feasible = whole.feasible
            np.testing.assert_allclose(joined[feasible], getattr(whole, name)[feasible], rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    seed=seeds,
    shape=st.tuples(st.integers(1, 8), st.integers(1, 300), st.integers(1, 700), st.integers(1, 700)),
    slices=st.integers(1, 5),
    overlap=st.booleans(),
    objective=st.sampled_from(list(Objective)),
)
def test_one_operator_lies_between_the_larger_and_the_sum(
    seed: int, shape: tuple[int, int, int, int], slices: int, overlap: bool, objective: Objective
) -> None:
    """Latency between max(array, DRAM) and array + buffer ports + DRAM, overheads on both sides; bytes at least compulsory;
    energy at least that of the MACs and the DRAM bytes."""
    geometry = replace(chip().geometry, double_buffered=overlap)
    problem = MatmulProblem(*shape, 16, 16, 16, 32, "bf16")
    pricer = OperatorPricer(Work(problem, slices, 0.0, 0.0, 0.0, 1, True), geometry)
    table = chip().table(draw(seed, 16))
    found = pricer.price(table, objective)
    c = pricer.counts[found.row]
    array_s = c[:, -1] / (table.clock_hz * table.array_sustained_fraction)
    dram_bytes = c[:, DRAM_READ] + c[:, DRAM_WRITE]
    dram_s = dram_bytes / (table.dram_bytes_per_s * table.dram_sustained_fraction)
    ports_s = c[:, BUFFER_READ] / table.buffer_read_bytes_per_s + c[:, BUFFER_WRITE] / table.buffer_write_bytes_per_s
    overhead_s = table.launch_latency_s + table.dram_latency_s
    low = (np.maximum(array_s, dram_s) if overlap else array_s + dram_s) + overhead_s
    assert (found.latency_s >= low * (1 - 1e-12)).all()
    assert (found.latency_s <= (array_s + dram_s + ports_s + overhead_s) * (1 + 1e-12)).all()
    assert (dram_bytes >= slices * (problem.left_bytes + problem.right_bytes + problem.out_bytes)).all()
    assert (c[:, -1] * 256 * 256 >= slices * problem.macs).all()
    least_pj = slices * problem.macs * table.mac_pj["bf16"] + dram_bytes * np.minimum(
        table.dram_read_pj_per_byte, table.dram_write_pj_per_byte
    )
    assert (found.energy_j >= least_pj * 1e-12 * (1 - 1e-12)).all()


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_area_is_positive_and_adds_up(seed: int) -> None:
    table: DesignTable = chip().table(draw(seed, 32))
    parts = np.stack(list(table.area_by_component.values()))
    assert (parts >= 0).all()
    assert (table.area_mm2 > 0).all()
    np.testing.assert_allclose(parts.sum(axis=0), table.area_mm2, rtol=1e-12)
    larger = chip().table({**draw(seed, 32), "memories.sram.capacity_kib": np.full(32, 2e6)})
    assert (larger.area_mm2 > table.area_mm2).all()


@settings(max_examples=15, deadline=None)
@given(seed=seeds, scheme=schemes)
def test_each_objective_is_least_at_its_own(seed: int, scheme: str) -> None:
    """Latency and energy up to ties; the product at most that of either optimum."""
    table = chip().table(draw(seed, 32, memories__dram__capacity_gib=80))
    found = {o: price(compiled(scheme), table, objective=o) for o in Objective}
    for other in found.values():
        assert (found[Objective.LATENCY].latency_s <= other.latency_s * TIES).all()
        assert (found[Objective.ENERGY].energy_j <= other.energy_j * TIES).all()
    edp = {o: p.metric("edp_js") for o, p in found.items()}
    assert (edp[Objective.EDP] <= edp[Objective.LATENCY] * TIES**2).all()
    assert (edp[Objective.EDP] <= edp[Objective.ENERGY] * TIES**2).all()
