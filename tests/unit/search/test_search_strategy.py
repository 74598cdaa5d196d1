"""Strategies: no repeats, everything visited, a pure function of what is finished."""

from __future__ import annotations

import pytest

from dse.search.limits import OuterChoices
from dse.search.space import Dimension, Scale, Space
from dse.search.strategy import Sampler, SamplerName, make_strategy, resolve
from dse.search.sweep import sweep
from dse.search.trial import TrialRecord, recorded
from tests.search_fakes import GOALS, SPACE, FakeEvaluator

CHOICES = OuterChoices(SPACE)

SAMPLERS = [SamplerName.EXHAUSTIVE, SamplerName.TPE, SamplerName.NSGA2, SamplerName.RANDOM]


def run(sampler: SamplerName, trials: int, seed: int = 1) -> list[TrialRecord]:
    strategy = make_strategy(Sampler(sampler), CHOICES, GOALS, seed)
    history: list[TrialRecord] = []
    batch = 0
    while len(history) < trials:
        asked = strategy.ask(history, batch, min(strategy.batch_size, trials - len(history)))
        if not asked:
            break
        done = []
        for one in asked:
            found = sweep(FakeEvaluator(), SPACE.choice(one.outer), SPACE, GOALS)
            number = len(history) + len(done)
            done.append(recorded(found, number=number, batch=batch, outer=one.outer, sampler_state=one.sampler_state))
        history += done
        batch += 1
    return history


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_design_is_asked_twice_and_all_are_visited_in_the_end(sampler: SamplerName) -> None:
    outers = [record.outer for record in run(sampler, 100)]  # the space has 60
    assert len(outers) == 60
    assert set(outers) == set(range(60))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_asking_again_gives_the_same(sampler: SamplerName) -> None:
    history = run(sampler, 40)
    strategy = make_strategy(Sampler(sampler), CHOICES, GOALS, 1)
    assert strategy.ask(history, 4, 5) == make_strategy(Sampler(sampler), CHOICES, GOALS, 1).ask(history, 4, 5)


def test_seeds_differ() -> None:
    assert [r.outer for r in run(SamplerName.TPE, 20, 1)] != [r.outer for r in run(SamplerName.TPE, 20, 2)]


def test_nsga2_keeps_its_generations() -> None:
    history = run(SamplerName.NSGA2, 60)
    generations = [next(iter(record.sampler_state.values())) for record in history]
    assert generations == sorted(generations)  # type: ignore[type-var]
    assert generations[-1] == 2  # 60 trials in populations of 20; infeasible trials count, they are told with their violations


@pytest.mark.parametrize(
    ("trials", "seconds", "gp", "expected"),
    [
        (60, None, False, "exhaustive"),  # 60 choices
        (1000, 5.0, True, "exhaustive"),
        (59, None, False, "auto"),  # not measured yet
        (59, 0.001, True, "nsga2"),
        (59, 0.02, True, "tpe"),
        (59, 0.2, True, "gp"),
        (59, 0.2, False, "tpe"),
    ],
)
def test_auto_by_budget_and_measured_cost(trials: int, seconds: float | None, gp: bool, expected: str) -> None:
    assert resolve(Sampler("auto"), CHOICES, trials, seconds_per_trial=seconds, gp=gp).name == expected


def test_auto_for_large_budgets() -> None:
    large = OuterChoices(Space((Dimension("x", tuple(range(5000)), Scale.ORDERED),), ()))
    assert resolve(Sampler("auto"), large, 2000, seconds_per_trial=1.0, gp=True).name == "nsga2"
    assert resolve(Sampler("auto"), large, 1000, seconds_per_trial=1.0, gp=True).name == "tpe"  # too many for GP
    assert resolve(Sampler("random"), large, 9000).name == "random"
