"""The price of one operator, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dse.cost import frontier_pricing
from dse.cost.frontier_pricing import CHUNK_POINTS, TIE_TOLERANCE, OperatorPricer
from dse.cost.metrics import Objective
from dse.mapping.counts import Counts
from dse.mapping.frontier import Frontier

from .design_points import geometry, matmul, points, vector, work

LATENCY = Objective.LATENCY


def price(pricer: OperatorPricer, table, objective: Objective = LATENCY) -> tuple[float, float]:
    found = pricer.price(table, objective)
    return float(found.latency_s[0]), float(found.energy_j[0])


@pytest.mark.parametrize(("overlap", "busy_ns"), [(True, 3000.0), (False, 4500.0)])
def test_vector_operator(overlap: bool, busy_ns: float) -> None:
    """Latency: DRAM 1500 B at 0.5 of 1 GB/s = 3000 ns; buffer 1500 B in and 1500 B out at 1 GB/s = 1500 ns each at the same
    time; vector unit 2000 / 4 = 500 cycles = 500 ns. Overlapped 3000 ns, else 3000 + 1500. Launch 1000 ns, DRAM 100 ns.

    Energy: DRAM 1000 x 10 + 500 x 20, buffer 1500 x 1 + 1500 x 2, vector 2000 x 3: 30,500 pJ; 2 W leak meanwhile.
    """
    table = points(dram_sustained_fraction=0.5, launch_latency_s=1e-6, dram_latency_s=1e-7, leakage_w=2.0)
    latency, energy = price(OperatorPricer(work(vector()), geometry(double_buffered=overlap)), table)
    assert latency == pytest.approx((busy_ns + 1100) * 1e-9, rel=1e-12)
    assert energy == pytest.approx(30_500e-12 + 2.0 * latency, rel=1e-12)


@pytest.mark.parametrize(("overlap", "latency_ns"), [(True, 128.0), (False, 188.0)])
def test_matmul(overlap: bool, latency_ns: float) -> None:
    """One pass of an 8 x 8 array: 8 cycles (the load of 8 rows hides the 4 streamed), fill and drain 8 + 8 + 8 - 2 = 22: 30
    cycles, at half the peak 60 ns. All operands pass the buffer by: DRAM 32 + 64 + 32 = 128 B = 128 ns.

    Energy: 256 MACs x 0.5, 96 B x 10, 32 B x 20: 128 + 960 + 640 = 1,728 pJ.
    """
    pricer = OperatorPricer(work(matmul()), geometry(double_buffered=overlap))
    assert pricer.counts.tolist() == [[0, 96, 32, 0, 0, 30]]
    latency, energy = price(pricer, points(array_sustained_fraction=0.5))
    assert latency == pytest.approx(latency_ns * 1e-9, rel=1e-12)
    assert energy == pytest.approx(1_728e-12, rel=1e-12)


def test_compute_bounds_where_the_clock_is_slow() -> None:
    latency, _ = price(OperatorPricer(work(matmul()), geometry()), points(clock_hz=1e8))
    assert latency == pytest.approx(30e-8, rel=1e-12)


def test_slices_and_held_tensors() -> None:
    """Three slices: 3 x 96 B in, 3 x 32 B out, 90 cycles. A fill of 100 B is read from DRAM and written to the buffer, a drain
    of 40 B read from the buffer and written to DRAM: once, not per slice.

    DRAM 288 + 96 + 140 = 524 ns; energy 768 x 0.5 + (288 + 100) x 10 + (96 + 40) x 20 + 40 x 1 + 100 x 2 = 7,224 pJ.
    """
    pricer = OperatorPricer(work(matmul(), slices=3, fill_bytes=100, drain_bytes=40), geometry())
    assert pricer.counts.tolist() == [[0, 388, 136, 40, 100, 90]]
    latency, energy = price(pricer, points())
    assert latency == pytest.approx(524e-9, rel=1e-12)
    assert energy == pytest.approx(7_224e-12, rel=1e-12)


@pytest.mark.parametrize(("launches", "touches_dram", "overhead_ns"), [(1, True, 1100), (0, True, 100), (1, False, 1000), (0, False, 0)])
def test_overheads_are_paid_by_who_causes_them(launches: int, touches_dram: bool, overhead_ns: float) -> None:
    table = points(launch_latency_s=1e-6, dram_latency_s=1e-7)
    pricer = OperatorPricer(work(matmul(), launches=launches, touches_dram=touches_dram), geometry())
    assert price(pricer, table)[0] == pytest.approx((128 + overhead_ns) * 1e-9, rel=1e-12)


@pytest.mark.parametrize(("leakage_w", "energy_pj"), [(0.0, 1_728.0), (10.0, 1_728.0 + 1.28e6)])
def test_leakage_is_power_times_latency(leakage_w: float, energy_pj: float) -> None:
    """10 W over 128 ns are 1.28 uJ."""
    _, energy = price(OperatorPricer(work(matmul()), geometry()), points(leakage_w=leakage_w))
    assert energy == pytest.approx(energy_pj * 1e-12, rel=1e-12)


def test_capacity_counts_what_the_schedule_reserves() -> None:
    """A softmax row of 600 B takes 1200 B double-buffered; without room for it the inputs are read twice; the schedule holds
    1000 B meanwhile. 999 B hold nothing; 1000 B to 2199 B two reads (1000 x 2 + 500 B of DRAM), from 2200 B one (1500 B)."""
    pricer = OperatorPricer(work(vector(row_bytes=600.0, rereads=True), reserved_bytes=1000), geometry())
    table = points(buffer_capacity_bytes=[999.0, 1000.0, 2199.0, 2200.0])
    for objective in Objective:
        found = pricer.price(table, objective)
        assert found.row.tolist() == [-1, 0, 0, 1]
        assert found.latency_s.tolist() == pytest.approx([np.inf, 2.5e-6, 2.5e-6, 1.5e-6], rel=1e-12)
        assert np.isinf(found.energy_j[0])
        assert np.isfinite(found.energy_j[1:]).all()


def pricer_of(rows: list[list[float]], monkeypatch: pytest.MonkeyPatch) -> OperatorPricer:
    """A pricer whose frontier has exactly these count vectors."""
    counts = Counts(*np.array(rows, dtype=float).T)
    monkeypatch.setattr(frontier_pricing, "frontier_of", lambda work, geometry: Frontier(counts, ()))
    return OperatorPricer(work(matmul()), geometry())


def test_ties_never_cost_ten_times_the_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 cycles and 1,000,000 B against 10,002 cycles (0.02 % more) and 100,000 B: 10.0 against 1.0 uJ."""
    assert TIE_TOLERANCE > 2e-4
    pricer = pricer_of([[0, 1_000_000, 0, 0, 0, 10_000], [0, 100_000, 0, 0, 0, 10_002]], monkeypatch)
    latency, energy = price(pricer, points(dram_bytes_per_s=1e12))
    assert latency == pytest.approx(10_002e-9, rel=1e-12)
    assert energy == pytest.approx(1e-6 + 128e-12, rel=1e-12)


