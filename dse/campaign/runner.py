"""The coordinator: asks in batches, has them evaluated, acknowledges each batch in the log, in order."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from dse.campaign.engines import Problem, open_engine
from dse.search.strategy import make_strategy
from dse.search.trial import recorded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dse.campaign.engines import Engine
    from dse.campaign.header import Header
    from dse.campaign.log import ResultLog
    from dse.search.evaluator import EvaluatorFactory
    from dse.search.strategy import Asked, Strategy
    from dse.search.trial import TrialRecord

LOGGER = logging.getLogger(__name__)


class Stop(StrEnum):
    """Why a session ended."""

    FINISHED = "finished"
    STAGNATED = "stagnated"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stagnation:
    """Stop when the last `trials` trials raised the hypervolume by less than the share `growth`."""

    trials: int
    growth: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a session has to do."""

    header: Header
    trials: int
    timeout_s: float | None = None
    stagnation: Stagnation | None = None
    workers: int = 1
    cluster: str | None = None
    """Address of a dask cluster, instead of worker processes."""


class Watcher(Protocol):
    """Is told of every batch once it is on disk."""

    def __call__(self, records: Sequence[TrialRecord], /) -> None:
        """`records`: the trials of the batch."""


class History(Protocol):
    """What the coordinator must know of the front to see that it stands still."""

    def hypervolumes(self) -> Sequence[tuple[int, float]]:
        """(trials done, hypervolume) after each batch from the first with feasible designs on."""


def run(work: Work, factory: EvaluatorFactory, log: ResultLog, watch: Watcher, history: History) -> Stop:
    """Do what `log` does not hold yet. The log's content depends on the work alone, not on workers or interruptions.

    Raises:
        RunError: the log cannot be written, or the cluster is gone.
        UsageError: the sampler cannot search this space, or the cluster cannot be reached.
    """
    header = work.header
    strategy = make_strategy(header.sampler, header.choices, header.goals, header.seed, header.seeds)
    started = time.monotonic()
    problem = Problem(factory, header.space, header.goals, header.limits)
    if len(log.content.records) >= work.trials:
        return Stop.FINISHED
    with _signals() as interrupted, open_engine(problem, work.workers, work.cluster) as engine:
        asking = _Asking(strategy, log, work.trials, engine)
        while True:
            if interrupted.is_set():
                return Stop.INTERRUPTED
            if work.timeout_s is not None and time.monotonic() - started >= work.timeout_s:
                return Stop.TIMEOUT
            if work.stagnation is not None and stagnated(history.hypervolumes(), work.stagnation):
                return Stop.STAGNATED
            asked = asking.next()
            if not asked:
                return Stop.FINISHED
            done, batch = len(log.content.records), len(log.content.batches)
            results = engine.results([one.outer for one in asked])
            records = [
                recorded(result, number=done + position, batch=batch, outer=one.outer, sampler_state=one.sampler_state)
                for position, (one, result) in enumerate(zip(asked, results, strict=True))
            ]
            log.append(records)
            watch(records)


def stagnated(hypervolumes: Sequence[tuple[int, float]], rule: Stagnation) -> bool:
    """Whether the latest `rule.trials` trials raised the hypervolume by less than `rule.growth` of what it was before them."""
    if not hypervolumes:
        return False
    done, now = hypervolumes[-1]
    before = [value for trials, value in hypervolumes if trials <= done - rule.trials]
    return bool(before) and now - before[-1] <= rule.growth * abs(before[-1])


class _Asking:
    """Batches in order; of a strategy that does not look back, enough of them ahead to keep all workers busy."""

    def __init__(self, strategy: Strategy, log: ResultLog, trials: int, engine: Engine) -> None:
        self._strategy = strategy
        self._log = log
        self._trials = trials
        self._engine = engine
        self._ahead: deque[tuple[Asked, ...]] = deque()

    def next(self) -> tuple[Asked, ...]:
        """The next batch; empty at the end."""
        self._fill(1)
        if not self._ahead:
            return ()
        if not self._strategy.looks_back and self._engine.slots > 1:
            self._fill(1 + -(-self._engine.slots // self._strategy.batch_size))
            for asked in self._ahead:
                self._engine.submit([one.outer for one in asked])
        return self._ahead.popleft()

    def _fill(self, batches: int) -> None:
        while len(self._ahead) < batches:
            done = len(self._log.content.records) + sum(map(len, self._ahead))
            batch = len(self._log.content.batches) + len(self._ahead)
            count = min(self._strategy.batch_size, self._trials - done)
            asked = self._strategy.ask(self._log.content.records, batch, count, done=done) if count > 0 else ()
            if not asked:
                return
            self._ahead.append(asked)


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """Set the event at the first SIGINT or SIGTERM; the second ends at once. Only the main thread may do so."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def handle(number: int, _frame: object) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()
        LOGGER.warning("%s: finishing the batch; once more to stop at once (the run stays resumable)", signal.Signals(number).name)

    kept = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, old in kept.items():
            signal.signal(number, old)
