"""The evaluator over catalogue accelerators: aliases of memories, and what is made once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dse import plugins
from dse.campaign.evaluator import CatalogueSources, WorkloadEvaluatorFactory
from dse.campaign.folder import FolderRequest
from dse.campaign.plan import make_plan
from dse.campaign.prepared import PreparedWorkload, actual, alias
from dse.campaign.session import SessionRequest, run_session
from dse.campaign.summary import diagnosis
from dse.errors import ExitCode
from dse.files import parse_yaml
from dse.hw.read import AcceleratorDescription

if TYPE_CHECKING:
    from pathlib import Path

CAMPAIGN = """\
schema_version: 1
name: once
workload: {model: deepseek_v3, phase: decode, cache_len: 1024, part: attention, layer: 3}
accelerator: edge32
space:
  workload.batch: {values: [1, 4]}
  core.array.rows: {values: [16, 32]}
  memories.dram.bandwidth_gb_per_s: {values: [50, 100]}
objectives: [{metric: tpot_s}]
budget: {trials: 4}
"""


@pytest.mark.parametrize("name", ["edge32", "flat_cloud", "tpu_v4i", "tpu7x_quad"])
def test_every_alias_leads_back_to_its_path(name: str) -> None:
    description = plugins.load_hardware(name)
    paths = [p.path for p in description.paths()]
    assert all(actual(description, path) == path for path in paths)
    aliases = {alias(description, path): path for path in paths if alias(description, path) not in paths}
    assert {shown: actual(description, shown) for shown in aliases} == aliases
    assert actual(description, "memories.dram.no_such_field") == "memories.dram.no_such_field"


def test_an_accelerator_is_described_once_for_all_its_workloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(parse_yaml(CAMPAIGN, str(tmp_path / "once.yaml")), CatalogueSources(str(tmp_path)))
    made = []
    laid_over = AcceleratorDescription.with_overrides

    def count(self: AcceleratorDescription, overrides: dict[str, object], *, origin: str = "setting") -> AcceleratorDescription:
        made.append(tuple(overrides.items()))
        return laid_over(self, overrides, origin=origin)

    monkeypatch.setattr(AcceleratorDescription, "with_overrides", count)
    evaluator = WorkloadEvaluatorFactory(plan)()
    for outer in range(plan.space.outer_size):
        choice = plan.space.choice(outer)
        evaluator.screen(choice)
        evaluator.rough(choice)
    assert sorted(made) == [(("core.array.rows", 16),), (("core.array.rows", 32),)]


def test_weights_that_no_dram_holds_are_what_the_diagnosis_names(tmp_path: Path) -> None:
    text = CAMPAIGN.replace("part: attention", "part: ffn")
    plan = make_plan(parse_yaml(text, str(tmp_path / "once.yaml")), CatalogueSources(str(tmp_path)))
    result = run_session(plan, WorkloadEvaluatorFactory(plan), SessionRequest(folder=FolderRequest(run_dir=tmp_path / "run")))
    assert result.exit_code is ExitCode.NOTHING_FEASIBLE
    first, _, third, *_ = diagnosis(result.run).splitlines()
    assert first == "none of 8 designs is feasible: DRAM capacity, area or cost rule out 8 before pricing"
    assert third.startswith("  trial 0: dram_capacity: weights and caches take ")
    assert "or more DRAM capacity, at " in third


@pytest.mark.parametrize(("path", "alike"), [("memories.dram.write_energy_pj_per_byte", False), ("memories.dram.bandwidth_gb_per_s", True)])
def test_frontiers_tell_dram_writes_from_reads_where_their_energy_varies(path: str, alike: bool, tmp_path: Path) -> None:
    """Named by its alias; the designs are priced, so the table and the frontiers agree."""
    text = CAMPAIGN.replace("accelerator: edge32", "accelerator: flat_edge").replace("memories.dram.bandwidth_gb_per_s", path)
    text = text.replace("[1, 4]", "[1]").replace("[16, 32]", "[32]")
    plan = make_plan(parse_yaml(text, str(tmp_path / "once.yaml")), CatalogueSources(str(tmp_path)))
    prepared = WorkloadEvaluatorFactory(plan)().prepare(plan.space.choice(0))
    assert isinstance(prepared, PreparedWorkload)
    assert [compiled.geometry.dram_alike for compiled in prepared.compiled] == [alike]
    (priced,) = prepared.price(plan.space.columns(np.arange(plan.space.inner_size)), plan.space.inner_size)
    assert priced.feasible.all()
    assert alike or priced.energy_j[0] < priced.energy_j[1]
