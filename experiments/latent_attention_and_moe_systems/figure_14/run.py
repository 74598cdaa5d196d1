"""Figure 14: experts on near-memory units (four times the bandwidth, 8 Op/B) against the GPU alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.validation.paper_b_systems import near_memory_gain
from experiments.kit import Outcome, Table, figure
from experiments.plots import titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PER_CHIP = [8, 16, 24, 32, 48, 64, 128]


def run(*, smoke: bool) -> Outcome:
    lengths = [4096] if smoke else [1024, 4096, 16384]
    gain = {n: near_memory_gain(n, PER_CHIP) for n in lengths}
    threshold = {n: next(b for b, g in zip(PER_CHIP, gs, strict=True) if g <= 1) for n, gs in gain.items()}
    values: dict[str, float | bool | str] = {
        "threshold": threshold[4096],
        "any_length": len(set(threshold.values())) == 1,
        "small": gain[4096][0],
        "large": gain[4096][-1],
    }
    rows: list[tuple[float | str, ...]] = [(n, b, g) for n, gs in gain.items() for b, g in zip(PER_CHIP, gs, strict=True)]
    table = Table(("length", "batch_per_chip", "gain"), rows)
    return Outcome(values, {"near_memory": table}, lambda: draw(gain))


def draw(gain: dict[int, list[float]]) -> Figure:
    made, (axes,) = figure(5.5, 3.4)
    for n, gs in gain.items():
        axes.plot(PER_CHIP, gs, "o-", markersize=3, label=f"length {n}")
    axes.axhline(1, color="#999999", linewidth=0.8)
    axes.legend()
    titled(axes, "TPOT of the GPU over that with near-memory experts", "sequences per chip", "", log="x")
    return made
