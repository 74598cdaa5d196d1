"""Table I: ridge points of accelerators, from its own columns and from the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.validation.counts import ridge_ops_per_byte
from experiments.kit import Outcome, Table, figure
from experiments.plots import bars, key, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PRINTED = {  # arXiv 2507.15465v3, table I: TFLOPS, GB/s, printed ridge, entry of the catalogue
    "V100 SXM2": (125, 900, 138.89, None),
    "A100 SXM4": (312, 2039, 153.02, "a100_sxm"),
    "H200 SXM5": (989.5, 4800, 206.15, "h200_sxm"),
    "B200 SXM6": (2250, 8000, 281.25, "b200_sxm"),
    "TPU v5p": (459, 2765, 166.0, None),
    "TPU v7": (2307, 7400, 320.42, None),
    "MI325X": (1307.4, 6000, 217.9, None),
}


def run(*, smoke: bool) -> Outcome:
    del smoke  # the same size
    rows: list[tuple[float | str, ...]] = []
    for name, (tflops, gb_per_s, printed, entry) in PRINTED.items():
        rows.append((name, printed, 1e3 * tflops / gb_per_s, ridge_ops_per_byte(entry) if entry else ""))
    own = {r[0]: float(r[2]) for r in rows}
    values: dict[str, float | bool | str] = {
        "without_tpu": max(abs(own[n] / p[2] - 1) for n, p in PRINTED.items() if n != "TPU v7"),
        "catalogue": max(abs(float(r[3]) / float(r[1]) - 1) for r in rows if r[3] != ""),
        "tpu_v7": own["TPU v7"],
        "tpu_v7_at_7200": 2307e3 / 7200,
        "arithmetic": PRINTED["B200 SXM6"][0] / PRINTED["V100 SXM2"][0],
        "ridge": own["B200 SXM6"] / own["V100 SXM2"],
    }
    return Outcome(values, {"ridges": Table(("chip", "printed_ops_per_byte", "recomputed", "catalogue"), rows)}, lambda: draw(rows))


def draw(rows: list[tuple[float | str, ...]]) -> Figure:
    made, (axes,) = figure(7, 3)
    names = [str(r[0]) for r in rows]
    bars(axes, names, {"printed": [float(r[1]) for r in rows], "from the table's columns": [float(r[2]) for r in rows]})
    titled(axes, "ridge points, bf16", "", "Op/B")
    key(axes)
    return made
