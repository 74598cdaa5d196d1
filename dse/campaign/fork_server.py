"""The process that workers are forked from: it does nothing but import, beside the coordinator's own imports."""

from __future__ import annotations

import signal
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

COORDINATORS_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
"""The coordinator decides what they mean, and its end is the workers' end."""


class _Worker(ForkServerProcess):
    """A worker, which ignores SIGTERM."""

    def terminate(self) -> None:
        """End it all the same: a broken pool terminates the workers that are left and waits for their end."""
        self.kill()


class _Context(ForkServerContext):
    Process = _Worker


def fork_server(*preload: str) -> BaseContext:
    """The context that starts workers: forked from a server without threads, which is quick, and safe whatever threads we have.

    The first call decides what it imports: `preload`, modules that bring the evaluator's factory. Called early, that runs beside
    our own imports.
    The server is started with SIGINT and SIGTERM blocked, which it and its children inherit: a signal to the process group
    ends neither it nor a worker that has not come to ignoring it.
    """
    context = _Context()
    context.set_forkserver_preload(["dse.campaign.engines", *preload])
    resource_tracker.ensure_running()  # would unblock them, were it the server that starts it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, COORDINATORS_SIGNALS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context
