"""Figure 13: 256 chips against 8 x 32 under skewed routing, length 2,048, 900 GB/s."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.validation.paper_b_systems import imbalance, large_over_small
from experiments.kit import Outcome, Table, figure
from experiments.plots import titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SKEWS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


def run(*, smoke: bool) -> Outcome:
    skews = (0.0, 0.8) if smoke else SKEWS
    per_chip = [64] if smoke else [16, 64, 128]
    gain = {(b, s): large_over_small(2048, b, skew=s) for b in per_chip for s in skews}
    ratio = {s: imbalance(256, s) / imbalance(32, s) for s in skews}
    values: dict[str, float | bool | str] = {"imbalance": ratio[0.8], "even": gain[64, 0.0], "skewed": gain[64, 0.8]}
    if not smoke:
        values["turn"] = next(s for s in skews if gain[64, s] < 1)
    rows: list[tuple[float | str, ...]] = [(b, s, g, ratio[s]) for (b, s), g in gain.items()]
    table = Table(("batch_per_chip", "skew", "throughput_256_over_8x32", "imbalance_256_over_32"), rows)
    return Outcome(values, {"skew": table}, lambda: draw(gain, ratio, per_chip))


def draw(gain: dict[tuple[int, float], float], ratio: dict[float, float], per_chip: list[int]) -> Figure:
    made, axes = figure(8, 3.4, columns=2)
    for b in per_chip:
        axes[0].plot(list(ratio), [gain[b, s] for s in ratio], "o-", markersize=3, label=f"{b} per chip")
    axes[0].axhline(1, color="#999999", linewidth=0.8)
    axes[0].legend()
    titled(axes[0], "throughput of 256 over 8 x 32", "skew s", "")
    axes[1].plot(list(ratio), list(ratio.values()), "o-", markersize=3)
    titled(axes[1], "imbalance of 256 chips over that of 32", "skew s", "")
    return made
