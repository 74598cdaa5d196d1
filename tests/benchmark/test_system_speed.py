"""How fast a serving system is evaluated, and how much memory it takes: one point, a grid of 1,000 points, 256 chips."""

import subprocess
import sys
import time

import numpy as np
import pytest

from dse.ir.lowering import Phase
from dse.plugins import load_system
from dse.serving_case import ServingChoices, serving_case
from dse.serving_grid import serving_grid
from dse.serving_search import SystemEvaluator
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


def test_one_point() -> None:
    case = serving_case(OPTIONS, load_system("b200_x32").system, "ep=32")
    case.times([4096])
    start = time.process_time()
    serving_case(OPTIONS, load_system("b200_x32").system, "ep=32").times([4096])
    seconds = time.process_time() - start
    print(f"DeepSeek-R1 on 32 chips, decode: {seconds * 1e3:.1f} ms (CPU)")
    assert seconds < 0.02


def test_memory_of_256_chips() -> None:
    """The whole command in a process of its own: 256 chips, 61 layers, less than 300 MiB at its peak.

    Linux only: `ru_maxrss` of a new process begins at that of the process which started it, `VmHWM` at nothing.
    """
    command = "import sys; from dse.cli import main; code = main(sys.argv[1:]); "
    command += "print(next(x.split()[1] for x in open('/proc/self/status') if x.startswith('VmHWM')), code, file=sys.stderr)"
    words = ["system", "--model", "deepseek_r1", "--system", "b200_x256", "--batch", "32768", "--format", "json"]
    ran = subprocess.run([sys.executable, "-c", command, *words], capture_output=True, text=True, check=True)
    peak_kib, code = ran.stderr.split()[-2:]
    print(f"peak {int(peak_kib) / 1024:.0f} MiB")
    assert code == "0"
    assert int(peak_kib) / 1024 < 300


def test_designs_of_one_outer_choice() -> None:
    prepared = SystemEvaluator("b200_x32", lambda choice: [OPTIONS], ServingChoices()).prepare({})
    chance = np.random.default_rng(0)
    columns = {
        "system.chips.settings.memories.hbm.bandwidth_gb_per_s": chance.uniform(1000, 16000, 20_000),
        "system.chips.memory_gib": chance.uniform(10, 400, 20_000),
        "system.links.nvlink.bandwidth_gb_per_s": chance.choice(np.linspace(50, 1800, 30), 20_000),
    }
    start = time.process_time()
    (priced,) = prepared.price(columns, 20_000)
    seconds = time.process_time() - start
    print(f"20,000 designs in {seconds:.2f} s (CPU), {20_000 / seconds:,.0f} per second")
    assert priced.feasible.any()
    assert seconds < 1.0
