"""Runs a schedule slice by slice over regions of tensors and adds up what crosses the border of the chip: no formula of the planner in it.

And every schedule of a small chain: all groupings, cuts, sets of held tensors and results formed again, each walked through.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import combinations, product
from math import prod
from typing import TYPE_CHECKING

from dse.ir.operator import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.ir.operator import Operand, Operator
    from dse.schedule.segments import SegmentBuilder

BYTES = 2
SUM_BYTES = 4
"""Sums are kept in 32 bits, twice: a running one and a fresh contribution."""
COPIES = 2

Region = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Piece:
    """Operators that run together for every index of some cuts, by position in the order."""

    members: tuple[int, ...]
    cuts: tuple[tuple[str, int], ...]
    """(stream, slices), the last innermost."""
    held: frozenset[str]
    resident: frozenset[str] = frozenset()
    """Whole tensors that stay on chip across pieces and move nothing."""


class Walker:
    """One order of operators; tensors without views, two bytes per element."""

    def __init__(self, builder: SegmentBuilder) -> None:
        self.order = builder.order
        self.shapes = {name: t.shape for name, t in builder.graph.tensors.items()}
        self.inputs, self.outputs = set(builder.graph.inputs), set(builder.graph.outputs)
        self.streams = builder.streams

    def dims(self, operator: Operator, cuts: tuple[tuple[str, int], ...]) -> dict[str, int]:
        """Loop dimension to the number of the cut that slices it."""
        mine = self.streams.loops[operator.name]
        return {mine[s]: i for i, (s, _) in enumerate(cuts) if s in mine}

    def has(self, tensor: str, operator: Operator, stream: str) -> bool:
        """Whether a stream indexes a tensor as an operator sees it."""
        dim = self.streams.loops[operator.name].get(stream)
        return any(dim in x.axes for x in (*operator.inputs, *operator.outputs) if x.tensor == tensor and dim is not None)

    def region(self, operator: Operator, operand: Operand, cuts: tuple[tuple[str, int], ...], at: tuple[int, ...]) -> Region:
        """First and last index of each axis that one slice touches."""
        dims = self.dims(operator, cuts)
        found = []
        for axis, dim in enumerate(operand.axes):
            size = self.shapes[operand.tensor][axis]
            if dim in dims:
                step = size // cuts[dims[dim]][1]
                found.append((at[dims[dim]] * step, (at[dims[dim]] + 1) * step))
            else:
                found.append((0, size))
        return tuple(found)

    def summed(self, position: int, cuts: tuple[tuple[str, int], ...]) -> int | None:
        """Number of the cut that an operator sums over."""
        operator = self.order[position]
        for dim, i in self.dims(operator, cuts).items():
            if operator.kind is Kind.CONTRACTION and all(dim not in x.axes for x in operator.outputs):
                return i
        return None

    def sums(self, position: int, cuts: tuple[tuple[str, int], ...]) -> bool:
        """Whether an operator sums over the last cut."""
        return self.summed(position, cuts) == len(cuts) - 1 and bool(cuts)

    def spilled(self, piece: Piece, position: int, at: tuple[int, ...]) -> int:
        """Bytes of unfinished sums, and of the maximum and sum of each row of a softmax before them, that one slice reads and writes:
        none come in at the first part of the cut that is summed over, none go out at the last."""
        where = self.summed(position, piece.cuts)
        if where is None or where == len(piece.cuts) - 1:
            return 0
        size = _size(self.region(self.order[position], self.order[position].outputs[0], piece.cuts, at))
        softmax = next((self.order[p] for p in piece.members if self.order[p].op_type == "Softmax"), None)
        if softmax is not None:
            rows = self.region(softmax, softmax.outputs[0], piece.cuts, at)[:-1]
            size += 2 * _size(rows)
        return SUM_BYTES * size * ((at[where] > 0) + (at[where] < piece.cuts[where][1] - 1))

    def moved_bytes(self, piece: Piece, needed_later: set[str]) -> int:
        """Bytes to and from DRAM of one piece; `needed_later`: tensors that someone behind it reads."""
        moved = 0
        on_chip: dict[str, Region] = {}
        formed: set[str] = set()
        for at in product(*(range(n) for _, n in piece.cuts)):
            for p in piece.members:
                operator = self.order[p]
                for x in operator.inputs:
                    if x.tensor in piece.resident:
                        continue
                    here = self.region(operator, x, piece.cuts, at)
                    if x.tensor in piece.held:
                        if x.tensor not in formed and on_chip.get(x.tensor) != here:
                            moved += BYTES * _size(here)
                        on_chip[x.tensor] = here
                    else:
                        moved += BYTES * _size(here)
                for x in operator.outputs:
                    if x.tensor in piece.resident:
                        continue
                    here = self.region(operator, x, piece.cuts, at)
                    formed.add(x.tensor)
                    where = self.summed(p, piece.cuts)
                    complete = where is None or at[where] == piece.cuts[where][1] - 1
                    moved += self.spilled(piece, p, at)
                    leaves = x.tensor in self.outputs or x.tensor in needed_later
                    if complete and (leaves or x.tensor not in piece.held):
                        moved += BYTES * _size(here)
        return moved

    def held_bytes(self, piece: Piece) -> int:
        """Most bytes that lie on chip at once: a slice from the first operator that touches it to the last, all that has no slice for
        as long as slices run, and sums twice."""
        first = tuple(0 for _ in piece.cuts)
        spans: dict[str, list[int]] = {}
        sizes: dict[str, int] = {}
        sums = 0
        for p in piece.members:
            operator = self.order[p]
            reduces = self.sums(p, piece.cuts)
            for x in (*operator.inputs, *operator.outputs):
                region = self.region(operator, x, piece.cuts, first)
                if reduces and x in operator.outputs:
                    sums += COPIES * SUM_BYTES * _size(region)
                elif x.tensor in piece.held:
                    spans.setdefault(x.tensor, []).append(p)
                    sizes[x.tensor] = BYTES * _size(region)
        most = 0
        for p in piece.members:
            here = sums
            for tensor, touched in spans.items():
                sliced = sizes[tensor] < BYTES * prod(self.shapes[tensor])
                whole = bool(piece.cuts) and not sliced
                here += sizes[tensor] if whole or min(touched) <= p <= max(touched) else 0
            most = max(most, here)
        return most

    def runs(self, piece: Piece, needed_later: set[str], *, again: bool) -> bool:
        """Whether each operator gives its own part of its result in every slice, the last one may sum over the last cut, and, `again`,
        those without a stream form theirs again, for nobody outside."""
        written = {x.tensor for p in piece.members for x in self.order[p].outputs}
        if not piece.held and len(piece.members) > 1 and not piece.resident:
            return False
        for p in piece.members:
            operator = self.order[p]
            mine = self.streams.loops[operator.name]
            for i, (stream, _) in enumerate(piece.cuts):
                if stream not in mine:
                    if not again or written & {x.tensor for x in operator.outputs} & (needed_later | self.outputs):
                        return False
                    continue
                dim = mine[stream]
                if dim not in operator.reduced_dims and all(dim in x.axes for x in operator.outputs):
                    continue
                is_sum = i == len(piece.cuts) - 1 and self.sums(p, piece.cuts) and p == piece.members[-1] and p != piece.members[0]
                if not is_sum or operator.outputs[0].tensor not in piece.held | piece.resident:
                    return False
        return True


def _size(region: Region) -> int:
    return prod(b - a for a, b in region)


def walked(builder: SegmentBuilder, segments, resident: frozenset[str]) -> int:
    """Bytes of a plan's segments."""
    walker = Walker(builder)
    total = 0
    for i, s in enumerate(segments):
        later = {x.tensor for t in segments[i + 1 :] for p in range(t.first, t.last + 1) for x in builder.order[p].inputs}
        cuts = tuple((c.stream, c.slices) for c in s.cuts)
        total += walker.moved_bytes(Piece(tuple(range(s.first, s.last + 1)), cuts, s.held - resident, resident), later)
    return total


