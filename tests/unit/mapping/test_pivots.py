"""Known mappings on stairs, and sides of large dimensions, against plain enumeration."""

from __future__ import annotations

import numpy as np
import pytest

from dse.mapping.pivots import Pivots, Stairs
from dse.mapping.ranks import Ranks
from dse.mapping.tiles import all_sides, sides


@pytest.mark.parametrize(("rows", "columns", "values"), [(1, 3, 4), (700, 3, 40), (3000, 5, 12), (400, 8, 6)])
def test_stairs_beat_what_some_known_row_beats(rows: int, columns: int, values: int) -> None:
    rng = np.random.default_rng(rows)
    known = rng.integers(0, values, (rows, columns)).astype(float) + rng.integers(0, values, (rows, 1))
    tried = rng.integers(0, 2 * values, (300, columns)).astype(float)
    beaten = (known[:, None] <= tried).all(axis=2).any(axis=0)
    said = Stairs(known, footprint=1).beat(tried.T)
    assert not (said & ~beaten).any()
    if beaten.any():
        assert said.sum() >= beaten.sum() / 2  # a step knows all rows with less footprint than its first


@pytest.mark.parametrize("least", [-1e3, 0.0, 1.0, 1e9])
@pytest.mark.parametrize("known", [1, 2, 3, 50, 700])
def test_ranks_are_those_of_a_search_by_halving(least: float, known: int) -> None:
    rng = np.random.default_rng(known)
    for spread in (0.0, 5.0, 20.0):  # from numbers side by side to such of all sizes
        values = np.unique(least + np.round(np.exp(rng.normal(size=known) * spread), 3))
        tried = np.concatenate(
            (values, np.nextafter(values, np.inf), np.nextafter(values, -np.inf), rng.choice(values, 50) * 1.5, [-7e3, 0, np.inf])
        )
        assert (Ranks(values).of(tried) == np.searchsorted(values, tried, side="right")).all()


def test_pivots_say_which_of_them_beat_some_row() -> None:
    rng = np.random.default_rng(5)
    pivots, rows = rng.integers(0, 9, (150, 3)).astype(float), rng.integers(0, 3, (40, 3)).astype(float)
    below = (pivots[:, None] <= rows).all(axis=2)
    found = Pivots(pivots)
    assert (found.beat(rows.T) == below.any(axis=0)).all()
    assert (found.beating(rows.T)[:150] == below.any(axis=1)).all()
    assert not Pivots(pivots[:0]).beat(rows.T).any()


@pytest.mark.parametrize(("size", "array_side"), [(513, 16), (1536, 32), (7168, 24), (5000, 7)])
def test_whole_passes_are_those_of_all_multiples(size: int, array_side: int) -> None:
    every = sides(size, np.arange(array_side, size + 1), array_side)
    best: dict[int, tuple[int, int]] = {}
    for side, folds in zip(every.side.tolist(), every.folds.tolist(), strict=True):
        if side % array_side == 0 or side == size:
            count = -(-size // side)
            best[count] = min(best.get(count, (folds, side)), (folds, side))
    found = all_sides(size, array_side)
    for count, (folds, side) in best.items():
        assert ((found.count <= count) & (found.folds <= folds) & (found.side <= side)).any()
