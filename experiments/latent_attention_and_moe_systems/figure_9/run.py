"""Figure 9: throughput against TPOT over batch on 32 B200, with the batch that fits and the batch of the ridge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.system.closed_forms import attention_batch, expert_batch
from dse.validation.counts import ridge_ops_per_byte
from dse.validation.paper_b_systems import capacities
from dse.validation.serving_cases import CHIPS, DEEPSEEK, GPT3, LLAMA, Setting
from experiments.kit import Outcome, Table, figure
from experiments.plots import key, titled
from experiments.serving import COLOURS, NAMES, Curve, curve, draw_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BATCHES = {  # totals of the public reproduction's grid
    GPT3: (32, 64, 124, 256, 512, 1024, 1728),
    LLAMA: (1152, 2304, 3328, 4608, 9216, 20736),
    DEEPSEEK: (1152, 2304, 4608, 7360, 9216, 20736),
}


def run(*, smoke: bool) -> Outcome:
    lengths = [8192] if smoke else [2048, 8192]
    found = {(m, n): curve(Setting(m, n), b) for m, b in BATCHES.items() for n in lengths}
    fits, lifted = capacities(), capacities(fp8=True)
    ridge = ridge_ops_per_byte("b200_sxm")
    values: dict[str, float | bool | str] = {f"cap_{m}": v for m, v in fits.items()}
    values |= {
        "over_gpt3": fits[DEEPSEEK] / fits[GPT3],
        "over_llama": fits[DEEPSEEK] / fits[LLAMA],
        "attention_batch": attention_batch(ridge, CHIPS),
        "expert_batch": expert_batch(ridge, 256, 8),
        "llama_expert_batch": expert_batch(ridge, 128, 1),
        "fp8": lifted[DEEPSEEK],
        "order": fits[DEEPSEEK] < expert_batch(ridge, 256, 8) < lifted[DEEPSEEK],
    }
    rows: list[tuple[float | str | bool, ...]] = [
        (m, n, CHIPS * b, t, r, f) for (m, n), c in found.items() for b, t, r, f in zip(c.per_chip, c.tpot_ms, c.rate, c.fits, strict=True)
    ]
    table = Table(("model", "length", "batch", "tpot_ms", "tokens_per_s_per_chip", "fits"), rows)
    return Outcome(values, {"curves": table}, lambda: draw(found, lengths))


def draw(found: dict[tuple[str, int], Curve], lengths: list[int]) -> Figure:
    made, axes = figure(8.5, 3.6, columns=len(lengths))
    for at, n in zip(axes, lengths, strict=True):
        for m in BATCHES:
            c = found[m, n]
            draw_curve(at, c, NAMES[m], COLOURS[m], x=c.tpot_ms, y=c.rate)
        titled(at, f"length {n}; pale: does not fit", "TPOT, ms", "tokens per s per chip" if n == lengths[0] else "", log="xy")
    key(axes[0])
    return made
