"""A frontier that is thinner by choice keeps its promise: no row of the exact one is cheaper by more than the excess asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dse.cost.frontier_pricing import OperatorPricer
from dse.cost.metrics import Objective
from dse.hw.accelerator import ArrayGeometry, Dataflow, Folds, Geometry, MemoryGeometry, OperandName
from dse.mapping.counts import INNER_COLUMNS
from dse.mapping.frontier import mapping_traffic, matmul_frontier
from dse.mapping.problem import MatmulProblem
from dse.plugins import load_accelerator
from dse.schedule.place import Work

INNER = MemoryGeometry(double_buffered=False, overlapped=True, operands=tuple(OperandName))


@pytest.mark.parametrize("flow", list(Dataflow))
@pytest.mark.parametrize("inner", [(), (INNER,)])
@pytest.mark.parametrize(("excess", "alike"), [(0.01, False), (0.1, True), (1.0, False)])
def test_excess_bounds_every_count(flow: Dataflow, inner: tuple[MemoryGeometry, ...], excess: float, alike: bool) -> None:
    """For every exact row one that needs no more room in any memory and little more of the rest."""
    array = ArrayGeometry(2, 2, 1, (flow,), Folds.PIPELINED, (("int8", 1),))
    geometry = Geometry(array, double_buffered=True, inner=inner, dram_alike=alike)
    sizes = (61, 70, 59) if inner else (300, 310, 290)
    problem = MatmulProblem(1, *sizes, 8, 8, 8, 32, "int8")
    exact, thin = matmul_frontier(problem, geometry), matmul_frontier(problem, replace(geometry, mapping_excess=excess))
    assert (exact.excess, thin.excess) == (0.0, excess)
    assert len(thin) < len(exact)
    rows, every = thin.counts.matrix(), exact.counts.matrix()
    room = [0, *range(6, rows.shape[1], INNER_COLUMNS)]
    if alike:
        rows[:, 1], every[:, 1] = rows[:, 1] + rows[:, 2], every[:, 1] + every[:, 2]
        rows[:, 2] = every[:, 2] = 0.0
    for row in every:
        allowed = (1 + row) * (1 + excess)
        allowed[room] = row[room]
        assert (rows <= allowed + 1e-9).all(axis=1).any()
    for at in range(0, len(thin), max(1, len(thin) // 5)):
        assert mapping_traffic(problem, geometry, thin.mappings[at])[1].matrix()[0] == pytest.approx(thin.counts.matrix()[at])
    assert np.isfinite(rows).all()


@pytest.mark.parametrize("chip", ["edge32", "rtx_pro_6000", "tpu_v4i"])
@pytest.mark.parametrize("objective", list(Objective))
def test_excess_bounds_every_price(chip: str, objective: Objective) -> None:
    """At 300 random designs no optimum is further from the exact one than the excess; what fits is the same."""
    description, rng, excess = load_accelerator(chip), np.random.default_rng(3), 0.05
    buffer = description.file.buffer[0]
    columns = {p.path: float(str(p.value)) * np.exp(rng.uniform(-4, 4, 300)) for p in description.paths() if p.path.endswith("gb_per_s")}
    columns |= {
        f"memories.{name}.capacity_kib": np.exp(rng.uniform(0, 8, 300)) for name in (buffer, *(n for n, _ in description.file.inner))
    }
    columns["clock_mhz"] = 1000 * np.exp(rng.uniform(-2, 2, 300))
    work = Work(MatmulProblem(1, 128, 512, 600, 16, 16, 16, 32, "bf16"), 1, 0.0, 0.0, 0.0, 1, True)
    exact, thin = (OperatorPricer(work, description.geometry_for(columns, mapping_excess=e)) for e in (0.0, excess))
    assert len(thin.counts) < len(exact.counts)
    table = description.table(columns)
    best, found = exact.price(table, objective), thin.price(table, objective)
    fits = np.isfinite(best.latency_s)
    assert fits.sum() > 100
    assert np.array_equal(fits, np.isfinite(found.latency_s))
    if objective is Objective.ENERGY:
        assert (found.energy_j[fits] <= best.energy_j[fits] * (1 + excess) * (1 + 1e-6)).all()
    elif objective is Objective.LATENCY:
        assert (found.latency_s[fits] <= best.latency_s[fits] * (1 + excess) * (1 + 1e-6)).all()
    else:
        product, least = found.energy_j * found.latency_s, best.energy_j * best.latency_s
        assert (product[fits] <= least[fits] * (1 + excess) ** 2 * (1 + 1e-6)).all()
