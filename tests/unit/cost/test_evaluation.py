"""One design point explained: parts add up to the whole, and the whole is what the table says."""

from __future__ import annotations

import numpy as np
import pytest

from dse.cost.evaluation import Evaluation, evaluate
from dse.cost.metrics import METRICS, RESOURCES, Objective
from dse.errors import UsageError
from dse.evaluate import Schedule, Step, compile_step, price
from dse.ir.lowering import Part, Phase
from dse.plugins import accelerator_names

from .compiled import accelerator, compiled, step

WORKLOADS = {
    "recompute": {"model": "deepseek_v2_lite", "scheme": "recompute", "batch": 4, "cache_len": 512},
    "moe_layer": {"model": "deepseek_v2_lite", "scheme": "left_to_right", "part": Part.LAYER, "batch": 4, "cache_len": 512},
}


def total(found: Evaluation, name: str, component: str | None = None) -> float:
    return sum(getattr(b, name) for b in found.breakdown if component in (None, b.component))


@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize(
    ("name", "workload"), [*((n, "recompute") for n in accelerator_names()), ("tpu7x", "moe_layer"), ("flat_cloud", "moe_layer")]
)
def test_parts_add_up_and_agree_with_the_table(name: str, workload: str, objective: Objective) -> None:
    table = accelerator(name).table({})
    compiled_step = compiled(step(**WORKLOADS[workload]), name)  # type: ignore[arg-type]
    priced, found = price(compiled_step, table, objective=objective), evaluate(compiled_step, table, objective)
    assert found.feasible
    assert found.latency_s == pytest.approx(priced.latency_s[0], rel=1e-12)
    assert found.energy_j == pytest.approx(priced.energy_j[0], rel=1e-12)
    assert found.area_mm2 == pytest.approx(priced.area_mm2[0], rel=1e-12)
    areas = found.to_json_dict()["area_breakdown_mm2"]
    assert set(areas) == {"array", "vector", "buffer", "dram_interface", "other"}  # type: ignore[arg-type]
    assert sum(areas.values()) == pytest.approx(found.area_mm2, rel=1e-12)  # type: ignore[attr-defined]
    assert found.bound is RESOURCES[priced.bound[0]]
    assert 0 < found.bound_share <= 1 + 1e-12
    assert total(found, "energy_j") == pytest.approx(found.energy_j, rel=1e-12)
    assert total(found, "bytes", "dram") == pytest.approx(priced.dram_bytes[0], rel=1e-12)
    assert sum(o.latency_s for o in found.operators) == pytest.approx(found.latency_s, rel=1e-12)
    assert sum(o.energy_j for o in found.operators) == pytest.approx(found.energy_j, rel=1e-12)
    for operator in found.operators:
        mine = sum(b.energy_j for b in found.breakdown if b.operator == operator.operator)
        assert mine == pytest.approx(operator.energy_j, rel=1e-12)
    assert found.latency_s * found.clock_hz >= found.roofline.cycles
    assert total(found, "bytes", "dram") >= found.roofline.compulsory_bytes * (1 - 1e-12)
    assert all(np.isfinite((b.cycles, b.energy_j, b.bytes)).all() and min(b.cycles, b.energy_j, b.bytes) >= 0 for b in found.breakdown)


@pytest.mark.parametrize("name", ["flat_cloud", "tpu7x"])
def test_each_objective_is_best_at_its_own(name: str) -> None:
    """Up to ties of 0.05 %; the product of energy and delay is at most that of either optimum."""
    priced = {o: price(compiled(step("deepseek_v3", "recompute"), name), accelerator(name).table({}), objective=o) for o in Objective}
    latency = {o: p.latency_s[0] for o, p in priced.items()}
    energy = {o: p.energy_j[0] for o, p in priced.items()}
    assert latency[Objective.LATENCY] <= min(latency.values()) * (1 + 5e-4)
    assert energy[Objective.ENERGY] <= min(energy.values()) * (1 + 5e-4)
    edp = {o: latency[o] * energy[o] for o in Objective}
    assert edp[Objective.EDP] <= min(edp[Objective.LATENCY], edp[Objective.ENERGY]) * (1 + 1e-12)


def test_leakage_and_overheads_are_rows_of_the_breakdown() -> None:
    """2 W over the whole latency; 1 us of launch per segment and 100 ns per operator that touches DRAM."""
    chip = accelerator("flat_cloud")
    compiled_step = compiled(step("deepseek_v3", "left_to_right"), "flat_cloud", Schedule.LAYER_BY_LAYER)
    plain = evaluate(compiled_step, chip.table({}), Objective.LATENCY)
    table = chip.table({"leakage_w": 2.0, "overheads.launch_latency_us": 1.0, "memories.dram.latency_ns": 100.0})
    found = evaluate(compiled_step, table, Objective.LATENCY)
    assert total(found, "energy_j", "leakage") == pytest.approx(2.0 * found.latency_s, rel=1e-12)
    assert total(found, "energy_j") == pytest.approx(found.energy_j, rel=1e-12)
    overhead_s = len(found.operators) * 1.1e-6
    assert total(found, "cycles", "overhead") == pytest.approx(overhead_s * found.clock_hz, rel=1e-12)
    assert found.latency_s == pytest.approx(plain.latency_s + overhead_s, rel=5e-4)


