"""The frontier against a brute force that walks every loop of every mapping and counts what it sees."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.hw.accelerator import ArrayGeometry, Dataflow, Folds, Geometry
from dse.mapping.frontier import matmul_frontier
from dse.mapping.matmul import array_sides
from dse.mapping.problem import MatmulProblem
from dse.mapping.tiles import ladder_sides
from dse.mapping.two_level import gemm_lower_bound_elements

DIMS = ("m", "k", "n")
OPERANDS = {"A": "mk", "B": "kn", "C": "mn"}


def walk(p: MatmulProblem, g: Geometry, flow: Dataflow, tile: dict[str, int], order: str, kept: str) -> np.ndarray:
    """Counts of one mapping by walking its loops: footprint, DRAM read, write, buffer read, write, array cycles.

    Tiles are fetched when they differ from the one held; partial sums go back and forth when their tile changes before
    it is finished; the array takes one pass at a time.
    """
    size = {"m": p.m, "k": p.k, "n": p.n}
    rows, cols = g.array.rows, g.array.columns
    mapped = {Dataflow.WEIGHT_STATIONARY: ("k", "n", "m"), Dataflow.OUTPUT_STATIONARY: ("m", "n", "k"), Dataflow.INPUT_STATIONARY: ("k", "m", "n")}[flow]
    across, down, stream = mapped
    array_side = {across: rows, down: cols, stream: max(size.values())}
    in_array = {Dataflow.WEIGHT_STATIONARY: "B", Dataflow.OUTPUT_STATIONARY: "C", Dataflow.INPUT_STATIONARY: "A"}[flow]
    width = {"A": p.left_bits / 8, "B": p.right_bits / 8, "C": p.out_bits / 8}
    partial = p.partial_bits / 8
    spans = {d: [(i, min(i + tile[d], size[d])) for i in range(0, size[d], tile[d])] for d in DIMS}
    counts = np.zeros(6)
    held: dict[str, tuple] = {}
    array_held: tuple | None = None
    seen_c, done_k = set(), {}
    array_seen: dict[tuple, int] = {}
    spilled = False

    def move(direction: str, operand: str, elements: int, bytes_each: float, level: str) -> None:
        column = {("dram", "read"): 1, ("dram", "write"): 2, ("buffer", "read"): 3, ("buffer", "write"): 4}[(level, direction)]
        counts[column] += elements * bytes_each

    for steps in itertools.product(*(spans[d] for d in order)):
        span = dict(zip(order, steps, strict=True))
        length = {d: span[d][1] - span[d][0] for d in DIMS}
        for operand, axes in OPERANDS.items():
            if operand not in kept:
                continue
            key = tuple(span[d] for d in axes)
            elements = length[axes[0]] * length[axes[1]]
            if held.get(operand) == key:
                continue
            if operand != "C":
                move("read", operand, elements, width[operand], "dram")
                move("write", operand, elements, width[operand], "buffer")
            else:
                if "C" in held and done_k[held["C"]] < p.k:
                    old = held["C"]
                    count = (old[0][1] - old[0][0]) * (old[1][1] - old[1][0])
                    move("write", "C", count, partial, "dram")
                    move("read", "C", count, partial, "buffer")
                    spilled = True
                if key in seen_c and done_k[key] < p.k:
                    move("read", "C", elements, partial, "dram")
                    move("write", "C", elements, partial, "buffer")
            held[operand] = key
        c_key = (span["m"], span["n"])
        seen_c.add(c_key)
        passes = {d: [(i, min(i + array_side[d], span[d][1])) for i in range(span[d][0], span[d][1], array_side[d])] for d in DIMS}
        for pass_span in itertools.product(*(passes[d] for d in DIMS)):
            at = dict(zip(DIMS, pass_span, strict=True))
            n_of = {d: at[d][1] - at[d][0] for d in DIMS}
            loaded = True
            for operand, axes in OPERANDS.items():
                elements = n_of[axes[0]] * n_of[axes[1]]
                key = (operand, *(at[d] for d in axes))
                if operand == in_array and operand != "C":
                    loaded = array_held != key
                    array_held = key
                    if loaded:
                        move("read", operand, elements, width[operand], "buffer" if operand in kept else "dram")
                elif operand != "C":
                    move("read", operand, elements, width[operand], "buffer" if operand in kept else "dram")
                else:
                    level = "buffer" if "C" in kept else "dram"
                    first = array_seen.get(key, 0) == 0
                    finished = at["k"][1] == p.k
                    array_seen[key] = 1
                    if in_array == "C":
                        if array_held != key:
                            if array_held is not None and array_seen.get(("open", array_held)):
                                pass
                            if not first:
                                move("read", "C", elements, partial, level)
                            array_held = key
                        nxt_same = array_stays(flow, tile, order, size, rows, cols)
                        if finished:
                            move("write", "C", elements, width["C"], level)
                        elif not nxt_same:
                            move("write", "C", elements, partial, level)
                            array_held = None
                    else:
                        if not first:
                            move("read", "C", elements, partial, level)
                        move("write", "C", elements, width["C"] if finished else partial, level)
            length_cycles = n_of[stream]
            if g.array.folds is Folds.SERIAL:
                counts[5] += length_cycles + (2 * rows if in_array != "C" else rows) + cols - 2
            else:
                hidden = min(rows, n_of[across])
                counts[5] += max(length_cycles, hidden) if loaded or in_array == "C" else length_cycles
        done_k[c_key] = span["k"][1] if span["k"][0] == 0 or c_key in done_k else span["k"][1]
        if span["k"][1] == p.k and "C" in kept:
            elements = length["m"] * length["n"]
            move("write", "C", elements, width["C"], "dram")
            move("read", "C", elements, width["C"], "buffer")
    if g.array.folds is Folds.PIPELINED:
        counts[5] += (2 * rows if in_array != "C" else rows) + cols - 2
    many_k_passes = -(-tile["k"] // array_side["k"]) > 1 or len(spans["k"]) > 1
    if in_array == "C":
        many_k_passes = len(spans["k"]) > 1
    for operand, axes in OPERANDS.items():
        if operand in kept:
            tiles = len(spans[axes[0]]) * len(spans[axes[1]])
            copies = 2 if g.double_buffered and tiles > 1 else 1
            each = partial if operand == "C" and (many_k_passes or spilled) else width[operand]
            counts[0] += tile[axes[0]] * tile[axes[1]] * copies * each
    return counts


def array_stays(flow: Dataflow, tile: dict[str, int], order: str, size: dict[str, int], rows: int, cols: int) -> bool:
    """Outputs stay in the array when a tile is one pass and the innermost loop runs over k."""
    return tile["m"] <= rows and tile["n"] <= cols and (order[2] == "k")


def in_space(tile: dict[str, int], order: str, sizes: dict[str, int], side: dict[str, int]) -> bool:
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
            for order in ("mnk", "nmk", "knm", "nkm", "mkn", "kmn"):
                if in_space(tile, order, sizes, side):
                    found += [walk(p, g, flow, tile, order, kept) for kept in ("", "A", "B", "C", "AB", "AC", "BC", "ABC")]
    return np.array(found)


sizes = st.integers(1, 5)


@settings(max_examples=12, deadline=None)
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


@settings(max_examples=40, deadline=None)
@given(m=st.integers(1, 300), k=st.integers(1, 600), n=st.integers(1, 600), rows=st.sampled_from([4, 16, 32]), flow=st.sampled_from(list(Dataflow)))
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
