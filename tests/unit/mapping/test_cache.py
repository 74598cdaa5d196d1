"""Frontiers on disk: the same to the last bit, whoever writes, whatever stands there."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.files import CACHE_FOLDER, CACHE_MIB, cache_folder
from dse.hw.accelerator import ArrayDim, ArrayGeometry, Dataflow, Folds, Geometry, Loop, MemoryGeometry, OperandName
from dse.mapping import cache
from dse.mapping.cache import LOOK_S, LOOKED, Store, cached_frontier
from dse.mapping.frontier import matmul_frontier
from dse.mapping.matmul import Kept, MatmulMapping, Stationary
from dse.mapping.problem import MatmulProblem
from dse.mapping.stored import MAGIC, DamagedError, from_bytes, to_bytes
from dse.plugins import accelerator_names, load_accelerator

if TYPE_CHECKING:
    from dse.mapping.frontier import Frontier

PROBLEM = MatmulProblem(2, 24, 36, 20, 8, 8, 8, 16, "int8")
SHORT = Geometry(ArrayGeometry(4, 8, 2, tuple(Dataflow), Folds.PIPELINED, (("int8", 1),)), double_buffered=True)
DIMS = (ArrayDim("d1", 4, (Loop.K, Loop.M)), ArrayDim("d2", 4, (Loop.N,)))
LONG = Geometry(  # registers of their own, two ways of unrolling
    ArrayGeometry(16, 1, 1, (), Folds.BROADCAST, (("int8", 1),), dims=DIMS, stationary=(OperandName.RIGHT, OperandName.OUT)),
    double_buffered=False,
    inner=(MemoryGeometry(registers=True, overlapped=True, operands=(OperandName.RIGHT,)),),
)


def same(a: Frontier, b: Frontier) -> bool:
    """Whether two frontiers are equal to the last bit."""
    equal = a.counts.matrix().tobytes() == b.counts.matrix().tobytes()
    return equal and a.mappings == b.mappings and replace(a, counts=b.counts) == replace(b, mappings=a.mappings)


def made(problem: MatmulProblem, geometry: Geometry) -> Frontier:
    """The frontier, from disk where it stands there."""
    return cached_frontier.__wrapped__(problem, geometry)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own."""
    monkeypatch.setenv(CACHE_FOLDER, str(tmp_path / "kept"))
    monkeypatch.delenv(CACHE_MIB, raising=False)
    cache._store.cache_clear()
    return tmp_path / "kept"


def only_file(folder: Path) -> Path:
    """The one file of a cache."""
    (path,) = folder.rglob("*.frontier")
    return path


@pytest.mark.parametrize("geometry", [SHORT, LONG], ids=["short", "long"])
def test_what_is_written_is_read(geometry: Geometry) -> None:
    frontier = matmul_frontier(PROBLEM, geometry)
    assert same(from_bytes(to_bytes(frontier, "key"), "key"), frontier)


def test_every_chip_of_the_catalogue_can_be_kept() -> None:
    for name in accelerator_names():
        geometry = load_accelerator(name).geometry
        dtype = geometry.array.macs_per_pe_per_cycle[0][0]
        frontier = matmul_frontier(MatmulProblem(1, 5, 7, 11, 8, 8, 8, 32, dtype), geometry)
        assert same(from_bytes(to_bytes(frontier, name), name), frontier), name


def test_second_time_from_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = made(PROBLEM, SHORT)
    monkeypatch.setattr(cache, "frontier_of_family", lambda *_: pytest.fail("made again"))
    assert same(made(PROBLEM, SHORT), first)
    assert only_file(folder).stat().st_mode & 0o777 <= 0o644


@given(st.data())
def test_any_change_is_noticed(data: st.DataObject) -> None:
    good = to_bytes(matmul_frontier(PROBLEM, SHORT), "key")
    at = data.draw(st.integers(0, len(good) - 1))
    changed = good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :]
    bad = data.draw(st.sampled_from([good[:at], changed]))
    with pytest.raises(DamagedError):
        from_bytes(bad, "key")


