"""Published figures of latent attention and experts on many chips: arXiv 2507.15465v3, claims named as B1 to B25 in the comments."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dse.ir.expert_load import UNIFORM, LoadKind, Routing, shares
from dse.ir.lowering import LoweringRequest, Part, Phase
from dse.ir.precision import precision
from dse.plugins import load_model, load_system
from dse.serving_case import serving_case
from dse.system.capacity import memory_of
from dse.system.chip_time import activation_bytes, chip_rates, kernel_time
from dse.system.closed_forms import attention_batch, capacity_batch, expert_batch, expert_exchange_s, ridge_flops_per_byte
from dse.system.kernels import Region
from dse.system.parallel import Parallel, divisors_of
from dse.system.placement import group_load, place_experts
from dse.system.step import step_times
from dse.system.work import ModelWork, model_work
from dse.workload import Switch, WorkloadOptions

GIB = 2**30
MLA_PER_LAYER = 187_105_280  # parameters with rotary columns, arithmetic
EXPERT = 3 * 7168 * 2048
PLAN = Parallel(dp=32, ep=32)


def work(scheme: str = "left_to_right", cache_len: int = 4096, *, norms: bool = False) -> ModelWork:
    request = LoweringRequest(
        phase=Phase.DECODE, batch=1, query_len=1, cache_len=cache_len, attention=scheme, precision=precision("bf16"),
        rope=True, norms=norms, part=Part.LAYER, layer=None,
    )  # fmt: skip
    return model_work(load_model("deepseek_r1"), request)


def attention_seconds(scheme: str, batch: int, cache_len: int) -> dict[str, float]:
    rates = chip_rates(load_system("b200_x32").system.chip)
    part = next(p for p in work(scheme, cache_len).parts if p.has_experts)
    by = divisors_of(PLAN, part.sizes)
    return {
        k.name: float(kernel_time(k, by, replace(rates, launch_s=0.0), np.array([float(batch)])).seconds[0])
        for k in part.kernels
        if k.region is Region.ATTENTION
    }


@pytest.mark.parametrize(
    ("tflops", "gb_per_s", "ridge"),
    [(125, 900, 138.89), (312, 2039, 153.02), (989.5, 4800, 206.15), (2250, 8000, 281.25), (459, 2765, 166.0), (1307.4, 6000, 217.9)],
)
def test_ridges(tflops: float, gb_per_s: float, ridge: float) -> None:  # B1; the printed TPU v7 value fits 7,200 GB/s
    assert ridge_flops_per_byte(tflops * 1e12, gb_per_s * 1e9) == pytest.approx(ridge, abs=0.01)
    chip = load_system("b200_x32").system.chip
    assert chip_rates(chip).ridge_flops_per_byte["bf16"] == pytest.approx(281.25, rel=1e-4)


def test_ideal_batches() -> None:  # B16
    assert attention_batch(281.25, 32) == 9000
    assert expert_batch(281.25, 256, 8) == 9000
    assert expert_batch(281.25, 128, 1) == 36_000


@pytest.mark.parametrize(
    ("attention", "other", "copies", "cache", "weight_bytes", "expected"),
    [
        (60 * MLA_PER_LAYER, 57 * 257 * EXPERT + 3 * 3 * 7168 * 18432, 32, 60 * 576 * 2, 2, 7370.8),  # DeepSeek-R1, 60 layers
        (96 * 12 * 12288**2, 0, 4, 96 * 2 * 12288 * 2, 2, 124.0),  # GPT-3, all weights in each of four copies
        (60 * MLA_PER_LAYER, 57 * 257 * EXPERT + 3 * 3 * 7168 * 18432, 32, 60 * 576 * 2, 1, 9147),  # DeepSeek-R1, fp8 weights
    ],
)
def test_capacity_batches(attention: int, other: int, copies: int, cache: int, weight_bytes: int, expected: float) -> None:  # B17, B19
    found = capacity_batch(
        memory_bytes=180 * GIB,
        chips=32,
        attention_bytes=attention * weight_bytes,
        data_parallel=copies,
        other_bytes=other * weight_bytes,
        cache_bytes_per_token=cache,
        cache_len=8192,
    )
    assert found == pytest.approx(expected, rel=1e-3)


def sixty_layers(folder: Path) -> str:
    """The model as the paper's figures have it: 60 layers, as its simulator holds, not the 61 of its text."""
    text = Path("workloads/models/deepseek_r1.yaml").read_text()
    path = folder / "sixty.yaml"
    path.write_text(text.replace("layers: 61 ", "layers: 60 ", 1).replace("name: deepseek_r1", "name: sixty", 1))
    return str(path)


def batch_that_fits(model: str, parallel: str, precision_name: str | None = None, cache_len: int = 8192) -> float:
    options = WorkloadOptions(model=model, cache_len=cache_len, precision=precision_name)
    case = serving_case(options, load_system("b200_x32").system, parallel)
    return case.memory().batch_that_fits(case.plan)


