"""The best value of each objective at every value of each inner dimension, gathered chunk by chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from dse.search.trial import Marginals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.search.evaluator import Prepared
    from dse.search.space import Space

MOST_VALUES: Final = 1_000
"""Dimensions with more values have no marginals: they would outgrow the log."""


class MarginalTable:
    """Best value and its design by dimension, value and objective; of equal values the lowest inner index."""

    def __init__(self, space: Space, maximise: Sequence[bool]) -> None:
        self._space = space
        self._signs = np.where(maximise, -1.0, 1.0)
        self._dimensions = [d for d, dimension in enumerate(space.inner) if len(dimension.values) <= MOST_VALUES]
        shapes = [(len(space.inner[d].values), len(maximise)) for d in self._dimensions]
        self._best = [np.full(shape, np.inf) for shape in shapes]  # minimised
        self._inner = [np.full(shape, -1, dtype=np.int64) for shape in shapes]

    def take(self, inner: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Add feasible designs: inner indices [F], rising, and objectives [F, M]."""
        digits = self._space.inner_digits(inner)
        signed = values * self._signs
        for d, best, where in zip(self._dimensions, self._best, self._inner, strict=True):
            for o in range(signed.shape[1]):
                chunk = np.full(len(best), np.inf)
                np.minimum.at(chunk, digits[d], signed[:, o])
                hits = np.flatnonzero(signed[:, o] == chunk[digits[d]])[::-1]  # the first comes last and stays
                first = np.full(len(best), -1, dtype=np.int64)
                first[digits[d][hits]] = inner[hits]
                better = chunk < best[:, o]
                best[better, o] = chunk[better]
                where[better, o] = first[better]

    def result(self, objectives: Sequence[str], prepared: Prepared | None) -> Marginals:
        """All marginals, by dimension, value and objective; empty where nothing was feasible."""
        found = [
            (d, position, o)
            for d, where in zip(self._dimensions, self._inner, strict=True)
            for position, o in np.argwhere(where >= 0).tolist()
        ]
        if not found or prepared is None:
            return Marginals()
        place = {d: i for i, d in enumerate(self._dimensions)}
        inner = np.array([self._inner[place[d]][p, o] for d, p, o in found], dtype=np.int64)
        values = np.array([self._best[place[d]][p, o] * self._signs[o] for d, p, o in found])
        roofs = prepared.ceilings(self._space.columns(inner), len(inner))
        return Marginals(
            path=tuple(self._space.inner[d].path for d, _, _ in found),
            position=tuple(p for _, p, _ in found),
            objective=tuple(objectives[o] for _, _, o in found),
            value=tuple(values.tolist()),
            inner=tuple(inner.tolist()),
            peak_macs_per_s=tuple(np.broadcast_to(roofs.peak_macs_per_s, inner.shape).tolist()),
            dram_bytes_per_s=tuple(np.broadcast_to(roofs.dram_bytes_per_s, inner.shape).tolist()),
        )
