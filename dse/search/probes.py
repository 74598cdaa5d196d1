"""Probes: a small grid over the inner dimensions, the same for every trial, by which trials are compared point by point."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.search.space import Space

PROBES: Final = 36
"""Most points of the grid. On the hard space of the benchmarks 36 of 210 inner points tell as much as all, 18 a little less."""


def _levels(space: Space) -> list[NDArray[np.int64]]:
    """For each inner dimension the positions of its values on the grid: ends first, then evenly between."""
    sizes = [len(d.values) for d in space.inner]
    counts = [1] * len(sizes)
    while True:
        open_ = [i for i, size in enumerate(sizes) if counts[i] < size and prod(counts) // counts[i] * (counts[i] + 1) <= PROBES]
        if not open_:
            break
        coarsest = min(open_, key=lambda i: (counts[i], -sizes[i], i))
        counts[coarsest] += 1
    return [
        np.array([size // 2]) if count == 1 else np.unique(np.linspace(0, size - 1, count).round().astype(np.int64))
        for size, count in zip(sizes, counts, strict=True)
    ]


def probe_points(space: Space) -> tuple[int, ...]:
    """Inner indices of the grid, rising; index 0 alone where there are no inner dimensions."""
    found = np.zeros(1, dtype=np.int64)
    for dimension, places in zip(space.inner, _levels(space), strict=True):
        found = (found[:, None] * len(dimension.values) + places[None, :]).ravel()
    return tuple(found.tolist())


def interpolation(space: Space, inner: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights [P, J] by which values at the probes give those at the inner indices `inner` [P]: linear in every dimension's places."""
    weights = np.ones((len(inner), 1))
    for places, digits in zip(_levels(space), space.inner_digits(inner), strict=True):
        hats = np.stack([np.interp(digits, places, corner) for corner in np.eye(len(places))], axis=1)  # [P, levels]
        weights = (weights[:, :, None] * hats[:, None, :]).reshape(len(inner), -1)
    return weights
