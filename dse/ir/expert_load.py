"""How many tokens each expert gets: uniform, Zipf, measured or worst routing, expected or drawn from a seed.

A token goes to k distinct experts of E. The model is the share of tokens that expert e gets, its inclusion probability
pi_e; the shares add up to k. Tokens choose independently, so the load of expert e is Binomial(T, pi_e) for T tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import floor, isfinite, sqrt
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_SKEW: Final = 64.0
"""Zipf exponents above this make weights that differ by more than double precision can hold."""
_EXACT_TOKENS: Final = 4096
"""Up to this many tokens the binomial distribution is summed term by term; above, its normal limit is used."""
_DEVIATIONS: Final = 12.0
"""Standard deviations from the mean beyond which a load is not considered: a share of 1e-32 of the cases."""
_STEPS: Final = 4096
"""Points at which the distribution of the largest load is evaluated for many tokens."""


class LoadKind(StrEnum):
    """How tokens spread over experts."""

    UNIFORM = "uniform"
    """Every expert is as likely as any other."""
    ZIPF = "zipf"
    """The expert of rank r is chosen in proportion to 1 / r^s."""
    HISTOGRAM = "histogram"
    """In proportion to measured counts."""
    LOADS = "loads"
    """Exactly as counted in this very step; nothing is drawn."""
    WORST = "worst"
    """All tokens go to the same k experts."""


@dataclass(frozen=True, slots=True)
class Routing:
    """A distribution of tokens over experts, and whether loads are expected ones or drawn."""

    kind: LoadKind = LoadKind.UNIFORM
    skew: float = 0.0
    """Exponent s of a Zipf distribution; 0 is uniform."""
    counts: tuple[float, ...] = ()
    """Measured tokens of each expert; only their proportions matter, unless they are the loads themselves."""
    seed: int | None = None
    """Draw the loads with this seed; None takes expected loads."""

    def __post_init__(self) -> None:
        if self.kind is LoadKind.ZIPF and not 0 <= self.skew <= LARGEST_SKEW:
            raise UsageError(f"Zipf exponent {self.skew:g} is out of range; allowed: 0 to {LARGEST_SKEW:g}")
        if self.kind in (LoadKind.HISTOGRAM, LoadKind.LOADS) and not (self.counts and all(isfinite(c) and c >= 0 for c in self.counts)):
            raise UsageError("a histogram of expert loads needs one finite count of at least 0 per expert")
        if self.kind is LoadKind.LOADS and any(c != floor(c) for c in self.counts):
            raise UsageError("loads are the tokens of each expert in this step: give whole numbers, or a histogram")

    def __str__(self) -> str:
        text = f"zipf{self.skew:g}" if self.kind is LoadKind.ZIPF else self.kind.value
        return text if self.seed is None else f"{text}_seed{self.seed}"


UNIFORM: Final = Routing()


def shares(routing: Routing, experts: int, experts_per_token: int) -> NDArray[np.float64]:
    """Share of all tokens that each expert gets, pi [E], largest first (but a histogram keeps its order); sums to k.

    In proportion to the popularity of the experts, but at most 1, as a token uses an expert once; what is cut off goes to
    the others in proportion. Derived here. Worked number: popularities 3, 1, 1, 1 and k = 2 give 1, 1/3, 1/3, 1/3.

    Raises:
        UsageError: k is not between 1 and E, a histogram has not E counts, or fewer than k of them are above 0.
    """
    k = experts_per_token
    if not 1 <= k <= experts:
        raise UsageError(f"{k} experts per token of {experts}; allowed: 1 to {experts}")
    if routing.kind is LoadKind.WORST:
        return np.where(np.arange(experts) < k, 1.0, 0.0)
    if routing.kind is LoadKind.UNIFORM:
        return np.full(experts, k / experts)
    if routing.kind is LoadKind.ZIPF:
        popularity = np.arange(1, experts + 1, dtype=np.float64) ** -routing.skew
    else:
        popularity = np.asarray(routing.counts, dtype=np.float64)
        if len(popularity) != experts:
            raise UsageError(
                f"the histogram of expert loads has {len(popularity)} counts, the model {experts} experts; give one per expert"
            )
        if routing.kind is LoadKind.LOADS:
            return _exact_shares(popularity, k)
        popularity = popularity / max(popularity.max(), np.finfo(np.float64).tiny)
    if np.count_nonzero(popularity) < k:
        raise UsageError(f"the histogram of expert loads has {np.count_nonzero(popularity)} experts with tokens; a token needs {k}")
    return _capped(popularity, k)


def _exact_shares(loads: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Shares of loads that are taken as they are: load over tokens, which number sum / k."""
    tokens = loads.sum() / k
    if tokens == 0 or loads.max() > tokens:
        raise UsageError(f"loads of {loads.sum():g} tokens in all, {loads.max():g} for one expert: a token uses {k} different experts")
    found: NDArray[np.float64] = loads / tokens
    return found


