"""The best mapping over two buffers against every loop nest of whole factors: any order, any kept operands, counted here by textbook rules."""

from __future__ import annotations

import itertools
import math
import random
from typing import TYPE_CHECKING, Final

import numpy as np
import pytest

from dse.cost.one_operator import MapObjective, fitting, map_product
from dse.mapping.problem import MatmulProblem
from dse.plugins import load_accelerator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

AXES: Final = ((0, 1), (1, 2), (0, 2))
"""Of left, right and out; each lacks one of m, k and n."""
LACKED: Final = (2, 0, 1)
OUT: Final = 2
MAC_PJ: Final = 0.2
CHIP = """
schema_version: 1
name: two_buffers
summary: an array that holds weights, two buffers, DRAM
technology: generic_7nm
clock_mhz: 1000
core:
  array: {{rows: {rows}, columns: {columns}, count: 1, dataflows: [weight_stationary], folds: broadcast, macs_per_pe_per_cycle: {{int8: 1}}, mac_energy_pj: {{int8: 0.2}}}}
  vector: {{lanes: 4}}
memories:
  l1: {{kind: buffer, capacity_kib: {l1_kib}, read_gb_per_s: 100, write_gb_per_s: 100, read_energy_pj_per_byte: 3, write_energy_pj_per_byte: 4, double_buffered: false}}
  l2: {{kind: buffer, capacity_kib: {l2_kib}, read_gb_per_s: 100, write_gb_per_s: 100, read_energy_pj_per_byte: 12, write_energy_pj_per_byte: 15, double_buffered: false}}
  dram: {{kind: dram, capacity_gib: 1, bandwidth_gb_per_s: 1, read_energy_pj_per_byte: 64, write_energy_pj_per_byte: 64, latency_ns: 0}}
leakage_w: 0
"""
READ_PJ: Final = (64, 12, 3)
WRITE_PJ: Final = (64, 15, 4)


def tilings(sizes: tuple[int, ...]) -> Array:
    """[2, 3, T]: sides of the outer and of the inner tile along m, k, n, all that divide."""
    pairs = [[(a, b) for a in range(1, s + 1) if s % a == 0 for b in range(1, a + 1) if a % b == 0] for s in sizes]
    return np.array(list(itertools.product(*pairs)), dtype=np.float64).transpose(2, 1, 0)


def fetches(loops: list[tuple[int, Array]], operand: int) -> Array:
    """How often the operand's tile inside these loops (dimension and steps, outermost first) comes: innermost loops that it lacks cost nothing."""
    times, stays = np.ones_like(loops[0][1]), np.ones_like(loops[0][1], dtype=np.bool_)
    for dim, steps in reversed(loops):
        lacked = dim == LACKED[operand]
        times = times * np.where(stays & lacked, 1, steps)
        stays &= lacked | (steps == 1)
    return times


def least_energy_pj(sizes: tuple[int, int, int], covered: tuple[int, int, int], capacity_bytes: tuple[int, int]) -> float:
    """The least of all nests, one byte an element."""
    outer, inner = tilings(sizes)
    sides = (np.array(sizes, dtype=np.float64)[:, None] * np.ones_like(outer), outer, inner)
    steps = [sides[0] / outer, outer / inner, np.stack([np.ceil(s / c) for s, c in zip(inner, covered, strict=True)])]
    words = [[tile[a] * tile[b] for a, b in AXES] for tile in (outer, inner)]
    whole = [sizes[a] * sizes[b] for a, b in AXES]
    best = math.inf
    for orders in itertools.product(itertools.permutations(range(3)), repeat=3):
        loops = [[(d, steps[level][d]) for d in order] for level, order in enumerate(orders)]
        into = [[fetches(list(itertools.chain(*loops[: level + 1])), x) for x in range(3)] for level in range(3)]
        costs = [list(operand_costs(x, into, steps, words, whole)) for x in range(3)]
        for chosen in itertools.product(*costs):
            fits = np.ones_like(outer[0], dtype=np.bool_)
            for level in (0, 1):
                held = sum((words[level][x] for x, (kept, _) in enumerate(chosen) if level in kept), np.zeros_like(outer[0]))
                fits &= held <= capacity_bytes[level]
            best = min(best, float(np.where(fits, sum(pj for _, pj in chosen), math.inf).min()))
    return best + MAC_PJ * math.prod(sizes)


def operand_costs(
    x: int, into: list[list[Array]], steps: list[Array], words: list[list[Array]], whole: list[int]
) -> Iterator[tuple[tuple[int, ...], Array]]:
    """Buffers that have a tile of an operand, and the energy of all that it moves."""
    a, b = AXES[x]
    rounds = np.prod(steps[0] * steps[1], axis=0)
    array_bytes = into[2][x] / (steps[2][a] * steps[2][b]) * words[1][x] if x == 1 else rounds * steps[2][LACKED[x]] * words[1][x]
    for kept in ((), (0,), (1,), (0, 1)):
        energy = np.zeros_like(array_bytes)
        for above, below in itertools.pairwise((-1, *kept, 2)):
            moved = array_bytes if below == 2 else into[below][x] * words[below][x]
            down, up = (moved - whole[x], moved) if x == OUT else (moved, 0.0)
            at_array = below == 2
            energy = energy + down * (READ_PJ[above + 1] + (0 if at_array else WRITE_PJ[below + 1]))
            energy = energy + up * (WRITE_PJ[above + 1] + (0 if at_array else READ_PJ[below + 1]))
        yield kept, energy


@pytest.mark.parametrize("seed", range(6))
def test_no_nest_of_whole_factors_takes_less_energy(tmp_path: Path, seed: int) -> None:
    """Sizes of many divisors that are no powers of two, buffers of a few bytes; ragged tiles may be better, no nest may."""
    rng = random.Random(seed)
    sizes = (rng.choice((6, 7, 9)), rng.choice((2, 5, 6, 10)), rng.choice((3, 6, 10)))
    rows, columns = rng.choice((1, 2, 4)), rng.choice((1, 2, 3))
    l1, l2 = sorted((rng.choice((6, 10, 14)), rng.choice((10, 20, 40))))
    file = tmp_path / "two_buffers.yaml"
    file.write_text(CHIP.format(rows=rows, columns=columns, l1_kib=l1 / 1024, l2_kib=l2 / 1024), encoding="utf-8")
    chip = load_accelerator(str(file))
    problem = MatmulProblem(1, *sizes, 8, 8, 8, 8, "int8")
    found = fitting(map_product(problem, chip.geometry_for(), chip.table({}), MapObjective.ENERGY))
    least = least_energy_pj(sizes, (max(sizes), rows, columns), (l2, l1))
    assert found.energy_pj <= least * (1 + 1e-9)
    assert found.energy_pj >= 0.6 * least  # ragged tiles
