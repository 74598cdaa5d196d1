"""Claims: all are listed with a verdict, none that can be checked fails, and the page shows what the command says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dse.cli import main
from dse.validation.claims import NOT_MET, check_claims, compared

PAGE = Path(__file__).parents[3] / "docs" / "validation.md"


def test_every_claim_has_a_verdict() -> None:
    claims = check_claims("all")
    names = [c.id for c in claims]
    assert names[:19] == [f"A{i}" for i in range(1, 20)]
    assert set(names[19:45]) == {f"B{i}" for i in range(1, 27)}
    assert len(names) == len(set(names)) == 54
    assert not [c.id for c in claims if c.verdict == NOT_MET]
    assert all(c.verdict == "met" or c.verdict.startswith("not checkable: ") for c in claims)


def test_a_number_outside_its_band_is_not_met() -> None:
    assert compared("x", "here", [1.0, 100.0], [1.0, 103.0], band=0.02).verdict == NOT_MET


def test_exit_code_6_outside_a_band(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("dse.validation.claims.check_claims", lambda _: (compared("x", "here", [1.0], [2.0], band=0.1),))
    assert main(["validate", "--format", "json"]) == 6
    assert json.loads(capsys.readouterr().out)["claims"][0]["verdict"] == "not met"


def test_the_page_lists_the_claims_of_the_command() -> None:
    rows = [f"| {c.id} | {c.published} | {c.ours} | {c.verdict} |" for c in check_claims("all")]
    text = PAGE.read_text(encoding="utf-8")
    assert [r for r in rows if r not in text] == [], "run experiments/silicon_calibration/claims_table.py and paste its rows"
