"""Serving systems for experiments: curves of throughput and TPOT over batch, on the settings of `dse.validation.serving_cases`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dse.plugins import load_system
from dse.report.style import PALETTE
from dse.validation.serving_cases import DEEPSEEK, GPT3, LLAMA, Setting, largest_batch, step_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

NAMES: Final = {GPT3: "GPT-3", LLAMA: "Llama4-Maverick", DEEPSEEK: "DeepSeek-R1"}
COLOURS: Final = dict(zip(NAMES, PALETTE, strict=False))


@dataclass(frozen=True)
class Curve:
    """Points over batch."""

    per_chip: list[float]
    """Sequences per chip."""
    tpot_ms: list[float]
    rate: list[float]
    """Tokens per second per chip."""
    fits: list[bool]


def curve(setting: Setting, batches: Sequence[int]) -> Curve:
    """A setting over numbers of sequences of the whole system."""
    chips = load_system(setting.system).system.chips
    seconds = step_seconds(setting, batches)
    most = largest_batch(setting)
    return Curve(
        [b / chips for b in batches],
        [float(s) * 1e3 for s in seconds],
        [b / float(s) / chips for b, s in zip(batches, seconds, strict=True)],
        [b <= most for b in batches],
    )


def draw_curve(axes: Axes, found: Curve, label: str, colour: str, *, x: Sequence[float], y: Sequence[float]) -> None:
    """Line over all points; those that do not fit in memory are pale."""
    axes.plot(x, y, color=colour, label=label, linewidth=1)
    for fits in (True, False):
        at = [i for i, f in enumerate(found.fits) if f is fits]
        axes.plot([x[i] for i in at], [y[i] for i in at], "o", color=colour, markersize=4, alpha=1.0 if fits else 0.25)
