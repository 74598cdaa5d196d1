"""Weights stored in a narrow format are widened on the vector unit: nothing is free."""

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
