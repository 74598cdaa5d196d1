"""The lock of an optuna journal: one writer at a time, and none once its process is dead."""

from __future__ import annotations

import fcntl
import os

from optuna.storages.journal._file import BaseJournalFileLock  # not exported by optuna, but named in its documentation


class FlockJournalLock(BaseJournalFileLock):
    """Lock of an optuna journal on `fcntl.flock`; optuna's own leaves a stale file behind when its owner is killed."""

    def __init__(self, path: str) -> None:
        self._path = path + ".lock"
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Wait for the lock; always True."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
