"""The elimination against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dse.schedule.cores import elimination
from dse.schedule.cores.elimination import least_sum


def random_problem(seed: int, most_options: int = 4) -> tuple[list[np.ndarray], dict[tuple[int, int], np.ndarray]]:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, most_options, size=rng.integers(1, 6))
    own = [rng.integers(0, 9, size=s).astype(float) for s in sizes]
    pairs = {(a, b) if rng.random() < 0.5 else (b, a): None for a, b in itertools.combinations(range(len(sizes)), 2) if rng.random() < 0.5}
    return own, {(a, b): rng.integers(0, 9, size=(sizes[a], sizes[b])).astype(float) for a, b in pairs}


def cost(own: list[np.ndarray], pairs: dict[tuple[int, int], np.ndarray], x: tuple[int, ...]) -> float:
    return sum(float(o[i]) for o, i in zip(own, x, strict=True)) + sum(float(t[x[a], x[b]]) for (a, b), t in pairs.items())


@pytest.mark.parametrize("seed", range(100))
def test_equals_brute_force(seed: int) -> None:
    own, pairs = random_problem(seed)
    found = least_sum(own, pairs)
    best = min(cost(own, pairs, x) for x in itertools.product(*(range(len(o)) for o in own)))
    assert found.exact
    assert found.cost == best == cost(own, pairs, found.choices)


def test_a_chain_of_forty_is_exact() -> None:
    rng = np.random.default_rng(1)
    own = [rng.random(30) for _ in range(40)]
    pairs = {(v, v + 1): rng.random((30, 30)) for v in range(39)}
    best = own[0]
    for v in range(39):  # the textbook recursion over the chain
        best = (best[:, None] + pairs[v, v + 1]).min(axis=0) + own[v + 1]
    found = least_sum(own, pairs)
    assert found.exact
    assert found.cost == pytest.approx(float(best.min()), rel=1e-12)


def test_forbidden_choices_are_avoided() -> None:
    own = [np.array([0.0, 5.0]), np.array([0.0, 4.0])]
    pairs = {(0, 1): np.array([[np.inf, 1.0], [1.0, 0.0]])}
    found = least_sum(own, pairs)
    assert (found.choices, found.cost) == ((0, 1), 5.0)


def test_says_when_options_were_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elimination, "MAX_TABLE", 30)
    rng = np.random.default_rng(3)
    own = [rng.random(6) for _ in range(5)]
    pairs = {pair: rng.random((6, 6)) for pair in itertools.combinations(range(5), 2)}
    found = least_sum(own, pairs)
    least = min(cost(own, pairs, x) for x in itertools.product(range(6), repeat=5))
    assert not found.exact
    assert found.cost == pytest.approx(cost(own, pairs, found.choices))
    assert found.cost >= least - 1e-12
