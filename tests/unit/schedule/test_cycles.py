"""Cycles of many slices at once against one at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.hw.accelerator import ArrayGeometry, Dataflow, Folds, Geometry
from dse.mapping.frontier import least_cycles
from dse.mapping.problem import MatmulProblem
from dse.schedule.cycles import CycleTable, least_cycles_of
from dse.schedule.streams import find_streams

from .graphs import GEOMETRY, attention

SIZES = st.tuples(st.integers(1, 40), *(st.integers(1, 700) for _ in range(3)))


@settings(max_examples=40, deadline=None)
@given(
    shapes=st.lists(SIZES, min_size=1, max_size=6),
    count=st.sampled_from([1, 3, 4, 8]),
    rate=st.sampled_from([1, 2]),
    folds=st.sampled_from(list(Folds)),
    dataflow=st.sampled_from(list(Dataflow)),
    share=st.sampled_from([1.0, 0.53]),
)
def test_products_at_once_and_alone(
    shapes: list[tuple[int, int, int, int]], count: int, rate: int, folds: Folds, dataflow: Dataflow, share: float
) -> None:
    array = ArrayGeometry(32, 16, count, (dataflow, Dataflow.OUTPUT_STATIONARY), folds, (("bf16", rate),))
    product = MatmulProblem(1, 1, 1, 1, 16, 16, 16, 32, "bf16", work_share=share)
    found = least_cycles_of(product, np.array(shapes).T, array)
    alone = [least_cycles(replace(product, groups=g, m=m, k=k, n=n), Geometry(array, double_buffered=True)) for g, m, k, n in shapes]
    assert found == pytest.approx(alone, rel=1e-12)


def test_a_table_gives_the_same_prepared_or_not() -> None:
    graph = attention(64, 128, 16, 32)
    operator = next(o for o in graph.operators if o.name == "score")
    loops = sorted(find_streams(graph).loops["score"].values())
    slicings = [(), *(((d, n),) for d in loops for n in (2, 4, 8, 16))]
    one, other = CycleTable(graph, GEOMETRY), CycleTable(graph, GEOMETRY)
    one.prepare(operator, slicings)
    assert [one(operator, s) for s in slicings] == [other(operator, s) for s in slicings]
