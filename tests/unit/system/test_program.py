"""What one chip runs: kernels with the collectives between them, messages of uneven sizes, and measured exchange kernels in a step."""

import numpy as np
import pytest

from dse.errors import UsageError
from dse.ir.expert_load import LoadKind, Routing, shares
from dse.ir.lowering import Phase
from dse.plugins import load_system
from dse.serving_case import ServingCase, ServingChoices, serving_case
from dse.system.all_to_all import all_to_all_cost
from dse.system.chip_program import CollectiveWork, chip_program
from dse.system.collectives import collective_cost
from dse.system.layer_time import ExchangeChoice
from dse.system.measured import predict_all_to_all_s
from dse.system.placement import Placing, group_load, place_experts
from dse.system.system import Operation
from dse.workload import WorkloadOptions

OPTIONS = WorkloadOptions(model="deepseek_v2_lite", cache_len=1024)


def order(parallel: str) -> list[str]:
    case = serving_case(OPTIONS, load_system("b200_x32").system, parallel)
    part = next(p for p in case.work.parts if p.has_experts)
    return [s.name for s in chip_program(part, case.work, case.plan)]


@pytest.mark.parametrize(("name", "ranks"), [("b200_x32", 32), ("h100_cluster", 64), ("h100_cluster", 8), ("tpu7x_pod64", 64)])
def test_equal_shares_cost_what_the_collective_costs(name: str, ranks: int) -> None:
    system = load_system(name).system
    found = all_to_all_cost(system, np.full((ranks, ranks), 1e6))
    even = collective_cost(system, Operation.ALL_TO_ALL, ranks * 1e6, ranks)
    assert found.seconds == pytest.approx(even.seconds, rel=1e-9)
    assert found.energy_j == pytest.approx(even.energy_j, rel=1e-9)


def test_the_busiest_destination_decides() -> None:
    system = load_system("b200_x32").system
    sizes = np.full((32, 32), 1e6)
    sizes[:, 5] *= 3  # everybody sends chip 5 three times as much: 31 x 3 MB at 900 GB/s
    assert all_to_all_cost(system, sizes).seconds == pytest.approx(0.8e-6 + 31 * 3e6 / 900e9, rel=1e-9)
    with pytest.raises(UsageError, match="square of finite sizes"):
        all_to_all_cost(system, np.zeros((2, 3)))


def test_dispatch_costs_what_its_destinations_cost() -> None:
    """A step's dispatch of skewed rows is the all-to-all of the sizes that the placement gives, at the expected largest load."""
    system, tokens = load_system("b200_x32").system, 10**6  # so many that the expected largest load is the largest share
    routing = Routing(kind=LoadKind.ZIPF, skew=0.8)
    placement = place_experts(routing, experts=64, experts_per_token=6, ep=32, placing=Placing.BALANCED)

    share = placement.member_shares(shares(routing, 64, 6)).sum(axis=1)  # rows per token to each chip
    sizes = np.tile(share * tokens / 32 * 4096.0, (32, 1))
    gamma = float(group_load(placement, routing, 6, [tokens]).gamma_chip[0])
    even = collective_cost(system, Operation.ALL_TO_ALL, 6 * tokens / 32 * 4096.0 * gamma, 32)
    assert all_to_all_cost(system, sizes).seconds == pytest.approx(even.seconds, rel=0.01)


def test_collectives_lie_where_their_operands_are_made() -> None:
    plain = order("tp=2,ep=32")
    assert plain.index("attention_out") < plain.index("attention_sum") < plain.index("dispatch")
    assert plain.index("dispatch") + 1 == plain.index("expert_in_light")
    assert plain[-2:] == ["combine", "ffn_sum"]
    spread = order("tp=2,ep=32,dense_tp=32")
    assert spread[spread.index("dense_gather") + 1].startswith("shared")
    assert spread[-2:] == ["dense_scatter", "dense_spread"]
    assert not [n for n in order("dp=32,ep=1") if n in ("dispatch", "combine", "ffn_sum")]


def test_spread_dense_networks_multiply_as_often_in_all() -> None:
    system = load_system("b200_x32").system
    macs = []
    for parallel in ("dp=32,ep=32", "dp=32,ep=32,dense_tp=32"):
        case = serving_case(OPTIONS, system, parallel)
        macs.append(sum(float(o.macs[0]) * p.count for p in case.work.parts for o in case.run(64).operators(p)))
    assert macs[0] == pytest.approx(macs[1], rel=1e-9)


def test_measured_exchange_in_a_step_is_the_measured_exchange() -> None:
    system = load_system("h100_cluster").system
    options = WorkloadOptions(model="deepseek_r1", cache_len=1024)
    even = ServingChoices(exchange=ExchangeChoice("low_latency"))
    case = serving_case(options, system, "dp=64,ep=64", choices=even)
    part = next(p for p in case.work.parts if p.has_experts)
    run = case.run(64 * 128)
    assert run.load is not None
    loaded = 128 * float(run.load.gamma_chip[0])
    combine = next(o for o in run.operators(part) if o.name == "combine")
    measured = predict_all_to_all_s(
        system, phase="combine", mode="low_latency", ranks=64, nodes=8, tokens_per_rank=round(loaded), hidden=7168, top_k=8, experts=256
    )
    assert float(combine.seconds[0]) == pytest.approx(measured, rel=0.01)
    assert all(isinstance(s, CollectiveWork) or s.name for s in chip_program(part, case.work, case.plan))


@pytest.mark.parametrize("model", ["deepseek_v2_lite", "llama3_8b"])
def test_a_prompt_over_context_groups(model: str) -> None:
    """Products of a cut prompt add up to those of a whole one; the cache is gathered once per layer; the prompt is done sooner."""
    system = load_system("b200_x32").system
    options = WorkloadOptions(model=model, phase=Phase.PREFILL, cache_len=32768)
    whole, cut = (serving_case(options, system, f"dp={32 // cp},cp={cp}") for cp in (1, 8))

    def macs(case: ServingCase) -> float:
        run = case.run(case.plan.dp)
        return sum(float(o.macs[0]) * p.count for p in case.work.parts for o in run.operators(p))

    assert macs(cut) * 8 == pytest.approx(macs(whole), rel=1e-3)  # of one chip, for one prompt of its group
    part = next(p for p in cut.work.parts if p.is_layer)
    gather = next(s for s in chip_program(part, cut.work, cut.own_plan) if isinstance(s, CollectiveWork) and s.name == "cache_gather")
    whole_part = next(p for p in whole.work.parts if p.name == part.name)
    assert gather.ranks == 8
    assert gather.bytes_per_sequence == pytest.approx(sum(a.slope for a in whole_part.caches))
    assert float(cut.times([4]).seconds[0]) < float(whole.times([32]).seconds[0]) / 5
    assert cut.memory().cache_bytes_per_sequence == pytest.approx(whole.memory().cache_bytes_per_sequence / 8)
    assert cut.largest_batch % 4 == 0