class Offered(Enum):
    """Which schedules are tried."""

    BY_PLANNER = "by_planner"
    """Numbers of slices a factor of four apart; held is what a piece passes on, that and what is read again, or everything."""
    EVERYTHING = "everything"
    """All divisors, all sets of held tensors."""


def divisors(size: int, offered: Offered) -> list[int]:
    """Numbers of slices."""
    every = [d for d in range(size, 1, -1) if size % d == 0]
    if offered is Offered.EVERYTHING:
        return every
    found: list[int] = []
    for d in every:
        if not found or d * 4 <= found[-1]:
            found.append(d)
    return found


def cuts_of(walker: Walker, members: tuple[int, ...], offered: Offered) -> Iterator[tuple[tuple[str, int], ...]]:
    """None, one stream in every number of slices, or every index of one stream around slices of another."""
    yield ()
    streams = sorted({s for p in members for s in walker.streams.loops[walker.order[p].name]})
    for s in streams:
        yield from (((s, n),) for n in divisors(walker.streams.sizes[s], offered))
    for outer, inner in product(streams, repeat=2):
        if outer != inner:
            yield from (((outer, walker.streams.sizes[outer]), (inner, n)) for n in divisors(walker.streams.sizes[inner], offered))


def held_sets(walker: Walker, members: tuple[int, ...], cuts: tuple[tuple[str, int], ...], offered: Offered) -> Iterator[frozenset[str]]:
    """Sets of tensors that a piece may hold."""
    operators = [walker.order[p] for p in members]
    touched = sorted({x.tensor for o in operators for x in (*o.inputs, *o.outputs)})
    if offered is Offered.EVERYTHING:
        yield from (frozenset(c) for n in range(len(touched) + 1) for c in combinations(touched, n))
        return
    written = {x.tensor for o in operators for x in o.outputs}
    readers = {t: [o for o in operators if any(x.tensor == t for x in o.inputs)] for t in touched}
    between = frozenset(t for t in written if readers[t])
    again = frozenset(
        t
        for t in touched
        if t not in written and (len(readers[t]) > 1 or any(not walker.has(t, readers[t][0], stream) for stream, _ in cuts))
    )
    yield from dict.fromkeys((frozenset(), between, between | again, frozenset(touched)))