def test_dram_that_is_too_small_is_a_result() -> None:
    """DeepSeek-V3's attention takes 374,210,560 B of weights and 4,718,592 B of cache: 0.353 GiB."""
    table = accelerator("flat_cloud").table({"memories.dram.capacity_gib": 0.25})
    for objective in Objective:
        found = evaluate(compiled(step("deepseek_v3", "left_to_right"), "flat_cloud"), table, objective)
        assert not found.feasible
        (why,) = found.infeasibility
        assert why.resource == "dram_capacity"
        assert why.demand_bytes == 374_210_560 + 4_718_592
        assert why.bound_bytes == 0.25 * 2**30
        assert "weights and caches take 0.35 GiB, DRAM holds 0.25 GiB" in why.message
        values = found.to_json_dict()
        assert [values[k] for k in ("latency_s", "latency_cycles", "energy_j", "tokens_per_s", "joules_per_token", "bound")] == [None] * 6
        assert values["roofline_cycles"] == found.roofline.cycles


def test_infeasible_points_beside_feasible_ones() -> None:
    """Small DRAM and small buffer in one table: no warnings, marked infeasible, the other point as if alone."""
    chip, compiled_step = accelerator("flat_cloud"), compiled(step("deepseek_v3", "recompute"), "flat_cloud")
    table = chip.table({"memories.dram.capacity_gib": [0.001, 80.0], "memories.sram.capacity_kib": [16, 32768]})
    for objective in Objective:
        found = price(compiled_step, table, objective=objective)
        alone = price(compiled_step, chip.table({}), objective=objective)
        assert found.feasible.tolist() == [False, True]
        assert found.bound[0] == -1
        assert np.isinf([found.latency_s[0], found.energy_j[0]]).all()
        assert (found.latency_s[1], found.energy_j[1]) == (alone.latency_s[0], alone.energy_j[0])
        assert found.metric("tokens_per_s")[0] == 0


def test_any_buffer_is_enough_for_some_plan() -> None:
    """Even one byte: operands pass it by."""
    found = price(
        compiled(step("deepseek_v3", "recompute"), "flat_cloud"), accelerator("flat_cloud").table({"memories.sram.capacity_kib": 1 / 1024})
    )
    assert found.feasible.all()


def test_a_whole_model_is_its_parts_times_their_counts() -> None:
    """DeepSeek-V2-Lite: embedding, 1 dense and 26 MoE layers, head."""
    whole = step("deepseek_v2_lite", part=Part.LAYER, batch=4, cache_len=512, all_layers=True)
    chip = accelerator("flat_cloud")
    assert [(graph.name, count) for graph, count in whole.graphs] == [
        ("embedding", 1),
        ("layer_dense", 1),
        ("layer_moe", 26),
        ("head", 1),
    ]
    table = chip.table({})
    found = price(compiled(whole, "flat_cloud"), table)
    latency = energy = moved = 0.0
    for graph, count in whole.graphs:
        one = price(compile_step(Step(graph.name, 4, ((graph, 1),), 0.0), chip.geometry), table)
        latency, energy, moved = latency + count * one.latency_s[0], energy + count * one.energy_j[0], moved + count * one.dram_bytes[0]
    assert found.latency_s[0] == pytest.approx(latency, rel=1e-12)
    assert found.energy_j[0] == pytest.approx(energy, rel=1e-12)
    assert found.dram_bytes[0] == pytest.approx(moved, rel=1e-12)
    explained = evaluate(compiled(whole, "flat_cloud"), table, Objective.LATENCY)
    assert explained.latency_s == pytest.approx(latency, rel=1e-12)
    assert total(explained, "energy_j") == pytest.approx(energy, rel=1e-12)
    runs = {o.operator: o.runs for o in explained.operators}
    assert runs["layer_moe/router_logits"] % 26 == 0


def test_prefill_is_priced() -> None:
    """256 tokens: within the roofline, tokens per second of the whole prompt."""
    work = step("deepseek_v2_lite", part=Part.LAYER, cache_len=256, phase=Phase.PREFILL)
    found = evaluate(compiled(work, "flat_cloud"), accelerator("flat_cloud").table({}), Objective.LATENCY)
    assert found.tokens == 256
    assert found.roofline.cycles <= found.latency_s * found.clock_hz < 1.5 * found.roofline.cycles
    assert found.to_json_dict()["tokens_per_s"] == pytest.approx(256 / found.latency_s)


def test_metrics_follow_from_latency_and_energy() -> None:
    found = price(compiled(step("deepseek_v3", "left_to_right", batch=32), "tpu7x"), accelerator("tpu7x").table({}))
    latency, energy = found.latency_s[0], found.energy_j[0]
    expected = {
        "tokens_per_s": 32 / latency,
        "joules_per_token": energy / 32,
        "latency_s": latency,
        "energy_j": energy,
        "edp_js": latency * energy,
        "power_w": energy / latency,
        "area_mm2": found.area_mm2[0],
    }
    assert {name: found.metric(name)[0] for name in METRICS} == pytest.approx(expected)
    with pytest.raises(UsageError, match="metric 'latency' is not known; allowed: tokens_per_s"):
        found.metric("latency")