def test_ties_of_energy_go_to_the_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Energies 1,000,000 and 1,000,200 pJ of DRAM (0.02 %), 20,000 against 10,000 cycles."""
    pricer = pricer_of([[0, 100_000, 0, 0, 0, 20_000], [0, 100_020, 0, 0, 0, 10_000]], monkeypatch)
    latency, _ = price(pricer, points(dram_bytes_per_s=1e12), Objective.ENERGY)
    assert latency == pytest.approx(10_000e-9, rel=1e-12)


def test_beyond_the_tolerance_the_objective_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """0.1 % more cycles are no tie."""
    pricer = pricer_of([[0, 1_000_000, 0, 0, 0, 10_000], [0, 100_000, 0, 0, 0, 10_010]], monkeypatch)
    assert price(pricer, points(dram_bytes_per_s=1e12))[0] == pytest.approx(10_000e-9, rel=1e-12)
    assert price(pricer, points(dram_bytes_per_s=1e12), Objective.ENERGY)[0] == pytest.approx(10_010e-9, rel=1e-12)


def test_edp_weight_trades_latency_against_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    """10 us and 10 uJ against 20 us and 1 uJ: equal at 0.9 W, the fast one above."""
    pricer = pricer_of([[0, 1_000_000, 0, 0, 0, 10_000], [0, 100_000, 0, 0, 0, 20_000]], monkeypatch)
    table = points(dram_bytes_per_s=[1e12, 1e12])
    found = pricer.price(table, Objective.EDP, np.array([0.89, 0.91]))
    assert found.row.tolist() == [1, 0]


def test_the_row_depends_on_the_point_and_not_on_its_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alternating DRAM rates over more points than one chunk: each point prefers its own row."""
    pricer = pricer_of([[0, 1000, 0, 0, 0, 100], [0, 100, 0, 0, 0, 1000]], monkeypatch)
    found = pricer.price(points(dram_bytes_per_s=[1e12, 1e8] * CHUNK_POINTS), LATENCY)
    assert found.row.reshape(-1, 2).min(axis=0).tolist() == found.row.reshape(-1, 2).max(axis=0).tolist() == [0, 1]
    assert found.latency_s[:2].tolist() == pytest.approx([1e-7, 1e-6], rel=1e-12)
