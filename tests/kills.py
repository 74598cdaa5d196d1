"""Kills processes of a campaign at random moments and keeps the books: what was acknowledged, and how soon work went on."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
TRIALS = 40
"""Of the campaign of `tests.search_fakes`."""
MOST_S = 60.0
"""Longest that anything may take before the test gives up."""


@dataclass
class Books:
    """What came of it."""

    kills: int = 0
    acknowledged: dict[int, int] = field(default_factory=dict)
    """Outer choice by number of the trial."""
    twice: int = 0
    """Trials that were acknowledged a second time."""
    first_result_s: list[float] = field(default_factory=list)
    """From each start of a process, or death of a worker, to the first new acknowledgement."""
    first_result_cpu_s: list[float] = field(default_factory=list)
    """Processor time of the coordinator until then, of each start."""
    exit_code: int | None = None

    def note(self, line: str) -> None:
        """One line of `tests.campaign_process`."""
        number, outer = map(int, line.split())
        self.twice += number in self.acknowledged
        self.acknowledged[number] = outer


class Campaign:
    """A running `tests.campaign_process` whose acknowledgements are read as they come."""

    def __init__(self, folder: Path, workers: int, delay_s: float, books: Books) -> None:
        command = [sys.executable, "-m", "tests.campaign_process", str(folder), str(workers), str(delay_s)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self._books = books
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def take_one(self, seconds: float = MOST_S) -> bool:
        """Wait for one acknowledgement and note it; False where none comes any more, or in time."""
        try:
            line = None if self._ended else self._lines.get(timeout=seconds)
        except queue.Empty:
            return False
        self._ended = line is None
        if line is not None:
            self._books.note(line)
        return line is not None

    def take(self, seconds: float) -> None:
        """Note acknowledgements for `seconds`."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._ended:
            self.take_one(left)

    def take_what_is_there(self) -> None:
        """Note acknowledgements that have come already."""
        while not self._lines.empty():
            self.take_one()

    def workers(self) -> list[int]:
        """Processes that evaluate: children of the server that they are forked from."""
        parents = _parents()
        servers = {pid for pid, parent in parents.items() if parent == self.process.pid}
        return sorted(pid for pid, parent in parents.items() if parent in servers)

    def end(self) -> int:
        """Reap the process, note what it said last; its exit code."""
        code = self.process.wait(timeout=MOST_S)
        while self.take_one():
            pass
        self._reader.join(timeout=MOST_S)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


@contextmanager
def campaign(folder: Path, workers: int, delay_s: float, books: Books) -> Iterator[Campaign]:
    """A campaign that does not outlive the block."""
    running = Campaign(folder, workers, delay_s, books)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.end()


def kill_coordinators(folder: Path, chance: random.Random, *, kills: int, workers: int, delay_s: float) -> Books:
    """Kill -9 the coordinator `kills` times: now and then before it has any result, mostly after; then let it finish."""
    books = Books()
    while books.kills < kills and len(books.acknowledged) < TRIALS:
        began = time.monotonic()
        with campaign(folder, workers, delay_s, books) as running:
            if chance.random() < 0.2:
                running.take(chance.uniform(0.0, 0.6))
            elif running.take_one():
                books.first_result_s.append(time.monotonic() - began)
                books.first_result_cpu_s.append(_cpu_s(running.process.pid))
                running.take(chance.uniform(0.0, 2 * delay_s))
            if running.process.poll() is None:
                running.process.send_signal(signal.SIGKILL)
                books.kills += 1
    with campaign(folder, workers, delay_s, books) as running:
        books.exit_code = running.end()
    return books


def kill_workers(folder: Path, chance: random.Random, *, kills: int, workers: int, delay_s: float) -> Books:
    """Kill -9 a worker process up to `kills` times, each time after a new result; then let the campaign finish."""
    books = Books()
    with campaign(folder, workers, delay_s, books) as running:
        while books.kills < kills and running.take_one():
            running.take(chance.uniform(0.0, 2 * delay_s))
            alive = running.workers()
            if not alive:
                continue
            os.kill(chance.choice(alive), signal.SIGKILL)
            books.kills += 1
            killed = time.monotonic()
            running.take_what_is_there()
            if running.take_one():
                books.first_result_s.append(time.monotonic() - killed)
        books.exit_code = running.end()
    return books


def _cpu_s(pid: int) -> float:
    """Processor time of a process so far; 0 where it has just ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _parents() -> dict[int, int]:
    """Parent of every process."""
    found: dict[int, int] = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = place.read_text()
        except OSError:
            continue  # it has just ended
        found[int(text.split(None, 1)[0])] = int(text.rpartition(")")[2].split()[1])
    return found
