"""Which folder a command works in: a new one, or the one of the same campaign to go on with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dse.campaign.view import LOG, MANIFEST, read_manifest, runs_in
from dse.errors import RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

RUNS: Final = Path("runs")
_STAMP: Final = "%Y%m%dT%H%M%S%fZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderRequest:
    """What the user asked for."""

    run_dir: Path | None = None
    """Exactly this folder; None: under runs/<campaign>/."""
    new: bool = False
    """Start a new run, whatever is there."""
    new_if_changed: bool = False
    """Go on with the latest run of the same configuration and code version; start a new one where there is none."""
    force: bool = False
    """Use the folder although it was written by another configuration or code version."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The folder to work in."""

    folder: Path
    restart: bool = False
    """The folder's old log belongs to another configuration and is to be set aside."""
    forced: tuple[str, ...] = ()
    """Differences that --force overrode."""


def choose_folder(request: FolderRequest, name: str, identity: Mapping[str, object], identity_hash: str, *, cell: str = "") -> Chosen:
    """Where to run campaign `name`, or one combination (`cell`) of its matrix.

    With `run_dir` that folder; else the latest run under runs/<name>/, finished or not; else a new one. A run of
    another identity (configuration, input files or code version) is refused with the difference.

    Raises:
        UsageError: two of --new, --new-if-changed and --force, or the first two with a folder that holds a run.
        RunError: the run there has another identity and neither --new nor --force was given.
    """
    if request.new + request.force + request.new_if_changed > 1:
        raise UsageError(
            "--new, --new-if-changed and --force exclude each other: the first two may start another folder, --force never does"
        )
    if request.new_if_changed and request.run_dir is not None:
        raise UsageError("--new-if-changed chooses the folder itself; leave out --run-dir")
    if request.run_dir is not None and cell:
        request = replace(request, run_dir=request.run_dir / cell)
    if request.run_dir is None:
        home = RUNS / name / cell
        known = runs_in(home)
        fresh = home / _name_after(known, identity_hash)
        if request.new_if_changed:
            known = [run for run in known if not differences(_identity(read_manifest(run)), identity)]
        if request.new or not known:
            return Chosen(fresh)
        return _go_on(known[-1], name, identity, force=request.force)
    if not (request.run_dir / LOG).exists():
        return Chosen(request.run_dir)
    if request.new:
        raise UsageError(f"--new: {request.run_dir} already holds a run; give another --run-dir, or --force to write over it")
    return _go_on(request.run_dir, name, identity, force=request.force)


def _name_after(known: list[Path], identity_hash: str) -> str:
    """A name by the clock that sorts after all others, also where the clock was set back since."""
    now = datetime.now(UTC)
    for run in known:
        try:
            latest = datetime.strptime(run.name.partition("-")[0], _STAMP).replace(tzinfo=UTC)
        except ValueError:
            continue  # a folder that the user named
        now = max(now, latest + timedelta(microseconds=1))
    return f"{now:{_STAMP}}-{identity_hash[:6]}"


def _go_on(folder: Path, name: str, identity: Mapping[str, object], *, force: bool) -> Chosen:
    try:
        manifest = read_manifest(folder)
    except RunError:
        if not force:
            raise
        manifest = {}
    if not manifest and not force:
        raise RunError(
            f"{folder}: holds a {LOG} without a {MANIFEST}, so it is no run of dse search, or what is left of one;"
            " give another --run-dir, or --force to set it aside"
        )
    other = manifest.get("campaign")
    if other not in (None, name) and not force:
        raise RunError(
            f"{folder}: holds a run of campaign '{other}', this is '{name}'; give another --run-dir, or --force to set its results aside"
        )
    old = _identity(manifest)
    lines = differences(old, identity)
    if not lines:
        return Chosen(folder)
    if not force:
        raise RunError(
            f"{folder}: was written by another configuration or code version:\n"
            + "\n".join(f"  {line}" for line in lines)
            + "\n  --new starts a new run; --force goes on in this folder (results of another configuration are set aside)"
        )
    same_config = old.get("config") == identity["config"]
    return Chosen(folder, restart=not same_config, forced=tuple(lines))


def _identity(manifest: Mapping[str, object]) -> Mapping[str, object]:
    old = manifest.get("identity")
    return old if isinstance(old, dict) else {}


def differences(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """`path: old -> new` for every leaf that differs."""
    before, after = _leaves(old, ""), _leaves(new, "")
    return [
        f"{key}: {before.get(key, 'absent')} -> {after.get(key, 'absent')}"
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    ]


def _leaves(value: object, prefix: str) -> dict[str, object]:
    if isinstance(value, dict):
        return {key: leaf for name, inner in value.items() for key, leaf in _leaves(inner, f"{prefix}{name}.").items()}
    return {prefix.rstrip("."): value}
