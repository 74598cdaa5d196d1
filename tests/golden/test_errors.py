"""Golden errors: each `tests/errors/NAME.expect` has a command, its exit code and its exact message.

The first line is `$ dse ...`, run from the root of the work tree; `exit N` follows, then standard error. Cases of one
input have it beside them as NAME.yaml. `pytest --update-golden` rewrites exit code and message, the command stays.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from dse.cli import main

CASES = sorted((Path(__file__).parent.parent / "errors").glob("*.expect"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_message(
    case: Path, repository: Path, update_golden: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository)
    command = case.read_text(encoding="utf-8").splitlines()[0]
    assert command.startswith("$ dse "), "the first line of an .expect file is the command"
    code = main(shlex.split(command)[2:])
    message = capsys.readouterr().err
    assert "Traceback" not in message
    got = f"{command}\nexit {int(code)}\n{message}"
    if update_golden:
        case.write_text(got, encoding="utf-8")
    assert got == case.read_text(encoding="utf-8")


def test_every_input_has_an_expectation() -> None:
    inputs = {path.stem for path in CASES[0].parent.glob("*.yaml")}
    assert inputs <= {case.stem for case in CASES}
