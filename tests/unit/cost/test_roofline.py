"""The roofline beside every result: weights, caches, inputs and outputs once, MACs at peak."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dse.cost.roofline import compulsory_bytes, roofline
from dse.evaluate import price
from dse.ir.tensor import Role

from .compiled import accelerator, compiled, step

WEIGHTS = 187_105_280
"""Elements of DeepSeek-V3's attention with rope, without norms."""


@pytest.mark.parametrize("batch", [1, 32, 128])
def test_left_to_right_on_tpu7x(batch: int) -> None:
    """bf16, 4096 positions. Weights 374,210,560 B; per sequence: cache 4096 x 576 x 2 = 4,718,592 B, token in and out 7168 x 2
    each, cosines and sines 32 x 2 each, one 8-byte write index: 4,747,400 B. DRAM: 7370 GB/s / 1.1 GHz = 6700 B per cycle.

    MACs per sequence: the weights, and 4096 x 128 x (512 + 64 + 512); the arrays do 16 x 256 x 256 per cycle.
    Batch 1: 378,957,960 B = 56,560.9 cycles; 32: 526,127,360 B = 78,526.5; 128: 981,877,760 B = 146,548.9.
    """
    chip, work = accelerator("tpu7x"), step("deepseek_v3", "left_to_right", batch=batch)
    found = roofline(compiled(work, "tpu7x"), chip.table({}))
    total_bytes = 2 * WEIGHTS + batch * 4_747_400
    assert found.compulsory_bytes == total_bytes == {1: 378_957_960, 32: 526_127_360, 128: 981_877_760}[batch]
    assert found.macs == batch * (WEIGHTS + 4096 * 128 * (512 + 64 + 512))
    assert found.compute_cycles == pytest.approx(found.macs / (16 * 256 * 256), rel=1e-12)
    assert found.dram_cycles == pytest.approx(total_bytes / 6700, rel=1e-12)
    assert found.cycles == pytest.approx({1: 56_560.89, 32: 78_526.47, 128: 146_548.92}[batch], abs=0.01)


@pytest.mark.parametrize(
    ("scheme", "weights", "cache_width", "token_width"),
    [
        ("left_to_right", 174_063_616, 512, 7168),
        ("recompute", 174_063_616, 512, 7168),
        ("reuse", 241_172_480, 512, 7168),
        ("mha_s", 172_006_912, 19_712, 4363),
    ],
)
def test_compulsory_bytes_without_rope(scheme: str, weights: int, cache_width: int, token_width: int) -> None:
    """Weights, cache of 4096 positions, token in and out, 8-byte write index; small MHA works on a narrower token."""
    graph = step("deepseek_v3", scheme, rope=False).graphs[0][0]
    assert compulsory_bytes(graph) == 2 * (weights + 4096 * cache_width + 2 * token_width) + 8


def test_compute_bounds_the_recompute_scheme_of_both_sides() -> None:
    """585,105,408 + 73,014,444,032 + 131,072 x 4096 MACs over 65,536 of flat_cloud: above its 352 MB at 425.5 B per cycle."""
    found = roofline(compiled(step("deepseek_v3", "recompute_both", rope=False), "flat_cloud"), accelerator("flat_cloud").table({}))
    macs = 585_105_408 + 73_014_444_032 + 131_072 * 4096
    assert found.macs == macs
    assert found.cycles == pytest.approx(macs / 65_536, rel=1e-12)
    assert found.dram_cycles < found.cycles


def test_the_type_sets_the_peak_and_the_bytes() -> None:
    """fp8 halves the bytes of weights and cache and doubles tpu7x's rate."""
    from dse.evaluate import compile_step
    from dse.ir.lowering import Part
    from dse.workload import WorkloadOptions, load_workload

    chip = accelerator("tpu7x")
    wide = roofline(compiled(step("deepseek_v3", "left_to_right"), "tpu7x"), chip.table({}))
    options = WorkloadOptions(model="deepseek_v3", attention="left_to_right", part=Part.ATTENTION, cache_len=4096, precision="fp8")
    narrow = roofline(compile_step(load_workload(options).step, chip.geometry), chip.table({}))
    assert narrow.macs == wide.macs
    assert narrow.compute_cycles == wide.compute_cycles / 2
    assert narrow.compulsory_bytes == (wide.compulsory_bytes - 8) / 2 + 8


@pytest.mark.parametrize(
    ("cache_len", "cache_bytes"),
    [
        (1024, 8 * 1024 * 576 * 2 + 8 * 128 * 2),  # 2,048 positions are selected: all, so the index is only appended to
        (8192, 8 * 2048 * 576 * 2 + 8 * 8192 * 128 * 2),  # of the latent cache the selected positions, of the index all
    ],
)
def test_sparse_attention_needs_part_of_its_caches(cache_len: int, cache_bytes: int) -> None:
    """DeepSeek-V3.2, 8 sequences: latent cache 576 wide, index keys 128 wide, 2 bytes each."""
    given = step("deepseek_v3_2", batch=8, cache_len=cache_len)
    graph = given.graphs[0][0]
    caches = [name for name in graph.inputs if graph.tensors[name].role is Role.CACHE]
    others = tuple(n for n in graph.inputs if n not in caches)
    outputs = tuple(n for n in graph.outputs if graph.tensors[n].storage not in caches)
    assert compulsory_bytes(graph) - compulsory_bytes(replace(graph, inputs=others, outputs=outputs)) == cache_bytes
    found, table = compiled(given, "flat_cloud"), accelerator("flat_cloud").table({})
    assert price(found, table).latency_s[0] * table.clock_hz[0] >= roofline(found, table).cycles
