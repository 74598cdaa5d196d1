"""What pricing leaves out is never missed: results are those of every row, plan and combination priced at every point."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.cost import frontier_pricing
from dse.cost.charges import Charges
from dse.cost.choice import TIE_TOLERANCE
from dse.cost.floors import ROUNDING, Floors
from dse.cost.frontier_pricing import OperatorPricer
from dse.cost.metrics import Objective
from dse.cost.part_pricing import PartPricer
from dse.cost.row_table import RUN_POINTS
from dse.cost.workload_pricing import CompiledPart
from dse.evaluate import compile_step
from dse.hw.read import AcceleratorDescription
from dse.hw.table import DesignTable
from dse.ir.lowering import Part
from dse.mapping.counts import Counts
from dse.mapping.frontier import Frontier
from dse.mapping.problem import MatmulProblem
from dse.plugins import load_accelerator
from dse.schedule.place import Work
from dse.workload import WorkloadOptions, load_workload

from .design_points import geometry, matmul, points, work

SEEDS = st.integers(0, 2**32 - 1)
MACS_PJ = 256 * 0.5
"""Of the product of `design_points.matmul`."""


def frontier(rng: np.random.Generator) -> np.ndarray:
    """Rows of small counts, many of them equal or 0, none as large as another in everything, in order of footprint."""
    rows = np.unique(rng.integers(0, 4, (12, 6)) * np.array([50.0, 40.0, 40.0, 30.0, 30.0, 50.0]), axis=0)
    beats = (rows[:, None, :] <= rows[None, :, :]).all(axis=2) & ~np.eye(len(rows), dtype=bool)
    return rows[~beats.any(axis=0)]


def brute(rows: np.ndarray, table: DesignTable, at: int, objective: Objective, weight: float | None) -> tuple[float, float]:
    """Latency and energy at one point, every row tried in turn: least first value, of ties least second, of these least first."""
    found = []
    for size, read, write, out, into, cycles in rows.tolist():
        if size > table.buffer_capacity_bytes[at]:
            continue
        dram = 1.0 / (table.dram_bytes_per_s[at] * table.dram_sustained_fraction[at])
        times = (
            cycles * (1.0 / (table.clock_hz[at] * table.array_sustained_fraction[at])),
            (read + write) * dram,
            out * (1.0 / table.buffer_read_bytes_per_s[at]),
            into * (1.0 / table.buffer_write_bytes_per_s[at]),
        )
        latency = max(times) + (table.launch_latency_s[at] + table.dram_latency_s[at])
        moved = read * table.dram_read_pj_per_byte[at] + write * table.dram_write_pj_per_byte[at]
        moved = (moved + out * table.buffer_read_pj_per_byte[at]) + into * table.buffer_write_pj_per_byte[at]
        found.append((latency, (moved + MACS_PJ) * 1e-12 + table.leakage_w[at] * latency))
    if not found:
        return np.inf, np.inf
    if weight is not None:
        return min(found, key=lambda x: x[1] + weight * x[0])
    if objective is Objective.ENERGY:
        least = min(e for _, e in found) * (1 + TIE_TOLERANCE)
        return min(x for x in found if x[1] <= least)
    least = min(t for t, _ in found) * (1 + TIE_TOLERANCE)
    energy, latency = min((e, t) for t, e in found if t <= least)
    return latency, energy


def some_points(rng: np.random.Generator, size: int, *, few: bool) -> DesignTable:
    """Random prices, some of them 0 and most from a few values, so that ties are many; capacities at and beside footprints."""

    def values(*given: float) -> list[float]:
        return rng.choice(given, size).tolist()

    capacity = values(0.0, 49.0, 50.0, 99.999, 100.0, 150.0, 1e6) if few else rng.uniform(0, 200, size).tolist()
    return points(
        buffer_capacity_bytes=capacity,
        clock_hz=values(1e9, 2e9, 1.0001e9),
        dram_bytes_per_s=values(1e9, 1.25e9, 3e9),
        buffer_read_bytes_per_s=values(1e9, 1e12),
        buffer_write_bytes_per_s=values(1e9, 1e12),
        buffer_read_pj_per_byte=values(0.0, 1.0),
        buffer_write_pj_per_byte=values(0.0, 1.0) if few else 0.0,
        dram_read_pj_per_byte=values(10.0, 10.002) if few else 10.0,
        dram_write_pj_per_byte=10.0,
        leakage_w=values(0.0, 0.5) if few else 0.0,
        launch_latency_s=values(0.0, 1e-7) if few else 0.0,
    )


@settings(max_examples=60, deadline=None)
@given(seed=SEEDS, few=st.booleans(), objective=st.sampled_from(list(Objective)))
def test_the_best_row_is_that_of_all_rows(seed: int, few: bool, objective: Objective) -> None:
    """Bit for bit: ties, rows that cost nothing, points where nothing fits, capacities of exactly a footprint."""
    rng = np.random.default_rng(seed)
    rows = frontier(rng)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frontier_pricing, "frontier_of", lambda work, geometry: Frontier(Counts(*rows.T), ()))
        pricer = OperatorPricer(work(matmul()), geometry())
    table = some_points(rng, 3 * RUN_POINTS if few else 40, few=few)
    weight = rng.choice([0.0, 1.0, 10.0], table.size) if objective is Objective.EDP else None
    found = pricer.price(table, objective, weight)
    expected = [brute(rows, table, i, objective, None if weight is None else weight[i]) for i in range(table.size)]
    if weight is None:
        np.testing.assert_array_equal(np.stack((found.latency_s, found.energy_j), axis=1), expected)
    else:  # equal sums may have different parts
        score = np.array([np.inf if np.isinf(t) else e + w * t for (t, e), w in zip(expected, weight, strict=True)])
        mine = np.where(np.isinf(found.latency_s), np.inf, found.energy_j + weight * np.where(found.row < 0, 0.0, found.latency_s))
        np.testing.assert_array_equal(mine, score)
    assert ((found.row >= 0) == np.isfinite(found.latency_s)).all()
    for i in rng.integers(0, table.size, 5):
        alone = pricer.price(table.at(np.array([i])), objective, None if weight is None else weight[i : i + 1])
        assert (alone.latency_s[0], alone.energy_j[0], alone.row[0]) == (found.latency_s[i], found.energy_j[i], found.row[i])


@pytest.mark.parametrize("objective", list(Objective))
def test_rows_of_two_levels_do_not_depend_on_what_else_is_priced(objective: Objective) -> None:
    """Capacities of both buffers: where they are a few values rows are chosen in advance, else all are tried."""
    chip = load_accelerator("tpu_v4i")
    pricer = OperatorPricer(Work(MatmulProblem(1, 64, 512, 1024, 16, 16, 16, 32, "bf16"), 1, 0.0, 0.0, 0.0, 1, True), chip.geometry)
    rng = np.random.default_rng(3)
    size = 300
    columns = {
        "memories.vmem.capacity_kib": np.exp(rng.uniform(np.log(8), np.log(4096), size)).round(),
        "memories.cmem.capacity_kib": np.exp(rng.uniform(np.log(8), np.log(4096), size)).round(),
        "memories.hbm.bandwidth_gb_per_s": rng.uniform(50, 2000, size),
        "memories.cmem.read_gb_per_s": rng.uniform(200, 4000, size),
    }
    weight = np.full(size, 30.0) if objective is Objective.EDP else None
    whole = pricer.price(chip.table(columns), objective, weight)
    for i in range(0, size, 9):
        one = pricer.price(chip.table({p: c[i : i + 1] for p, c in columns.items()}), objective, None if weight is None else weight[:1])
        assert (one.latency_s[0], one.energy_j[0], one.row[0]) == (whole.latency_s[i], whole.energy_j[i], whole.row[i])


@cache
def compiled(name: str, scheme: str) -> tuple[AcceleratorDescription, CompiledPart]:
    chip = load_accelerator(name)
    options = WorkloadOptions(model="deepseek_v2_lite", attention=scheme, part=Part.ATTENTION, batch=4, cache_len=512)
    return chip, compile_step(load_workload(options).step, chip.geometry).parts[0]


def wide_table(chip: AcceleratorDescription, seed: int, size: int) -> DesignTable:
    """Every price drawn from a wide range, or one for all."""
    rng = np.random.default_rng(seed)
    columns = {}
    for field in chip.paths():
        if field.effect == "price" and not isinstance(field.value, str) and field.value and field.type == "number":
            draw = float(field.value) * np.exp(rng.uniform(-3, 3, size))
            draw = np.clip(draw, field.minimum or 0.0, field.maximum)
            if rng.random() < 0.6:
                columns[field.path] = draw
    return chip.table(columns or {"clock_mhz": np.exp(rng.uniform(5, 8, size))})


CHIPS = list(product(("flat_cloud", "flat_edge", "tpu7x", "tpu_v4i"), ("left_to_right", "recompute")))


@pytest.mark.parametrize(("name", "scheme"), CHIPS)
def test_the_best_plan_is_that_of_all_plans(name: str, scheme: str) -> None:
    """Bounds are never above what they bound, and what they leave out is never the best nor within the tolerance of it."""
    chip, part = compiled(name, scheme)
    for seed in range(2):
        table = wide_table(chip, seed, 700)
        charges = Charges.of(chip.geometry, table)
        floors = Floors(part.rows, part.orders, part.combinations, charges)
        weight = np.random.default_rng(seed).uniform(0.0, 300.0, table.size)
        for objective in Objective:
            w = weight if objective is Objective.EDP else None
            every, some = (PartPricer(part, charges, bounded=b) for b in (False, True))
            latency, energy = every.candidates(objective, w)
            assert (floors.latency_s * (1 - ROUNDING) <= latency).all()
            assert (floors.energy_j * (1 - ROUNDING) <= energy).all()
            a, b = every.best(objective, w), some.best(objective, w)
            np.testing.assert_array_equal(a.pick, b.pick)
            np.testing.assert_array_equal(a.latency_s, b.latency_s)
            np.testing.assert_array_equal(a.energy_j, b.energy_j)
