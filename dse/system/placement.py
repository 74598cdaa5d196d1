"""Which chip holds which expert, and how uneven the load of chips and experts then is."""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from functools import lru_cache
from math import erf, sqrt
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.errors import UsageError
from dse.ir.expert_load import sampled_rows, shares

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from dse.ir.expert_load import Routing

    FloatArray = NDArray[np.float64]

_POINTS: Final = 801
"""Points at which the distribution of the largest load is integrated."""
_DEVIATIONS: Final = 8.0
"""Standard deviations above the largest mean up to which it is integrated: leaves out a share of 1e-15."""
DEFAULT_SEED: Final = 0
"""Seed of a random placement where none is given."""


class Placing(StrEnum):
    """How experts are laid out over chips."""

    RANDOM = "random"
    """By a seeded permutation: popularity has nothing to do with an expert's number."""
    CONTIGUOUS = "contiguous"
    """The first E / ep experts on the first chip, and so on; the most popular first under a Zipf distribution."""
    BALANCED = "balanced"
    """Greedy: the most loaded expert to the least loaded chip that has room."""


@dataclass(frozen=True)
class Placement:
    """Experts on the members of an expert group."""

    slots: NDArray[np.int64]
    """Expert in each slot, [ep, slots per member]."""
    copies: NDArray[np.int64]
    """Copies of each expert, [E]; its tokens spread over them evenly."""

    def member_shares(self, pi: FloatArray) -> FloatArray:
        """Rows per token that each slot gets, [ep, slots]; sums to k."""
        return (pi / self.copies)[self.slots]


def place_experts(
    routing: Routing, *, experts: int, experts_per_token: int, ep: int, redundant: int = 0, placing: Placing = Placing.RANDOM
) -> Placement:
    """Copies for the most loaded experts (`redundant` in all, each to the one whose copies are busiest), then slots.

    Source of the rule for copies: expert parallelism load balancer of DeepSeek, replicate-the-heaviest; derived here for
    one level. A member never holds two copies of an expert under BALANCED where it can be avoided.

    Raises:
        UsageError: copies that do not divide over the members.
    """
    total = experts + redundant
    if total % ep:
        raise UsageError(f"{experts} experts and {redundant} redundant copies do not divide over {ep} members")
    pi = shares(routing, experts, experts_per_token)
    copies = np.ones(experts, dtype=np.int64)
    for _ in range(redundant):
        copies[int(np.argmax(pi / copies))] += 1
    listed = np.repeat(np.arange(experts), copies)
    if placing is Placing.CONTIGUOUS:
        return Placement(listed.reshape(ep, -1), copies)
    if placing is Placing.RANDOM:
        order = np.random.default_rng(DEFAULT_SEED if routing.seed is None else routing.seed).permutation(total)
        return Placement(listed[order].reshape(ep, -1), copies)
    return Placement(_balanced(listed, pi / copies, ep), copies)


def _balanced(listed: NDArray[np.int64], load: FloatArray, ep: int) -> NDArray[np.int64]:
    room = len(listed) // ep
    members: list[list[int]] = [[] for _ in range(ep)]
    totals = np.zeros(ep)
    for expert in sorted(listed.tolist(), key=lambda e: (-load[e], e)):
        free = [m for m in range(ep) if len(members[m]) < room]
        best = min(free, key=lambda m: (expert in members[m], totals[m], m))
        members[best].append(expert)
        totals[best] += load[expert]
    return np.array(members)


def expected_largest(means: FloatArray, variances: FloatArray, scale: ArrayLike) -> FloatArray:
    """Expected maximum of independent normal loads with mean m T and variance v T, for each T of `scale`, [P].

    E max = integral of 1 - prod Phi((x - m_a T) / sqrt(v_a T)) over x, from the largest mean less, to it plus 8 standard
    deviations. Source: order statistics, David and Nagaraja, Order Statistics, section 2.1. Worked number: 32 chips, uniform
    top-8 of 256, 4,096 tokens: 1.06 of the mean.
    """
    tokens = np.atleast_1d(np.asarray(scale, dtype=np.float64))
    kinds, number = np.unique(np.stack([means, variances], axis=1), axis=0, return_counts=True)
    found = np.empty(len(tokens))
    for n, t in enumerate(tokens):
        mean, deviation = kinds[:, 0] * t, np.sqrt(kinds[:, 1] * t)
        top = float(mean.max())
        reach = _DEVIATIONS * float(deviation.max())
        if reach == 0:
            found[n] = top
            continue
        x = np.linspace(top - reach, top + reach, _POINTS)
        log_all = np.zeros(_POINTS)
        for m, d, count in zip(mean, deviation, number, strict=True):
            if d > 0:
                log_all += count * np.log(np.maximum(_phi((x - m) / d), np.finfo(np.float64).tiny))
            else:
                log_all = np.where(x < m, -np.inf, log_all)
        found[n] = x[0] + np.trapezoid(1 - np.exp(log_all), x)
    return found


