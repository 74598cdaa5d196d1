"""Combinations: a plan with one mapping for each operator, run in windows that overlap what is independent; some tens per part."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
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
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from dse.cost.frontier_pricing import OperatorPricer
    from dse.cost.window_table import CostedWindow, PlacedRow
    from dse.cost.workload_pricing import CompiledPlan
    from dse.hw.accelerator import Geometry
    from dse.schedule.again import Again
    from dse.schedule.place import PlacedOperator
    from dse.schedule.plan import PlanBook
    from dse.schedule.rounds import Window
    from dse.schedule.segments import Segment

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
    costed: tuple[CostedWindow, ...]
    vector_ops: float

    @property
    def pieces(self) -> tuple[tuple[Piece, ...], ...]:
        """What runs in each window."""
        return tuple(_pieces(w, self.placed) for w in self.windows)


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
    windows = _Windows(geometry)
    for number, plan in enumerate(plans):
        chosen = [_chooser(p, weights, choosers) for p in plan.pricers]
        again = plan.plan.again
        if again not in makers:
            makers[again] = RowMaker(book if again is None else book.of(plan.plan), geometry)
        rows_of = _placed(plan, makers[again])
        vector_ops = sum(p.work.vector_ops for p in plan.pricers)
        for at, form in enumerate(forms(book, plan.plan, plan.operators)):
            room = RowChoices(form, chosen)
            named = windows.named(form, room.held_bytes)
            for rows, staged in product(room.every(len(weights)), (False, True)):
                placed = tuple(row(r, staged) for row, r in zip(rows_of, rows, strict=True))
                key = (number, at, *map(id, placed))
                if key not in made:
                    made[key] = Combination(number, rows, placed, form, windows.sequence(named, placed), vector_ops)
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


def _placed(plan: CompiledPlan, maker: RowMaker) -> list[Callable[[int, bool], PlacedRow]]:
    """By operator of a plan: what gives one of its rows, staged or not."""
    segments = [s.segment for s in placed_segments(plan.plan) for _ in s.operators]

    def rows_of(operator: PlacedOperator, pricer: OperatorPricer, segment: Segment) -> Callable[[int, bool], PlacedRow]:
        return cache(lambda row, staged: maker.row(operator, pricer, segment, row, staged=staged))

    return [rows_of(*o) for o in zip(plan.operators, plan.pricers, segments, strict=True)]


def _pieces(window: Window, placed: Sequence[PlacedRow]) -> tuple[Piece, ...]:
    return tuple(Piece(placed[s.operator], s.slices, s.first) for s in window.shares)


class _Windows:
    """What windows do, each counted once, whatever number of combinations have it."""

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry
        self._names: dict[tuple[object, ...], int] = {}
        self._costed: dict[tuple[int, ...], CostedWindow] = {}

    def named(self, form: Sequence[Window], held_bytes: Sequence[float]) -> list[tuple[Window, float, int, list[int]]]:
        """Each window of a form with the bytes held in it, a number for all of it but the rows of its operators, and these."""
        found = []
        for w, held in zip(form, held_bytes, strict=True):
            key = w.together, w.runs, held, *((s.slices, s.first) for s in w.shares)
            found.append((w, held, self._names.setdefault(key, len(self._names)), [s.operator for s in w.shares]))
        return found

    def sequence(self, named: list[tuple[Window, float, int, list[int]]], placed: Sequence[PlacedRow]) -> tuple[CostedWindow, ...]:
        """What the windows of a form do with the rows `placed`."""
        rows, found = [id(row) for row in placed], []
        for window, held, name, operators in named:
            key = (name, *[rows[o] for o in operators])
            costed = self._costed.get(key)
            if costed is None:
                costed = costed_window(_pieces(window, placed), held, window.runs, self._geometry, together=window.together)
                self._costed[key] = costed
            found.append(costed)
        return tuple(found)


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
