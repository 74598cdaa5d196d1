"""One session of a campaign: choose the folder, take its lock, go on where the log ends, write everything out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from os.path import relpath
from typing import TYPE_CHECKING, Final

from dse.campaign.asking import begun_batch
from dse.campaign.folder import Chosen, FolderRequest, choose_folder
from dse.campaign.fork_server import fork_server
from dse.campaign.header import Header, digest, header_of, identity_config, shard_name
from dse.campaign.lock import RunLock
from dse.campaign.log import LogContent, ResultLog, read_log, unwritable
from dse.campaign.runner import Stagnation, Stop, Work, run
from dse.campaign.seeding import BoundLook, ChosenSampler, choose_sampler, first_choices
from dse.campaign.tables import pareto_json, pareto_rows, to_csv, to_json, trial_rows
from dse.campaign.version import code_version, environment
from dse.campaign.view import LOG, MANIFEST, Run, RunView, read_manifest, view
from dse.errors import ExitCode, RunError
from dse.files import atomic_write, dump_yaml
from dse.search.strategy import make_strategy, probes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from dse.campaign.plan import Plan
    from dse.campaign.study import StudyWriter
    from dse.search.evaluator import EvaluatorFactory
    from dse.search.trial import TrialRecord

JOURNAL: Final = "study.journal"
LOCK: Final = ".lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequest:
    """How to run a plan."""

    folder: FolderRequest = field(default_factory=FolderRequest)
    workers: int = 1
    cluster: str | None = None
    """Address of a dask cluster (`dask://…`), instead of worker processes."""
    warm_start: tuple[str, ...] = ()
    """Folders of earlier runs whose fronts are evaluated first."""
    storage: str | None = None
    """URL of an optuna storage that gets a copy of the study."""
    command: tuple[str, ...] = ()
    """As typed, for the manifest."""
    inputs: tuple[tuple[str, str], ...] = ()
    """(name, SHA-256) of the files that the campaign reads."""


@dataclass(frozen=True, slots=True)
class SessionResult:
    """How a session ended."""

    run: Run
    stop: Stop
    resumed_at: int
    """Trials that the log held at the start."""

    @property
    def exit_code(self) -> ExitCode:
        """Interrupted, failed trials, nothing feasible, or done; a spent time budget is no fault."""
        if self.stop is Stop.INTERRUPTED:
            return ExitCode.INTERRUPTED
        if self.run.failures:
            return ExitCode.FAILED_TRIALS
        if self.run.records and not len(self.run.archive):
            return ExitCode.NOTHING_FEASIBLE
        return ExitCode.DONE


def run_session(
    plan: Plan,
    factory: EvaluatorFactory,
    request: SessionRequest,
    *,
    start: Callable[[Run], None] | None = None,
    watch: Callable[[Sequence[TrialRecord]], None] | None = None,
) -> SessionResult:
    """Run or resume a campaign; tables are written when it ends, also when interrupted.

    `start` is told what the folder holds already, `watch` every new batch once it is on disk.

    Raises:
        RunError: the folder cannot be used; UsageError: options that exclude each other, a storage that cannot be opened.
    """
    if request.workers > 1 and request.cluster is None:
        fork_server(type(factory).__module__)  # its imports run beside what we do next
    identity = _identity(plan, request)
    chosen = choose_folder(request.folder, plan.form.name, identity, digest(identity), cell=place_of(plan))
    folder = chosen.folder
    _make(folder)
    with RunLock(folder / LOCK):
        for torn in folder.glob(".*.tmp"):  # of a process that was killed while it wrote a table
            torn.unlink(missing_ok=True)
        if chosen.restart:
            _set_aside(folder)
        manifest: dict[str, object] = {}

        def new_header() -> dict[str, object]:
            """The manifest is there before the log is: a log without its identity could not be gone on with."""
            made, sampler = _header(plan, factory, request)
            manifest.update(_begin(plan, chosen, identity, request, made, sampler))
            return made.to_json()

        log = ResultLog(folder / LOG, new_header)
        header = Header.from_json(log.content.header)
        manifest = manifest or _begin(plan, chosen, identity, request, header)
        work = _work(plan, header, request)
        look = BoundLook(factory, header.choices, header.goals, probes_of(header.sampler, header.space))
        strategy = make_strategy(header.sampler, header.choices, header.goals, header.strategy_seed, header.seeds, look)
        begun = begun_batch(strategy, log.content.records, work.trials)
        seen = RunView(folder, header, manifest)
        for batch in log.content.batches[: -1 if begun else None]:
            seen.add(batch)
        resumed_at = len(log.content.records)
        if start:
            start(seen.run())
        studies = _Studies(plan, folder, log, request, header)

        def told(records: Sequence[TrialRecord]) -> None:
            seen.add(records)
            studies.follow()
            if watch:
                watch(records)

        stop = run(work, strategy, factory, log, begun, told, seen)
        studies.follow()
        whole = seen.run()
        if len(whole.records) < len(log.content.records):  # ended within a batch
            whole = view(folder, LogContent(header.to_json(), log.content.records), manifest)
        result = SessionResult(whole, stop, resumed_at)
        write_tables(result.run)
        _end(folder, manifest, result)
    return result


def reusable_trials(plan: Plan, folder: FolderRequest, inputs: tuple[tuple[str, str], ...]) -> int:
    """Trials that a session of `plan` would find done; 0 where it would start a new run or be refused."""
    identity = _identity(plan, SessionRequest(folder=folder, inputs=inputs))
    try:
        chosen = choose_folder(folder, plan.form.name, identity, digest(identity), cell=place_of(plan))
        return 0 if chosen.restart or not (chosen.folder / LOG).exists() else len(read_log(chosen.folder / LOG).records)
    except RunError:
        return 0


def _header(plan: Plan, factory: EvaluatorFactory, request: SessionRequest) -> tuple[Header, ChosenSampler]:
    """Of a new log: a sampler once chosen and seeds once found stay."""
    chosen = choose_sampler(plan, factory)
    seeds = first_choices(plan, factory, chosen.sampler, warm_start=request.warm_start)
    return header_of(plan, chosen.sampler, seeds), chosen


def _work(plan: Plan, header: Header, request: SessionRequest) -> Work:
    budget = plan.form.budget
    rule = budget.stagnation
    return Work(
        header=header,
        trials=plan.trials,
        timeout_s=budget.timeout_s,
        stagnation=None if rule is None else Stagnation(trials=rule.trials, growth=rule.growth),
        workers=request.workers,
        cluster=request.cluster,
    )


def write_tables(run: Run) -> None:
    """`trials.csv`, `pareto.csv` and `pareto.json` in the run's folder; the same run gives the same bytes."""
    paths = run.header.space.paths
    rows = pareto_rows(run)
    atomic_write(run.folder / "trials.csv", to_csv(trial_rows(run)))
    atomic_write(run.folder / "pareto.csv", to_csv(rows, None if rows else ["trial", *paths, *run.header.goals.objectives]))
    atomic_write(run.folder / "pareto.json", to_json(pareto_json(run)))


