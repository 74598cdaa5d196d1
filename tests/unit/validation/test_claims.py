"""Claims: all are listed with a verdict, none that can be checked fails, and the page shows what the command says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dse.cli import main
from dse.validation.claims import NOT_MET, Claim, check_claims, compared, page_with_table
from dse.validation.paper_a import _both

NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?")
PAGE = Path(__file__).parents[3] / "docs" / "validation.md"


@pytest.fixture(scope="module")
def claims() -> tuple[Claim, ...]:
    return check_claims("all")


def test_every_claim_has_a_verdict(claims: tuple[Claim, ...]) -> None:
    names = [c.id for c in claims]
    assert names[:45] == [f"A{i}" for i in range(1, 20)] + [f"B{i}" for i in range(1, 27)]
    assert len(names) == len(set(names)) == 57
    assert [c.id for c in claims if c.verdict == NOT_MET] == []
    assert {c.id for c in claims if c.verdict.startswith("not checkable: ")} == {"A11", "A17", "B20"}
    assert all(c.verdict == "met" or c.verdict.startswith("not checkable: ") for c in claims)


def test_a_number_outside_its_band_is_not_met() -> None:
    assert compared("x", "here", [1.0, 100.0], [1.0, 103.0], band=0.02).verdict == NOT_MET


def test_exit_code_6_outside_a_band(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("dse.validation.claims.check_claims", lambda _: (compared("x", "here", [1.0], [2.0], band=0.1),))
    assert main(["validate", "--format", "json"]) == 6
    assert json.loads(capsys.readouterr().out)["claims"][0]["verdict"] == "not met"


def test_the_page_lists_the_claims_of_the_command(claims: tuple[Claim, ...]) -> None:
    """Words and verdicts exactly; numbers to 2 %, so that a page need not follow every last digit."""
    text = PAGE.read_text(encoding="utf-8")
    assert "python experiments/silicon_calibration/claims_table.py" in text
    wanted, found = (page.splitlines() for page in (page_with_table(text, claims), text))
    assert len(wanted) == len(found)
    for new, old in zip(wanted, found, strict=True):
        if not old.startswith("| "):
            assert new == old
            continue
        cells = [line.rsplit("|", 3)[0] for line in (new, old)]  # without the deviation, which is a difference of numbers
        assert NUMBER.sub("#", cells[0]) == NUMBER.sub("#", cells[1]), "run python experiments/silicon_calibration/claims_table.py"
        numbers = [[float(n) for n in NUMBER.findall(c)] for c in cells]
        assert numbers[0] == pytest.approx(numbers[1], rel=0.02), old
        assert new.rsplit("|", 2)[1] == old.rsplit("|", 2)[1]


def test_an_order_that_pricing_contradicts_is_not_met() -> None:
    claim = compared("x", "here", [1.0], [1.0], band=0.1)
    assert _both(claim, "priced the other way", False).verdict == NOT_MET
    assert _both(claim, "priced so", True).verdict == "met"
