"""The two-level frontier against published optima, brute force and lower bounds."""

from __future__ import annotations

import itertools

import pytest

from dse.mapping.two_level import Factors, gemm_frontier, gemm_lower_bound_elements
from dse.mapping.two_level_attention import AttentionShape, Form, attention_frontier


def best(points: tuple, elements: int) -> int:
    return min(p.dram_elements for p in points if p.footprint_elements <= elements)


# AccelForge 1.0.467 for the perfect figures; the ragged ones follow from the same formulas over all integers.
@pytest.mark.parametrize(
    ("shape", "elements", "perfect", "ragged"),
    [
        ((128, 576, 4096), 16 * 1024, 7_413_760, 5_316_608),
        ((128, 576, 4096), 64 * 1024, 4_005_888, 3_547_136),
        ((128, 7168, 2048), 16 * 1024, 44_302_336, 30_539_776),
        ((128, 7168, 2048), 64 * 1024, 22_282_240, 19_529_728),
        ((2048, 7168, 1536), 64 * 1024, 208_666_624, 182_976_512),
        ((2048, 7168, 1536), 2 * 1024 * 1024, 39_845_888, 39_845_888),
    ],
)
def test_published_optima(shape: tuple[int, int, int], elements: int, perfect: int, ragged: int) -> None:
    assert best(gemm_frontier(*shape, Factors.PERFECT), elements) == perfect
    assert best(gemm_frontier(*shape, Factors.RAGGED), elements) == ragged


# Least buffer with compulsory traffic: min(MK + min(M, K), KN + min(K, N), MN + min(M, N)) + 1.
@pytest.mark.parametrize(
    ("shape", "elements"),
    [
        ((128, 576, 4096), 73_857),
        ((128, 128, 128), 16_513),
        ((1, 7168, 1536), 1_538),
        ((128, 7168, 2048), 262_273),
        ((2048, 7168, 1536), 3_147_265),
    ],
)
def test_maximal_effectual_buffer(shape: tuple[int, int, int], elements: int) -> None:
    m, k, n = shape
    last = gemm_frontier(m, k, n)[-1]
    assert (last.footprint_elements, last.dram_elements) == (elements, m * k + k * n + m * n)


@pytest.mark.parametrize("shape", [(4, 6, 5), (7, 3, 11), (1, 13, 8), (9, 9, 2)])
def test_brute_force_over_all_integer_sides(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    options = []
    for a, b in itertools.product(range(1, 14), repeat=2):
        if a <= m and b <= n:
            options.append((a * b + min(a, b) + 1, m * n + m * k * -(-n // b) + k * n * -(-m // a)))
        if a <= k and b <= n:
            options.append((a * b + min(a, b) + 1, k * n + m * k * -(-n // b) + m * n * (2 * -(-k // a) - 1)))
        if a <= m and b <= k:
            options.append((a * b + min(a, b) + 1, m * k + k * n * -(-m // a) + m * n * (2 * -(-k // b) - 1)))
    points = gemm_frontier(m, k, n)
    for need in range(3, 200):
        assert best(points, need) == min(t for s, t in options if s <= need)


@pytest.mark.parametrize("shape", [(128, 576, 4096), (1, 7168, 1536), (37, 41, 43), (2048, 7168, 1536)])
def test_never_below_the_lower_bound(shape: tuple[int, int, int]) -> None:
    points = gemm_frontier(*shape)
    assert all(p.dram_elements >= gemm_lower_bound_elements(*shape, p.footprint_elements) for p in points)
    assert all(a.footprint_elements < b.footprint_elements and a.dram_elements > b.dram_elements for a, b in itertools.pairwise(points))


# AccelForge's fused front for 64 x 64 x 16 x 16, and the key-stationary point that its space lacks.
@pytest.mark.parametrize(("elements", "moved"), [(136, 34_816), (272, 18_432), (544, 10_240), (1058, 7_168), (1088, 6_144), (2082, 4_096)])
def test_fused_attention(elements: int, moved: int) -> None:
    points = attention_frontier(AttentionShape(heads=1, queries=64, keys=64, qk=16, v=16), Form.FUSED)
    assert best(points, elements) == moved


def test_attention_compulsory_traffic_and_alias() -> None:
    shape = AttentionShape(heads=128, queries=1, keys=4096, qk=576, v=512, shared_kv=True)
    alias = AttentionShape(heads=128, queries=1, keys=4096, qk=576, v=512, shared_kv=True, alias_v=True)
    rows = 128 * (576 + 512)
    assert attention_frontier(shape, Form.FUSED)[-1].dram_elements == rows + 4096 * (576 + 512)
    assert attention_frontier(alias, Form.FUSED)[-1].dram_elements == rows + 4096 * 576
    unfused = attention_frontier(shape, Form.UNFUSED)[-1].dram_elements
    assert unfused == rows + 4096 * (576 + 512) + 4 * 128 * 4096


def test_best_form_is_the_least_of_all() -> None:
    shape = AttentionShape(heads=1, queries=64, keys=64, qk=16, v=16)
    fronts = [attention_frontier(shape, f) for f in (Form.FUSED, Form.UNFUSED, Form.MIXED)]
    for need in (3, 40, 136, 700, 2082):
        fitting = [best(f, need) for f in fronts if f[0].footprint_elements <= need]
        assert best(attention_frontier(shape, Form.BEST), need) == min(fitting)
