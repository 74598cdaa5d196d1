"""The segments that a plan may be cut into, found by growing them operator by operator."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import prod
from typing import TYPE_CHECKING, Final

from dse.ir.operator import Kind
from dse.schedule.segments import Cut, slice_counts
from dse.schedule.streams import SOFTMAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.schedule.segments import Segment, SegmentBuilder
    from dse.schedule.storage import Storage

MAX_SEGMENT_OPERATORS: Final = 24
"""Longest segment tried; bounds the plan search to a linear number of segments."""
VECTOR_OPS_PER_ARRAY_MAC: Final = 1 / 64
"""Operations of the vector unit per MAC of the array, for estimates alone: tpu7x 1/64 (16,384 lanes, 1,048,576 MACs per cycle),
h100_sxm 1/32 (accelerators/catalogue)."""

ROWS_STEP: Final = 2
"""Ratio between the numbers of slices of queries tried around the keys of a softmax: keys are read again for each of them."""
SOFTMAX_WITHIN: Final = 4
"""Operators behind the product of scores among which its softmax is sought: scale, mask, soft cap, softmax."""


class Hold(StrEnum):
    """What a segment keeps on chip."""

    NOTHING = "nothing"
    """One operator alone."""
    BETWEEN = "between"
    """What its operators pass on to each other."""
    SHARED = "shared"
    """That, and inputs that several operators or every slice would read again."""
    ALL = "all"
    """Everything its operators touch, so that sums may be cut as well."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A segment in outline, with the totals by which plans are compared."""

    first: int
    last: int
    cuts: tuple[Cut, ...]
    hold: Hold
    peak_bytes: float
    dram_bytes: float
    cycles: float
    """Array cycles, and those in which an assumed vector unit adds up cut sums."""

    def cost_bytes(self, bytes_per_cycle: float) -> float:
        """DRAM bytes plus the bytes that could have moved during the cycles."""
        return self.dram_bytes + self.cycles * bytes_per_cycle


def candidates(builder: SegmentBuilder, most_bytes: float, elements: int) -> Iterator[Candidate]:
    """Every segment whose held bytes stay within `most_bytes`, single operators with nothing held among them.

    `elements` is the number of MACs that the array does in a cycle; only estimates depend on it.
    """
    for first in range(len(builder.order)):
        yield _alone(builder, first)
        streams = sorted(builder.streams.loops[builder.order[first].name])
        single = [(Cut(s, n),) for s in streams for n in slice_counts(builder.streams.sizes[s])]
        for cuts in ((), *(c for c in single if c[0].stream in builder.sliceable[first])):
            for hold in (Hold.BETWEEN, Hold.SHARED):
                yield from _Growth(builder, first, cuts, hold, elements).run(most_bytes)
        for cuts in (*single, *_nested(builder, first, streams)):
            yield from _Growth(builder, first, cuts, Hold.ALL, elements).run(most_bytes)


def segment_of(builder: SegmentBuilder, candidate: Candidate) -> Segment:
    """The candidate in full."""
    c = candidate
    storages = [s for s in builder.storages.values() if any(c.first <= p <= c.last for p in (*s.writers, *s.readers))]
    held = frozenset(s.name for s in storages if _is_held(s, c.first, c.last, c.cuts, c.hold))
    return builder.build(c.first, c.last, c.cuts, held)


def _nested(builder: SegmentBuilder, first: int, streams: list[str]) -> Iterator[tuple[Cut, ...]]:
    """Slices of a stream that some operator sums over, inside every index of another one.

    Where they are the keys of a softmax that follows, the queries around them are cut as well, alone or inside every index of a
    further stream (heads, sequences): rows of queries against columns of keys, as FlashAttention-2 does (arXiv 2307.08691).
    """
    summed = frozenset().union(*builder.reducible)
    sizes = builder.streams.sizes
    around = [s for s in streams if s in builder.sliceable[first]]
    for inner in streams:
        if inner not in summed:
            continue
        outers: list[tuple[Cut, ...]] = [(Cut(s, sizes[s]),) for s in around if s != inner]
        if _scores(builder, first, inner):
            parts = [Cut(s, n) for s in around if s != inner for n in slice_counts(sizes[s], ROWS_STEP)[1:]]
            outers += [(part,) for part in parts]
            outers += [(Cut(s, sizes[s]), part) for s in around for part in parts if s not in (inner, part.stream)]
        for outer in outers:
            yield from ((*outer, Cut(inner, count)) for count in slice_counts(sizes[inner])[1:])


def _scores(builder: SegmentBuilder, first: int, keys: str) -> bool:
    """Whether the operator at `first` is a product over whose columns, the stream `keys`, a softmax just behind it sums."""
    if builder.order[first].kind is not Kind.CONTRACTION or keys not in builder.sliceable[first]:
        return False
    behind = range(first + 1, min(len(builder.order), first + 1 + SOFTMAX_WITHIN))
    return any(builder.order[p].op_type == SOFTMAX and keys in builder.reducible[p] for p in behind)


