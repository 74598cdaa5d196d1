"""Arrays in the long form: which arrays of rows and columns they stand for, by hand; the same mappings as in the short form."""

from __future__ import annotations

import itertools
from dataclasses import replace
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import InputError
from dse.hw.accelerator import ArrayDim, ArrayGeometry, Dataflow, Folds, Geometry, Loop, MemoryGeometry, OperandName
from dse.mapping.flows import flows
from dse.mapping.frontier import matmul_frontier, not_dominated
from dse.mapping.problem import MatmulProblem

LEFT, RIGHT, OUT = OperandName.LEFT, OperandName.RIGHT, OperandName.OUT
WS, IS, OS = Dataflow.WEIGHT_STATIONARY, Dataflow.INPUT_STATIONARY, Dataflow.OUTPUT_STATIONARY


def long(*dims: tuple[int, str], stays: tuple[OperandName, ...] = (LEFT, RIGHT, OUT), rate: int = 1) -> ArrayGeometry:
    """An array with dimensions of the given sizes and loops, `(8, "kn")`."""
    made = tuple(
        ArrayDim(f"d{i}", size, tuple(Loop("groups" if x == "g" else x) for x in (["g"] if loops == "groups" else loops)))
        for i, (size, loops) in enumerate(dims)
    )
    return ArrayGeometry(prod(d.size for d in made), 1, 1, (), Folds.BROADCAST, (("int8", rate),), dims=made, stationary=stays)


def found(array: ArrayGeometry) -> set[tuple[Dataflow, int, int, int]]:
    """(dataflow, rows, columns, MACs of an element)."""
    return {(f.dataflows[0], f.rows, f.columns, dict(f.macs_per_pe_per_cycle)["int8"]) for f in flows(array)}


def test_fixed_unrolling() -> None:
    """K over 32, N over 16: B stays as in a weight-stationary array; A cannot, N is spread; C stays with 32 MACs an element."""
    assert found(long((32, "k"), (16, "n"))) == {(WS, 32, 16, 1), (OS, 1, 16, 32)}
    assert found(long((32, "k"), (16, "n"), stays=(RIGHT,))) == {(WS, 32, 16, 1)}


def test_one_dimension_over_two_loops() -> None:
    """6 = 1 x 6, 2 x 3, 3 x 2, 6 x 1 over k and m; B stays only where m is not spread, A only where n is not, which is never here."""
    got = found(long((6, "km"), (4, "n"), stays=(RIGHT, OUT)))
    assert got == {(WS, 6, 4, 1), (OS, 6, 4, 1), (OS, 3, 4, 2), (OS, 2, 4, 3), (OS, 1, 4, 6)}


def test_several_dimensions_over_one_loop() -> None:
    """Loops multiply over dimensions: k over 8 and 4 is 32, and three dimensions are a cube of MACs."""
    assert found(long((8, "k"), (4, "k"), (16, "n"), stays=(RIGHT,))) == {(WS, 32, 16, 1)}
    assert found(long((8, "m"), (8, "k"), (8, "n"), stays=(OUT,), rate=2)) == {(OS, 8, 8, 16)}


def test_free_array() -> None:
    """A free dimension of a prime size gives it to m, k or n whole."""
    assert found(long((7, "mkn"), stays=(OUT,))) == {(OS, 7, 1, 1), (OS, 1, 1, 7), (OS, 1, 7, 1)}
    assert found(long((7, "mkn"), stays=(LEFT,))) == {(IS, 1, 7, 1), (IS, 7, 1, 1)}


def test_copies_where_nothing_else_is_left() -> None:
    """A must stay and n is spread over 4: four elements of n stream past four copies of A, k over 8 rows."""
    (only,) = flows(long((8, "k"), (4, "n"), stays=(LEFT,)))
    assert (only.dataflows, only.rows, only.columns, only.stream, only.elements) == ((IS,), 8, 1, 4, 32)
    problem = MatmulProblem(1, 6, 16, 10, 8, 8, 8, 32, "int8")
    counts = matmul_frontier(problem, Geometry(only, double_buffered=False)).counts
    assert counts.array_cycles.min() == 2 * 6 * 3  # two blocks of k, six of m, 10 of n in steps of 4


