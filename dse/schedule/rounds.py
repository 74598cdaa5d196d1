"""Windows: what of a plan runs at the same time, and what lies on chip meanwhile; no mapping and no price in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import groupby, product
from math import ceil, prod
from typing import TYPE_CHECKING

from dse.schedule.segments import ACCUMULATOR_COPIES, MAX_STAGES, PIPELINED_ACCUMULATOR_COPIES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.ir.tensor import Role
    from dse.schedule.place import PlacedOperator
    from dse.schedule.plan import Plan, PlanBook
    from dse.schedule.segments import Segment, SegmentBuilder
    from dse.schedule.storage import Storage


@dataclass(frozen=True, slots=True)
class Share:
    """A part of one operator's slices."""

    operator: int
    """Its number among the placed operators of the plan."""
    slices: int
    first: bool
    """Its first slice is among them: held tensors that all slices need come in here."""


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes of one storage that lie on chip during a window."""

    storage: str
    role: Role
    size_bytes: float


@dataclass(frozen=True, slots=True)
class Window:
    """Work between two points at which everything waits for everything.

    Shares that run together work on different slices, or on nothing that another one makes: none waits for another within
    the window, so it lasts as long as its busiest resource. Otherwise they run one after the other.
    """

    shares: tuple[Share, ...]
    together: bool
    held: tuple[Held, ...]
    runs: int = 1
    """Rounds that are alike and follow each other."""

    @property
    def held_bytes(self) -> float:
        """Bytes on chip beside the tiles of its operators."""
        return sum(h.size_bytes for h in self.held)


@dataclass(frozen=True, slots=True)
class PlacedSegment:
    """A segment with the numbers of its placed operators."""

    segment: Segment
    operators: range
    positions: tuple[int, ...]
    """Position in the schedule order of each; the adder of cut sums has that of its product."""


def placed_segments(plan: Plan) -> tuple[PlacedSegment, ...]:
    """Segments with the operators that `place` makes of them."""
    found, start = [], 0
    for s in plan.segments:
        positions = list(range(s.first, s.last + 1)) + ([s.reducer] if s.reducer is not None else [])
        found.append(PlacedSegment(s, range(start, start + len(positions)), tuple(positions)))
        start += len(positions)
    return tuple(found)


def forms(book: PlanBook, plan: Plan, placed: tuple[PlacedOperator, ...]) -> tuple[tuple[Window, ...], ...]:
    """The different ways to run a plan in windows, each in order: pipelined ones first, with neighbours side by side before without.

    An operator that runs once is a window of its own. Side by side, operators that follow each other in the order and need nothing of
    one another share one. A segment of slices is one window in which operators take turns, or, pipelined, a sequence of rounds: in
    round k operator j works on slice k - j, so all operators of a round are independent.
    """
    book = book.of(plan)
    stays = _Stays(book, plan)
    segments = placed_segments(plan)
    runs = [(several, tuple(run)) for several, run in groupby(segments, key=lambda s: s.segment.slices > 1)]

    @cache
    def windows(number: int, flag: bool) -> list[Window]:
        """Of one run: of slices, pipelined or not; of operators that run once, side by side or not."""
        several, run = runs[number]
        if several:
            return [w for s in run for w in _of_slices(book.builder, plan, s, stays, pipelined=flag)]
        alone = [x for s in run for x in zip(s.operators, s.positions, strict=True)]
        return list(_single(book, stays, alone, side_by_side=flag))

    found: list[tuple[Window, ...]] = []
    pipelines = any(can_pipeline(s.segment) for s in segments)
    for pipelined, side_by_side in product((True, False) if pipelines else (False,), (True, False)):
        form = tuple(w for i, (several, _) in enumerate(runs) for w in windows(i, pipelined if several else side_by_side))
        assert {s.operator for w in form for s in w.shares} == set(range(len(placed)))
        if form not in found:
            found.append(form)
    return tuple(found)


def _of_slices(builder: SegmentBuilder, plan: Plan, s: PlacedSegment, stays: _Stays, *, pipelined: bool) -> Iterator[Window]:
    """The windows of a segment of slices."""
    if pipelined and can_pipeline(s.segment):
        held = _pipelined_held(builder, plan, s.segment)
        yield from (Window(shares, True, held, runs) for shares, runs in rounds(s.operators, s.segment.slices))
        return
    shares = tuple(Share(o, s.segment.slices, True) for o in s.operators)
    most = max(s.positions, key=lambda p: plan.reserved_bytes[p])
    yield Window(shares, False, stays.at((most,)))


def can_pipeline(segment: Segment) -> bool:
    """Whether operators of `segment` may work on different slices at the same time."""
    stages = segment.last - segment.first + 1 + (segment.reducer is not None)
    return segment.slices > 1 and 1 < stages <= MAX_STAGES


@lru_cache(maxsize=1024)
def rounds(operators: range, slices: int) -> tuple[tuple[tuple[Share, ...], int], ...]:
    """(shares, how many rounds are alike): round k has slice k - j of the j-th operator, where there is one."""
    return tuple(_rounds(operators, slices))


def _rounds(operators: range, slices: int) -> Iterator[tuple[tuple[Share, ...], int]]:
    stages = len(operators)
    if slices <= stages:
        first, last = range(slices + stages - 1), range(0)
    else:
        first, last = range(stages), range(slices, slices + stages - 1)
    for k in first:
        yield tuple(Share(operators[j], 1, first=k == j) for j in range(stages) if 0 <= k - j < slices), 1
    if slices > stages:
        yield tuple(Share(o, slices - stages, first=False) for o in operators), slices - stages
    for k in last:
        yield tuple(Share(operators[j], 1, first=False) for j in range(stages) if k - j < slices), 1


def pipelined_bytes(builder: SegmentBuilder, segment: Segment) -> float:
    """Bytes that a segment holds while its operators work on different slices, residents of the plan left out."""
    held = sum(_copies_bytes(builder, builder.storages[name], segment) for name in segment.held)
    return held + sum(h.size_bytes for h in _sums(builder, segment, PIPELINED_ACCUMULATOR_COPIES))


def _copies_bytes(builder: SegmentBuilder, storage: Storage, segment: Segment) -> float:
    """Bytes of a held storage: a copy for every slice that is between its first operator and its last."""
    if segment.reducer is not None and segment.reducer in storage.writers:
        return 0.0  # lies where its sums were
    inside = [p for p in (*storage.writers, *storage.readers) if segment.first <= p <= segment.last]
    mine = [c.stream in storage.streams for c in segment.cuts]
    apart = max(inside) - min(inside)
    if not any(mine):
        copies = 1
    elif mine[-1]:
        copies = apart + 1
    else:
        innermost = max(i for i, own in enumerate(mine) if own)
        copies = 1 + ceil(apart / prod(c.slices for c in segment.cuts[innermost + 1 :]))
    return copies * builder.slice_bytes(storage, segment.cuts)


def _pipelined_held(builder: SegmentBuilder, plan: Plan, segment: Segment) -> tuple[Held, ...]:
    found = []
    for name in sorted(segment.held - plan.resident):
        storage = builder.storages[name]
        found.append(Held(name, storage.role, _copies_bytes(builder, storage, segment)))
    found += _sums(builder, segment, PIPELINED_ACCUMULATOR_COPIES)
    found += [r for r, start, stop in _residents(builder, plan) if start <= segment.last and stop >= segment.first]
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Stay:
    """What lies on chip while the operators from `start` to `stop` run."""

    held: Held
    start: int
    stop: int


def held_at(book: PlanBook, plan: Plan, *positions: int) -> tuple[Held, ...]:
    """What lies on chip while the operators at `positions` of the plan's order run, tiles left out; each storage once."""
    return _Stays(book.of(plan), plan).at(positions)


