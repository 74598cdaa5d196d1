"""Thinned frontiers keep their promise: no row of the whole space is cheaper by more than the stated excess."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.hw.accelerator import ArrayGeometry, Dataflow, Folds, Geometry
from dse.mapping import frontier
from dse.mapping.problem import MatmulProblem
from dse.mapping.tiles import all_sides, thin_sides


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 5000), side=st.sampled_from([1, 16, 32, 256]), excess=st.sampled_from([0.01, 0.05, 0.1]))
def test_a_dropped_side_has_a_smaller_one_with_as_many_folds_and_few_more_tiles(size: int, side: int, excess: float) -> None:
    full = all_sides(size, side)
    thin = thin_sides(full, excess)
    for s, count, folds in zip(full.side, full.count, full.folds, strict=True):
        fitting = (thin.side <= s) & (thin.count - 1 <= (1 + excess) * (count - 1)) & (thin.folds <= folds)
        assert fitting.any()


@pytest.mark.parametrize("flow", list(Dataflow))
@pytest.mark.parametrize("limits", [(5000, 10**9), (10**9, 30), (5000, 30)])
def test_excess_bounds_every_count(flow: Dataflow, limits: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Thinned by sides, by rows, by both: for every exact row one that needs no more bytes and little more of the rest."""
    geometry = Geometry(ArrayGeometry(2, 2, 1, (flow,), Folds.PIPELINED, (("int8", 1),)), double_buffered=True)
    problem = MatmulProblem(1, 300, 310, 290, 8, 8, 8, 32, "int8")
    monkeypatch.setattr(frontier, "MAX_CANDIDATES", 10**9)
    monkeypatch.setattr(frontier, "MAX_ROWS", 10**9)
    exact = frontier.matmul_frontier.__wrapped__(problem, geometry)
    assert exact.excess == 0.0
    monkeypatch.setattr(frontier, "MAX_CANDIDATES", limits[0])
    monkeypatch.setattr(frontier, "MAX_ROWS", limits[1])
    thin = frontier.matmul_frontier.__wrapped__(problem, geometry)
    assert thin.excess > 0.0
    assert len(thin) < len(exact)
    rows = thin.counts.matrix()
    for row in exact.counts.matrix():
        allowed = np.concatenate((row[:1], (1 + row[1:]) * (1 + thin.excess)))
        assert (rows <= allowed + 1e-9).all(axis=1).any()
