"""Search progress: hypervolume of the front over trials."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.report.style import PALETTE, new_figure, styled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure


def hypervolume_figure(history: Sequence[tuple[int, float]], reference: Sequence[float], unit: str) -> Figure:
    """Hypervolume after each batch as a step line; `history` is (trials done, hypervolume)."""
    with styled():
        figure, axes = new_figure(height=3.2)
        trials, values = [n for n, _ in history], [value for _, value in history]
        axes.step(trials, values, where="post", color=PALETTE[0], marker=".")
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.set_xlabel("outer trials done")
        axes.set_ylabel(f"hypervolume [{unit}]")
        axes.set_title(f"Reference point ({', '.join(f'{value:.4g}' for value in reference)})", loc="left")
    return figure
