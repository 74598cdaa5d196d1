"""Mappings from outside: files that give back what was written, and counts that two engines without a common formula agree on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.files import parse_yaml, validate
from dse.hw.accelerator import ArrayDim, ArrayGeometry, Dataflow, Folds, Geometry, Loop, MemoryGeometry, OperandName
from dse.mapping.file_form import MappingFile
from dse.mapping.frontier import MatmulMapping, matmul_frontier
from dse.mapping.given import counts_of_mapping, mapping_text, read_mapping
from dse.mapping.matmul import Kept, Stationary
from dse.mapping.problem import MatmulProblem
from tests.property.nest_of_mapping import ALONG, INNERMOST, STREAM, bytes_moved, nest_costs

sizes = st.integers(1, 40)
bits = st.sampled_from([4, 8, 16])


@st.composite
def problems(draw: st.DrawFn) -> MatmulProblem:
    """Small products with operands of any widths."""
    out = draw(bits)
    groups = draw(st.integers(1, 3))
    partial = draw(st.sampled_from([out, 32]))
    return MatmulProblem(groups, draw(sizes), draw(sizes), draw(sizes), draw(bits), draw(bits), out, partial, "int8")


@st.composite
def mapped(draw: st.DrawFn) -> tuple[MatmulProblem, Geometry, MatmulMapping]:
    """A product, a geometry with one array, and a mapping whose sides are whole passes or whole dimensions, streams of several steps."""
    p, flow = draw(problems()), draw(st.sampled_from(list(Dataflow)))
    array = ArrayGeometry(draw(st.integers(1, 5)), draw(st.integers(1, 5)), 1, (flow,), Folds.BROADCAST, (("int8", 1),))
    covered = dict(zip(ALONG[flow], (array.rows, array.columns), strict=True))
    tile = {}
    for d, size in (("m", p.m), ("k", p.k), ("n", p.n)):
        least = covered.get(d, 2)
        tile[d] = min(size, least * draw(st.integers(1, 5)) if d in covered else draw(st.integers(2, 40)))
    kept = Kept(draw(st.booleans()), draw(st.booleans()), draw(st.booleans()))
    mapping = MatmulMapping(flow, draw(st.sampled_from(list(Stationary))), kept, tile["m"], tile["k"], tile["n"], 1)
    return p, Geometry(array, double_buffered=draw(st.booleans())), mapping


@settings(deadline=None, max_examples=250)
@given(mapped())
def test_counts_are_those_of_the_loop_nest(case: tuple[MatmulProblem, Geometry, MatmulMapping]) -> None:
    p, geometry, mapping = case
    p = replace(p, partial_bits=p.out_bits)  # where sums come back, a nest also counts the finished one at their width
    stream = STREAM[mapping.dataflow]
    turning = [s for s, d in INNERMOST.items() if {"m": mapping.tile_m < p.m, "k": mapping.tile_k < p.k, "n": mapping.tile_n < p.n}[d]]
    if turning and mapping.stationary not in turning:
        mapping = replace(mapping, stationary=turning[0])  # else a nest lets stay what the next loop of several steps lacks
    tile = {"m": mapping.tile_m, "k": mapping.tile_k, "n": mapping.tile_n}[stream]
    if tile == 1:
        return  # a nest then holds in the MACs what its next loop does not change; the array does not
    _, counts = counts_of_mapping(p, geometry, mapping)
    costs = nest_costs(p, geometry.array, mapping, double=geometry.double_buffered)
    ours = counts.matrix()[0]
    assert ours[1:5] == pytest.approx(bytes_moved(costs), rel=1e-12)


@settings(deadline=None)
@given(mapped())
def test_a_file_gives_the_mapping_back(case: tuple[MatmulProblem, Geometry, MatmulMapping]) -> None:
    p, geometry, mapping = case
    document = parse_yaml(mapping_text(p, geometry, mapping), "mapping.yaml")
    assert read_mapping(document, validate(document, MappingFile), p, geometry) == mapping


@settings(deadline=None, max_examples=15)
@given(p=problems(), data=st.data())
def test_every_row_of_a_frontier_is_what_its_file_costs(p: MatmulProblem, data: Any) -> None:
    dims = (ArrayDim("d1", 4, (Loop.K, Loop.M)), ArrayDim("d2", 3, (Loop.N, Loop.K)))
    arrays = [
        ArrayGeometry(4, 2, 3, tuple(Dataflow), Folds.PIPELINED, (("int8", 2),)),
        ArrayGeometry(12, 1, 1, (), Folds.SERIAL, (("int8", 1),), dims=dims, stationary=tuple(OperandName)),
    ]
    inner = MemoryGeometry(double_buffered=True, overlapped=True, operands=(OperandName.LEFT, OperandName.OUT))
    levels = data.draw(st.sampled_from([(), (inner,)]))
    array = replace(arrays[0], count=1) if levels else data.draw(st.sampled_from(arrays))
    geometry = Geometry(array, double_buffered=data.draw(st.booleans()), inner=levels)
    frontier = matmul_frontier(p, geometry)
    rows = frontier.counts.matrix()
    for i in data.draw(st.sets(st.integers(0, len(frontier) - 1), max_size=10)):
        document = parse_yaml(mapping_text(p, geometry, frontier.mappings[i]), "mapping.yaml")
        again = read_mapping(document, validate(document, MappingFile), p, geometry)
        assert again == frontier.mappings[i]
        assert np.array_equal(counts_of_mapping(p, geometry, again)[1].matrix()[0], rows[i])
