"""Two pools of chips: rates, splits, the cache that passes between them."""

import pytest

from dse.errors import UsageError
from dse.plugins import load_system
from dse.serving import evaluate_serving
from dse.serving_pools import PoolOptions, best_split, evaluate_pools
from dse.workload import WorkloadOptions

OPTIONS = WorkloadOptions(model="deepseek_v2_lite", batch=256, cache_len=2048)
SYSTEM = load_system("b200_x32").system


def test_a_pool_is_a_system_of_its_own() -> None:
    (point,) = evaluate_pools(OPTIONS, SYSTEM, PoolOptions(prefill_chips=16, output_len=100))
    alone = evaluate_serving(OPTIONS, SYSTEM.part(16))
    assert point.decode.step_s == alone.step_s
    assert point.prefill.step_s == alone.prefill_s  # one prompt per group of the same 16 chips
    assert point.decode.requests_per_s == pytest.approx(256 / alone.step_s / 100)


def test_the_cache_of_a_request_crosses_once() -> None:
    (point,) = evaluate_pools(OPTIONS, SYSTEM, PoolOptions(prefill_chips=8, output_len=100, prompt_len=1000))
    size = 1000 * 576 * 2 * 27  # positions x (512 + 64) values x bf16 x layers
    assert point.cache_bytes == size
    assert point.transfer_s == pytest.approx(0.8e-6 + size / 900e9)
    assert point.transfers_per_s == pytest.approx(8 * 900e9 / size)


def test_the_best_split_balances_both_pools() -> None:
    points = evaluate_pools(OPTIONS, SYSTEM, PoolOptions(prefill_chips=None, output_len=400))
    best = best_split(points)
    assert best is not None and best.tokens_per_s_per_chip == max(p.tokens_per_s_per_chip for p in points)
    assert best.requests_per_s == min(best.rates.values())
    strict = best_split(points, tpot_limit_s=min(p.decode.step_s for p in points))
    assert strict is not None and strict.tokens_per_s_per_chip <= best.tokens_per_s_per_chip


@pytest.mark.parametrize(("chips", "message"), [(0, "prefill pool has no chips"), (32, "decode pool has no chips")])
def test_a_pool_needs_chips(chips: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        evaluate_pools(OPTIONS, SYSTEM, PoolOptions(prefill_chips=chips, output_len=100))


def test_pools_are_whole_domains() -> None:
    cluster = load_system("h100_cluster").system
    assert [link.chips for link in cluster.part(24).links] == [8, 24]
    assert [link.chips for link in cluster.part(4).links] == [4]
    with pytest.raises(UsageError, match="no whole number of domains"):
        cluster.part(12)


def test_prompts_on_another_system() -> None:
    other = load_system("h200_node").system
    (point,) = evaluate_pools(OPTIONS, SYSTEM, PoolOptions(prefill_chips=None, output_len=100, prefill_system=other))
    assert (point.prefill.case.system.chips, point.decode.case.system.chips, point.chips) == (8, 32, 40)
    assert point.decode.step_s == evaluate_serving(OPTIONS, SYSTEM).step_s
    assert point.transfer_s == pytest.approx(1e-6 + point.cache_bytes / 450e9)  # the slower of the two links
