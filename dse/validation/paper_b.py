"""Claims B1 to B26: Yun et al., arXiv 2507.15465v3. DeepSeek-R1 in BF16."""

from __future__ import annotations

from typing import Final

from dse.ir.lowering import Part
from dse.plugins import load_model
from dse.validation.claims import Claim, compared, unchecked
from dse.validation.counts import attention_counts, ridge_ops_per_byte
from dse.workload import WorkloadOptions, load_workload

MODEL: Final = "deepseek_r1"
PAPER: Final = "arXiv 2507.15465v3"
LENGTH: Final = 4096
SYSTEM: Final = "needs the timing of a system of many chips, which this command does not run yet; see `dse system`"
HEADS, HEAD, LATENT = 128, 128, 512


def paper_b_claims() -> tuple[Claim, ...]:
    """All claims of paper B."""
    return (*_chips_and_caches(), *_attention(), *_systems())


def _chips_and_caches() -> tuple[Claim, ...]:
    ours = [ridge_ops_per_byte(name) for name in ("a100_sxm", "h200_sxm", "b200_sxm")]
    layers = load_model(MODEL).layers
    slope = [_cache_bytes(n) for n in (LENGTH, 2 * LENGTH)]
    per_token_kib = (slope[1] - slope[0]) / LENGTH / 1024
    key = attention_counts(MODEL, "mha_l", LENGTH).operator_macs
    plain = max(v for k, v in key.items() if "key" in k) / 2**20
    naive = attention_counts(MODEL, "left_to_right", LENGTH).operator_macs
    latent = (naive["latent_down"] + naive["query_absorbed"]) / 2**20
    return (
        compared(
            "B1", f"{PAPER}, Table I", [153.02, 206.15, 281.25], ours, band=0.005, note=" (A100, H200, B200; others not in the catalogue)"
        ),
        unchecked("B2", f"{PAPER}, sec. III", "18x, 2x", "V100 is not in the catalogue"),
        compared("B3", f"{PAPER}, sec. IV-A", [68.6], [per_token_kib], band=0.005, note=f" KiB per token, {layers} layers"),
        unchecked("B4", f"{PAPER}, sec. III", "2.84x", "the paper mixes 60 and 61 layers: 2.80 with 61"),
        unchecked("B5", f"{PAPER}, sec. III", "9 GB", "compares GPT-3, which this command does not lower"),
        compared("B6", f"{PAPER}, sec. IV-A", [112, 11.5], [plain, latent], band=0.01, note=" Mi weights"),
    )


def _cache_bytes(cache_len: int) -> float:
    options = WorkloadOptions(model=MODEL, cache_len=cache_len, all_layers=True, part=Part.ATTENTION)
    totals = load_workload(options).summary_json()["totals"]
    assert isinstance(totals, dict)
    return float(totals["cache_bytes"])


def _attention() -> tuple[Claim, ...]:
    table = f"{PAPER}, Table III"
    left, naive, mha = (attention_counts(MODEL, s, LENGTH) for s in ("left_to_right", "naive", "mha_l"))
    score = left.operator_macs["score"]
    rows = score / LATENT
    reordered = 2 * score / (2 * (left.cache + rows))
    shared = 2 * 2 * score / (2 * (left.cache + rows))
    plain = 2 * mha.operator_macs["score"] / mha.cache
    ratio = [attention_counts(MODEL, s, LENGTH, prefill=True, rope=True).macs for s in ("left_to_right", "naive")]
    keys = attention_counts(MODEL, "naive", LENGTH, rope=True).operator_macs["score"]  # one MAC per element of K
    expanded = naive.operator_macs["keys_expanded"] / LENGTH
    return (
        compared(
            "B7", table, [1, 102.4, 204.8], [plain, reordered, shared], band=0.01, note=" Op/B: MHA, reordered, cache shared (FlashMLA)"
        ),
        compared("B8", table, [512, 128], [expanded / (HEADS * HEAD), left.operator_macs["query_absorbed"] / (HEADS * LATENT)], band=1e-9),
        compared("B9", f"{PAPER}, sec. IV-B", [4], [score / naive.operator_macs["score"]], band=1e-9),
        compared("B10", f"{PAPER}, sec. IV-B", [64], [mha.cache / left.cache], band=0.01, note=" (ratio of cache read)"),
        unchecked("B11", f"{PAPER}, Fig. 6", "59 %, 40 %", SYSTEM),
        unchecked("B12", f"{PAPER}, Fig. 6", "103.12x", SYSTEM),
        compared("B13", f"{PAPER}, sec. IV-B", [2.21], [ratio[0] / ratio[1]], band=0.05, note=" (MACs of the whole rectangle)"),
        compared("B14", f"{PAPER}, sec. IV-B", [50], [256 * keys * 2 / 1e9], band=0.05, note=" GB, K with its rotary part"),
    )


def _systems() -> tuple[Claim, ...]:
    ridge, chips, experts, chosen = ridge_ops_per_byte("b200_sxm"), 32, 256, 8
    figures = (
        ("B15", "Fig. 8", "no gain of TP"),
        ("B17", "Fig. 9", "7360, 3328, 124"),
        ("B18", "Fig. 9", "60x, 2.21x"),
        ("B19", "sec. VIII", "7360 < 9000 < 9147"),
        ("B20", "Fig. 2", "41x, 2x; 30 %, 34 %"),
        ("B21", "sec. VII-B", "151.8 us, 17.65 us"),
        ("B22", "Fig. 11a", "equal"),
        ("B23", "Fig. 11b", "256 chips better"),
        ("B24", "Fig. 13", "6.13x"),
        ("B25", "Fig. 13", "order"),
        ("B26", "Fig. 14", "32 per GPU"),
    )
    batches = [ridge * chips, ridge * experts / chosen]
    first = compared("B16", f"{PAPER}, Eq. 10", [9000, 9000], batches, band=0.001)
    rest = [unchecked(name, f"{PAPER}, {where}", said, SYSTEM) for name, where, said in figures]
    return (rest[0], first, *rest[1:])
