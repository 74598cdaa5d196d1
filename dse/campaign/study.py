"""The optuna study of a run, for dashboards and analysis: derived from the result log, rebuilt from it whenever they differ."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Final

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from dse.campaign.journal_lock import FlockJournalLock
from dse.errors import UsageError
from dse.search.optuna_params import frozen_trial
from dse.search.quantities import quantity

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dse.campaign.header import Header
    from dse.search.trial import TrialRecord


_UNREADABLE: Final = (ValueError, LookupError, TypeError, AttributeError, AssertionError, optuna.exceptions.OptunaError)
"""What optuna raises for a journal that is damaged, no journal, or of another version."""


class StudyWriter:
    """A study that follows the log."""

    def __init__(self, study: optuna.Study, header: Header) -> None:
        self._study = study
        self._header = header
        self._count = len(study.get_trials(deepcopy=False))

    @property
    def count(self) -> int:
        """Trials that the study holds."""
        return self._count

    def add(self, records: Sequence[TrialRecord]) -> None:
        """Add the trials that the study does not hold yet; `records` may start before."""
        new = [record for record in records if record.number >= self._count]
        self._study.add_trials([self._trial(record) for record in new])
        self._count += len(new)

    def _trial(self, record: TrialRecord) -> optuna.trial.FrozenTrial:
        space = self._header.space
        attrs: dict[str, object] = dict(space.choice(record.outer))
        if record.best:
            attrs |= {**space.parameters(record.outer, record.best.inner), "bound": record.best.bound}
        attrs |= {"state": str(record.state), "designs_priced": record.priced, "designs_feasible": record.feasible}
        if record.error:
            attrs["error"] = record.error
        return frozen_trial(record, space, self._header.goals, user_attrs=attrs)


def journal_writer(path: Path, header: Header, records: Sequence[TrialRecord]) -> StudyWriter:
    """The study in the journal at `path`, brought level with `records`; a journal that does not fit is written anew."""
    _repair_tail(path)
    try:
        writer = StudyWriter(_open(_journal(path), header.campaign, header), header)
    except _UNREADABLE:
        writer = None
    if writer is None or writer.count > len(records):
        path.unlink(missing_ok=True)
        writer = StudyWriter(_open(_journal(path), header.campaign, header), header)
    writer.add(records)
    return writer


def storage_writer(url: str, name: str, header: Header) -> StudyWriter:
    """A study called `name` in an optuna storage (a URL of a database, or the path of a journal file).

    Raises:
        UsageError: the storage cannot be opened.
    """
    try:
        return StudyWriter(_open(_storage(url), name, header), header)
    except Exception as error:  # optuna, SQLAlchemy and drivers raise their own kinds; all mean the same to the user
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(f"--storage {url}: optuna cannot open it ({first}); give a URL such as sqlite:///study.db") from error


def _open(storage: str | optuna.storages.BaseStorage, name: str, header: Header) -> optuna.Study:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            sampler=optuna.samplers.RandomSampler(),  # never asked: the study is a record
            directions=[quantity(metric).better.value for metric in header.goals.objectives],
            load_if_exists=True,
        )
        study.set_metric_names([f"{metric} [{quantity(metric).unit}]" for metric in header.goals.objectives])
    return study


def _storage(url: str) -> str | optuna.storages.BaseStorage:
    """A database whose connections close after each use, so that none outlives the run; other storages by their name."""
    from sqlalchemy.pool import NullPool  # optuna brings SQLAlchemy

    if "://" not in url or url.startswith("redis"):
        return url
    return optuna.storages.RDBStorage(url, engine_kwargs={"poolclass": NullPool})


def _journal(path: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(path), lock_obj=FlockJournalLock(str(path))))


def _repair_tail(path: Path) -> None:
    """Cut a last line without its newline: optuna would append to it and spoil the file for good."""
    if not path.exists():
        return
    raw = path.read_bytes()
    if raw and not raw.endswith(b"\n"):
        os.truncate(path, raw.rfind(b"\n") + 1)