def _is_held(storage: Storage, first: int, last: int, cuts: tuple[Cut, ...], hold: Hold) -> bool:
    """Whether a segment keeps a storage that its operators touch."""
    if hold is Hold.ALL:
        return True
    readers = [r for r in storage.readers if first <= r <= last]
    written_inside = not storage.from_outside and bool(storage.writers) and first <= storage.writers[0]
    if written_inside:
        return bool(readers) and storage.writers[-1] <= last and hold is not Hold.NOTHING
    before = storage.from_outside or (bool(storage.writers) and storage.writers[-1] < first)
    again = any(c.stream not in storage.streams for c in cuts)
    return hold is Hold.SHARED and before and bool(readers) and (len(readers) > 1 or again)


def _alone(builder: SegmentBuilder, position: int) -> Candidate:
    segment = builder.build(position, position, (), frozenset())
    return Candidate(position, position, (), Hold.NOTHING, 0.0, segment.dram_bytes[0], segment.array_cycles[0])


class _Growth:
    """Segments from one operator on with the same cuts, each one operator longer; only what changes is counted again."""

    def __init__(self, builder: SegmentBuilder, first: int, cuts: tuple[Cut, ...], hold: Hold, elements: int) -> None:
        self._builder, self._first, self._cuts, self._hold, self._elements = builder, first, cuts, hold, elements
        self._slices = prod(c.slices for c in cuts)
        self._reserved: list[float] = []
        self._effects: dict[str, tuple[float, int, int, float]] = {}
        self._dram = self._array = 0.0
        self._held = 0
        self._running: list[int] = []
        """Softmaxes in pieces that nothing has put right yet."""

    def run(self, most_bytes: float) -> Iterator[Candidate]:
        """The candidates, shortest first, as far as cuts and budget allow."""
        builder, first = self._builder, self._first
        for last in range(first, min(len(builder.order), first + MAX_SEGMENT_OPERATORS)):
            if not self._can_take(last):
                return
            self._take(last)
            peak = max(self._reserved)
            if peak > most_bytes:
                return
            reduces = builder.reducer(last, self._cuts) is not None
            long_enough = last > first or self._hold is not Hold.ALL
            if self._held and long_enough and not self._open(last, reduces=reduces):
                yield self._candidate(last, peak, reduces=reduces, most_bytes=most_bytes)
            if reduces:
                return

    def _can_take(self, position: int) -> bool:
        builder = self._builder
        good = all(c.stream in builder.sliceable[position] for c in self._cuts)
        if good or self._hold is not Hold.ALL:
            return good
        *outer, inner = self._cuts
        if not all(c.stream in builder.sliceable[position] for c in outer) or inner.stream not in builder.reducible[position]:
            return False
        return builder.order[position].kind is not Kind.CONTRACTION or position > self._first

    def _open(self, last: int, *, reduces: bool) -> bool:
        """True while a softmax in pieces is not followed by the sum that puts it right, or its result is needed elsewhere."""
        if not self._running:
            return False
        inside = range(self._first, last + 1)
        loose = [
            a.storage
            for p in inside
            if p >= self._running[0] and p != last
            for a in self._builder.accesses[p]
            if not a.reads and self._leaves(a.storage, last)
        ]
        return not reduces or bool(loose)

    def _leaves(self, storage: str, last: int) -> bool:
        found = self._builder.storages[storage]
        return found.to_outside or any(r > last for r in found.readers)

    def _take(self, position: int) -> None:
        builder = self._builder
        operator = builder.order[position]
        self._reserved.append(0.0)
        for name, (moved, start, stop, size) in self._effects.items():
            if stop >= start and self._is_whole(builder.storages[name]):
                self._reserved[-1] += size
                self._effects[name] = (moved, start, position, size)
        if self._cuts and self._cuts[-1].stream in builder.reducible[position] and operator.kind is not Kind.CONTRACTION:
            self._running.append(position)
        self._array += self._slices * builder.cycles(operator, builder.loops(position, self._cuts))
        for name in dict.fromkeys(a.storage for a in builder.accesses[position]):
            self._update(builder.storages[name], position)

    def _is_whole(self, storage: Storage) -> bool:
        """True for what stays through all slices because no cut indexes it."""
        return bool(self._cuts) and not any(c.stream in storage.streams for c in self._cuts)

    def _update(self, storage: Storage, last: int) -> None:
        held = _is_held(storage, self._first, last, self._cuts, self._hold)
        new = self._builder.effect(storage, self._first, last, self._cuts, held=held)
        moved, start, stop, size = self._effects.get(storage.name, (0.0, 0, -1, 0.0))
        for p in range(start, stop + 1):
            self._reserved[p - self._first] -= size
        self._held += held - (stop >= start)
        self._dram += new.dram_bytes - moved
        for p in range(new.start, new.stop + 1):
            self._reserved[p - self._first] += new.held_bytes
        self._effects[storage.name] = (new.dram_bytes, new.start, new.stop, new.held_bytes)

    def _candidate(self, last: int, peak: float, *, reduces: bool, most_bytes: float) -> Candidate:
        builder = self._builder
        vector = 0.0
        if reduces:
            sums = builder.accumulator_bytes(last, self._cuts)
            peak += sums
            vector = self._slices * sums / (self._elements * VECTOR_OPS_PER_ARRAY_MAC)
        cycles = self._array + vector
        return Candidate(self._first, last, self._cuts, self._hold, peak if peak <= most_bytes else float("inf"), self._dram, cycles)