def _phi(z: FloatArray) -> FloatArray:
    return _ERF_TABLE(z)


class _Table:
    """The normal distribution function by interpolation, error below 1e-7; numpy has no error function."""

    def __init__(self) -> None:
        self.z = np.linspace(-9, 9, 18001)
        self.p = np.array([0.5 + 0.5 * erf(v / sqrt(2)) for v in self.z])

    def __call__(self, z: FloatArray) -> FloatArray:
        found: FloatArray = np.interp(z, self.z, self.p)
        return found


_ERF_TABLE: Final = _Table()


@dataclass(frozen=True)
class GroupLoad:
    """Loads of the members of an expert group for T tokens of the group, each [P]."""

    mean_rows: FloatArray
    """Rows (token, expert) of a member on average."""
    largest_rows: FloatArray
    """Rows of the busiest member, expected or drawn."""
    active_experts: FloatArray
    """Experts with any row on the member of the largest share."""
    gamma_chip: FloatArray
    """Largest over mean load of members."""
    gamma_expert: FloatArray
    """Largest over mean load of slots."""

    def at(self, points: NDArray[np.intp]) -> GroupLoad:
        """The loads of some points, each as often as it is named."""
        return GroupLoad(**{f.name: getattr(self, f.name)[points] for f in fields(self)})


def group_load(placement: Placement, routing: Routing, experts_per_token: int, tokens: ArrayLike) -> GroupLoad:
    """Loads for T tokens of the whole group.

    Expected (no seed): loads of experts are binomial, T tokens with probability pi_e, taken as independent; members add up,
    in the normal limit, at least the largest mean and at most all that T tokens can send. With a seed: one draw
    of all experts, added up over members.
    """
    t = np.atleast_1d(np.asarray(tokens, dtype=np.float64))  # [P]
    pi = shares(routing, len(placement.copies), experts_per_token)
    slot = placement.member_shares(pi)  # [ep, slots]
    mean = t * experts_per_token / len(slot)
    used = -np.expm1(t[:, None, None] * np.log1p(-np.minimum(slot, 1 - 1e-15)))  # [P, ep, slots]
    busiest = int(np.argmax(slot.sum(axis=1)))
    active = used[:, busiest].sum(axis=1)
    if routing.seed is not None:
        largest, top = _drawn(placement, routing, experts_per_token, t)
    else:
        largest = expected_largest(slot.sum(axis=1), (slot * (1 - slot)).sum(axis=1), t)
        top = expected_largest(slot.ravel(), (slot * (1 - slot)).ravel(), t)
        cap = t * np.minimum(slot.shape[1], experts_per_token)
        largest = np.clip(largest, np.minimum(np.maximum(slot.sum(axis=1).max() * t, 1.0), cap), np.maximum(cap, mean))
        top = np.clip(top, np.minimum(1.0, t), t)
    return GroupLoad(mean, largest, active, largest / mean, top / (t * experts_per_token / slot.size))


def _drawn(placement: Placement, routing: Routing, k: int, tokens: FloatArray) -> tuple[FloatArray, FloatArray]:
    assert routing.seed is not None
    largest, top = np.empty(len(tokens)), np.empty(len(tokens))
    for n, t in enumerate(tokens):
        rows = sampled_rows(routing, len(placement.copies), k, int(t), seed=routing.seed) / placement.copies
        slots = rows[placement.slots]
        largest[n], top[n] = slots.sum(axis=1).max(), slots.max()
    return largest, top


@lru_cache(maxsize=256)
def cached_placement(routing: Routing, experts: int, experts_per_token: int, ep: int, redundant: int, placing: Placing) -> Placement:
    """`place_experts`, kept."""
    return place_experts(routing, experts=experts, experts_per_token=experts_per_token, ep=ep, redundant=redundant, placing=placing)


@lru_cache(maxsize=1024)
def cached_load(
    routing: Routing, experts: int, experts_per_token: int, ep: int, redundant: int, placing: Placing, tokens: tuple[float, ...]
) -> GroupLoad:
    """`group_load` of a cached placement, kept: lengths and links do not change it."""
    placement = cached_placement(routing, experts, experts_per_token, ep, redundant, placing)
    return group_load(placement, routing, experts_per_token, tokens)
