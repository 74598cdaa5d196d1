"""What a campaign would cost: the size of its space and the time of a few evaluations."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dse.campaign.engines import Problem, evaluate_one
from dse.campaign.seeding import choose_sampler
from dse.search.space import spread_order

if TYPE_CHECKING:
    from dse.campaign.plan import Plan
    from dse.search.evaluator import EvaluatorFactory

TIMED: Final = 3
"""Evaluations that are timed, spread over the space."""


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
    exact: bool
    """Whether all of the space would be priced."""
    timed_trials: int
    seconds_per_trial: float
    reusable_trials: int
    """Trials of this configuration and code version that a run folder holds already."""
    estimated_s: float
    """With the workers asked for, start of the processes left out."""


def estimate(plan: Plan, factory: EvaluatorFactory, *, workers: int = 1, reusable: int = 0) -> Estimate:
    """Time up to three evaluations and multiply; nothing is written. `reusable`: trials that a run has already."""
    space = plan.space
    choices = plan.choices
    start, step = spread_order(choices.count)
    outers = [choices.at((start + i * step) % choices.count) for i in range(min(TIMED, plan.trials))]
    problem = Problem(factory, space, plan.goals, plan.limits)
    evaluator = factory()
    began = time.monotonic()
    for outer in outers:
        evaluate_one(problem, evaluator, outer)
    each = (time.monotonic() - began) / len(outers)
    return Estimate(
        outer_choices=space.outer_size,
        allowed_choices=choices.count,
        inner_points=space.inner_size,
        designs=space.size,
        trials=plan.trials,
        designs_priced=plan.trials * space.inner_size,
        sampler=str(choose_sampler(plan, factory)),
        exact=choices.known and plan.trials == choices.count,
        timed_trials=len(outers),
        seconds_per_trial=each,
        reusable_trials=min(reusable, plan.trials),
        estimated_s=each * max(plan.trials - reusable, 0) / min(workers, plan.trials),
    )
