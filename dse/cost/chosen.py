"""The mappings that one design point takes, operator by operator, with the time that each accounts for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.cost.columns import busy_latency_s, pj_per_count
from dse.cost.combination_pricing import rates
from dse.cost.frontier_pricing import DRAM_READ
from dse.units import JOULES_PER_PJ

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.cost.combinations import Combinations
    from dse.cost.frontier_pricing import OperatorPricer
    from dse.cost.metrics import Objective
    from dse.cost.window_table import Piece
    from dse.cost.workload_pricing import CompiledPart, PartPrices
    from dse.hw.accelerator import Geometry
    from dse.hw.table import DesignTable
    from dse.schedule.place import PlacedOperator

    FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Chosen:
    """One operator as one design point runs it, one run of its part."""

    operator: PlacedOperator
    pricer: OperatorPricer
    row: int
    """Row of the operator's frontier."""
    counts: FloatArray
    """[C] with the columns of `dse.cost.columns`."""
    staged_bytes: tuple[float, ...]
    """Of each input: bytes that pass through the buffer so that they may be loaded ahead, where the mapping passes them by."""
    latency_s: float
    """Its part of the time of the step."""
    energy_j: float
    overhead_s: float


def chosen_operators(
    part: CompiledPart, prices: PartPrices, table: DesignTable, objective: Objective, weight: FloatArray | None
) -> list[Chosen]:
    """The operators of the plan that the only point of `table` takes, in order; `prices` are those of `price_part`."""
    plan = part.plans[int(prices.plan[0])]
    number = int(prices.combination[0])
    if number >= 0:
        assert part.combinations is not None
        return _of_combination(part, part.combinations, number, table)
    found = []
    for operator, pricer in zip(plan.operators, plan.pricers, strict=True):
        priced = pricer.price(table, objective, weight)
        row = int(priced.row[0])
        overhead = float(pricer.overhead_s(table, slice(0, 1))[0])
        latency, energy = float(priced.latency_s[0]), float(priced.energy_j[0])
        found.append(Chosen(operator, pricer, row, pricer.counts[row, DRAM_READ:], (), latency, energy, overhead))
    return found


def _of_combination(part: CompiledPart, combinations: Combinations, number: int, table: DesignTable) -> list[Chosen]:
    """A window's time goes to its operators in proportion to what each would take alone."""
    member = combinations.members[number]
    plan = part.plans[member.plan]
    geometry = plan.pricers[0].geometry
    times, _ = combinations.table.window_times_s(rates(geometry, table))
    latency = np.zeros(len(plan.operators))
    for time, window, pieces in zip(times[number, :, 0], member.windows, member.pieces, strict=False):
        alone = alone_s(pieces, geometry, table)
        total = alone.sum()
        parts = alone / total if total > 0.0 else np.full(len(pieces), 1.0 / len(pieces))
        for share, piece_part in zip(window.shares, parts, strict=True):
            latency[share.operator] += time * piece_part
    pj = pj_per_count(geometry, table)[:, 0]
    found = []
    for i, (operator, pricer, placed) in enumerate(zip(plan.operators, plan.pricers, member.placed, strict=True)):
        work = operator.work
        counts = placed.slices * placed.per_slice + placed.once
        compute = work.vector_ops * float(table.vector_pj_per_op[0])
        if work.dtype is not None:
            compute += work.macs * float(table.mac_pj[work.dtype][0])
        energy = (float(counts @ pj) + compute) * JOULES_PER_PJ + float(table.leakage_w[0]) * latency[i]
        overhead = float(pricer.overhead_s(table, slice(0, 1))[0])
        found.append(Chosen(operator, pricer, member.rows[i], counts, placed.staged_bytes, float(latency[i]), energy, overhead))
    return found


def alone_s(pieces: tuple[Piece, ...], geometry: Geometry, table: DesignTable) -> FloatArray:
    """Seconds that each piece would take alone, at the first point of `table`."""
    point = rates(geometry, table).at(slice(0, 1))
    counts = np.stack([p.counts for p in pieces])
    vector = np.outer([p.slices * p.row.vector_ops_per_slice for p in pieces], point.vector_s_per_op)
    return busy_latency_s(geometry, counts, point.seconds, vector)[:, 0]
