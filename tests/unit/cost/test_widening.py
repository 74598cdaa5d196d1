"""Weights in narrow formats are widened, blocks scaled and results quantised on the vector unit: nothing is free."""

from __future__ import annotations

import pytest

from dse.ir.lowering import Part
from dse.single import evaluate_single
from dse.workload import WorkloadOptions


def test_four_bit_weights_are_widened_one_operation_each() -> None:
    narrow, plain = (
        evaluate_single(WorkloadOptions(model="deepseek_v3", part=Part.ATTENTION, precision=p), "flat_cloud", schedule="layer_by_layer")
        for p in ("weights=int4_g128", "bf16")
    )
    products = {o.operator for o in narrow.operators if o.mapping is not None}
    added = sum(b.cycles for b in narrow.breakdown if b.component == "vector" and b.operator in products)
    assert not any(b.component == "vector" and b.operator in products for b in plain.breakdown)
    # 187,105,280 parameters of the attention layer with rotary keys (decision 0007); 256 lanes of flat_cloud.
    lanes = 256
    assert added * lanes == pytest.approx(187_105_280, rel=1e-12)


@pytest.mark.parametrize("schedule", ["layer_by_layer", "fused"])
def test_products_of_scaled_blocks_are_added_up_there(schedule: str) -> None:
    """A dense layer of DeepSeek-V3, one token: 2 operations per result and 128 products, 3 to quantise a result, however it is scheduled."""
    plain, blocks = (
        evaluate_single(WorkloadOptions(model="deepseek_v3", layer=0, part=Part.FFN, precision=p), "flat_cloud", schedule=schedule)
        for p in ("fp8", "fp8_block")
    )
    products = {o.operator for o in blocks.operators if o.mapping is not None}
    added = sum(b.cycles for b in blocks.breakdown if b.component == "vector" and b.operator in products)
    assert not any(b.component == "vector" and b.operator in products for b in plain.breakdown)
    d, f, lanes = 7168, 18432, 256
    assert added * lanes == pytest.approx(2 * (2 * f * d + d * f) / 128 + 3 * (2 * f + d), rel=1e-12)
