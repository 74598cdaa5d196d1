"""How fast plans for many cores are made."""

from __future__ import annotations

import time

import numpy as np
import pytest

from dse.cost.chip_points import ChipPlans
from dse.cost.metrics import Objective
from dse.plugins import load_chip
from dse.workload import Part, WorkloadOptions, load_workload
from tests.benchmark.many_core_growth import planned

pytestmark = pytest.mark.benchmark


def test_two_hundred_operators_on_36_cores() -> None:
    planned(1, 2)
    seconds, found = planned(34, 6)
    print(f"204 operators on 36 cores: {seconds:.1f} s (CPU), {found.trials} assignments, {found.gap:.1%} above the bound")
    assert seconds < 10.0


@pytest.mark.parametrize(("batch", "ratio"), [(1, 1.10), (32, 1.20), (128, 1.20)])
def test_latent_attention_on_four_cores(batch: int, ratio: float) -> None:
    """First evaluation, times the roofline, and 2,000 further points."""
    chip, points = load_chip("tpu7x_quad"), 2000
    step = load_workload(WorkloadOptions(model="deepseek_v3", part=Part.ATTENTION, attention="left_to_right", batch=batch)).step
    plans = ChipPlans(chip, step.graphs, tokens=step.tokens, stored_bytes=step.stored_bytes, objective=Objective.LATENCY)
    start = time.process_time()
    found = next(plans.evaluate([{}]))
    first = time.process_time() - start
    start = time.process_time()
    plans.price({"memories.hbm.bandwidth_gb_per_s": np.linspace(2000, 8000, points), "clock_mhz": np.linspace(500, 1500, points)}, points)
    each = (time.process_time() - start) / points
    above = found.latency_s * found.clock_hz / found.roofline.cycles
    print(f"batch {batch}: first {first:.2f} s, further points {each * 1e3:.2f} ms (CPU); {above:.3f} x roofline")
    assert above <= ratio
    assert each < 0.005
    assert first < 1.0
