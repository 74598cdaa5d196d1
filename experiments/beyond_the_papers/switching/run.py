"""Switching schemes per phase and per length inside one serving run, against the best single scheme."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.evaluate import Objective
from dse.plugins import load_accelerator
from experiments.kit import Outcome, Table, figure
from experiments.plots import titled
from experiments.request import Request, request_costs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMES = ("left_to_right", "naive", "reuse", "recompute")
CHIPS = ("flat_cloud", "tpu7x", "h100_sxm")
REQUESTS = {
    "chat": Request(prompt=1024, output=512, chunk=512),
    "document": Request(prompt=8192, output=256, chunk=1024),
    "reasoning": Request(prompt=1024, output=8192, chunk=512),
    "small chunks": Request(prompt=4096, output=512, chunk=64),
}


def run(*, smoke: bool) -> Outcome:
    chips = CHIPS[:1] if smoke else CHIPS
    requests = {"chat": Request(prompt=1024, output=512, chunk=512)} if smoke else REQUESTS
    rows: list[tuple[float | str, ...]] = []
    for chip in chips:
        for name, request in requests.items():
            for goal in ("time", "energy"):
                objective = Objective.LATENCY if goal == "time" else Objective.ENERGY
                costs = request_costs(request, load_accelerator(chip), SCHEMES, objective=objective)
                what = costs.seconds if goal == "time" else costs.joules
                totals = what.sum(axis=1)[:, 0]
                best = SCHEMES[int(np.argmin(totals))]
                phases = [SCHEMES[int(np.argmin(costs.phase(what, p)[:, 0]))] for p in ("prefill", "decode")]
                gains = [float(costs.fixed(what)[0] / x[0]) for x in (costs.per_phase(what), costs.per_step(what))]
                left = float(totals[0] / costs.per_step(what)[0])
                rows.append((chip, name, goal, best, *phases, *gains, left))
    times = [r for r in rows if r[2] == "time"]
    values: dict[str, float | bool | str] = {
        "largest gain": max(float(r[7]) for r in rows),
        "least gain": min(float(r[7]) for r in rows),
        "length beyond phase": max(float(r[7]) / float(r[6]) for r in rows),
        "decode": " ".join(sorted({str(r[5]) for r in times})),
        "prefill energy": " ".join(sorted({str(r[4]) for r in rows if r[2] == "energy" and r[1] != "small chunks"})),
    }
    columns = (
        "chip",
        "request",
        "goal",
        "best_single",
        "prefill_scheme",
        "decode_scheme",
        "gain_per_phase",
        "gain_per_step",
        "over_left_to_right",
    )
    return Outcome(values, {"switching": Table(columns, rows)}, lambda: draw(rows))


def draw(rows: list[tuple[float | str, ...]]) -> Figure:
    made, axes = figure(8.5, 3.4, columns=2)
    for at, goal in zip(axes, ("time", "energy"), strict=True):
        mine = [r for r in rows if r[2] == goal]
        names = list(dict.fromkeys(str(r[1]) for r in mine))
        chips = list(dict.fromkeys(str(r[0]) for r in mine))
        for i, chip in enumerate(chips):
            gain = [100 * (float(r[7]) - 1) for n in names for r in mine if r[0] == chip and r[1] == n]
            at.bar([j + 0.2 * i for j in range(len(names))], gain, width=0.18, label=chip)
        at.set_xticks([j + 0.3 for j in range(len(names))], names, fontsize=8)
        titled(at, f"{goal}: gain of switching over the best single", "", "percent" if goal == "time" else "")
    axes[0].get_figure().legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)  # type: ignore[union-attr]
    return made
