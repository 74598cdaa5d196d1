"""Several workloads: worst case and mix by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dse.cost.metrics import Priced
from dse.search.quantities import Scenario, column, known_columns


def priced(tokens: int, latency: float, energy: float) -> Priced:
    one = np.ones(1)
    return Priced(tokens, latency * one, energy * one, one, one, np.zeros(1, dtype=np.int8), np.ones(1, dtype=np.bool_))


SCENARIOS = (
    Scenario("decode[cache_len=1]", "decode", 4.5),
    Scenario("decode[cache_len=2]", "decode", 4.5),
    Scenario("prefill", "prefill", 1.0),
)
PRICED = (priced(8, 0.010, 1.0), priced(8, 0.010, 3.0), priced(100, 0.100, 20.0))
PER_SEQUENCE = (1.0, 1.0, 100.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prefill.latency_s", 0.1),
        ("decode[cache_len=2].energy_j", 3.0),
        ("worst.latency_s", 0.1),
        ("worst.tokens_per_s", 800.0),  # 8 / 0.01; prefill makes 1000
        ("decode.worst.energy_j", 3.0),
        ("mix.latency_s", 0.019),  # (9 x 10 ms + 100 ms) / 10
        ("mix.energy_j", 3.8),  # (4.5 + 13.5 + 20) / 10
        ("mix.tokens_per_s", 17.2 / 0.019),  # (9 x 8 + 100) / 10 tokens
        ("mix.joules_per_token", 3.8 / 17.2),
        ("mix.power_w", 3.8 / 0.019),
        ("mix.edp_js", 3.8 * 0.019),
        ("decode.mix.energy_j", 2.0),
        ("worst.tpot_s", 0.010),
        ("prefill.tpot_s", 0.001),
        ("area_mm2", 7.0),
    ],
)
def test_by_hand(name: str, value: float) -> None:
    assert name in known_columns(SCENARIOS)
    assert column(name, SCENARIOS, PRICED, PER_SEQUENCE, {"area_mm2": np.array([7.0])})[0] == pytest.approx(value)
