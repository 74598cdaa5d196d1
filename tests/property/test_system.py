"""Properties of systems: counts affine in the batch, parts that add up, more bandwidth never slower, loads that keep every row."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.ir.expert_load import LoadKind, Routing, shares
from dse.ir.lowering import LoweringRequest, Part, Phase
from dse.ir.onnx_read import read_onnx
from dse.ir.precision import precision
from dse.plugins import load_model, load_system
from dse.system.kernels import Region, layer_kernels
from dse.system.patterns import plans_of
from dse.system.placement import Placing, group_load, place_experts
from dse.system.step import step_times
from dse.system.work import ModelWork, model_work

REQUEST = LoweringRequest(
    phase=Phase.DECODE, batch=1, query_len=1, cache_len=512, attention="left_to_right", precision=precision("bf16"),
    rope=True, norms=True, part=Part.LAYER, layer=None,
)  # fmt: skip


def work(model: str = "deepseek_v2_lite") -> ModelWork:
    return model_work(load_model(model), REQUEST)


@pytest.mark.parametrize("batch", [3, 17])
def test_counts_are_affine_in_the_batch(batch: int) -> None:
    """What two lowerings predict for any batch is what a third lowering has, but for routed experts."""
    lowered = load_model("deepseek_v2_lite").lower(replace(REQUEST, batch=batch))
    for part, ours in zip(lowered.parts, work().parts, strict=True):
        found = {k.name: k for k in layer_kernels(read_onnx(part.onnx, name=part.name)).kernels}
        for kernel in ours.kernels:
            if kernel.region is not Region.EXPERTS:
                macs = sum(a.fixed + a.slope * batch for _, a in kernel.macs)
                assert macs == pytest.approx(sum(found[kernel.name].macs.values()))
                moved = sum(a.fixed + a.slope * batch for _, a in kernel.moved)
                there = found[kernel.name]
                assert moved == pytest.approx(sum(there.read_bytes.values()) + sum(there.written_bytes.values()))


PLANS = plans_of("tp=*,cp=*,pp=*,ep=*,moe_tp=*,dense_tp=*", work(), 8).legal


@given(plan=st.sampled_from(PLANS), batch=st.integers(1, 5000), skew=st.sampled_from([0.0, 0.5, 1.2]), halves=st.booleans())
@settings(max_examples=40, deadline=None)
def test_parts_add_up_and_more_bandwidth_is_never_slower(plan, batch, skew, halves) -> None:  # type: ignore[no-untyped-def]
    routing = Routing(kind=LoadKind.ZIPF, skew=skew)
    plan = replace(plan, microbatches=2 if halves else 1)
    description = load_system("b200_x32").with_overrides({"chips.count": 8, "links.nvlink.chips": 8})
    slow = step_times(work(), description.system, plan, [batch], routing=routing)
    assert sum(slow.shares(0).values()) == pytest.approx(1.0)
    assert all(share >= -1e-12 for share in slow.shares(0).values())
    fast = step_times(work(), description.with_overrides({"links.nvlink.bandwidth_gb_per_s": 1800}).system, plan, [batch], routing=routing)
    assert fast.seconds[0] <= slow.seconds[0] * (1 + 1e-12)


@given(
    skew=st.floats(0, 3), ep=st.sampled_from([1, 2, 8, 64]), redundant=st.sampled_from([0, 64]), placing=st.sampled_from(list(Placing)),
    tokens=st.integers(1, 10**6),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_every_row_is_placed_and_the_busiest_member_has_at_least_the_mean(skew, ep, redundant, placing, tokens) -> None:  # type: ignore[no-untyped-def]
    routing = Routing(kind=LoadKind.ZIPF, skew=skew)
    placement = place_experts(routing, experts=64, experts_per_token=6, ep=ep, redundant=redundant, placing=placing)
    assert placement.member_shares(shares(routing, 64, 6)).sum() == pytest.approx(6.0)
    load = group_load(placement, routing, 6, [tokens])
    assert load.largest_rows[0] >= load.mean_rows[0] * (1 - 1e-9)
    assert load.largest_rows[0] <= tokens * 6 * (1 + 1e-9)


def test_expected_largest_load_is_that_of_many_draws() -> None:
    routing = Routing(kind=LoadKind.ZIPF, skew=0.6)
    placement = place_experts(routing, experts=64, experts_per_token=6, ep=8)
    expected = group_load(placement, routing, 6, [512]).gamma_chip[0]
    drawn = [group_load(placement, replace(routing, seed=n), 6, [512]).gamma_chip[0] for n in range(200)]
    assert float(np.mean(drawn)) == pytest.approx(float(expected), rel=0.02)


def test_redundant_copies_and_balance_lower_the_imbalance() -> None:
    routing = Routing(kind=LoadKind.ZIPF, skew=1.0)

    def gamma(redundant: int, placing: Placing) -> float:
        placement = place_experts(routing, experts=64, experts_per_token=6, ep=16, redundant=redundant, placing=placing)
        return float(group_load(placement, routing, 6, [4096]).gamma_chip[0])

    assert gamma(16, Placing.BALANCED) < gamma(0, Placing.BALANCED) < gamma(0, Placing.CONTIGUOUS)


@pytest.mark.parametrize("model", ["gemma2_27b", "llama3_8b", "deepseek_v2_lite", "llama4_maverick", "gpt_oss_20b"])
def test_chips_hold_the_parameters_of_the_model(model: str) -> None:
    """What one chip holds of everything is what the model says of its parameters; tied embeddings are there once."""
    loaded = load_model(model)
    request = replace(REQUEST, attention=loaded.attention_schemes[0])
    counted, lowered = model_work(loaded, request), loaded.lower(request)
    held = sum(
        p.count * (sum(a.fixed for a in p.weights) + p.has_experts * counted.experts * p.expert_weights.fixed) for p in counted.parts
    )
    assert held == pytest.approx(lowered.stored_weight_bytes, rel=1e-6)
