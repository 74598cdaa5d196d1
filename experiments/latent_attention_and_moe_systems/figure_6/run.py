"""Figure 6: the attention block of DeepSeek-R1 in decode without and with reordering, and where its time goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.report.style import PALETTE
from dse.validation.paper_b_systems import prefill_loss
from dse.validation.serving_cases import Setting, attention_seconds, case_of
from experiments.kit import Outcome, Table, figure
from experiments.plots import key, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PER_CHIP = (32, 64, 128, 256)
SCHEMES = {"naive": "without", "left_to_right": "with"}
GROUPS = {"decompression": ("keys_expanded", "values_expanded"), "core": ("score",)}


def block(scheme: str, cache_len: int, per_chip: int) -> dict[str, float]:
    """Microseconds of one layer by group."""
    times = attention_seconds(Setting(scheme=scheme, cache_len=cache_len, norms=False), per_chip)
    found = {g: 1e6 * sum(times.get(n, 0.0) for n in names) for g, names in GROUPS.items()}
    return found | {"projections": 1e6 * sum(times.values()) - sum(found.values())}


def fits(scheme: str, cache_len: int, per_chip: int) -> bool:
    """Whether weights, caches and activations, expanded keys included, fit on the chips."""
    memory = case_of(Setting(scheme=scheme, cache_len=cache_len, norms=False)).memory()
    return memory.used_bytes(per_chip) <= memory.capacity_bytes


def run(*, smoke: bool) -> Outcome:
    lengths = [4096, 8192] if smoke else [2048, 4096, 8192]
    found = {(s, n, b): block(s, n, b) for s in SCHEMES for n in lengths for b in PER_CHIP}
    total = {k: sum(v.values()) for k, v in found.items()}
    gain = {(n, b): total["naive", n, b] / total["left_to_right", n, b] for n in lengths for b in PER_CHIP}
    possible = {k: g for k, g in gain.items() if fits("naive", *k)}
    best = max(possible, key=lambda k: possible[k])
    shares = found["naive", 4096, 128]
    values: dict[str, float | bool | str] = {
        "decompression": shares["decompression"] / total["naive", 4096, 128],
        "core": shares["core"] / total["naive", 4096, 128],
        "gain": possible[best],
        "at": f"batch {best[1]}, length {best[0]}",
        "prefill": prefill_loss(8192),
    }
    rows: list[tuple[float | str | bool, ...]] = [
        (SCHEMES[s], n, b, *found[s, n, b].values(), fits(s, n, b)) for s in SCHEMES for n in lengths for b in PER_CHIP
    ]
    table = Table(("reordering", "length", "batch_per_chip", "decompression_us", "core_us", "projections_us", "fits"), rows)
    return Outcome(values, {"block": table}, lambda: draw(found, lengths))


def draw(found: dict[tuple[str, int, int], dict[str, float]], lengths: list[int]) -> Figure:
    made, axes = figure(9, 5.4, columns=len(lengths), rows=2)
    for i, n in enumerate(lengths):
        for row, s in enumerate(SCHEMES):
            at, under = axes[row * len(lengths) + i], [0.0] * len(PER_CHIP)
            for g, colour in zip((*GROUPS, "projections"), PALETTE, strict=False):
                heights = [found[s, n, b][g] for b in PER_CHIP]
                at.bar([str(b) for b in PER_CHIP], heights, bottom=under, color=colour, label=g)
                under = [u + h for u, h in zip(under, heights, strict=True)]
            titled(at, f"{SCHEMES[s]} reordering, length {n}", "sequences per chip", "us per layer" if i == 0 else "")
    key(axes[0])
    return made