def _capped(popularity: NDArray[np.float64], total: int) -> NDArray[np.float64]:
    """`popularity` scaled to sum to `total` with no value above 1."""
    full = np.zeros(len(popularity), dtype=bool)
    while True:
        rest = popularity[~full].sum()
        scaled = np.where(full, 1.0, popularity * ((total - full.sum()) / rest) if rest > 0 else 0.0)
        above = (scaled > 1.0) & ~full
        if not above.any():
            return np.minimum(scaled, 1.0)
        full |= above


def expected_active(routing: Routing, experts: int, experts_per_token: int, tokens: int) -> float:
    """Expected number of distinct experts that `tokens` tokens use: sum over e of 1 - (1 - pi_e)^T.

    A token misses expert e with probability 1 - pi_e, all tokens with its power; expectations add. For uniform routing
    E (1 - (1 - k/E)^T). Derived here. Worked number: uniform, E = 256, k = 8, 32 tokens: 163.3.
    """
    if routing.kind is LoadKind.UNIFORM:
        return float(experts * (1 - (1 - experts_per_token / experts) ** tokens))
    if routing.kind is LoadKind.LOADS:
        return float(np.count_nonzero(_exact(routing, experts, experts_per_token, tokens)))
    return float(_used(shares(routing, experts, experts_per_token), tokens).sum())


def _exact(routing: Routing, experts: int, experts_per_token: int, tokens: int) -> NDArray[np.int64]:
    """The loads that the routing gives, after checking that they are those of this step."""
    shares(routing, experts, experts_per_token)
    found: NDArray[np.int64] = np.asarray(routing.counts).astype(np.int64)
    if found.sum() != tokens * experts_per_token:
        raise UsageError(
            f"loads sum to {found.sum()}, this step has {tokens} tokens times {experts_per_token} experts = {tokens * experts_per_token}; "
            "give the loads of this step, or a histogram, of which only the proportions count"
        )
    return found


def _used(pi: NDArray[np.float64], tokens: int) -> NDArray[np.float64]:
    """Probability that each expert gets any of the tokens."""
    with np.errstate(divide="ignore"):
        used: NDArray[np.float64] = -np.expm1(tokens * np.log1p(-pi))
    return used


def expert_rows(routing: Routing, experts: int, experts_per_token: int, tokens: int) -> tuple[int, ...]:
    """Tokens of each expert, largest first, experts without tokens left out; they sum to tokens times k.

    Expected loads (no seed): as many experts as are active on average, rounded, the most popular ones, each with rows in
    proportion to its expected load given that it has any; whole numbers by largest remainder. Drawn loads (a seed):
    see `sampled_rows`.
    """
    if routing.kind is LoadKind.LOADS:
        return tuple(sorted((int(n) for n in _exact(routing, experts, experts_per_token, tokens) if n), reverse=True))
    if routing.seed is not None:
        drawn = sampled_rows(routing, experts, experts_per_token, tokens, seed=routing.seed)
        return tuple(sorted((int(n) for n in drawn if n), reverse=True))
    k, routed = experts_per_token, tokens * experts_per_token
    pi = np.sort(shares(routing, experts, k))[::-1]
    nearest = floor(expected_active(routing, experts, k, tokens) + 0.5)
    active = max(k, min(nearest, int(np.count_nonzero(pi)), routed))
    pi = pi[:active]
    given_any = pi / _used(pi, tokens)  # expected share of an expert that has at least one token
    return _whole(_bounded(given_any * tokens, routed, 1.0, float(tokens)), routed, tokens)


def _bounded(loads: NDArray[np.float64], total: int, least: float, most: float) -> NDArray[np.float64]:
    """`loads` scaled to sum to `total`, none below `least` or above `most`; bisects the factor, which the sum grows with."""
    low, high = 0.0, most / float(loads.min())
    for _ in range(200):
        middle = (low + high) / 2
        if np.clip(loads * middle, least, most).sum() < total:
            low = middle
        else:
            high = middle
    return np.clip(loads * high, least, most)


def _whole(loads: NDArray[np.float64], total: int, most: int) -> tuple[int, ...]:
    """Whole numbers near `loads` that sum to `total`, largest first: rounded down, and the largest remainders up.

    Equal loads are spread evenly: `total` divided by their number, the remainder one each.
    """
    whole = np.floor(loads + 1e-9).astype(np.int64)
    missing = total - int(whole.sum())
    order = np.argsort(-(loads - whole), kind="stable")
    position = 0
    while missing:
        step = 1 if missing > 0 else -1
        at = order[position % len(order)] if step > 0 else order[-1 - position % len(order)]
        if 1 <= whole[at] + step <= most:
            whole[at] += step
            missing -= step
        position += 1
    return tuple(sorted((int(n) for n in whole), reverse=True))


