"""Design points priced in a CPU second against points, rows and levels: `python -m tests.benchmark.pricing_growth FOLDER` writes a
CSV and an SVG, and says how much memory 100,000 points take."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from dse.cost.charges import Charges
from dse.cost.frontier_pricing import OperatorPricer
from dse.cost.metrics import Objective
from dse.evaluate import compile_step, price
from dse.ir.lowering import Part
from dse.mapping.problem import MatmulProblem
from dse.plugins import load_accelerator
from dse.report.style import styled, to_svg
from dse.schedule.place import Work
from dse.workload import WorkloadOptions, load_workload
from tests.benchmark.test_speed import random_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from dse.cost.workload_pricing import CompiledWorkload

CHIPS = {"one level": ("flat_cloud", "sram", "dram"), "two levels": ("tpu_v4i", "cmem", "hbm")}
BATCH = 128
POINTS = (1, 100, 1_000, 10_000, 100_000)
GEMMS = ((1, 7168, 1536), (16, 7168, 2048), (128, 576, 4096), (128, 7168, 2048), (512, 7168, 2048))
GEMM_POINTS = 20_000
LONG_S = 0.5
"""CPU seconds after which a measurement is not repeated."""
MEMORY = "memory"


def cpu_seconds(call: Callable[[], object]) -> float:
    """CPU time of a call, the least of three where it is short."""
    found: list[float] = []
    while len(found) < 3 and sum(found) < LONG_S:
        start = time.process_time()
        call()
        found.append(time.process_time() - start)
    return min(found)


def layer(accelerator: str) -> CompiledWorkload:
    """A DeepSeek-V3 decode layer of 4,096 positions."""
    options = WorkloadOptions(model="deepseek_v3", batch=BATCH, cache_len=4096, part=Part.LAYER)
    return compile_step(load_workload(options).step, load_accelerator(accelerator).geometry_for())


def frontiers_of_a_layer(compiled: CompiledWorkload, accelerator: tuple[str, str, str], points: int) -> float:
    """CPU seconds in which the best row of every operator of the plan that holds nothing is found at every point."""
    rows = compiled.parts[0].plans[0].rows
    charges = Charges.of(compiled.geometry, random_table(*accelerator, points))
    return cpu_seconds(lambda: [None for _ in rows.best(charges, Objective.LATENCY)])


def against_points(levels: str) -> list[tuple[object, ...]]:
    """Rows of the table: a layer at more and more points."""
    chip = CHIPS[levels]
    compiled = layer(chip[0])
    size = len(compiled.parts[0].rows.counts)
    found: list[tuple[object, ...]] = []
    for points in POINTS:
        table = random_table(*chip, points)
        found.append((levels, "frontiers", size, points, points / frontiers_of_a_layer(compiled, chip, points)))
        for objective in (Objective.LATENCY, Objective.EDP):
            seconds = cpu_seconds(lambda o=objective, t=table: price(compiled, t, objective=o))  # type: ignore[misc]
            found.append((levels, str(objective), size, points, points / seconds))
    return found


def against_rows(levels: str) -> list[tuple[object, ...]]:
    """Rows of the table: one operator with a larger and larger frontier."""
    chip = CHIPS[levels]
    geometry = load_accelerator(chip[0]).geometry
    table = random_table(*chip, GEMM_POINTS)
    found: list[tuple[object, ...]] = []
    for m, k, n in GEMMS:
        pricer = OperatorPricer(Work(MatmulProblem(1, m, k, n, 16, 16, 16, 32, "bf16"), 1, 0.0, 0.0, 0.0, 1, True), geometry)
        seconds = cpu_seconds(lambda p=pricer: p.price(table, Objective.LATENCY))  # type: ignore[misc]
        found.append((levels, "operator", len(pricer.counts), GEMM_POINTS, GEMM_POINTS / seconds))
    return sorted(found, key=lambda row: int(str(row[2])))


def peak_mib(levels: str) -> None:
    """Price 100,000 points in this process and print its peak memory in MiB and CPU seconds since its start."""
    chip = CHIPS[levels]
    compiled = layer(chip[0])
    price(compiled, random_table(*chip, POINTS[-1]), objective=Objective.EDP)
    status = Path("/proc/self/status").read_text(encoding="utf-8")  # Linux; ru_maxrss would begin at that of the parent process
    peak_kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    print(f"{peak_kib / 1024:.0f} MiB, {time.process_time():.1f} CPU s")


def draw(rows: list[tuple[object, ...]], path: Path) -> None:
    """Left against points, right against rows."""
    with styled():
        figure = Figure(figsize=(8, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for levels, marker in zip(CHIPS, ("o", "s"), strict=True):
            for what in ("frontiers", "latency", "edp"):
                mine = [r for r in rows if r[:2] == (levels, what)]
                left.plot([r[3] for r in mine], [r[4] for r in mine], marker=marker, label=f"{what}, {levels}")
            mine = [r for r in rows if r[:2] == (levels, "operator")]
            right.plot([r[2] for r in mine], [r[4] for r in mine], marker=marker, label=levels)
        for axes, label in ((left, "design points at once"), (right, "rows of one operator's frontier")):
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xlabel(label)
            axes.legend(fontsize="x-small")
        left.set_ylabel("design points in a CPU second")
        left.set_title("decode layer, batch 128")
        right.set_title("one product, 20,000 points")
        path.write_text(to_svg(figure), encoding="utf-8")


def main(folder: str) -> None:
    """Measure all and write `pricing_growth.csv` and `.svg`."""
    rows = []
    for levels in CHIPS:
        rows += [*against_points(levels), *against_rows(levels)]
        print(*rows, sep="\n", flush=True)
    with (Path(folder) / "pricing_growth.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("levels", "what", "rows", "points", "points_per_cpu_s"))
        writer.writerows((*r[:4], round(float(str(r[4])))) for r in rows)
    draw(rows, Path(folder) / "pricing_growth.svg")
    for levels in CHIPS:
        command = [sys.executable, "-m", "tests.benchmark.pricing_growth", MEMORY, levels]
        print(levels, subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="")


if __name__ == "__main__":
    if sys.argv[1] == MEMORY:
        peak_mib(sys.argv[2])
    else:
        main(sys.argv[1])