@pytest.mark.parametrize(
    ("array", "where", "text"),
    [
        (long((2**30, "mkn"), (2**10, "mkn"), (2**10, "mkn")), "core.array.dims", "at most 512 are tried"),
    ],
)
def test_what_cannot_be_unrolled(array: ArrayGeometry, where: str, text: str) -> None:
    with pytest.raises(InputError, match=text) as error:
        flows(array)
    assert error.value.problems[0].where == where


def test_a_dimension_of_groups_alone_by_hand() -> None:
    """A depthwise convolution: 10 groups of [6 x 9 x 1] on 4 groups x 3 elements of k. In 3 rounds the last two parts are idle; each takes
    3 blocks of k and 6 rows. Bytes are those of all 10 groups, tiles those of 4 at a time."""
    array = long((4, "groups"), (3, "k"), stays=(RIGHT,))
    (only,) = flows(array)
    assert (only.groups, only.rows, only.columns, only.elements) == (4, 3, 1, 12)
    found = matmul_frontier(MatmulProblem(10, 6, 9, 1, 8, 8, 8, 8, "int8"), Geometry(array, double_buffered=False))
    least = found.counts.dram_read_bytes + found.counts.dram_write_bytes
    at = int(np.flatnonzero(least == 10 * (6 * 9 + 9 + 6))[0])
    assert found.counts.array_cycles[at] == 3 * 3 * 6
    assert found.counts.footprint_bytes[at] == 4 * 6  # sums stay while k runs, a row at a time or all six
    assert found.mappings[at].together == 4
    one = matmul_frontier(MatmulProblem(1, 6, 9, 1, 8, 8, 8, 8, "int8"), Geometry(array, double_buffered=False))
    assert one.counts.array_cycles.min() == 3 * 6  # a single group leaves three parts idle


