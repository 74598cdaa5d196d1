"""More than one sequence: what batch does to the choice between recompute, reuse and left to right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from experiments import mla
from experiments.kit import Outcome, Table, figure
from experiments.plots import key, scheme_lines, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMES = (*mla.LINES, "reuse_both", "recompute_both")
BYTES_PER_S, OPS_PER_S = 400e9, 2 * 65536 * 940e6  # flat_cloud: 400 GB/s, 256 x 256 at 940 MHz


def closed_s(scheme: str, cache_len: int, batch: int) -> float:
    form = mla.closed(scheme, cache_len, batch=batch)
    return float(max(2 * form.macs / OPS_PER_S, 2 * (form.weights + form.cache) / BYTES_PER_S))


def run(*, smoke: bool) -> Outcome:
    batches = [1, 16] if smoke else [1, 4, 16, 64, 128, 256]
    lengths = [4096] if smoke else [1024, 4096, 16384]
    chip = mla.template().with_overrides({mla.SRAM + "capacity_kib": 131072})
    rows: list[tuple[float | str, ...]] = []
    same = True
    for n in lengths:
        for b in batches:
            for s in SCHEMES:
                layer = mla.Layer(s, n, b)
                same &= mla.counted(layer)[0] == mla.closed(s, n, batch=b).macs
                rows.append((n, b, s, b / closed_s(s, n, b), b / float(mla.modelled(layer, chip).latency_s[0])))
    found = {tuple(r[:3]): (float(r[3]), float(r[4])) for r in rows}
    worst = min(found[n, b, "left_to_right"][1] / max(found[n, b, s][1] for s in SCHEMES) for n in lengths for b in batches)
    most = batches[-1]
    values: dict[str, float | bool | str] = {
        "lowered_equals_closed": same,
        "left_to_right_over_best": worst,
        "closed_recompute_over_reuse_1": found[4096, 1, "recompute"][0] / found[4096, 1, "reuse"][0],
        "modelled_recompute_over_reuse_1": found[4096, 1, "recompute"][1] / found[4096, 1, "reuse"][1],
        "modelled_recompute_over_reuse_most": found[4096, most, "recompute"][1] / found[4096, most, "reuse"][1],
        "mla_over_mha_most": found[4096, most, "left_to_right"][1] / found[4096, most, "mha_l"][1],
    }
    table = Table(("cache_len", "batch", "scheme", "closed_tokens_per_s", "modelled_tokens_per_s"), rows)
    return Outcome(values, {"throughput": table}, lambda: draw(found, batches, lengths))


def draw(found: dict[tuple[float | str, ...], tuple[float, float]], batches: list[int], lengths: list[int]) -> Figure:
    made, axes = figure(9.5, 3.4, columns=len(lengths))
    for at, n in zip(axes, lengths, strict=True):
        lines, points = ({s: list(np.array([found[n, b, s][i] for b in batches])) for s in SCHEMES} for i in (0, 1))
        scheme_lines(at, batches, lines, points)
        titled(at, f"cache {n}: line closed, points modelled", "batch", "layer-tokens per s" if n == lengths[0] else "", log="xy")
    key(axes[0])
    return made
