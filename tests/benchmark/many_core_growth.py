"""CPU seconds of a plan against operators and cores: `python -m tests.benchmark.many_core_growth FOLDER` writes a CSV and an SVG."""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from dse.cost.many_core import ChipEvaluation, evaluate_chip
from dse.cost.metrics import Objective
from dse.plugins import load_chip
from dse.report.style import styled, to_svg
from tests.unit.schedule.graphs import swiglu_chain

OPERATORS_PER_BLOCK = 6
BLOCKS = (2, 4, 8, 16, 34)
SIDES = (1, 2, 3, 4, 6)
"""Sides of the mesh: 1 to 36 cores."""


def planned(blocks: int, side: int) -> tuple[float, ChipEvaluation]:
    """CPU seconds of planning `blocks` SwiGLU blocks of 512 x 768 x 2048 on a mesh of side x side Simba chiplets, and the plan."""
    entries = {f"links.entry{i}": None for i in range(side, 6)}
    chip = load_chip("simba")
    data = dict(chip.document.data)
    links = {name: link for name, link in data["links"].items() if f"links.{name}" not in entries}  # type: ignore[union-attr]
    links["mesh"] = {**links["mesh"], "rows": side, "columns": side}  # type: ignore[dict-item]
    if side == 1:
        del links["mesh"]
        links["entry0"] = {**links["entry0"], "between": ["dram", "chiplet"]}  # type: ignore[dict-item]
    smaller = chip.with_overrides({"cores.chiplet.count": side * side, "links": links})
    graph = swiglu_chain(512, 768, 2048, blocks)
    start = time.process_time()
    found = evaluate_chip(smaller, ((graph, 1),), tokens=1, stored_bytes=0.0, objective=Objective.LATENCY)
    return time.process_time() - start, found


def main(folder: str) -> None:
    """Measure all points and write `many_cores_growth.csv` and `.svg`."""
    planned(BLOCKS[0], SIDES[0])  # what the first use loads counts to no point
    rows = []
    for side in SIDES:
        for blocks in BLOCKS:
            seconds, found = planned(blocks, side)
            rows.append((side * side, blocks * OPERATORS_PER_BLOCK, round(seconds, 2), found.trials, round(found.gap, 3)))
            print(*rows[-1], sep=",")
    with (Path(folder) / "many_cores_growth.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("cores", "operators", "cpu_s", "assignments", "gap"))
        writer.writerows(rows)
    draw(folder)


def draw(folder: str) -> None:
    """The picture of the CSV in `folder`."""
    with (Path(folder) / "many_cores_growth.csv").open(newline="") as file:
        rows = [(int(r["cores"]), int(r["operators"]), float(r["cpu_s"])) for r in csv.DictReader(file)]
    with styled():
        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axes = figure.subplots()
        for side in SIDES:
            mine = [r for r in rows if r[0] == side * side]
            axes.plot([r[1] for r in mine], [r[2] for r in mine], marker="o", label=f"{side * side} core{'s' if side > 1 else ''}")
        axes.set_xscale("log")
        axes.set_yscale("log")
        seconds = [s for s in SECONDS if min(r[2] for r in rows) <= 2 * s and s <= 2 * max(r[2] for r in rows)]
        for axis, ticks in ((axes.xaxis, sorted({r[1] for r in rows})), (axes.yaxis, seconds)):
            axis.set_major_locator(FixedLocator(ticks))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_locator(NullLocator())
        axes.set_xlabel("operators")
        axes.set_ylabel("CPU seconds of a plan")
        axes.legend()
    (Path(folder) / "many_cores_growth.svg").write_text(to_svg(figure))


SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
"""Ticks of the time axis."""


if __name__ == "__main__":
    main(sys.argv[1])
