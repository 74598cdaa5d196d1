"""The command line itself: exit codes, streams, start-up time, the examples under --help."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from dse import cli
from dse.errors import ExitCode, InfeasibleError

LEFT_OUT: dict[str, str] = {}
"""Examples that this test does not run, with the reason."""


def commands() -> dict[str, Any]:
    return typer.main.get_command(cli.app).commands  # type: ignore[attr-defined,no-any-return]


def example_lines() -> list[str]:
    return [line.strip() for c in commands().values() for line in (c.epilog or "").splitlines() if line.strip().startswith("dse ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A folder that looks like the work tree and that commands may write into."""
    made = tmp_path_factory.mktemp("examples")
    for name in ("accelerators", "workloads", "experiments", "tests"):
        (made / name).symlink_to(repository / name)
    return made


@pytest.fixture
def elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    return folder


def make_the_run_of(line: str) -> None:
    """Where an example reads a run, make it by the example that writes it."""
    run = next((word for word in shlex.split(line) if word.startswith("runs/")), None)
    if run and "--run-dir" not in line and not Path(run).exists():
        maker = next(other for other in example_lines() if f"--run-dir {run}" in other)
        assert cli.main(shlex.split(maker)[1:]) == ExitCode.DONE


@pytest.mark.parametrize("name", list(commands()))
def test_every_command_ends_with_two_examples(name: str) -> None:
    lines = [line for line in (commands()[name].epilog or "").splitlines() if line.strip().startswith(f"dse {name} ")]
    assert len(lines) >= 2


@pytest.mark.parametrize("line", [line for line in example_lines() if line not in LEFT_OUT])
def test_examples_run(line: str, elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_the_run_of(line)
    capsys.readouterr()
    assert cli.main(shlex.split(line)[1:]) == ExitCode.DONE, capsys.readouterr().err
    out = capsys.readouterr().out
    assert out.strip()
    if "--format json" in line:
        json.loads(out)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--version"], 0),
        (["--help"], 0),
        (["list", "nothing"], 2),
        (["nothing"], 2),
        (["list", "systems", "--form"], 2),
        (["check", "no.yaml"], 3),
    ],
)
def test_exit_codes(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == code
    captured = capsys.readouterr()
    assert bool(captured.err) == (code != 0)
    assert bool(captured.out) == (code == 0)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (InfeasibleError("the cache needs 3 GiB of 2 GiB"), 4, "error: the cache needs 3 GiB of 2 GiB\n"),
        (KeyboardInterrupt(), 130, "interrupted; what was written stays\n"),
    ],
)
def test_what_is_raised_sets_the_code(
    error: BaseException, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("dse.commands.listing._accelerators", fail)
    assert cli.main(["list", "accelerators"]) == code
    assert capsys.readouterr().err == message


def test_sigterm_ends_as_ctrl_c_does(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("dse.plugins.model_names", lambda: os.kill(os.getpid(), signal.SIGTERM))
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["list", "models"]) == ExitCode.INTERRUPTED
    assert "interrupted" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_bug_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ZeroDivisionError("seven")

    monkeypatch.setattr("dse.commands.listing._accelerators", fail)
    assert cli.main(["list", "accelerators"]) == ExitCode.BUG
    err = capsys.readouterr().err
    assert "ZeroDivisionError: seven" in err
    assert "this is a bug of dse" in err


def test_notes_are_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        error = InfeasibleError("too large")
        error.add_note("while pricing layer 3")
        raise error

    monkeypatch.setattr("dse.commands.listing._accelerators", fail)
    cli.main(["list", "accelerators"])
    assert capsys.readouterr().err == "error: too large\nwhile pricing layer 3\n"


def test_help_imports_nothing_heavy() -> None:
    subprocess.run([sys.executable, "-m", "dse.cli", "--help"], check=True, capture_output=True)
    code = "import dse.cli, sys; print([m for m in ('numpy', 'onnx', 'optuna', 'pydantic', 'matplotlib', 'networkx') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("arguments", [["map", "--gemm", "7,11,13", "-a", "edge32"], ["list", "models", "--format", "json"]])
def test_a_reader_may_stop_early(arguments: list[str]) -> None:
    """As in `dse ... | head -1`; nobody reads at all here."""
    ends = os.pipe()
    os.close(ends[0])
    with os.fdopen(ends[1], "wb") as closed:
        found = subprocess.run([sys.executable, "-m", "dse", *arguments], stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", [("list", "models"), ("frontier", "--gemm", "7,7,7", "-f", "csv"), ("schema", "chip")])
def test_a_full_disk_is_no_bug_of_ours(arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        found = subprocess.run([sys.executable, "-m", "dse", *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert found.returncode == 3
    assert found.stderr.startswith("error: output cannot be written (No space left on device); make room")
    assert found.stderr.count("\n") == 1


def test_closed_standard_output_is_no_error() -> None:
    command = f"{sys.executable} -m dse list models >&-"
    found = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


def test_list_models_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "models", "--format", "json"]) == 0
    found = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert "left_to_right" in found["deepseek_v3"]["attention_schemes"]


def test_list_systems(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "systems", "--format", "json"]) == 0
    found = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert found["b200_x32"]["chips"] == 32
