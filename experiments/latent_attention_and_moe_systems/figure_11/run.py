"""Figure 11: one system of 256 B200 at several link rates against eight systems of 32."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dse.validation.paper_b_systems import LARGE, SMALL, large_over_small, large_over_small_full
from dse.validation.serving_cases import case_of
from experiments.kit import Outcome, Table, figure
from experiments.plots import key, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dse.validation.serving_cases import Setting

RATES = (900.0, 300.0, 100.0)
PER_CHIP = (16, 32, 64, 128, 256, 281)
AT_RIDGE = 281  # 9000 sequences over 32 chips, equation 10


def at_rate(cache_len: int, gb_per_s: float) -> Setting:
    return replace(LARGE, cache_len=cache_len, overrides=(("links.nvlink.bandwidth_gb_per_s", gb_per_s),))


def points(setting: Setting, groups: int) -> list[tuple[int, float, float]]:
    """(sequences per chip, TPOT in ms, tokens per second of 256 chips) for the batches that fit."""
    case = case_of(setting)
    most = case.memory().largest_batch(case.plan) // case.system.chips
    per = [b for b in (*PER_CHIP, most) if b <= most]
    seconds = case.times([case.system.chips * b for b in per]).seconds
    return [(b, 1e3 * float(s), groups * case.system.chips * b / float(s)) for b, s in zip(per, seconds, strict=True)]


def run(*, smoke: bool) -> Outcome:
    lengths = [16384] if smoke else [2048, 16384]
    found = {(n, "8 x 32"): points(replace(SMALL, cache_len=n), 8) for n in lengths}
    found |= {(n, f"256 at {r:g} GB/s"): points(at_rate(n, r), 1) for n in lengths for r in RATES}
    values: dict[str, float | bool | str] = {"equal": large_over_small(2048, AT_RIDGE)}
    values |= {f"long {r:g}": large_over_small_full(16384, r) for r in RATES}
    rows: list[tuple[float | str, ...]] = [(n, name, *p) for (n, name), ps in found.items() for p in ps]
    table = Table(("length", "system", "batch_per_chip", "tpot_ms", "tokens_per_s"), rows)
    return Outcome(values, {"systems": table}, lambda: draw(found, lengths))


def draw(found: dict[tuple[int, str], list[tuple[int, float, float]]], lengths: list[int]) -> Figure:
    made, axes = figure(8.5, 3.6, columns=len(lengths))
    for at, n in zip(axes, lengths, strict=True):
        for (length, name), ps in found.items():
            if length == n:
                at.plot([p[1] for p in ps], [p[2] / 1e6 for p in ps], "o-", markersize=3, label=name)
        titled(at, f"length {n}", "TPOT, ms", "million tokens per s of 256 chips" if n == lengths[0] else "", log="x")
    key(axes[0])
    return made
