"""How a run begins: what `auto` stands for, by measured trials, and the outer choices that are evaluated first."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.campaign.form import LowFidelityForm
from dse.campaign.sources import located
from dse.campaign.view import load_run
from dse.errors import DseError
from dse.search.limits import OuterChoices
from dse.search.pareto import peel
from dse.search.space import Scale, spread_order
from dse.search.strategy import Sampler, SamplerName, choose
from dse.search.sweep import probe_values, sweep

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dse.campaign.plan import Plan
    from dse.campaign.view import Run
    from dse.search.evaluator import Evaluator, EvaluatorFactory
    from dse.search.goals import Goals
    from dse.search.space import Dimension, Space, Value

TIMED: Final = 3
"""Trials that are timed to choose a sampler, spread over the space; the first also fills caches and is left out of the mean."""

AUTO_SCREENS: Final = 1_000
AUTO_KEEPS: Final = 20
"""Outer choices that `auto` looks at by their bounds, and the best of them, with which it begins (docs/benchmarks.md says what for)."""


@dataclass(frozen=True, slots=True)
class ChosenSampler:
    """The sampler of a run, and why `auto` chose it."""

    sampler: Sampler
    reason: str = ""
    """Empty where the campaign names its sampler."""
    seconds_per_trial: float | None = None
    """Processor time of a trial; null where the choice needed no measurement."""

    def to_json(self) -> dict[str, object]:
        """For manifests."""
        return {"asked": "auto" if self.reason else self.sampler.name, "reason": self.reason, "seconds_per_trial": self.seconds_per_trial}


def choose_sampler(plan: Plan, factory: EvaluatorFactory) -> ChosenSampler:
    """The sampler of a new run: as given, or what `auto` stands for by budget, space and the processor time of a few trials."""
    if not plan.automatic:
        return ChosenSampler(plan.sampler)
    auto, choices, trials = Sampler(SamplerName.AUTO), OuterChoices(plan.space, plan.limits), plan.form.budget.trials
    sampler, reason = choose(auto, choices, trials)
    if reason:
        return ChosenSampler(sampler, reason)
    seconds = _seconds_per_trial(plan, factory)
    return ChosenSampler(*choose(auto, choices, trials, seconds_per_trial=seconds), seconds)


def _seconds_per_trial(plan: Plan, factory: EvaluatorFactory) -> float:
    evaluator = factory()
    times = []
    for outer in _spread(plan.choices, TIMED):
        began = time.process_time()
        try:
            sweep(evaluator, plan.space.choice(outer), plan.space, plan.goals, plan.limits)
        except DseError:
            continue  # a trial that fails is no measure; its error comes when it is its turn
        times.append(time.process_time() - began)
    return float(np.mean(times[1:] or times)) if times else 0.0


def first_choices(plan: Plan, factory: EvaluatorFactory, sampler: Sampler, *, warm_start: Sequence[str] = ()) -> tuple[int, ...]:
    """Outer choices to evaluate first: from earlier runs, then from a look at many choices by their bounds.

    Raises:
        RunError: a folder of an earlier run holds none.
    """
    if sampler.name == SamplerName.EXHAUSTIVE:
        return ()
    given = plan.form.seeding
    found: list[int] = []
    for folder in (*(located(f, plan.folder) for f in given.warm_start), *warm_start):
        found += from_run(load_run(folder), plan.space, given.warm_start_keep)
    look = given.low_fidelity
    if look is None and plan.sampler.name == SamplerName.AUTO:
        look = LowFidelityForm(screen=AUTO_SCREENS, keep=min(AUTO_KEEPS, max(1, plan.trials // 5)))
    if look is not None:
        found += screened(factory(), plan.choices, plan.goals, look.screen, look.keep)
    choices = plan.choices
    return tuple(outer for outer in dict.fromkeys(found) if choices.allows(outer))[: plan.trials]


def from_run(run: Run, space: Space, keep: int) -> list[int]:
    """Outer choices of `space` nearest to the front of an earlier run, which may have had another space or workload.

    Values are matched by path: the same value, or of ordered numbers the nearest; a dimension that the run lacks, or a
    word that it does not know, takes the first value.
    """
    members = [run.parameters(member) for member in run.archive.thinned(4 * keep)]
    found = dict.fromkeys(space.outer_index(tuple(_nearest(d, one.get(d.path)) for d in space.outer)) for one in members)
    return list(found)[:keep]


def screened(evaluator: Evaluator, choices: OuterChoices, goals: Goals, count: int, keep: int) -> list[int]:
    """The best `keep` of `count` outer choices by their bounds: front after front of what each bound reports."""
    outers, values = [], []
    space = choices.space
    for outer in _spread(choices, count):
        try:
            found = sweep(evaluator, space.choice(outer), space, goals, choices.limits, rough=True)
        except DseError:
            continue  # its error comes when the choice is tried in full
        for design in found.front:
            outers.append(outer)
            values.append([design.metrics[name] for name in goals.objectives])
    if not values:
        return []
    order = peel(np.array(values), goals.maximise, len(values))
    return list(dict.fromkeys(outers[row] for row in order))[:keep]


class BoundLook:
    """Bounds of outer choices at the probes; each is looked at once, by an evaluator of its own that is made when it is first needed."""

    def __init__(self, factory: EvaluatorFactory, choices: OuterChoices, goals: Goals, probes: tuple[int, ...]) -> None:
        self._factory = factory
        self._choices = choices
        self._goals = goals
        self._probes = probes
        self._known: dict[int, Mapping[str, Sequence[float | None]]] = {}
        self._evaluator: Evaluator | None = None

    def __call__(self, outer: int, /) -> Mapping[str, Sequence[float | None]]:
        """See `Look`."""
        if outer not in self._known:
            evaluator = self._evaluator = self._evaluator or self._factory()
            space, limits = self._choices.space, self._choices.limits
            choice = space.choice(outer)
            try:
                found = probe_values(evaluator.screen(choice), evaluator.rough(choice), choice, space, self._goals, limits, self._probes)
            except DseError:
                found = {}  # its error comes when the choice is tried in full
            self._known[outer] = found
        return self._known[outer]


def _spread(choices: OuterChoices, count: int) -> list[int]:
    start, step = spread_order(choices.count)
    positions = ((start + i * step) % choices.count for i in range(min(4 * count, choices.count)))
    return [outer for outer in (choices.at(p) for p in positions) if choices.allows(outer)][:count]


def _nearest(dimension: Dimension, value: Value) -> int:
    if value in dimension.values:
        return dimension.values.index(value)
    if dimension.scale is Scale.CATEGORICAL or not isinstance(value, int | float):
        return 0
    numbers = np.array([float(str(v)) for v in dimension.values])
    return int(np.abs(numbers - float(value)).argmin())
