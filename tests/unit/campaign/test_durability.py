"""Whatever happens to a run: what was acknowledged stays, the end is told clearly, and the same command goes on to the same bytes."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import pytest

from dse.campaign import folder as folders
from dse.campaign.folder import FolderRequest
from dse.campaign.log import read_log
from dse.campaign.session import SessionRequest, SessionResult, run_session
from dse.errors import ExitCode, RunError
from tests.campaign_process import CODE_VERSION
from tests.kills import TRIALS, Books, kill_coordinators, kill_workers
from tests.search_fakes import FakeFactory, fake_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SAME = ("results.jsonl", "trials.csv", "pareto.csv", "pareto.json", "config.resolved.yaml")


@pytest.fixture(scope="module", autouse=True)
def one_code_version() -> Iterator[None]:
    """Somebody may edit the source while the tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dse.campaign.session.code_version", lambda: CODE_VERSION)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    session(folder)
    return contents(folder)


def session(folder: Path) -> SessionResult:
    return run_session(fake_plan(), FakeFactory(), SessionRequest(folder=FolderRequest(run_dir=folder)))


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in SAME}


def check(folder: Path, books: Books, whole: dict[str, bytes]) -> None:
    """0 acknowledged lost, none twice, the end as if nothing had happened."""
    records = read_log(folder / "results.jsonl").records
    assert books.exit_code == ExitCode.DONE
    assert books.twice == 0
    assert books.acknowledged.items() <= {record.number: record.outer for record in records}.items()
    assert len({record.outer for record in records}) == len(records) == TRIALS
    assert contents(folder) == whole
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "study.journal"))  # type: ignore[attr-defined]
    study = optuna.load_study(study_name="fake", storage=optuna.storages.JournalStorage(backend))
    assert len(study.trials) == TRIALS
    assert not [t for t in study.trials if t.state is optuna.trial.TrialState.RUNNING]
    assert not list(folder.glob(".*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_coordinators_killed_at_random_moments(tmp_path: Path, workers: int, whole: dict[str, bytes]) -> None:
    """The long form, 30 kills, is `make durability`."""
    books = kill_coordinators(tmp_path, random.Random(workers), kills=3, workers=workers, delay_s=0.05)
    assert books.kills == 3
    check(tmp_path, books, whole)


@pytest.mark.slow
def test_workers_killed_at_random_moments(tmp_path: Path, whole: dict[str, bytes]) -> None:
    books = kill_workers(tmp_path, random.Random(0), kills=3, workers=2, delay_s=0.05)
    assert books.kills == 3
    check(tmp_path, books, whole)


@contextmanager
def campaign_process(folder: Path, workers: int, delay_s: float) -> Iterator[subprocess.Popen[str]]:
    """In a process group of its own, as a shell starts it."""
    command = [sys.executable, "-m", "tests.campaign_process", str(folder), str(workers), str(delay_s)]
    root = Path(__file__).parents[3]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "workers", "times", "to_all"),
    [(signal.SIGINT, 1, 1, True), (signal.SIGTERM, 1, 1, False), (signal.SIGINT, 2, 1, True), (signal.SIGTERM, 2, 1, True)],
)
def test_signals_finish_the_trial_and_write_everything(
    tmp_path: Path, whole: dict[str, bytes], number: signal.Signals, workers: int, times: int, to_all: bool
) -> None:
    with campaign_process(tmp_path, workers, 0.1) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the first acknowledgement
        for _ in range(times):
            (os.killpg if to_all else os.kill)(process.pid, number)
        _, told = process.communicate(timeout=30)
    assert process.returncode == ExitCode.INTERRUPTED
    assert f"{number.name}: finishing the trial" in told
    assert "Traceback" not in told
    records = read_log(tmp_path / "results.jsonl").records
    done = len(records)
    assert len((tmp_path / "trials.csv").read_text().splitlines()) == done + 1
    assert bool(json.loads((tmp_path / "pareto.json").read_text())["points"]) == any(record.feasible for record in records)
    last = json.loads((tmp_path / "manifest.json").read_text())["sessions"][0]
    assert (last["stop"], last["exit_code"], last["trials_after"]) == ("interrupted", ExitCode.INTERRUPTED, done)
    session(tmp_path)
    assert contents(tmp_path) == whole


