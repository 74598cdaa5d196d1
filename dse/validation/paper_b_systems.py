"""Claims B11 to B26 that need a system of many chips: Yun et al., arXiv 2507.15465v3, timed by `dse.system`."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from dse.ir.expert_load import UNIFORM, LoadKind, Routing, shares
from dse.system.closed_forms import attention_batch, expert_batch
from dse.system.placement import group_load, place_experts
from dse.validation.claims import Claim, compared, holds, unchecked
from dse.validation.counts import ridge_ops_per_byte
from dse.validation.serving_cases import (
    CHIPS,
    DEEPSEEK,
    GPT3,
    LLAMA,
    SPREAD,
    Setting,
    attention_operators,
    attention_seconds,
    case_of,
    largest_batch,
    step_seconds,
)

PAPER: Final = "arXiv 2507.15465v3"
EXPERTS, CHOSEN = 256, 8
LARGE: Final = Setting(system="b200_x256", parallel="dp=256,ep=256", cache_len=2048)
SMALL: Final = Setting(cache_len=2048)
NEAR_MEMORY: Final = {"runs": ["experts"], "bandwidth_gb_per_s": 32_000, "tflops": 256}
"""Figure 14: four times the bandwidth of HBM, 8 operations per byte."""
DRAWS: Final = 100
"""Placements of experts that an expected imbalance is the mean of."""


def system_claims() -> tuple[Claim, ...]:
    """B15 to B26, in order."""
    return (_tensor_parallel(), *_batches(), _headline(), _exchange(), *_large_or_small(), _near_memory())


def attention_block_claims() -> tuple[Claim, Claim, Claim]:
    """B11 to B13, which stand among the claims of attention."""
    plain = Setting(norms=False)
    naive = attention_seconds(replace(plain, scheme="naive"), 128)
    total = sum(naive.values())
    expand, core = (100 * sum(naive[n] for n in names) / total for names in (("keys_expanded", "values_expanded"), ("score",)))
    pair = [sum(attention_seconds(replace(plain, scheme=s, cache_len=8192), 64).values()) for s in ("naive", "left_to_right")]
    figure = f"{PAPER}, Fig. 6"
    return (
        compared("B11", figure, [59, 40], [expand, core], band=0.02, note=" % of the block: decompression, core; batch 128 per chip"),
        compared("B12", figure, [103.12], [pair[0] / pair[1]], band=0.01, note=" at 64 per chip and length 8192"),
        compared("B13", f"{PAPER}, sec. IV-B", [2.21], [prefill_loss(8192)], band=0.01, note=" at length 8192, masked tiles skipped"),
    )


def prefill_loss(cache_len: int) -> float:
    """Time of the attention block of a prompt, reordered over plain."""
    plain = Setting(prefill=True, norms=False, cache_len=cache_len)
    reordered, expanded = (sum(attention_seconds(replace(plain, scheme=s), 1).values()) for s in ("left_to_right", "naive"))
    return reordered / expanded


def _tensor_parallel() -> Claim:
    core, block = {}, {}
    for tp in (1, 8):
        setting = Setting(scheme="left_to_right", parallel=f"tp={tp},dp={CHIPS // tp},ep=32")
        operators = attention_operators(setting, 4)
        core[tp] = operators["score"]
        block[tp] = sum(float(o.seconds[0]) for o in operators.values())
    intensity = [2 * float(core[tp].macs[0] / core[tp].moved_bytes[0]) for tp in (1, 8)]
    slower = float(core[8].seconds[0] / core[1].seconds[0])
    shown = block[8] / block[1]
    ours = f"intensity falls {intensity[0] / intensity[1]:.2f} times with tp 8, core takes {slower:.2f} times as long"
    fact = abs(intensity[0] / intensity[1] / 8 - 1) < 0.1 and slower >= 1
    note = f" (128 sequences, length 4096; the block with its weights, shared out, {shown:.2f})"
    return holds("B15", f"{PAPER}, Fig. 8", "ArI / deg_TP; no gain of the core", ours + note, fact)


def capacities(*, fp8: bool = False) -> dict[str, float]:
    """B_cap of the three models at length 8192, DeepSeek-R1 with the 60 layers that the figures have."""
    settings = (Setting(m, 8192, parallel=SPREAD[m], layers=60 if m == DEEPSEEK else None) for m in (DEEPSEEK, LLAMA, GPT3))
    return {s.model: largest_batch(replace(s, precision="w8a16_fp8") if fp8 else s) for s in settings}


def _batches() -> tuple[Claim, ...]:
    ridge = ridge_ops_per_byte("b200_sxm")
    ideal = [attention_batch(ridge, CHIPS), expert_batch(ridge, EXPERTS, CHOSEN)]
    fits = capacities()
    cap = [fits[m] for m in (DEEPSEEK, LLAMA, GPT3)]
    lifted = capacities(fp8=True)[DEEPSEEK]
    figure = f"{PAPER}, Fig. 9"
    ratios = [cap[0] / cap[2], cap[0] / cap[1]]
    return (
        compared("B16", f"{PAPER}, Eq. 10", [9000, 9000], ideal, band=0.001),
        compared("B17", figure, [7360, 3328, 124], cap, band=0.02, note=" sequences at 8192: 180 GiB per chip, DeepSeek-R1 of 60 layers"),
        compared("B18", figure, [60, 2.21], ratios, band=0.02),
        compared("B19", f"{PAPER}, sec. VIII", [7360, 9000, 9147], [cap[0], ideal[1], lifted], band=0.01, note=" bf16, ridge, FP8 weights"),
    )


def _headline() -> Claim:
    """Figure 2 at length 8192 by what the text allows: on the grid of its reproduction, with the batches that fit, at equal batches."""
    fits = capacities()
    grid, full, step = {}, {}, {}
    for model in (DEEPSEEK, LLAMA, GPT3):
        batches = [CHIPS * n for n in (32, 64, 128, 256) if CHIPS * n <= fits[model]] or [int(fits[model])]
        seconds = step_seconds(Setting(model, 8192), [*batches, int(fits[model]), CHIPS * 64, CHIPS * 128])
        grid[model] = float(np.max(np.array(batches) / seconds[:-3]))
        full[model] = int(fits[model]) / seconds[-3]
        step[model] = {"fits": seconds[-3], 64: seconds[-2], 128: seconds[-1]}
    over = [" and ".join(f"{rate[DEEPSEEK] / rate[m]:.3g}x" for m in (GPT3, LLAMA)) for rate in (grid, full)]
    lower = [100 * (1 - step[DEEPSEEK][n] / step[LLAMA][n]) for n in (64, 128)]
    large = [100 * (1 - step[DEEPSEEK][n] / step[GPT3]["fits"]) for n in (128, 64)]
    ours = (
        f"{over[0]} on its grid, {over[1]} with the batches that fit; "
        f"TPOT {large[0]:.0f} to {large[1]:.0f} % lower than GPT-3's largest batch (128, 64 per chip), "
        f"{lower[0]:.0f} and {lower[1]:.0f} % lower than Llama4 at equal batch (64, 128 per chip); length 8192"
    )
    reason = "which points of the curves are compared is not said; the plot was not read"
    return unchecked("B20", f"{PAPER}, Fig. 2", "41x, 2x; TPOT 30 %, 34 % lower", reason, ours=ours)


def _exchange() -> Claim:
    layers = sum(p.count for p in case_of(SMALL).work.parts if p.has_experts)
    both_ways = [case_of(replace(Setting(norms=False), system=name)).times([128 * CHIPS]) for name in ("b200_x32_slow", "b200_x32")]
    ours = [float(t.communication_s[0]) / layers / 2 * 1e6 for t in both_ways]
    return compared("B21", f"{PAPER}, sec. VII-B", [151.8, 17.65], ours, band=0.01, note=" us, inside a step, 128 per chip")


def large_over_small(cache_len: int, per_chip: int, *, gb_per_s: float = 900.0, skew: float = 0.0) -> float:
    """Throughput of 256 chips over that of eight systems of 32, at equal sequences per chip."""
    link = (("links.nvlink.bandwidth_gb_per_s", gb_per_s),)
    large = case_of(replace(LARGE, cache_len=cache_len, skew=skew, overrides=link)).times([256 * per_chip]).seconds[0]
    small = case_of(replace(SMALL, cache_len=cache_len, skew=skew)).times([CHIPS * per_chip]).seconds[0]
    return float(small / large)


def large_over_small_full(cache_len: int, gb_per_s: float) -> float:
    """The same with as many sequences as fit on each."""
    large = case_of(replace(LARGE, cache_len=cache_len, overrides=(("links.nvlink.bandwidth_gb_per_s", gb_per_s),)))
    small = case_of(replace(SMALL, cache_len=cache_len))
    many, few = (c.memory().largest_batch(c.plan) for c in (large, small))
    return float(many / large.times([many]).seconds[0]) / float(8 * few / small.times([few]).seconds[0])


def imbalance(chips: int, skew: float) -> float:
    """Largest over mean load of chips that hold 256 experts, top 8, in the limit of many tokens; mean over placements."""
    routing = Routing(kind=LoadKind.ZIPF, skew=skew)
    pi = shares(routing, EXPERTS, CHOSEN)
    largest = [
        place_experts(replace(routing, seed=n), experts=EXPERTS, experts_per_token=CHOSEN, ep=chips).member_shares(pi).sum(axis=1).max()
        for n in range(DRAWS if chips < EXPERTS else 1)
    ]
    return float(np.mean(largest)) * chips / CHOSEN


def uniform_imbalance(chips: int, tokens: int) -> float:
    """Expected largest over mean load under uniform routing of `tokens` tokens."""
    placement = place_experts(UNIFORM, experts=EXPERTS, experts_per_token=CHOSEN, ep=chips)
    return float(group_load(placement, UNIFORM, CHOSEN, [tokens]).gamma_chip[0])


def _large_or_small() -> tuple[Claim, ...]:
    at_ridge = large_over_small(2048, int(ridge_ops_per_byte("b200_sxm")))
    long = large_over_small_full(16_384, 300.0)
    even, skewed = (large_over_small(2048, 64, skew=s) for s in (0.0, 0.8))
    times = imbalance(EXPERTS, 0.8) / imbalance(CHIPS, 0.8)
    return (
        compared(
            "B22", f"{PAPER}, Fig. 11a", [1], [at_ridge], band=0.08, note=" throughput of 256 chips over 8 x 32, 281 per chip, length 2048"
        ),
        holds(
            "B23",
            f"{PAPER}, Fig. 11b",
            "256 chips better at 16,384 even at 300 GB/s",
            f"{long:.4g} times 8 x 32, each with the batch that fits",
            long > 1,
        ),
        compared("B24", f"{PAPER}, Fig. 13", [6.13], [times], band=0.05, note=f" mean of {DRAWS} placements, s = 0.8"),
        holds(
            "B25",
            f"{PAPER}, Fig. 13",
            "s = 0: 256 better; large s: 8 x 32",
            f"{even:.4g}, {skewed:.4g} at s = 0, 0.8, 64 per chip",
            even > 1 > skewed,
        ),
    )


def near_memory_gain(cache_len: int, per_chip: list[int]) -> list[float]:
    """Step time without over with experts on near-memory units, for numbers of sequences per chip."""
    settings = (Setting(cache_len=cache_len), Setting(cache_len=cache_len, overrides=(("chips.near_memory", _Frozen(NEAR_MEMORY)),)))
    plain, near = (case_of(s).times([CHIPS * n for n in per_chip]).seconds for s in settings)
    return [float(v) for v in plain / near]


class _Frozen(dict[str, object]):
    """Settings that can be part of a key; never changed."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(repr(sorted(self.items())))


def _near_memory() -> Claim:
    per_chip = [8, 16, 24, 32, 64, 128]
    better = {n: [g > 1 for g in near_memory_gain(n, per_chip)] for n in (1024, 4096, 16_384)}
    last = {n: max((p for p, b in zip(per_chip, found, strict=True) if b), default=0) for n, found in better.items()}
    fact = all(found == [p < 32 for p in per_chip] for found in better.values())
    ours = "better up to " + ", ".join(f"{p} (length {n})" for n, p in last.items()) + " of 8, 16, 24, 32, 64, 128"
    return holds("B26", f"{PAPER}, Fig. 14", "PIM better below 32 per GPU", ours, fact)
