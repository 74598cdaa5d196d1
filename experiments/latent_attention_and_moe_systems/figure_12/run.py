"""Figure 12: throughput against latency of DeepSeek-R1 for skewed routing, length 2,048, 32 chips."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from dse.validation.paper_b_systems import imbalance
from dse.validation.serving_cases import CHIPS, Setting
from experiments.kit import Outcome, Table, figure
from experiments.plots import key, titled
from experiments.serving import Curve, curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SKEWS = (0.0, 0.2, 0.4, 0.6, 0.8)


def run(*, smoke: bool) -> Outcome:
    per_chip = [64] if smoke else [8, 16, 32, 64, 128, 256]
    skews = SKEWS[::2] if smoke else SKEWS
    found = {s: curve(Setting(cache_len=2048, skew=s), [CHIPS * b for b in per_chip]) for s in skews}
    rates = [found[s].rate[per_chip.index(64)] for s in skews]
    latencies = [found[s].tpot_ms[per_chip.index(64)] for s in skews]
    values: dict[str, float | bool | str] = {
        "falls": all(a > b for a, b in itertools.pairwise(rates)),
        "rises": all(a < b for a, b in itertools.pairwise(latencies)),
        "loss": rates[-1] / rates[0],
        "imbalance": imbalance(CHIPS, 0.8),
    }
    rows: list[tuple[float | str, ...]] = [
        (s, b, t, r) for s, c in found.items() for b, t, r in zip(c.per_chip, c.tpot_ms, c.rate, strict=True)
    ]
    table = Table(("skew", "batch_per_chip", "tpot_ms", "tokens_per_s_per_chip"), rows)
    return Outcome(values, {"skew": table}, lambda: draw(found))


def draw(found: dict[float, Curve]) -> Figure:
    made, (axes,) = figure(5.5, 3.6)
    for s, c in found.items():
        axes.plot(c.tpot_ms, c.rate, "o-", markersize=3, label=f"s = {s:g}")
    titled(axes, "length 2,048", "TPOT, ms", "tokens per s per chip")
    key(axes)
    return made