def test_largest_batches_of_the_whole_system(tmp_path: Path) -> None:  # B17: 7360, 3328, 124; B18: about 60x and 2.21x
    spread = "dp=32,ep=32,dense_tp=32"  # attention on every chip, everything else once per system, as equation 11 counts
    deepseek = batch_that_fits("deepseek_r1", spread)
    llama = batch_that_fits("llama4_maverick", "tp=8,dp=4,ep=32,dense_tp=32")
    long = Path("workloads/models/gpt3_175b.yaml").read_text().replace("positions: 2048", "positions: 8192", 1)
    (tmp_path / "long.yaml").write_text(long.replace("name: gpt3_175b", "name: long", 1))
    gpt3 = batch_that_fits(str(tmp_path / "long.yaml"), "tp=8,dp=4")
    assert deepseek == pytest.approx(7360, rel=0.03)
    sixty = batch_that_fits(sixty_layers(tmp_path), spread)
    assert sixty == pytest.approx(7360, rel=0.005)
    assert llama == pytest.approx(3328, rel=0.005)
    assert gpt3 == pytest.approx(124, rel=0.005)
    assert deepseek / gpt3 == pytest.approx(7360 / 124, rel=0.03)
    assert sixty / gpt3 == pytest.approx(60, rel=0.015)
    assert deepseek / llama == pytest.approx(2.21, rel=0.03)


def test_smaller_weights_lift_the_largest_batch_over_the_ridge(tmp_path: Path) -> None:  # B19: 7360 < 9000 < 9147
    model, spread = sixty_layers(tmp_path), "dp=32,ep=32,dense_tp=32"
    lifted = batch_that_fits(model, spread, "w8a16_fp8")
    assert batch_that_fits(model, spread, "bf16") < expert_batch(281.25, 256, 8) < lifted
    assert lifted == pytest.approx(9147, rel=0.005)


def attention_block(scheme: str, cache_len: int, *, prefill: bool = False, rope: bool = True, per_chip: int = 1) -> dict[str, float]:
    options = WorkloadOptions(
        model="deepseek_r1",
        phase=Phase.PREFILL if prefill else Phase.DECODE,
        cache_len=cache_len,
        attention=scheme,
        rope=Switch.ON if rope else Switch.OFF,
        norms=Switch.OFF,
    )
    case = serving_case(options, load_system("b200_x32").system, "dp=32,ep=32")
    part = next(p for p in case.work.parts if p.has_experts)
    return {o.name: float(o.seconds[0]) for o in case.run(32 * per_chip).operators(part) if o.region is Region.ATTENTION}


def test_reordering_costs_2_21_times_in_prefill() -> None:  # B13: up to 2.21 on its grid of lengths
    longest = sum(attention_block("left_to_right", 8192, prefill=True).values()) / sum(
        attention_block("naive", 8192, prefill=True).values()
    )
    assert longest == pytest.approx(2.21, rel=0.005)


def test_core_gets_64_times_faster() -> None:  # B10: 2 d_dec / d_KVco, without rotary columns
    without, reordered = (attention_block(s, 65536, rope=False)["score"] for s in ("naive", "left_to_right"))
    assert without / reordered == pytest.approx(64, rel=0.01)


@pytest.mark.parametrize("cache_len", [1024, 4096, 16384])
def test_memory_side_experts_help_below_32_sequences_per_chip(cache_len: int) -> None:  # B26: 8 Op/B at four times the bandwidth
    plain = load_system("b200_x32")
    unit = {"runs": ["experts"], "bandwidth_gb_per_s": 32000, "tflops": 256}
    options = WorkloadOptions(model="deepseek_r1", cache_len=cache_len)
    cases = [serving_case(options, d.system, "dp=32,ep=32") for d in (plain, plain.with_overrides({"chips.near_memory": unit}))]
    chip, memory = (case.times([32 * n for n in (8, 16, 24, 32, 64, 128)]).seconds for case in cases)
    assert (memory < chip).tolist() == [True, True, True, False, False, False]


def test_reordering_gains_103_times_in_decode() -> None:  # B12: 103.12 at (64, 8192)
    without, reordered = attention_seconds("naive", 64, 8192), attention_seconds("left_to_right", 64, 8192)
    assert sum(without.values()) / sum(reordered.values()) == pytest.approx(103.12, rel=0.01)
    assert sum(without.values()) == pytest.approx(13_231e-6, rel=0.001)
    assert reordered["score"] == pytest.approx(77.7e-6, rel=0.001)


def test_shares_without_reordering() -> None:  # B11: decompression 59 %, core 40 %
    times = attention_seconds("naive", 128, 4096)
    total = sum(times.values())
    assert (times["keys_expanded"] + times["values_expanded"]) / total == pytest.approx(0.59, abs=0.005)
    assert times["score"] / total == pytest.approx(0.40, abs=0.01)


def test_expanded_keys_take_50_gb() -> None:  # B14: 51.5 GB at 256 sequences of 4,096
    part = next(p for p in work("naive").parts if p.has_experts)
    kernel = next(k for k in part.kernels if k.name == "keys_expanded")
    fixed, slope = activation_bytes(kernel, divisors_of(PLAN, part.sizes))
    assert fixed + 256 * slope == pytest.approx(51.5e9, rel=0.03)


