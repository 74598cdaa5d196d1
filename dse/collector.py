"""Python's search for unreachable cycles, put off while something large is built of which nothing is thrown away."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def put_off() -> Iterator[None]:
    """Without collections inside: they would look through all that was built so far and find nothing, for 10 to 60 ms of a first
    evaluation. Objects without cycles are freed as ever."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            gc.freeze()  # moves what was built to the oldest generation unread, which the first collection of the youngest would read
            gc.unfreeze()
        gc.enable()
