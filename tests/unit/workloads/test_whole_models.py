"""Whole models: parameter counts against published ones, parts and counts, FFN and MoE closed forms, speed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dse.ir.expert_load import UNIFORM, expected_active, expert_rows
from dse.ir.lowering import LoweringRequest, Part, Phase
from dse.ir.onnx_read import read_onnx
from dse.ir.precision import precision
from dse.ir.summary import summarise, summarise_workload
from workloads.catalogue import CATALOGUE

DECODE = LoweringRequest(
    phase=Phase.DECODE,
    batch=32,
    query_len=1,
    cache_len=4096,
    attention="left_to_right",
    precision=precision("fp8"),
    rope=True,
    norms=True,
    part=Part.LAYER,
    layer=None,
)


@pytest.mark.parametrize(
    ("name", "total", "active", "tolerance"),
    [
        ("deepseek_v3", 671e9, 36.6e9, 0.005),  # README_WEIGHTS.md of the model's repository, first version (MTP left out)
        ("deepseek_r1", 671e9, 36.6e9, 0.005),  # as V3
        ("deepseek_v2_lite", 15.7e9, 2.4e9, 0.025),  # arXiv 2405.04434, appendix B; active printed with two digits
        ("kimi_k2", 1.04e12, 32e9, 0.015),  # arXiv 2507.20534: 1.04T, 32B; the published dimensions give 1.026T
    ],
)
def test_published_parameter_counts(name: str, total: float, active: float, tolerance: float):
    lowered = CATALOGUE.load(name).lower(DECODE)
    assert lowered.parameters_total == pytest.approx(total, rel=tolerance)
    assert lowered.parameters_active == pytest.approx(active, rel=tolerance)


def test_deepseek_v3_by_hand():
    """61 attention layers of 187,105,280 with gains 1536 + 512 + 2·7168; 3 dense of 3·7168·18432; 58 MoE; table, head, norm."""
    lowered = CATALOGUE.load("deepseek_v3").lower(DECODE)
    attention = 61 * (187_105_280 + 1536 + 512 + 2 * 7168)
    dense = 3 * 3 * 7168 * 18432
    expert = 3 * 7168 * 2048
    router = 7168 * 256 + 256
    table = 129_280 * 7168
    assert lowered.parameters_total == attention + dense + 58 * (257 * expert + router) + 2 * table + 7168
    assert lowered.parameters_active == attention + dense + 58 * (9 * expert + router) + 7168 + table + 7168


def test_whole_model_repeats_layers():
    lowered = CATALOGUE.load("deepseek_v3").lower(DECODE)
    assert [(p.name, p.count) for p in lowered.parts] == [("embedding", 1), ("layer_dense", 3), ("layer_moe", 58), ("head", 1)]
    summary = summarise_workload([(read_onnx(p.onnx, name=p.name), p.count) for p in lowered.parts])
    assert summary.totals.cache_bytes == 61 * 32 * 4096 * 576
    assert len({o.name for o in summary.operators}) == len(summary.operators)


@pytest.mark.parametrize(
    ("part", "layer", "parts"),
    [
        (Part.ATTENTION, None, [("attention", 61)]),
        (Part.ATTENTION, 60, [("attention", 1)]),
        (Part.FFN, None, [("ffn_dense", 3), ("ffn_moe", 58)]),
        (Part.FFN, 2, [("ffn_dense", 1)]),
        (Part.FFN, 3, [("ffn_moe", 1)]),
        (Part.LAYER, 0, [("layer_dense", 1)]),
    ],
)
def test_parts(part: Part, layer: int | None, parts: list[tuple[str, int]]):
    lowered = CATALOGUE.load("deepseek_v3").lower(replace(DECODE, part=part, layer=layer))
    assert [(p.name, p.count) for p in lowered.parts] == parts


def test_prefill_computes_logits_of_the_last_token_only():
    lowered = CATALOGUE.load("deepseek_v3").lower(replace(DECODE, phase=Phase.PREFILL, batch=2, query_len=128, cache_len=128))
    head = read_onnx(lowered.parts[-1].onnx, name="head")
    assert head.tensors["logits"].shape == (2, 1, 129_280)


def test_dense_ffn_is_three_matrices():
    lowered = CATALOGUE.load("deepseek_v3").lower(replace(DECODE, part=Part.FFN, layer=0, norms=False))
    totals = summarise(read_onnx(lowered.parts[0].onnx, name="ffn")).totals
    assert totals.weight_bytes == lowered.parameters_total == 3 * 7168 * 18432
    assert totals.macs == 32 * totals.weight_bytes


@pytest.mark.parametrize("tokens", [1, 2, 7, 32, 128, 1000, 4096])
def test_moe_macs_and_weights_are_exact(tokens: int):
    """Routed MACs tokens·k·3·d·f, routed weights A·3·d·f, whatever the rounding of A and of rows per expert."""
    lowered = CATALOGUE.load("deepseek_v3").lower(replace(DECODE, part=Part.FFN, layer=10, batch=tokens, norms=False))
    summary = summarise(read_onnx(lowered.parts[0].onnx, name="moe"))
    expert = 3 * 7168 * 2048
    rows = expert_rows(UNIFORM, 256, 8, tokens)
    routed = [o.counts for o in summary.operators if o.op_type == "Einsum" and o.name.startswith("expert_")]
    assert sum(c.macs for c in routed) == tokens * 8 * expert
    assert sum(c.weight_bytes for c in routed) == len(rows) * expert
    assert sum(rows) == tokens * 8
    assert max(rows) - min(rows) <= 1
    assert summary.totals.macs == tokens * (9 * expert + 7168 * 256)
    assert summary.totals.weight_bytes == (len(rows) + 1) * expert + 7168 * 256 + 256


def test_distinct_active_experts():
    """256 (1 - (31/32)^32) = 163.3: 163 experts for 256 rows, 70 with one row and 93 with two."""
    assert expected_active(UNIFORM, 256, 8, 32) == pytest.approx(163.3, abs=0.05)
    rows = expert_rows(UNIFORM, 256, 8, 32)
    assert (rows.count(1), rows.count(2), len(rows)) == (70, 93, 163)
    assert len(expert_rows(UNIFORM, 256, 8, 1)) == 8
    assert len(expert_rows(UNIFORM, 256, 8, 100_000)) == 256
