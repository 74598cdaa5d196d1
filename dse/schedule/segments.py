"""Segments: runs of operators that go slice by slice along one stream, with what they hold on chip meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from dse.schedule.storage import touched_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dse.ir.graph import OperatorGraph
    from dse.ir.operator import Operator
    from dse.schedule.storage import Storage
    from dse.schedule.streams import Streams

MAX_SEGMENT_OPERATORS: Final = 24
"""Longest segment tried; bounds the plan search to a linear number of segments."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Operators `first` to `last` of a schedule, run once per index of `stream` (once, where it is None)."""

    first: int
    last: int
    stream: str | None
    slices: int
    held: frozenset[str]
    """Storages of which one slice (all, where the stream does not index them) is on chip."""
    dram_bytes: float
    """Bytes to and from DRAM when each operand that is not held is moved once per slice: a lower bound."""
    reserved_bytes: tuple[float, ...]
    """Bytes that held storages occupy while each operator runs."""

    @property
    def peak_bytes(self) -> float:
        """Most bytes held at once."""
        return max(self.reserved_bytes)


@dataclass(frozen=True)
class SegmentBuilder:
    """Builds the segments of one graph."""

    graph: OperatorGraph
    order: tuple[Operator, ...]
    streams: Streams
    storages: Mapping[str, Storage]

    def all_segments(self, most_bytes: float) -> Iterator[Segment]:
        """Every segment whose held bytes stay within `most_bytes`, single operators with nothing held among them."""
        for first in range(len(self.order)):
            yield self.build(first, first, None, frozenset())
            for stream in (None, *sorted(self.streams.loops[self.order[first].name])):
                yield from self._growing(first, stream, most_bytes)

    def _growing(self, first: int, stream: str | None, most_bytes: float) -> Iterator[Segment]:
        for last in range(first, min(len(self.order), first + MAX_SEGMENT_OPERATORS)):
            if stream is not None and stream not in self.streams.sliceable(self.order[last]):
                return
            between = self._intermediates(first, last)
            shared = self._shared_inputs(first, last, stream)
            choices = {between, between | shared}
            found = [self.build(first, last, stream, held) for held in sorted(choices, key=len) if held]
            yield from (s for s in found if s.peak_bytes <= most_bytes)

    def _intermediates(self, first: int, last: int) -> frozenset[str]:
        """Storages written and read inside."""
        return frozenset(
            s.name
            for s in self.storages.values()
            if not s.from_outside
            and s.writers
            and first <= s.writers[0]
            and s.writers[-1] <= last
            and any(first <= r <= last for r in s.readers)
        )

    def _shared_inputs(self, first: int, last: int, stream: str | None) -> frozenset[str]:
        """Storages from before that several operators inside read, or that every slice would read again."""
        found = set()
        for s in self.storages.values():
            readers = [r for r in s.readers if first <= r <= last]
            before = s.from_outside or (s.writers and s.writers[-1] < first)
            again = stream is not None and stream not in s.streams
            if readers and before and (len(readers) > 1 or again):
                found.add(s.name)
        return frozenset(found)

    def slice_bytes(self, storage: Storage, stream: str | None, slices: int) -> float:
        """Bytes of the part of `storage` that one slice of `stream` uses."""
        return storage.size_bytes / slices if stream in storage.streams else storage.size_bytes

    def build(self, first: int, last: int, stream: str | None, held: frozenset[str]) -> Segment:
        """The segment with its DRAM bytes and the bytes held while each operator runs."""
        slices = self.streams.sizes[stream] if stream is not None else 1
        moved = sum(self._moved_bytes(p, stream, slices, held) for p in range(first, last + 1))
        moved += sum(self.fill_bytes(self.storages[h], first, last) + self.drain_bytes(self.storages[h], first, last) for h in held)
        reserved = [0.0] * (last - first + 1)
        for name in held:
            s = self.storages[name]
            inside = [p for p in (*s.writers, *s.readers) if first <= p <= last]
            whole = stream is not None and stream not in s.streams
            start, stop = (first, last) if whole else (min(inside), max(inside))
            for p in range(start, stop + 1):
                reserved[p - first] += self.slice_bytes(s, stream, slices)
        return Segment(first, last, stream, slices, held, moved, tuple(reserved))

    def _moved_bytes(self, position: int, stream: str | None, slices: int, held: frozenset[str]) -> float:
        total = 0.0
        for x in (*self.order[position].inputs, *self.order[position].outputs):
            if self.graph.tensors[x.tensor].storage not in held:
                again = 1 if stream is None or stream in self.streams.axes[x.tensor] else slices
                total += touched_bytes(self.graph, x) * again
        return total

    def fill_bytes(self, storage: Storage, first: int, last: int) -> float:
        """Bytes that a held storage from before brings in: what its readers inside touch, once."""
        if storage.writers and first <= storage.writers[0] and not storage.from_outside:
            return 0.0
        return max(
            (
                touched_bytes(self.graph, x)
                for p in storage.readers
                if first <= p <= last
                for x in self.order[p].inputs
                if self.graph.tensors[x.tensor].storage == storage.name
            ),
            default=0.0,
        )

    def drain_bytes(self, storage: Storage, first: int, last: int) -> float:
        """Bytes that a held storage written inside sends out: all that is written, where someone outside needs it."""
        if not (storage.from_outside or storage.to_outside or any(r > last for r in storage.readers)):
            return 0.0
        return sum(
            touched_bytes(self.graph, x)
            for p in storage.writers
            if first <= p <= last
            for x in self.order[p].outputs
            if self.graph.tensors[x.tensor].storage == storage.name
        )


def consecutive(segments: tuple[Segment, ...], operators: int) -> bool:
    """True where the segments cover `operators` operators in order, without gap or overlap."""
    if not segments:
        return operators == 0
    joined = all(b.first == a.last + 1 for a, b in pairwise(segments))
    return segments[0].first == 0 and segments[-1].last == operators - 1 and joined
