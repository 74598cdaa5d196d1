"""Non-dominated sets, hypervolume, reference point and knee, for objectives that each have their own direction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import moocore
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

REFERENCE_MARGIN: Final = 0.1
"""A derived reference point lies this share of the worst value beyond it, so that the worst design still counts."""


def non_dominated(values: NDArray[np.float64], maximise: Sequence[bool]) -> NDArray[np.bool_]:
    """Mask [D] of the rows of `values` [D, M] that no other row dominates; of equal rows only the first is kept."""
    if len(values) == 0:
        return np.zeros(0, dtype=np.bool_)
    mask: NDArray[np.bool_] = moocore.is_nondominated(values, maximise=list(maximise), keep_weakly=False)
    return mask


def hypervolume(values: NDArray[np.float64], reference: Sequence[float], maximise: Sequence[bool]) -> float:
    """Volume that `values` [D, M] dominate up to `reference` [M]; unit: the product of the objectives' units.

    Points that are not better than the reference in every objective add nothing.
    """
    if len(values) == 0:
        return 0.0
    return float(moocore.hypervolume(values, ref=list(reference), maximise=list(maximise)))


def reference_from_worst(worst: Sequence[float], maximise: Sequence[bool]) -> tuple[float, ...]:
    """The worst value of each objective, moved 10 % of its magnitude further to the bad side."""
    return tuple(
        value - REFERENCE_MARGIN * abs(value) if up else value + REFERENCE_MARGIN * abs(value)
        for value, up in zip(worst, maximise, strict=True)
    )


def knee(values: NDArray[np.float64], maximise: Sequence[bool]) -> int:
    """Index of the knee of a front [D, M]: nearest to the ideal point after scaling each objective to [0, 1] over the front.

    Objectives that span more than a factor of ten and are positive are scaled by their logarithm. Ties go to the first.

    Raises:
        ValueError: the front is empty.
    """
    if len(values) == 0:
        raise ValueError("an empty front has no knee")
    distance = np.zeros(len(values))
    for column, up in zip(values.T, maximise, strict=True):
        wide = column.min() > 0 and column.max() > 10 * column.min()
        scaled = np.log(column) if wide else column
        span = scaled.max() - scaled.min()
        if span > 0:
            distance += ((scaled.max() - scaled if up else scaled - scaled.min()) / span) ** 2
    return int(np.argmin(distance))
