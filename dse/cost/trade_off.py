"""What a second is worth in joules where both count: the weight at which plans and mappings give the least product of energy and time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.cost.least_product import least_product, watts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from dse.cost.part_pricing import PartPricer

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]


def weight_w(parts: Sequence[tuple[int, PartPricer]]) -> FloatArray:
    """Watts [D] at which a step has the least product of energy and latency that any choices give; 1 where it does not fit.

    `parts`: how often each runs, and its candidates. A choice of least product E T is also least in E + w T for w = E / T: by the
    inequality of means nothing of at least that product has a smaller sum. So every part takes what is least in its sum.
    """
    if len(parts) == 1:
        seconds, joules = parts[0][1].least_product()
    else:
        seconds, joules = _of_several(parts)
    return watts(seconds, joules)


def _of_several(parts: Sequence[tuple[int, PartPricer]]) -> tuple[FloatArray, FloatArray]:
    """Seconds and joules [D] of the least product: it is no sum over parts, but what is least in E + w T is found part by part."""
    boxes = [p.box() for _, p in parts]
    least_s, least_j = (_sum(n * box[i].min(axis=0) for (n, _), box in zip(parts, boxes, strict=True)) for i in (0, 1))
    fits = np.flatnonzero(np.isfinite(least_s))

    def choices(points: IntArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        found = [(n, part.weighed(fits[points], weight)) for n, part in parts]
        return _sum(n * s for n, (s, _) in found), _sum(n * j for n, (_, j) in found)

    every = np.full(least_s.shape, np.inf), np.full(least_s.shape, np.inf)
    every[0][fits], every[1][fits] = least_product(choices, least_s[fits], least_j[fits], np.full(len(fits), np.inf))
    return every


def _sum(arrays: Iterable[FloatArray]) -> FloatArray:
    """One added after another."""
    return np.asarray(sum(arrays))
