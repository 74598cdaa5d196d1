"""The two-level frontier against published optima, brute force and lower bounds."""

from __future__ import annotations

import itertools
import math

import pytest

from dse.hw.accelerator import OperandName
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


def _least_beside(sizes: dict[str, int], held: OperandName) -> dict[int, int]:
    """Least elements moved for each buffer, of every nest that holds one operand whole, a tile of a second, and an element of the third."""
    axes = {OperandName.LEFT: "mk", OperandName.RIGHT: "kn", OperandName.OUT: "mn"}
    whole = math.prod(sizes[d] for d in axes[held])
    found: dict[int, int] = {}
    for tiled, other in itertools.permutations([name for name in OperandName if name is not held]):
        for sides in itertools.product(*(range(1, sizes[d] + 1) for d in "mkn")):
            tile = dict(zip("mkn", sides, strict=True))
            need = whole + math.prod(tile[d] for d in axes[tiled]) + 1
            for outer, inner in itertools.product(itertools.permutations("mkn"), repeat=2):
                moved, at = 0, {tiled: (), other: ()}
                seen: set[tuple[OperandName, tuple[tuple[int, ...], ...]]] = set()
                for base in itertools.product(*(range(0, sizes[d], tile[d]) for d in outer)):
                    start = dict(zip(outer, base, strict=True))
                    for point in itertools.product(*(range(start[d], min(start[d] + tile[d], sizes[d])) for d in inner)):
                        here = dict(zip(inner, point, strict=True))
                        pieces = {
                            tiled: tuple((start[d], min(tile[d], sizes[d] - start[d])) for d in axes[tiled]),
                            other: tuple((here[d], 1) for d in axes[other]),
                        }
                        for name, piece in pieces.items():
                            if piece == at[name]:
                                continue
                            size = math.prod(length for _, length in piece)
                            sums = name is OperandName.OUT
                            moved += size * (2 if sums and (name, piece) in seen else 1)  # sums that come back were written as well
                            at[name] = piece
                            seen.add((name, piece))
                found[need] = min(found.get(need, moved), moved)
    return found


@pytest.mark.parametrize("held", list(OperandName))
@pytest.mark.parametrize("sizes", [(2, 3, 2), (3, 1, 2), (1, 3, 3)])
def test_no_nest_moves_less_beside_an_operand_that_stays(held: OperandName, sizes: tuple[int, int, int]) -> None:
    points = gemm_frontier(*sizes, on_chip=(held,))
    every = _least_beside(dict(zip("mkn", sizes, strict=True)), held)
    for point in points:
        assert every[point.footprint_elements] == point.dram_elements
    for need, moved in every.items():
        assert min(p.dram_elements for p in points if p.footprint_elements <= need) <= moved


def test_what_is_left_beside_two_operands_that_stay_passes_once() -> None:
    (both,) = gemm_frontier(4, 6, 5, on_chip=(OperandName.LEFT, OperandName.RIGHT))
    assert (both.footprint_elements, both.dram_elements) == (24 + 30 + 1, 20)
    (every,) = gemm_frontier(4, 6, 5, on_chip=tuple(OperandName))
    assert (every.footprint_elements, every.dram_elements) == (24 + 30 + 20, 0)
