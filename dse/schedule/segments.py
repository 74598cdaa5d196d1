"""Segments: runs of operators that go slice by slice along one stream, with what they hold on chip meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from dse.schedule.storage import touched_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dse.ir.graph import OperatorGraph
    from dse.ir.operator import Operator
    from dse.schedule.storage import Storage
    from dse.schedule.streams import Streams

MAX_SEGMENT_OPERATORS: Final = 24
"""Longest segment tried; bounds the plan search to a linear number of segments."""

SLICE_STEP: Final = 4
"""Ratio between the numbers of slices tried."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Operators `first` to `last` of a schedule, run `slices` times over equal parts of `stream` (once, where it is None)."""

    first: int
    last: int
    stream: str | None
    slices: int
    held: frozenset[str]
    """Storages of which one slice (all, where the stream does not index them) is on chip."""
    dram_bytes: tuple[float, ...]
    """Bytes to and from DRAM by operator when each operand that is not held is moved once per slice: a lower bound."""
    array_cycles: tuple[float, ...]
    """Least busy cycles of the array by operator, all slices."""
    reserved_bytes: tuple[float, ...]
    """Bytes that held storages occupy while each operator runs."""

    def cost_bytes(self, bytes_per_cycle: float) -> float:
        """DRAM bytes plus the bytes that could have moved during the array's cycles, summed over operators."""
        return sum(b + c * bytes_per_cycle for b, c in zip(self.dram_bytes, self.array_cycles, strict=True))

    @property
    def peak_bytes(self) -> float:
        """Most bytes held at once."""
        return max(self.reserved_bytes)


def slice_counts(size: int) -> tuple[int, ...]:
    """Ways to cut a stream of `size` indices into equal parts: divisors from `size` down, each at most a quarter of the one before."""
    found = [size]
    for count in range(size // SLICE_STEP, 1, -1):
        if size % count == 0 and count * SLICE_STEP <= found[-1]:
            found.append(count)
    return tuple(found)


@dataclass(frozen=True)
class SegmentBuilder:
    """Builds the segments of one graph."""

    graph: OperatorGraph
    order: tuple[Operator, ...]
    streams: Streams
    storages: Mapping[str, Storage]
    cycles: Callable[[Operator, str | None, int], float]
    """Least array cycles of one slice: operator, its streamed loop, number of slices."""

    def all_segments(self, most_bytes: float) -> Iterator[Segment]:
        """Every segment whose held bytes stay within `most_bytes`, single operators with nothing held among them."""
        for first in range(len(self.order)):
            yield self.build(first, first, None, 1, frozenset())
            yield from self._growing(first, None, 1, most_bytes)
            for stream in sorted(self.streams.loops[self.order[first].name]):
                for slices in slice_counts(self.streams.sizes[stream]):
                    yield from self._growing(first, stream, slices, most_bytes)

    def _growing(self, first: int, stream: str | None, slices: int, most_bytes: float) -> Iterator[Segment]:
        for last in range(first, min(len(self.order), first + MAX_SEGMENT_OPERATORS)):
            if stream is not None and stream not in self.streams.sliceable(self.order[last]):
                return
            between = self._intermediates(first, last)
            shared = self._shared_inputs(first, last, stream)
            choices = {between, between | shared}
            found = [self.build(first, last, stream, slices, held) for held in sorted(choices, key=len) if held]
            fitting = [s for s in found if s.peak_bytes <= most_bytes]
            if found and not fitting:
                return
            yield from fitting

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

    def build(self, first: int, last: int, stream: str | None, slices: int, held: frozenset[str]) -> Segment:
        """The segment with its DRAM bytes and the bytes held while each operator runs."""
        moved = self.dram_bytes(first, last, stream, slices, held)
        cycles = tuple(slices * self._slice_cycles(p, stream, slices) for p in range(first, last + 1))
        reserved = [0.0] * (last - first + 1)
        for name in held:
            s = self.storages[name]
            inside = [p for p in (*s.writers, *s.readers) if first <= p <= last]
            whole = stream is not None and stream not in s.streams
            start, stop = (first, last) if whole else (min(inside), max(inside))
            for p in range(start, stop + 1):
                reserved[p - first] += self.slice_bytes(s, stream, slices)
        return Segment(first, last, stream, slices, held, moved, cycles, tuple(reserved))

    def dram_bytes(
        self, first: int, last: int, stream: str | None, slices: int, held: frozenset[str], resident: frozenset[str] = frozenset()
    ) -> tuple[float, ...]:
        """Bytes to and from DRAM by operator, when each operand not on chip is moved once per slice: a lower bound.

        What held storages bring in and send out counts with the first operator that touches them; residents only send out
        what someone outside the graph needs.
        """
        moved = [self._moved_bytes(p, stream, slices, held | resident) for p in range(first, last + 1)]
        for name in held | resident:
            storage = self.storages[name]
            inside = [p for p in (*storage.readers, *storage.writers) if first <= p <= last]
            if inside and name not in resident:
                moved[inside[0] - first] += self.fill_bytes(storage, first, last) + self.drain_bytes(storage, first, last)
            elif inside and storage.to_outside:
                moved[inside[0] - first] += self.drain_bytes(storage, first, last)
        return tuple(moved)

    def _slice_cycles(self, position: int, stream: str | None, slices: int) -> float:
        operator = self.order[position]
        dim = self.streams.loops[operator.name][stream] if stream is not None else None
        return self.cycles(operator, dim, slices)

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