class _Stays:
    """Everything that a plan has on chip, tiles left out; `book` has its order."""

    def __init__(self, book: PlanBook, plan: Plan) -> None:
        self._all = tuple(_stays(book.builder, plan))
        self._found: dict[tuple[int, ...], tuple[Held, ...]] = {}

    def at(self, positions: tuple[int, ...]) -> tuple[Held, ...]:
        """What lies there while the operators at `positions` run."""
        if positions not in self._found:
            first, last = min(positions), max(positions)
            near = (s for s in self._all if s.start <= last and s.stop >= first)
            found = {s.held.storage: s.held for s in near if any(s.start <= p <= s.stop for p in positions)}
            self._found[positions] = tuple(found.values())
        return self._found[positions]


def _stays(builder: SegmentBuilder, plan: Plan) -> Iterator[_Stay]:
    for s in plan.segments:
        for name in sorted(s.held - plan.resident):
            storage = builder.storages[name]
            e = builder.effect(storage, s.first, s.last, s.cuts, held=True)
            yield _Stay(Held(name, storage.role, e.held_bytes), e.start, e.stop)
        yield from (_Stay(held, s.first, s.last) for held in _sums(builder, s, ACCUMULATOR_COPIES))
    yield from (_Stay(*resident) for resident in _residents(builder, plan))


def _sums(builder: SegmentBuilder, segment: Segment, copies: int) -> tuple[Held, ...]:
    if segment.reducer is None:
        return ()
    output = builder.graph.tensors[builder.order[segment.reducer].outputs[0].tensor]
    return (Held(f"{output.storage} (sums)", output.role, builder.accumulator_bytes(segment.reducer, segment.cuts, copies)),)


def _residents(builder: SegmentBuilder, plan: Plan) -> Iterator[tuple[Held, int, int]]:
    """Storages that stay across segments, with the positions between which they do."""
    for name in sorted(plan.resident):
        storage = builder.storages[name]
        yield Held(name, storage.role, storage.size_bytes), min(storage.writers), max(storage.readers)


def _single(book: PlanBook, stays: _Stays, operators: list[tuple[int, int]], *, side_by_side: bool) -> Iterator[Window]:
    """Operators (number, position) that run once: one after the other, or neighbours that are independent together."""
    groups: list[list[tuple[int, int]]] = []
    for number, position in operators:
        if side_by_side and groups and not any(_needs(book.builder, p, position) for _, p in groups[-1]):
            groups[-1].append((number, position))
        else:
            groups.append([(number, position)])
    for group in groups:
        yield Window(tuple(Share(n, 1, first=True) for n, _ in group), True, stays.at(tuple(p for _, p in group)))


def _needs(builder: SegmentBuilder, before: int, after: int) -> bool:
    """Whether two operators touch a storage that one of them writes."""
    first = builder.accesses[before]
    return any(a.storage == b.storage and not (a.reads and b.reads) for a in builder.accesses[after] for b in first)
