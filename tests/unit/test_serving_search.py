"""Systems as a search sees them: tables of prices against points evaluated one by one."""

import numpy as np
import pytest

from dse.cost.metrics import RESOURCES, Resource
from dse.errors import UsageError
from dse.plugins import load_system
from dse.serving import evaluate_serving
from dse.serving_case import ChipModelName, ServingChoices
from dse.serving_search import SystemEvaluator, system_fields
from dse.workload import WorkloadOptions

NVLINK = "system.links.nvlink.bandwidth_gb_per_s"
HBM = "system.chips.settings.memories.hbm.bandwidth_gb_per_s"
MEMORY = "system.chips.memory_gib"


def workloads(choice: object) -> list[WorkloadOptions]:
    batch = choice.get("workload.batch", 512) if isinstance(choice, dict) else 512
    return [WorkloadOptions(model="deepseek_v2_lite", batch=int(batch), cache_len=1024)]


EVALUATOR = SystemEvaluator("b200_x32", workloads, ServingChoices())


def test_a_table_is_its_points() -> None:
    columns = {NVLINK: np.array([900.0, 100.0, 100.0, 300.0]), HBM: np.array([8000.0, 8000.0, 2000.0, 4000.0])}
    (priced,) = EVALUATOR.prepare({"parallel.tp": 2, "parallel.ep": 32}).price(columns, 4)
    for n in range(4):
        settings = {NVLINK.removeprefix("system."): columns[NVLINK][n], HBM.removeprefix("system."): columns[HBM][n]}
        system = load_system("b200_x32").with_overrides(settings).system
        alone = evaluate_serving(workloads({})[0], system, "tp=2,ep=32", prefill=False)
        assert priced.latency_s[n] == pytest.approx(alone.step_s, rel=1e-12)
        assert priced.energy_j[n] == pytest.approx(alone.joules, rel=1e-12)
    assert RESOURCES[priced.bound[2]] is Resource.DRAM


def test_memory_that_is_too_small_is_infeasible_not_an_error() -> None:
    prepared = EVALUATOR.prepare({})
    columns = {MEMORY: np.array([1.0, 180.0])}
    assert prepared.fits(columns, 2).tolist() == [False, True]
    (priced,) = prepared.price(columns, 2)
    assert priced.feasible.tolist() == [False, True]
    assert np.isinf(priced.latency_s[0]) and priced.bound[0] == -1


def test_degrees_that_do_not_divide_are_infeasible_with_a_reason() -> None:
    prepared = EVALUATOR.prepare({"parallel.tp": 32})
    assert "does not divide the 16 heads" in prepared.refusals[0]
    assert not prepared.price({}, 3)[0].feasible.any()


def test_a_pattern_takes_the_fastest_legal_degrees() -> None:
    best = EVALUATOR.prepare({"parallel.tp": "*", "parallel.ep": "*"}).price({}, 1)[0].latency_s[0]
    each = [
        EVALUATOR.prepare({"parallel.tp": tp, "parallel.ep": ep}).price({}, 1)[0].latency_s[0] for tp in (1, 2, 4) for ep in (4, 8, 16, 32)
    ]
    assert best <= min(each)


def test_chips_and_prices_of_a_design() -> None:
    prepared = EVALUATOR.prepare({"system": "h100_cluster", "system.chip_count": 16})
    assert [link.chips for link in prepared.system.links] == [8, 16]
    design = prepared.design({"system.chips.price": np.array([30_000.0, 40_000.0])}, 2)
    assert design["cost_usd"].tolist() == [480_000.0, 640_000.0]
    assert design["rated_power_w"].tolist() == [16 * 1275.0] * 2
    assert design["area_mm2"][0] == 16 * load_system("h100_cluster").chip.table().area_mm2[0]
    assert EVALUATOR.prepare({"system": "h100_cluster", "system.chip_count": 128}).system.links[-1].chips == 128
    with pytest.raises(UsageError, match="take a multiple"):
        EVALUATOR.prepare({"system": "h100_cluster", "system.chip_count": 100})


def test_every_field_is_taken() -> None:
    fields = system_fields(load_system("h100_cluster"))
    for field in fields:
        if field.prices_only and isinstance(field.value, int | float) and not isinstance(field.value, bool):
            (priced,) = (
                SystemEvaluator("h100_cluster", workloads, ServingChoices())
                .prepare({})
                .price({field.path: np.array([float(field.value)])}, 1)
            )
            assert priced.feasible.all(), field.path


def dense(choice: object) -> list[WorkloadOptions]:
    del choice
    return [WorkloadOptions(model="llama3_8b", batch=64, cache_len=512)]


@pytest.mark.parametrize("model", [ChipModelName.CALIBRATED, ChipModelName.MAPPED])
def test_other_models_of_a_chip_have_columns_too(model: ChipModelName) -> None:
    choices = ServingChoices(chip_model=model)
    columns = {HBM: np.array([8000.0, 2000.0]), NVLINK: np.array([900.0, 300.0])}
    (priced,) = SystemEvaluator("b200_x32", dense, choices).prepare({"parallel.tp": 8}).price(columns, 2)
    settings = {path.removeprefix("system."): column[1] for path, column in columns.items()}
    system = load_system("b200_x32").with_overrides(settings).system
    alone = evaluate_serving(dense({})[0], system, "tp=8", choices=choices, prefill=False)
    assert priced.latency_s[1] == pytest.approx(alone.step_s, rel=1e-9)
    assert priced.energy_j[1] == pytest.approx(alone.joules, rel=1e-9)
    assert priced.latency_s[0] < priced.latency_s[1]
