"""CPU seconds of the first evaluation of whole layers and graphs, and of further hardware points: `python -m tests.benchmark.first_evaluation`.

Each in a process of its own, imports left out: plans, frontiers, combinations and the explained result of one design point, without
frontiers on disk, with an empty folder for them as a user's first command meets it, and with the folder that this leaves; then further
points of other capacity, bandwidth and clock, one at a time (chips of many cores: bandwidth and clock within a factor of 1.9, for which
nothing is planned anew).
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import numpy.ma  # numpy loads it at the first np.unique

from dse.cost.chip_points import ChipPlans
from dse.cost.evaluation import evaluate
from dse.cost.metrics import Objective
from dse.evaluate import Step, compile_step, graph_step, price
from dse.files import CACHE_FOLDER
from dse.ir.lowering import Part
from dse.ir.onnx_read import read_onnx
from dse.ir.precision import precision
from dse.plugins import load_accelerator, load_chip
from dse.workload import WorkloadOptions, load_workload
from tests.benchmark.test_stream import swiglu

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

TARGET_S: Final = 0.5
TARGET_FURTHER_S: Final = 0.005
FURTHER: Final = 40
"""Points priced one at a time."""
NEAR: Final = 1.9
"""Factor within which bandwidth and clock of chips of many cores are drawn: beyond 2 there are plans for the price beside."""


class First(NamedTuple):
    """One case; ratio of latency to the roofline."""

    case: str
    first_s: float
    """Without frontiers on disk."""
    further_s: float
    ratio: float
    empty_s: float = 0.0
    """With an empty folder of frontiers, which it fills."""
    kept_s: float = 0.0
    """With the folder filled."""


def _attention(batch: int) -> Step:
    options = WorkloadOptions(model="deepseek_v3", part=Part.ATTENTION, attention="left_to_right", batch=batch, cache_len=4096)
    return load_workload(options).step


def _resnet18() -> Step:
    return load_workload(WorkloadOptions(onnx="tests/data/onnx/resnet18_dynamo_18.onnx", dims=("batch=1",))).step


def _graph(rows: int, width: int, hidden: int, blocks: int) -> Step:
    return graph_step(read_onnx(swiglu(rows, width, hidden, blocks), name="graph", precision=precision("bf16")), rows)


CASES: Final[dict[str, tuple[str, Callable[..., Step], tuple[int, ...]]]] = {
    **{f"MLA decode, {b} x 4,096": ("tpu7x", _attention, (b,)) for b in (1, 32, 128)},
    "SwiGLU 256 / 4096 / 14336": ("tpu7x", _graph, (256, 4096, 14336, 1)),
    "8 SwiGLU blocks 128 / 512 / 1024": ("tpu7x", _graph, (128, 512, 1024, 8)),
    **{f"MLA decode, {b} x 4,096, four cores": ("tpu7x_quad", _attention, (b,)) for b in (1, 32, 128)},
}
"""Accelerator or chip, and what runs on it."""
LARGE: Final[dict[str, tuple[str, Callable[..., Step], tuple[int, ...]]]] = {
    "resnet18, four cores": ("tpu_like_quad", _resnet18, ()),
    "resnet18, 36 cores": ("simba", _resnet18, ()),
}
"""The same, above the targets: shown, not held against them."""


def measured(case: str, folder: str = "") -> First:
    """One case in this process, which has evaluated nothing before; frontiers are kept in `folder`, nowhere if it has no name."""
    os.environ[CACHE_FOLDER] = folder
    name, make, sizes = {**CASES, **LARGE}[case]
    step = make(*sizes)
    if name.endswith("_quad") or name == "simba":
        return _on_chip(case, name, step)
    accelerator, columns = load_accelerator(name), _columns(FURTHER, "memories.vmem.capacity_kib")
    start = time.process_time()
    compiled = compile_step(step, accelerator.geometry_for(columns))
    found = evaluate(compiled, accelerator.table(), Objective.LATENCY)
    first = time.process_time() - start
    tables = [accelerator.table({path: values[i : i + 1] for path, values in columns.items()}) for i in range(FURTHER)]
    start = time.process_time()
    for table in tables:
        price(compiled, table, objective=Objective.LATENCY)
    further = (time.process_time() - start) / FURTHER
    return First(case, first, further, found.latency_s * found.clock_hz / found.roofline.cycles)


def _on_chip(case: str, name: str, step: Step) -> First:
    chip = load_chip(name)
    described = {p.path: float(p.value) for p in chip.paths() if isinstance(p.value, int | float)}
    rng = np.random.default_rng(0)
    wanted = (f"memories.{chip.file.dram[0]}.bandwidth_gb_per_s", "clock_mhz")
    columns = {path: described[path] * NEAR ** rng.uniform(-1, 1, FURTHER) for path in wanted}
    start = time.process_time()
    plans = ChipPlans(chip, step.graphs, tokens=step.tokens, stored_bytes=step.stored_bytes, objective=Objective.LATENCY)
    found = next(plans.evaluate([{}]))
    first = time.process_time() - start
    start = time.process_time()
    for i in range(FURTHER):
        plans.price({path: values[i : i + 1] for path, values in columns.items()}, 1)
    further = (time.process_time() - start) / FURTHER
    return First(case, first, further, found.latency_s * found.clock_hz / found.roofline.cycles)


def _columns(points: int, capacity_kib: str | None = None) -> dict[str, NDArray[np.float64]]:
    """Random bandwidths, clocks and capacities of further points."""
    rng = np.random.default_rng(0)
    found = {"memories.hbm.bandwidth_gb_per_s": rng.uniform(2000, 8000, points), "clock_mhz": rng.uniform(500, 1500, points)}
    if capacity_kib is not None:
        found[capacity_kib] = rng.integers(8192, 524_288, points).astype(float)
    return found


def every(*, large: bool = False) -> Iterator[First]:
    """All cases, each measurement in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool, tempfile.TemporaryDirectory() as kept:
        for i, case in enumerate({**CASES, **(LARGE if large else {})}):
            folder = f"{kept}/{i}"
            found, empty, full = pool.starmap(measured, [(case,), (case, folder), (case, folder)], chunksize=1)
            yield found._replace(empty_s=empty.first_s, kept_s=full.first_s)


def row(found: First) -> str:
    """One row of the table."""
    first = "".join(f"{seconds:>8.2f} s" for seconds in (found.first_s, found.empty_s, found.kept_s))
    return f"{found.case:<40}{first}{1e3 * found.further_s:>8.2f} ms{found.ratio:>9.3f} x roofline"


if __name__ == "__main__":
    print(f"{'CPU seconds':<40}{'first':>10}{'empty':>10}{'kept':>10}{'further':>11}   targets {TARGET_S} s, {1e3 * TARGET_FURTHER_S:g} ms")
    for one in every(large=True):
        print(row(one), flush=True)
