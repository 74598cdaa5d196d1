"""Strategies: no repeats, everything visited, a pure function of what is finished."""

from __future__ import annotations

import sys

import optuna
import pytest

from dse.errors import InputError, UsageError
from dse.search import samplers
from dse.search.archive import Archive
from dse.search.goals import Goals
from dse.search.limits import OuterChoices
from dse.search.space import Dimension, Scale, Space, digits_of
from dse.search.strategy import Sampler, SamplerName, choose, make_strategy, resolve
from dse.search.sweep import sweep
from dse.search.trial import Design, Sweep, TrialRecord, TrialState, failed, recorded
from tests.search_fakes import GOALS, SPACE, FakeEvaluator, fake_plan

CHOICES = OuterChoices(SPACE)

SAMPLERS = [SamplerName.EXHAUSTIVE, SamplerName.TPE, SamplerName.NSGA2, SamplerName.RANDOM, SamplerName.SURROGATE]


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
    ("trials", "seconds", "expected"),
    [
        (60, None, "exhaustive"),  # 60 choices
        (1000, 5.0, "exhaustive"),
        (59, None, "auto"),  # not measured yet
        (59, 0.0005, "nsga2"),
        (59, 0.02, "surrogate"),
        (59, 60.0, "surrogate"),
    ],
)
def test_auto_by_budget_and_measured_cost(trials: int, seconds: float | None, expected: str) -> None:
    assert resolve(Sampler("auto"), CHOICES, trials, seconds_per_trial=seconds).name == expected


def test_auto_for_large_budgets() -> None:
    large = OuterChoices(Space((Dimension("x", tuple(range(5000)), Scale.ORDERED),), ()))
    assert resolve(Sampler("auto"), large, 2000, seconds_per_trial=1.0).name == "nsga2"
    assert resolve(Sampler("auto"), large, 1000, seconds_per_trial=1.0).name == "surrogate"
    assert resolve(Sampler("random"), large, 9000).name == "random"


def test_auto_says_why() -> None:
    assert choose(Sampler("auto"), CHOICES, 60) == (Sampler("exhaustive"), "the budget of 60 trials covers all 60 outer choices")
    _, reason = choose(Sampler("auto"), CHOICES, 15, seconds_per_trial=0.02)
    assert reason == "the budget of 15 trials covers 25 % of 60 outer choices; a trial takes 0.02 s of the processor"
    assert choose(Sampler("tpe"), CHOICES, 15)[1] == ""


def test_the_surrogate_finds_more_than_chance() -> None:
    """Trials until 0.97 of the hypervolume of the whole space are found: fewer than of a random search, for every seed."""
    every = [sweep(FakeEvaluator(), SPACE.choice(outer), SPACE, GOALS) for outer in range(60)]
    whole = Archive(GOALS, (1e-3, 1.0))
    whole.add_batch([recorded(s, number=i, batch=0, outer=i, sampler_state={}) for i, s in enumerate(every)])

    def needed(sampler: SamplerName, seed: int) -> int:
        archive = Archive(GOALS, (1e-3, 1.0))
        for record in run(sampler, 60, seed):
            archive.add_batch([record])
            if archive.hypervolume >= 0.97 * whole.hypervolume:
                return record.number
        raise AssertionError("the whole space was visited")

    seeds = range(5)
    assert sum(needed(SamplerName.SURROGATE, s) for s in seeds) < sum(needed(SamplerName.RANDOM, s) for s in seeds)


def test_shards_share_the_space_without_overlap() -> None:
    shards = [OuterChoices(SPACE, shard=(index, 4)) for index in range(4)]
    listed = [[s.at(position) for position in range(s.count)] for s in shards]
    assert sorted(outer for own in listed for outer in own) == list(range(60))
    assert all(s.known and all(s.allows(outer) for outer in own) for s, own in zip(shards, listed, strict=True))
    for dimension, size in enumerate((5, 3, 4)):  # every shard has every value of every dimension
        assert all(len({digits_of(SPACE.outer, outer)[dimension] for outer in own}) == size for own in listed)


def test_gp_of_optuna_where_torch_is_installed() -> None:
    pytest.importorskip("torch", reason="torch is not installed (extra 'gp')")
    outers = [record.outer for record in run(SamplerName.GP, 24)]
    assert len(set(outers)) == 24


@pytest.mark.parametrize(
    ("name", "options"),
    [("NSGAIIISampler", {"population_size": 8}), ("TPESampler", {"n_startup_trials": 3}), ("RandomSampler", {})],
)
def test_any_sampler_of_optuna_by_name_with_its_options(name: str, options: dict[str, str | int]) -> None:
    strategy = make_strategy(Sampler(name, options), CHOICES, GOALS, 1)
    asked = strategy.ask([], 0, 8)
    assert len({one.outer for one in asked}) == 8


