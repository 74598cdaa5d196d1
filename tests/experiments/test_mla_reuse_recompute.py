"""The reuse-or-recompute experiment at smoke size against its expected values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dse.campaign.evaluator import CatalogueSources, WorkloadEvaluatorFactory
from dse.campaign.folder import FolderRequest
from dse.campaign.plan import load_plan
from dse.campaign.session import SessionRequest, run_session
from dse.campaign.summary import winners
from dse.campaign.view import Run
from dse.report import data
from experiments.mla_reuse_recompute.readme import BEGIN, END, FIRST, with_tables

FOLDER = Path("experiments/mla_reuse_recompute")
PAIR = ("reuse", "recompute")


@pytest.fixture(scope="module")
def expected(repository: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((repository / FOLDER / "expected.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def run(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = repository / FOLDER
    plan = load_plan(folder / "smoke.yaml", CatalogueSources(str(folder)))
    request = SessionRequest(folder=FolderRequest(run_dir=tmp_path_factory.mktemp("runs") / "smoke"))
    return run_session(plan, WorkloadEvaluatorFactory(plan), request).run


def test_everything_was_priced(run: Run) -> None:
    assert run.exact
    assert run.priced == 224
    assert not run.failures


def test_winners(run: Run, expected: dict[str, Any]) -> None:
    assert {row["objective"]: row["scheme"] for row in winners(run)} == expected["winner"]


def test_macs_and_bytes_of_the_closed_forms(run: Run, expected: dict[str, Any]) -> None:
    for record in run.records:
        scheme = data.scheme_of(run, record)
        assert record.ceiling is not None
        assert record.ceiling.macs == expected["macs"][scheme]
        elements = expected["compulsory_dram_elements"][scheme]
        assert record.ceiling.compulsory_bytes / 2 == pytest.approx(elements, rel=expected["compulsory_relative_tolerance"])


def test_the_crossover(run: Run, expected: dict[str, Any]) -> None:
    closed = data.crossover(run, PAIR)
    band = expected["closed_form_crossover_op_per_byte"]
    assert closed is not None
    assert closed.ridge_operations_per_byte == pytest.approx(band["value"], rel=band["relative_tolerance"])
    points = sorted(data.crossover_points(run, PAIR), key=lambda point: point.bandwidth)
    memory_bound, compute_bound = points[0].ratio, points[-1].ratio
    assert expected["recompute_over_reuse_when_memory_bound"]["at_least"] <= memory_bound
    assert memory_bound <= expected["recompute_over_reuse_when_memory_bound"]["at_most"]
    assert compute_bound <= expected["recompute_over_reuse_when_compute_bound"]["at_most"]
    assert all(point.ratio < 1 for point in points if point.ridge_operations_per_byte < closed.ridge_operations_per_byte)


def test_the_full_campaign_prices_a_hundred_thousand_designs(repository: Path) -> None:
    folder = repository / FOLDER
    plan = load_plan(folder / "campaign.yaml", CatalogueSources(str(folder)))
    assert plan.space.size >= 100_000
    assert plan.trials == plan.space.outer_size


def test_tables_of_the_readme_are_replaced(repository: Path) -> None:
    page = (repository / "README.md").read_text(encoding="utf-8")
    new = with_tables(page, f"progress\n{FIRST} (lead)\n\n a   b  \n")
    assert f"{BEGIN}{FIRST} (lead)\n\n a   b\n{END}" in new
    assert new.partition(BEGIN)[0] == page.partition(BEGIN)[0]
    assert new.partition(END)[2] == page.partition(END)[2]
    with pytest.raises(ValueError, match="marks"):
        with_tables("no marks", FIRST)
