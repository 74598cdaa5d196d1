"""Figure 3: operations and off-chip accesses over sequence length (prefill) and cache length (decode)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.evaluate import Objective
from experiments import mla
from experiments.kit import Outcome, Table, figure
from experiments.plots import key, scheme_lines, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def run(*, smoke: bool) -> Outcome:
    decode = [1, 4096, 16384] if smoke else [1, 512, 1024, 2048, 4096, 8192, 16384]
    prefill = [256] if smoke else [64, 256, 512, 1024, 2048, 4096]
    chip = mla.template()
    rows: list[tuple[float | str, ...]] = []
    same = True
    for phase, lengths in (("decode", decode), ("prefill", prefill)):
        for n in lengths:
            for s in mla.LINES:
                queries = 1 if phase == "decode" else n
                layer, form = mla.Layer(s, n, queries=queries), mla.closed(s, n, queries=queries)
                same &= mla.counted(layer)[0] == form.macs
                moved = float(mla.modelled(layer, chip, objective=Objective.ENERGY).dram_bytes[0]) / 2
                rows.append((phase, n, s, 2 * form.macs, form.elements, moved))
    found = {(r[0], r[1], r[2]): r for r in rows}
    values: dict[str, float | bool | str] = {"lowered_equals_closed": same}
    for s in mla.LINES:
        first, middle, last = (float(found["decode", n, s][5]) for n in (1, 4096, 16384))
        values[f"{s}_slope"] = (last - first) / 16383
        values[f"{s}_start"] = first / 1e6
        values[f"{s}_at_4096"] = middle / 1e6
    inside = [float(r[5]) / float(r[4]) for r in rows if r[0] == "decode"]
    values["decode_over_compulsory"] = max(inside)
    values["prefill_over_compulsory"] = max(float(r[5]) / float(r[4]) for r in rows if r[0] == "prefill")
    values["never_below_compulsory"] = all(float(r[5]) >= float(r[4]) for r in rows)
    table = Table(("phase", "length", "scheme", "operations", "compulsory_elements", "modelled_elements"), rows)
    return Outcome(values, {"counts": table}, lambda: draw(rows))


def draw(rows: list[tuple[float | str, ...]]) -> Figure:
    made, axes = figure(8.5, 6, columns=2, rows=2)
    for i, phase in enumerate(("prefill", "decode")):
        mine = [r for r in rows if r[0] == phase]
        x = sorted({float(r[1]) for r in mine})
        by = {s: [r for r in mine if r[2] == s] for s in mla.LINES}
        scheme_lines(axes[i], x, {s: [float(r[3]) for r in rs] for s, rs in by.items()})
        lines, points = ({s: [float(r[c]) / 1e6 for r in rs] for s, rs in by.items()} for c in (4, 5))
        scheme_lines(axes[2 + i], x, lines, points)
        length = "sequence length" if phase == "prefill" else "cache length"
        titled(axes[i], f"{phase}: operations", length, "operations", log="xy")
        titled(axes[2 + i], f"{phase}: line compulsory, points modelled", length, "DRAM elements, millions", log="xy")
    key(axes[0])
    return made
