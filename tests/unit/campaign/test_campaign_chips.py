"""Campaigns over chips of many cores: levels of their fields, fronts held against points evaluated one by one, errors."""

import json
from pathlib import Path

import numpy as np
import pytest

from dse.campaign.evaluator import CatalogueSources, WorkloadEvaluator, WorkloadEvaluatorFactory
from dse.campaign.folder import FolderRequest
from dse.campaign.plan import Plan, make_plan
from dse.campaign.session import SessionRequest, run_session
from dse.cli import main
from dse.cost.many_core import ChipEvaluation
from dse.errors import InputError
from dse.files import parse_yaml
from dse.ir.lowering import Part
from dse.single import evaluate_any
from dse.workload import WorkloadOptions

CHIP = """\
schema_version: 1
name: small
summary: matrix cores in a mesh with a vector core beside them
technology: generic_7nm
clock_mhz: 1000
cores:
  mac:
    count: 2
    array: {rows: 32, columns: 32, count: 1, dataflows: [weight_stationary], folds: pipelined, macs_per_pe_per_cycle: {bf16: 1}}
    vector: {lanes: 32}
    memories:
      sram: {kind: buffer, capacity_kib: 512, read_gb_per_s: 256, write_gb_per_s: 256, double_buffered: true}
  vec:
    vector: {lanes: 64}
    memories:
      own: {kind: buffer, capacity_kib: 256, read_gb_per_s: 128, write_gb_per_s: 128, double_buffered: true}
memories:
  l2: {kind: buffer, capacity_kib: 4096, read_gb_per_s: 128, write_gb_per_s: 128, double_buffered: true}
  ddr: {kind: dram, capacity_gib: 8, bandwidth_gb_per_s: 64, latency_ns: 0}
links:
  bus: {kind: bus, members: [mac, vec, l2, ddr], bandwidth_gb_per_s: 64, energy_pj_per_byte: 4}
  side: {kind: mesh, cores: [mac], bandwidth_gb_per_s: 32, energy_pj_per_byte: 1}
"""
CAMPAIGN = """\
schema_version: 1
name: cores
workload: {model: deepseek_v2_lite, cache_len: 256, batch: 2, part: ffn, layer: 0}
accelerator: CHIP
mapping: {objective: latency}
space:
  cores.mac.count: {values: [1, 2]}
  cores.mac.memories.sram.capacity_kib: {values: [64, 512]}
  memories.dram.bandwidth_gb_per_s: {values: [32, 64]}
prices_usd: {area_mm2: 0.2, memories.dram.bandwidth_gb_per_s: 0.5, fixed: 1}
objectives: [{metric: latency_s}, {metric: energy_j}, {metric: cost_usd}]
budget: {trials: 10}
"""


@pytest.fixture
def chip(tmp_path: Path) -> Path:
    """The chip as a file."""
    path = tmp_path / "small.yaml"
    path.write_text(CHIP)
    return path


def plan(chip: Path, text: str = CAMPAIGN) -> Plan:
    return make_plan(parse_yaml(text.replace("CHIP", str(chip)), "cores.yaml"), CatalogueSources("."))


def test_what_changes_plans_is_outer_and_what_prices_them_inner(chip: Path) -> None:
    space = plan(chip).space
    assert [d.path for d in space.outer] == ["cores.mac.count"]
    assert [d.path for d in space.inner] == ["cores.mac.memories.sram.capacity_kib", "memories.dram.bandwidth_gb_per_s"]


