"""The bound of all schedules: by hand where DRAM is all that counts, and never above what any schedule of the catalogue takes."""

from __future__ import annotations

import pytest

from dse.cost.metrics import Objective
from dse.cost.roofline import roofline
from dse.cost.schedule_bound import schedule_bound
from dse.evaluate import Schedule, compile_step, graph_step, price
from dse.ir.lowering import Part, Phase
from tests.unit.cost.compiled import accelerator, compiled, step
from tests.unit.schedule.graphs import GEOMETRY, swiglu_chain, two_layers
from tests.unit.schedule.test_plan import table

ROUNDING = 1e-9


def test_two_layers_by_hand() -> None:
    """One second per byte: x, w1, w2 and y cross once, 640 s, which the fused plan reaches; layer by layer takes 1,152 s."""
    given = graph_step(two_layers(), 4)
    fused, alone = (compile_step(given, GEOMETRY, schedule=s) for s in Schedule)
    bound = schedule_bound(fused, table())
    assert bound.latency_s == pytest.approx(640, rel=1e-6)
    assert bound.groups_exact
    assert bound.gap(Objective.LATENCY, price(fused, table()).latency_s[0], 1.0) == pytest.approx(0.0, abs=1e-6)
    assert bound.gap(Objective.LATENCY, price(alone, table()).latency_s[0], 1.0) == pytest.approx(1152 / 640 - 1, rel=1e-6)


def test_fills_of_products_that_need_each_other() -> None:
    """Eight SwiGLU blocks on tpu7x: 24 products of 128 x 512 x 1024, 16 one after the other. Each is 2 x 4 passes of 128 rows over 8
    arrays of 256 x 256 with 2 MACs per element and cycle; an array's fill and drain follows one product of each pair."""
    chip = accelerator("tpu7x")
    found = compile_step(graph_step(swiglu_chain(128, 512, 1024, 8), 128), chip.geometry)
    cycles = schedule_bound(found, chip.table({})).latency_s * chip.table({}).clock_hz[0]
    line = roofline(found, chip.table({})).cycles
    taken = price(found, chip.table({})).latency_s[0] * chip.table({}).clock_hz[0]
    assert 2 * line < cycles <= taken <= 1.15 * cycles


@pytest.mark.parametrize(
    ("name", "phase"), [*((n, Phase.DECODE) for n in ("tpu7x", "flat_edge", "flat_cloud", "h100_sxm")), ("tpu7x", Phase.PREFILL)]
)
def test_no_schedule_is_below(name: str, phase: Phase) -> None:
    """Nor is the roofline above it, where the chip sustains its peak."""
    given, prices = step("deepseek_v2_lite", part=Part.LAYER, cache_len=256, phase=phase), accelerator(name).table({})
    for schedule in Schedule:
        found = compiled(given, name, schedule)
        bound = schedule_bound(found, prices)
        assert bound.latency_s * prices.clock_hz[0] >= roofline(found, prices).cycles * (1 - ROUNDING)
        for objective in Objective:
            priced = price(found, prices, objective=objective)
            assert priced.latency_s[0] >= bound.latency_s * (1 - ROUNDING)
            assert priced.energy_j[0] >= bound.energy_j * (1 - ROUNDING)
            assert bound.gap(objective, priced.latency_s[0], priced.energy_j[0]) >= -ROUNDING
