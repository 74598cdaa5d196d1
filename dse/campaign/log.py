"""The result log, the truth of a run: append-only JSON lines, one batch a line, each with its checksum, one fsync each.

Line 1 is the header. Every line is `{"checksum": "<16 hex digits>", "record": {...}}`; the checksum is the start of
the SHA-256 of the record's canonical JSON. A batch counts once its line is on disk. A line that a crash cut short is
removed at the next start and its batch is done again.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dse.campaign.record import records_from_json, records_to_json
from dse.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dse.search.trial import TrialRecord

FORMAT: Final = "dse-results"
VERSION: Final = 2


@dataclass(frozen=True, slots=True)
class LogContent:
    """What a log holds."""

    header: Mapping[str, object]
    batches: Sequence[tuple[TrialRecord, ...]]
    records: Sequence[TrialRecord]
    """All trials in order."""


class ResultLog:
    """A result log opened for appending. The caller holds the run's lock."""

    def __init__(self, path: Path, header: Mapping[str, object]) -> None:
        """Open or create `path`; cut a torn tail; `header` is written to a new log.

        Raises:
            RunError: the file is not a result log of this version, is damaged before its tail, or cannot be written.
        """
        self._path = path
        try:
            content = _open(path, header)
        except OSError as error:
            raise unwritable(path, error) from error
        self._batches = list(content.batches)
        self._records = list(content.records)
        self.content = LogContent(content.header, self._batches, self._records)
        """Grows with every batch."""

    def append(self, records: Sequence[TrialRecord]) -> None:
        """Add one batch; on return it is on disk.

        Raises:
            RunError: the disk is full or the file cannot be written; what was half written is taken back.
        """
        line = _line({"batch": records[0].batch if records else 0, "trials": records_to_json(records)})
        try:
            size = self._path.stat().st_size
            try:
                _append(self._path, line)
            except OSError:
                os.truncate(self._path, size)
                raise
        except OSError as error:
            raise unwritable(self._path, error) from error
        self._batches.append(tuple(records))
        self._records += records


def read_log(path: Path) -> LogContent:
    """The content of a log, a torn tail left out and left in place.

    Raises:
        RunError: missing, not a result log of this version, or damaged before its tail.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); is this the folder of a run?") from error
    return _parse(path, raw)[0]


def _open(path: Path, header: Mapping[str, object]) -> LogContent:
    raw = path.read_bytes() if path.exists() else b""
    if b"\n" not in raw:  # new, or cut within its first line: nothing was ever acknowledged
        path.write_bytes(b"")
        _append(path, _line({"format": FORMAT, "version": VERSION, **header}))
        raw = path.read_bytes()
    content, good = _parse(path, raw)
    if good < len(raw):
        os.truncate(path, good)
    return content


def _parse(path: Path, raw: bytes) -> tuple[LogContent, int]:
    """Content and the number of good bytes; only the last line may be bad."""
    records: list[Mapping[str, object]] = []
    good = 0
    lines = raw.splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        record = _record(line)
        if record is None and number == len(lines) and number > 1:
            break
        if record is None:
            raise RunError(f"{path}:{number}: the record is damaged (its checksum does not fit); start again with --new")
        records.append(record)
        if number == 1:
            _check_format(path, records)
        good += len(line)
    _check_format(path, records)
    header = {key: value for key, value in records[0].items() if key not in ("format", "version")}
    batches = tuple(records_from_json(record["trials"]) for record in records[1:])
    return LogContent(header, batches, tuple(record for batch in batches for record in batch)), good


def _check_format(path: Path, records: Sequence[Mapping[str, object]]) -> None:
    if not records or records[0].get("format") != FORMAT:
        raise RunError(f"{path}:1: is not a result log of dse search; give another --run-dir")
    if records[0].get("version") != VERSION:
        raise RunError(f"{path}:1: is a result log of version {records[0].get('version')}, this is {VERSION}; start again with --new")


def _record(line: bytes) -> Mapping[str, object] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        outer = json.loads(line)
    except ValueError:
        return None
    if not isinstance(outer, dict) or not isinstance(outer.get("record"), dict):
        return None
    record: dict[str, object] = outer["record"]
    return record if outer.get("checksum") == _checksum(record) else None


def _line(record: Mapping[str, object]) -> bytes:
    outer = {"checksum": _checksum(record), "record": record}
    return (json.dumps(outer, separators=(",", ":"), allow_nan=False) + "\n").encode()


def _checksum(record: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(record, separators=(",", ":"), sort_keys=True).encode()).hexdigest()[:16]


def _append(path: Path, line: bytes) -> None:
    with path.open("ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def unwritable(path: Path, error: OSError) -> RunError:
    """What to say when a file of a run cannot be written."""
    return RunError(f"{path}: cannot be written ({error.strerror}); free the disk or give --run-dir another folder, then run again")
