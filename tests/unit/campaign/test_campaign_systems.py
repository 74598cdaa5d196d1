"""Campaigns over systems of many chips: the same machinery, held against points evaluated one by one."""

import json
from pathlib import Path

import pytest

from dse.campaign.evaluator import CatalogueSources, WorkloadEvaluatorFactory
from dse.campaign.folder import FolderRequest
from dse.campaign.plan import Plan, make_plan
from dse.campaign.session import SessionRequest, run_session
from dse.cli import main
from dse.errors import InputError
from dse.files import parse_yaml
from dse.plugins import load_system
from dse.serving import evaluate_serving
from dse.workload import WorkloadOptions

CAMPAIGN = """\
schema_version: 1
name: racks
workloads:
  decode: {model: deepseek_v2_lite, cache_len: 1024}
  prefill: {model: deepseek_v2_lite, cache_len: 1024, phase: prefill, batch: 32}
system: [h200_cluster, gb200_nvl72]
parallel: "ep=8"
space:
  system.chip_count: {values: [16, 32]}
  parallel.tp: {values: [1, 2, 3]}
  workload.decode.batch: {values: [64, 1024]}
  system.links.nvlink.bandwidth_gb_per_s: {values: [225, 450]}
constraints:
  - {metric: tpot_s, workload: decode, max: 0.05}
prices_usd: {area_mm2: 20, system.links.nvlink.bandwidth_gb_per_s: 4}
objectives:
  - {metric: tokens_per_s_per_chip, workload: decode}
  - {metric: latency_s, workload: prefill}
  - {metric: cost_usd}
budget: {trials: 100}
"""


def plan(text: str = CAMPAIGN) -> Plan:
    return make_plan(parse_yaml(text, "racks.yaml"), CatalogueSources("."))


def test_a_front_of_systems_is_made_of_their_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        ran = run_session(plan(), WorkloadEvaluatorFactory(plan()), SessionRequest(folder=FolderRequest(run_dir=folder), workers=workers))
        assert ran.exit_code == 0  # degrees that do not divide are infeasible designs, not failed trials
        results.append((folder / "results.jsonl").read_bytes())
    assert results[0] == results[1]
    assert main(["trace", str(tmp_path / "1"), "-o", str(tmp_path / "trace.json")]) == 2
    assert "is a run over systems of many chips, of which no timeline is drawn" in capsys.readouterr().err
    assert not (tmp_path / "trace.json").exists()
    capsys.readouterr()
    assert main(["pareto", str(tmp_path / "1"), "--format", "json"]) == 0
    front = json.loads(capsys.readouterr().out)["points"]
    assert front
    for point in front:
        values, parameters = point["values"], point["parameters"]
        assert parameters["parallel.tp"] != 3
        rate = float(parameters["system.links.nvlink.bandwidth_gb_per_s"])
        description = load_system(str(parameters["accelerator"])).with_overrides({"links.nvlink.bandwidth_gb_per_s": rate})
        batch, tp = int(parameters["workload.decode.batch"]), parameters["parallel.tp"]
        options = WorkloadOptions(model="deepseek_v2_lite", cache_len=1024, batch=batch)
        system = description.system.of_size(int(parameters["system.chip_count"]))
        alone = evaluate_serving(options, system, f"ep=8,tp={tp}", prefill=False)
        assert values["decode.tokens_per_s_per_chip"] == pytest.approx(alone.tokens_per_s / system.chips, rel=1e-9)
        area = float(description.chip.table().area_mm2[0])
        assert values["cost_usd"] == pytest.approx(system.chips * (20 * area + 4 * rate), rel=1e-9)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("values: [16, 32]", "values: [16, 100]", "100 does not fit h200_cluster"),
        ("parallel.tp", "parallel.tq", "is not known"),
        ("system: [h200_cluster, gb200_nvl72]", "system: h200_clustr", "Did you mean 'h200_cluster'"),
        ("system: [h200_cluster, gb200_nvl72]", "accelerator: h100_sxm", "belong to a 'system'"),
        ("system: [h200_cluster, gb200_nvl72]", "system: h200_node\naccelerator: h100_sxm", "but not both"),
        ("values: [1, 2, 3]", "values: [0]", "give a whole number from 1"),
    ],
)
def test_refuses(old: str, new: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan(CAMPAIGN.replace(old, new, 1))


def test_the_campaign_of_the_documentation_is_one() -> None:
    page = Path("docs/systems.md").read_text()
    text = page[page.index("schema_version: 1\nname: racks") :]
    found = plan(text[: text.index("```")])
    assert [d.path for d in found.space.inner] == ["system.links.nvlink.bandwidth_gb_per_s", "system.chips.memory_gib"]
    assert found.trials == 2 * 2 * 5 * 2
