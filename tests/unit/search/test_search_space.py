"""The space: indices, columns, the even walk."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.search.space import Space, digits_of, spread_order
from tests.search_fakes import SPACE


def test_sizes_by_hand() -> None:
    assert SPACE.outer_size == 5 * 3 * 4
    assert SPACE.inner_size == 4 * 5
    assert SPACE.size == 1200


def test_the_last_dimension_runs_fastest() -> None:
    assert SPACE.choice(0) == {"core.array.rows": 8, "workload.attention": "plain", "workload.batch": 1}
    assert SPACE.choice(1)["workload.batch"] == 2
    assert SPACE.choice(4)["workload.attention"] == "reuse"
    assert SPACE.choice(12)["core.array.rows"] == 16


@given(st.integers(0, SPACE.outer_size - 1))
def test_outer_index_is_the_inverse_of_digits(index: int) -> None:
    assert SPACE.outer_index(digits_of(SPACE.outer, index)) == index


def test_columns_agree_with_parameters() -> None:
    indices = np.arange(SPACE.inner_size)
    columns = SPACE.columns(indices)
    for i in indices:
        inner = SPACE.parameters(0, int(i))
        assert all(columns[d.path][i] == inner[d.path] for d in SPACE.inner)


@given(st.integers(1, 3000))
def test_the_even_walk_visits_every_index_once(size: int) -> None:
    start, step = spread_order(size)
    assert {(start + i * step) % size for i in range(size)} == set(range(size))


@pytest.mark.parametrize("size", [50, 1000])
def test_the_even_walk_covers_the_range_from_the_start(size: int) -> None:
    start, step = spread_order(size)
    first = sorted((start + i * step) % size for i in range(8))
    assert max(b - a for a, b in zip(first, [*first[1:], size], strict=True)) <= size * 0.3


def test_a_space_without_inner_dimensions_has_one_inner_point() -> None:
    space = Space(SPACE.outer, ())
    assert space.inner_size == 1
    assert space.columns(np.array([0])) == {}
