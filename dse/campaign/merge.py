"""Shards of a campaign put together: one log, one front, one run that all commands read like any other."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from dse.campaign.lock import RunLock
from dse.campaign.log import ResultLog
from dse.campaign.session import LOCK, write_tables
from dse.campaign.tables import to_json
from dse.campaign.view import LOG, MANIFEST, load_run, read_manifest
from dse.errors import RunError
from dse.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dse.campaign.view import Run
    from dse.search.trial import TrialRecord

MERGED: str = "merged"


def shards_in(folder: Path) -> list[Path]:
    """Folders of shards under `folder`, however deep, in the order of their numbers."""
    found = [path.parent for path in folder.rglob(LOG) if path.parent.name.startswith("shard-")]
    return sorted(found, key=lambda path: (len(path.name), str(path)))


def merge(folders: Sequence[Path], target: Path) -> Run:
    """One run out of the shards in `folders`; written to `target`, again whenever it is called.

    Trials are numbered anew in the order of the shards. The front is that of all designs, and exact where all shards together have
    decided every choice.

    Raises:
        RunError: a folder is no shard, shards belong to different campaigns or code versions, one is given twice, or `target` holds
            something else.
    """
    runs = sorted((load_run(folder) for folder in folders), key=lambda run: run.header.shard or (-1, 0))
    _check(runs)
    if (target / LOG).exists() and MERGED not in read_manifest(target):
        raise RunError(f"{target}: holds a run that was not made by dse merge; give another -o")
    target.mkdir(parents=True, exist_ok=True)
    header = replace(runs[0].header, shard=None, seeds=())
    with RunLock(target / LOCK):
        (target / LOG).unlink(missing_ok=True)
        first = runs[0].manifest
        manifest = {key: first[key] for key in ("schema_version", "campaign", "identity", "seed", "environment") if key in first}
        atomic_write(target / MANIFEST, to_json({**manifest, MERGED: [str(run.folder) for run in runs]}))
        log = ResultLog(target / LOG, header.to_json)
        log.append(_renumbered(runs))
        merged = load_run(target)
        write_tables(merged)
    return merged


def _renumbered(runs: Sequence[Run]) -> list[TrialRecord]:
    records: list[TrialRecord] = []
    batch = 0
    for run in runs:
        for _, members in groupby(run.records, key=lambda record: record.batch):
            for record in members:
                records.append(replace(record, number=len(records), batch=batch))
            batch += 1
    return records


def _check(runs: Sequence[Run]) -> None:
    first = runs[0]
    for run in runs:
        if run.header.shard is None:
            raise RunError(f"{run.folder}: is no shard; make shards with dse search --shard 1/4, 2/4, ...")
        if run.header.config_hash != first.header.config_hash:
            raise RunError(f"{run.folder}: is of another configuration than {first.folder}")
        if _version(run) != _version(first):
            raise RunError(f"{run.folder}: was made by another code version than {first.folder}")
        if run.header.shard[1] != (first.header.shard or (0, 0))[1]:
            raise RunError(f"{run.folder} is one of {run.header.shard[1]} shards, {first.folder} is not")
    for one, other in pairwise(runs):
        if one.header.shard == other.header.shard:
            raise RunError(f"{one.folder} and {other.folder} are the same shard; give it once")


def _version(run: Run) -> object:
    identity = run.manifest.get("identity")
    return identity.get("code_version") if isinstance(identity, dict) else None
