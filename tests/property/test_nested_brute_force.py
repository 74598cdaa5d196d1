"""Two levels of tiles against a walker: each frontier row counts what is walked, and beats whatever mapping is drawn from the space."""

from __future__ import annotations

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
    outer = dict(zip(DIMS, (mapping.tile_m, mapping.tile_k, mapping.tile_n), strict=True))
    inner, inside, kept = mapping.inner, outer, ""
    last = [LACKS[LETTERS[mapping.stationary]]] * 2
    if inner is not None:
        inside, kept = dict(zip(DIMS, (inner.tile_m, inner.tile_k, inner.tile_n), strict=True)), kept_letters(inner.kept)
        last[1] = LACKS[LETTERS[inner.stationary]]
    orders = tuple(next(order for order in ORDERS if order[-1] == d) for d in last)
    places = mapping.places or tuple(residence(g).default(name) for name in (L, R, OUT))
    at = dict(zip("ABC", places, strict=True))
    return NestedWalker(p, g, mapping.dataflow, (outer, inside), orders, (kept_letters(mapping.kept), kept), at).walk()  # type: ignore[arg-type]


def in_space(
    g: Geometry,
    size: dict[str, int],
    side: dict[str, int],
    tiles: tuple[dict[str, int], dict[str, int]],
    orders: tuple[tuple[str, ...], tuple[str, ...]],
    kept: tuple[str, str],
) -> bool:
    """The stated space: one level of tiles, or two. The operand that the innermost turning loop of a level lacks has a tile there, or
    next to the array is its own and one pass large. With one level sides are from the ladder along that loop, with two inner sides are."""
    outer, inner = tiles
    own = IN_ARRAY[g.array.dataflows[0]]
    if outer == inner:
        turning = [d for d in orders[0] if outer[d] < size[d]]
        if not turning:
            return True
        stays, last = STAYS[turning[-1]], turning[-1]
        one_pass = stays == own and all(outer[d] <= side[d] for d in AXES[own])
        return (stays in "".join(kept) or one_pass) and outer[last] in ladder_sides(size[last], side[last]).side
    outside = [d for d in orders[0] if outer[d] < size[d]]
    inside = [d for d in orders[1] if inner[d] < outer[d]]
    if not (STAYS[outside[-1]] in kept[0] if outside else kept[0]):
        return False
    stays = STAYS[inside[-1]]
    one_pass = stays == own and all(inner[d] <= side[d] for d in AXES[own])
    return stays in kept[1] or one_pass


def drawn(p: MatmulProblem, g: Geometry, rng: np.random.Generator) -> np.ndarray:
    """Counts of a mapping drawn from the stated space."""
    flow = g.array.dataflows[0]
    size = {"m": p.m, "k": p.k, "n": p.n}
    side = dict(zip(DIMS, array_sides(g.array, flow, 1), strict=True))
    ways = [places_of(g, name) for name in (L, R, OUT)]
    while True:
        orders = tuple(ORDERS[i] for i in rng.integers(0, 3, 2))
        flat = rng.random() < 0.3  # one level of tiles, in different memories
        sides = {d: range(min(side[d], size[d]), size[d] + 1) if flat else ladder_sides(size[d], side[d]).side for d in DIMS}
        inside = {d: int(rng.choice(sides[d])) for d in DIMS}
        outer = {d: int(rng.choice([*range(inside[d], size[d], inside[d]), size[d]])) for d in DIMS}
        if flat:
            outer = inside
        chosen = {x: way[rng.integers(len(way))] for x, way in zip(AXES, ways, strict=True)}
        kept = tuple("".join(x for x in AXES if chosen[x][level] is not None) for level in range(2))
        if in_space(g, size, side, (outer, inside), orders, kept):  # type: ignore[arg-type]
            break
    return NestedWalker(p, g, flow, (outer, inside), orders, kept, chosen).walk()  # type: ignore[arg-type]


def places_of(g: Geometry, name: OperandName) -> list[tuple[int | None, int | None]]:
    """Memories of the outer and of the inner tile of an operand: two different ones, the outer tile in none but the last of two."""
    held = [i for i, memory in enumerate(g.inner) if name in memory.operands] + [-1] * (name in g.outer.operands)
    outer = held[-1:] if len(held) < 3 else held[1:]
    pairs = [(far, near) for far in outer for near in held[: held.index(far)]]
    return [(None, None), *((far, None) for far in outer), *((None, near) for near in held if near >= 0), *pairs]


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
