"""Systems whose chips have many cores: rates by hand, chips planned core by core, collectives as between any chips."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from dse.cli import main
from dse.errors import UsageError
from dse.plugins import load_chip, load_system
from dse.serving_case import ChipModelName, ServingCase, ServingChoices, serving_case
from dse.serving_search import SystemEvaluator, system_fields
from dse.single import evaluate_any
from dse.system.chip_time import chip_rates
from dse.system.read import SystemDescription
from dse.workload import WorkloadOptions

MAPPED = ServingChoices(chip_model=ChipModelName.MAPPED)
POD = """\
schema_version: 1
name: pod
summary: chips of four cores on a switch
chips: {{accelerator: {chip}, count: 8}}
links: {{ici: {{chips: 8, topology: switch, bandwidth_gb_per_s: 200, latency_us: 1.0, energy_pj_per_bit: 5}}}}
"""
HBM = "system.chips.settings.memories.hbm.bandwidth_gb_per_s"


@cache
def pod(folder: str, chip: str = "tpu7x_quad") -> SystemDescription:
    path = Path(folder) / f"{chip}.yaml"
    path.write_text(POD.format(chip=chip))
    return load_system(str(path))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("systems"))


def case(system: SystemDescription, chips: int, parallel: str, batch: int) -> ServingCase:
    options = WorkloadOptions(model="llama3_8b", batch=batch, cache_len=512)
    return serving_case(options, system.system.of_size(chips), parallel, choices=MAPPED)


def test_rates_are_those_of_all_cores() -> None:
    rates = chip_rates(load_chip("tpu7x_quad"))
    assert rates.macs_per_s["bf16"] == pytest.approx(4 * 4 * 256 * 256 * 1.1e9)  # cores, arrays, rows, columns, clock
    assert rates.vector_ops_per_s == pytest.approx(4 * 4096 * 1.1e9)
    assert rates.dram_bytes_per_s == pytest.approx(7370e9)
    assert (rates.mac_pj["bf16"], rates.vector_pj, rates.dram_pj_per_byte) == pytest.approx((0.076, 0.52, 32))
    columns = {"clock_mhz": np.array([1100.0, 2200.0]), "memories.hbm.bandwidth_gb_per_s": np.array([7370.0, 3685.0])}
    both = chip_rates(load_chip("tpu7x_quad"), columns)
    assert np.divide(both.macs_per_s["bf16"], rates.macs_per_s["bf16"]) == pytest.approx([1, 2])
    assert np.divide(both.dram_bytes_per_s, rates.dram_bytes_per_s) == pytest.approx([1, 0.5])


UNLIKE = """\
schema_version: 1
name: unlike
summary: products on two cores, convolutions on one, a vector core
technology: generic_7nm
clock_mhz: 1000
cores:
  mac:
    count: 2
    array: {rows: 8, columns: 8, count: 1, dataflows: [weight_stationary], folds: pipelined, macs_per_pe_per_cycle: {bf16: 1}, mac_energy_pj: {bf16: 1}}
    op_types: [MatMul]
    memories:
      sram: {kind: buffer, capacity_kib: 64, read_gb_per_s: 64, write_gb_per_s: 64, double_buffered: true}
  wide:
    array: {rows: 16, columns: 16, count: 1, dataflows: [weight_stationary], folds: pipelined, macs_per_pe_per_cycle: {bf16: 1}, mac_energy_pj: {bf16: 3}}
    memories:
      sram: {kind: buffer, capacity_kib: 64, read_gb_per_s: 64, write_gb_per_s: 64, double_buffered: true}
  conv:
    array: {rows: 8, columns: 8, count: 1, dataflows: [weight_stationary], folds: pipelined, macs_per_pe_per_cycle: {bf16: 1}}
    op_types: [Conv]
    memories:
      sram: {kind: buffer, capacity_kib: 64, read_gb_per_s: 64, write_gb_per_s: 64, double_buffered: true}
  vec:
    vector: {lanes: 8}
    memories:
      sram: {kind: buffer, capacity_kib: 64, read_gb_per_s: 64, write_gb_per_s: 64, double_buffered: true}
memories:
  dram: {kind: dram, capacity_gib: 1, bandwidth_gb_per_s: 16, latency_ns: 0}
links:
  bus: {kind: bus, members: [mac, wide, conv, vec, dram], bandwidth_gb_per_s: 16, energy_pj_per_byte: 1}