def place_of(plan: Plan) -> str:
    """Folder of a plan under that of its campaign: the combination, the shard; empty for a campaign that is one run."""
    return "/".join(part for part in (plan.cell, shard_name(plan.shard) if plan.shard else "") if part)


def _identity(plan: Plan, request: SessionRequest) -> dict[str, object]:
    identity: dict[str, object] = {"config": identity_config(plan), "code_version": code_version(), "inputs": dict(request.inputs)}
    return identity if plan.shard is None else {**identity, "shard": shard_name(plan.shard)}


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be made ({error.strerror}); give --run-dir a folder that you can write to") from error


def _set_aside(folder: Path) -> None:
    """Keep the log of another configuration under a numbered name; drop the study derived from it."""
    number = 1
    while (kept := folder / f"{LOG}.{number}").exists():
        number += 1
    (folder / LOG).rename(kept)
    (folder / JOURNAL).unlink(missing_ok=True)


def _begin(
    plan: Plan,
    chosen: Chosen,
    identity: Mapping[str, object],
    request: SessionRequest,
    header: Header,
    sampler: ChosenSampler | None = None,
) -> dict[str, object]:
    """Write the manifest and the resolved configuration; `sampler`, where this session chose it."""
    known = {} if chosen.restart else read_manifest(chosen.folder)
    sessions = known.get("sessions")
    manifest: dict[str, object] = {
        "schema_version": 1,
        "campaign": plan.form.name,
        "identity": dict(identity),
        "seed": plan.form.seed,
        "sampler": str(header.sampler),
        "sampler_choice": sampler.to_json() if sampler else known.get("sampler_choice"),
        "trials": plan.trials,
        "campaign_folder": relpath(plan.folder, chosen.folder),
        "overrides": list(plan.overrides),
        "environment": environment(),
        "sessions": [
            *(sessions if isinstance(sessions, list) else []),
            {
                "command": list(request.command),
                "workers": request.cluster or request.workers,
                "forced": list(chosen.forced),
                "start": _now(),
                "end": None,
                "stop": None,
                "exit_code": None,
            },
        ],
    }
    atomic_write(chosen.folder / MANIFEST, to_json(manifest))
    atomic_write(chosen.folder / "config.resolved.yaml", dump_yaml(plan.resolved()))
    return manifest


def _end(folder: Path, manifest: dict[str, object], result: SessionResult) -> None:
    sessions = manifest["sessions"]
    assert isinstance(sessions, list)
    sessions[-1] |= {
        "end": _now(),
        "stop": str(result.stop),
        "exit_code": int(result.exit_code),
        "trials_before": result.resumed_at,
        "trials_after": len(result.run.records),
    }
    atomic_write(folder / MANIFEST, to_json(manifest))


class _Studies:
    """The studies of a run: they follow the log once the first new trials are in it; what fails there loses no trial."""

    def __init__(self, plan: Plan, folder: Path, log: ResultLog, request: SessionRequest, header: Header) -> None:
        self._header = header
        self._log = log
        self._journal = folder / JOURNAL
        self._writers: list[StudyWriter] = []
        self._open = False
        if request.storage:  # opened at once: a wrong URL should not wait for the first trial
            from dse.campaign.study import storage_writer

            self._writers.append(storage_writer(request.storage, f"{plan.form.name}-{header.config_hash}", header))

    def follow(self) -> None:
        """Bring all studies level with the log."""
        try:
            if not self._open:
                from dse.campaign.study import journal_writer  # optuna takes 0.1 s to import

                self._writers.append(journal_writer(self._journal, self._header, self._log.content.records))
                self._open = True
            for writer in self._writers:
                writer.add(self._log.content.records[writer.count :])
        except OSError as error:
            raise unwritable(self._journal, error) from error


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
