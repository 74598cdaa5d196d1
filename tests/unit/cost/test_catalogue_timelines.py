"""Timelines of the whole catalogue: every model on every accelerator and on every chip of many cores; `make timelines`.

Where the memory off chip is too small for a model it is made large enough, so that every pair has a timeline.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import pytest

from dse.cost.design_timeline import DRAM, design_timeline
from dse.cost.evaluation import evaluate
from dse.cost.many_core import evaluate_chip
from dse.cost.metrics import Objective
from dse.evaluate import Step, compile_step
from dse.hw.topology import CELLS
from dse.ir.lowering import Part
from dse.plugins import accelerator_names, chip_names, load_accelerator, load_chip, model_names
from dse.schedule.cores.timeline import chip_timeline, peak_bytes
from dse.schedule.plan import Schedule
from dse.schedule.timeline import in_series
from dse.units import BYTES_PER_GIB
from dse.workload import WorkloadOptions, load_workload

if TYPE_CHECKING:
    from dse.cost.workload_pricing import CompiledWorkload
    from dse.hw.accelerator import Geometry
    from dse.hw.many_core_read import ChipDescription
    from dse.schedule.timeline import Repeat, Timeline

EXACT = 1e-9
"""Tolerance between a timeline and its priced latency: the order of additions."""


@lru_cache(maxsize=1)
def step(model: str) -> Step:
    """All layers; the tests of one model follow each other."""
    return load_workload(WorkloadOptions(model=model, part=Part.LAYER, batch=8, cache_len=1024, all_layers=True)).step


@lru_cache(maxsize=6)
def compiled(model: str, geometry: Geometry) -> CompiledWorkload:
    """Accelerators of one family share a geometry; few are kept, since each holds all its frontiers."""
    return compile_step(step(model), geometry)


def busy_s(line: Timeline, resource: str, repeat: Repeat) -> float:
    """Seconds that `resource` works within one drawing of a part that repeats."""
    slack = EXACT * line.end_s
    return sum(e.end_s - e.start_s for e in line.of(resource) if repeat.start_s - slack <= e.start_s and e.end_s <= repeat.end_s + slack)


def sound(line: Timeline, bounds_s: list[float]) -> None:
    assert line.problems() == []
    assert line.events
    assert all(line.latency_s >= bound_s * (1 - EXACT) for bound_s in bounds_s)
    for memory in line.memories:
        assert line.peak_bytes(memory.name) <= memory.capacity_bytes * (1 + EXACT)


@pytest.mark.long
@pytest.mark.parametrize("name", accelerator_names())
@pytest.mark.parametrize("model", model_names())
def test_every_pair(model: str, name: str) -> None:
    """The end is the priced latency, not before the roofline nor before the bound of all schedules."""
    given, chip = step(model), load_accelerator(name)
    found = compiled(model, chip.geometry)
    table = chip.table({})
    path = f"memories.{chip.file.dram[0]}.capacity_gib"
    if table.dram_capacity_bytes[0] < given.stored_bytes:
        table = chip.table({path: 2 * given.stored_bytes / BYTES_PER_GIB})
    priced = evaluate(found, table, Objective.LATENCY)
    assert priced.feasible, priced.infeasibility
    line = design_timeline(found, table, Objective.LATENCY)
    assert line.latency_s == pytest.approx(priced.latency_s, rel=EXACT)
    sound(line, [priced.roofline.cycles / line.clock_hz])
    assert priced.schedule_gap >= -EXACT
    rate = float(table.dram_bytes_per_s[0] * table.dram_sustained_fraction[0])
    repeated = sum((r.count - 1) * busy_s(line, DRAM, r) for r in line.repeats)
    moved = sum(row.bytes for row in priced.breakdown if row.component == DRAM)
    assert line.busy_s(DRAM) + repeated == pytest.approx(moved / rate, rel=1e-6)


def large_enough(chip: ChipDescription, stored_bytes: float) -> ChipDescription:
    """The chip with room off chip, and multiplying bf16 where its file names other types only."""
    memory = chip.chip.dram.removesuffix(CELLS)
    changes: dict[str, object] = {f"memories.{memory}.capacity_gib": 2 * stored_bytes / BYTES_PER_GIB}
    if chip.name == "tpu_like_quad":
        changes |= {"cores.tpu.array.macs_per_pe_per_cycle.bf16": 1, "cores.tpu.array.mac_energy_pj.bf16": 0.04}
    return chip.with_overrides(changes)


@pytest.mark.long
@pytest.mark.parametrize("name", chip_names())
@pytest.mark.parametrize("model", model_names())
def test_every_chip(model: str, name: str) -> None:
    """The timeline of a simulated plan ends with its latency, not before the bound, and no memory is over its capacity."""
    given = step(model)
    chip = large_enough(load_chip(name), given.stored_bytes)
    found = evaluate_chip(
        chip,
        given.graphs,
        tokens=given.tokens,
        stored_bytes=given.stored_bytes,
        objective=Objective.LATENCY,
        schedule=Schedule.FUSED,
    )
    assert found.feasible, found.infeasibility
    drawn = [(chip_timeline(p.name, p.planned.outcome, chip.chip, found.clock_hz), p.count) for p in found.parts]
    line = in_series(given.name, drawn)
    assert line.latency_s == pytest.approx(found.latency_s, rel=EXACT)
    sound(line, [found.roofline.cycles / found.clock_hz, found.lower_bound_s])
    capacity = {c.name: c.capacity_bytes for c in chip.chip.cores}
    for part in found.parts:
        peaks = peak_bytes(part.planned.outcome, chip.chip)
        assert all(peak <= capacity[memory] * (1 + EXACT) for memory, peak in peaks.items())
    assert sum(row.energy_j for row in found.breakdown) == pytest.approx(found.energy_j, rel=EXACT)