"""


def test_unlike_cores_count_where_they_may_run_products(tmp_path: Path) -> None:
    path = tmp_path / "unlike.yaml"
    path.write_text(UNLIKE)
    rates = chip_rates(load_chip(str(path)))
    assert rates.macs_per_s["bf16"] == pytest.approx((2 * 64 + 256) * 1e9)  # not the cores for convolutions
    assert rates.mac_pj["bf16"] == pytest.approx((128 * 1 + 256 * 3) / 384)  # each does its share
    assert rates.vector_ops_per_s == pytest.approx(8e9)


def test_a_chip_without_vector_units_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "arrays.yaml"
    path.write_text(UNLIKE[: UNLIKE.index("  vec:")] + UNLIKE[UNLIKE.index("memories:\n  dram") :].replace("conv, vec", "conv"))
    with pytest.raises(
        UsageError, match=r"no kind of core has a vector unit, which every layer of a model needs; give one under cores\.KIND"
    ):
        chip_rates(load_chip(str(path)))


def test_one_chip_is_what_one_chip_is(folder: str) -> None:
    alone = case(pod(folder), 1, "", 32).times([32])
    whole = evaluate_any(WorkloadOptions(model="llama3_8b", batch=32, cache_len=512, all_layers=True), "tpu7x_quad")
    assert float(alone.seconds[0]) == pytest.approx(whole.latency_s, rel=0.03)  # each piece of a layer waits for its first load
    assert float(alone.joules[0]) == pytest.approx(whole.energy_j, rel=0.01)


def test_chips_that_share_nothing_take_the_time_of_one(folder: str) -> None:
    one, four = case(pod(folder), 1, "", 8).times([8]), case(pod(folder), 4, "dp=4", 32).times([32])
    assert float(four.seconds[0]) == pytest.approx(float(one.seconds[0]), rel=1e-12)
    assert float(four.joules[0]) == pytest.approx(4 * float(one.joules[0]), rel=1e-9)


def test_collectives_are_those_of_any_chips(folder: str) -> None:
    """What passes between chips depends on the model, the degrees and the links, not on what a chip is made of."""
    costs = []
    for chip in ("tpu7x_quad", "tpu7x"):
        found = serving_case(WorkloadOptions(model="deepseek_v2_lite", batch=32, cache_len=512), pod(folder, chip).system, "tp=2,ep=8")
        run = found.run(32)
        costs.append(
            [(o.name, float(o.seconds[0]), float(o.joules[0])) for p in found.work.parts for o in run.operators(p) if not o.region]
        )
    assert costs[0] == costs[1]
    assert {name for name, _, _ in costs[0]} >= {"attention_sum", "dispatch", "combine"}


def test_tensor_parallel_chips_are_faster_by_their_share(folder: str) -> None:
    one, two = case(pod(folder), 1, "", 8).times([8]), case(pod(folder), 2, "tp=2", 8).times([8])
    compute = [float(t.attention_s[0] + t.ffn_s[0] + t.other_s[0]) for t in (one, two)]
    assert 0.5 <= compute[1] / compute[0] < 0.56
    assert float(two.communication_s[0]) > 0


def test_points_of_a_search_cost_what_each_costs_alone(folder: str) -> None:
    name = str(Path(folder) / "tpu7x_quad.yaml")
    paths = {f.path: f for f in system_fields(pod(folder))}
    assert paths[HBM].prices_only
    assert not paths["system.chips.settings.cores.tensor.count"].prices_only
    options = WorkloadOptions(model="llama3_8b", batch=8, cache_len=512, layer=1)
    prepared = SystemEvaluator(name, lambda _: [options], MAPPED).prepare({"parallel.tp": 2})
    (both,) = prepared.price({HBM: np.array([7370.0, 5000.0])}, 2)
    singly = [prepared.price({HBM: np.array([rate])}, 1)[0] for rate in (7370.0, 5000.0)]
    assert both.latency_s == pytest.approx([float(p.latency_s[0]) for p in singly], rel=1e-12)
    assert both.latency_s[1] > both.latency_s[0]
    (narrow,) = (
        SystemEvaluator(name, lambda _: [options], MAPPED)
        .prepare({"parallel.tp": 2, "system.chips.settings.cores.tensor.count": 4})
        .price({}, 1)
    )
    assert float(narrow.latency_s[0]) == pytest.approx(float(both.latency_s[0]), rel=1e-12)


def test_the_command_serves_and_refuses(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    pod(folder)
    name = str(Path(folder) / "tpu7x_quad.yaml")
    words = ["system", "--model", "llama3_8b", "--system", name, "--batch", "16", "--cache-len", "512", "--parallel", "tp=2"]
    assert main([*words, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["feasible"]
    assert found["shares"]["communication"] > 0
    assert main([*words, "--set", "chips.settings.clock_mhz=550", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["tpot_s"] >= found["tpot_s"]
    assert main([*words, "--chip-model", "calibrated"]) == 2
    assert "nothing is measured of tpu7x_quad, a chip of many cores; use mapped" in capsys.readouterr().err
