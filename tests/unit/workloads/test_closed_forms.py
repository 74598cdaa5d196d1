"""MACs, weights and cache of every attention scheme against the closed forms for DeepSeek-V3 without rope.

Figures: derived for Geens and Verhelst, arXiv 2506.02523 (table 1 gives the dimensions). Per new token:
    P = 174,063,616 weights = 7168·1536 + 1536·128·128 + 7168·512 + 512·128·128 + 512·128·128 + 128·128·7168
    A(L) = 2 · 128 · 512 · L = 131,072 L        score and context in latent space
    composite of one side: 128 · 1536 · 512 = 100,663,296 (query), 128 · 512 · 7168 = 469,762,048 (output) elements
    forming them: 128 · 1536 · 128 · 512 = 12,884,901,888 (query), 128 · 512 · 128 · 7168 = 60,129,542,144 (output) MAC
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from dse.ir.lowering import LoweringRequest, Part, Phase
from dse.ir.onnx_read import read_onnx
from dse.ir.operator import Kind, matmul_shape
from dse.ir.precision import precision
from dse.ir.summary import summarise, weight_elements
from dse.ir.tensor import Role
from workloads.catalogue import CATALOGUE

BYTES = {"bf16": 2, "fp8": 1}


@dataclass(frozen=True)
class Closed:
    parameters: int
    weights: int
    """Stored elements read per step."""
    macs_per_token: int
    macs_per_token_and_position: int
    macs_per_position: int
    """Expansion of the cached latent, per sequence and cached token, whatever the number of queries."""
    macs_per_step: int
    """Composites, whatever the batch."""
    cache_per_position: int


P = 174_063_616
CLOSED = {
    "left_to_right": Closed(P, P, 174_063_616, 131_072, 0, 0, 512),
    "naive": Closed(P, P, 157_286_400, 32_768, 16_777_216, 0, 512),
    "reuse": Closed(P, 241_172_480, 241_172_480, 131_072, 0, 0, 512),
    "recompute": Closed(P, P, 241_172_480, 131_072, 0, 12_884_901_888, 512),
    "reuse_both": Closed(P, 585_105_408, 585_105_408, 131_072, 0, 0, 512),
    "recompute_both": Closed(P, P, 585_105_408, 131_072, 0, 73_014_444_032, 512),
    "mha_l": Closed(469_762_048, 469_762_048, 469_762_048, 32_768, 0, 0, 32_768),
    "mha_s": Closed(172_006_912, 172_006_912, 172_006_912, 19_712, 0, 0, 19_712),
}


def attention(scheme: str, *, batch: int, query_len: int, cache_len: int, formats: str = "bf16", rope: bool = False):
    request = LoweringRequest(
        phase=Phase.DECODE,
        batch=batch,
        query_len=query_len,
        cache_len=cache_len,
        attention=scheme,
        precision=precision(formats),
        rope=rope,
        norms=False,
        part=Part.ATTENTION,
        layer=0,
    )
    lowered = CATALOGUE.load("deepseek_v3").lower(request)
    assert [(part.name, part.count) for part in lowered.parts] == [("attention", 1)]
    return lowered, read_onnx(lowered.parts[0].onnx, name=scheme)


def test_the_table_names_every_scheme_of_the_catalogue():
    assert set(CATALOGUE.load("deepseek_v3").attention_schemes) == set(CLOSED)


@pytest.mark.parametrize("formats", BYTES)
@pytest.mark.parametrize(("batch", "query_len"), [(1, 1), (16, 1), (3, 2), (1, 1024)])
@pytest.mark.parametrize("cache_len", [1, 1024, 4096, 65_536])
@pytest.mark.parametrize("scheme", CLOSED)
def test_macs_weights_and_cache_are_the_closed_forms(scheme: str, cache_len: int, batch: int, query_len: int, formats: str):
    if cache_len < query_len:
        return
    closed = CLOSED[scheme]
    lowered, graph = attention(scheme, batch=batch, query_len=query_len, cache_len=cache_len, formats=formats)
    totals = summarise(graph).totals
    tokens = batch * query_len
    macs = tokens * (closed.macs_per_token + closed.macs_per_token_and_position * cache_len)
    macs += batch * cache_len * closed.macs_per_position + closed.macs_per_step
    assert totals.macs == macs
    assert totals.macs == sum(matmul_shape(o).macs for o in graph.operators if o.kind is Kind.CONTRACTION)
    assert weight_elements(graph) == closed.weights
    assert totals.weight_bytes == closed.weights * BYTES[formats]
    assert totals.cache_bytes == batch * cache_len * closed.cache_per_position * BYTES[formats]
    assert lowered.parameters_total == lowered.parameters_active == closed.parameters


@pytest.mark.parametrize(
    ("scheme", "macs_millions", "elements_millions"),
    [  # one new token, batch 1, L = 4096: printed to six figures from the formulas above
        ("mha_l", 603.980, 603.980),
        ("mha_s", 252.747, 252.747),
        ("left_to_right", 710.935, 176.161),
        ("reuse", 778.043, 243.270),
        ("recompute", 13_662.945, 176.161),
        ("reuse_both", 1_121.976, 587.203),
        ("recompute_both", 74_136.420, 176.161),
        ("naive", 69_010.981, 176.161),
    ],
)
def test_printed_figures_at_4096(scheme: str, macs_millions: float, elements_millions: float):
    totals = summarise(attention(scheme, batch=1, query_len=1, cache_len=4096)[1]).totals
    assert totals.macs / 1e6 == pytest.approx(macs_millions, abs=5e-4)
    assert (totals.weight_bytes + totals.cache_bytes) / 2 / 1e6 == pytest.approx(elements_millions, abs=5e-4)


@pytest.mark.parametrize("scheme", [s for s in CLOSED if not s.startswith("mha")])
def test_rope_adds_its_weights_columns_and_macs(scheme: str):
    """W_QR 1536·128·64 = 12,582,912 and W_KR 7168·64 = 458,752; 64 columns of cache; 64·128 MAC per position."""
    cache_len = 1000
    plain = summarise(attention(scheme, batch=2, query_len=1, cache_len=cache_len)[1]).totals
    lowered, graph = attention(scheme, batch=2, query_len=1, cache_len=cache_len, rope=True)
    turned = summarise(graph).totals
    assert lowered.parameters_total == 187_105_280
    assert turned.weight_bytes - plain.weight_bytes == 2 * (12_582_912 + 458_752)
    assert turned.cache_bytes == 2 * 2 * cache_len * 576
    assert turned.macs - plain.macs == 2 * (12_582_912 + 458_752 + 64 * 128 * cache_len)


def test_append_score_and_context_share_the_cache_bytes():
    """Batch 2, one new row, T = 10: append 2·1·576, score the other 2·9·576, context nothing (values alias keys); bf16."""
    graph = attention("left_to_right", batch=2, query_len=1, cache_len=10, rope=True)[1]
    cache = {o.name: o.counts.cache_bytes for o in summarise(graph).operators if o.counts.cache_bytes}
    assert cache == {"latent_cache_after": 2 * 576 * 2, "score": 2 * 9 * 576 * 2}
    assert graph.tensors["latent_cached"].storage == graph.tensors["latent_cache_after"].storage == "latent_cache"


@pytest.mark.parametrize(("name", "rope", "published"), [("deepseek_v3", False, 512), ("step3", True, 128), ("qwen3_235b_a22b", True, 32)])
def test_intensity_of_decode_attention(name: str, rope: bool, published: int):
    """Operations per byte of an 8-bit cache at 32k positions: arXiv 2507.19427 (MLA without its rotary part)."""
    model = CATALOGUE.load(name)
    request = LoweringRequest(
        phase=Phase.DECODE,
        batch=4,
        query_len=1,
        cache_len=32_768,
        attention=model.attention_schemes[0],
        precision=precision("fp8"),
        rope=rope,
        norms=True,
        part=Part.ATTENTION,
        layer=30,
    )
    (part,) = model.lower(request).parts
    roles = {r.role: r for r in summarise(read_onnx(part.onnx, name="a")).roles}
    assert roles[Role.CACHE].intensity_op_per_byte == published
