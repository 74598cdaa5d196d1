"""The least product of energy and time over all choices, sought where the tangents that are known leave room for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]
    BoolArray = NDArray[np.bool_]

    Choices = Callable[[IntArray, FloatArray], tuple[FloatArray, FloatArray]]
    """Seconds and joules of the choice of least energy + watts x seconds, from numbers of points, which may repeat, and the watts there."""

ROUNDING: Final = 1e-12
"""Relative error of sums of a few dozen terms, with room to spare: what differs by less counts as equal."""
STEP: Final = 4.0
"""Factor between weights where the tangents themselves propose none."""
TINY: Final = 1e-30
"""Seconds and joules below any choice that takes some: what bounds of 0 are taken for."""
NARROW: Final = 1e-9
"""Weights this near each other have nothing between them: the ends of a gap so narrow are within as much of all that is in it."""


@dataclass(frozen=True, slots=True)
class _Gaps:
    """Between two tangents E + w T = V of a point, by increasing w; arrays [G].

    A choice that is best for a weight between theirs lies above both. Where nothing was priced yet a tangent has a weight of 0 or infinity
    (V is then the least energy, or the least time) and no choice of its own: nan.
    """

    point: IntArray
    low_w: FloatArray
    low_value: FloatArray
    low_s: FloatArray
    low_j: FloatArray
    high_w: FloatArray
    high_value: FloatArray
    high_s: FloatArray
    high_j: FloatArray

    def corner(self) -> tuple[FloatArray, FloatArray]:
        """Seconds and joules where the tangents meet: no choice between them has a smaller product, but for those on the tangents."""
        last = np.isinf(self.high_w)
        width = np.where(last, 1.0, self.high_w - self.low_w)
        seconds = np.where(last, self.high_value, (self.high_value - self.low_value) / width)
        return seconds, self.low_value - self.low_w * seconds

    def take(self, which: BoolArray) -> _Gaps:
        """Some of them."""
        return _Gaps(*(getattr(self, name)[which] for name in self.__slots__))

    def split(self, weight: FloatArray, seconds: FloatArray, joules: FloatArray) -> _Gaps:
        """Both sides of new tangents, one a gap, and the choices that they touch."""
        value = joules + weight * seconds
        new = (weight, value, seconds, joules)
        low = (self.low_w, self.low_value, self.low_s, self.low_j)
        high = (self.high_w, self.high_value, self.high_s, self.high_j)
        ends = [np.concatenate(pair) for pair in zip((*low, *new), (*new, *high), strict=True)]
        return _Gaps(np.tile(self.point, 2), *ends)


def least_product(choices: Choices, least_s: FloatArray, least_j: FloatArray, limit: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Seconds and joules [D] of the choice of least product, infinite where there is none of at most `limit` [D] joule seconds.

    Times and energies are sums, each part chosen for itself, so the choice of least E + w T is found exactly for any w. A least product
    is at a vertex of the convex hull of all choices, since the product is concave along every line, and so is best for some w. A
    choice that is best for a weight between two priced ones lies above both tangents, and its product is at least that of a
    vertex known or of the corner where they meet: only gaps with corners below the limit are searched, at the weight at which
    their ends are equal, or that the corner proposes.

    `least_s`, `least_j` [D] are finite and what no choice is below; there need not be one that reaches them.
    """
    least_s, least_j = np.maximum(least_s, TINY), np.maximum(least_j, TINY)
    found = np.full(least_s.shape, np.inf), np.full(least_s.shape, np.inf)
    best = limit.copy()
    none = np.full(least_s.shape, np.nan)
    edges = (np.zeros(least_s.shape), least_j, none, none, np.full(least_s.shape, np.inf), least_s, none, none)
    gaps = _open(_Gaps(np.arange(len(least_s)), *edges), best)
    while len(gaps.point):
        weight = _weights(gaps)
        seconds, joules = choices(gaps.point, weight)
        _keep(found, best, gaps.point, seconds, joules)
        gaps = _open(gaps.split(weight, seconds, joules), best)
    return found


def product(seconds: FloatArray, joules: FloatArray) -> FloatArray:
    """Their product, infinite where the time is."""
    return np.multiply(seconds, joules, out=np.full_like(joules, np.inf), where=np.isfinite(seconds))


def watts(seconds: FloatArray, joules: FloatArray) -> FloatArray:
    """The weight at which a choice of least product is least in energy + weight x latency; 1 where the time is infinite."""
    return np.divide(joules, seconds, out=np.ones_like(joules), where=np.isfinite(seconds))


def _keep(found: tuple[FloatArray, FloatArray], best: FloatArray, point: IntArray, seconds: FloatArray, joules: FloatArray) -> None:
    """Takes over what is at most the best of its point; of several the least."""
    value = product(seconds, joules)
    order = np.argsort(-value, kind="stable")  # of choices of one point the least is written last
    order = order[value[order] <= best[point[order]]]
    at = point[order]
    best[at], found[0][at], found[1][at] = value[order], seconds[order], joules[order]


def _open(gaps: _Gaps, best: FloatArray) -> _Gaps:
    """Gaps in which a choice may be as good as the best: the corner is, and it is no choice that is known. None where nothing fits."""
    gaps = gaps.take(~(np.isinf(gaps.low_s) | np.isinf(gaps.high_s)))
    seconds, joules = gaps.corner()
    few = seconds * joules * (1 - ROUNDING) <= best[gaps.point]
    few &= (gaps.low_w < gaps.high_w * (1 - NARROW)) & ~((gaps.low_s <= gaps.high_s) | (gaps.high_j <= gaps.low_j))
    for end_s, end_j in ((gaps.low_s, gaps.low_j), (gaps.high_s, gaps.high_j)):  # comparisons with nan are false
        few &= ~((end_s <= seconds * (1 + ROUNDING)) & (end_j <= joules * (1 + ROUNDING)))
    return gaps.take(few)


def _weights(gaps: _Gaps) -> FloatArray:
    """Watts strictly between the tangents: those at which both ends are equal, else those at which the corner would be the best."""
    seconds, joules = gaps.corner()
    chord = (gaps.high_j - gaps.low_j) / (gaps.low_s - gaps.high_s)
    weight = np.where(np.isnan(chord), joules / seconds, chord)
    outside = np.flatnonzero(~((gaps.low_w < weight) & (weight < gaps.high_w)))
    low, high = gaps.low_w[outside], gaps.high_w[outside]
    open_low, open_high = low == 0, np.isinf(high)
    weight[outside] = np.where(open_low, high / STEP, np.where(open_high, low * STEP, np.sqrt(low * np.where(open_high, low, high))))
    return weight
