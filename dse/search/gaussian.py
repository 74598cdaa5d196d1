"""Gaussian-process regression over flat discrete spaces, in numpy: one kernel shared by several targets."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
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


@dataclass(frozen=True, slots=True)
class Fitted:
    """A process through N points and T targets."""

    tables: tuple[FloatArray, ...]
    digits: Digits
    factor: FloatArray
    """Inverse of the lower Cholesky factor of the kernel matrix [N, N]."""
    weights: FloatArray
    """Kernel matrix solved for the standardised targets [N, T]."""
    mean: FloatArray
    spread: FloatArray

    def predict(self, digits: Digits) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation of the targets at C choices: both [C, T]."""
        cross = _kernel(self.tables, digits, self.digits)  # [C, N]
        shrunk = cross @ self.factor.T
        left = np.sqrt(np.maximum(1.0 - np.einsum("cn,cn->c", shrunk, shrunk), 1e-9))
        return self.mean + self.spread * (cross @ self.weights), self.spread * left[:, None]


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


def fit(tables: Sequence[FloatArray], digits: Digits, targets: FloatArray) -> Fitted:
    """The process through `digits` [N, dims] and `targets` [N, T]; scales by maximum likelihood over all targets together.

    Matern 5/2 kernel over the sum of squared distances, each over its squared length scale (Rasmussen and Williams, Gaussian Processes
    for Machine Learning, 2006, eq. 4.17 and 5.8); scales and noise by coordinate search over a grid, so equal inputs give equal fits.
    """
    mean, spread = targets.mean(axis=0), np.maximum(targets.std(axis=0), 1e-12)
    standard = (targets - mean) / spread
    rows = np.unique(np.linspace(0, len(digits) - 1, min(FITTED, len(digits))).round().astype(np.int64))
    scales, noise = _scales(tables, digits[rows], standard[rows])
    scaled = tuple(table / scale**2 for table, scale in zip(tables, scales, strict=True))
    kernel = _kernel(scaled, digits, digits) + noise * np.eye(len(digits))
    factor = np.linalg.inv(np.linalg.cholesky(kernel))
    return Fitted(scaled, digits, factor, factor.T @ (factor @ standard), mean, spread)


def _scales(tables: Sequence[FloatArray], digits: Digits, targets: FloatArray) -> tuple[list[float], float]:
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
    return scales, noise


def _misfit(squared: FloatArray, noise: float, targets: FloatArray) -> float:
    """Negative log likelihood, the same up to a constant, with the variance of each target integrated out."""
    size, count = targets.shape
    kernel = _matern(squared)
    kernel[np.diag_indices(size)] += noise
    bordered = np.block([[kernel, targets], [targets.T, BORDER * np.eye(count)]])
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


def expected_improvement(mean: FloatArray, deviation: FloatArray, best: FloatArray) -> FloatArray:
    """Expected amount by which a target falls below `best` (Jones, Schonlau and Welch 1998, eq. 15); shapes broadcast."""
    score = (best - mean) / deviation
    density = np.exp(-0.5 * score**2) / sqrt(2 * np.pi)
    gain: FloatArray = deviation * (score * _cumulative(score) + density)
    return gain


def _cumulative(score: FloatArray) -> FloatArray:
    """Of the normal distribution, within 7.5e-8 (Abramowitz and Stegun 26.2.17)."""
    t = 1.0 / (1.0 + 0.2316419 * np.abs(score))
    tail = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    upper = np.exp(-0.5 * score**2) / sqrt(2 * np.pi) * tail
    found: FloatArray = np.where(score >= 0, 1.0 - upper, upper)
    return found
