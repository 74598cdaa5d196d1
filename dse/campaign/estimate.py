"""What a campaign would cost: the size of its space and the time of a few evaluations."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from dse.campaign.engines import Problem, evaluate_one
from dse.campaign.seeding import choose_sampler
from dse.campaign.sources import located
from dse.plugins import names_chip
from dse.search.space import Space, spread_order

if TYPE_CHECKING:
    from dse.campaign.plan import Plan
    from dse.search.evaluator import EvaluatorFactory

TIMED: Final = 3
"""Evaluations that are timed, spread over the space."""
TIMED_POINTS: Final = 16
"""Inner points that are timed on a chip of many cores: two values of each dimension, as far as they go."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Sizes and times."""

    outer_choices: int
    allowed_choices: int
    """Those that the limits leave."""
    inner_points: int
    designs: int
    trials: int
    designs_priced: int
    sampler: str
    sampler_reason: str
    """Why `auto` stands for it; empty where the campaign names it."""
    exact: bool
    """Whether all of the space would be priced."""
    timed_trials: int
    seconds_per_trial: float
    reusable_trials: int
    """Trials of this configuration and code version that a run folder holds already."""
    estimated_s: float
    """With the workers asked for, start of the processes left out."""


def _simulates(plan: Plan) -> bool:
    """Whether a chip of many cores is among the accelerators: its points take a time each, and a trial may have thousands."""
    return plan.form.system is None and any(names_chip(located(name, plan.folder)) for name in plan.accelerators)


def _by_parts(problem: Problem, space: Space, outer: int) -> float:
    """Seconds of a trial from two parts of it: its first inner point, and what each further point takes."""
    seconds, sizes = [], []
    for most in (1, TIMED_POINTS):
        kept, left = [], most
        for dimension in space.inner:
            values = dimension.values[: min(2, left)]
            kept.append(replace(dimension, values=values))
            left //= len(values)
        part = Space(space.outer, tuple(kept))
        began = time.monotonic()
        evaluate_one(replace(problem, space=part), problem.factory(), outer)
        seconds.append(time.monotonic() - began)
        sizes.append(part.inner_size)
        if part.inner_size == space.inner_size:
            return seconds[-1]
    return seconds[0] + max(0.0, seconds[1] - seconds[0]) / (sizes[1] - sizes[0]) * (space.inner_size - 1)


def estimate(plan: Plan, factory: EvaluatorFactory, *, workers: int = 1, reusable: int = 0) -> Estimate:
    """Time up to three evaluations and multiply; nothing is written. `reusable`: trials that a run has already."""
    space = plan.space
    choices = plan.choices
    start, step = spread_order(choices.count)
    outers = [choices.at((start + i * step) % choices.count) for i in range(min(TIMED, plan.trials))]
    problem = Problem(factory, space, plan.goals, plan.limits)
    if _simulates(plan):
        each = _by_parts(problem, space, outers[0])
    else:
        evaluator = factory()
        began = time.monotonic()
        for outer in outers:
            evaluate_one(problem, evaluator, outer)
        each = (time.monotonic() - began) / len(outers)
    chosen = choose_sampler(plan, factory)
    return Estimate(
        outer_choices=space.outer_size,
        allowed_choices=choices.count,
        inner_points=space.inner_size,
        designs=space.size,
        trials=plan.trials,
        designs_priced=plan.trials * space.inner_size,
        sampler=str(chosen.sampler),
        sampler_reason=chosen.reason,
        exact=choices.known and plan.trials == choices.count,
        timed_trials=len(outers),
        seconds_per_trial=each,
        reusable_trials=min(reusable, plan.trials),
        estimated_s=each * max(plan.trials - reusable, 0) / min(workers, plan.trials),
    )
