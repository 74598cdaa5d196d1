"""All-to-all with a size of its own for every pair of chips."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.errors import UsageError
from dse.system.collectives import Algorithm, CollectiveCost, best_on, contention
from dse.system.system import Operation
from dse.units import JOULES_PER_PJ

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.system.system import System

    FloatArray = NDArray[np.float64]


def all_to_all_cost(system: System, sizes: FloatArray) -> CollectiveCost:
    """Cost of sending `sizes` [n, n] bytes, from chip of the row to chip of the column, n neighbouring chips; the diagonal stays at home.

    Every chip has a port on each level, which carries the messages whose ends that level joins:

        seconds = max over levels and chips of latency + max(sent, received) x contention / (rate x sustained fraction)

    On one level with measured protocols: theirs, at the size at which equal shares load a port as much. For equal shares this is
    the all-to-all of `collectives.collective_cost`, which a test checks. Derived here.

    Raises:
        UsageError: not a square of finite sizes of at least 0, more chips than the system has, or chips that fill no whole domains.
    """
    if sizes.ndim != 2 or sizes.shape[0] != sizes.shape[1] or not np.isfinite(sizes).all() or (sizes < 0).any():
        raise UsageError(f"an all-to-all needs a square of finite sizes in bytes of at least 0; given: shape {sizes.shape}")
    ranks = len(sizes)
    spans = system.spans(ranks)
    away = sizes * (1 - np.eye(ranks))
    seconds = energy = 0.0
    inside = 1
    for link, members in spans:
        unit, domain = np.arange(ranks) // inside, np.arange(ranks) // (inside * members)
        here = away * (domain[:, None] == domain) * (unit[:, None] != unit)  # [n, n]
        busiest = float(max(here.sum(axis=0).max(), here.sum(axis=1).max()))
        if len(spans) == 1:
            seconds = best_on(link, Operation.ALL_TO_ALL, busiest * ranks / (ranks - 1), ranks).seconds
        else:
            slow = contention(link, Operation.ALL_TO_ALL, Algorithm.DIRECT, members)
            seconds = max(seconds, link.latency_s + busiest * slow / (link.bytes_per_s * link.sustained_fraction))
        energy += float(here.sum()) * link.pj_per_byte * JOULES_PER_PJ
        inside *= members
    return CollectiveCost(seconds, float(away.sum(axis=1).max()) if ranks > 1 else 0.0, energy, "direct" if ranks > 1 else "none")
