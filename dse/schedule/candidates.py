"""The segments that a plan may be cut into: the ways to cut them, and the runs of the schedule order that they cover."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final

from dse.ir.operator import Kind
from dse.schedule.growth import Growth, Hold, Way, Ways
from dse.schedule.segments import SLICE_STEP, Cut, slice_counts
from dse.schedule.streams import SOFTMAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.schedule.growth import Front
    from dse.schedule.segments import Segment, SegmentBuilder
    from dse.schedule.storage import Storage

MAX_SEGMENT_OPERATORS: Final = 24
"""Longest segment tried; bounds the plan search to a linear number of runs."""
FINE_STEP: Final = 2
"""Ratio between the numbers of slices tried: in steps of four the least that a buffer has room for may hold a quarter of it."""
MOST_KEY_BLOCKS: Final = 4
"""Blocks of keys that stay while all queries run past them."""
SOFTMAX_WITHIN: Final = 4
"""Operators behind the product of scores among which its softmax is sought: scale, mask, soft cap, softmax."""
OUTER_SLICES: Final = (2, 4, 8, 16)
"""Slices of a stream around another one that is summed over, where no softmax asks for more."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A group run in one way, with the totals by which plans are compared."""

    members: tuple[int, ...]
    """Positions in the schedule order, ascending."""
    way: Way
    peak_bytes: float
    dram_bytes: float
    cycles: float
    """Array cycles, and those in which an assumed vector unit adds up cut sums."""


class WayBook:
    """The ways in which a group may run that begins with an operator; operators with the same ways share them."""

    def __init__(self, builder: SegmentBuilder) -> None:
        self._builder = builder
        self._made: dict[tuple[tuple[str, bool, bool], ...], Ways] = {}

    def starting(self, first: int) -> Ways:
        """Those of groups whose first operator is at `first`."""
        builder = self._builder
        sliceable, summed = builder.sliceable[first], builder.summed
        key = tuple([(s, s in sliceable, s in summed and _scores(builder, first, s)) for s in _streams(builder, first)])
        if key not in self._made:  # its streams, which of them it can slice, and over which a softmax behind it sums
            self._made[key] = Ways(builder, tuple(_ways(builder, first)))
        return self._made[key]


def _streams(builder: SegmentBuilder, first: int) -> list[str]:
    return sorted(builder.streams.loops[builder.order[first].name])


def _ways(builder: SegmentBuilder, first: int) -> Iterator[Way]:
    streams = _streams(builder, first)
    single = [(Cut(s, n),) for s in streams for n in _counts(builder, s)]
    for cuts in ((), *(c for c in single if c[0].stream in builder.sliceable[first])):
        yield from (Way(cuts, hold) for hold in (Hold.BETWEEN, Hold.SHARED))
    yield from (Way(cuts, Hold.SHARED) for cuts in _within(builder, first, streams))
    for cuts in (*single, *_nested(builder, first, streams)):
        yield Way(cuts, Hold.ALL)
    if builder.spills:
        yield from (Way(cuts, Hold.SPILLED) for cuts in _key_stationary(builder, first, streams))


def _counts(builder: SegmentBuilder, stream: str) -> tuple[int, ...]:
    """Numbers of slices that are tried along a stream."""
    return slice_counts(builder.streams.sizes[stream], FINE_STEP if builder.fine else SLICE_STEP)


def runs(builder: SegmentBuilder, most_bytes: float, elements: int) -> Iterator[Front]:
    """Every run of consecutive operators whose held bytes stay within `most_bytes`, single operators with nothing held among them.

    `elements` is the number of MACs that the array does in a cycle; only estimates depend on it.
    """
    book = WayBook(builder)
    for first in range(len(builder.order)):
        growth = Growth(book.starting(first), most_bytes, elements)
        for last in range(first, min(len(builder.order), first + MAX_SEGMENT_OPERATORS)):
            if not growth.take(last):
                break
            front = growth.front()
            if front is not None:
                yield front
            if not growth.alive:
                break


def candidates(front: Front) -> Iterator[Candidate]:
    """The ways of a front one by one."""
    columns = (front.peak_bytes, front.dram_bytes, front.cycles)
    for way, peak, dram, cycles in zip(front.ways, *(c.tolist() for c in columns), strict=True):
        yield Candidate(front.members, way, peak, dram, cycles)


def segment_of(builder: SegmentBuilder, first: int, last: int, way: Way) -> Segment:
    """The operators `first` to `last` of the builder's order run in one way, in full."""
    storages = [s for s in builder.storages.values() if any(first <= p <= last for p in (*s.writers, *s.readers))]
    held = frozenset(s.name for s in storages if is_held(s, first, last, way))
    return builder.build(first, last, way.cuts, held)


