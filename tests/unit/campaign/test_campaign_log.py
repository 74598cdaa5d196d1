"""The result log: nothing acknowledged is lost, a torn tail costs at most the last batch."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.campaign.lock import RunLock
from dse.campaign.log import ResultLog, read_log
from dse.errors import RunError
from dse.search.sweep import sweep
from dse.search.trial import TrialRecord, failed
from tests.search_fakes import GOALS, SPACE, FakeEvaluator


def record(number: int, batch: int) -> TrialRecord:
    found = sweep(FakeEvaluator(), SPACE.choice(number), SPACE, GOALS)
    values = {name: getattr(found, name) for name in found.__dataclass_fields__}
    return TrialRecord(**values, number=number, batch=batch, outer=number, sampler_state={"x:generation": 1})


def filled(path: Path) -> ResultLog:
    log = ResultLog(path, lambda: {"campaign": "fake"})
    for batch in range(4):
        log.append([record(3 * batch + i, batch) for i in range(3)])
    return log


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    log = filled(tmp_path / "log.jsonl")
    again = read_log(tmp_path / "log.jsonl")
    assert again.header == {"campaign": "fake"}
    assert list(again.records) == list(log.content.records)
    assert [len(batch) for batch in again.batches] == [3, 3, 3, 3]
    assert all(json.loads(line)["checksum"] for line in (tmp_path / "log.jsonl").read_text().splitlines())


def test_failed_trials_are_kept(tmp_path: Path) -> None:
    log = ResultLog(tmp_path / "log.jsonl", dict)
    found = failed(ValueError("no"))
    values = {name: getattr(found, name) for name in found.__dataclass_fields__}
    log.append([TrialRecord(**values, number=0, batch=0, outer=5)])
    assert read_log(tmp_path / "log.jsonl").records[0].error == "ValueError: no"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, tuple[TrialRecord, ...]]:
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    records = tuple(filled(path).content.records)
    return path.read_bytes(), records


@settings(max_examples=150)
@given(cut=st.integers(1, 200), garbage=st.binary(max_size=40).filter(lambda found: b"\n" not in found and b"\r" not in found))
def test_a_truncated_log_loses_at_most_the_last_batch(whole: tuple[bytes, tuple[TrialRecord, ...]], cut: int, garbage: bytes) -> None:
    """Cut short by a crash, or filled with whatever the disk had there: what is missing is done again, to the same bytes."""
    raw, records = whole
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.jsonl"
        path.write_bytes(raw[:-cut] + garbage)
        assert list(read_log(path).records) == list(records[:11])
        log = ResultLog(path, lambda: {"campaign": "fake"})
        assert list(log.content.records) == list(records[:11])
        log.append(records[11:])
        assert path.read_bytes() == raw


def test_every_cut_of_1_to_200_bytes_costs_the_last_trial_alone(tmp_path: Path, whole: tuple[bytes, tuple[TrialRecord, ...]]) -> None:
    raw, records = whole
    path = tmp_path / "log.jsonl"
    for cut in range(1, 201):
        path.write_bytes(raw[:-cut])
        assert ResultLog(path, dict).content.records == list(records[:-1])
        assert raw.startswith(path.read_bytes())


def test_damage_before_the_tail_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    filled(path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"number":1', b'"number":2', 1)
    path.write_bytes(b"".join(lines))
    with pytest.raises(RunError, match=r"log.jsonl:3: the record is damaged"):
        ResultLog(path, dict)


def test_another_kind_of_file_and_another_version_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"op_code": 0}\n', encoding="utf-8")
    with pytest.raises(RunError, match="damaged"):
        ResultLog(path, dict)
    path.unlink()
    with pytest.raises(RunError, match="version 99"):
        ResultLog(path, lambda: {"version": 99})


def test_a_log_cut_within_its_first_line_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    ResultLog(path, lambda: {"campaign": "fake"})
    path.write_bytes(path.read_bytes()[:10])
    assert ResultLog(path, lambda: {"campaign": "fake"}).content.records == []


def test_one_coordinator_owns_a_run(tmp_path: Path) -> None:
    with RunLock(tmp_path / ".lock"), pytest.raises(RunError, match="another dse search"), RunLock(tmp_path / ".lock"):
        pass
    with RunLock(tmp_path / ".lock"):
        pass