def sampled_rows(routing: Routing, experts: int, experts_per_token: int, tokens: int, *, seed: int) -> NDArray[np.int64]:
    """One draw of the tokens of each expert [E], 0 to T each, T k in total; the same seed gives the same draw.

    Binomial loads, conditioned on their sum: each expert's load is drawn by itself, and the difference to T k is spread
    over the experts in proportion to their variances T pi (1 - pi). For uniform routing this has the variance of the
    true law but for a factor 1 - 1/E. Time does not depend on the number of tokens. Derived here. Given loads are not drawn.
    """
    if routing.kind is LoadKind.LOADS:
        return _exact(routing, experts, experts_per_token, tokens)
    rng = np.random.default_rng(seed)
    pi = shares(routing, experts, experts_per_token)
    rows: NDArray[np.int64] = rng.binomial(tokens, pi).astype(np.int64)
    spread = pi * (1 - pi)
    while missing := tokens * experts_per_token - int(rows.sum()):
        room = tokens - rows if missing > 0 else rows
        weights = np.where(room > 0, spread, 0.0)
        step = rng.multinomial(min(abs(missing), int(room.sum())), weights / weights.sum())
        step = np.minimum(step, room)
        rows = rows + step if missing > 0 else rows - step
    return rows


def expected_max_load(routing: Routing, experts: int, experts_per_token: int, tokens: int) -> float:
    """Expected tokens of the busiest expert: sum over m of 1 - prod over e of P(load of e <= m); at least 1.

    Loads are taken as independent, which ignores that they sum to T k: a slight overestimate. Above 4,096 tokens the
    normal limit with continuity correction stands for the binomial. Source: order statistics, e.g. David and Nagaraja,
    Order Statistics, section 2.1. Worked number: uniform, E = 256, k = 8, T = 4096 (128 on average): about 161.
    """
    if routing.kind is LoadKind.LOADS:
        return float(_exact(routing, experts, experts_per_token, tokens).max())
    pi, number = np.unique(shares(routing, experts, experts_per_token), return_counts=True)
    mean, deviation = tokens * pi, np.sqrt(tokens * pi * (1 - pi))
    low = max(0, floor((mean - _DEVIATIONS * deviation).max()))
    high = min(tokens, floor((mean + _DEVIATIONS * deviation).max()) + 1)
    if high <= low:
        return float(high)
    step = 1 if tokens <= _EXACT_TOKENS else max(1, -(-(high - low) // _STEPS))
    points = np.arange(low, high, step)  # P(load <= m) at each; every load below `low` is certain not to be the largest
    middles = points.astype(np.float64) + 0.5
    log_all = np.zeros(len(points))
    for p, n, mu, sigma in zip(pi, number, mean, deviation, strict=True):
        below = _binomial_cdf(tokens, float(p), points) if tokens <= _EXACT_TOKENS else _normal_cdf(middles, float(mu), float(sigma))
        with np.errstate(divide="ignore"):
            log_all += n * np.log(below)
    return float(max(1.0, low + min(step * (1 - np.exp(log_all)).sum(), high - low)))  # some expert has a token


def _binomial_cdf(tokens: int, p: float, points: NDArray[np.int64]) -> NDArray[np.float64]:
    """P(Binomial(tokens, p) <= m) at each of `points`, by cumulative sums of the terms."""
    if p in (0.0, 1.0):
        return np.where(points >= tokens * p, 1.0, 0.0)
    m = np.arange(tokens)
    with np.errstate(divide="ignore"):
        ratios = np.log(tokens - m) - np.log(m + 1.0) + np.log(p) - np.log1p(-p)  # log P(m + 1) / P(m)
    terms = np.concatenate(([0.0], np.cumsum(ratios))) + tokens * np.log1p(-p)
    below: NDArray[np.float64] = np.minimum(np.cumsum(np.exp(terms))[points], 1.0)
    return below


def _normal_cdf(x: NDArray[np.float64], mean: float, deviation: float) -> NDArray[np.float64]:
    """Normal distribution function; a step where the deviation is 0."""
    from math import erf

    if deviation == 0:
        return np.where(x >= mean, 1.0, 0.0)
    return np.array([0.5 + 0.5 * erf(float(v) / sqrt(2)) for v in (x - mean) / deviation])


def imbalance(routing: Routing, experts: int, experts_per_token: int, tokens: int) -> float:
    """Expected load of the busiest expert over the mean load T k / E; 1 is perfect balance."""
    return expected_max_load(routing, experts, experts_per_token, tokens) / (tokens * experts_per_token / experts)