def is_held(storage: Storage, first: int, last: int, way: Way) -> bool:
    """Whether a segment keeps a storage that its operators touch."""
    if way.hold in (Hold.ALL, Hold.SPILLED):
        return True
    readers = [r for r in storage.readers if first <= r <= last]
    written_inside = not storage.from_outside and bool(storage.writers) and first <= storage.writers[0]
    if written_inside:
        return bool(readers) and storage.writers[-1] <= last and way.hold is not Hold.NOTHING
    before = storage.from_outside or (bool(storage.writers) and storage.writers[-1] < first)
    again = any(c.stream not in storage.streams for c in way.cuts)
    return way.hold is Hold.SHARED and before and bool(readers) and (len(readers) > 1 or again)


def _within(builder: SegmentBuilder, first: int, streams: list[str]) -> Iterator[tuple[Cut, ...]]:
    """Slices of a stream inside every index of one or two others: what the inner one does not index, as the keys and values of a head
    or the weights of an expert, stays while rows run past it."""
    sizes = builder.streams.sizes
    own = [s for s in streams if s in builder.sliceable[first]]
    for inner in own:
        others = [Cut(s, sizes[s]) for s in own if s != inner]
        for outer in (*combinations(others, 1), *combinations(others, 2)):
            yield from ((*outer, Cut(inner, n)) for n in _counts(builder, inner))


def _nested(builder: SegmentBuilder, first: int, streams: list[str]) -> Iterator[tuple[Cut, ...]]:
    """Slices of a stream that some operator sums over, inside every index of another one.

    Where they are the keys of a softmax that follows, the queries around them are cut as well, alone or inside every index of a
    further stream (heads, sequences): rows of queries against columns of keys, as FlashAttention-2 does (arXiv 2307.08691).
    Elsewhere a few slices of the outer one are tried too, where there are fine ones: what is summed, as a composite of two projections,
    is then formed once for several rows.
    """
    summed = builder.summed
    sizes = builder.streams.sizes
    around = [s for s in streams if s in builder.sliceable[first]]
    for inner in streams:
        if inner not in summed:
            continue
        outers: list[tuple[Cut, ...]] = [(Cut(s, sizes[s]),) for s in around if s != inner]
        if _scores(builder, first, inner):
            parts = [Cut(s, n) for s in around if s != inner for n in slice_counts(sizes[s], FINE_STEP)[1:]]
            outers += [(part,) for part in parts]
            outers += [(Cut(s, sizes[s]), part) for s in around for part in parts if s not in (inner, part.stream)]
        elif builder.fine:
            outers += [(Cut(s, n),) for s in around if s != inner for n in OUTER_SLICES if sizes[s] % n == 0 and n < sizes[s]]
        for outer in outers:
            yield from ((*outer, Cut(inner, count)) for count in _counts(builder, inner)[1:])


def _key_stationary(builder: SegmentBuilder, first: int, streams: list[str]) -> Iterator[tuple[Cut, ...]]:
    """Rows of queries inside a few blocks of the keys of a softmax that follows, which stay, alone or inside every index of a further
    stream: FlashAttention's first order (NeurIPS 2022, algorithm 1). More blocks never pay: results come and go with each. Nor do
    fewer queries than a block has keys: they are less to keep."""
    sizes = builder.streams.sizes
    around = [s for s in streams if s in builder.sliceable[first]]
    for keys in (s for s in streams if s in builder.summed and _scores(builder, first, s)):
        blocks = [Cut(keys, t) for t in range(2, MOST_KEY_BLOCKS + 1) if sizes[keys] % t == 0]
        for rows in (s for s in around if s != keys and sizes[s] * MOST_KEY_BLOCKS >= sizes[keys]):
            parts = [Cut(rows, n) for n in _counts(builder, rows)]
            outers: list[tuple[Cut, ...]] = [(), *((Cut(s, sizes[s]),) for s in around if s not in (keys, rows))]
            yield from ((*outer, block, part) for outer in outers for block in blocks for part in parts)


def _scores(builder: SegmentBuilder, first: int, keys: str) -> bool:
    """Whether the operator at `first` is a product over whose columns, the stream `keys`, a softmax just behind it sums."""
    if builder.order[first].kind is not Kind.CONTRACTION or keys not in builder.sliceable[first]:
        return False
    behind = range(first + 1, min(len(builder.order), first + 1 + SOFTMAX_WITHIN))
    return any(builder.order[p].op_type == SOFTMAX and keys in builder.reducible[p] for p in behind)
