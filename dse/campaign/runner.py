"""The coordinator: asks in batches, evaluates in order in this process or a pool, acknowledges each batch in the log."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, fields
from enum import StrEnum
from multiprocessing import get_context, parent_process
from typing import TYPE_CHECKING, Protocol

from dse.errors import RunError
from dse.search.strategy import make_strategy
from dse.search.sweep import sweep
from dse.search.trial import Sweep, TrialRecord, failed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dse.campaign.log import ResultLog
    from dse.search.evaluator import Evaluator, EvaluatorFactory
    from dse.search.goals import Goals
    from dse.search.space import Space
    from dse.search.strategy import Asked, SamplerName

LOGGER = logging.getLogger(__name__)


class Stop(StrEnum):
    """Why a session ended."""

    FINISHED = "finished"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a session has to do."""

    space: Space
    goals: Goals
    sampler: SamplerName
    seed: int
    trials: int
    timeout_s: float | None = None
    workers: int = 1


class Watcher(Protocol):
    """Is told of every batch once it is on disk."""

    def __call__(self, records: Sequence[TrialRecord], /) -> None:
        """`records`: the trials of the batch."""


def run(work: Work, factory: EvaluatorFactory, log: ResultLog, watch: Watcher) -> Stop:
    """Do what `log` does not hold yet. The log's content depends on the work alone, not on workers or interruptions.

    Raises:
        RunError: the log cannot be written, or worker processes keep dying.
    """
    strategy = make_strategy(work.sampler, work.space, work.goals, work.seed)
    started = time.monotonic()
    with _signals() as interrupted, _evaluation(work, factory) as evaluate:
        while (done := len(log.content.records)) < work.trials:
            if interrupted.is_set():
                return Stop.INTERRUPTED
            if work.timeout_s is not None and time.monotonic() - started >= work.timeout_s:
                return Stop.TIMEOUT
            batch = len(log.content.batches)
            asked = strategy.ask(log.content.records, batch, min(strategy.batch_size, work.trials - done))
            if not asked:
                break
            records = [
                _record(result, done + position, batch, one)
                for position, (one, result) in enumerate(zip(asked, evaluate([one.outer for one in asked]), strict=True))
            ]
            log.append(records)
            watch(records)
    return Stop.FINISHED


def evaluate_one(evaluator: Evaluator, space: Space, goals: Goals, outer: int) -> Sweep:
    """One outer trial; an error of the evaluation is its result."""
    try:
        return sweep(evaluator.prepare(space.choice(outer)), space, goals)
    except Exception as error:  # a trial must not end the campaign: its error is stored, shown, and sets the exit code
        LOGGER.debug("trial of outer choice %d failed", outer, exc_info=True)
        return failed(error)


def _record(result: Sweep, number: int, batch: int, asked: Asked) -> TrialRecord:
    found = {field.name: getattr(result, field.name) for field in fields(result)}
    return TrialRecord(**found, number=number, batch=batch, outer=asked.outer, sampler_state=asked.sampler_state)


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


@contextmanager
def _evaluation(work: Work, factory: EvaluatorFactory) -> Iterator[Callable[[Sequence[int]], list[Sweep]]]:
    """A function from outer indices to their sweeps, in order."""
    if work.workers == 1:
        evaluator = factory()
        yield lambda outers: [evaluate_one(evaluator, work.space, work.goals, outer) for outer in outers]
        return
    pool = ProcessPoolExecutor(
        work.workers, mp_context=get_context("spawn"), initializer=_start_worker, initargs=(factory, work.space, work.goals)
    )

    def evaluate(outers: Sequence[int]) -> list[Sweep]:
        try:
            return list(pool.map(_in_worker, outers))
        except BrokenProcessPool as error:
            raise RunError(
                "a worker process died (out of memory?); nothing acknowledged is lost: run again, with fewer --workers"
            ) from error

    finished = False
    try:
        yield evaluate
        finished = True
    finally:
        pool.shutdown(wait=finished, cancel_futures=True)


_WORKER: tuple[Evaluator, Space, Goals] | None = None
"""Set once in each worker process."""


def _start_worker(factory: EvaluatorFactory, space: Space, goals: Goals) -> None:
    global _WORKER  # a pool hands its initialiser no other place
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the coordinator decides, and its end is theirs
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _WORKER = (factory(), space, goals)


def _end_with_parent() -> None:
    """A coordinator that was killed leaves no workers behind."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _in_worker(outer: int) -> Sweep:
    assert _WORKER is not None
    return evaluate_one(*_WORKER, outer)
