"""Gaussian-process regression over flat discrete spaces, in numpy: one kernel shared by several targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.search.space import Scale

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.search.space import Dimension

    FloatArray = NDArray[np.float64]
    Digits = NDArray[np.int64]

SCALES: Final = tuple(2.0**e for e in range(-3, 5))
"""Length scales that are tried, as shares of a dimension's range."""
START_SCALE: Final = 1.0
NOISES: Final = (1e-4, 1e-3, 1e-2, 1e-1)
"""Shares of the variance that the kernel need not explain: steps of ceilings and ragged tiles."""
BORDER: Final = 1e8
"""Above every sum of squares that standardised targets can have with the noises above: keeps a bordered matrix positive."""
SWEEPS: Final = 2
FITTED: Final = 120
"""Points, evenly spread, whose likelihood chooses the scales."""
TARGETS: Final = 12
"""Targets, evenly spread, whose likelihood chooses the scales."""


@dataclass(frozen=True, slots=True)
class Scales:
    """What the likelihood chooses."""

    lengths: tuple[float, ...]
    """Of each dimension."""
    noise: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A process through N points and T targets."""

    tables: tuple[FloatArray, ...]
    digits: Digits
    lower: FloatArray
    """Cholesky factor of the kernel matrix [N, N]."""
    weights: FloatArray
    """Kernel matrix solved for the standardised targets [N, T]."""
    mean: FloatArray
    spread: FloatArray

    def predict(self, digits: Digits) -> FloatArray:
        """Mean of the targets at C choices [C, T]."""
        found: FloatArray = self.mean + self.spread * (_kernel(self.tables, digits, self.digits) @ self.weights)
        return found

    def deviation(self, digits: Digits) -> FloatArray:
        """Standard deviation of the targets at C choices [C, T]."""
        shrunk = np.linalg.solve(self.lower, _kernel(self.tables, self.digits, digits))
        left = np.sqrt(np.maximum(1.0 - np.einsum("nc,nc->c", shrunk, shrunk), 1e-9))
        found: FloatArray = self.spread * left[:, None]
        return found


def distance_tables(dimensions: Sequence[Dimension]) -> tuple[FloatArray, ...]:
    """For each dimension the squared distance of its values [V, V]: places of ordered ones over their range, 1 between words."""
    tables = []
    for dimension in dimensions:
        size = len(dimension.values)
        if dimension.scale is Scale.CATEGORICAL:
            tables.append(1.0 - np.eye(size))
        else:
            place = np.arange(size) / max(size - 1, 1)
            tables.append((place[:, None] - place[None, :]) ** 2)
    return tuple(tables)


def choose_scales(tables: Sequence[FloatArray], digits: Digits, targets: FloatArray) -> Scales:
    """Scales by maximum likelihood over all targets [N, T] together: coordinate search over a grid, so equal inputs give equal scales."""
    rows = np.unique(np.linspace(0, len(digits) - 1, min(FITTED, len(digits))).round().astype(np.int64))
    some = np.unique(np.linspace(0, targets.shape[1] - 1, min(TARGETS, targets.shape[1])).round().astype(np.int64))
    standard, _, _ = _standard(targets)
    return _search(tables, digits[rows], standard[rows][:, some])


def fit(tables: Sequence[FloatArray], digits: Digits, targets: FloatArray, scales: Scales) -> Fitted:
    """The process through `digits` [N, dims] and `targets` [N, T].

    Matern 5/2 kernel over the sum of squared distances, each over its squared length scale (Rasmussen and Williams, Gaussian Processes
    for Machine Learning, 2006, eq. 4.17 and 5.8).
    """
    standard, mean, spread = _standard(targets)
    scaled = tuple(table / length**2 for table, length in zip(tables, scales.lengths, strict=True))
    kernel = _kernel(scaled, digits, digits) + scales.noise * np.eye(len(digits))
    lower = np.asarray(np.linalg.cholesky(kernel), dtype=np.float64)
    weights = np.asarray(np.linalg.solve(kernel, standard), dtype=np.float64)
    return Fitted(scaled, digits, lower, weights, mean, spread)


def _standard(targets: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Targets with mean 0 and spread 1, their means, their spreads."""
    mean, spread = targets.mean(axis=0), np.maximum(targets.std(axis=0), 1e-12)
    return (targets - mean) / spread, mean, spread


def _search(tables: Sequence[FloatArray], digits: Digits, targets: FloatArray) -> Scales:
    parts = [table[digits[:, d][:, None], digits[:, d][None, :]] for d, table in enumerate(tables)]  # each [N, N]
    scales, noise = [START_SCALE] * len(tables), NOISES[1]
    total: FloatArray = np.sum([part / scale**2 for part, scale in zip(parts, scales, strict=True)], axis=0)
    best = _misfit(total, noise, targets)
    for _ in range(SWEEPS):
        for d, part in enumerate(parts):
            if len(tables[d]) == 1:
                continue
            rest = total - part / scales[d] ** 2
            for scale in (s for s in SCALES if s != scales[d]):
                found = _misfit(rest + part / scale**2, noise, targets)
                if found < best:
                    best, scales[d] = found, scale
            total = rest + part / scales[d] ** 2
        for other in (n for n in NOISES if n != noise):
            found = _misfit(total, other, targets)
            if found < best:
                best, noise = found, other
    return Scales(tuple(scales), noise)


def _misfit(squared: FloatArray, noise: float, targets: FloatArray) -> float:
    """Negative log likelihood, the same up to a constant, with the variance of each target integrated out."""
    size, count = targets.shape
    bordered = np.zeros((size + count, size + count))
    bordered[:size, :size] = _matern(squared)
    bordered[size:, :size] = targets.T  # the upper half is not read
    bordered[np.diag_indices(size + count)] += np.repeat([noise, BORDER], [size, count])
    lower = np.linalg.cholesky(bordered)  # below the factor of the kernel stand the targets, solved: LAPACK's quickest way to them
    solved = (lower[size:, :size] ** 2).sum(axis=1)
    return float(count * np.log(np.diag(lower)[:size]).sum() + size / 2 * np.log(solved / size + 1e-12).sum())


def _kernel(tables: Sequence[FloatArray], first: Digits, second: Digits) -> FloatArray:
    squared = np.zeros((len(first), len(second)))
    for d, table in enumerate(tables):
        squared += table[first[:, d]][:, second[:, d]]
    return _matern(squared)


def _matern(squared: FloatArray) -> FloatArray:
    root = np.sqrt(5.0 * np.maximum(squared, 0.0))
    kernel: FloatArray = (1.0 + root + root**2 / 3.0) * np.exp(-root)
    return kernel
