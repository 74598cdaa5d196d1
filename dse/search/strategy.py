"""Strategies: which outer choices to try next, as a pure function of the finished trials and the batch number."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from dse.search.space import spread_order

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dse.search.goals import Goals
    from dse.search.limits import OuterChoices
    from dse.search.space import Space, Value
    from dse.search.trial import TrialRecord


class SamplerName(StrEnum):
    """How outer choices are chosen."""

    AUTO = "auto"
    """Chosen by budget and by the measured cost of a trial, see `resolve`."""
    EXHAUSTIVE = "exhaustive"
    TPE = "tpe"
    """Multivariate tree-structured Parzen estimator with constant liar."""
    NSGA2 = "nsga2"
    NSGA3 = "nsga3"
    GP = "gp"
    """Gaussian process; needs torch."""
    RANDOM = "random"
    QMC = "qmc"
    """Quasi-random points; needs scipy."""
    CMAES = "cmaes"
    """Covariance matrix adaptation, of one objective; needs cmaes."""
    SURROGATE = "surrogate"
    """Gaussian process over whole fronts, one step around the front and anywhere; see `front_strategy`."""


@dataclass(frozen=True, slots=True)
class Sampler:
    """A sampler and its options: a `SamplerName`, or the name of a class in `optuna.samplers`."""

    name: str
    options: Mapping[str, Value] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


SURROGATE_BUDGET: Final = 1_000
"""Trials up to which `auto` prefers the surrogate: beyond them, everything good is near and its cost counts for less."""
NSGA2_BELOW_S: Final = 0.001
"""A trial cheaper than this costs less than a fifth of asking the surrogate for it."""
EXHAUSTIVE_BATCH: Final = 8
TPE_BATCH: Final = 10
"""Asking for more at once costs TPE hypervolume: 0.96 at 1 and 10, 0.85 at 50 (measured, 300 trials)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One outer choice to evaluate."""

    outer: int
    sampler_state: Mapping[str, object] = field(default_factory=dict)


class Strategy(Protocol):
    """Chooses outer choices. Keeps nothing that changes its answers, so a resumed run asks what an uninterrupted one asks."""

    @property
    def batch_size(self) -> int:
        """Trials asked at once; does not depend on the number of workers."""

    @property
    def looks_back(self) -> bool:
        """Whether what is asked depends on results; if not, batches may be asked ahead of them."""

    def ask(self, history: Sequence[TrialRecord], batch: int, count: int, *, done: int | None = None) -> tuple[Asked, ...]:
        """Up to `count` allowed outer choices that were not asked before, all different; fewer only when the space runs out.

        `done`: trials asked before, where more than `history` holds (only strategies that do not look back).
        """


def resolve(sampler: Sampler, choices: OuterChoices, trials: int, *, seconds_per_trial: float | None = None) -> Sampler:
    """The sampler that `auto` stands for, see `choose`; any other is returned as it is."""
    return choose(sampler, choices, trials, seconds_per_trial=seconds_per_trial)[0]


def choose(sampler: Sampler, choices: OuterChoices, trials: int, *, seconds_per_trial: float | None = None) -> tuple[Sampler, str]:
    """The sampler that `auto` stands for and why; any other is returned as it is, with an empty reason.

    Everything is enumerated where it fits the budget. Else the surrogate, which measured best of all samplers up to 1,000 trials
    (docs/benchmarks.md); NSGA-II beyond them, or where a trial costs less than a millisecond. Without a measurement `auto` stays `auto`.
    """
    if sampler.name != SamplerName.AUTO:
        return sampler, ""
    size = f"{choices.count:,}" if choices.known else f"up to {choices.count:,}"
    if choices.known and choices.count <= trials:
        return Sampler(SamplerName.EXHAUSTIVE), f"the budget of {trials:,} trials covers all {size} outer choices"
    budget = f"the budget of {trials:,} trials covers {100 * trials / choices.count:.2g} % of {size} outer choices"
    if trials > SURROGATE_BUDGET:
        return Sampler(SamplerName.NSGA2), f"{budget}; beyond {SURROGATE_BUDGET:,} trials the surrogate is not worth its time"
    if seconds_per_trial is None:
        return sampler, ""
    measured = f"{budget}; a trial takes {seconds_per_trial:.2g} s of the processor"
    if seconds_per_trial < NSGA2_BELOW_S:
        return Sampler(SamplerName.NSGA2), f"{measured}, less than asking the surrogate"
    return Sampler(SamplerName.SURROGATE), measured


class Look(Protocol):
    """A cheap look at one outer choice."""

    def __call__(self, outer: int, /) -> Mapping[str, Sequence[float | None]]:
        """By column the bounds at the probes; empty where nothing fits or the choice cannot be evaluated."""


def make_strategy(
    sampler: Sampler, choices: OuterChoices, goals: Goals, seed: int, seeds: Sequence[int] = (), look: Look | None = None
) -> Strategy:
    """The strategy behind a resolved sampler; `seeds` are outer choices to ask first; `look` is for samplers that use bounds.

    Raises:
        UsageError: no such sampler, or options that it does not take.
    """
    if sampler.name == SamplerName.EXHAUSTIVE:
        return Exhaustive(choices)
    if sampler.name == SamplerName.SURROGATE:
        from dse.search.front_strategy import FrontStrategy

        return FrontStrategy(choices, goals, seed, tuple(seeds), look)
    from dse.search.optuna_strategy import OptunaStrategy  # optuna takes 0.4 s to import

    return OptunaStrategy(sampler, choices, goals, seed, tuple(seeds))


def probes_of(sampler: Sampler, space: Space) -> tuple[int, ...]:
    """Inner points whose values every trial must keep for this sampler; none for most."""
    if sampler.name != SamplerName.SURROGATE:
        return ()
    from dse.search.probes import probe_points

    return probe_points(space)


@dataclass(frozen=True, slots=True)
class Exhaustive:
    """Every allowed outer choice once, in an order that covers the space evenly from the first batch on."""

    choices: OuterChoices

    @property
    def batch_size(self) -> int:
        """See `Strategy`."""
        return EXHAUSTIVE_BATCH

    @property
    def looks_back(self) -> bool:
        """See `Strategy`."""
        return False

    def ask(self, history: Sequence[TrialRecord], batch: int, count: int, *, done: int | None = None) -> tuple[Asked, ...]:
        """See `Strategy`."""
        del batch
        size = self.choices.count
        start, step = spread_order(size)
        first = len(history) if done is None else done
        return tuple(Asked(self.choices.at((start + position * step) % size)) for position in range(first, min(first + count, size)))