def _sealed(head: bytes, rest: bytes = b"") -> bytes:
    content = len(head).to_bytes(8, "little") + head + rest
    return MAGIC + cache.sha256(content).digest() + content


def _misfit(*, kind: int = 0, tile: int | str = 1, width: int = 3, made_of: str = "MatmulMapping", sides: int = 1) -> bytes:
    """One row of one kind of mapping."""
    operands = '{"Stationary":"output"},{"Kept":[false,false,false]}'
    described = f'{{"{made_of}":[{{"Dataflow":"weight_stationary"}},{operands},{tile},1,1,1]}}'
    arrays = f'{{"counts":["<f8",[1,6]],"kind":["<u4",[1]],"sides":["<i8",[{sides},{width}]]}}'
    columns = np.ones(6).tobytes() + np.array([kind], dtype="<u4").tobytes() + np.ones(sides * width, dtype="<i8").tobytes()
    head = f'{{"key":"key","arrays":{arrays},"kinds":[{described}],"rest":{{}}}}'
    return _sealed(head.encode(), zlib.compress(columns))


def test_the_form_of_the_misfits_is_right() -> None:
    found = from_bytes(_misfit(), "key")
    assert found.mappings == [
        MatmulMapping(Dataflow.WEIGHT_STATIONARY, Stationary.OUT, Kept(left=False, right=False, out=False), 1, 1, 1, 1)
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 somebody's archive",
        pickle.dumps(print),
        _sealed(b"not json"),
        _sealed(b"[1]"),
        _sealed(b'{"key":"key","arrays":[],"kinds":{}}'),
        _sealed(b'{"key":"key","arrays":{"counts":["|O",[1]]},"kinds":[],"rest":{}}'),
        _sealed(b'{"key":"key","arrays":{"counts":["<f8",[99999999,99999999]]},"kinds":[],"rest":{}}'),
        _sealed(b'{"key":"key","arrays":{"counts":["<f8",[0,6]]},"kinds":[],"rest":{}}', zlib.compress(b"")),
        _misfit(kind=1),
        _misfit(width=2),
        _misfit(sides=2),
        _misfit(made_of="Popen"),
        _misfit(made_of="Stationary"),
        _misfit(made_of="InnerTile"),
        _misfit()[:-1],
        _sealed(b'{"key":"other"}'),
        _sealed(b"[" * 100_000),
    ],
)
def test_files_of_others_are_refused(content: bytes) -> None:
    with pytest.raises(DamagedError):
        from_bytes(content, "key")


