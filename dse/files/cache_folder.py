"""Where files stand that can be made again: by environment variables, else by the XDG base directory specification."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

CACHE_FOLDER: Final = "DSE_CACHE_DIR"
"""Environment variable: folder of the cache; an empty text switches it off."""
CACHE_MIB: Final = "DSE_CACHE_MIB"
"""Environment variable: what the folder may hold, in MiB; 0 switches it off."""


def cache_folder() -> Path | None:
    """The folder, which need not exist: `$DSE_CACHE_DIR`, `$XDG_CACHE_HOME/dse/frontiers` or `~/.cache/dse/frontiers`.

    None where the cache is switched off or there is no home.
    """
    place = os.environ.get(CACHE_FOLDER)
    if place is not None:
        return Path(place) if place else None
    given = os.environ.get("XDG_CACHE_HOME", "")
    if given and Path(given).is_absolute():
        return Path(given, "dse", "frontiers")
    try:
        return Path.home() / ".cache" / "dse" / "frontiers"
    except RuntimeError:
        return None
