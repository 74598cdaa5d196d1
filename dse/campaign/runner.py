"""The coordinator: asks in batches, has them evaluated, acknowledges each trial in the log, in order."""

from __future__ import annotations

import logging
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from dse.campaign.asking import Asking
from dse.campaign.engines import Problem, open_engine
from dse.search.strategy import probes_of
from dse.search.trial import recorded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dse.campaign.asking import Begun
    from dse.campaign.engines import Engine
    from dse.campaign.header import Header
    from dse.campaign.log import ResultLog
    from dse.search.evaluator import EvaluatorFactory
    from dse.search.strategy import Asked, Strategy
    from dse.search.trial import TrialRecord

LOGGER = logging.getLogger(__name__)
ACKNOWLEDGE_S: Final = 0.05
"""A finished trial waits at most this long for others, so that cheap trials share one fsync."""


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
    """Is told of every batch once all of it is on disk."""

    def __call__(self, records: Sequence[TrialRecord], /) -> None:
        """`records`: the trials of the batch."""


class History(Protocol):
    """What the coordinator must know of the front to see that it stands still."""

    def hypervolumes(self) -> Sequence[tuple[int, float]]:
        """(trials done, hypervolume) after each batch from the first with feasible designs on."""


def run(
    work: Work, strategy: Strategy, factory: EvaluatorFactory, log: ResultLog, begun: Begun | None, watch: Watcher, history: History
) -> Stop:
    """Do what `log` does not hold yet. The log's content depends on the work alone, not on workers or interruptions.

    `begun`: the last batch of the log, where it is unfinished; `watch` is told of it with what is added.

    Raises:
        RunError: the log cannot be written, or the cluster is gone.
        UsageError: the sampler cannot search this space, or the cluster cannot be reached.
    """
    header = work.header
    started = time.monotonic()
    problem = Problem(factory, header.space, header.goals, header.limits, probes_of(header.sampler, header.space))
    if len(log.content.records) >= work.trials:
        return Stop.FINISHED
    with _signals() as interrupted, open_engine(problem, work.workers, work.cluster) as engine:
        asking = Asking(strategy, log.content.records, work.trials, begun)
        earlier = begun.records if begun else ()
        while True:
            if interrupted.is_set():
                return Stop.INTERRUPTED
            if work.timeout_s is not None and time.monotonic() - started >= work.timeout_s:
                return Stop.TIMEOUT
            if work.stagnation is not None and not earlier and stagnated(history.hypervolumes(), work.stagnation):
                return Stop.STAGNATED
            batch = asking.next(engine)
            if batch is None:
                return Stop.FINISHED
            records = _evaluate(engine, log, *batch, interrupted)
            if len(records) < len(batch[1]):
                return Stop.INTERRUPTED
            watch([*earlier, *records])
            earlier = ()


def _evaluate(engine: Engine, log: ResultLog, batch: int, asked: Sequence[Asked], interrupted: threading.Event) -> list[TrialRecord]:
    """Evaluate one batch and acknowledge its trials as they come, in order; fewer where a signal came between two."""
    first = len(log.content.records)
    records: list[TrialRecord] = []
    waiting: list[TrialRecord] = []
    acknowledged = time.monotonic()
    for one, result in zip(asked, engine.results([one.outer for one in asked]), strict=True):
        number = first + len(records)
        records.append(recorded(result, number=number, batch=batch, outer=one.outer, sampler_state=one.sampler_state))
        waiting.append(records[-1])
        if len(records) == len(asked) or interrupted.is_set() or time.monotonic() - acknowledged >= ACKNOWLEDGE_S:
            log.append(waiting)
            waiting = []
            acknowledged = time.monotonic()
        if interrupted.is_set():
            break
    return records


def stagnated(hypervolumes: Sequence[tuple[int, float]], rule: Stagnation) -> bool:
    """Whether the latest `rule.trials` trials raised the hypervolume by less than `rule.growth` of what it was before them."""
    if not hypervolumes:
        return False
    done, now = hypervolumes[-1]
    before = [value for trials, value in hypervolumes if trials <= done - rule.trials]
    return bool(before) and now - before[-1] <= rule.growth * abs(before[-1])


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
        LOGGER.warning("%s: finishing the trial; once more to stop at once (the run stays resumable)", signal.Signals(number).name)

    kept = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, old in kept.items():
            signal.signal(number, old)
