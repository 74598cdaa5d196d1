"""The campaigns that docs/campaigns.md shows: read as they stand, and run, the first at small sizes."""

from __future__ import annotations

import csv
import re
import textwrap
from typing import TYPE_CHECKING

import pytest

from dse.campaign.evaluator import CatalogueSources, WorkloadEvaluatorFactory
from dse.campaign.folder import FolderRequest
from dse.campaign.plan import load_plan
from dse.campaign.session import SessionRequest, run_session
from dse.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = re.compile(r"^ *```yaml\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def rows_of(repository: Path, tmp_path: Path, number: int, settings: list[str]) -> list[dict[str, str]]:
    """The front of the `number`th campaign of the page."""
    page = (repository / "docs/campaigns.md").read_text(encoding="utf-8")
    campaign = tmp_path / "campaign.yaml"
    campaign.write_text(textwrap.dedent(BLOCK.findall(page)[number]), encoding="utf-8")
    load_plan(campaign, CatalogueSources(str(tmp_path)))  # as it stands
    plan = load_plan(campaign, CatalogueSources(str(tmp_path)), settings)
    result = run_session(plan, WorkloadEvaluatorFactory(plan), SessionRequest(folder=FolderRequest(run_dir=tmp_path / "run")))
    assert result.exit_code is ExitCode.DONE
    with (tmp_path / "run/pareto.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def number(row: dict[str, str], name: str) -> float:
    return float(row[name])


def test_prefill_and_decode_over_cache_lengths(repository: Path, tmp_path: Path) -> None:
    small = ["workloads.prefill.cache_len=64", "workloads.decode.cache_len=256", "workloads.decode.over={cache_len: [64, 256]}"]
    rows = rows_of(repository, tmp_path, 0, [*small, "accelerator=flat_edge", "sampler=random", "budget.trials=1"])
    assert rows
    for row in rows:
        lengths = [number(row, f"decode[cache_len={length}].latency_s") for length in (64, 256)]
        assert number(row, "decode.worst.tpot_s") == max(lengths)  # one token a step
        assert number(row, "area_mm2") <= 800
        bandwidth = number(row, "memories.dram.bandwidth_gb_per_s")
        assert number(row, "cost_usd") == pytest.approx(100 + 0.2 * number(row, "area_mm2") + 0.5 * bandwidth)
        assert number(row, "memories.buffer.capacity_kib") >= 8192 or number(row, "workload.decode.batch") <= 16


def test_a_front_robust_against_routing_for_two_models(repository: Path, tmp_path: Path) -> None:
    rows = rows_of(repository, tmp_path, 1, [])
    assert rows
    for row in rows:
        routings = [f"deepseek[routing={name}]" for name in ("uniform", "zipf:0.8")]
        assert number(row, "deepseek.worst.latency_s") == max(number(row, f"{name}.latency_s") for name in routings)
        assert number(row, "mixtral.latency_s") <= 0.005
        deepseek = sum(number(row, f"{name}.energy_j") for name in routings) / 2  # the two routings share one weight
        assert number(row, "mix.energy_j") == pytest.approx((deepseek + number(row, "mixtral.energy_j")) / 2)