def test_a_front_is_made_of_points_as_eval_finds_them(chip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = []
    for workers in (1, 2):
        folder, made = tmp_path / str(workers), plan(chip)
        ran = run_session(made, WorkloadEvaluatorFactory(made), SessionRequest(folder=FolderRequest(run_dir=folder), workers=workers))
        assert ran.exit_code == 0
        assert ran.run.exact
        results.append((folder / "results.jsonl").read_bytes())
    assert results[0] == results[1]
    capsys.readouterr()
    assert main(["pareto", str(tmp_path / "1"), "--format", "json"]) == 0
    front = json.loads(capsys.readouterr().out)["points"]
    assert 1 < len(front) <= 8
    options = WorkloadOptions(model="deepseek_v2_lite", cache_len=256, batch=2, part=Part.FFN, layer=0)
    for point in front:
        settings = [f"{path.replace('dram', 'ddr')}={value}" for path, value in point["parameters"].items()]
        found = evaluate_any(options, str(chip), settings)
        assert isinstance(found, ChipEvaluation)
        assert point["values"]["latency_s"] == pytest.approx(found.latency_s, rel=0.02)
        assert point["values"]["energy_j"] == pytest.approx(found.energy_j, rel=0.02)
        rate = point["parameters"]["memories.dram.bandwidth_gb_per_s"]
        assert point["values"]["cost_usd"] == pytest.approx(1 + 0.2 * found.area.total_mm2 + 0.5 * rate)
    assert main(["trace", str(tmp_path / "1"), "-o", str(tmp_path / "t.json"), "--no-pictures", "--format", "json"]) == 0
    traced = json.loads(capsys.readouterr().out)
    assert traced["latency_s"] == pytest.approx(min(p["values"]["latency_s"] for p in front))


def test_a_point_is_the_same_alone_and_among_others(chip: Path) -> None:
    made = plan(chip)
    prepared = WorkloadEvaluator(made).prepare(made.space.choice(1))
    every = made.space.columns(np.arange(4))
    together = prepared.price(every, 4)[0]
    for row in reversed(range(4)):
        alone = prepared.price({path: column[row : row + 1] for path, column in every.items()}, 1)[0]
        assert (alone.latency_s[0], alone.energy_j[0]) == (together.latency_s[row], together.energy_j[row])
    bound = WorkloadEvaluator(made).rough(made.space.choice(1)).price(every, 4)[0]
    assert (bound.latency_s <= together.latency_s).all()
    assert (bound.energy_j <= together.energy_j).all()


def test_an_accelerator_of_one_core_and_a_chip_stand_in_one_campaign(chip: Path) -> None:
    text = CAMPAIGN.replace("accelerator: CHIP", "accelerator: [edge32, CHIP]").replace("  cores.mac.count: {values: [1, 2]}\n", "")
    made = plan(chip, text.replace("  cores.mac.memories.sram.capacity_kib: {values: [64, 512]}\n", ""))
    evaluator = WorkloadEvaluator(made)
    for outer in range(2):
        columns = made.space.columns(np.arange(2))
        priced = evaluator.prepare(made.space.choice(outer)).price(columns, 2)[0]
        assert priced.latency_s[0] > priced.latency_s[1]  # twice the bandwidth
        screen = evaluator.screen(made.space.choice(outer))
        assert screen.design(columns, 2)["area_mm2"] == pytest.approx(priced.area_mm2)


def test_values_that_need_each_other_are_allowed(chip: Path) -> None:
    dimensions = "  cores.mac.count: {values: [2, 4, 6]}\n  links.side.rows: {values: [1, 2, 3]}\n"
    limit = "limits: [cores.mac.count % links.side.rows == 0]\n"
    text = CAMPAIGN.replace("  cores.mac.count: {values: [1, 2]}\n", dimensions) + limit
    chip.write_text(CHIP.replace("cores: [mac], band", "cores: [mac], rows: 1, band"))
    made = plan(chip, text)
    assert made.choices.count == 7  # each in a row and in two rows, 6 in three
    with pytest.raises(InputError, match=r"links\.side\.rows.*5 does not fit.*do not fill 5 rows evenly"):
        plan(chip, text.replace("[1, 2, 3]", "[1, 5]"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("cores.mac.count: {values: [1, 2]}", "cores.mac.count: {values: [0]}", "0 does not fit .*at least 1"),
        ("cores.mac.count: {values: [1, 2]}", "cores.mca.count: {values: [1]}", "Did you mean 'cores.mac.count'"),
        ("memories.dram.bandwidth_gb_per_s: {values: [32, 64]}", "links.bus.bandwidth_gb_per_s: {values: [-1]}", "above 0"),
        (
            "memories.dram.bandwidth_gb_per_s: {values: [32, 64]}",
            "links.bus.latency_ns: {linear: [0, 9, 99999]}",
            "at most 100,000 on a chip",
        ),
        ("area_mm2: 0.2, ", "cores.vec.array.rows: 2, ", "'cores.vec.array.rows' has no amount"),
    ],
)
def test_what_a_chip_does_not_have_is_refused(chip: Path, old: str, new: str, message: str) -> None:
    assert old in CAMPAIGN
    with pytest.raises(InputError, match=message):
        plan(chip, CAMPAIGN.replace(old, new))
