"""Joints: operators that everything else lies before or behind, with nothing touched on both sides. They cut a graph into blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dse.ir.operator import Kind
from dse.schedule.candidates import MAX_SEGMENT_OPERATORS
from dse.schedule.streams import SOFTMAX

if TYPE_CHECKING:
    from dse.schedule.lattice import Dependences
    from dse.schedule.segments import SegmentBuilder
    from dse.schedule.storage import Storage


@dataclass(frozen=True, slots=True)
class Block:
    """The operators behind one joint up to and with the next."""

    before: int | None
    """Position of the joint before them; None where they are the first."""
    first: int
    last: int
    joint: bool
    """Whether the last one is a joint."""


def blocks(builder: SegmentBuilder, deps: Dependences) -> list[Block]:
    """The blocks of a graph in order; positions are those of the schedule order."""
    last = len(builder.order) - 1
    found: list[Block] = []
    before, first = None, 0
    for p in _joints(builder, deps):
        found.append(Block(before, first, p, joint=True))
        before, first = p, p + 1
    if first <= last:
        found.append(Block(before, first, last, joint=False))
    return found


def _joints(builder: SegmentBuilder, deps: Dependences) -> list[int]:
    """Positions at which all sums over pieces of a softmax are done or not begun too: a group that holds both is never cut there."""
    operators = len(builder.order)
    barred = [False] * operators
    for s in builder.storages.values():
        touching = (*s.writers, *s.readers)
        for p in range(min(touching) + 1, max(touching)):
            barred[p] = True
    for p, o in enumerate(builder.order):
        if o.op_type == SOFTMAX:
            for q in range(p + 1, min(operators, p + MAX_SEGMENT_OPERATORS)):
                if builder.order[q].kind is Kind.CONTRACTION and builder.reducible[p] & builder.reducible[q]:
                    barred[p:q] = [True] * (q - p)
    every = (1 << operators) - 1
    return [p for p in range(operators) if not barred[p] and deps.needed[p] | deps.needing[p] | 1 << p == every]


def sides(builder: SegmentBuilder, joint: int) -> tuple[tuple[Storage, ...], tuple[Storage, ...]]:
    """Storages that a joint touches and nothing behind it does, and those that something behind it does."""
    left: list[Storage] = []
    right: list[Storage] = []
    for s in builder.touched[joint]:
        (right if max((*s.writers, *s.readers)) > joint else left).append(s)
    return tuple(left), tuple(right)
