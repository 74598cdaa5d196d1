"""How fast plans for many cores are made."""

from __future__ import annotations

import pytest

from tests.benchmark.many_core_growth import planned

pytestmark = pytest.mark.benchmark


def test_two_hundred_operators_on_36_cores() -> None:
    planned(1, 2)
    seconds, found = planned(34, 6)
    print(f"204 operators on 36 cores: {seconds:.1f} s (CPU), {found.trials} assignments, {found.gap:.1%} above the bound")
    assert seconds < 10.0