@pytest.mark.parametrize("content", [b"", b"something else entirely", to_bytes(matmul_frontier(PROBLEM, LONG), "of another key")])
def test_a_foreign_file_is_told_of_and_replaced(folder: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    first = made(PROBLEM, SHORT)
    path = only_file(folder)
    path.write_bytes(content)
    assert same(made(PROBLEM, SHORT), first)
    assert len(caplog.records) == 1
    assert "it is left out and made again" in caplog.text
    assert same(made(PROBLEM, SHORT), first)
    assert len(caplog.records) == 1, "the file was replaced by a good one"


def test_a_folder_in_the_place_of_a_file_costs_only_that_one(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    made(PROBLEM, SHORT)
    (kept,) = folder.glob("*/*.frontier")
    kept.unlink()
    kept.mkdir()
    assert same(made(PROBLEM, SHORT), matmul_frontier(PROBLEM, SHORT))
    assert "it is a folder; it is left out" in caplog.text
    made(PROBLEM, LONG)
    assert sum(path.is_file() for path in folder.glob("*/*.frontier")) == 1
    assert not list(folder.glob("*/*.tmp"))


def test_other_code_reads_nothing_of_this(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(PROBLEM, SHORT)
    monkeypatch.setattr(cache, "code_version", lambda: "of another day")
    made(PROBLEM, SHORT)
    assert len([*folder.rglob("*.frontier")]) == 2


def test_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(CACHE_FOLDER, str(tmp_path / "file"))
    for m in (1, 2, 3):
        made(replace(PROBLEM, m=m), SHORT)
    assert len(caplog.records) == 1, "told once"
    assert "going on without it" in caplog.text


def test_a_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def full(self: Path, data: bytes) -> int:
        with self.open("xb") as file:
            file.write(data[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    made(PROBLEM, SHORT)
    made(replace(PROBLEM, m=3), SHORT)
    assert [r.getMessage().count("No space left") for r in caplog.records] == [1]
    assert [p.name for p in folder.rglob("*") if p.is_file()] == [LOOKED], "nothing half is left"


def test_the_oldest_go_first(tmp_path: Path) -> None:
    frontier = matmul_frontier(PROBLEM, SHORT)
    size = len(to_bytes(frontier, "0"))
    store = Store(tmp_path, most_bytes=10 * size)
    for i in range(12):
        store.write(str(i), frontier)
        os.utime(store.path(str(i)), (i, i))
    gone = tmp_path / "ab" / "x.frontier.0.tmp"
    gone.parent.mkdir(exist_ok=True)
    gone.write_bytes(b"half")
    os.utime(gone, (0, 0))
    store.shrink()
    left = [i for i in range(12) if store.path(str(i)).exists()]
    assert left == list(range(12))[-len(left) :]
    assert 7 <= len(left) <= 8
    assert not gone.exists()


def test_a_look_is_not_repeated_by_every_process(tmp_path: Path) -> None:
    """Of processes that begin to write, only the first within `LOOK_S` looks at all files; a time in the future is no look."""
    frontier = matmul_frontier(PROBLEM, SHORT)
    most = 3 * len(to_bytes(frontier, "0"))

    def begun(name: str) -> int:
        Store(tmp_path, most).write(name, frontier)
        return len(list(tmp_path.rglob("*.frontier")))

    assert [begun(str(i)) for i in range(6)] == [1, 2, 3, 4, 5, 6]
    marker, now = tmp_path / LOOKED, time.time()
    os.utime(marker, (now - LOOK_S - 1,) * 2)
    assert begun("6") == 3
    assert begun("7") == 4
    os.utime(marker, (now + 3600,) * 2)
    assert begun("8") == 3


@pytest.mark.parametrize(("value", "kept"), [("0", False), ("1", True), ("many", True)])
def test_limit(value: str, kept: bool, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv(CACHE_MIB, value)
    made(PROBLEM, SHORT)
    assert folder.exists() is kept
    assert ("not a whole number" in caplog.text) is (value == "many")


def test_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_FOLDER, "")
    assert cache_folder() is None
    monkeypatch.delenv(CACHE_FOLDER)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "dse" / "frontiers"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "dse" / "frontiers"


_WRITER = """
import sys
from dse.mapping.cache import Store
from dse.mapping.frontier import matmul_frontier
from tests.unit.mapping.test_cache import PROBLEM, SHORT, same
frontier, store = matmul_frontier(PROBLEM, SHORT), Store(__import__("pathlib").Path(sys.argv[1]), 2**16)
for i in range(60):
    store.write(str(i % 5), frontier)
    found = store.read(str((i + 2) % 5))
    assert found is None or same(found, frontier)
    if i % 20 == 0:
        store.shrink()
"""


def test_many_writers_and_readers(tmp_path: Path, repository: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", _WRITER, str(tmp_path)]
    running = [subprocess.Popen(command, cwd=repository, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [(p.communicate()[1], p.returncode) for p in running] == [("", 0)] * 3
    assert not list(tmp_path.rglob("*.tmp"))


def test_counts_can_be_taken_from_a_kept_frontier(folder: Path) -> None:
    made(PROBLEM, LONG)
    kept = made(PROBLEM, LONG).counts
    assert np.array_equal(kept.take(np.array([0])).matrix(), kept.matrix()[:1])
