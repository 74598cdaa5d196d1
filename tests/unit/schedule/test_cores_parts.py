"""What travels between parts of operators on different cores."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.schedule.cores.parts import Division, Move, moves


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
