"""Table 1: parameters and cached values of MLA and the two MHA baselines, counted in the lowered ONNX models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from experiments import mla
from experiments.kit import Outcome, Table, figure
from experiments.plots import bars, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMES = {"mla": "left_to_right", "mha_l": "mha_l", "mha_s": "mha_s"}


def run(*, smoke: bool) -> Outcome:
    del smoke  # the same size
    values: dict[str, float | bool | str] = {}
    rows: list[tuple[float | bool | str, ...]] = []
    for name, scheme in SCHEMES.items():
        short, long = (mla.counted(mla.Layer(scheme, n))[2] / 2 for n in (1, 1025))
        values[f"{name}_parameters"] = mla.workload(mla.Layer(scheme, 1)).parameters_total
        values[f"{name}_cached"] = (long - short) / 1024
        rows.append((mla.LABELS.get(name, "MLA"), values[f"{name}_parameters"], values[f"{name}_cached"]))
    values["mla_with_rope"] = mla.workload(mla.Layer("left_to_right", 1, rope=True)).parameters_total
    return Outcome(values, {"table": Table(("layer", "parameters", "cached_values_per_token"), rows)}, lambda: draw(rows))


def draw(rows: list[tuple[float | bool | str, ...]]) -> Figure:
    made, axes = figure(7, 3, columns=2)
    for at, column, name in ((axes[0], 1, "parameters, millions"), (axes[1], 2, "cached values per token")):
        scale = 1e6 if column == 1 else 1.0
        bars(at, [str(r[0]) for r in rows], {name: [float(r[column]) / scale for r in rows]})
        titled(at, name, "", "", log="y" if column == 2 else "")
    return made
