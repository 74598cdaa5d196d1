"""Loads of experts against closed forms and against brute force over tokens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.errors import UsageError
from dse.ir.expert_load import UNIFORM, LoadKind, Routing, expected_active, expected_max_load, expert_rows, sampled_rows, shares
from dse.routing import read_routing

ZIPF = Routing(LoadKind.ZIPF, skew=0.8)


DRAWN = [kind for kind in LoadKind if kind is not LoadKind.LOADS]


@given(st.integers(1, 64), st.integers(1, 10**7), st.floats(0, 8), st.sampled_from(DRAWN), st.none() | st.integers(0, 2**32), st.data())
def test_rows_add_up(experts: int, tokens: int, skew: float, kind: LoadKind, seed: int | None, data: st.DataObject):
    k = data.draw(st.integers(1, experts))
    routing = Routing(kind, skew=skew, counts=tuple(range(1, experts + 1)), seed=seed)
    assert shares(routing, experts, k).sum() == pytest.approx(k)
    rows = expert_rows(routing, experts, k, tokens)
    assert sum(rows) == tokens * k
    assert 1 <= rows[-1] <= rows[0] <= tokens
    assert len(rows) <= experts


def test_shares_by_hand():
    """Popularities 3, 1, 1, 1 and k = 2: the first is capped at 1, the others share the second expert of each token."""
    found = shares(Routing(LoadKind.HISTOGRAM, counts=(3, 1, 1, 1)), 4, 2)
    assert found == pytest.approx([1, 1 / 3, 1 / 3, 1 / 3])


def test_uniform_against_brute_force():
    """512 tokens that choose 4 of 32 experts, 300 times: distinct experts for 8 tokens, and the largest load."""
    rng = np.random.default_rng(0)
    chosen = np.argsort(rng.random((300, 512, 32)), axis=2)[:, :, :4]
    largest = np.mean([np.bincount(c.ravel(), minlength=32).max() for c in chosen])
    distinct = np.mean([len(np.unique(c[:8])) for c in chosen])
    assert expected_active(UNIFORM, 32, 4, 8) == pytest.approx(distinct, rel=0.01)
    assert expected_max_load(UNIFORM, 32, 4, 512) == pytest.approx(largest, rel=0.01)
    drawn = np.mean([sampled_rows(UNIFORM, 32, 4, 512, seed=s).max() for s in range(300)])
    assert drawn == pytest.approx(largest, rel=0.01)


def test_loads_of_this_step_are_taken_as_they_are():
    """Three tokens that choose two of four experts: loads 3, 2, 1, 0, whatever the seed."""
    routing = Routing(LoadKind.LOADS, counts=(1, 3, 0, 2), seed=7)
    assert expert_rows(routing, 4, 2, 3) == (3, 2, 1)
    assert list(sampled_rows(routing, 4, 2, 3, seed=1)) == [1, 3, 0, 2]
    assert shares(routing, 4, 2) == pytest.approx([1 / 3, 1, 0, 2 / 3])
    assert expected_active(routing, 4, 2, 3) == 3
    assert expected_max_load(routing, 4, 2, 3) == 3
    with pytest.raises(UsageError, match="loads sum to 6, this step has 4 tokens times 2 experts = 8"):
        expert_rows(routing, 4, 2, 4)
    with pytest.raises(UsageError, match="a token uses 2 different experts"):
        shares(Routing(LoadKind.LOADS, counts=(5, 1, 0, 0)), 4, 2)
    with pytest.raises(UsageError, match="give whole numbers"):
        Routing(LoadKind.LOADS, counts=(1.5, 1, 0, 0))


def test_draws_have_the_expected_mean_and_repeat():
    mean = np.mean([sampled_rows(ZIPF, 32, 4, 200, seed=s) for s in range(400)], axis=0)
    assert mean == pytest.approx(200 * shares(ZIPF, 32, 4), abs=2.0)
    assert (sampled_rows(ZIPF, 32, 4, 200, seed=5) == sampled_rows(ZIPF, 32, 4, 200, seed=5)).all()


@pytest.mark.parametrize("text", ["zipf", "zipf:x", "zipf:-1", "zipf:nan", "uniform:2", "ziph:1", "histogram", ""])
def test_bad_routing(text: str):
    with pytest.raises(UsageError):
        read_routing(text)
