"""The frontier against a brute force that walks every loop of every mapping and counts what it sees."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dse.hw.accelerator import ArrayGeometry, Dataflow, Folds, Geometry
from dse.mapping.frontier import matmul_frontier
from dse.mapping.matmul import array_sides
from dse.mapping.problem import MatmulProblem
from dse.mapping.tiles import ladder_sides
from dse.mapping.two_level import gemm_lower_bound_elements
from tests.property.loop_walker import DIMS, LoopWalker


def in_space(tile: dict[str, int], order: tuple[str, ...], sizes: dict[str, int], side: dict[str, int]) -> bool:
    """The stated space: no tile smaller than an array pass; the innermost loop that turns takes sides from the ladder."""
    if any(tile[d] < min(side[d], sizes[d]) for d in DIMS):
        return False
    turning = [d for d in order if tile[d] < sizes[d]]
    return not turning or tile[turning[-1]] in ladder_sides(sizes[turning[-1]], side[turning[-1]]).side


def brute_force(p: MatmulProblem, g: Geometry) -> np.ndarray:
    """Counts of every mapping: all integer tile sides, all loop orders, all subsets kept, all dataflows of the geometry."""
    found = []
    sizes = {"m": p.m, "k": p.k, "n": p.n}
    for flow in g.array.dataflows:
        side = dict(zip(DIMS, array_sides(g.array, flow, 1), strict=True))
        for sides in itertools.product(*(range(1, sizes[d] + 1) for d in DIMS)):
            tile = dict(zip(DIMS, sides, strict=True))
            for order in itertools.permutations(DIMS):
                if in_space(tile, order, sizes, side):
                    found += [LoopWalker(p, g, flow, tile, order, kept).walk() for kept in ("", "A", "B", "C", "AB", "AC", "BC", "ABC")]
    return np.array(found)


sizes = st.integers(1, 5)


@settings(deadline=None)
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
@example(m=1, k=3, n=3, rows=2, cols=1, flow=Dataflow.WEIGHT_STATIONARY, folds=Folds.PIPELINED, double=False, seed=0)
@example(m=2, k=5, n=1, rows=2, cols=1, flow=Dataflow.WEIGHT_STATIONARY, folds=Folds.PIPELINED, double=False, seed=0)
def test_frontier_has_an_optimum_for_every_price(
    m: int, k: int, n: int, rows: int, cols: int, flow: Dataflow, folds: Folds, double: bool, seed: int
) -> None:
    p = MatmulProblem(1, m, k, n, 8, 8, 8, 32, "int8")
    g = Geometry(ArrayGeometry(rows, cols, 1, (flow,), folds, (("int8", 1),)), double_buffered=double)
    walked = brute_force(p, g)
    ours = matmul_frontier(p, g).counts.matrix()
    rng = np.random.default_rng(seed)
    for _ in range(40):
        capacity = rng.choice(walked[:, 0])
        rates = rng.uniform(0.05, 20, size=4)  # bytes per cycle: DRAM, buffer read, buffer write; share of array
        prices = rng.uniform(0.0, 10, size=4)
        for name, value in (("latency", latency), ("energy", energy), ("edp", lambda c, r, e: latency(c, r, e) * energy(c, r, e))):
            best = value(walked[walked[:, 0] <= capacity], rates, prices).min()
            mine = value(ours[ours[:, 0] <= capacity], rates, prices).min()
            assert mine <= best * (1 + 1e-9), (name, capacity)
            assert mine >= best * (1 - 1e-9), (name, capacity)


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
