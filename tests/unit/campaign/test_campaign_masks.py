"""Masked scores in campaigns: skipped as a causal kernel does, or computed and thrown away, as a field of the workload and of the space."""

import json
from pathlib import Path

import pytest

from dse.campaign.evaluator import CatalogueSources, WorkloadEvaluatorFactory
from dse.campaign.folder import FolderRequest
from dse.campaign.header import header_of
from dse.campaign.plan import Plan, make_plan
from dse.campaign.session import SessionRequest, run_session
from dse.cli import main
from dse.errors import InputError
from dse.files import parse_yaml

CAMPAIGN = """\
schema_version: 1
name: masks
workload: {model: deepseek_v2_lite, phase: prefill, cache_len: 512, part: attention, layer: 3, masked: computed}
accelerator: flat_edge
space:
  workload.masked: {values: [skipped, computed]}
objectives:
  - {metric: latency_s}
  - {metric: energy_j}
"""
SYSTEM = (
    CAMPAIGN.replace("accelerator: flat_edge", "system: h200_cluster")
    .replace(", part: attention, layer: 3", "")
    .replace("energy_j", "tpot_s")
)


def plan(text: str) -> Plan:
    return make_plan(parse_yaml(text, "masks.yaml"), CatalogueSources("."))


def metrics(text: str, folder: Path) -> dict[str, dict[str, float]]:
    ran = run_session(plan(text), WorkloadEvaluatorFactory(plan(text)), SessionRequest(folder=FolderRequest(run_dir=folder)))
    found = {}
    for record in ran.run.records:
        assert record.best is not None
        found[str(ran.run.header.space.choice(record.outer)["workload.masked"])] = dict(record.best.metrics)
    return found


def test_both_are_those_of_eval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = metrics(CAMPAIGN, tmp_path)
    for masked, own in found.items():
        capsys.readouterr()
        step = ["--model", "deepseek_v2_lite", "--phase", "prefill", "--cache-len", "512", "--part", "attention", "--layer", "3"]
        goal = ["--objective", "edp"]  # what plans of a campaign for latency and energy are chosen by
        assert main(["eval", *step, "--masked", masked, "-a", "flat_edge", *goal, "--format", "json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert own["latency_s"] == pytest.approx(told["latency_s"], rel=1e-12)
        assert own["energy_j"] == pytest.approx(told["energy_j"], rel=1e-12)
    assert found["skipped"]["energy_j"] < found["computed"]["energy_j"]


def test_a_system_skips_them_too(tmp_path: Path) -> None:
    found = metrics(SYSTEM, tmp_path)
    assert found["skipped"]["latency_s"] < found["computed"]["latency_s"]


def test_only_computed_scores_are_worth_a_word() -> None:
    fixed = CAMPAIGN.replace("workload.masked: {values: [skipped, computed]}", "clock_mhz: {values: [500, 1000]}")
    assert "masked=computed" in header_of(plan(fixed)).workload
    assert "masked" not in header_of(plan(fixed.replace("masked: computed", "masked: skipped"))).workload


def test_another_word_is_refused() -> None:
    with pytest.raises(InputError, match=r"'workload.masked' must be one of skipped, computed, not the text 'dropped'"):
        plan(CAMPAIGN.replace("masked: computed", "masked: dropped"))
