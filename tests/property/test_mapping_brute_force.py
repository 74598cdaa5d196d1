"""The frontier against a brute force that walks every loop of every mapping and counts what it sees."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dse.hw.accelerator import ArrayGeometry, Dataflow, Folds, Geometry
from dse.mapping.frontier import matmul_frontier
from dse.mapping.matmul import array_sides
from dse.mapping.problem import MatmulProblem
from dse.mapping.tiles import all_sides, ladder_sides
from dse.mapping.two_level import gemm_lower_bound_elements
from tests.property.loop_walker import DIMS, MAPPED, LoopWalker

Price = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def in_space(tile: dict[str, int], order: tuple[str, ...], sizes: dict[str, int], side: dict[str, int], arrays: int, stream: str) -> bool:
    """The stated space, tiles below one array pass included: where the stream is the innermost loop that turns, over more than one pass of
    what the array holds, its sides are from the ladder. On several arrays the innermost loop is always on the ladder, and there are no
    sides that a smaller one equals in tiles and passes."""
    ladder = {d: ladder_sides(sizes[d], side[d]).side for d in DIMS}
    if arrays > 1 and any(tile[d] not in (*all_sides(sizes[d], side[d]).side, *ladder[d]) for d in DIMS):
        return False
    turning = [d for d in order if tile[d] < sizes[d]]
    if not turning or tile[turning[-1]] in ladder[turning[-1]]:
        return True
    one_pass = all(tile[d] <= side[d] for d in DIMS if d != stream)
    return arrays == 1 and (turning[-1] != stream or one_pass)


def brute_force(p: MatmulProblem, g: Geometry) -> np.ndarray:
    """Counts of every mapping: all integer tile sides, all loop orders, all subsets kept, all dataflows of the geometry."""
    found = []
    sizes = {"m": p.m, "k": p.k, "n": p.n}
    for flow in g.array.dataflows:
        side = dict(zip(DIMS, array_sides(g.array, flow, 1), strict=True))
        stream = next(d for d in DIMS if d not in MAPPED[flow])
        for sides in itertools.product(*(range(1, sizes[d] + 1) for d in DIMS)):
            tile = dict(zip(DIMS, sides, strict=True))
            for order in itertools.permutations(DIMS):
                if in_space(tile, order, sizes, side, g.array.count, stream):
                    found += [LoopWalker(p, g, flow, tile, order, kept).walk() for kept in ("", "A", "B", "C", "AB", "AC", "BC", "ABC")]
    return np.array(found)


sizes = st.integers(1, 5)


@settings(deadline=None, max_examples=50)
@given(
    m=sizes,
    k=sizes,
    n=sizes,
    rows=st.integers(1, 3),
    cols=st.integers(1, 3),
    flow=st.sampled_from(list(Dataflow)),
    folds=st.sampled_from(list(Folds)),
    double=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@example(m=2, k=5, n=4, rows=1, cols=4, flow=Dataflow.WEIGHT_STATIONARY, folds=Folds.BROADCAST, double=False, seed=0)
@example(m=1, k=3, n=3, rows=2, cols=1, flow=Dataflow.WEIGHT_STATIONARY, folds=Folds.PIPELINED, double=False, seed=0)
@example(m=2, k=5, n=1, rows=2, cols=1, flow=Dataflow.WEIGHT_STATIONARY, folds=Folds.PIPELINED, double=False, seed=0)
@example(m=2, k=7, n=2, rows=3, cols=1, flow=Dataflow.WEIGHT_STATIONARY, folds=Folds.PIPELINED, double=False, seed=0)
@example(m=7, k=2, n=2, rows=3, cols=1, flow=Dataflow.OUTPUT_STATIONARY, folds=Folds.PIPELINED, double=True, seed=0)
@example(m=2, k=7, n=2, rows=4, cols=2, flow=Dataflow.INPUT_STATIONARY, folds=Folds.PIPELINED, double=False, seed=1)
def test_frontier_has_an_optimum_for_every_price(
    m: int, k: int, n: int, rows: int, cols: int, flow: Dataflow, folds: Folds, double: bool, seed: int
) -> None:
    p = MatmulProblem(1, m, k, n, 8, 8, 8, 32, "int8")
    g = Geometry(ArrayGeometry(rows, cols, 1, (flow,), folds, (("int8", 1),)), double_buffered=double)
    check(p, g, seed)


@settings(deadline=None, max_examples=40)
@given(
    m=st.integers(1, 4),
    k=st.integers(1, 4),
    n=st.integers(1, 4),
    groups=st.integers(1, 3),
    arrays=st.integers(1, 3),
    flow=st.sampled_from([Dataflow.WEIGHT_STATIONARY, Dataflow.INPUT_STATIONARY]),
    folds=st.sampled_from(list(Folds)),
    double=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_several_groups_or_arrays(
    m: int, k: int, n: int, groups: int, arrays: int, flow: Dataflow, folds: Folds, double: bool, seed: int
) -> None:
    """Several groups on one array, or one on several arrays."""
    p = MatmulProblem(groups if arrays == 1 else 1, m, k, n, 8, 8, 8, 32, "int8")
    g = Geometry(ArrayGeometry(2, 1, arrays, (flow,), folds, (("int8", 1),)), double_buffered=double)
    check(p, g, seed)


def check(p: MatmulProblem, g: Geometry, seed: int) -> None:
    walked = brute_force(p, g)
    ours = matmul_frontier(p, g).counts.matrix()
    rng = np.random.default_rng(seed)
    for _ in range(40):
        capacity = rng.choice(walked[:, 0])
        rates = rng.uniform(0.05, 20, size=4)  # bytes per cycle: DRAM, buffer read, buffer write; share of array
        prices = rng.uniform(0.0, 10, size=4) * (rng.random(4) < 0.8)  # some accesses are free
        for name, value in (("latency", latency), ("energy", energy), ("edp", lambda c, r, e: latency(c, r, e) * energy(c, r, e))):
            best = value(walked[walked[:, 0] <= capacity], rates, prices).min()
            mine = value(ours[ours[:, 0] <= capacity], rates, prices).min()
            assert mine <= best * (1 + 1e-9), (name, capacity)
            assert mine >= best * (1 - 1e-9), (name, capacity)
        for first, second in ((latency, energy), (energy, latency)):  # ties of one are decided by the other
            best, mine = (lexicographic(c[c[:, 0] <= capacity], first, second, rates, prices) for c in (walked, ours))
            assert mine == pytest.approx(best, rel=1e-9), capacity


def lexicographic(c: np.ndarray, first: Price, second: Price, rates: np.ndarray, prices: np.ndarray) -> tuple[float, float]:
    least = first(c, rates, prices)
    return least.min(), second(c[least <= least.min() * (1 + 1e-9)], rates, prices).min()


def latency(c: np.ndarray, rates: np.ndarray, prices: np.ndarray) -> np.ndarray:
    return np.maximum.reduce([(c[:, 1] + c[:, 2]) / rates[0], c[:, 3] / rates[1], c[:, 4] / rates[2], c[:, 5] / rates[3]])


def energy(c: np.ndarray, rates: np.ndarray, prices: np.ndarray) -> np.ndarray:
    return c[:, 1:5] @ prices


@settings(deadline=None)
@given(
    m=st.integers(1, 300),
    k=st.integers(1, 600),
    n=st.integers(1, 600),
    rows=st.sampled_from([4, 16, 32]),
    flow=st.sampled_from(list(Dataflow)),
)
def test_traffic_is_never_below_the_lower_bound(m: int, k: int, n: int, rows: int, flow: Dataflow) -> None:
    p = MatmulProblem(1, m, k, n, 8, 8, 8, 8, "int8")
    g = Geometry(ArrayGeometry(rows, rows, 1, (flow,), Folds.PIPELINED, (("int8", 1),)), double_buffered=False)
    c = matmul_frontier(p, g).counts
    inside = c.footprint_bytes + rows * rows  # one stationary element per PE
    if flow is Dataflow.OUTPUT_STATIONARY:
        inside = inside + 2 * rows
    for have, moved, cycles in zip(inside, c.dram_read_bytes + c.dram_write_bytes, c.array_cycles, strict=True):
        assert moved >= gemm_lower_bound_elements(m, k, n, int(have))
        assert cycles * rows * rows >= m * k * n


def test_on_chip_operands_move_nothing() -> None:
    g = Geometry(ArrayGeometry(8, 8, 1, tuple(Dataflow), Folds.PIPELINED, (("int8", 1),)), double_buffered=True)
    base = MatmulProblem(1, 24, 40, 56, 8, 8, 8, 32, "int8")
    chip = matmul_frontier(replace(base, left_on_chip=True, out_on_chip=True), g).counts
    assert chip.dram_read_bytes.min() == base.right_bytes
    assert chip.dram_write_bytes.max() == 0
