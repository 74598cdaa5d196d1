"""All experiments at smoke size against their expected values, and their folders are complete."""

from __future__ import annotations

import json
import runpy
from collections import Counter
from pathlib import Path

import pytest

from dse.campaign.evaluator import CatalogueSources, WorkloadEvaluatorFactory
from dse.campaign.folder import FolderRequest
from dse.campaign.plan import load_plan
from dse.campaign.session import SessionRequest, run_session
from experiments import kit
from experiments.moved import Told, moves, summary

NAMES = kit.experiments()
BEYOND = "beyond_the_papers/"
"""Their smoke sizes take some ten seconds each: `make experiments-smoke` and `pytest -m long` run them."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.long] if n.startswith(BEYOND) else []) for n in NAMES])
def test_smoke_size_is_as_expected(name: str) -> None:
    checks = kit.compare(name, kit.outcome(name, smoke=True), smoke=True)
    assert checks
    assert [f"{c.claim}: expected {c.expected}, ours {c.ours}" for c in checks if not c.ok] == []


@pytest.mark.parametrize("name", NAMES)
def test_folder_is_complete(name: str) -> None:
    folder = kit.ROOT / name
    page = (folder / "README.md").read_text(encoding="utf-8")
    for heading in ("**Question.**", "**Setting.**", kit.BEGIN, "s of CPU time"):
        assert heading in page, f"{name}: README.md lacks {heading}"
    for entry in json.loads((folder / "expected.json").read_text(encoding="utf-8"))["checks"]:
        assert entry["claim"] in page, f"{name}: README.md is older than expected.json; run python -m experiments {name}"
    assert "**no**" not in page, f"{name}: the README shows a value outside its band"
    picture = folder / "picture.svg"
    assert not picture.exists() or picture.stat().st_size < 200_000


def test_unknown_experiments_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        kit.main(["nonsense"])
    assert stopped.value.code == 2
    assert "there are: " in capsys.readouterr().err


def test_a_value_outside_its_band_ends_with_6(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    name = "mla_hardware_analysis/table_1"
    wrong = kit.Outcome({**kit.outcome(name, smoke=True).values, "mla_parameters": 1})
    monkeypatch.setattr(kit, "outcome", lambda *_, **__: wrong)
    assert kit.main([name, "--smoke"]) == 6
    assert "NOT as expected" in capsys.readouterr().out


def test_what_moved_is_told(tmp_path: Path) -> None:
    name = "mla_hardware_analysis/table_1"
    found = kit.outcome(name, smoke=False)
    values = {c.claim: c.ours for c in kit.compare(name, found, smoke=False)}
    tables = {table: t.csv() for table, t in found.tables.items()}
    assert moves(kit.ROOT / name, values, tables, (kit.BEGIN, kit.END)) == []
    assert len(moves(tmp_path, values, tables, (kit.BEGIN, kit.END))) == len(values) + len(tables)
    claim = next(iter(values))
    (tmp_path / "README.md").write_text((kit.ROOT / name / "README.md").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "t.csv").write_text("a,b\n1,200\n3,x\n", encoding="utf-8")
    told = moves(tmp_path, {**values, claim: "7"}, {"t": "a,b\n1,210\n3,x\n"}, (kit.BEGIN, kit.END))
    assert told == [f"{claim}: {values[claim]} -> 7", "t.csv: 1 of 4 cells, most by 5 % (b)"]
    text = summary([Told("one", 7, (), tuple(told), 1.0), Told("two", 3, ("x",), (), 2.0), Told("three", 0, (), (), 0.0, "ended")])
    assert "3 experiments, 9 of 10 values as expected, 3 s of CPU time" in text
    assert "CRASHED: three: ended" in text
    assert text.endswith("exit code 6.")


def test_the_co_design_campaign_is_planned_exactly() -> None:
    folder = kit.ROOT / BEYOND / "co_design"
    plan = load_plan(folder / "campaign.yaml", CatalogueSources(str(folder)))
    assert plan.trials == plan.space.outer_size == 9
    assert plan.space.size == 9 * 7 * 13 * 3


@pytest.mark.long
def test_the_co_design_campaign_runs(tmp_path: Path) -> None:
    folder = kit.ROOT / BEYOND / "co_design"
    plan = load_plan(folder / "campaign.yaml", CatalogueSources(str(folder)))
    run = run_session(plan, WorkloadEvaluatorFactory(plan), SessionRequest(folder=FolderRequest(run_dir=tmp_path))).run
    assert run.exact
    pairs = Counter(tuple(run.header.space.choice(member.outer).values()) for member in run.archive.members)
    assert pairs.most_common(1)[0][0] == ("naive", "left_to_right")  # prompts, tokens


@pytest.mark.long
def test_the_notebook_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(kit.ROOT / BEYOND / "python_api" / "notebook.py"))
    assert "chips on the front; knee: " in capsys.readouterr().out


def test_the_makefile_runs_them() -> None:
    text = (Path(kit.ROOT).parent / "Makefile").read_text(encoding="utf-8")
    assert "python -m experiments\n" in text
    assert "python -m experiments --smoke\n" in text
