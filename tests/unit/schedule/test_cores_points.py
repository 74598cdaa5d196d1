"""Plans at many prices: the replay of a plan against its simulation, against plans made at the point, and against the bound."""

from __future__ import annotations

import numpy as np
import pytest

from dse.cost.chip_points import ChipPlans, bound_index
from dse.cost.many_core import evaluate_chip
from dse.cost.metrics import Objective
from dse.errors import UsageError
from dse.plugins import load_chip
from dse.schedule.cores.timeline import chip_timeline
from tests.unit.schedule.chips import SHARED, small_chip
from tests.unit.schedule.graphs import swiglu_chain, two_layers

POINTS = 40


def prices(seed: int, usual: dict[str, float]) -> dict[str, np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Columns within a factor of three of the usual prices."""
    random = np.random.default_rng(seed)
    return {path: value * 3.0 ** random.uniform(-1, 1, POINTS) for path, value in usual.items()}


USUAL = {
    "memories.dram.bandwidth_gb_per_s": 16.0,
    "memories.dram.latency_ns": 5.0,
    "memories.dram.read_energy_pj_per_byte": 30.0,
    "memories.l2.read_gb_per_s": 32.0,
    "memories.l2.write_energy_pj_per_byte": 1.0,
    "links.bus.bandwidth_gb_per_s": 32.0,
    "links.bus.energy_pj_per_byte": 1.0,
    "links.bus.latency_ns": 2.0,
    "clock_mhz": 1000.0,
    "cores.mac.memories.sram.read_gb_per_s": 64.0,
    "leakage_w": 0.01,
}


@pytest.mark.parametrize("objective", list(Objective))
def test_points_cost_what_they_do_alone(objective: Objective) -> None:
    """Vectorised and one by one, explained: the same; no earlier than the bound of the point; no resource does two things at once."""
    chip, graphs = small_chip(2, capacity_kib=8, extra=SHARED), ((swiglu_chain(16, 32, 48, 1), 3), (two_layers(), 2))
    plans = ChipPlans(chip, graphs, tokens=7, stored_bytes=0.0, objective=objective)
    columns = prices(1, USUAL)
    found = plans.price(columns, POINTS)
    for row in range(0, POINTS, 8):
        point = {path: float(column[row]) for path, column in columns.items()}
        one = next(plans.evaluate([point]))
        assert one.latency_s == pytest.approx(found.latency_s[row], rel=1e-12)
        assert one.energy_j == pytest.approx(found.energy_j[row], rel=1e-12)
        assert sum(b.energy_j for b in one.breakdown) == pytest.approx(one.energy_j, rel=1e-9)
        assert sum(b.bytes for b in one.breakdown if b.component == "dram") == pytest.approx(found.dram_bytes[row], rel=1e-9)
        assert bound_index(one, chip.chip) == found.bound[row]
        assert one.latency_s >= one.lower_bound_s * (1 - 1e-12)
        for part in one.parts:
            assert chip_timeline("plan", part.planned.outcome, chip.chip, one.clock_hz).problems() == []
        alone = ChipPlans(chip, graphs, tokens=7, stored_bytes=0.0, objective=objective).price(
            {p: c[row : row + 1] for p, c in columns.items()}, 1
        )
        assert alone.latency_s[0] == found.latency_s[row]


def test_the_chip_as_described_costs_what_its_plan_does() -> None:
    chip, graphs = small_chip(2), ((swiglu_chain(32, 32, 64, 1), 1),)
    plans = ChipPlans(chip, graphs, tokens=1, stored_bytes=0.0, objective=Objective.LATENCY)
    planned = evaluate_chip(chip, graphs, tokens=1, stored_bytes=0.0, objective=Objective.LATENCY)
    assert plans.price({}, 1).latency_s[0] == pytest.approx(planned.latency_s, rel=1e-12)
    assert next(plans.evaluate([{}])).energy_j == pytest.approx(planned.energy_j, rel=1e-12)


def test_faster_is_never_slower() -> None:
    """Every plan is fixed, so more bandwidth never costs time, and the best of them neither."""
    chip = small_chip(3, capacity_kib=24)
    plans = ChipPlans(chip, ((swiglu_chain(48, 32, 64, 2), 1),), tokens=1, stored_bytes=0.0, objective=Objective.LATENCY)
    for path in ("memories.dram.bandwidth_gb_per_s", "links.bus.bandwidth_gb_per_s", "clock_mhz"):
        latency = plans.price({path: USUAL[path] * np.linspace(0.5, 4.0, 20)}, 20).latency_s
        assert (np.diff(latency) <= 1e-15).all(), path


def test_replayed_plans_are_near_those_made_at_the_point() -> None:
    """Within 25 % on a chip whose prices change by up to three each, within 5 % in the median."""
    chip, graphs = small_chip(3, capacity_kib=24), ((swiglu_chain(48, 32, 64, 1), 1),)
    plans = ChipPlans(chip, graphs, tokens=1, stored_bytes=0.0, objective=Objective.LATENCY)
    columns = prices(2, {p: v for p, v in USUAL.items() if "l2" not in p})
    found = plans.price(columns, POINTS)
    ratios = []
    for row in range(0, POINTS, 5):
        there = chip.with_overrides({path: float(column[row]) for path, column in columns.items()})
        best = evaluate_chip(there, graphs, tokens=1, stored_bytes=0.0, objective=Objective.LATENCY)
        ratios.append(found.latency_s[row] / best.latency_s)
    assert max(ratios) <= 1.25
    assert float(np.median(ratios)) <= 1.05


def test_other_capacities_are_planned_anew() -> None:
    """Each capacity has plans of its own; what does not fit the memory off chip is infeasible at its points alone."""
    chip, graphs = small_chip(2, capacity_kib=64), ((swiglu_chain(64, 32, 512, 1), 1),)
    plans = ChipPlans(chip, graphs, tokens=1, stored_bytes=0.9 * 2.0**30, objective=Objective.LATENCY)
    columns = {
        "cores.mac.memories.sram.capacity_kib": np.array([64.0, 16.0, 64.0]),
        "memories.dram.capacity_gib": np.array([1.0, 4.0, 0.5]),
    }
    found = plans.price(columns, 3)
    smaller = evaluate_chip(
        chip.with_overrides({"cores.mac.memories.sram.capacity_kib": 16}), graphs, tokens=1, stored_bytes=0.0, objective=Objective.LATENCY
    )
    assert found.latency_s[1] == pytest.approx(smaller.latency_s, rel=1e-12)
    assert found.feasible.tolist() == [True, True, False]
    infeasible = next(plans.evaluate([{"memories.dram.capacity_gib": 0.5}]))
    assert infeasible.infeasibility[0].resource == "dram_capacity"


def test_unknown_columns_are_refused() -> None:
    plans = ChipPlans(small_chip(2), ((two_layers(), 1),), tokens=1, stored_bytes=0.0, objective=Objective.LATENCY)
    with pytest.raises(UsageError):
        plans.price({"links.bus.colour": np.array([1.0])}, 1)


@pytest.mark.parametrize("name", ["tpu_like_quad", "simba"])
def test_columns_reach_every_channel(name: str) -> None:
    """Each rate of a link or memory off chip that is halved makes some channel slower: none is left as described."""
    chip = load_chip(name)
    from dse.schedule.cores.charges import ChipCharges

    geometry = {kind: d.geometry for kind, d in chip.kinds.items()}
    usual = ChipCharges.at_points(chip, geometry, {})
    for i, channel in enumerate(chip.chip.interconnect.channels):
        path = f"{channel.path}.bandwidth_gb_per_s"
        value = next(p.value for p in chip.paths() if p.path == path)
        assert isinstance(value, int | float)
        halved = ChipCharges.at_points(chip, geometry, {path: [value / 2]})
        assert halved.bytes_per_s[i, 0] == pytest.approx(usual.bytes_per_s[i, 0] / 2)
        assert usual.bytes_per_s[i, 0] == pytest.approx(channel.bytes_per_s)


def test_more_memory_off_chip_makes_room_for_activations() -> None:
    """Inputs and results of 512 MiB each beside nothing stored: too much for the chip as described, not for a larger memory."""
    chip = small_chip(2, capacity_kib=64)
    plans = ChipPlans(chip, ((swiglu_chain(2**18, 1024, 1024, 1), 1),), tokens=1, stored_bytes=0.0, objective=Objective.LATENCY)
    assert plans.price({"memories.dram.capacity_gib": np.array([1.0, 4.0])}, 2).feasible.tolist() == [False, True]
    small = next(plans.evaluate([{}]))
    assert small.infeasibility[0].resource == "dram_capacity"
    assert "'x0' 512.00 MiB" in small.infeasibility[0].message


def test_far_prices_have_plans_of_their_own() -> None:
    """At a sixteenth and sixteen times the bandwidth off chip more memory costs no time, and plans made at the point are no better than
    those of its cell, alone or among other points."""
    chip, graphs = small_chip(2, capacity_kib=64), ((swiglu_chain(48, 32, 64, 2), 1),)
    dram, sram = "memories.dram.bandwidth_gb_per_s", "cores.mac.memories.sram.capacity_kib"
    plans = ChipPlans(chip, graphs, tokens=1, stored_bytes=0.0, objective=Objective.LATENCY)
    columns = {dram: np.repeat([1.0, 16.0, 256.0], 3), sram: np.tile([8.0, 16.0, 64.0], 3)}
    found = plans.price(columns, 9).latency_s.reshape(3, 3)
    assert (found[:, 1:] <= found[:, :-1] * 1.02).all()
    for row, rate in enumerate((1.0, 16.0, 256.0)):
        at_point = chip.with_overrides({dram: rate, sram: 16})
        made = evaluate_chip(at_point, graphs, tokens=1, stored_bytes=0.0, objective=Objective.LATENCY)
        alone = next(plans.evaluate([{dram: rate, sram: 16.0}]))
        assert alone.latency_s == pytest.approx(found[row, 1], rel=1e-12)
        assert alone.latency_s <= made.latency_s * 1.0005
