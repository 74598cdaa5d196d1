"""Combinations: a plan with one mapping for each operator, run in windows that overlap what is independent; some tens per part."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.columns import ARRAY, BUFFER_READ, BUFFER_WRITE, DRAM_READ, DRAM_WRITE
from dse.cost.needed import needed
from dse.cost.placed_rows import RowMaker
from dse.cost.row_choice import RowChoices, RowChooser
from dse.cost.window_table import Piece, WindowTable, costed_window
from dse.schedule.rounds import forms, placed_segments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.cost.frontier_pricing import OperatorPricer
    from dse.cost.window_table import CostedWindow, PlacedRow
    from dse.cost.workload_pricing import CompiledPlan
    from dse.hw.accelerator import Geometry
    from dse.schedule.again import Again
    from dse.schedule.plan import PlanBook
    from dse.schedule.rounds import Window

    FloatArray = NDArray[np.float64]

BALANCES_MACS_PER_BYTE: Final = (16.0, 64.0, 256.0, 1024.0)
"""Array peak over DRAM rate for which they are made: from memory-rich edge chips to twice the ends of today's."""


@dataclass(frozen=True, slots=True)
class Combination:
    """One plan with its mappings and windows."""

    plan: int
    """Its number among the plans of the part."""
    rows: tuple[int, ...]
    """Row of each operator's frontier."""
    placed: tuple[PlacedRow, ...]
    """Each operator with its row."""
    windows: tuple[Window, ...]
    pieces: tuple[tuple[Piece, ...], ...]
    """By window."""
    costed: tuple[CostedWindow, ...]
    vector_ops: float


@dataclass(frozen=True)
class Combinations:
    """The combinations of a part, priced together."""

    members: tuple[Combination, ...]
    table: WindowTable
    macs: tuple[tuple[str, FloatArray], ...]
    """Multiply-accumulates by data type, [N] each."""

    @cached_property
    def vector_ops(self) -> FloatArray:
        """[N]."""
        return np.array([m.vector_ops for m in self.members])


def make_combinations(book: PlanBook, plans: Sequence[CompiledPlan], geometry: Geometry) -> Combinations | None:
    """Combinations for every plan, way to run it and reference balance; those kept that some reference point needs.

    None where transfers do not overlap with compute.
    """
    if not geometry.overlapped:
        return None
    weights = _weights(geometry)
    made: dict[tuple[object, ...], Combination] = {}
    makers: dict[Again | None, RowMaker] = {}
    choosers: dict[OperatorPricer, RowChooser] = {}
    costed: dict[tuple[object, ...], CostedWindow] = {}
    for number, plan in enumerate(plans):
        chosen = [_chooser(p, weights, choosers) for p in plan.pricers]
        again = plan.plan.again
        if again not in makers:
            makers[again] = RowMaker(book if again is None else book.of(plan.plan), geometry)
        maker = makers[again]
        segments = [s.segment for s in placed_segments(plan.plan) for _ in s.operators]
        operators = list(zip(plan.operators, plan.pricers, segments, strict=True))
        for at, form in enumerate(forms(book, plan.plan, plan.operators)):
            room = RowChoices(form, chosen)
            for rows, staged in product(room.every(len(weights)), (False, True)):
                placed = tuple(maker.row(*o, r, staged=staged) for o, r in zip(operators, rows, strict=True))
                key = (number, at, *map(id, placed))
                if key not in made:
                    sequence = _sequence(form, room.held_bytes, placed, geometry, costed)
                    vector_ops = sum(p.work.vector_ops for p in plan.pricers)
                    made[key] = Combination(number, rows, placed, form, *sequence, vector_ops)
    members = tuple(made.values())
    if not members:
        return None
    table = WindowTable([m.costed for m in members], geometry)
    members = tuple(members[i] for i in needed(table, geometry))
    return Combinations(members, WindowTable([m.costed for m in members], geometry), _macs(members, plans))


def _macs(members: Sequence[Combination], plans: Sequence[CompiledPlan]) -> tuple[tuple[str, FloatArray], ...]:
    """Multiply-accumulates of the members by data type; plans that form something again do more than others."""
    of_plan: dict[str, FloatArray] = {}
    for number in sorted({m.plan for m in members}):
        for p in plans[number].pricers:
            if p.work.dtype is not None:
                of_plan.setdefault(p.work.dtype, np.zeros(len(plans)))[number] += p.work.macs
    which = np.array([m.plan for m in members])
    return tuple((dtype, macs[which]) for dtype, macs in sorted(of_plan.items()))


def _chooser(pricer: OperatorPricer, weights: FloatArray, made: dict[OperatorPricer, RowChooser]) -> RowChooser:
    if pricer not in made:
        made[pricer] = RowChooser(pricer, weights)
    return made[pricer]


def _sequence(
    form: Sequence[Window],
    held_bytes: Sequence[float],
    placed: Sequence[PlacedRow],
    geometry: Geometry,
    costed: dict[tuple[object, ...], CostedWindow],
) -> tuple[tuple[tuple[Piece, ...], ...], tuple[CostedWindow, ...]]:
    """What runs in each window, and what it does; windows that were met before are not counted again."""
    sequence, every = [], []
    for w, held in zip(form, held_bytes, strict=True):
        key = (w.together, w.runs, held, *((id(placed[s.operator]), s.slices, s.first) for s in w.shares))
        pieces = tuple(Piece(placed[s.operator], s.slices, s.first) for s in w.shares)
        if key not in costed:
            costed[key] = costed_window(pieces, held, w.runs, geometry, together=w.together)
        sequence.append(costed[key])
        every.append(pieces)
    return tuple(every), tuple(sequence)


def _weights(geometry: Geometry) -> FloatArray:
    """Cycles that a count of each column is taken to be worth when rows are chosen, [K, C]."""
    elements = geometry.array.elements
    columns = ARRAY + 1 + 2 * len(geometry.inner)
    found = []
    for array, balance, buffer in (
        (1.0, 1024.0 / 64, 0.5),
        (0.01, 128.0, 0.05),
        *((1.0, b, 1.0) for b in BALANCES_MACS_PER_BYTE),
        (1.0, 128.0, 32.0),
    ):
        row = np.zeros(columns)
        row[[DRAM_READ, DRAM_WRITE]] = balance / elements
        row[[BUFFER_READ, BUFFER_WRITE]] = buffer / elements
        row[ARRAY] = array
        found.append(row)
    return np.stack(found)
