"""docs/tiny_dse.py against what it does not contain: published optima, a walk over every block, lower bounds."""

from __future__ import annotations

import importlib.util
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dse.mapping.two_level import gemm_frontier, gemm_lower_bound_elements

SCRIPT = Path(__file__).resolve().parents[2] / "docs" / "tiny_dse.py"
spec = importlib.util.spec_from_file_location("tiny_dse", SCRIPT)
assert spec is not None and spec.loader is not None
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)


# AccelForge 1.0.467 and the closed forms of Orojenesis over all integer sides, as in test_two_level.py.
@pytest.mark.parametrize(
    ("shape", "elements", "moved"),
    [
        ((128, 576, 4096), 16 * 1024, 5_316_608),
        ((128, 576, 4096), 64 * 1024, 3_547_136),
        ((128, 7168, 2048), 16 * 1024, 30_539_776),
        ((2048, 7168, 1536), 2 * 1024 * 1024, 39_845_888),
    ],
)
def test_an_array_of_one_is_the_two_level_machine(shape: tuple[int, int, int], elements: int, moved: int) -> None:
    rows = tiny.not_dominated(tiny.mappings(*shape, 1))
    assert rows[rows[:, 0] <= elements, 1].min() == moved
    assert moved == min(p.dram_elements for p in gemm_frontier(*shape) if p.footprint_elements <= elements)


def test_least_buffer_with_compulsory_traffic() -> None:
    """128 x 576 + min(128, 576) + 1 = 73,857 elements, as the least operand is the left one."""
    rows = tiny.mappings(128, 576, 4096, 1)
    compulsory = 128 * 576 + 576 * 4096 + 128 * 4096
    assert rows[:, 1].min() == compulsory
    assert rows[rows[:, 1] == compulsory, 0].min() == 128 * 576 + 128 + 1


def spans(low: int, high: int, step: int) -> list[tuple[int, int]]:
    return [(i, min(i + step, high)) for i in range(low, high, step)]


def walk(sizes: dict[str, int], tile: dict[str, int], streamed: str, array_side: int) -> tuple[int, int, int]:
    """DRAM elements, buffer elements moved and cycles, counted block by block: the streamed loop is innermost."""
    operands = {"A": "mk", "B": "kn", "C": "mn"}
    outer = [d for d in "mkn" if d != streamed]
    stays = next(x for x, dims in operands.items() if streamed not in dims)
    held: tuple | None = None
    seen: set[tuple] = set()
    dram = moved = products = 0
    for tiles in itertools.product(*(spans(0, sizes[d], tile[d]) for d in outer)):
        for chunk in spans(0, sizes[streamed], min(array_side, sizes[streamed])):
            span = dict(zip((*outer, streamed), (*tiles, chunk), strict=True))
            for operand, dims in operands.items():
                piece = (operand, *(span[d] for d in dims))
                if operand == stays:
                    if piece == held:
                        continue
                    held = piece
                elements = (span[dims[0]][1] - span[dims[0]][0]) * (span[dims[1]][1] - span[dims[1]][0])
                # inputs come in; sums go out, and come in before if they were here before
                dram += elements * (2 if operand == "C" and piece in seen else 1)
                seen.add(piece)
            for block in itertools.product(*(spans(*span[d], array_side) for d in "mkn")):
                sides = {d: high - low for d, (low, high) in zip("mkn", block, strict=True)}
                products += 1
                first = block[1][0] == 0
                moved += sides["m"] * sides["k"] + sides["k"] * sides["n"] + sides["m"] * sides["n"] * (1 if first else 2)
    return dram, moved, products * array_side + 3 * array_side - 2


def brute_force(sizes: dict[str, int], array_side: int) -> np.ndarray:
    """Every integer tile side from one array block upwards, every operand that may stay."""
    found = []
    block = {d: min(array_side, size) for d, size in sizes.items()}
    for streamed in "mkn":
        first, second = (d for d in "mkn" if d != streamed)
        for a, b in itertools.product(range(block[first], sizes[first] + 1), range(block[second], sizes[second] + 1)):
            strip_and_block = min(block[streamed] * (a + block[second]), block[streamed] * (b + block[first]))
            counts = walk(sizes, {first: a, second: b}, streamed, array_side)
            found.append((a * b + strip_and_block, *counts))
    return np.array(found)


@pytest.mark.parametrize("shape", [(5, 7, 6), (1, 6, 5), (7, 3, 7)])
@pytest.mark.parametrize("array_side", [1, 2, 3])
def test_every_price_finds_its_optimum_on_the_frontier(shape: tuple[int, int, int], array_side: int) -> None:
    walked = brute_force(dict(zip("mkn", shape, strict=True)), array_side)
    frontier = tiny.not_dominated(tiny.mappings(*shape, array_side))
    rng = np.random.default_rng(0)
    for _ in range(200):
        capacity = rng.choice(walked[:, 0])
        weights = rng.uniform(0, 1, size=3)
        for cost in (lambda c, w: (c[:, 1:] * w).max(axis=1), lambda c, w: c[:, 1:] @ w):  # latency, energy
            best = cost(walked[walked[:, 0] <= capacity], weights).min()
            assert cost(frontier[frontier[:, 0] <= capacity], weights).min() == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("array_side", [1, 16, 64])
def test_traffic_is_never_below_the_lower_bound(array_side: int) -> None:
    for need, dram, _, cycles in tiny.not_dominated(tiny.mappings(128, 576, 4096, array_side)):
        inside = int(need) + array_side**2  # the array holds one block more
        assert dram >= gemm_lower_bound_elements(128, 576, 4096, inside)
        assert cycles * array_side**2 >= 128 * 576 * 4096


def test_front_is_exact_and_more_of_anything_fast_is_never_slower() -> None:
    designs = tiny.sweep()
    assert len(designs["array_side"]) == 100_000
    front = tiny.pareto_front(designs)
    speed, energy = designs["tokens_per_s"], designs["joules_per_token"]
    for i in front:
        no_worse = (speed >= speed[i]) & (energy <= energy[i])
        assert not (no_worse & ((speed > speed[i]) | (energy < energy[i]))).any()
    outside = np.setdiff1d(np.flatnonzero(np.isfinite(energy)), front)[::97]
    assert all(((speed[front] >= speed[i]) & (energy[front] <= energy[i])).any() for i in outside)

    grid = speed.reshape(4, 25, 50, 20)  # array side, capacity, bandwidth, clock
    slack = 1 - tiny.TIE_TOLERANCE  # a tie may be decided for energy
    assert (np.diff(grid, axis=2) >= -tiny.TIE_TOLERANCE * grid[:, :, :-1]).all()
    assert (grid[:, :, :, 1:] >= slack * grid[:, :, :, :-1]).all()
    assert (grid[:, 1:] >= slack * grid[:, :-1]).all()


def test_runs_alone_and_imports_nothing_of_the_engine() -> None:
    done = subprocess.run([sys.executable, "-I", str(SCRIPT)], capture_output=True, text=True, timeout=30, check=True)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("100,000 designs priced")
    assert len(lines) == 2 + 8
    text = SCRIPT.read_text()
    assert "import dse" not in text and "from dse" not in text
    assert len(text.splitlines()) <= 160
