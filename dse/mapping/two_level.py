"""The exact frontier of the two-level machine: one buffer before DRAM, elements instead of bytes, no array.

Source: Huang, Tsai, Emer, Parashar, "Mind the Gap: Attainable Data Movement and Operational Intensity Bounds for Tensor
Algorithms", ISCA 2024 (Orojenesis, the "Snowcat" machine). For C[M, N] = A[M, K] B[K, N] its search collapses to three
families; `need` is the buffer in elements, T the elements moved. Partial sums that leave are written and read back, the
very first read is skipped; no double buffering.

    output stationary, tile m x n: need m n + min(m, n) + 1, T = M N + M K ceil(N/n) + K N ceil(M/m)
    weight stationary, tile k x n: need k n + min(k, n) + 1, T = K N + M K ceil(N/n) + M N (2 ceil(K/k) - 1)
    input stationary,  tile m x k: need m k + min(m, k) + 1, T = M K + K N ceil(M/m) + M N (2 ceil(K/k) - 1)

An operand that lies whole on chip takes all its elements and moves nothing. Beside it lie a tile of one other operand, which is a row, a
column or a part of one, and one element of the third (`beside`); where no third is left, the tile is one element.

Worked number (tested): M, K, N = 128, 576, 4096 with 16 Ki elements: 7,413,760 with dividing sides, 5,316,608 with any.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from dse.hw.accelerator import OperandName
from dse.mapping.matmul import Stationary
from dse.mapping.tiles import all_sides

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]


class Factors(StrEnum):
    """Which tile sides are allowed."""

    RAGGED = "ragged"
    """Any integer."""
    PERFECT = "perfect"
    """Divisors only."""


@dataclass(frozen=True, slots=True)
class TwoLevelPoint:
    """One point of the frontier, in elements."""

    footprint_elements: int
    dram_elements: int
    stationary: Stationary
    tile_m: int
    tile_k: int
    tile_n: int


def gemm_frontier(
    m: int, k: int, n: int, factors: Factors = Factors.RAGGED, on_chip: Collection[OperandName] = ()
) -> tuple[TwoLevelPoint, ...]:
    """Pareto points of buffer elements against DRAM elements, ascending in footprint; operands `on_chip` lie whole in the buffer.

    For a given tile count the least side needs the least buffer and moves the same, so only those are tried.
    """
    if on_chip:
        return _beside(m, k, n, factors, on_chip)
    side_m, side_k, side_n = (_sides(size, factors) for size in (m, k, n))
    found = []
    for stationary, first, second in (
        (Stationary.OUT, side_m, side_n),
        (Stationary.RIGHT, side_k, side_n),
        (Stationary.LEFT, side_m, side_k),
    ):
        a, b = (x.ravel() for x in np.meshgrid(first, second, indexing="ij"))
        need = a * b + np.minimum(a, b) + 1
        traffic = _traffic(m, k, n, stationary, a, b)
        keep = staircase(need, traffic)
        for i in keep:
            tile = {"m": 1, "k": 1, "n": 1} | dict(zip(_DIMS[stationary], (int(a[i]), int(b[i])), strict=True))
            found.append(TwoLevelPoint(int(need[i]), int(traffic[i]), stationary, tile["m"], tile["k"], tile["n"]))
    keep = staircase(np.array([p.footprint_elements for p in found]), np.array([p.dram_elements for p in found]))
    return tuple(found[i] for i in keep)


def gemm_lower_bound_elements(m: int, k: int, n: int, buffer_elements: int) -> float:
    """Elements that any schedule must move: max(M K + K N + M N, 2 M N K / sqrt(S) - 2 S).

    `buffer_elements` S counts all storage inside the boundary. Sources: compulsory traffic; Smith, Lowery, Langou, van de
    Geijn, arXiv 1702.02017, reads of at least 2 M N K / sqrt(S) - 2 S when C is read as well as written; here C is not read
    but written, M N elements either way. The tighter 2 M N K / sqrt(S) + M N (Kwasniewski et al., SC 2019) is left out
    because it holds for small S only: 37 x 41 x 43 with S = 1,555 keeps one operand whole and moves 4,871 elements, the
    compulsory traffic, against a "bound" of 4,899.4.
    """
    compulsory = m * k + k * n + m * n
    return max(float(compulsory), 2 * m * n * k / math.sqrt(buffer_elements) - 2 * buffer_elements)


def staircase(need: IntArray, moved: IntArray) -> IntArray:
    """Indices of the points that move less than every point of at most the same need, ascending in need."""
    order: IntArray = np.lexsort((moved, need))
    sorted_moved = moved[order]
    least_before = np.minimum.accumulate(np.concatenate(([np.iinfo(np.int64).max], sorted_moved[:-1])))
    kept: IntArray = order[sorted_moved < least_before]
    return kept


def _beside(m: int, k: int, n: int, factors: Factors, on_chip: Collection[OperandName]) -> tuple[TwoLevelPoint, ...]:
    """Points beside operands that stay, derived here: with one, X, a second one Y has a tile, all of which meets one element of the third,
    Z, before the next comes; only elements along the dimension that Z lacks do. So the tile is a row or column of Y along it, or a
    part, Y crosses once, and Z once per part; sums that come back count twice.

        Z an input:  need |X| + t + 1, T = |Y| + |Z| ceil(side / t)
        Z the result: need |X| + t + 1, T = |Y| + |Z| (2 ceil(K / t) - 1)
    """
    size = {"m": m, "k": k, "n": n}
    elements = {name: math.prod(size[d] for d in "mkn" if d != _LACKS[name]) for name in OperandName}
    held = sum(elements[name] for name in OperandName if name in on_chip)
    left = [name for name in OperandName if name not in on_chip]
    if len(left) < 2:  # what is left passes element by element
        moved = sum(elements[name] for name in left)
        return (TwoLevelPoint(held + len(left), moved, _STAYS[left[0] if left else OperandName.OUT], 1, 1, 1),)
    found = []
    for tiled, other in ((left[0], left[1]), (left[1], left[0])):
        along = _LACKS[other]
        for side in _sides(size[along], factors).tolist():
            visits = -(-size[along] // side)
            crossings = 2 * visits - 1 if other is OperandName.OUT else visits
            tile = {"m": 1, "k": 1, "n": 1} | {along: side}
            moved = elements[tiled] + elements[other] * crossings
            found.append(TwoLevelPoint(held + side + 1, moved, _STAYS[tiled], tile["m"], tile["k"], tile["n"]))
    keep = staircase(np.array([p.footprint_elements for p in found]), np.array([p.dram_elements for p in found]))
    return tuple(found[i] for i in keep)


_LACKS = {OperandName.LEFT: "n", OperandName.RIGHT: "m", OperandName.OUT: "k"}
_STAYS = {OperandName.LEFT: Stationary.LEFT, OperandName.RIGHT: Stationary.RIGHT, OperandName.OUT: Stationary.OUT}
_DIMS = {Stationary.OUT: ("m", "n"), Stationary.RIGHT: ("k", "n"), Stationary.LEFT: ("m", "k")}


def _sides(size: int, factors: Factors) -> IntArray:
    if factors is Factors.RAGGED:
        return all_sides(size, 1).side
    candidates = np.arange(1, math.isqrt(size) + 1, dtype=np.int64)
    small = candidates[size % candidates == 0]
    return np.unique(np.concatenate((small, size // small)))


def _traffic(m: int, k: int, n: int, stationary: Stationary, a: IntArray, b: IntArray) -> IntArray:
    match stationary:
        case Stationary.OUT:
            return m * n + m * k * -(-n // b) + k * n * -(-m // a)
        case Stationary.RIGHT:
            return k * n + m * k * -(-n // b) + m * n * (2 * -(-k // a) - 1)
        case Stationary.LEFT:
            return m * k + k * n * -(-m // a) + m * n * (2 * -(-k // b) - 1)
