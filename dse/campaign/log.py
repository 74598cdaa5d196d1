"""The result log, the truth of a run: append-only JSON lines, one trial a line, each with its checksum.

Line 1 is the header. Every line is `{"checksum":"<16 hex digits>","record":{...}}`; the checksum is the start of
the SHA-256 of the record's bytes as they stand there. A trial counts once its line is on disk. A line that a crash cut short is
removed at the next start and its trial is done again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final

from dse.campaign.record import records_from_json, records_to_json
from dse.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from dse.search.trial import TrialRecord

FORMAT: Final = "dse-results"
VERSION: Final = 3
_LINE: Final = re.compile(rb'\{"checksum":"(?P<checksum>[0-9a-f]{16})","record":(?P<record>\{.*\})\}\n', re.DOTALL)


@dataclass(frozen=True, slots=True)
class LogContent:
    """What a log holds."""

    header: Mapping[str, object]
    records: Sequence[TrialRecord]
    """All trials in order."""

    @property
    def batches(self) -> list[tuple[TrialRecord, ...]]:
        """The trials by batch; the last batch may be unfinished."""
        return [tuple(members) for _, members in groupby(self.records, key=lambda record: record.batch)]


class ResultLog:
    """A result log opened for appending. The caller holds the run's lock."""

    def __init__(self, path: Path, header: Callable[[], Mapping[str, object]]) -> None:
        """Open or create `path`; cut a torn tail; `header` is asked for and written where the log is new.

        Raises:
            RunError: the file is not a result log of this version, is damaged before its tail, or cannot be written.
        """
        self._path = path
        try:
            content = _open(path, header)
        except OSError as error:
            raise unwritable(path, error) from error
        self._records = list(content.records)
        self.content = LogContent(content.header, self._records)
        """Grows with every append."""

    def append(self, records: Sequence[TrialRecord]) -> None:
        """Add trials with one fsync; on return they are on disk.

        Raises:
            RunError: the disk is full or the file cannot be written; what was half written is taken back.
        """
        lines = b"".join(_line({"trial": value}) for value in records_to_json(records))
        try:
            size = self._path.stat().st_size
            try:
                _append(self._path, lines)
            except OSError:
                os.truncate(self._path, size)
                raise
        except OSError as error:
            raise unwritable(self._path, error) from error
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


def _open(path: Path, header: Callable[[], Mapping[str, object]]) -> LogContent:
    raw = path.read_bytes() if path.exists() else b""
    if b"\n" not in raw:  # new, or cut within its first line: nothing was ever acknowledged
        line = _line({"format": FORMAT, "version": VERSION, **header()})
        path.write_bytes(b"")
        _append(path, line)
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
        if record is None and number == 1:
            _check_format(path, [_first_of_another_version(line)])
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
    return LogContent(header, records_from_json([record["trial"] for record in records[1:]])), good


def _check_format(path: Path, records: Sequence[Mapping[str, object]]) -> None:
    if not records or records[0].get("format") != FORMAT:
        raise RunError(f"{path}:1: is not a result log of dse search; give another --run-dir")
    if records[0].get("version") != VERSION:
        raise RunError(f"{path}:1: is a result log of version {records[0].get('version')}, this is {VERSION}; start again with --new")


def _record(line: bytes) -> Mapping[str, object] | None:
    match = _LINE.fullmatch(line)
    if match is None or match["checksum"] != _checksum(match["record"]):
        return None
    record = json.loads(match["record"])  # as we wrote it: the checksum says so
    return record if isinstance(record, dict) else None


def _first_of_another_version(line: bytes) -> Mapping[str, object]:
    """The header of a log whose checksums are made otherwise; ours where it is none, so that it counts as damaged."""
    try:
        record = json.loads(line)["record"]
        known = record.get("format") == FORMAT
    except (ValueError, KeyError, TypeError, AttributeError):
        known = False
    return record if known else {"format": FORMAT, "version": VERSION}


def _line(record: Mapping[str, object]) -> bytes:
    body = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
    return b'{"checksum":"%s","record":%s}\n' % (_checksum(body), body)


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:16].encode()


def _append(path: Path, line: bytes) -> None:
    with path.open("ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def unwritable(path: Path, error: OSError) -> RunError:
    """What to say when a file of a run cannot be written."""
    return RunError(f"{path}: cannot be written ({error.strerror}); free the disk or give --run-dir another folder, then run again")
