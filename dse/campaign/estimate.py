"""What a campaign would cost: the size of its space and the time of a few evaluations."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dse.campaign.runner import evaluate_one
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
    inner_points: int
    designs: int
    trials: int
    designs_priced: int
    sampler: str
    exact: bool
    """Whether all of the space would be priced."""
    timed_trials: int
    seconds_per_trial: float
    estimated_s: float
    """With the workers asked for, start of the processes left out."""


def estimate(plan: Plan, factory: EvaluatorFactory, *, workers: int = 1) -> Estimate:
    """Time up to three evaluations and multiply; nothing is written."""
    space = plan.space
    start, step = spread_order(space.outer_size)
    outers = [(start + i * step) % space.outer_size for i in range(min(TIMED, plan.trials))]
    evaluator = factory()
    began = time.monotonic()
    for outer in outers:
        evaluate_one(evaluator, space, plan.goals, outer)
    each = (time.monotonic() - began) / len(outers)
    return Estimate(
        outer_choices=space.outer_size,
        inner_points=space.inner_size,
        designs=space.size,
        trials=plan.trials,
        designs_priced=plan.trials * space.inner_size,
        sampler=str(plan.sampler),
        exact=plan.trials == space.outer_size,
        timed_trials=len(outers),
        seconds_per_trial=each,
        estimated_s=each * plan.trials / min(workers, plan.trials),
    )
