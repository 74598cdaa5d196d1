"""Frontiers of many groups out of one search are those of a search each, to the last bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.hw.accelerator import ArrayGeometry, Dataflow, Folds, Geometry
from dse.mapping import families
from dse.mapping.families import frontier_of_family
from dse.mapping.frontier import matmul_frontier
from dse.mapping.problem import MatmulProblem

PROBLEM = MatmulProblem(1, 24, 36, 20, 16, 8, 16, 32, "int8")


@st.composite
def _geometries(draw: st.DrawFn) -> Geometry:
    flows = draw(st.sampled_from([(d,) for d in Dataflow] + [tuple(Dataflow), (Dataflow.WEIGHT_STATIONARY, Dataflow.INPUT_STATIONARY)]))
    rows, columns, count = draw(st.sampled_from([(4, 8, 1), (8, 4, 2), (4, 4, 3), (8, 8, 16)]))
    array = ArrayGeometry(rows, columns, count, flows, draw(st.sampled_from([Folds.PIPELINED, Folds.SERIAL])), (("int8", 1),))
    return Geometry(array, double_buffered=draw(st.booleans()), dram_alike=draw(st.booleans()))


@given(_geometries(), st.data())
def test_same_as_a_search_of_its_own(geometry: Geometry, data: st.DataObject) -> None:
    sizes = [data.draw(st.integers(1, 40)) for _ in range(3)]
    on_chip = dict(zip(("left_on_chip", "right_on_chip", "out_on_chip"), data.draw(st.tuples(*[st.booleans()] * 3)), strict=True))
    shares = {"left_share": data.draw(st.sampled_from([1.0, 0.3])), "out_share": data.draw(st.sampled_from([1.0, 0.7]))}
    problem = replace(PROBLEM, m=sizes[0], k=sizes[1], n=sizes[2], **on_chip, **shares)
    for groups in data.draw(st.sets(st.sampled_from([2, 4, 8, 32, 64, 1024]), min_size=2, max_size=3)):
        here = replace(problem, groups=groups)
        found, known = frontier_of_family(here, geometry), matmul_frontier(here, geometry)
        assert found.counts.matrix().tobytes() == known.counts.matrix().tobytes()
        assert found.mappings == known.mappings


def test_one_search_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    geometry = Geometry(ArrayGeometry(8, 8, 4, (Dataflow.WEIGHT_STATIONARY,), Folds.PIPELINED, (("int8", 1),)), double_buffered=True)
    monkeypatch.setattr(families, "matmul_frontier", lambda *_: pytest.fail("searched alone"))
    families._family.cache_clear()
    for groups in (2, 4, 8, 64):
        frontier_of_family(replace(PROBLEM, groups=groups), geometry)
    assert families._family.cache_info().misses == 1


@pytest.mark.parametrize("problem", [replace(PROBLEM, groups=6), PROBLEM, replace(PROBLEM, groups=8, work_share=0.6)])
def test_others_are_searched_alone(problem: MatmulProblem) -> None:
    geometry = Geometry(ArrayGeometry(8, 8, 4, (Dataflow.WEIGHT_STATIONARY,), Folds.PIPELINED, (("int8", 1),)), double_buffered=True)
    assert frontier_of_family(problem, geometry) is matmul_frontier(problem, geometry)
