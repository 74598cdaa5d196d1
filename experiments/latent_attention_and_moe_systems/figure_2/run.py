"""Figure 2: TPOT and throughput per chip of GPT-3, Llama4-Maverick and DeepSeek-R1 over batch and length, 32 B200."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.validation.serving_cases import CHIPS, DEEPSEEK, GPT3, LLAMA, Setting, largest_batch
from experiments.kit import Outcome, Table, figure
from experiments.plots import key, titled
from experiments.serving import COLOURS, NAMES, Curve, curve, draw_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PER_CHIP = {GPT3: (1, 4, 16, 64, 256), LLAMA: (32, 64, 128, 256), DEEPSEEK: (32, 64, 128, 256)}  # grid of the public reproduction


def run(*, smoke: bool) -> Outcome:
    lengths = [8192] if smoke else [2048, 8192]
    found = {(m, n): curve(Setting(m, n), [CHIPS * b for b in per]) for m, per in PER_CHIP.items() for n in lengths}
    rows: list[tuple[float | str | bool, ...]] = [
        (m, n, *point) for (m, n), c in found.items() for point in zip(c.per_chip, c.tpot_ms, c.rate, c.fits, strict=True)
    ]
    full = {m: curve(Setting(m, 8192), [int(largest_batch(Setting(m, 8192)))]) for m in PER_CHIP}
    best = {m: max(r for r, f in zip(found[m, 8192].rate, found[m, 8192].fits, strict=True) if f) for m in PER_CHIP}
    tpot = {m: dict(zip(found[m, 8192].per_chip, found[m, 8192].tpot_ms, strict=True)) for m in PER_CHIP}
    values: dict[str, float | bool | str] = {
        "gpt3_full": full[DEEPSEEK].rate[0] / full[GPT3].rate[0],
        "llama_full": full[DEEPSEEK].rate[0] / full[LLAMA].rate[0],
        "gpt3_grid": best[DEEPSEEK] / best[GPT3],
        "llama_grid": best[DEEPSEEK] / best[LLAMA],
        "tpot_llama_64": tpot[DEEPSEEK][64] / tpot[LLAMA][64],
        "llama_holds_128": dict(zip(found[LLAMA, 8192].per_chip, found[LLAMA, 8192].fits, strict=True))[128],
        "deepseek_holds_128": dict(zip(found[DEEPSEEK, 8192].per_chip, found[DEEPSEEK, 8192].fits, strict=True))[128],
    }
    table = Table(("model", "length", "batch_per_chip", "tpot_ms", "tokens_per_s_per_chip", "fits"), rows)
    return Outcome(values, {"grid": table}, lambda: draw(found, lengths))


def draw(found: dict[tuple[str, int], Curve], lengths: list[int]) -> Figure:
    made, axes = figure(8.5, 5.4, columns=len(lengths), rows=2)
    for i, n in enumerate(lengths):
        for m in PER_CHIP:
            c = found[m, n]
            draw_curve(axes[i], c, NAMES[m], COLOURS[m], x=c.per_chip, y=c.tpot_ms)
            draw_curve(axes[len(lengths) + i], c, NAMES[m], COLOURS[m], x=c.per_chip, y=c.rate)
        titled(axes[i], f"length {n}; pale: does not fit", "sequences per chip", "TPOT, ms", log="xy")
        titled(axes[len(lengths) + i], f"length {n}", "sequences per chip", "tokens per s per chip", log="xy")
    key(axes[0])
    return made
