"""Attention on the two-level machine: buffer elements against DRAM elements, fused and unfused.

N_q query rows against N_k keys, widths E (query, key) and F (value); softmax statistics neglected unless asked for. Sources: FlashAttention
(NeurIPS 2022) and FlashAttention-2 orders, FLAT (ASPLOS 2023), AccelForge 1.0.467 for the unfused and query-stationary
points; formulas of T and need:

    query stationary, B rows:  need B (E + F) + 2 B c,         T = N_q (E + F) + ceil(N_q / B) N_k W, c keys at a time
    key stationary, B keys:    need B W + E + F + 2,           T = N_k W + t N_q E + (2 t - 1) N_q F, t = ceil(N_k / B)
    whole rows (FLAT):         need B (E + F) + B N_k + max(E, F), T as query stationary
    statistics of rows:        2 more per row held, and 2 (2 t - 1) N_q more moved where keys stay (written out at the end as well)
    unfused:                   the two products one after the other, and the scores out and in again for the softmax
    mixed:                     the same with the softmax folded into one of the products

W = E + F, or E where the values are a slice of the keys. Worked number (tested): 64 x 64 x 16 x 16 moves 34,816 elements
with 136, 18,432 with 272 and 4,096 with 2,082.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from dse.errors import UsageError
from dse.mapping.tiles import all_sides
from dse.mapping.two_level import gemm_frontier, staircase

if TYPE_CHECKING:
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AttentionShape:
    """Attention of `heads` heads; with `shared_kv` all heads meet the same keys and values (absorbed MLA, multi-query)."""

    heads: int
    queries: int
    keys: int
    qk: int
    v: int
    shared_kv: bool = False
    alias_v: bool = False
    """Values are the first `v` columns of the keys."""
    columns: int = 1
    """Keys that meet a block of queries at a time: 1 on a scalar machine, the width of the array on a spatial one."""
    statistics: bool = False
    """Count the maximum and the sum that online softmax keeps for each row."""

    def __post_init__(self) -> None:
        """Check sizes.

        Raises:
            UsageError: a size below 1, or an alias wider than the keys.
        """
        for name in ("heads", "queries", "keys", "qk", "v", "columns"):
            if getattr(self, name) < 1:
                raise UsageError(f"attention: {name} = {getattr(self, name)}; give a whole number of at least 1")
        if self.alias_v and self.v > self.qk:
            raise UsageError(f"attention: alias_v needs v <= qk, given v = {self.v} and qk = {self.qk}")

    @property
    def problems(self) -> int:
        """Independent problems: heads, or 1 where they share keys and values."""
        return 1 if self.shared_kv else self.heads

    @property
    def rows(self) -> int:
        """Query rows of one problem."""
        return self.queries * (self.heads if self.shared_kv else 1)

    @property
    def statistics_per_row(self) -> int:
        """Elements kept for each row: maximum and sum, where they are counted."""
        return 2 if self.statistics else 0

    @property
    def key_width(self) -> int:
        """Elements per key and value together."""
        return self.qk if self.alias_v else self.qk + self.v


@dataclass(frozen=True, slots=True)
class AttentionPoint:
    """One point of the frontier, in elements; `block` is rows or keys per block, 0 where the form has none."""

    footprint_elements: int
    dram_elements: int
    form: str
    block: int


class Form(StrEnum):
    """What happens to the scores."""

    FUSED = "fused"
    """They never leave the chip: the least of query stationary, key stationary and whole rows."""
    UNFUSED = "unfused"
    """Written, read by the softmax, written, read again."""
    MIXED = "mixed"
    """Written once and read once: the softmax is folded into one of the products."""
    BEST = "best"
    """The least of all of these."""


def attention_frontier(shape: AttentionShape, form: Form) -> tuple[AttentionPoint, ...]:
    """Pareto points, ascending in footprint; all heads, the buffer of one problem at a time."""
    points: list[AttentionPoint] = []
    if form in (Form.UNFUSED, Form.BEST):
        points += _unfused(shape, "unfused", passes=2)
    if form in (Form.MIXED, Form.BEST):
        points += _unfused(shape, "mixed", passes=0)
    if form in (Form.FUSED, Form.BEST):
        points += [*_query_stationary(shape), *_key_stationary(shape), *_whole_rows(shape)]
    need = np.array([p.footprint_elements for p in points])
    moved = np.array([p.dram_elements for p in points])
    return tuple(points[i] for i in staircase(need, moved))


def _query_stationary(shape: AttentionShape) -> list[AttentionPoint]:
    per_row = shape.qk + shape.v + 2 * min(shape.columns, shape.keys) + shape.statistics_per_row
    return [AttentionPoint(b * per_row, _moved_by_rows(shape, b), "query_stationary", b) for b in all_sides(shape.rows, 1).side.tolist()]


def _whole_rows(shape: AttentionShape) -> list[AttentionPoint]:
    """Rows of scores are kept whole, so softmax needs no statistics that are put right later (FLAT)."""
    per_row, besides = shape.qk + shape.v + shape.keys, max(shape.qk, shape.v)
    return [
        AttentionPoint(b * per_row + besides, _moved_by_rows(shape, b), "whole_rows", b) for b in all_sides(shape.rows, 1).side.tolist()
    ]


def _moved_by_rows(shape: AttentionShape, block: int) -> int:
    """Queries and results once, keys and values once for every block of rows."""
    once = shape.rows * (shape.qk + shape.v)
    return shape.problems * (once + -(-shape.rows // block) * shape.keys * shape.key_width)


def _key_stationary(shape: AttentionShape) -> list[AttentionPoint]:
    points = []
    for b in all_sides(shape.keys, 1).side.tolist():
        t = -(-shape.keys // b)
        again = (2 * t - 1) * shape.rows
        moved = shape.keys * shape.key_width + t * shape.rows * shape.qk + again * (shape.v + shape.statistics_per_row)
        need = b * shape.key_width + shape.qk + shape.v + 2 + shape.statistics_per_row
        points.append(AttentionPoint(need, shape.problems * moved, "key_stationary", b))
    return points


def _unfused(shape: AttentionShape, form: str, *, passes: int) -> list[AttentionPoint]:
    """Score product, `passes` crossings of the scores for the softmax, context product; each at its best for the buffer."""
    score = gemm_frontier(shape.rows, shape.qk, shape.keys)
    context = gemm_frontier(shape.rows, shape.keys, shape.v)
    softmax = passes * shape.rows * shape.keys
    needs = np.array(sorted({p.footprint_elements for p in (*score, *context)}))
    moved = np.full(len(needs), softmax)
    fits = np.ones(len(needs), dtype=np.bool_)
    for front in (score, context):
        last = np.searchsorted([p.footprint_elements for p in front], needs, side="right") - 1
        fits &= last >= 0
        moved += np.array([p.dram_elements for p in front])[last]
    kept = zip(needs[fits].tolist(), moved[fits].tolist(), strict=True)
    return [AttentionPoint(need, shape.problems * elements, form, 0) for need, elements in kept]
