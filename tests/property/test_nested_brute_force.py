"""Two levels of tiles and more against a walker: each frontier row counts what is walked, and beats whatever mapping is drawn from the space."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.hw.accelerator import ArrayGeometry, Dataflow, Folds, Geometry, MemoryGeometry, OperandName
from dse.mapping.frontier import Frontier, MatmulMapping, matmul_frontier
from dse.mapping.matmul import Stationary, array_sides
from dse.mapping.problem import MatmulProblem
from dse.mapping.residence import residence
from dse.mapping.tiles import ladder_sides
from tests.property.loop_walker import AXES, DIMS, IN_ARRAY
from tests.property.nested_walker import NestedWalker

LACKS = {"A": "n", "B": "m", "C": "k"}
STAYS = {d: x for x, d in LACKS.items()}
LETTERS = {Stationary.LEFT: "A", Stationary.RIGHT: "B", Stationary.OUT: "C"}
ORDERS = tuple((*(d for d in DIMS if d != last), last) for last in DIMS)
"""Which operand stays is all that counts of an order: its missing dimension is innermost."""
L, R, OUT = OperandName.LEFT, OperandName.RIGHT, OperandName.OUT
INNER = (
    *(((L, R, OUT),), ((L, R), (OUT,)), ((L,),), ((OUT,),), ((R,),), ((L, OUT),), ((R, OUT),), ((L,), (R, OUT))),
    *(((L,), (R,), (OUT,), (R, OUT)), ((R,), (R,)), ((OUT,), (L, OUT))),
)
"""Buffers inside the outermost one, by the operands that each may hold; the last ones have two for one operand."""


def geometry(flow: Dataflow, folds: Folds, rows: int, cols: int, inner: int, outer: tuple[OperandName, ...], double: int) -> Geometry:
    memories = tuple(MemoryGeometry(double_buffered=bool(double & 2), overlapped=True, operands=held) for held in INNER[inner])
    buffer = MemoryGeometry(double_buffered=bool(double & 1), overlapped=True, operands=outer)
    return Geometry(ArrayGeometry(rows, cols, 1, (flow,), folds, (("int8", 1),)), bool(double & 1), buffer, memories)


def kept_letters(kept: object) -> str:
    return "".join(x for x, name in (("A", "left"), ("B", "right"), ("C", "out")) if getattr(kept, name))


def walk(p: MatmulProblem, g: Geometry, mapping: MatmulMapping) -> np.ndarray:
    """Counts of a mapping of the frontier as they are walked."""
    levels = [(mapping.stationary, mapping.kept, (mapping.tile_m, mapping.tile_k, mapping.tile_n))]
    inner = mapping.inner
    while inner is not None:
        levels.append((inner.stationary, inner.kept, (inner.tile_m, inner.tile_k, inner.tile_n)))
        inner = inner.inside
    last = [LACKS[LETTERS[stays]] for stays, _, _ in levels]
    orders = tuple(next(order for order in ORDERS if order[-1] == d) for d in last)
    tiles = tuple(dict(zip(DIMS, sides, strict=True)) for _, _, sides in levels)
    kept = tuple(kept_letters(kept) for _, kept, _ in levels)
    places = mapping.places or tuple(residence(g).default(name, max(2, len(levels))) for name in (L, R, OUT))
    return NestedWalker(p, g, mapping.dataflow, tiles, orders, kept, dict(zip("ABC", places, strict=True))).walk()  # type: ignore[arg-type]


def in_space(
    g: Geometry,
    size: dict[str, int],
    side: dict[str, int],
    tiles: tuple[dict[str, int], ...],
    orders: tuple[tuple[str, ...], ...],
    kept: tuple[str, ...],
) -> bool:
    """The stated space: one level of tiles, or several. The operand that the innermost turning loop of a level lacks has a tile there, or
    next to the array is its own and one pass large. With one level sides are from the ladder along that loop, with more all but the
    outermost are."""
    own = IN_ARRAY[g.array.dataflows[0]]
    if len(tiles) == 1:
        (tile,) = tiles
        turning = [d for d in orders[0] if tile[d] < size[d]]
        if not turning:
            return True
        stays, last = STAYS[turning[-1]], turning[-1]
        one_pass = stays == own and all(tile[d] <= side[d] for d in AXES[own])
        return (stays in kept[0] or one_pass) and tile[last] in ladder_sides(size[last], side[last]).side
    for level, (outside, tile) in enumerate(zip((size, *tiles), tiles, strict=False)):
        turning = [d for d in orders[level] if tile[d] < outside[d]]
        if level == 0 and not turning and kept[0]:
            continue
        if not turning:
            return False
        stays = STAYS[turning[-1]]
        one_pass = level == len(tiles) - 1 and stays == own and all(tile[d] <= side[d] for d in AXES[own])
        if not (stays in kept[level] or one_pass):
            return False
    return True


def drawn(p: MatmulProblem, g: Geometry, rng: np.random.Generator) -> np.ndarray:
    """Counts of a mapping drawn from the stated space."""
    flow = g.array.dataflows[0]
    size = {"m": p.m, "k": p.k, "n": p.n}
    side = dict(zip(DIMS, array_sides(g.array, flow, 1), strict=True))
    while True:
        levels = int(rng.integers(1, residence(g).levels + 1))
        ways = [places_of(g, name, levels) for name in (L, R, OUT)]
        orders = tuple(ORDERS[i] for i in rng.integers(0, 3, levels))
        ladders = {d: ladder_sides(size[d], side[d]).side for d in DIMS}
        sides = {d: range(min(side[d], size[d]), size[d] + 1) if levels == 1 else ladders[d] for d in DIMS}
        tiles = [{d: int(rng.choice(sides[d])) for d in DIMS}]
        for _ in range(levels - 2):
            tiles.insert(0, {d: int(rng.choice([s for s in ladders[d] if s >= tiles[0][d]])) for d in DIMS})
        if levels > 1:
            tiles.insert(0, {d: int(rng.choice([*range(tiles[0][d], size[d], tiles[0][d]), size[d]])) for d in DIMS})
        chosen = {x: way[rng.integers(len(way))] for x, way in zip(AXES, ways, strict=True)}
        kept = tuple("".join(x for x in AXES if chosen[x][level] is not None) for level in range(levels))
        if in_space(g, size, side, tuple(tiles), orders, kept):
            break
    return NestedWalker(p, g, flow, tuple(tiles), orders, kept, chosen).walk()


def places_of(g: Geometry, name: OperandName, levels: int) -> list[tuple[int | None, ...]]:
    """Memories of the tiles of an operand, from outer to inner: each inside the one before. Where no operand has three, the outer tile
    lies in none but the last, and an inner one alone inside the outermost buffer."""
    held = [i for i, memory in enumerate(g.inner) if name in memory.operands] + [-1] * (name in g.outer.operands)
    found: list[tuple[int | None, ...]] = []
    for at in itertools.product((None, *held), repeat=levels):
        chain = [held.index(place) for place in at if place is not None]
        if any(near >= far for far, near in itertools.pairwise(chain)):
            continue
        if residence(g).levels <= 2 and levels == 2:
            outer = held[-1:] if len(held) < 3 else held[1:]
            if at[0] not in (None, *outer) or at[1] == -1:
                continue
        found.append(at)
    return found


def check(p: MatmulProblem, g: Geometry, found: Frontier, seed: int, draws: int) -> None:
    rng = np.random.default_rng(seed)
    rows = found.counts.matrix()
    assert found.excess == 0.0
    for i in rng.permutation(len(rows))[:40]:
        walked = walk(p, g, found.mappings[i])
        assert walked == pytest.approx(rows[i]), found.mappings[i]
    walked = np.array([drawn(p, g, rng) for _ in range(draws)])
    for counts in walked:
        assert (rows <= counts * (1 + 1e-12)).all(axis=1).any(), counts
    for _ in range(10):
        never_dearer(rows, walked, rng)


def never_dearer(rows: np.ndarray, walked: np.ndarray, rng: np.random.Generator) -> None:
    """At random capacities of all memories, rates and energies the rows that fit are as fast, as frugal and as good in the product."""
    room = [0, *range(6, rows.shape[1], 3)]
    moved = [i for i in range(1, rows.shape[1]) if i not in room]
    capacities = walked[rng.integers(0, len(walked), len(room)), room]
    rates, prices = rng.uniform(0.05, 20, len(moved)), rng.uniform(0.0, 10, len(moved))
    found = []
    for counts in (rows, walked):
        here = counts[(counts[:, room] <= capacities).all(axis=1)]
        latency, energy = (here[:, moved] / rates).max(axis=1, initial=0.0), here[:, moved] @ prices
        found.append([x.min(initial=np.inf) for x in (latency, energy, latency * energy)])
    ours, theirs = np.array(found)
    assert (ours <= theirs * (1 + 1e-9)).all()


def test_what_two_levels_alone_find_is_found_with_three() -> None:
    """All memories are used where the operand may lie in three; two at a time where no more are allowed."""
    p = MatmulProblem(1, 8, 8, 8, 8, 8, 8, 32, "int8")
    inner = (MemoryGeometry(overlapped=True, operands=(L,)), MemoryGeometry(overlapped=True, operands=(L, R)))
    g = Geometry(ArrayGeometry(1, 1, 1, (Dataflow.OUTPUT_STATIONARY,), Folds.BROADCAST, (("int8", 1),)), False, None, inner)
    every, two = matmul_frontier(p, g), matmul_frontier(p, replace(g, most_tiles=2))
    rows = every.counts.matrix()
    assert all((rows <= row).all(axis=1).any() for row in two.counts.matrix())
    assert any(len(mapping.inner_tiles) == 2 for mapping in every.mappings)
    assert not any(len(mapping.inner_tiles) > 1 for mapping in two.mappings)


CHAINS = (
    *(((L,), (L, R)), ((OUT,), (R, OUT)), ((L, OUT), (R, OUT)), ((R,), (R,))),
    *(((L, R), (L, OUT)), ((L, R, OUT), (OUT,)), ((L,), (L, OUT), (OUT,)), ((R,), (R,), (R,))),
)
"""Two or three buffers inside the outermost one: some operand may lie in three, one case in four."""


@settings(deadline=None, max_examples=7)
@given(
    m=st.integers(1, 5),
    k=st.integers(1, 5),
    n=st.integers(1, 5),
    rows=st.integers(1, 2),
    cols=st.integers(1, 2),
    flow=st.sampled_from(list(Dataflow)),
    folds=st.sampled_from(list(Folds)),
    inner=st.sampled_from(CHAINS),
    double=st.integers(0, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_mapping_of_three_levels_is_missed(
    m: int,
    k: int,
    n: int,
    rows: int,
    cols: int,
    flow: Dataflow,
    folds: Folds,
    inner: tuple[tuple[OperandName, ...], ...],
    double: int,
    seed: int,
) -> None:
    p = MatmulProblem(1, m, k, n, 8, 8, 8, 32, "int8")
    memories = tuple(MemoryGeometry(double_buffered=bool(double & 2), overlapped=True, operands=held) for held in inner)
    buffer = MemoryGeometry(double_buffered=bool(double & 1), overlapped=True)
    g = Geometry(ArrayGeometry(rows, cols, 1, (flow,), folds, (("int8", 1),)), bool(double & 1), buffer, memories)
    check(p, g, matmul_frontier(p, g), seed, 120)


sizes = st.integers(1, 7)


@settings(deadline=None, max_examples=40)
@given(
    m=sizes,
    k=sizes,
    n=sizes,
    rows=st.integers(1, 3),
    cols=st.integers(1, 3),
    flow=st.sampled_from(list(Dataflow)),
    folds=st.sampled_from(list(Folds)),
    inner=st.integers(0, len(INNER) - 1),
    outer=st.sampled_from([(L, R, OUT), (L, R), (L,), (R, OUT), (OUT,)]),
    double=st.integers(0, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_mapping_of_the_space_is_missed(
    m: int,
    k: int,
    n: int,
    rows: int,
    cols: int,
    flow: Dataflow,
    folds: Folds,
    inner: int,
    outer: tuple[OperandName, ...],
    double: int,
    seed: int,
) -> None:
    p = MatmulProblem(1, m, k, n, 8, 8, 8, 32, "int8")
    g = geometry(flow, folds, rows, cols, inner, outer, double)
    check(p, g, matmul_frontier(p, g), seed, 120)
