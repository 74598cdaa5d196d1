"""A lock that dies with its process: one coordinator owns a run."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Self

from dse.errors import RunError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


class RunLock:
    """`flock` on a file of the run folder for the life of a `with` block; released by the kernel even after kill -9."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            RunError: another process has it, or the folder cannot be written.
        """
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise RunError(f"{self._path}: cannot be opened ({error.strerror}); give --run-dir a folder you can write to") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise RunError(
                f"{self._path.parent}: another dse search is working on this run; wait for it, or start another with --new"
            ) from error
        self._descriptor = descriptor
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
