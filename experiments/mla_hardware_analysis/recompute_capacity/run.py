"""How much on-chip memory recompute needs so that the composite never leaves the chip, which the letter does not give."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dse.evaluate import Objective
from experiments import mla
from experiments.kit import Outcome, Table, figure
from experiments.plots import key, scheme_lines, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

SLACK = 0.1
"""A composite stays on chip where at most this share of its round trip to DRAM is left."""
HEAD_MIB = 1.5
"""Composite of one head, 1536 x 512 elements of two bytes."""
COMPOSITE = {"recompute": mla.H * mla.Q * mla.R, "recompute_both": mla.H * mla.Q * mla.R + mla.H * mla.R * mla.D}
"""Elements of what is formed, all heads."""


def moved(layer: mla.Layer, capacities: NDArray[np.float64]) -> NDArray[np.float64]:
    """DRAM elements for each capacity, mapped for least energy."""
    width = {"bf16": 2, "fp8": 1}[layer.precision]
    columns = {mla.SRAM + "capacity_kib": capacities}
    return mla.modelled(layer, mla.template(), columns, objective=Objective.ENERGY).dram_bytes / width


def spilled(layer: mla.Layer, capacities: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the scheme moves beyond left to right, which reads the same weights and cache, over the round trip of its composites."""
    plain = moved(replace(layer, scheme="left_to_right"), capacities)
    return (moved(layer, capacities) - plain) / (2 * COMPOSITE[layer.scheme])


def least_mib(layer: mla.Layer, capacities: NDArray[np.float64]) -> float:
    """Least buffer from which on the composites stay on chip."""
    out = np.flatnonzero(spilled(layer, capacities) > SLACK)
    first = int(out[-1]) + 1 if len(out) else 0
    return float(capacities[first]) / 1024 if first < len(capacities) else float("inf")


def run(*, smoke: bool) -> Outcome:
    capacities = np.round(np.geomspace(64, 262144, 49 if smoke else 145))
    cases = [mla.Layer(s, 4096) for s in COMPOSITE]
    if not smoke:
        cases += [mla.Layer(s, 4096, precision="fp8") for s in COMPOSITE]
        cases += [mla.Layer("recompute", n) for n in (1, 16384)] + [mla.Layer("recompute", 4096, b) for b in (4, 16, 64)]
    rows: list[tuple[float | str, ...]] = [(c.scheme, c.precision, c.batch, c.cache_len, least_mib(c, capacities)) for c in cases]
    found = {tuple(r[:4]): float(r[4]) for r in rows}
    base = found["recompute", "bf16", 1, 4096]
    values: dict[str, float | bool | str] = {
        "recompute_mib": base,
        "recompute_over_head": base / HEAD_MIB,
        "recompute_both_mib": found["recompute_both", "bf16", 1, 4096],
        "small_buffer": float(spilled(cases[0], capacities)[0]),
    }
    if not smoke:
        values["fp8_over_bf16"] = found["recompute", "fp8", 1, 4096] / base
        values["batch_64_over_1"] = found["recompute", "bf16", 64, 4096] / base
    table = Table(("scheme", "precision", "batch", "cache_len", "least_buffer_mib"), rows)
    curves = {s: moved(mla.Layer(s, 4096), capacities) for s in ("left_to_right", "reuse", *COMPOSITE)}
    return Outcome(values, {"capacity": table}, lambda: draw(capacities, curves))


def draw(capacities: NDArray[np.float64], curves: dict[str, NDArray[np.float64]]) -> Figure:
    made, (axes,) = figure(6, 3.6)
    scheme_lines(axes, list(capacities / 1024), {s: list(c / 1e6) for s, c in curves.items()})
    titled(axes, "decode, 4,096 cached, bf16", "buffer, MiB", "DRAM elements, millions", log="xy")
    key(axes)
    return made
