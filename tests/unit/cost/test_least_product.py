"""The least product of energy and latency is the least of all: of every choice of rows, and of plans of layers at any worth of a second."""

from __future__ import annotations

from itertools import product as every_choice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.cost.charges import Charges
from dse.cost.least_product import least_product, product
from dse.cost.metrics import Objective
from dse.cost.part_pricing import PartPricer
from dse.cost.trade_off import weight_w
from dse.cost.workload_pricing import Costs, step_totals
from dse.evaluate import price
from dse.ir.lowering import Part
from tests.unit.cost.compiled import accelerator, compiled, step
from tests.unit.cost.test_fast_pricing import CHIPS, wide_table
from tests.unit.cost.test_fast_pricing import compiled as compiled_part

ROWS = st.integers(1, 5)
EXACT = 1 + 1e-9


class Operators:
    """A few operators at one point, each with rows of seconds and joules; counts how often it is asked."""

    def __init__(self, rng: np.random.Generator, operators: int, rows: int, *, coarse: bool) -> None:
        draw = rng.integers(0, 6, (operators, rows, 2)).astype(float) if coarse else rng.lognormal(0, 1.5, (operators, rows, 2))
        self.rows = draw + (0.0 if coarse and rng.random() < 0.3 else 1e-3)
        self.asked = 0

    def choices(self, points: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.asked += len(points)
        score = self.rows[:, :, 1, None] + self.rows[:, :, 0, None] * weight  # [Q, R, d]
        pick = score.argmin(axis=1)  # [Q, d]
        chosen = self.rows[np.arange(len(self.rows))[:, None], pick]  # [Q, d, 2]
        return chosen[:, :, 0].sum(axis=0), chosen[:, :, 1].sum(axis=0)

    def every(self) -> np.ndarray:
        return np.array([sum(rows) for rows in every_choice(*self.rows)])


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), operators=st.integers(1, 5), rows=ROWS, coarse=st.booleans(), slack=st.sampled_from([0.0, 0.1, 1.0]))
def test_least_of_every_choice(seed: int, operators: int, rows: int, coarse: bool, slack: float) -> None:
    """With ties, times and energies of 0, bounds that are reached, missed or 0; few choices are looked at."""
    found = Operators(np.random.default_rng(seed), operators, rows, coarse=coarse)
    choices = found.every()
    least = (choices[:, 0] * choices[:, 1]).min()
    box = choices.min(axis=0) * (1 - slack)
    seconds, joules = least_product(found.choices, box[:1], box[1:], np.full(1, np.inf))
    assert least * (1 - 1e-9) <= seconds[0] * joules[0] <= least * EXACT + 1e-25
    assert np.isclose(choices, [seconds[0], joules[0]], rtol=1e-9, atol=0).all(axis=1).any()
    assert found.asked <= 2 * operators * rows + 6


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), share=st.sampled_from([0.5, 0.999, 1.001, 2.0]))
def test_above_the_limit_nothing_is_found(seed: int, share: float) -> None:
    found = Operators(np.random.default_rng(seed), 3, 4, coarse=False)
    choices = found.every()
    least = (choices[:, 0] * choices[:, 1]).min()
    box = choices.min(axis=0) * 0.99
    seconds, joules = least_product(found.choices, box[:1], box[1:], np.full(1, least * share))
    assert product(seconds, joules)[0] == pytest.approx(least if share > 1 else np.inf, rel=1e-9)


@pytest.mark.parametrize(("name", "scheme"), CHIPS[::2])
def test_no_worth_finds_a_smaller_product(name: str, scheme: str) -> None:
    """Few and many points take different ways to the same choice; of all candidates at any worth none has a smaller product."""
    chip, part = compiled_part(name, scheme)
    table = wide_table(chip, 7, 200)
    charges = Charges.of(chip.geometry, table)
    every, some = (PartPricer(part, charges, bounded=b) for b in (False, True))
    weights = [weight_w([(1, p)]) for p in (every, some)]
    best = [p.best(Objective.EDP, w) for p, w in zip((every, some), weights, strict=True)]
    least = product(best[0].latency_s, best[0].energy_j)
    for a, b in ((weights[0], weights[1]), (best[0].latency_s, best[1].latency_s), (best[0].energy_j, best[1].energy_j)):
        np.testing.assert_array_equal(a, b)
    fits = np.isfinite(least)
    assert fits.any()
    np.testing.assert_allclose(weights[0][fits], best[0].energy_j[fits] / best[0].latency_s[fits], rtol=1e-12)
    for factor in (0.0, *np.geomspace(1e-2, 1e2, 25)):
        latency, energy = every.candidates(Objective.EDP, weights[0] * factor)
        others = product(latency, energy).min(axis=0)
        assert (least[fits] <= others[fits] * EXACT).all()
        assert np.isinf(others[~fits]).all()


@pytest.mark.parametrize("points", [60, 700])
def test_least_of_several_layers_together(points: int) -> None:
    """A dense layer and layers of experts: neither takes its own least product."""
    name = "flat_cloud"
    found = compiled(step("deepseek_v2_lite", part=Part.LAYER, batch=16, cache_len=1024, all_layers=True), name)
    assert len(found.parts) > 1
    chip = accelerator(name)
    rng = np.random.default_rng(points)
    table = chip.table(
        {
            f"memories.{chip.file.buffer[0]}.capacity_kib": np.exp(rng.uniform(4, 10, points)),
            f"memories.{chip.file.dram[0]}.bandwidth_gb_per_s": rng.uniform(50, 4000, points),
            f"memories.{chip.file.dram[0]}.capacity_gib": rng.choice([1.0, 256.0, 256.0], points),
        }
    )
    priced = price(found, table, objective=Objective.EDP)
    fits = np.isfinite(priced.latency_s)
    assert fits.any()
    assert not fits.all()
    least = priced.latency_s[fits] * priced.energy_j[fits]
    ratio = priced.energy_j[fits] / priced.latency_s[fits]
    alone = table.at(np.flatnonzero(fits)[:1])
    again = price(found, alone, objective=Objective.EDP)
    assert (again.latency_s[0], again.energy_j[0]) == (priced.latency_s[fits][0], priced.energy_j[fits][0])
    costs, weight = Costs(found.geometry, table), np.ones(points)
    for factor in np.geomspace(1e-2, 1e2, 15):
        weight[fits] = ratio * factor
        latency, energy = step_totals(found, table, costs, Objective.EDP, weight)
        assert (least <= (latency * energy)[fits] * EXACT).all()
