"""The share of masked scores that is computed, against blocks counted one by one, and what it does to a price."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.ir.lowering import Masked, Part, Phase
from dse.schedule.masks import banded_share
from dse.single import evaluate_single
from dse.workload import WorkloadOptions

PREFILL = {"model": "deepseek_v3", "phase": Phase.PREFILL, "part": Part.ATTENTION}


@dataclass(frozen=True)
class Band:
    """Keys [first, last) that each query sees."""

    rows: tuple[tuple[int, int], ...]
    keys: int
    causal: bool

    @property
    def visible(self) -> float:
        """Share of the rectangle that is seen."""
        return sum(last - first for first, last in self.rows) / (len(self.rows) * self.keys)

    def touched(self, q: int, c: int) -> float:
        """Share in blocks of q queries by c keys that hold a visible score."""
        found = 0
        for start in range(0, len(self.rows), q):
            block = self.rows[start : start + q]
            seen = {b for first, last in block for b in range(first // c, (last - 1) // c + 1)}
            found += len(block) * sum(min(c, self.keys - b * c) for b in seen)
        return found / (len(self.rows) * self.keys)


@st.composite
def bands(draw: st.DrawFn) -> Band:
    """A causal, sliding or chunked mask over a cache that may be older than the queries."""
    queries, past, size = draw(st.integers(1, 60)), draw(st.integers(0, 80)), draw(st.integers(1, 40))
    first = draw(st.sampled_from([lambda p: 0, lambda p: max(0, p - size + 1), lambda p: p // size * size]))
    rows = [(first(p), p + 1) for p in range(past, past + queries)]
    base = min(low for low, _ in rows)
    return Band(tuple((low - base, high - base) for low, high in rows), past + queries - base, base == 0 and rows[-1][0] == 0)


@given(bands(), st.integers(1, 16), st.integers(1, 16))
def test_share_of_a_band_in_whole_blocks(band: Band, q: int, c: int) -> None:
    """Never below what is visible; above what blocks hold for causal masks, within the stated distance for others."""
    found, true = banded_share(band.visible, band.keys, q + c - 2), band.touched(q, c)
    assert found >= band.visible - 1e-12
    if band.causal:
        assert true <= found + 1e-12
    assert abs(true - found) <= 2 * (q + c - 2) / band.keys + 1e-12


@pytest.mark.parametrize("schedule", ["fused", "layer_by_layer"])
def test_skipping_masked_scores_saves_time_and_energy(schedule: str) -> None:
    """Prefill of 2,048 tokens: between half and all of the scores' work, never below the roofline of visible scores."""
    skipped, computed = (
        evaluate_single(WorkloadOptions(**PREFILL, query_len=2048, cache_len=2048, masked=m), "flat_cloud", schedule=schedule)  # type: ignore[arg-type]
        for m in Masked
    )
    assert skipped.roofline.cycles < computed.roofline.cycles
    assert skipped.roofline.cycles <= skipped.latency_s * skipped.clock_hz * (1 + 1e-12)
    assert skipped.latency_s < computed.latency_s
    assert skipped.energy_j < computed.energy_j


def test_decode_of_one_token_has_nothing_to_skip() -> None:
    """The same figures, whatever is asked of masks."""
    options = {"model": "deepseek_v3", "part": Part.ATTENTION, "cache_len": 1000}
    found = [evaluate_single(WorkloadOptions(**options, masked=m), "flat_cloud") for m in Masked]  # type: ignore[arg-type]
    assert found[0].to_json_dict() == found[1].to_json_dict()
