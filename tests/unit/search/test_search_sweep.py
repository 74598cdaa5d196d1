"""The inner sweep against brute force over the whole product."""

from __future__ import annotations

import numpy as np
import pytest

from dse.search import sweep as module
from dse.search.goals import Constraint, Goals
from dse.search.pareto import non_dominated
from dse.search.space import Dimension, Scale, Space
from dse.search.sweep import sweep
from dse.search.trial import TrialState
from tests.search_fakes import GOALS, SPACE, FakeEvaluator, FakePrepared

CHOICE = SPACE.choice(3 * 12)  # 64 rows
PREPARED = FakePrepared(CHOICE)


def brute() -> tuple[np.ndarray, np.ndarray]:
    """Objectives of every inner point, and which are feasible."""
    everything = np.arange(SPACE.inner_size)
    (priced,) = PREPARED.price(SPACE.columns(everything), SPACE.inner_size)
    feasible = priced.feasible & (priced.area_mm2 <= 120)
    return np.stack([priced.tokens / priced.latency_s, priced.energy_j / priced.tokens], axis=1), feasible


@pytest.mark.parametrize("chunk", [1, 3, 7, 1000])
def test_front_is_exact_whatever_the_chunk(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    values, feasible = brute()
    rows = np.flatnonzero(feasible)
    expected = rows[non_dominated(values[rows], GOALS.maximise)].tolist()
    found = sweep(FakeEvaluator(), CHOICE, SPACE, GOALS)
    assert sorted(design.inner for design in found.front) == expected
    assert found.feasible == len(rows)
    assert found.fitting == 4 * 4 - 1  # 16 KiB does not fit; 640 GB/s with 256 KiB is above 120 mm2
    assert found.screened == 1
    assert found.designs == 20
    assert found.priced + found.screened == 20


def test_best_is_the_least_product_and_marginals_are_the_best_of_each_value() -> None:
    values, feasible = brute()
    found = sweep(FakeEvaluator(), CHOICE, SPACE, GOALS)
    assert found.best is not None
    product = np.where(feasible, values[:, 1] / values[:, 0], np.inf)  # J/token x s: EDP for one token
    assert found.best.inner == int(product.argmin())
    digits = SPACE.inner_digits(np.arange(SPACE.inner_size))
    for marginal in found.marginals:
        axis = [d.path for d in SPACE.inner].index(marginal.path)
        own = feasible & (digits[axis] == marginal.position)
        column = GOALS.objectives.index(marginal.objective)
        best = values[own, column].max() if column == 0 else values[own, column].min()
        assert marginal.value == best


def test_a_limit_that_nothing_meets_gives_the_nearest_miss() -> None:
    goals = Goals(GOALS.objectives, (Constraint("area_mm2", 1.0, at_least=False),))
    found = sweep(FakeEvaluator(), CHOICE, SPACE, goals)
    assert found.state is TrialState.INFEASIBLE
    assert len(found.front) == 0
    assert found.violated == (20,)
    # smallest area: 64 x 64 x 0.01 + 16 x 0.1 + 10e9 x 1e-10; nothing needed to be priced to know it
    assert found.priced == 0
    assert found.attained == pytest.approx((40.96 + 1.6 + 1.0,))
    assert found.miss is not None
    assert found.miss.violations == pytest.approx((42.56,))
    assert SPACE.parameters(0, found.miss.design.inner)["memories.sram.capacity_kib"] == 16


def test_a_limit_on_what_is_priced_gives_the_nearest_miss() -> None:
    goals = Goals(GOALS.objectives, (Constraint("tokens_per_s", 1e9, at_least=True),))
    found = sweep(FakeEvaluator(), CHOICE, SPACE, goals)
    values, _ = brute()
    assert found.violated == (16,)
    assert found.attained == (values[:, 0].max(),)
    assert found.miss is not None
    assert found.miss.design.metrics["tokens_per_s"] == values[:, 0].max()


def test_nothing_fits() -> None:
    goals = Goals(("latency_s",))
    small = Space(SPACE.outer, (Dimension("memories.sram.capacity_kib", (8, 16), Scale.POWER_OF_TWO),))
    found = sweep(FakeEvaluator(), CHOICE, small, goals)
    assert (found.state, found.fitting, len(found.front), found.miss) == (TrialState.INFEASIBLE, 0, 0, None)