@pytest.mark.slow
def test_two_coordinators_on_one_run(tmp_path: Path) -> None:
    with campaign_process(tmp_path, 1, 0.2) as first:
        assert first.stdout is not None
        first.stdout.readline()
        with campaign_process(tmp_path, 1, 0.2) as second:
            _, told = second.communicate(timeout=30)
        assert second.returncode == ExitCode.BAD_INPUT
        assert "another dse search is working on this run" in told
        assert first.poll() is None


def small_files(most: int) -> tuple[int, int]:
    """Let no file of this process grow beyond `most` bytes; the limits before."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    return before


@pytest.mark.parametrize("most", [0, 200, 1_500, 2_500, 4_096, 10_000, 40_000, 60_000])
def test_files_that_may_not_grow(tmp_path: Path, most: int, whole: dict[str, bytes]) -> None:
    """The kernel refuses to write on: in the manifest, the log or the journal, wherever it comes first."""
    before = small_files(most)
    try:
        with pytest.raises(RunError, match=r"cannot be written \(File too large\)"):
            session(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    session(tmp_path)
    assert contents(tmp_path) == whole


@contextmanager
def own_disk(folder: Path, options: str) -> Iterator[Callable[[str], None]]:
    """A disk of its own at `folder`, and how to mount it anew; skips where that is not allowed."""
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("only root may mount a disk for the test")
    try:
        yield lambda other: subprocess.run(["mount", "-o", f"remount,{other}", str(folder)], check=True) and None
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="mounts as Linux does")
@pytest.mark.parametrize("kib", [4, 24, 64])
def test_a_full_disk(tmp_path: Path, kib: int, whole: dict[str, bytes]) -> None:
    with own_disk(tmp_path / "disk", f"size={kib}k") as remount:
        with pytest.raises(RunError, match="No space left on device"):
            session(tmp_path / "disk" / "run")
        kept = len(read_log(log).records) if (log := tmp_path / "disk" / "run" / "results.jsonl").exists() and log.stat().st_size else 0
        remount("size=10m")
        assert session(tmp_path / "disk" / "run").resumed_at == kept
        assert contents(tmp_path / "disk" / "run") == whole


@pytest.mark.skipif(sys.platform != "linux", reason="mounts as Linux does")
def test_a_read_only_folder(tmp_path: Path, whole: dict[str, bytes]) -> None:
    with own_disk(tmp_path / "disk", "size=10m") as remount:
        session(tmp_path / "disk" / "run")
        remount("ro")
        for name in ("run", "other"):
            with pytest.raises(RunError, match="Read-only file system"):
                session(tmp_path / "disk" / name)
        assert contents(tmp_path / "disk" / "run") == whole


def test_a_log_without_a_manifest_is_refused_or_set_aside(tmp_path: Path, whole: dict[str, bytes]) -> None:
    (tmp_path / "results.jsonl").write_text("notes of somebody\n", encoding="utf-8")
    with pytest.raises(RunError, match=r"holds a results\.jsonl without a manifest\.json"):
        session(tmp_path)
    (tmp_path / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match=r"manifest\.json: cannot be read .* with --force in this folder"):
        session(tmp_path)
    run_session(fake_plan(), FakeFactory(), SessionRequest(folder=FolderRequest(run_dir=tmp_path, force=True)))
    assert contents(tmp_path) == whole
    assert (tmp_path / "results.jsonl.1").read_text(encoding="utf-8") == "notes of somebody\n"


def test_a_clock_that_jumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: dict[str, bytes]) -> None:
    """The time of day only dates the manifest and names new folders, which always sort after the old ones."""
    chance = random.Random(0)

    class Jumping(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            del tz
            return datetime(2000 + chance.randrange(60), 1, 1, tzinfo=UTC)

    monkeypatch.setattr("dse.campaign.session.datetime", Jumping)
    monkeypatch.setattr(folders, "datetime", Jumping)
    monkeypatch.setattr(time, "time", lambda: 1e9 * chance.random())
    monkeypatch.chdir(tmp_path)
    plan = fake_plan(("{trials: 40}", "{trials: 40, timeout_s: 1000}"))
    places = [run_session(plan, FakeFactory(), SessionRequest(folder=FolderRequest(new=True))).run.folder for _ in range(4)]
    assert places == sorted(set(places))
    assert run_session(plan, FakeFactory(), SessionRequest()).run.folder == places[-1]
    for place in places:
        assert (place / "results.jsonl").read_bytes() == whole["results.jsonl"]
