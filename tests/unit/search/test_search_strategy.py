"""Strategies: no repeats, everything visited, a pure function of what is finished."""

from __future__ import annotations

from dataclasses import fields

import pytest

from dse.search.space import Dimension, Scale, Space
from dse.search.strategy import SamplerName, make_strategy, resolve
from dse.search.sweep import sweep
from dse.search.trial import TrialRecord
from tests.search_fakes import GOALS, SPACE, FakePrepared

SAMPLERS = [SamplerName.EXHAUSTIVE, SamplerName.TPE, SamplerName.NSGA2, SamplerName.RANDOM]


def run(sampler: SamplerName, trials: int, seed: int = 1) -> list[TrialRecord]:
    strategy = make_strategy(sampler, SPACE, GOALS, seed)
    history: list[TrialRecord] = []
    batch = 0
    while len(history) < trials:
        asked = strategy.ask(history, batch, min(strategy.batch_size, trials - len(history)))
        if not asked:
            break
        done = []
        for one in asked:
            found = sweep(FakePrepared(SPACE.choice(one.outer)), SPACE, GOALS)
            values = {f.name: getattr(found, f.name) for f in fields(found)}
            number = len(history) + len(done)
            done.append(TrialRecord(**values, number=number, batch=batch, outer=one.outer, sampler_state=one.sampler_state))
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
    strategy = make_strategy(sampler, SPACE, GOALS, 1)
    assert strategy.ask(history, 4, 5) == make_strategy(sampler, SPACE, GOALS, 1).ask(history, 4, 5)


def test_seeds_differ() -> None:
    assert [r.outer for r in run(SamplerName.TPE, 20, 1)] != [r.outer for r in run(SamplerName.TPE, 20, 2)]


def test_nsga2_keeps_its_generations() -> None:
    history = run(SamplerName.NSGA2, 60)
    generations = [next(iter(record.sampler_state.values())) for record in history]
    assert generations == sorted(generations)  # type: ignore[type-var]
    assert generations[-1] == 2  # 60 trials in populations of 20; infeasible trials count, they are told with their violations


@pytest.mark.parametrize(
    ("trials", "expected"), [(60, SamplerName.EXHAUSTIVE), (59, SamplerName.TPE), (1000, SamplerName.EXHAUSTIVE), (5, SamplerName.TPE)]
)
def test_auto_enumerates_what_fits_the_budget(trials: int, expected: SamplerName) -> None:
    assert resolve(SamplerName.AUTO, SPACE, trials) is expected


def test_auto_takes_nsga2_for_large_budgets() -> None:
    large = Space((Dimension("x", tuple(range(5000)), Scale.ORDERED),), ())
    assert resolve(SamplerName.AUTO, large, 2000) is SamplerName.NSGA2
