"""Figures of no machine are refused where they come in, from files, settings and columns of tables."""

from __future__ import annotations

import pytest

from dse.errors import UsageError
from dse.plugins import load_accelerator


@pytest.mark.parametrize("value", [1e-31, 1e31, 1e300])
@pytest.mark.parametrize("path", ["clock_mhz", "memories.glb.capacity_kib", "memories.dram.latency_ns", "leakage_w"])
def test_figures_of_no_machine(path: str, value: float) -> None:
    chip = load_accelerator("edge32")
    with pytest.raises(UsageError, match=r"must be between 1e-30 and 1e\+30"):
        chip.with_overrides({path: value})
    with pytest.raises(UsageError, match=r"must be between 1e-30 and 1e\+30"):
        chip.table({path: [1.0, value]})


def test_extremes_are_taken() -> None:
    chip = load_accelerator("edge32")
    assert chip.table({"clock_mhz": [1e-30, 1e30], "leakage_w": [0.0, 1.0]}).size == 2


def test_counts_of_no_machine() -> None:
    with pytest.raises(UsageError, match="must be at most 2147483647"):
        load_accelerator("edge32").with_overrides({"core.array.rows": 2**31})
