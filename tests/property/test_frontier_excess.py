"""A frontier that is thinner by choice keeps its promise: no row of the exact one is cheaper by more than the excess asked for."""

from __future__ import annotations

import numpy as np
import pytest

from dse.hw.accelerator import ArrayGeometry, Dataflow, Folds, Geometry, MemoryGeometry, OperandName
from dse.mapping.counts import INNER_COLUMNS
from dse.mapping.frontier import matmul_frontier
from dse.mapping.problem import MatmulProblem

INNER = MemoryGeometry(double_buffered=False, overlapped=True, operands=tuple(OperandName))


@pytest.mark.parametrize("flow", list(Dataflow))
@pytest.mark.parametrize("inner", [(), (INNER,)])
@pytest.mark.parametrize("excess", [0.01, 0.1, 1.0])
def test_excess_bounds_every_count(flow: Dataflow, inner: tuple[MemoryGeometry, ...], excess: float) -> None:
    """For every exact row one that needs no more room in any memory and little more of the rest."""
    geometry = Geometry(ArrayGeometry(2, 2, 1, (flow,), Folds.PIPELINED, (("int8", 1),)), double_buffered=True, inner=inner)
    sizes = (61, 70, 59) if inner else (300, 310, 290)
    problem = MatmulProblem(1, *sizes, 8, 8, 8, 32, "int8")
    exact, thin = matmul_frontier(problem, geometry), matmul_frontier(problem, geometry, excess)
    assert (exact.excess, thin.excess) == (0.0, excess)
    assert len(thin) < len(exact)
    rows = thin.counts.matrix()
    room = [0, *range(6, rows.shape[1], INNER_COLUMNS)]
    for row in exact.counts.matrix():
        allowed = (1 + row) * (1 + excess)
        allowed[room] = row[room]
        assert (rows <= allowed + 1e-9).all(axis=1).any()
    assert all(mapping in exact.mappings for mapping in thin.mappings[:: max(1, len(thin) // 5)])
    assert np.isfinite(rows).all()
