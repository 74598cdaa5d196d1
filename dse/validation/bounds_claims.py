"""Exact cases: the single-buffer optimum of products and attention, and lower bounds that nothing may beat."""

from __future__ import annotations

from typing import Final

from dse.cost.one_operator import COUNT_KEYS, MapObjective, fitting, map_product
from dse.mapping.problem import MatmulProblem
from dse.mapping.two_level import Factors, gemm_frontier, gemm_lower_bound_elements
from dse.mapping.two_level_attention import AttentionShape, Form, attention_frontier
from dse.plugins import load_accelerator
from dse.validation.claims import EXACT, Claim, compared, holds

SOURCE: Final = "exhaustive two-level mapper (Orojenesis, ISCA 2024; AccelForge)"
KI, MI = 1024, 1024**2
TABLE: Final = (
    ((128, 576, 4096), 16 * KI, 7_413_760, 5_316_608),
    ((128, 576, 4096), 64 * KI, 4_005_888, 3_547_136),
    ((128, 7168, 2048), 16 * KI, 44_302_336, 30_539_776),
    ((128, 7168, 2048), 64 * KI, 22_282_240, 19_529_728),
    ((2048, 7168, 1536), 64 * KI, 208_666_624, 182_976_512),
    ((2048, 7168, 1536), 2 * MI, 39_845_888, 39_845_888),
)
"""(m, k, n), buffer elements, DRAM elements with factors that divide, and with any."""
LEAST_BUFFERS: Final = {
    (128, 576, 4096): 73_857,
    (128, 128, 128): 16_513,
    (1, 7168, 1536): 1_538,
    (128, 7168, 2048): 262_273,
    (2048, 7168, 1536): 3_147_265,
}
"""Least buffer elements with compulsory traffic."""
FUSED: Final = {136: 34_816, 272: 18_432, 544: 10_240, 1088: 6_144, 2082: 4_096}
"""Buffer and DRAM elements of fused attention 64 x 64 x 16 x 16 (queries, keys, widths)."""


def bounds_claims() -> tuple[Claim, ...]:
    """All exact cases."""
    return (*(_table(*case) for case in TABLE), _least_buffers(), _fused(), *_three_levels(), _lower_bounds())


def _least(shape: tuple[int, int, int], buffer: int, factors: Factors) -> int:
    return min(p.dram_elements for p in gemm_frontier(*shape, factors=factors) if p.footprint_elements <= buffer)


def _table(shape: tuple[int, int, int], buffer: int, perfect: int, ragged: int) -> Claim:
    ours = [_least(shape, buffer, f) for f in (Factors.PERFECT, Factors.RAGGED)]
    name = f"gemm_{'x'.join(map(str, shape))}_{buffer // KI}Ki"
    return compared(name, SOURCE, [perfect, ragged], ours, band=EXACT, digits=9)


def _least_buffers() -> Claim:
    ours = [max(p.footprint_elements for p in gemm_frontier(*shape, factors=Factors.PERFECT)) for shape in LEAST_BUFFERS]
    return compared("least_buffer_for_compulsory_traffic", SOURCE, list(LEAST_BUFFERS.values()), ours, band=EXACT, digits=9)


def _fused() -> Claim:
    """Query-stationary points; the key-stationary family, which the mapper compared with lacks, may only move less."""
    front = attention_frontier(AttentionShape(1, 64, 64, 16, 16), Form.FUSED)
    ours = [min(p.dram_elements for p in front if p.footprint_elements <= s) for s in FUSED]
    fact = all(o <= t for o, t in zip(ours, FUSED.values(), strict=True)) and (ours[0], ours[-1]) == (34_816, 4_096)
    return holds("fused_attention_64x64x16x16", "AccelForge 1.0.467", ", ".join(map(str, FUSED.values())), ", ".join(map(str, ours)), fact)


def _three_levels() -> tuple[Claim, ...]:
    """128 x 576 x 4096 in 8 bit on edge32, array, buffer and DRAM, for least energy; counts in bytes."""
    chip = load_accelerator("edge32")
    problem = MatmulProblem(groups=1, m=128, k=576, n=4096, left_bits=8, right_bits=8, out_bits=8, partial_bits=8, dtype="int8")
    best = fitting(map_product(problem, chip.geometry, chip.table(), MapObjective.ENERGY))
    ours = [best.dram_bytes, *(float(best.counts[1 + COUNT_KEYS[f"buffer_{way}_bytes"]]) for way in ("read", "write"))]
    name, source = "three_levels_128x576x4096_edge32", "AccelForge 1.0.467; arithmetic"
    return (
        compared(
            f"{name}_bytes", source, [2_957_312, 18_874_368, 9_510_912], ours, band=EXACT, digits=9, note=" DRAM, buffer read, written"
        ),
        compared(f"{name}_energy", source, [0.393524], [best.energy_pj * 1e-9], band=1e-6, note=" mJ"),
        compared(f"{name}_latency", source, [294.912], [best.latency_s * 1e6], band=1e-6, note=" us"),
    )


def _lower_bounds() -> Claim:
    below = points = 0
    for shape in LEAST_BUFFERS:
        for p in gemm_frontier(*shape, factors=Factors.PERFECT):
            points += 1
            below += p.dram_elements < gemm_lower_bound_elements(*shape, p.footprint_elements)
    return holds("lower_bound", "arXiv 1702.02017; compulsory traffic", "never beaten", f"{below} of {points} points below", below == 0)