@settings(max_examples=15, deadline=None)
@given(
    groups=st.integers(1, 9),
    m=st.integers(1, 5),
    k=st.integers(1, 6),
    n=st.integers(1, 5),
    other=st.sampled_from(["k", "n", "kn"]),
    folds=st.sampled_from(list(Folds)),
    memory=st.sampled_from([None, (), ("d0",), ("d0", "d1")]),
    double=st.booleans(),
)
def test_groups_side_by_side_are_fewer_groups(
    groups: int, m: int, k: int, n: int, other: str, folds: Folds, memory: tuple[str, ...] | None, double: bool
) -> None:
    """With 4 groups side by side an array runs as its part does with a fourth of the groups, rounded up: the same cycles, bytes of all
    groups, tiles of 4 of them, in a memory with an instance for each only its own."""
    several, part = long((4, "groups"), (3, other)), replace(long((1, "k"), (3, other)), rows=3)
    inner = () if memory is None else (MemoryGeometry(overlapped=True, operands=(LEFT, OUT), replicated=memory, instances=12),)
    alone = tuple(replace(x, replicated=tuple(name for name in x.replicated if name != "d0")) for x in inner)
    few = -(-groups // 4)
    p = MatmulProblem(groups, m, k, n, 8, 8, 8, 32, "int8")
    got = matmul_frontier(p, Geometry(replace(several, folds=folds), double, inner=inner)).counts.matrix()
    want = matmul_frontier(replace(p, groups=few), Geometry(replace(part, folds=folds), double, inner=alone)).counts.matrix()
    scale = np.full(want.shape[1], groups / few)
    scale[0], scale[5] = min(groups, 4), 1
    if inner:
        scale[6] = 1 if memory else min(groups, 4)
    want = want * scale
    assert got == pytest.approx(want[np.lexsort(want.T[::-1])])


def test_groups_take_a_share_where_it_pays() -> None:
    """4 parts for groups or m: with 8 groups of one row all go to groups, with one group of 8 rows to m."""
    array = long((4, "mg"), (3, "k"), stays=(OUT,))
    cycles = [
        matmul_frontier(MatmulProblem(g, m, 6, 2, 8, 8, 8, 8, "int8"), Geometry(array, double_buffered=False)).counts.array_cycles.min()
        for g, m in ((8, 1), (1, 8))
    ]
    assert cycles == [2 * 2 * 2, 2 * 2 * 2]  # eight or two rounds of parts, two blocks of k, two columns


def test_more_ways_are_never_slower() -> None:
    """B must stay, and 8 parts are for groups or m: with two groups copies for eight rows each are the better way, 2 x 64 / 8 steps."""
    array = long((8, "mg"), (3, "k"), stays=(RIGHT,))
    found = matmul_frontier(MatmulProblem(2, 64, 3, 1, 8, 8, 8, 8, "int8"), Geometry(array, double_buffered=False))
    assert found.counts.array_cycles.min() == 16


def test_short_form_is_itself() -> None:
    short = ArrayGeometry(4, 4, 1, (WS,), Folds.SERIAL, (("int8", 1),))
    assert flows(short) == (short,)


@pytest.mark.parametrize("stays", [(RIGHT,), (LEFT,), (OUT,)])
def test_a_fixed_array_maps_as_its_short_form(stays: tuple[OperandName, ...]) -> None:
    loops = {RIGHT: ("k", "n", WS), LEFT: ("k", "m", IS), OUT: ("m", "n", OS)}[stays[0]]
    array = long((6, loops[0]), (5, loops[1]), stays=stays)
    short = ArrayGeometry(6, 5, 1, (loops[2],), Folds.BROADCAST, (("int8", 1),))
    p = MatmulProblem(2, 31, 29, 23, 8, 8, 8, 16, "int8")
    a, b = (matmul_frontier(p, Geometry(x, double_buffered=True)).counts.matrix() for x in (array, short))
    assert np.array_equal(a, b)


@settings(max_examples=12, deadline=None)
@given(m=st.integers(1, 20), k=st.integers(1, 20), n=st.integers(1, 20), double=st.booleans())
def test_a_free_array_has_the_best_of_its_ways(m: int, k: int, n: int, double: bool) -> None:
    """The frontier is that of all ways together, and each row says which way it uses."""
    p = MatmulProblem(1, m, k, n, 8, 8, 8, 8, "int8")
    array = long((4, "km"), (3, "n"))
    whole = matmul_frontier(p, Geometry(array, double_buffered=double))
    every = np.concatenate([matmul_frontier(p, Geometry(f, double_buffered=double)).counts.matrix() for f in flows(array)])
    best = every[not_dominated(every)]
    assert sorted(map(tuple, whole.counts.matrix())) == sorted(map(tuple, best))
    assert {x.array for x in whole.mappings} <= set(flows(array))


@settings(max_examples=20, deadline=None)
@given(
    sizes=st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30)),
    dims=st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["m", "k", "n", "mk", "kn", "mkn"])), min_size=1, max_size=3),
)
def test_cycles_are_not_below_what_the_elements_can_do(sizes: tuple[int, int, int], dims: list[tuple[int, str]]) -> None:
    """No unrolling of a broadcast array is faster than all elements at work; primes and sizes below the array included."""
    array = long(*dims, stays=(OUT,))
    p = MatmulProblem(1, *sizes, 8, 8, 8, 8, "int8")
    cycles = matmul_frontier(p, Geometry(array, double_buffered=False)).counts.array_cycles.min()
    assert cycles >= p.macs / array.elements
    ways = itertools.product(*(itertools.product(*([[d for d in range(1, s + 1) if s % d == 0]] * len(x))) for s, x in dims))
    best = np.inf
    for way in ways:
        if any(prod(part) != s for part, (s, _) in zip(way, dims, strict=True)):
            continue
        spread = {"m": 1, "k": 1, "n": 1}
        for part, (_, loops) in zip(way, dims, strict=True):
            for units, loop in zip(part, loops, strict=True):
                spread[loop] *= units
        best = min(best, prod(-(-size // spread[d]) for d, size in zip("mkn", sizes, strict=True)))
    assert cycles == best