class Chain:
    """Every schedule of a short chain."""

    def __init__(self, builder: SegmentBuilder, offered: Offered) -> None:
        self.walker = Walker(builder)
        self.offered = offered
        order = self.walker.order
        self.reads = [{x.tensor for x in o.inputs} for o in order]
        self.writer = {x.tensor: p for p, o in enumerate(order) for x in o.outputs}
        self.between = sorted(t for t in self.writer if t not in self.walker.outputs)
        self._found: dict[tuple[object, ...], list[tuple[float, float]]] = {}

    def least_bytes(self, budgets: tuple[float, ...], *, again: bool) -> list[float]:
        """Least DRAM bytes of any schedule within each budget of held bytes.

        `again`: in each piece any results of earlier pieces may be formed again at its start, with all that forming them takes.
        """
        best = [float("inf")] * len(budgets)
        for pieces in self._groupings((), 0, again=again):
            for n in range(len(self.between) + 1):
                for resident in combinations(self.between, n):
                    fronts = list(self._fronts(pieces, frozenset(resident), again=again))
                    for i, budget in enumerate(budgets):
                        best[i] = min(best[i], sum(min((m for held, m in f if held <= budget), default=float("inf")) for f in fronts))
        return best

    def _groupings(self, pieces: tuple[_Grown, ...], done: int, *, again: bool) -> Iterator[tuple[_Grown, ...]]:
        if done == len(self.walker.order):
            yield pieces
            return
        for last in range(done, len(self.walker.order)):
            for extra in self._repeated(done, last) if again else [()]:
                yield from self._groupings((*pieces, (extra, tuple(range(done, last + 1)))), last + 1, again=again)

    def _repeated(self, first: int, last: int) -> list[tuple[int, ...]]:
        """Earlier operators whose results a piece may form again."""
        earlier = sorted({self.writer[t] for p in range(first, last + 1) for t in self.reads[p] if self.writer.get(t, last) < first})
        every = [c for n in range(len(earlier) + 1) for c in combinations(earlier, n)]
        deep = {self.writer[t] for p in earlier for t in self.reads[p] if t in self.writer}
        return list(dict.fromkeys([*every, tuple(sorted({*earlier, *deep}))]))

    def _fronts(self, pieces: tuple[_Grown, ...], resident: frozenset[str], *, again: bool) -> Iterator[list[tuple[float, float]]]:
        """By piece: (bytes held, bytes moved) of all ways to run it."""
        for i, (extra, members) in enumerate(pieces):
            needed: set[str] = set()
            for more, others in pieces[i + 1 :]:
                formed = {x.tensor for p in more for x in self.walker.order[p].outputs}
                needed |= {t for p in (*more, *others) for t in self.reads[p]} - formed
            alive = self._wanted(members, needed)
            mine = {x.tensor for p in alive for x in self.walker.order[p].outputs}
            if alive:
                both = (*(p for p in extra if p not in alive), *alive)
                yield self._front(both, frozenset(needed & mine), resident, members, again=again)

    def _wanted(self, members: tuple[int, ...], needed: set[str]) -> tuple[int, ...]:
        """Those whose results someone reads."""
        found: list[int] = []
        for p in reversed(members):
            wants = needed | self.walker.outputs | {t for q in found for t in self.reads[q]}
            if any(x.tensor in wants for x in self.walker.order[p].outputs):
                found.insert(0, p)
        return tuple(found)

    def _front(
        self, members: tuple[int, ...], needed: frozenset[str], resident: frozenset[str], at: tuple[int, ...], *, again: bool
    ) -> list[tuple[float, float]]:
        walker = self.walker
        live = frozenset(
            t for t in resident if self.writer[t] <= at[-1] and max((p for p, r in enumerate(self.reads) if t in r), default=-1) >= at[0]
        )
        key = (members, needed, live, again)
        if key not in self._found:
            size = sum(BYTES * prod(walker.shapes[t]) for t in live)
            found: dict[float, float] = {}
            for cuts in cuts_of(walker, members, self.offered):
                for held in held_sets(walker, members, cuts, self.offered):
                    piece = Piece(members, cuts, held - live, live)
                    if not held & live and walker.runs(piece, set(needed), again=again):
                        here = size + walker.held_bytes(piece)
                        found[here] = min(found.get(here, float("inf")), walker.moved_bytes(piece, set(needed)))
            self._found[key] = sorted(found.items())
        return self._found[key]


_Grown = tuple[tuple[int, ...], tuple[int, ...]]
"""Operators formed again, and those that a piece runs."""
