"""Roofline picture: one pair of roofs per accelerator with its ridge, one marker per scheme at its EDP-best design."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.report.style import INK, colour, marker, new_figure, styled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from dse.report.data import RooflinePoint


def roofline_figure(
    points: Sequence[RooflinePoint], schemes: Sequence[str], accelerators: Sequence[str]
) -> tuple[Figure, dict[str, list[str]]]:
    """Operations per second over operations per DRAM byte, both axes logarithmic, and the hover texts of its dots (`to_svg`).

    Roofs are those of the EDP-best design that is fastest on its accelerator; one MAC is two operations.
    """
    with styled():
        figure, axes = new_figure(8.4, 4.6)
        intensities = [p.operations_per_byte for p in points] + [p.peak_operations_per_s / p.dram_bytes_per_s for p in points]
        low, high = min(intensities) / 3, max(intensities) * 6
        for accelerator in accelerators:
            own = [p for p in points if p.accelerator == accelerator]
            if not own:
                continue
            top = max(own, key=lambda p: p.operations_per_s)
            ridge = top.peak_operations_per_s / top.dram_bytes_per_s
            x = np.array([low, ridge, high])
            axes.plot(x, np.minimum(top.peak_operations_per_s, x * top.dram_bytes_per_s), color=INK, linewidth=0.9, zorder=1)
            axes.plot(ridge, top.peak_operations_per_s, marker="|", color=INK, markersize=9, zorder=2)
        titles: dict[str, list[str]] = {}
        for i, p in enumerate(points):
            face, shape = colour(schemes, p.scheme), marker(accelerators, p.accelerator)
            dots = axes.scatter(p.operations_per_byte, p.operations_per_s, s=36, color=face, marker=shape, linewidths=0, zorder=3)
            dots.set_gid(f"tip-{i}")
            titles[f"tip-{i}"] = [
                f"{p.accelerator}, {p.scheme or 'design'} (trial {p.trial}): {p.operations_per_byte:.3g} op/byte,"
                f" {p.operations_per_s:.3g} op/s, bound by {p.bound}"
            ]
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(low, high)
        axes.set_xlabel("operations per DRAM byte moved [op/byte]")
        axes.set_ylabel("operations per second [op/s]")
        for scheme in schemes:
            if scheme and any(p.scheme == scheme for p in points):
                axes.scatter([], [], s=30, color=colour(schemes, scheme), label=scheme)
        for accelerator in accelerators:
            own = [p for p in points if p.accelerator == accelerator]
            if own:
                shape = marker(accelerators, accelerator)
                axes.scatter([], [], s=30, facecolors="none", edgecolors=INK, marker=shape, label=_roofs(own))
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0)
        axes.set_title("Roofline of the EDP-best design of each scheme", loc="left")
    return figure, titles


def _roofs(points: Sequence[RooflinePoint]) -> str:
    """Name and roofs of one accelerator."""
    top = max(points, key=lambda p: p.operations_per_s)
    peak, rate = top.peak_operations_per_s, top.dram_bytes_per_s
    return f"{top.accelerator}: {peak / 1e12:,.4g} Tera-op/s,\n{rate / 1e9:,.4g} GB/s, ridge {peak / rate:.3g} op/byte"
