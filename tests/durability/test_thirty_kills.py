"""Thirty kills of each kind at random moments: nothing acknowledged is lost, nothing is done twice; `make durability` prints the books."""

from __future__ import annotations

import random
import statistics
import sys
from typing import TYPE_CHECKING

import pytest

from dse.campaign.folder import FolderRequest
from dse.campaign.log import read_log
from dse.campaign.session import SessionRequest, run_session
from tests.campaign_process import CODE_VERSION
from tests.kills import TRIALS, Books, kill_coordinators, kill_workers
from tests.search_fakes import FakeFactory, fake_plan

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
KILLS = 30
FIRST_RESULT_S = 1.0
"""Most seconds from a restart to the first new result (median); of the processor, as the machine may be shared."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dse.campaign.session.code_version", lambda: CODE_VERSION)
        run_session(fake_plan(), FakeFactory(), SessionRequest(folder=FolderRequest(run_dir=folder)))
    return (folder / "results.jsonl").read_bytes()


def check(folder: Path, all_books: list[Books], whole: bytes, title: str) -> None:
    lost = 0
    for number, books in enumerate(all_books):
        own = folder / str(number)
        kept = {record.number: record.outer for record in read_log(own / "results.jsonl").records}
        lost += len(books.acknowledged.items() - kept.items())
        assert len(set(kept.values())) == len(kept) == TRIALS
        assert (own / "results.jsonl").read_bytes() == whole
        assert books.exit_code == 0
    twice = sum(books.twice for books in all_books)
    times = [seconds for books in all_books for seconds in books.first_result_s]
    cpu = statistics.median([seconds for books in all_books for seconds in books.first_result_cpu_s] or [0.0])
    kills = sum(books.kills for books in all_books)
    sys.stdout.write(
        f"\n{title}: {kills} kills, {lost} acknowledged results lost, {twice} twice; first new result after"
        f" {statistics.median(times):.2f} s (median; {cpu:.2f} s of the coordinator's processor), {max(times):.2f} s (worst)\n"
    )
    assert (lost, twice) == (0, 0)
    assert kills >= KILLS
    assert cpu <= FIRST_RESULT_S


@pytest.mark.parametrize("workers", [1, 2])
def test_coordinators(tmp_path: Path, workers: int, whole: bytes) -> None:
    chance = random.Random(workers)
    books: list[Books] = []
    while (left := KILLS - sum(b.kills for b in books)) > 0:
        books.append(kill_coordinators(tmp_path / str(len(books)), chance, kills=min(left, 10), workers=workers, delay_s=0.1))
    check(tmp_path, books, whole, f"coordinator with {workers} worker{'s' * (workers > 1)}")


@pytest.mark.parametrize("workers", [2, 4])
def test_workers(tmp_path: Path, workers: int, whole: bytes) -> None:
    chance = random.Random(workers)
    books: list[Books] = []
    while (left := KILLS - sum(b.kills for b in books)) > 0:
        books.append(kill_workers(tmp_path / str(len(books)), chance, kills=min(left, 10), workers=workers, delay_s=0.1))
    check(tmp_path, books, whole, f"one of {workers} workers")