@pytest.mark.parametrize(("scheme", "intensity", "allowed"), [("left_to_right", 204.8, 0.1), ("naive", 1.0, 0.02)])
def test_intensity_of_the_core(scheme: str, intensity: float, allowed: float) -> None:  # B7; ours counts rotary values and queries too
    part = next(p for p in work(scheme, 65536).parts if p.has_experts)
    core = next(k for k in part.kernels if k.core)
    flops = sum(2 * a.slope for _, a in core.macs)
    assert flops / sum(a.slope for _, a in core.moved) == pytest.approx(intensity, rel=0.19 if allowed == 0.1 else allowed)


def test_tensor_parallelism_cuts_the_intensity_of_reordered_attention() -> None:  # B15: every chip reads the whole cache
    part = next(p for p in work(cache_len=65536).parts if p.has_experts)
    core = next(k for k in part.kernels if k.core)

    def intensity(tp: int) -> float:
        by = divisors_of(Parallel(tp=tp), part.sizes)
        return 2 * sum(a.divided(by)[1] for _, a in core.macs) / sum(a.divided(by)[1] for _, a in core.moved)

    assert intensity(8) == pytest.approx(intensity(1) / 8, rel=0.01)


@pytest.mark.parametrize(("gb_per_s", "latency_us", "microseconds"), [(100, 0.13, 151.8), (900, 0.8, 17.65)])
def test_one_all_to_all(gb_per_s: float, latency_us: float, microseconds: float) -> None:  # B21
    load = group_load(place_experts(UNIFORM, experts=256, experts_per_token=8, ep=32), UNIFORM, 8, [128 * 32])
    assert load.gamma_chip[0] == pytest.approx(1.066, rel=0.005)
    found = expert_exchange_s(
        gamma=float(load.gamma_chip[0]),
        token_bytes=2 * 7168,
        experts_per_token=8,
        batch=128 * 32,
        chips=32,
        bytes_per_s=gb_per_s * 1e9,
        latency_s=latency_us * 1e-6,
    )
    assert found * 1e6 == pytest.approx(microseconds, rel=0.01)


@pytest.mark.parametrize(("name", "microseconds"), [("b200_x32_slow", 151.8), ("b200_x32", 17.65)])
def test_one_all_to_all_inside_a_step(name: str, microseconds: float) -> None:  # B21, of the whole step: 58 layers, two ways
    times = step_times(work(), load_system(name).system, PLAN, [128 * 32])
    assert float(times.communication_s[0]) / 58 / 2 * 1e6 == pytest.approx(microseconds, rel=0.01)


def one_large_over_eight_small(cache_len: int, batch_per_chip: int, gb_per_s: float = 900, skew: float = 0.0) -> float:
    routing = Routing(kind=LoadKind.ZIPF, skew=skew) if skew else UNIFORM
    small = load_system("b200_x32").system
    large = load_system("b200_x256").with_overrides({"links.nvlink.bandwidth_gb_per_s": gb_per_s}).system
    counted = work(cache_len=cache_len)
    small_s = step_times(counted, small, PLAN, [batch_per_chip * 32], routing=routing).seconds[0]
    large_s = step_times(counted, large, Parallel(dp=256, ep=256), [batch_per_chip * 256], routing=routing).seconds[0]
    return float(small_s / large_s)


def test_one_large_system_against_eight_small_ones() -> None:  # B22, B23, B25
    at_ridge = 9000 // 32
    assert one_large_over_eight_small(2048, at_ridge) == pytest.approx(1.0, abs=0.08)
    small, large = load_system("b200_x32").system, load_system("b200_x256").system
    counted = work(cache_len=16384)
    few = memory_of(counted, PLAN, small).largest_batch(PLAN)
    plan = Parallel(dp=256, ep=256)
    many = memory_of(counted, plan, large).largest_batch(plan)
    slow = load_system("b200_x256").with_overrides({"links.nvlink.bandwidth_gb_per_s": 300}).system
    eight = 8 * few / step_times(counted, small, PLAN, [few]).seconds[0]
    assert many / step_times(counted, slow, plan, [many]).seconds[0] > eight  # even at 300 GB/s
    assert one_large_over_eight_small(2048, 64) > 1.0
    assert one_large_over_eight_small(2048, 64, skew=0.8) < 1.0


def test_imbalance_of_256_chips_over_32() -> None:  # B24: 6.13 at s = 0.8, mean over placements
    routing = Routing(kind=LoadKind.ZIPF, skew=0.8)
    pi = shares(routing, 256, 8)
    small = [
        place_experts(replace(routing, seed=n), experts=256, experts_per_token=8, ep=32).member_shares(pi).sum(axis=1).max() * 32 / 8
        for n in range(100)
    ]
    assert float(pi[0]) * 256 / 8 / float(np.mean(small)) == pytest.approx(6.13, rel=0.03)
