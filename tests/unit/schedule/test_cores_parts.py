"""What travels between parts of operators on different cores."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper

from dse.ir.graph import OperatorGraph
from dse.ir.onnx_read import read_onnx
from dse.ir.operator import Kind
from dse.schedule.cores.parts import Division, Move, moves, part_of


def test_a_reader_that_divides_alike_needs_nothing() -> None:
    same = Division("rows", (0, 1))
    assert moves(100.0, frozenset({"rows"}), same, same) == ()


def test_a_reader_that_needs_all_gets_a_multicast_of_each_piece() -> None:
    found = moves(100.0, frozenset({"rows"}), Division("rows", (0, 1)), Division("columns", (0, 1)))
    assert found == (Move(0, (1,), 50.0), Move(1, (0,), 50.0))


def test_what_comes_from_outside_is_read_once_for_all() -> None:
    assert moves(8.0, frozenset({"k"}), None, Division("rows", (0, 1, 2))) == (Move(None, (0, 1, 2), 8.0),)
    assert moves(9.0, frozenset({"rows"}), None, Division("rows", (0, 1, 2))) == tuple(Move(None, (c,), 3.0) for c in range(3))


def test_two_parts_to_three_overlap_by_ranges() -> None:
    found = moves(6.0, frozenset({"rows"}), Division("rows", (0, 1)), Division("rows", (0, 1, 2)))
    # Ranges of two: [0, 3) and [3, 6); of three: [0, 2), [2, 4), [4, 6).
    assert [(m.source, m.targets) for m in found] == [(0, (1,)), (1, (2,))]
    assert [m.size_bytes for m in found] == [pytest.approx(1.0), pytest.approx(2.0)]


def test_sums_lie_on_the_first_core() -> None:
    found = moves(10.0, frozenset({"rows"}), Division("k", (3, 4), reduces=True), Division("rows", (3, 4)))
    assert found == (Move(3, (4,), 5.0),)


@given(st.integers(1, 6), st.integers(1, 6), st.booleans(), st.booleans())
def test_every_reader_gets_all_it_reads(holders: int, readers: int, same_stream: bool, indexed: bool) -> None:
    holder = Division("a" if holders > 1 else None, tuple(range(holders)))
    reader = Division("a" if same_stream else "b", tuple(range(10, 10 + readers)))  # other cores: nothing is there already
    axes = frozenset({"a", "b"}) if indexed else frozenset({"a"})
    found = moves(1.0, axes, holder, reader)
    received = {c: sum(m.size_bytes for m in found if c in m.targets) for c in reader.cores}
    own = 1.0 / readers if reader.stream in axes else 1.0
    assert all(amount == pytest.approx(own) for amount in received.values())


@given(st.integers(2, 40), st.integers(1, 5), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.data())
def test_parts_of_a_convolution_read_the_rows_at_their_edges(
    rows: int, kernel: int, stride: int, dilation: int, pad: int, data: st.DataObject
) -> None:
    """Rows that a range of outputs reads, counted one by one: the largest part reads no more than is charged, and no part reads so little
    that more than padding is charged too much."""
    outputs = (rows + 2 * pad - (kernel - 1) * dilation - 1) // stride + 1
    if outputs < 2:
        return
    graph = convolution(rows, kernel, stride, dilation, pad)
    operator = next(o for o in graph.operators if o.kind is Kind.CONTRACTION)
    indices = data.draw(st.integers(1, outputs))
    part = part_of(operator, "o0", indices)
    whole = operator.inputs[0].elements

    def touched(first: int, count: int) -> int:
        found = {o * stride + t * dilation - pad for o in range(first, first + count) for t in range(kernel)}
        return sum(0 <= p < rows for p in found)

    most = max(touched(first, indices) for first in range(outputs - indices + 1))
    charged = part.inputs[0].elements / whole * touched(0, outputs)
    assert charged >= most - 1e-9 or (dilation > 1 and kernel > 1) or stride > kernel
    if dilation == 1 and stride <= kernel:
        assert charged <= most + 2 * pad + 1e-9


def convolution(rows: int, kernel: int, stride: int, dilation: int, pad: int) -> OperatorGraph:
    """Windows along rows alone."""
    inputs = [helper.make_tensor_value_info(n, 1, s) for n, s in (("x", [1, 2, rows, 1]), ("w", [2, 2, kernel, 1]))]
    options = {"strides": [stride, 1], "dilations": [dilation, 1], "pads": [pad, 0, pad, 0]}
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv", **options)
    outputs = (rows + 2 * pad - (kernel - 1) * dilation - 1) // stride + 1
    graph = helper.make_graph([node], "conv", inputs, [helper.make_tensor_value_info("y", 1, [1, 2, outputs, 1])])
    return read_onnx(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), name="conv")


def test_halos_are_loaded_by_both_neighbours() -> None:
    """64 rows of two channels, 32 to a core: 32 and a row at either edge are charged to each."""
    operator = next(o for o in convolution(64, 3, 1, 1, 1).operators if o.kind is Kind.CONTRACTION)
    half = part_of(operator, "o0", 32)
    assert half.inputs[0].elements == 2 * 34
    assert half.inputs[1].elements == operator.inputs[1].elements
    assert half.outputs[0].elements == 2 * 32
