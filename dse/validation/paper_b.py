"""Claims B1 to B26: Yun et al., arXiv 2507.15465v3. DeepSeek-R1 in BF16."""

from __future__ import annotations

from typing import Final

from dse.ir.lowering import Part
from dse.plugins import load_model
from dse.validation.claims import Claim, compared
from dse.validation.counts import attention_counts, peak_macs_per_s, ridge_ops_per_byte
from dse.validation.paper_b_systems import attention_block_claims, system_claims
from dse.workload import WorkloadOptions, load_workload

MODEL: Final = "deepseek_r1"
PAPER: Final = "arXiv 2507.15465v3"
LENGTH: Final = 4096
HEADS, HEAD, LATENT = 128, 128, 512
V100_FLOPS: Final = 125e12  # arXiv 2507.15465v3, table I
V100_RIDGE: Final = 125e12 / 900e9  # the same


def paper_b_claims() -> tuple[Claim, ...]:
    """All claims of paper B."""
    return (*_chips_and_caches(), *_attention(), *system_claims())


def _chips_and_caches() -> tuple[Claim, ...]:
    ours = [ridge_ops_per_byte(name) for name in ("a100_sxm", "h200_sxm", "b200_sxm")]
    layers = load_model(MODEL).layers
    slope = [_cache_bytes(n) for n in (LENGTH, 2 * LENGTH)]
    per_token_kib = (slope[1] - slope[0]) / LENGTH / 1024
    llama = (_cache_bytes(2048, "llama4_maverick") - _cache_bytes(1024, "llama4_maverick")) / 1024 / 1024
    peak = peak_macs_per_s("b200_sxm")
    key = attention_counts(MODEL, "mha_l", LENGTH).operator_macs
    plain = max(v for k, v in key.items() if "key" in k) / 2**20
    naive = attention_counts(MODEL, "left_to_right", LENGTH).operator_macs
    latent = (naive["latent_down"] + naive["query_absorbed"]) / 2**20
    return (
        compared(
            "B1", f"{PAPER}, Table I", [153.02, 206.15, 281.25], ours, band=0.005, note=" (A100, H200, B200; others not in the catalogue)"
        ),
        compared(
            "B2", f"{PAPER}, sec. III", [18, 2], [2 * peak / V100_FLOPS, ours[2] / V100_RIDGE], band=0.02, note=" (V100 as table I has it)"
        ),
        compared("B3", f"{PAPER}, sec. IV-A", [68.6], [per_token_kib], band=0.005, note=f" KiB per token, {layers} layers"),
        compared(
            "B4",
            f"{PAPER}, sec. III",
            [2.84],
            [llama / per_token_kib * layers / 60],
            band=0.005,
            note=f" with 60 layers; {llama / per_token_kib:.3g} with {layers}",
        ),
        compared(
            "B5", f"{PAPER}, sec. III", [9], [_cache_bytes(2048, "gpt3_175b") / 2**30], band=0.01, note=" GiB per request, GPT-3 at 2048"
        ),
        compared("B6", f"{PAPER}, sec. IV-A", [112, 11.5], [plain, latent], band=0.01, note=" Mi weights"),
    )


def _cache_bytes(cache_len: int, model: str = MODEL) -> float:
    options = WorkloadOptions(model=model, precision="bf16", cache_len=cache_len, all_layers=True, part=Part.ATTENTION)
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
    keys = attention_counts(MODEL, "naive", LENGTH, rope=True).operator_macs["score"]  # one MAC per element of K
    expanded = naive.operator_macs["keys_expanded"] / LENGTH
    return (
        compared(
            "B7", table, [1, 102.4, 204.8], [plain, reordered, shared], band=0.01, note=" Op/B: MHA, reordered, cache shared (FlashMLA)"
        ),
        compared("B8", table, [512, 128], [expanded / (HEADS * HEAD), left.operator_macs["query_absorbed"] / (HEADS * LATENT)], band=1e-9),
        compared("B9", f"{PAPER}, sec. IV-B", [4], [score / naive.operator_macs["score"]], band=1e-9),
        compared("B10", f"{PAPER}, sec. IV-B", [64], [mha.cache / left.cache], band=0.01, note=" (ratio of cache read)"),
        *attention_block_claims(),
        compared("B14", f"{PAPER}, sec. IV-B", [50], [256 * keys * 2 / 1e9], band=0.05, note=" GB, K with its rotary part"),
    )
