"""Non-dominated sets, hypervolume, reference point, knee and archive."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.cost.metrics import METRICS
from dse.search.archive import Archive
from dse.search.goals import Constraint, Goals
from dse.search.pareto import epsilon_thin, hypervolume, hypervolume_is_exact, knee, non_dominated, peel, reference_from_worst
from dse.search.trial import Front, TrialRecord, TrialState

GOALS = Goals(("tokens_per_s", "joules_per_token"))
UP = GOALS.maximise
points = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=40)


def record(number: int, values: list[tuple[float, float]], batch: int = 0) -> TrialRecord:
    n = len(values)
    metrics = dict.fromkeys(METRICS, (1.0,) * n)
    metrics |= {"tokens_per_s": tuple(float(a) for a, _ in values), "joules_per_token": tuple(float(b) for _, b in values)}
    front = Front(tuple(range(n)), metrics, ("dram",) * n, (1.0,) * n)
    worst = (float(min(a for a, _ in values)), float(max(b for _, b in values)))
    return TrialRecord(state=TrialState.COMPLETE, number=number, batch=batch, outer=number, front=front, worst=worst)


def test_directions_by_hand() -> None:
    # tokens/s up, J/token down: (10, 5) beats (9, 6); (12, 7) trades; the second (10, 5) is a repeat
    values = np.array([[10.0, 5.0], [9.0, 6.0], [12.0, 7.0], [10.0, 5.0]])
    assert non_dominated(values, UP).tolist() == [True, False, True, False]


@given(points)
def test_non_dominated_equals_brute_force(given_points: list[tuple[int, int]]) -> None:
    values = np.array(given_points, dtype=float)
    mask = non_dominated(values, UP)
    for i, (a, b) in enumerate(given_points):
        beaten = any((c >= a and d <= b) and (c > a or d < b) for c, d in given_points)
        repeat = (a, b) in given_points[:i]
        assert mask[i] == (not beaten and not repeat)


def test_hypervolume_by_hand() -> None:
    # reference (0, 10): the point (4, 6) covers 4 x 4 = 16, (2, 5) adds 2 x 1 = 2
    assert hypervolume(np.array([[4.0, 6.0], [2.0, 5.0]]), (0.0, 10.0), UP) == pytest.approx(18.0)
    assert hypervolume(np.array([[4.0, 11.0]]), (0.0, 10.0), UP) == 0.0
    assert hypervolume(np.zeros((0, 2)), (0.0, 10.0), UP) == 0.0


def test_the_reference_lies_beyond_the_worst() -> None:
    assert reference_from_worst((10.0, 5.0), UP) == (9.0, 5.5)


def test_knee_by_hand() -> None:
    # scaled distances from the ideal corner: (1, 0), (0.29, 0.3), (0, 1)
    values = np.array([[1.0, 1.0], [6.0, 2.0], [8.0, 4.3]])
    assert knee(values, UP) == 1
    with pytest.raises(ValueError, match="empty"):
        knee(np.zeros((0, 2)), UP)


@settings(max_examples=50)
@given(st.lists(points, min_size=1, max_size=6))
def test_no_member_is_dominated_and_hypervolume_never_falls(trials: list[list[tuple[int, int]]]) -> None:
    archive = Archive(GOALS)
    before = 0.0
    for number, values in enumerate(trials):
        archive.add_batch([record(number, [(float(a), float(b)) for a, b in values], number)])
        assert archive.hypervolume >= before - 1e-9
        before = archive.hypervolume
    members = [(m.design.metrics["tokens_per_s"], m.design.metrics["joules_per_token"]) for m in archive.members]
    everything = {(float(a), float(b)) for values in trials for a, b in values}
    for a, b in members:
        assert not any((c >= a and d <= b) and (c, d) != (a, b) for c, d in everything)
    assert members == sorted(members, key=lambda m: -m[0])


@given(st.lists(points, min_size=2, max_size=6), st.integers(1, 5))
def test_the_archive_does_not_depend_on_batches(trials: list[list[tuple[int, int]]], size: int) -> None:
    records = [record(n, [(float(a), float(b)) for a, b in values]) for n, values in enumerate(trials)]
    one, many = Archive(GOALS, (0.0, 100.0)), Archive(GOALS, (0.0, 100.0))
    one.add_batch(records)
    for start in range(0, len(records), size):
        many.add_batch(records[start : start + size])
    assert one.members == many.members


def test_the_reference_is_frozen_after_the_first_batch_with_designs() -> None:
    archive = Archive(GOALS)
    archive.add_batch([TrialRecord(state=TrialState.FAILED, number=0, batch=0, outer=0)])
    assert archive.reference is None
    assert archive.hypervolume == 0.0
    archive.add_batch([record(1, [(10.0, 5.0)])])
    archive.add_batch([record(2, [(1.0, 50.0)])])
    assert archive.reference == (9.0, 5.5)


def test_best_breaks_ties_on_the_other_objective() -> None:
    archive = Archive(GOALS)
    archive.add_batch([record(0, [(10.0, 5.0), (12.0, 7.0)])])
    best = archive.best("joules_per_token")
    assert best is not None
    assert best.design.metrics["tokens_per_s"] == 10.0


def test_violation_is_a_share_of_the_limit() -> None:
    assert Constraint("area_mm2", 200.0, at_least=False).violation(np.array([300.0, 100.0])).tolist() == [0.5, -0.5]
    assert Constraint("tokens_per_s", 10.0, at_least=True).violation(np.array([5.0, 20.0])).tolist() == [0.5, -1.0]
    assert str(Constraint("tokens_per_s", 10.0, at_least=True)) == "tokens_per_s >= 10 token/s"


def test_thinning_keeps_the_extremes_and_covers_the_front() -> None:
    x = np.linspace(0, 1, 1000)
    values = np.stack([x, x**2], axis=1)  # more tokens for more joules: all on the front
    keep = epsilon_thin(values, UP, 20)
    assert 10 <= keep.sum() <= 20
    assert keep[0]  # least joules
    assert keep[-1]  # most tokens
    distance = np.abs(values[:, None, :] - values[keep][None, :, :]).max(axis=2).min(axis=1)
    assert distance.max() <= 1 / 5  # within one of at least five cells
    assert epsilon_thin(values[:20], UP, 20).all()


@given(points)
def test_peeling_takes_front_after_front(given_points: list[tuple[int, int]]) -> None:
    values = np.array(given_points, dtype=float)
    first = set(np.flatnonzero(non_dominated(values, UP)).tolist())
    chosen = peel(values, UP, len(first))
    assert set(chosen) == first
    assert sorted(peel(values, UP, 1000)) == list(range(len(values)))


def test_sampled_hypervolumes_are_near_the_exact_ones() -> None:
    rng = np.random.default_rng(0)
    directions = np.abs(rng.normal(size=(400, 6)))
    values = 1.1 - directions / np.linalg.norm(directions, axis=1, keepdims=True) / 1.3
    assert not hypervolume_is_exact(*values.shape)
    sampled = hypervolume(values, [1.2] * 6, [False] * 6)
    import moocore

    assert sampled == pytest.approx(moocore.hypervolume(values, ref=[1.2] * 6), rel=1e-3)
