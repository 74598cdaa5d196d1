"""Sessions: the same bytes with any number of workers, interrupted or not; folders, locks, studies, exit codes."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import pytest
from sqlalchemy.pool import NullPool

from dse.campaign.folder import FolderRequest
from dse.campaign.session import SessionRequest, SessionResult, run_session
from dse.campaign.view import load_run
from dse.errors import ExitCode, RunError, UsageError
from tests.campaign_process import CODE_VERSION
from tests.search_fakes import FakeFactory, fake_plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dse.campaign.plan import Plan
    from dse.search.trial import TrialRecord

SAME = ("results.jsonl", "trials.csv", "pareto.csv", "pareto.json", "config.resolved.yaml")


class KilledError(Exception):
    """Stands for the end of the process."""


def session(
    folder: Path, plan: Plan | None = None, *, workers: int = 1, stop_after: int | None = None, factory: FakeFactory | None = None
) -> SessionResult:
    told = 0

    def watch(_: Sequence[TrialRecord]) -> None:
        nonlocal told
        told += 1
        if told == stop_after:
            raise KilledError

    request = SessionRequest(folder=FolderRequest(run_dir=folder), workers=workers)
    return run_session(plan or fake_plan(), factory or FakeFactory(), request, watch=watch)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in SAME}


@pytest.fixture(scope="module", autouse=True)
def one_code_version() -> Iterator[None]:
    """Somebody may edit the source while the tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dse.campaign.session.code_version", lambda: CODE_VERSION)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    session(folder)
    return folder


def test_a_run_is_complete(whole: Path) -> None:
    run = load_run(whole)
    assert len(run.records) == 40
    assert not run.exact
    assert len(run.archive) > 3
    pareto = json.loads((whole / "pareto.json").read_text())
    assert list(pareto) == ["objectives", "hypervolume", "reference_point", "points"]
    assert [set(point) for point in pareto["points"]] == [{"parameters", "values", "trial"}] * len(run.archive)
    manifest = json.loads((whole / "manifest.json").read_text())
    assert manifest["sessions"][0]["exit_code"] == 0
    assert len((whole / "trials.csv").read_text().splitlines()) == 41


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random", "exhaustive", "surrogate"])
def test_resumed_equals_uninterrupted(tmp_path: Path, sampler: str) -> None:
    plan = fake_plan(("sampler: tpe", f"sampler: {sampler}"), ("trials: 40", "trials: 45"))
    session(tmp_path / "whole", plan)
    for stop in random.Random(sampler).sample(range(1, 4), 2):
        folder = tmp_path / f"killed{stop}"
        with pytest.raises(KilledError):
            session(folder, plan, stop_after=stop)
        session(folder, plan)
        assert contents(folder) == contents(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "exhaustive", "random", "surrogate"])
def test_any_number_of_workers_gives_the_same_bytes(tmp_path: Path, sampler: str, workers: int) -> None:
    """Whole, and killed within a batch and gone on with by another number of workers."""
    plan = fake_plan(("sampler: tpe", f"sampler: {sampler}"))
    session(tmp_path / "one", plan)
    session(tmp_path / "many", plan, workers=workers)
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    with pytest.raises(KilledError):
        session(tmp_path / "killed", plan, workers=workers, stop_after=2)
    log = tmp_path / "killed" / "results.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:-3]))
    session(tmp_path / "killed", plan, workers=1 if workers == 2 else 3)
    assert contents(tmp_path / "killed") == contents(tmp_path / "one")


def test_a_budget_that_grows_in_steps_gives_what_one_step_gives(tmp_path: Path, whole: Path) -> None:
    for trials in (3, 17, 40):
        session(tmp_path, fake_plan(("trials: 40", f"trials: {trials}")))
    assert contents(tmp_path) == contents(whole)


def str_storage(folder: Path) -> optuna.storages.BaseStorage:
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "study.journal"))  # type: ignore[attr-defined]
    return optuna.storages.JournalStorage(backend)


