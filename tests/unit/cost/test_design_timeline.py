"""Timelines of priced designs: no resource does two things at once, nothing ends before the bound, the end is the priced latency."""

from __future__ import annotations

import pytest

from dse.cost.design_timeline import AHEAD, BUFFER, DRAM, design_timeline
from dse.cost.metrics import Objective
from dse.cost.roofline import roofline
from dse.errors import InputError
from dse.evaluate import Schedule, price
from dse.ir.lowering import Part, Phase
from tests.unit.cost.compiled import accelerator, compiled, step

EXACT = 1e-9
"""Tolerance between a timeline and its priced latency: the order of additions."""


def check(model: str, name: str, objective: Objective, **options: object) -> None:
    given, table = step(model, **options), accelerator(name).table({})  # type: ignore[arg-type]
    try:
        found = compiled(given, name)
    except InputError:
        pytest.skip(f"{name} cannot compute in the data type of {model}")
    priced = price(found, table, objective=objective)
    if not priced.feasible[0]:
        return
    line = design_timeline(found, table, objective)
    assert line.problems() == []
    assert line.latency_s == pytest.approx(priced.latency_s[0], rel=EXACT)
    assert line.latency_s * line.clock_hz >= roofline(found, table).cycles * (1 - EXACT)
    for memory in line.memories:
        assert line.peak_bytes(memory.name) <= memory.capacity_bytes * (1 + EXACT)
    if not line.repeats:
        rate = float(table.dram_bytes_per_s[0] * table.dram_sustained_fraction[0])
        assert line.busy_s(DRAM) == pytest.approx(priced.dram_bytes[0] / rate, rel=1e-6)


@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize("name", ["tpu7x", "flat_edge", "flat_cloud", "h100_sxm"])
@pytest.mark.parametrize("phase", list(Phase))
def test_some_pairs(name: str, objective: Objective, phase: Phase) -> None:
    check("deepseek_v2_lite", name, objective, part=Part.LAYER, cache_len=256, phase=phase)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("llama3_70b", "b200_sxm"),
        ("gpt3_175b", "tpu_v4i"),
        ("kimi_k2", "fusemax"),
    ],
)
def test_other_pairs(model: str, name: str) -> None:
    """Other kinds of attention and experts on the other kinds of chips; `make timelines` has all pairs."""
    check(model, name, Objective.LATENCY, part=Part.LAYER, cache_len=256)


def test_a_pipeline_overlaps_array_and_vector_unit() -> None:
    """DeepSeek-V3 at batch 128: while the array works on the scores of one slice the softmax of another runs."""
    line = design_timeline(
        compiled(step("deepseek_v3", "left_to_right", batch=128), "tpu7x"), accelerator("tpu7x").table({}), Objective.LATENCY
    )
    array, vector = ([(e.start_s, e.end_s) for e in line.of(r)] for r in ("array", "vector"))
    both = sum(max(0.0, min(b, d) - max(a, c)) for a, b in array for c, d in vector)
    assert both > 0.5 * line.busy_s("vector")
    assert max(next(o for o in line.occupancies if o.role == AHEAD).size_bytes) > 0


def test_repeated_layers_are_drawn_once() -> None:
    given = step("deepseek_v2_lite", part=Part.LAYER, cache_len=256, all_layers=True)
    table = accelerator("h100_sxm").table({})
    line = design_timeline(compiled(given, "h100_sxm"), table, Objective.LATENCY)
    assert [(r.name, r.count) for r in line.repeats] == [("layer_moe", 26)]
    assert line.end_s < line.latency_s
    assert line.latency_s == pytest.approx(price(compiled(given, "h100_sxm"), table).latency_s[0], rel=EXACT)


def test_layer_by_layer_has_a_timeline_too() -> None:
    given, table = step("deepseek_v2_lite", cache_len=256), accelerator("flat_edge").table({})
    found = compiled(given, "flat_edge", Schedule.LAYER_BY_LAYER)
    line = design_timeline(found, table, Objective.LATENCY)
    assert line.problems() == []
    assert line.latency_s == pytest.approx(price(found, table).latency_s[0], rel=EXACT)
    assert line.peak_bytes(BUFFER) <= table.buffer_capacity_bytes[0]
