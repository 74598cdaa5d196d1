"""One placed operator with one of its mappings, taken apart: what each slice does, and which loads may run ahead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.columns import BUFFER_READ, BUFFER_WRITE, DRAM_READ
from dse.cost.window_table import PlacedRow
from dse.hw.accelerator import Dataflow, Folds
from dse.mapping.matmul import Stationary, fill_and_drain_cycles
from dse.mapping.problem import MatmulProblem

if TYPE_CHECKING:
    from dse.cost.frontier_pricing import OperatorPricer
    from dse.hw.accelerator import Geometry
    from dse.mapping.frontier import MatmulMapping
    from dse.schedule.place import PlacedOperator, Transfer
    from dse.schedule.plan import PlanBook
    from dse.schedule.segments import Segment


ROUNDING: Final = 1e-9
"""Relative difference between sums of the same bytes added up in two orders."""


class RowMaker:
    """Takes the rows of one part apart, each once."""

    def __init__(self, book: PlanBook, geometry: Geometry) -> None:
        self._geometry = geometry
        self._builder = book.builder
        self._storage_of = {name: tensor.storage for name, tensor in book.graph.tensors.items()}
        self._early = {name: self._early_share(name) for name in book.builder.storages}
        self._made: dict[tuple[str, OperatorPricer, int, bool], PlacedRow] = {}

    def _early_share(self, storage: str) -> float:
        """Share of a storage that is in DRAM before the graph starts: all of an input that nothing writes, of a cache the part
        that is not appended, nothing of an intermediate."""
        found = self._builder.storages[storage]
        if not found.from_outside or not found.size_bytes:
            return 0.0
        accesses = self._builder.accesses
        written = sum(a.size_bytes for p in found.writers for a in accesses[p] if a.storage == storage and not a.reads)
        return max(0.0, 1.0 - written / found.size_bytes)

    def row(self, operator: PlacedOperator, pricer: OperatorPricer, segment: Segment, row: int, *, staged: bool) -> PlacedRow:
        """`operator` with mapping `row` of its frontier; `staged`: what the mapping passes straight from DRAM to the array goes
        through the buffer, so that it may be loaded ahead."""
        key = (operator.name, pricer, row, staged)
        if key not in self._made:
            self._made[key] = self._make(operator, pricer, segment, row, staged=staged)
        return self._made[key]

    def _make(self, operator: PlacedOperator, pricer: OperatorPricer, segment: Segment, row: int, *, staged: bool) -> PlacedRow:
        work, slices = operator.work, operator.work.slices
        counts = pricer.counts[row, 1:].copy()
        whole = [t for t in operator.fills if not self._sliced(t, segment)]
        once = np.zeros_like(counts)
        once[[DRAM_READ, BUFFER_WRITE]] = sum(t.size_bytes for t in whole)
        problem = work.problem
        mapping = pricer.mappings[row] if isinstance(problem, MatmulProblem) else None
        kept, passed = self._streams(operator, mapping)
        if staged and not sum(passed):
            return self.row(operator, pricer, segment, row, staged=False)
        if staged:
            counts[[BUFFER_READ, BUFFER_WRITE]] += sum(passed) * slices
            kept += sum(passed)
        read = (counts[DRAM_READ] - work.fill_bytes) / slices
        assert kept <= read * (1 + ROUNDING), f"{operator.name}: {kept} of {read} bytes could be loaded ahead"
        fills = sum(self._early[t.tensor] * t.size_bytes for t in operator.fills if self._sliced(t, segment))
        return PlacedRow(
            name=operator.name,
            slices=slices,
            per_slice=(counts - once) / slices,
            once=once,
            stream_per_slice=min(kept, read) + fills / slices,
            stream_once=sum(self._early[t.tensor] * t.size_bytes for t in whole),
            footprint_bytes=float(pricer.counts[row, 0]),
            inner_bytes=tuple(float(x) for x in pricer.inner_footprint_bytes[row]),
            vector_ops_per_slice=work.vector_ops / slices,
            ramp_cycles=0.0 if mapping is None else self._ramp(mapping),
            launches=work.launches,
            touches_dram=work.touches_dram,
            staged_bytes=tuple(slices * p for p in passed) if staged else (),
        )

    def _sliced(self, transfer: Transfer, segment: Segment) -> bool:
        return any(c.stream in self._builder.storages[transfer.tensor].streams for c in segment.cuts)

    def _ramp(self, mapping: MatmulMapping) -> float:
        if self._geometry.array.folds is not Folds.PIPELINED:
            return 0.0
        weights = mapping.dataflow is not Dataflow.OUTPUT_STATIONARY
        return float(fill_and_drain_cycles(mapping.used(self._geometry).array, weights=weights))

    def _streams(self, operator: PlacedOperator, mapping: MatmulMapping | None) -> tuple[float, tuple[float, ...]]:
        """DRAM bytes that one slice reads of what is there early: through the buffer, and past it by input (each byte's first time)."""
        problem = operator.work.problem
        early = [self._early[self._storage_of[p.tensor]] for p in operator.inputs]
        if mapping is None:
            return sum(e * p.size_bytes for e, p in zip(early, operator.inputs, strict=True) if not p.on_chip), ()
        assert isinstance(problem, MatmulProblem)
        left = early[0] * problem.left_bytes * (not problem.left_on_chip)
        right = early[1] * problem.right_bytes * (not problem.right_on_chip)
        again = _reads(problem, mapping)
        kept = left * again[0] * mapping.kept.left + right * again[1] * mapping.kept.right
        return kept, (left * (not mapping.kept.left), right * (not mapping.kept.right))


def _reads(problem: MatmulProblem, mapping: MatmulMapping) -> tuple[int, int]:
    """How often kept tiles bring in each element of left and right: once where they stay while the other dimension runs."""
    left = 1 if mapping.stationary is Stationary.LEFT else -(-problem.n // mapping.tile_n)
    right = 1 if mapping.stationary is Stationary.RIGHT else -(-problem.m // mapping.tile_m)
    return left, right