@pytest.mark.parametrize(
    ("name", "package", "advice"),
    [("qmc", "scipy", "pip install scipy"), ("CmaEsSampler", "cmaes", "pip install cmaes"), ("gp", "torch", "install the extra 'gp'")],
)
def test_a_sampler_whose_package_is_missing_is_told_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str, advice: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=f"needs {package}") as caught:
        fake_plan(("sampler: tpe", f"sampler: {name}"))
    assert advice in str(caught.value)


@pytest.mark.parametrize("sampler", ["nsga3", "NSGAIIISampler"])
def test_nsga3_takes_populations_as_nsga2_does(sampler: str) -> None:
    assert make_strategy(Sampler(sampler), CHOICES, GOALS, 1).batch_size == 20
    assert make_strategy(Sampler(sampler, {"population_size": 8}), CHOICES, GOALS, 1).batch_size == 8


@pytest.mark.parametrize(
    ("option", "value", "what"),
    [
        ("n_startup_trials", "many", "'many' is of the wrong type; it takes int"),
        ("n_startup_trials", True, "True is of the wrong type"),
        ("gamma", 3, "has no option 'gamma'"),  # a function, which a file cannot give
        ("seed", 3, "has no option 'seed'"),  # the campaign's own
    ],
)
def test_options_are_checked_by_type(option: str, value: str | int, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_strategy(Sampler("tpe", {option: value}), CHOICES, GOALS, 1)
    assert what in str(caught.value)


def test_a_quasi_random_sequence_goes_on_from_batch_to_batch() -> None:
    """Ten batches of 10 and one of 100 choose the same points: the first of the unscrambled Halton sequence are known."""
    pytest.importorskip("scipy", reason="scipy is not installed (extra 'gp')")
    space = Space((Dimension("x", tuple(range(1024)), Scale.ORDERED), Dimension("y", tuple(range(243)), Scale.ORDERED)), ())
    strategy = make_strategy(Sampler("qmc", {"qmc_type": "halton", "scramble": False}), OuterChoices(space), GOALS, 1)
    whole = [one.outer for one in strategy.ask([], 0, 30)]
    assert [digits_of(space.outer, outer)[0] // 128 for outer in whole[:8]] == [0, 4, 2, 6, 1, 5, 3, 7]  # bits reversed
    history: list[TrialRecord] = []
    for batch in range(3):
        for one in strategy.ask(history, batch, 10):
            told = failed(ValueError("not evaluated"))
            history.append(recorded(told, number=len(history), batch=batch, outer=one.outer, sampler_state=one.sampler_state))
    assert [record.outer for record in history] == whole


def test_cma_es_narrows_around_the_best() -> None:
    """The least of a bowl over 64 x 64 x 2 choices: the last batches lie nearer to it than the first."""
    pytest.importorskip("cmaes", reason="cmaes is not installed")
    outer = (Dimension("x", tuple(range(64)), Scale.ORDERED), Dimension("y", tuple(range(64)), Scale.ORDERED))
    space = Space((*outer, Dimension("z", ("a", "b"), Scale.CATEGORICAL)), ())
    strategy = make_strategy(Sampler("cmaes"), OuterChoices(space), Goals(("latency_s",)), 1)
    history: list[TrialRecord] = []
    far = []
    for batch in range(12):
        for one in strategy.ask(history, batch, 10):
            x, y, _ = digits_of(space.outer, one.outer)
            far.append((x - 50) ** 2 + (y - 12) ** 2)
            best = Design(0, {"latency_s": 1.0 + far[-1]}, "dram", 0.0)
            told = Sweep(state=TrialState.COMPLETE, best=best, worst=(1.0 + far[-1],))
            history.append(recorded(told, number=len(history), batch=batch, outer=one.outer, sampler_state=one.sampler_state))
    assert sum(far[-30:]) < sum(far[:30]) / 5  # by chance: 1


def test_cma_es_seeks_one_objective(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers, "_NEEDS", {})
    monkeypatch.setattr(samplers, "make_sampler", lambda *_, **__: None)
    with pytest.raises(InputError, match="seeks one objective, the campaign has 2"):
        fake_plan(("sampler: tpe", "sampler: cmaes"))


def test_optuna_never_chooses_its_own_default(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **given: object) -> object:
        assert given.get("sampler") is not None
        return made(*_, **given)

    made = optuna.create_study
    monkeypatch.setattr(optuna, "create_study", refuse)
    for sampler in (SamplerName.TPE, SamplerName.NSGA2, SamplerName.RANDOM):
        assert len(run(sampler, 12)) == 12
