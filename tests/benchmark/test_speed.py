"""How fast: frontiers, pricing and start-up, each beside what it is compared with; `make bench` prints the table.

Absolute figures depend on the machine, so nothing here asserts one; ratios are of two things measured in the same run.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dse.cost.frontier_pricing import OperatorPricer
from dse.cost.metrics import Objective
from dse.evaluate import compile_step, price
from dse.ir.lowering import Part
from dse.mapping.frontier import matmul_frontier
from dse.mapping.problem import MatmulProblem
from dse.plugins import load_accelerator
from dse.schedule.place import Work
from dse.workload import WorkloadOptions, load_workload
from tests.benchmark import first_evaluation

if TYPE_CHECKING:
    from collections.abc import Callable

    from dse.hw.table import DesignTable

pytestmark = pytest.mark.benchmark
GEMMS = ((1, 7168, 1536), (128, 576, 4096), (128, 7168, 2048), (128, 16384, 7168), (2048, 7168, 1536))
REPEATS = 3
LAYER_GIB = 64.0
"""A layer of DeepSeek-V3 takes more than the 8 GiB of `tpu_v4i`."""


def cpu_seconds(call: Callable[[], object]) -> float:
    """Least CPU time of a few calls."""
    best = float("inf")
    for _ in range(REPEATS):
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return best


def random_table(accelerator: str, memory: str, dram: str, points: int) -> DesignTable:
    """Design points of random capacity, bandwidth and clock, each point different, with a memory off chip that holds a layer."""
    rng = np.random.default_rng(0)
    return load_accelerator(accelerator).table(
        {
            f"memories.{memory}.capacity_kib": rng.integers(1024, 262_144, points).astype(float),
            f"memories.{dram}.bandwidth_gb_per_s": rng.uniform(50, 8000, points),
            f"memories.{dram}.capacity_gib": np.full(points, LAYER_GIB),
            "clock_mhz": rng.uniform(300, 2000, points),
        }
    )


def say(what: str, value: str, target: str) -> None:
    """One row of the table."""
    print(f"{what:<72}{value:>24}   target {target}")


@pytest.mark.parametrize("accelerator", ["flat_cloud", "flat_edge", "h100_sxm", "tpu7x"])
def test_frontier_of_one_gemm(accelerator: str) -> None:
    geometry = load_accelerator(accelerator).geometry_for()
    print()
    for m, k, n in GEMMS:
        problem = MatmulProblem(1, m, k, n, 16, 16, 16, 32, "bf16")
        seconds = cpu_seconds(lambda p=problem: matmul_frontier.__wrapped__(p, geometry))  # type: ignore[misc]
        frontier = matmul_frontier(problem, geometry)
        say(
            f"frontier {m} x {k} x {n} on {accelerator}: {len(frontier)} rows, excess {frontier.excess:.3f}",
            f"{1e3 * seconds:.1f} ms",
            "100 ms",
        )


@pytest.mark.parametrize("shape", GEMMS)
def test_pricing_one_operator(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    geometry = load_accelerator("flat_cloud").geometry_for()
    work = Work(MatmulProblem(1, m, k, n, 16, 16, 16, 32, "bf16"), 1, 0.0, 0.0, 0.0, 1, True)
    pricer = OperatorPricer(work, geometry)
    table = random_table("flat_cloud", "sram", "dram", 1_000_000)
    pricer.price(table, Objective.LATENCY)
    many = cpu_seconds(lambda: pricer.price(table, Objective.LATENCY))
    one_point = load_accelerator("flat_cloud").table({})
    one = cpu_seconds(lambda: [pricer.price(one_point, Objective.LATENCY) for _ in range(1000)]) / 1000
    print()
    say(f"price one operator {m} x {k} x {n}, {len(pricer.counts)} rows, 1,000,000 points", f"{1e6 / many:,.0f} points/s", "1,000,000")
    say("  the same, a point at a time: times slower", f"{one / (many / 1e6):,.0f}", "-")


@pytest.mark.parametrize("batch", [1, 32, 128])
@pytest.mark.parametrize("objective", list(Objective))
def test_pricing_the_decode_layer(batch: int, objective: Objective) -> None:
    step = load_workload(WorkloadOptions(model="deepseek_v3", batch=batch, cache_len=4096, part=Part.LAYER)).step
    start = time.process_time()
    compiled = compile_step(step, load_accelerator("flat_cloud").geometry_for())
    build = time.process_time() - start
    table = random_table("flat_cloud", "sram", "dram", 20_000)
    price(compiled, table, objective=objective)
    seconds = cpu_seconds(lambda: price(compiled, table, objective=objective))
    print()
    say(f"compile the decode layer, batch {batch}: plans and frontiers", f"{build:.2f} s", "-")
    say(f"price the decode layer, batch {batch}, least {objective}", f"{20_000 / seconds:,.0f} points/s", "20,000")
    say("  points priced in the time of one compilation", f"{build / (seconds / 20_000):,.0f}", "-")


def test_first_evaluation() -> None:
    """Layers and graphs from the graph on, cold; latencies stay what they are elsewhere."""
    print()
    for found in first_evaluation.every():
        say(f"first evaluation, {found.case}", f"{found.first_s:.2f} s", f"{first_evaluation.TARGET_S} s")
        say("  with an empty folder of frontiers", f"{found.empty_s:.2f} s", f"{first_evaluation.TARGET_S} s")
        say("  with the folder filled", f"{found.kept_s:.2f} s", f"{first_evaluation.TARGET_S} s")
        say("  a further point", f"{1e3 * found.further_s:.2f} ms", f"{1e3 * first_evaluation.TARGET_FURTHER_S:g} ms")
        assert found.further_s < first_evaluation.TARGET_FURTHER_S


def test_start_up() -> None:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "dse.cli", "--help"], check=True, stdout=subprocess.DEVNULL)
    print()
    say("dse --help, wall", f"{1e3 * (time.perf_counter() - start):.0f} ms", "500 ms")
    say("peak memory of this process", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB", "-")


def test_table_of_designs() -> None:
    description = load_accelerator("flat_cloud")
    columns = {"memories.sram.capacity_kib": np.linspace(1, 1e5, 100_000), "clock_mhz": np.linspace(100, 2000, 100_000)}
    description.table(columns)
    start = time.process_time()
    description.table(columns)
    print()
    say("a table of 100,000 designs", f"{1e3 * (time.process_time() - start):.1f} ms", "100 ms")
