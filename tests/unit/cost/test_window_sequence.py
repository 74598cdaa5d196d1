"""One sequence of windows at many points takes, to the last bit, what it takes beside others."""

from __future__ import annotations

import numpy as np
import pytest

from dse.cost.charges import Charges
from dse.cost.combination_pricing import rates_of
from dse.evaluate import compile_step
from dse.ir.lowering import Part
from dse.plugins import load_accelerator
from dse.workload import WorkloadOptions, load_workload


@pytest.mark.parametrize("accelerator", ["flat_edge", "h100_sxm"])  # without and with launches and a first access
def test_alone_as_beside_others(accelerator: str) -> None:
    description = load_accelerator(accelerator)
    step = load_workload(WorkloadOptions(model="deepseek_v2_lite", batch=4, cache_len=512, part=Part.ATTENTION)).step
    compiled = compile_step(step, description.geometry_for())
    rng = np.random.default_rng(0)
    buffer, dram = description.file.buffer[0], description.file.dram[0]
    columns = {
        f"memories.{buffer}.capacity_kib": np.round(np.exp(rng.uniform(3, 14, 60))) + 8,
        f"memories.{dram}.bandwidth_gb_per_s": np.exp(rng.uniform(1, 12, 60)),
        "clock_mhz": np.exp(rng.uniform(4, 8, 60)),
    }
    rates = rates_of(Charges.of(compiled.geometry, description.table(columns)))
    (part,) = compiled.parts
    assert part.combinations is not None
    table = part.combinations.table
    every = table.latency_s(rates)
    assert np.isfinite(every).any()
    for number, beside in enumerate(every):
        assert (table.alone(number).latency_s(rates)[0] == beside).all()
