"""Several arrays, groups that run together, shared sums and packed types against a walker: each frontier row counts what is walked, and
beats whatever mapping is drawn from the space."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dse.hw.accelerator import ArrayGeometry, Dataflow, Folds, Geometry
from dse.mapping.frontier import MatmulMapping, matmul_frontier
from dse.mapping.matmul import array_sides
from dse.mapping.problem import MatmulProblem
from dse.mapping.tiles import all_sides, ladder_sides
from tests.property.loop_walker import AXES, DIMS, IN_ARRAY, LoopWalker
from tests.property.test_nested_brute_force import LACKS, LETTERS, ORDERS, STAYS, kept_letters


def walk(p: MatmulProblem, g: Geometry, mapping: MatmulMapping) -> np.ndarray:
    tile = dict(zip(DIMS, (mapping.tile_m, mapping.tile_k, mapping.tile_n), strict=True))
    order = next(order for order in ORDERS if order[-1] == LACKS[LETTERS[mapping.stationary]])
    kept = kept_letters(mapping.kept)
    return LoopWalker(p, g, mapping.dataflow, tile, order, kept, mapping.together, mapping.shared_sums).walk()


def drawn(p: MatmulProblem, g: Geometry, rng: np.random.Generator) -> np.ndarray:
    """Counts of a mapping of the stated space: sides that no smaller one equals in tiles and passes, the innermost loop on the ladder;
    what stays has a tile, or is the array's own and one pass large; groups together in powers of two; sums shared or not."""
    size = {"m": p.m, "k": p.k, "n": p.n}
    while True:
        flow = g.array.dataflows[rng.integers(len(g.array.dataflows))]
        side = dict(zip(DIMS, array_sides(g.array, flow, dict(g.array.macs_per_pe_per_cycle)[p.dtype]), strict=True))
        order = ORDERS[rng.integers(3)]
        tile = {d: int(rng.choice((ladder_sides if d == order[-1] else all_sides)(size[d], side[d]).side)) for d in DIMS}
        kept = "".join(x for x in AXES if rng.random() < 0.5)
        if tile[order[-1]] == size[order[-1]] and tile != size:
            continue  # drawn with the innermost loop that turns
        together = int(rng.choice([2**i for i in range(min(p.groups, g.array.count).bit_length())]))
        shared = bool(g.array.count > 1 and flow is Dataflow.OUTPUT_STATIONARY and rng.random() < 0.5)
        stays = STAYS[order[-1]]
        one_pass = stays == IN_ARRAY[flow] and all(tile[d] <= side[d] for d in AXES[stays])
        if tile != size and not (stays in kept or one_pass):
            continue
        return LoopWalker(p, g, flow, tile, order, kept, together, shared).walk()


@settings(deadline=None, max_examples=30)
@given(
    m=st.integers(1, 7),
    k=st.integers(1, 9),
    n=st.integers(1, 7),
    groups=st.integers(1, 5),
    rows=st.integers(1, 3),
    cols=st.integers(1, 2),
    arrays=st.integers(1, 5),
    flow=st.sampled_from(list(Dataflow)),
    folds=st.sampled_from(list(Folds)),
    rate=st.integers(1, 3),
    double=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@example(
    m=1, k=9, n=1, groups=1, rows=1, cols=1, arrays=4, flow=Dataflow.OUTPUT_STATIONARY, folds=Folds.SERIAL, rate=1, double=True, seed=0
)
@example(
    m=3, k=8, n=2, groups=3, rows=2, cols=1, arrays=2, flow=Dataflow.WEIGHT_STATIONARY, folds=Folds.PIPELINED, rate=2, double=True, seed=1
)
def test_rows_count_what_is_walked_and_none_is_missed(
    m: int, k: int, n: int, groups: int, rows: int, cols: int, arrays: int, flow: Dataflow, folds: Folds, rate: int, double: bool, seed: int
) -> None:
    p = MatmulProblem(groups, m, k, n, 8, 8, 8, 32, "int8")
    g = Geometry(ArrayGeometry(rows, cols, arrays, (flow,), folds, (("int8", rate),)), double_buffered=double)
    found = matmul_frontier(p, g)
    counts, rng = found.counts.matrix(), np.random.default_rng(seed)
    for i in rng.permutation(len(counts))[:20]:
        mapping = found.mappings[i]
        assert walk(p, g, mapping) == pytest.approx(counts[i]), mapping
    for _ in range(40):
        other = drawn(p, g, rng)
        assert (counts <= other * (1 + 1e-12)).all(axis=1).any(), other
