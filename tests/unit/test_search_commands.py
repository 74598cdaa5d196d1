"""The commands search, pareto, report and show on a small real campaign: what they print, write and end with."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from dse.cli import main
from dse.errors import ExitCode

SMOKE = "experiments/mla_reuse_recompute/smoke.yaml"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "smoke"
    assert main(["search", str(repository / SMOKE), "--run-dir", str(folder)]) == ExitCode.DONE
    return folder


def test_a_run_folder_has_everything(run: Path) -> None:
    expected = {"manifest.json", "config.resolved.yaml", "study.journal", "results.jsonl", "trials.csv", "pareto.csv", "pareto.json"}
    assert expected | {"report.html", "figures"} <= {path.name for path in run.iterdir()}
    for svg in (run / "figures").glob("*.svg"):
        assert svg.with_suffix(".csv").read_text(encoding="utf-8").count("\n") > 1
    assert not list(run.rglob("*.tmp"))


def test_pareto_json_is_what_scripts_rely_on(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pareto", str(run), "--format", "json"]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["objectives", "hypervolume", "reference_point", "points"]
    assert found["objectives"] == ["tokens_per_s", "joules_per_token"]
    assert found["hypervolume"] > 0
    assert len(found["reference_point"]) == 2
    for point in found["points"]:
        assert set(point) == {"parameters", "values", "trial"}
        assert set(point["values"]) == set(found["objectives"])
        assert "workload.attention" in point["parameters"]
    assert found == json.loads((run / "pareto.json").read_text(encoding="utf-8"))


def test_pareto_csv_has_units_in_its_keys_and_the_same_points(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pareto", str(run), "--format", "csv"]) == ExitCode.DONE
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {"trial", "tokens_per_s", "joules_per_token", "area_mm2", "latency_s"} <= set(rows[0])
    assert len(rows) == len(json.loads((run / "pareto.json").read_text(encoding="utf-8"))["points"])


def test_search_again_goes_on_and_changes_nothing(run: Path, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("results.jsonl", "trials.csv", "pareto.csv", "pareto.json", "report.html")
    before = {name: (run / name).read_bytes() for name in names}
    assert main(["search", str(repository / SMOKE), "--run-dir", str(run), "--workers", "2"]) == ExitCode.DONE
    out = capsys.readouterr()
    assert "8 trials are there already" in out.err
    assert "Which scheme wins where" in out.out
    assert "Pareto front (exact)" in out.out
    assert {name: (run / name).read_bytes() for name in names} == before


def test_report_elsewhere(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert main(["report", str(run), "-o", str(page)]) == ExitCode.DONE
    assert page.read_bytes() == (run / "report.html").read_bytes()


def test_show(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(run), "--trial", "0", "--format", "json"]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert found["number"] == 0
    assert len(found["front"]) == len(found["front_parameters"])
    assert main(["show", str(run), "--trial", "0"]) == ExitCode.DONE
    assert "tokens_per_s" in capsys.readouterr().out
    assert main(["show", str(run), "--trial", "99"]) == ExitCode.USAGE
    assert "has trials 0 to 7" in capsys.readouterr().err


def test_dry_run_writes_nothing(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["search", str(repository / SMOKE), "--dry-run", "--format", "json"]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert (found["outer_choices"], found["inner_points"], found["designs"], found["trials"]) == (8, 28, 224, 8)
    assert found["timed_trials"] == 3
    assert found["estimated_s"] > 0
    assert list(tmp_path.iterdir()) == []


def test_a_constraint_that_nothing_meets_ends_with_4(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limit = "constraints=[{metric: tokens_per_s, min: 1000000000.0}]"
    code = main(["search", str(repository / SMOKE), "--run-dir", str(tmp_path / "run"), "--set", limit])
    assert code == ExitCode.NOTHING_FEASIBLE
    message = capsys.readouterr().err
    assert "none of 224 designs is feasible: 224 fit" in message
    assert "tokens_per_s >= 1e+09 token/s: violated by 224 of 224; the nearest that any design comes is" in message
    assert "nearest miss, trial" in message
    assert "Traceback" not in message


def test_a_design_that_fails_ends_with_5(repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--set", "space.workload.precision=[bf16, fp32]", "--set", "space.workload.attention=[reuse]"]
    code = main(["search", str(repository / SMOKE), "--run-dir", str(tmp_path / "run"), *arguments])
    assert code == ExitCode.FAILED_TRIALS
    assert "failed: GraphError:" in capsys.readouterr().err
    assert "GraphError" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_another_configuration_in_the_same_folder_is_refused(run: Path, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "results.jsonl").read_bytes()
    assert main(["search", str(repository / SMOKE), "--run-dir", str(run), "--set", "seed=5"]) == ExitCode.BAD_INPUT
    assert "config.seed: 0 -> 5" in capsys.readouterr().err
    assert (run / "results.jsonl").read_bytes() == before
