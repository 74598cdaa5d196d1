"""How fast a serving system is evaluated: one point, a grid of 1,000 points."""

import time

import pytest

from dse.ir.lowering import Phase
from dse.plugins import load_system
from dse.serving_grid import serving_grid
from dse.workload import WorkloadOptions

pytestmark = pytest.mark.benchmark
OPTIONS = WorkloadOptions(model="deepseek_r1", phase=Phase.DECODE, batch=4096, cache_len=4096)


def test_grid_of_a_thousand_points() -> None:
    system = load_system("b200_x32").system
    plans = [f"tp={tp},ep={ep}" for tp in (1, 2, 4) for ep in (8, 16, 32)] + ["tp=8,ep=32"]
    lens = [1024 * n for n in range(1, 11)]
    batches = [512 * n for n in range(1, 11)]
    serving_grid(OPTIONS, system, batches=[512], cache_lens=[4096], parallels=["ep=32"])
    start = time.process_time()
    serving_grid(OPTIONS, system, batches=[4096], cache_lens=[4096], parallels=["ep=32"])
    one_s = time.process_time() - start
    start = time.process_time()
    points = serving_grid(OPTIONS, system, batches=batches, cache_lens=lens, parallels=plans)
    grid_s = time.process_time() - start
    print(f"one point {one_s * 1e3:.1f} ms, {len(points)} points {grid_s:.2f} s (CPU)")
    assert len(points) == 1000
    assert one_s < 0.02
    assert grid_s < 2.0
