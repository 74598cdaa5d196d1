"""Figure 4: operational intensity in prefill and decode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.evaluate import Objective
from experiments import mla
from experiments.kit import Outcome, Table, figure
from experiments.plots import key, scheme_lines, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WITH_BOTH = (*mla.LINES, "reuse_both", "recompute_both")
DERIVED = {  # arithmetic on table 1: operations per byte at 2 bytes per element, decode, batch 1, by cache length
    1: (1.00, 1.00, 1.00, 75.4, 1.00, 1.00, 423),
    4096: (1.00, 1.00, 3.20, 77.6, 4.04, 1.91, 421),
    65536: (1.00, 1.00, 32.2, 104.6, 42.2, 14.8, 396),
}


def run(*, smoke: bool) -> Outcome:
    decode = [1, 4096] if smoke else [1, 256, 1024, 4096, 16384, 65536]
    prefill = [256] if smoke else [64, 256, 1024, 4096]
    chip = mla.template().with_overrides({mla.SRAM + "capacity_kib": 131072})  # room for the output composite as well
    rows: list[tuple[float | str, ...]] = []
    for phase, lengths in (("decode", decode), ("prefill", prefill)):
        for n in lengths:
            for s in WITH_BOTH if phase == "decode" else mla.LINES:
                queries = 1 if phase == "decode" else n
                layer, form = mla.Layer(s, n, queries=queries), mla.closed(s, n, queries=queries)
                priced = mla.modelled(
                    layer, chip, {mla.SRAM + "capacity_kib": 131072.0}, objective=Objective.ENERGY
                )  # room for the output composite as well
                rows.append((phase, n, s, form.ops_per_byte(), 2 * form.macs / float(priced.dram_bytes[0])))
    found = {(r[0], r[1], r[2]): (float(r[3]), float(r[4])) for r in rows}
    known = {n: dict(zip(WITH_BOTH, v, strict=True)) for n, v in DERIVED.items() if ("decode", n, "mha_l") in found}
    values: dict[str, float | bool | str] = {
        "worst_against_derived": max(abs(found["decode", n, s][0] / v - 1) for n, by in known.items() for s, v in by.items()),
        "worst_modelled_against_closed": max(abs(m / c - 1) for (phase, _, _), (c, m) in found.items() if phase == "decode"),
        "recompute_change": found["decode", 4096, "recompute"][1] / found["decode", 1, "recompute"][1],
        "reuse_change": found["decode", 4096, "reuse"][1] / found["decode", 1, "reuse"][1],
        "mha_largest": max(m for (phase, _, s), (_, m) in found.items() if phase == "decode" and s.startswith("mha")),
        "prefill_over_decode": min(m for (phase, _, s), (_, m) in found.items() if phase == "prefill" and s in mla.PAPER),
        "recompute_at_4096": found["decode", 4096, "recompute"][1],
    }
    table = Table(("phase", "length", "scheme", "closed_ops_per_byte", "modelled_ops_per_byte"), rows)
    return Outcome(values, {"intensity": table}, lambda: draw(rows))


def draw(rows: list[tuple[float | str, ...]]) -> Figure:
    made, axes = figure(8.5, 3.6, columns=2)
    for i, phase in enumerate(("prefill", "decode")):
        mine = [r for r in rows if r[0] == phase]
        x = sorted({float(r[1]) for r in mine})
        by = {s: [r for r in mine if r[2] == s] for s in (WITH_BOTH if phase == "decode" else mla.LINES)}
        lines, points = ({s: [float(r[c]) for r in rs] for s, rs in by.items()} for c in (3, 4))
        scheme_lines(axes[i], x, lines, points)
        titled(
            axes[i],
            f"{phase}: line closed form, points modelled",
            f"{'sequence' if i == 0 else 'cache'} length",
            "Op/B at 2 bytes",
            log="xy",
        )
    key(axes[1])
    return made
