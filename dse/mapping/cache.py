"""Frontiers in memory and on disk: made once per content, read by every process of every run."""

from __future__ import annotations

import logging
import os
import secrets
import time
from dataclasses import replace
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

import moocore
import numpy as np

from dse.files import CACHE_FOLDER, CACHE_MIB, cache_folder
from dse.hw import accelerator
from dse.mapping.described import in_columns
from dse.mapping.families import frontier_of_family
from dse.mapping.stored import DamagedError, from_bytes, to_bytes
from dse.units import BYTES_PER_MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.hw.accelerator import Geometry
    from dse.mapping.frontier import Frontier
    from dse.mapping.problem import MatmulProblem

LOGGER = logging.getLogger(__name__)
DEFAULT_MIB: Final = 1024
SUFFIX: Final = ".frontier"
WRITES_PER_LOOK: Final = 256
"""Files that one process writes between two looks at the size of the folder; it looks before its first one as well."""
LOOK_S: Final = 600.0
"""Age at which the last look of any process is too old to be trusted by one that begins to write: a full folder has some 100,000 files,
3 s of CPU time a look."""
LOOKED: Final = "looked"
"""File in the folder whose time is that of the last look."""
KEEP_SHARE: Final = 0.8
"""Share of the limit that is left when files are removed."""
ABANDONED_S: Final = 3600.0
"""Age at which a temporary file belongs to a writer that is gone."""
TOUCH_S: Final = 86400.0
"""Age at which reading a file marks it as used."""
LARGEST_FILE: Final = 64 * BYTES_PER_MIB


@lru_cache(maxsize=4096)
def cached_frontier(problem: MatmulProblem, geometry: Geometry) -> Frontier:
    """`matmul_frontier`, from memory or disk where it was made before by the same code; the same to the last bit.

    A file that is damaged, cut, of another form or of another question is told of, left out and written again. Where the folder cannot
    be read or written, that is told once and the frontier is made as without a cache.
    """
    store = _store(cache_folder(), os.environ.get(CACHE_MIB, ""))
    if store is None:
        return frontier_of_family(problem, geometry)
    key = f"{problem!r} {geometry!r} {code_version()}"
    found = store.read(key)
    if found is None:
        found = frontier_of_family(problem, geometry)
        found = replace(found, mappings=in_columns(found.mappings))  # as it is read again
        store.write(key, found)
    return found


@cache
def code_version() -> str:
    """Hash of everything that a frontier depends on beside its key: sources of the mapper, versions of what it computes with."""
    sources = sorted([*Path(__file__).parent.glob("*.py"), Path(accelerator.__file__)])
    digest = sha256(f"{np.__version__} {moocore.__version__}".encode())
    for path in sources:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@lru_cache(maxsize=8)
def _store(folder: Path | None, limit: str) -> Store | None:
    """The store of these settings; one each, so that what it tells once is told once."""
    if folder is None:
        return None
    mib = int(limit) if limit.isascii() and limit.isdigit() else DEFAULT_MIB
    if limit and not (limit.isascii() and limit.isdigit()):
        LOGGER.warning("%s is '%s', not a whole number of MiB; %d is used", CACHE_MIB, limit, DEFAULT_MIB)
    return Store(folder, mib * BYTES_PER_MIB) if mib else None


class Store:
    """A folder of frontiers, one file each, named by the hash of its key. Any number of processes may use it.

    A file appears in one piece (temporary file and rename), so readers need no lock; two writers of one key write the same.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder = folder
        self.most_bytes = most_bytes
        self._silent = False
        self._broken = False
        self._writes = 0

    def path(self, key: str) -> Path:
        """Where the frontier of `key` stands."""
        name = sha256(key.encode()).hexdigest()
        return Path(f"{self.folder}/{name[0]}/{name}{SUFFIX}")

    def read(self, key: str) -> Frontier | None:
        """The frontier of `key`; None where there is none that can be used."""
        path = self.path(key)
        try:
            with path.open("rb") as file:
                facts = os.fstat(file.fileno())
                found = from_bytes(file.read(LARGEST_FILE), key)
        except FileNotFoundError:
            return None
        except (DamagedError, IsADirectoryError) as error:
            LOGGER.warning("%s: %s; it is left out and made again", path, error if isinstance(error, DamagedError) else "it is a folder")
            return None
        except OSError as error:
            self._complain("read", error)
            return None
        if time.time() - facts.st_mtime > TOUCH_S:
            self._mark(path)
        return found

    def write(self, key: str, frontier: Frontier) -> None:
        """Keep `frontier`; where that fails, say so once and go on without."""
        if self._broken:
            return
        path = self.path(key)
        temporary = Path(f"{path}.{secrets.token_hex(4)}.tmp")
        try:
            if self._writes % WRITES_PER_LOOK == 0:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                if self._writes or not self._looked_lately():
                    self.shrink()
            self._writes += 1
            data = to_bytes(frontier, key)
            try:
                try:
                    temporary.write_bytes(data)
                except FileNotFoundError:  # the first one on this shelf
                    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    temporary.write_bytes(data)
                temporary.replace(path)
            except IsADirectoryError:  # told of by `read`; the other frontiers are kept
                temporary.unlink(missing_ok=True)
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
        except OSError as error:
            self._broken = True
            self._complain("written", error)

    def shrink(self) -> None:
        """Remove what was used longest ago until `KEEP_SHARE` of the limit is left, where there is more than the limit; and
        temporary files of writers that are gone."""
        (self.folder / LOOKED).touch()
        now, files = time.time(), []
        for entry in _entries(self.folder):
            try:
                facts = entry.stat(follow_symlinks=False)
                if entry.name.endswith(".tmp") and now - facts.st_mtime > ABANDONED_S:
                    Path(entry.path).unlink(missing_ok=True)
                elif entry.name.endswith(SUFFIX):
                    files.append((facts.st_mtime, entry.path, facts.st_size))
            except FileNotFoundError:
                continue  # another process was faster
        total = sum(size for *_, size in files)
        if total <= self.most_bytes:
            return
        for _, path, size in sorted(files):
            Path(path).unlink(missing_ok=True)
            total -= size
            if total <= self.most_bytes * KEEP_SHARE:
                return

    def _looked_lately(self) -> bool:
        """Some process looked at the size of the folder within `LOOK_S`."""
        try:
            age_s = time.time() - (self.folder / LOOKED).stat().st_mtime
        except FileNotFoundError:
            return False
        return 0 <= age_s < LOOK_S

    def _mark(self, path: Path) -> None:
        try:
            os.utime(path)
        except OSError as error:
            LOGGER.debug("%s cannot be marked as used: %s", path, error)

    def _complain(self, what: str, error: OSError) -> None:
        if not self._silent:
            text = "frontier cache %s cannot be %s (%s); going on without it. %s names another folder, empty for none"
            LOGGER.warning(text, self.folder, what, error.strerror or error, CACHE_FOLDER)
        self._silent = True


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Files one folder below `folder`."""
    with os.scandir(folder) as shelves:
        inside = [shelf.path for shelf in shelves if shelf.is_dir(follow_symlinks=False)]
    for shelf in inside:
        try:
            with os.scandir(shelf) as files:
                yield from (f for f in files if f.is_file(follow_symlinks=False))
        except FileNotFoundError:
            continue  # removed meanwhile
