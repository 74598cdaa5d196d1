"""Where trials are evaluated: in this process, in worker processes, or on a dask cluster. Results come in the order asked."""

from __future__ import annotations

import logging
import os
import signal
import threading
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children, parent_process
from typing import TYPE_CHECKING, Final, Protocol

from dse.campaign.fork_server import COORDINATORS_SIGNALS, fork_server
from dse.errors import DseError, UsageError
from dse.search.sweep import sweep
from dse.search.trial import Sweep, TrialState, failed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dse.search.evaluator import Evaluator, EvaluatorFactory
    from dse.search.goals import Goals
    from dse.search.limits import Limits
    from dse.search.space import Space

LOGGER = logging.getLogger(__name__)
TRIES: Final = 2
"""Times that a trial may end its worker process, or fail by anything but an error of ours, before it is set aside."""
DASK: Final = "dask://"


@dataclass(frozen=True, slots=True)
class Problem:
    """What a worker needs to evaluate any outer choice; picklable, sent to each worker once."""

    factory: EvaluatorFactory
    space: Space
    goals: Goals
    limits: Limits
    probes: tuple[int, ...] = ()
    """Inner points whose values every trial keeps, where the sampler asks for them."""


class Engine(Protocol):
    """Evaluates outer choices."""

    @property
    def slots(self) -> int:
        """Trials that run at the same time."""

    def submit(self, outers: Sequence[int]) -> None:
        """Start the evaluation of `outers` where there is room; may do nothing."""

    def results(self, outers: Sequence[int]) -> Iterator[Sweep]:
        """The sweeps of `outers`, in order, each as soon as it is there."""


def evaluate_one(problem: Problem, evaluator: Evaluator, outer: int) -> Sweep:
    """One outer trial; an error of the evaluation is its result. What is no error of ours is tried once more."""
    for attempt in range(1, TRIES + 1):
        try:
            return sweep(evaluator, problem.space.choice(outer), problem.space, problem.goals, problem.limits, probes=problem.probes)
        except DseError as error:
            return failed(error)
        except Exception as error:  # a trial must not end the campaign: its error is stored, shown, and sets the exit code
            LOGGER.debug("trial of outer choice %d failed, try %d", outer, attempt, exc_info=True)
            if attempt == TRIES:
                return failed(error)
    raise AssertionError("unreachable")


class InProcess:
    """One trial after the other, here."""

    slots = 1

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._evaluator = problem.factory()

    def submit(self, outers: Sequence[int]) -> None:
        """Nothing runs ahead."""

    def results(self, outers: Sequence[int]) -> Iterator[Sweep]:
        """See `Engine`."""
        return (evaluate_one(self._problem, self._evaluator, outer) for outer in outers)


class ProcessPool:
    """Worker processes on this machine; a trial that ends its process is tried alone once more and then set aside."""

    def __init__(self, problem: Problem, workers: int) -> None:
        self.slots = workers
        self._problem = problem
        self._running: dict[int, Future[Sweep]] = {}
        self._strangers = set(active_children())
        self._pool = self._start(workers)

    def submit(self, outers: Sequence[int]) -> None:
        """See `Engine`."""
        for outer in outers:
            if outer not in self._running:
                try:
                    self._running[outer] = self._pool.submit(_in_worker, outer)
                except BrokenProcessPool:
                    return  # `results` finds out which

    def results(self, outers: Sequence[int]) -> Iterator[Sweep]:
        """See `Engine`."""
        self.submit(outers)
        for position, outer in enumerate(outers):
            try:
                result = self._running[outer].result()
            except (BrokenProcessPool, CancelledError, KeyError):
                result = self._alone(outer)
                self._running.pop(outer, None)
                self.submit(outers[position + 1 :])
            self._running.pop(outer, None)
            yield result

    def _alone(self, outer: int) -> Sweep:
        """Whoever broke the pool, it can only be this trial if it breaks a pool of its own, `TRIES` times."""
        for future in self._running.values():
            future.cancel()
        self._kill()
        self._pool.shutdown(wait=True, cancel_futures=True)
        finished = {o: f for o, f in self._running.items() if f.done() and not f.cancelled() and f.exception() is None}
        self._running = finished
        for attempt in range(1, TRIES + 1):
            pool = self._start(1)
            try:
                result = pool.submit(_in_worker, outer).result()
                break
            except BrokenProcessPool:
                LOGGER.warning("outer choice %d ended its worker process (try %d of %d)", outer, attempt, TRIES)
                result = _ended(outer)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        self._pool = self._start(self.slots)
        return result

    def close(self) -> None:
        """End the processes without waiting for what runs; idle ones too, or one that died just now leaves the others waiting."""
        self._kill()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _kill(self) -> None:
        """End all workers at once: they ignore every milder signal, and one that is left of a broken pool waits for ever."""
        for process in set(active_children()) - self._strangers:
            process.kill()

    def _start(self, workers: int) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            workers, mp_context=fork_server(type(self._problem.factory).__module__), initializer=_start_worker, initargs=(self._problem,)
        )


def _ended(outer: int) -> Sweep:
    return Sweep(
        state=TrialState.FAILED,
        error=f"WorkerEnded: outer choice {outer} ended its worker process {TRIES} times (out of memory?); it is set aside",
    )


@contextmanager
def open_engine(problem: Problem, workers: int, address: str | None = None) -> Iterator[Engine]:
    """The engine for `workers` processes, or for the cluster at `address` (`dask://…`).

    Raises:
        UsageError: dask is not installed, or the cluster cannot be reached.
    """
    if address is not None:
        if not address.startswith(DASK):
            raise UsageError(f"--workers {address}: give a number, or dask://HOST:PORT, or dask://local?workers=N")
        from dse.campaign.dask_engine import open_dask

        with open_dask(problem, address.removeprefix(DASK)) as engine:
            yield engine
        return
    if workers == 1:
        yield InProcess(problem)
        return
    pool = ProcessPool(problem, workers)
    try:
        yield pool
    finally:
        pool.close()


_WORKER: tuple[Problem, Evaluator] | None = None
"""Set once in each worker process."""


def _start_worker(problem: Problem) -> None:
    global _WORKER  # a pool hands its initialiser no other place
    for number in COORDINATORS_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _WORKER = (problem, problem.factory())


def _end_with_parent() -> None:
    """A coordinator that was killed leaves no workers behind."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _in_worker(outer: int) -> Sweep:
    assert _WORKER is not None
    problem, evaluator = _WORKER
    return evaluate_one(problem, evaluator, outer)