def test_the_journal_is_brought_level_and_rebuilt(tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        session(tmp_path, stop_after=2)
    journal = tmp_path / "study.journal"
    journal.write_bytes(journal.read_bytes()[:-30])  # torn
    session(tmp_path)
    study = optuna.load_study(study_name="fake", storage=str_storage(tmp_path))
    assert len(study.trials) == 40
    for spoilt in ('{"broken\n', '{"op_code": 99}\n', "[]\n", "3\n", '{"op_code": 0, "worker_id": "a"}\n'):  # damaged, or another version
        journal.write_text(spoilt, encoding="utf-8")
        session(tmp_path)
        study = optuna.load_study(study_name="fake", storage=str_storage(tmp_path))
        assert len(study.trials) == 40
    best = [t for t in study.best_trials if t.constraints]
    assert all(value <= 0 for t in best for value in t.constraints.values())


def test_a_finished_run_is_not_run_again(tmp_path: Path, whole: Path) -> None:
    session(tmp_path)
    again = session(tmp_path, factory=FakeFactory(fail_on=(("workload.attention", "plain"),)))
    assert again.resumed_at == 40
    assert contents(tmp_path) == contents(whole)


def test_the_budget_may_grow(tmp_path: Path) -> None:
    session(tmp_path, fake_plan(("trials: 40", "trials: 20")))
    session(tmp_path)
    assert len(load_run(tmp_path).records) == 40


def test_another_configuration_is_refused_with_the_difference(tmp_path: Path, whole: Path) -> None:
    session(tmp_path)
    changed = fake_plan(("seed: 7", "seed: 8"))
    with pytest.raises(RunError, match=r"config\.seed: 7 -> 8") as caught:
        session(tmp_path, changed)
    assert "--new" in str(caught.value)
    assert "--force" in str(caught.value)
    assert contents(tmp_path) == contents(whole)
    request = SessionRequest(folder=FolderRequest(run_dir=tmp_path, force=True))
    result = run_session(changed, FakeFactory(), request)
    assert result.resumed_at == 0
    assert (tmp_path / "results.jsonl.1").read_bytes() == (whole / "results.jsonl").read_bytes()


def test_another_code_version_is_refused_and_may_be_forced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session(tmp_path, fake_plan(("trials: 40", "trials: 20")))
    monkeypatch.setattr("dse.campaign.session.code_version", lambda: "9.9.9+other")
    with pytest.raises(RunError, match=r"code_version: .* -> 9\.9\.9\+other"):
        session(tmp_path)
    result = run_session(fake_plan(), FakeFactory(), SessionRequest(folder=FolderRequest(run_dir=tmp_path, force=True)))
    assert result.resumed_at == 20
    assert json.loads((tmp_path / "manifest.json").read_text())["sessions"][1]["forced"]


def test_default_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan = fake_plan(("trials: 40", "trials: 10"))
    first = run_session(plan, FakeFactory(), SessionRequest()).run.folder
    assert first.parent == Path("runs/fake")
    assert run_session(plan, FakeFactory(), SessionRequest()).run.folder == first
    second = run_session(plan, FakeFactory(), SessionRequest(folder=FolderRequest(new=True))).run.folder
    assert second != first
    assert load_run("runs/fake").folder == second
    with pytest.raises(UsageError, match="already holds a run"):
        run_session(plan, FakeFactory(), SessionRequest(folder=FolderRequest(run_dir=first, new=True)))
    with pytest.raises(UsageError, match="exclude each other"):
        run_session(plan, FakeFactory(), SessionRequest(folder=FolderRequest(force=True, new=True)))


def test_new_if_changed_goes_on_with_the_run_of_the_same_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan, other = fake_plan(("trials: 40", "trials: 10")), fake_plan(("seed: 7", "seed: 8"))
    request = SessionRequest(folder=FolderRequest(new_if_changed=True))
    first = run_session(plan, FakeFactory(), request).run.folder
    second = run_session(other, FakeFactory(), request).run.folder
    assert second != first
    again = run_session(plan, FakeFactory(), request)
    assert (again.run.folder, again.resumed_at) == (first, 10)
    with pytest.raises(UsageError, match="leave out --run-dir"):
        run_session(plan, FakeFactory(), SessionRequest(folder=FolderRequest(run_dir=first, new_if_changed=True)))


def test_a_missing_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no run"):
        load_run(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(RunError, match="cannot be made"):
        session(tmp_path / "file" / "run")


def test_failed_trials_are_kept_and_set_the_exit_code(tmp_path: Path) -> None:
    result = session(tmp_path, factory=FakeFactory(fail_on=(("workload.attention", "reuse"),)))
    assert result.exit_code is ExitCode.FAILED_TRIALS
    assert result.run.failures
    assert result.run.failures[0].error == "UsageError: this choice cannot be evaluated"
    assert len(result.run.archive) > 0
    assert "UsageError" in (tmp_path / "trials.csv").read_text()


def test_nothing_feasible(tmp_path: Path) -> None:
    from dse.campaign.summary import diagnosis

    result = session(tmp_path, fake_plan(("max: 120", "max: 0.5")))
    assert result.exit_code is ExitCode.NOTHING_FEASIBLE
    text = diagnosis(result.run)
    assert "area_mm2 <= 0.5 mm2: violated by" in text
    assert text.startswith("none of 1,400 designs is feasible: DRAM capacity, area or cost rule out 1,400 before pricing\n")
    assert "nearest miss, trial" in text
    assert json.loads((tmp_path / "pareto.json").read_text())["points"] == []


def test_a_storage_gets_a_copy(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    request = SessionRequest(folder=FolderRequest(run_dir=tmp_path / "run"), storage=url)
    plan = fake_plan(("trials: 40", "trials: 20"))
    run_session(plan, FakeFactory(), request)
    run_session(plan, FakeFactory(), request)  # once more adds nothing
    storage = optuna.storages.RDBStorage(url, engine_kwargs={"poolclass": NullPool})
    names = optuna.get_all_study_names(storage)
    assert len(names) == 1
    assert len(optuna.load_study(study_name=names[0], storage=storage).trials) == 20
    with pytest.raises(UsageError, match="optuna cannot open it"):
        run_session(plan, FakeFactory(), SessionRequest(folder=FolderRequest(run_dir=tmp_path / "two"), storage="nosuch://x"))


def test_the_time_budget_stops_between_batches(tmp_path: Path, whole: Path) -> None:
    plan = fake_plan(("{trials: 40}", "{trials: 40, timeout_s: 0.000001}"))
    result = session(tmp_path, plan)
    assert result.stop.value == "timeout"
    assert len(result.run.records) == 0
    session(tmp_path)
    names = [name for name in SAME if name != "config.resolved.yaml"]
    assert {n: contents(tmp_path)[n] for n in names} == {n: contents(whole)[n] for n in names}


def test_an_exhausted_space_is_exact(tmp_path: Path) -> None:
    result = session(tmp_path, fake_plan(("sampler: tpe", "sampler: auto"), ("trials: 40", "trials: 120")))
    assert result.run.exact
    assert result.run.designs == 120 * 35


def test_what_auto_chose_and_why_is_in_the_manifest_and_stays(tmp_path: Path) -> None:
    plan = fake_plan(("sampler: tpe", "sampler: auto"), ("trials: 40", "trials: 6"))
    run = session(tmp_path, plan).run
    choice = run.manifest["sampler_choice"]
    assert isinstance(choice, dict)
    assert choice["asked"] == "auto"
    assert isinstance(choice["seconds_per_trial"], float)
    assert choice["reason"].startswith("the budget of 6 trials covers 5 % of 120 outer choices; a trial takes ")
    more = session(tmp_path, fake_plan(("sampler: tpe", "sampler: auto"), ("trials: 40", "trials: 8")))
    assert more.resumed_at == 6
    assert more.run.manifest["sampler_choice"] == choice  # not chosen again
    assert load_run(tmp_path).sampler_reason == choice["reason"]


def test_a_sampler_that_the_campaign_names_needs_no_reason(tmp_path: Path) -> None:
    run = session(tmp_path, fake_plan(("trials: 40", "trials: 2"))).run
    assert run.manifest["sampler_choice"] == {"asked": "tpe", "reason": "", "seconds_per_trial": None}
    assert run.sampler_reason == ""
