"""Trials on dask.distributed: one machine, or a cluster that dask-jobqueue or dask-kubernetes has started."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

from dse.campaign.engines import TRIES, Problem, evaluate_one
from dse.errors import RunError, UsageError
from dse.search.trial import Sweep, TrialState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dse.search.evaluator import Evaluator

LOCAL: Final = "local"
CONNECT_S: Final = 30
"""Seconds that a scheduler has to answer."""
EVALUATORS_KEPT: Final = 2
_EVALUATORS: dict[str, Evaluator] = {}
"""In a worker process: the evaluator of each problem with its caches, by the key of the scattered problem."""


@contextmanager
def open_dask(problem: Problem, address: str) -> Iterator[DaskEngine]:
    """An engine on the cluster at `address` (`HOST:PORT`, any address dask knows, or `local?workers=N`).

    Raises:
        UsageError: dask.distributed is missing, the address is wrong, or nobody answers.
    """
    try:
        import distributed
    except ImportError as error:
        raise UsageError("--workers dask://…: dask.distributed is not installed; install the extra 'dask' of attention-dse") from error
    import dask

    parts = urlsplit(f"//{address}")
    # workers die by what they evaluate: dask tries such a task again, and gives it up after this many deaths
    with dask.config.set({"distributed.scheduler.allowed-failures": TRIES - 1, "distributed.comm.timeouts.connect": f"{CONNECT_S}s"}):
        if parts.hostname == LOCAL:
            workers = _workers(parts.query, address)
            with (
                distributed.LocalCluster(
                    n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
                ) as cluster,
                distributed.Client(cluster) as client,
            ):
                yield DaskEngine(client, problem, workers)
            return
        target = address if "://" in address else f"tcp://{address}"
        try:
            client = distributed.Client(target, timeout=CONNECT_S)
        except (OSError, TimeoutError, ValueError) as error:
            raise UsageError(
                f"--workers dask://{address}: no dask scheduler answers ({error}); start one, or use dask://local?workers=2"
            ) from error
        with client:
            yield DaskEngine(client, problem, max(1, sum(client.nthreads().values())))


def _workers(query: str, address: str) -> int:
    given = parse_qs(query).get("workers", ["2"])[-1]
    if not given.isdecimal() or not 1 <= int(given) <= 256:
        raise UsageError(f"--workers dask://{address}: workers must be a number from 1 to 256")
    return int(given)


class DaskEngine:
    """Futures by outer choice. The problem is scattered once; every worker process keeps one evaluator for it."""

    def __init__(self, client: Any, problem: Problem, slots: int) -> None:  # Any: distributed has no types of its own
        self.slots = slots
        self._client = client
        self._problem = client.scatter(problem, broadcast=True, hash=False)
        self._key = str(self._problem.key)
        self._running: dict[int, Any] = {}

    def submit(self, outers: Sequence[int]) -> None:
        """See `Engine`."""
        for outer in outers:
            if outer not in self._running:
                name = f"trial-{outer}-{self._key}"
                self._running[outer] = self._client.submit(_on_worker, self._problem, self._key, outer, pure=False, key=name)

    def results(self, outers: Sequence[int]) -> Iterator[Sweep]:
        """See `Engine`."""
        self.submit(outers)
        return (self._result(outer) for outer in outers)

    def _result(self, outer: int) -> Sweep:
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        future = self._running.pop(outer)
        try:
            result = future.result()
        except KilledWorker:
            return Sweep(
                state=TrialState.FAILED,
                error=f"WorkerEnded: outer choice {outer} ended its worker process {TRIES} times (out of memory?); it is set aside",
            )
        except (FutureCancelledError, OSError, TimeoutError) as error:
            raise RunError(f"the dask cluster is gone ({error}); nothing acknowledged is lost: run again") from error
        assert isinstance(result, Sweep)
        return result


def _on_worker(problem: Problem, key: str, outer: int) -> Sweep:
    if key not in _EVALUATORS:
        while len(_EVALUATORS) >= EVALUATORS_KEPT:
            _EVALUATORS.pop(next(iter(_EVALUATORS)))
        _EVALUATORS[key] = problem.factory()
    return evaluate_one(problem, _EVALUATORS[key], outer)
