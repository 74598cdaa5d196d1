"""Segments: runs of operators that go slice by slice along one or two streams, with what they hold on chip meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from math import isqrt, prod
from typing import TYPE_CHECKING, Final

from dse.ir.operator import Kind
from dse.schedule.storage import touched_bytes
from dse.schedule.streams import SOFTMAX
from dse.units import BITS_PER_BYTE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from dse.ir.graph import OperatorGraph
    from dse.ir.operator import Operator
    from dse.schedule.storage import Storage
    from dse.schedule.streams import Streams

SLICE_STEP: Final = 4
"""Ratio between the numbers of slices tried, where nothing else is said."""
ACCUMULATOR_COPIES: Final = 2
"""A running sum, which ends as the result, and a fresh contribution."""
STATISTICS_PER_ROW: Final = 2
"""Maximum and sum of a row of online softmax."""
PIPELINED_ACCUMULATOR_COPIES: Final = 3
"""And one more, that the array writes while the vector unit adds the other."""
MAX_STAGES: Final = 12
"""Most operators of a pipelined segment: each adds a round before the pipeline is full and one while it runs empty."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A stream cut into equal slices."""

    stream: str
    slices: int


@dataclass(frozen=True, slots=True)
class Segment:
    """Operators `first` to `last` of a schedule, run for every slice of `cuts`, the last cut innermost; once, where
    there is none."""

    first: int
    last: int
    cuts: tuple[Cut, ...]
    held: frozenset[str]
    """Storages of which one slice (all, where no cut indexes them) is on chip."""
    dram_bytes: tuple[float, ...]
    """Bytes to and from DRAM by operator when each operand that is not held is moved once per slice: a lower bound."""
    array_cycles: tuple[float, ...]
    """Least busy cycles of the array by operator, all slices."""
    reserved_bytes: tuple[float, ...]
    """Bytes that held storages occupy while each operator runs."""
    reducer: int | None = None
    """Position of the contraction that adds up what the slices of a cut give."""
    spilled_parts: int = 1
    """Parts of that cut where it is not the last: for each but the first unfinished sums come back from DRAM; 1 where they stay."""

    @property
    def slices(self) -> int:
        """Times that each operator runs."""
        return prod(c.slices for c in self.cuts)

    @property
    def stream(self) -> str | None:
        """Streams in words; None where the segment runs once."""
        return " x ".join(c.stream for c in self.cuts) or None

    @property
    def peak_bytes(self) -> float:
        """Most bytes held at once."""
        return max(self.reserved_bytes)


@lru_cache(maxsize=4096)
def slice_counts(size: int, step: int = SLICE_STEP) -> tuple[int, ...]:
    """Ways to cut a stream of `size` indices into equal parts: divisors from `size` down, each at most a `step`-th of the one before."""
    found = [size]
    low = [d for d in range(1, isqrt(size) + 1) if size % d == 0]
    for count in sorted({*low, *(size // d for d in low)}, reverse=True):
        if count > 1 and count * step <= found[-1]:
            found.append(count)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Access:
    """One operand of an operator as a segment sees it."""

    storage: str
    size_bytes: float
    streams: frozenset[str]
    reads: bool


@dataclass(frozen=True, slots=True)
class Effect:
    """What one storage adds to a segment."""

    dram_bytes: float
    start: int
    stop: int
    """Operators from `start` to `stop` run while it is held."""
    held_bytes: float


@dataclass(frozen=True)
class SegmentBuilder:
    """Builds the segments of one graph."""

    graph: OperatorGraph
    order: tuple[Operator, ...]
    streams: Streams
    storages: Mapping[str, Storage]
    cycles: Callable[[Operator, tuple[tuple[str, int], ...]], float]
    """Least array cycles of one slice: operator, its streamed loops with their numbers of slices."""
    prepare: Callable[[Operator, Iterable[tuple[tuple[str, int], ...]]], None] | None = None
    """Finds those of several slicings at once, before they are asked for one by one."""
    spills: bool = True
    """Whether unfinished sums may leave the chip and come back."""
    fine: bool = True
    """Whether numbers of slices are tried in steps of two, else in steps of `SLICE_STEP`."""
    cycles_per_byte: float = 0.0
    """Least cycles that the array waits for a byte of its operands: every slice reads those again that its cuts do not index."""

    @cached_property
    def accesses(self) -> tuple[tuple[Access, ...], ...]:
        """Operands that touch bytes, by position."""
        tensors, axes = self.graph.tensors, self.streams.axes
        return tuple(
            tuple(
                Access(tensors[x.tensor].storage, touched_bytes(self.graph, x), axes[x.tensor], reads)
                for operands, reads in ((o.inputs, True), (o.outputs, False))
                for x in operands
                if x.elements
            )
            for o in self.order
        )

    @cached_property
    def sliceable(self) -> tuple[frozenset[str], ...]:
        """Streams along which each operator gives its own part of every output."""
        return tuple(self.streams.sliceable(o) for o in self.order)

    @cached_property
    def reducible(self) -> tuple[frozenset[str], ...]:
        """Streams over which each operator sums."""
        return tuple(self.streams.reducible(o) for o in self.order)

    @cached_property
    def touched(self) -> tuple[tuple[Storage, ...], ...]:
        """Storages that each operator touches, by position."""
        return tuple(tuple(self.storages[s] for s in dict.fromkeys(a.storage for a in accesses)) for accesses in self.accesses)

    @cached_property
    def touching(self) -> dict[str, int]:
        """Storage to the operators that touch it, as a mask over positions."""
        return {name: sum(1 << p for p in {*s.writers, *s.readers}) for name, s in self.storages.items()}

    @cached_property
    def summed(self) -> frozenset[str]:
        """Streams over which some operator sums."""
        return frozenset().union(*self.reducible)

    def loops(self, position: int, cuts: tuple[Cut, ...]) -> tuple[tuple[str, int], ...]:
        """Loop dimensions of an operator that the cuts slice, with the number of slices; it runs again for slices of other streams."""
        mine = self.streams.loops[self.order[position].name]
        return tuple((mine[c.stream], c.slices) for c in cuts if c.stream in mine)

    def slice_bytes(self, storage: Storage, cuts: tuple[Cut, ...]) -> float:
        """Bytes of the part of `storage` that one slice uses."""
        return storage.size_bytes / prod(c.slices for c in cuts if c.stream in storage.streams)

    def build(self, first: int, last: int, cuts: tuple[Cut, ...], held: frozenset[str]) -> Segment:
        """The segment with its DRAM bytes and the bytes held while each operator runs."""
        moved = self.dram_bytes(first, last, cuts, held)
        cycles = tuple(self.busy_cycles(p, cuts) for p in range(first, last + 1))
        reserved = [0.0] * (last - first + 1)
        for name in held:
            e = self.effect(self.storages[name], first, last, cuts, held=True)
            for p in range(e.start, e.stop + 1):
                reserved[p - first] += e.held_bytes
        reducer = self.reducer(last, cuts)
        if reducer is not None:
            sums = self.accumulator_bytes(reducer, cuts)
            reserved = [r + sums for r in reserved]
        return Segment(first, last, cuts, held, moved, cycles, tuple(reserved), reducer, self.spilled_parts(last, cuts))

    def busy_cycles(self, position: int, cuts: tuple[Cut, ...]) -> float:
        """Least cycles in which the array works on an operator or waits for its operands, all slices; 0 on the vector unit."""
        cycles = self.cycles(self.order[position], self.loops(position, cuts))
        if not cycles:
            return 0.0
        touched = sum(a.size_bytes * prod(c.slices for c in cuts if c.stream not in a.streams) for a in self.accesses[position])
        return max(prod(c.slices for c in cuts) * cycles, touched * self.cycles_per_byte)

    def reducer(self, last: int, cuts: tuple[Cut, ...]) -> int | None:
        """`last`, where it is a contraction that sums over the last cut, or over the one around it."""
        summed = any(c.stream in self.reducible[last] for c in cuts[-2:]) and self.order[last].kind is Kind.CONTRACTION
        return last if summed else None

    def spilled_parts(self, last: int, cuts: tuple[Cut, ...]) -> int:
        """Parts of the cut that a reducer sums over, where another cut is inside it: its sums are unfinished when the next ones begin."""
        if self.reducer(last, cuts) is None or cuts[-1].stream in self.reducible[last]:
            return 1
        return cuts[-2].slices

    def spilled_bytes(self, members: Sequence[int], parts: int) -> float:
        """Bytes that unfinished sums, and the maximum and the sum of each row of a softmax in pieces, go out and come back with when
        the sum of the last of `members` is cut into `parts`.

        2 (parts - 1) (N_q F + 2 N_q) of the width of sums for attention: key stationary, FlashAttention (NeurIPS 2022), algorithm 1.
        """
        if parts == 1:
            return 0.0
        return 2 * (parts - 1) * self.accumulator_sums(members[-1], 1) * (1 + self._statistics_share(members))

    def _statistics_share(self, members: Sequence[int]) -> float:
        """Elements of the statistics of a softmax among `members` for each element of the last one's result; 0 without softmax."""
        softmax = next((self.order[p] for p in members if self.order[p].op_type == SOFTMAX), None)
        if softmax is None:
            return 0.0
        rows = prod(size for dim, size in softmax.dims if dim not in softmax.reduced_dims)
        return STATISTICS_PER_ROW * rows / self.order[members[-1]].outputs[0].elements

    def accumulator_bytes(self, position: int, cuts: tuple[Cut, ...], copies: int = ACCUMULATOR_COPIES) -> float:
        """Bytes of the running sums of a contraction whose sum is cut, the place of its result among them."""
        streams = self.output_streams(position)
        return self.accumulator_sums(position, copies) / prod(c.slices for c in cuts if c.stream in streams)

    def accumulator_sums(self, position: int, copies: int = ACCUMULATOR_COPIES) -> float:
        """The same where no cut divides them."""
        output = self.order[position].outputs[0]
        bits = max(self.graph.accumulation.stored_bits, self.graph.tensors[output.tensor].dtype.stored_bits)
        return copies * output.elements * bits / BITS_PER_BYTE

    def output_streams(self, position: int) -> frozenset[str]:
        """Streams that index the result of a contraction."""
        return self.streams.axes[self.order[position].outputs[0].tensor]

    def effect(self, storage: Storage, first: int, last: int, cuts: tuple[Cut, ...], *, held: bool) -> Effect:
        """DRAM bytes that a storage moves in a segment, and the bytes that it holds."""
        inside = [p for p in (*storage.writers, *storage.readers) if first <= p <= last]
        if not held:
            moved = sum(
                a.size_bytes * prod(c.slices for c in cuts if c.stream not in a.streams)
                for p in set(inside)
                for a in self.accesses[p]
                if a.storage == storage.name
            )
            return Effect(moved, first, first - 1, 0.0)
        filled, drained = self.fill_bytes(storage, first, last, cuts), self.drain_bytes(storage, first, last)
        size = self.slice_bytes(storage, cuts)
        reducer = self.reducer(last, cuts)
        if reducer is not None and reducer in storage.writers:
            size = 0.0  # lies where its sums were
        sliced = any(c.stream in storage.streams for c in cuts)
        whole = bool(cuts) and not sliced
        start, stop = (first, last) if whole else (min(inside), max(inside))
        return Effect(filled + drained, start, stop, size)

    def dram_bytes(
        self, first: int, last: int, cuts: tuple[Cut, ...], held: frozenset[str], resident: frozenset[str] = frozenset()
    ) -> tuple[float, ...]:
        """Bytes to and from DRAM by operator, when each operand not on chip is moved once per slice: a lower bound.

        What held storages bring in and send out counts with the first operator that touches them; residents only send out
        what someone outside the graph needs.
        """
        moved = [0.0] * (last - first + 1)
        for p in range(first, last + 1):
            for a in self.accesses[p]:
                if a.storage not in held and a.storage not in resident:
                    moved[p - first] += a.size_bytes * prod(c.slices for c in cuts if c.stream not in a.streams)
        for name in sorted(held | resident):
            storage = self.storages[name]
            inside = [p for p in (*storage.readers, *storage.writers) if first <= p <= last]
            if inside and name not in resident:
                both = self.fill_bytes(storage, first, last, cuts) + self.drain_bytes(storage, first, last)
                moved[inside[0] - first] += both
            elif inside and storage.to_outside:
                moved[inside[0] - first] += self.drain_bytes(storage, first, last)
        moved[-1] += self.spilled_bytes(range(first, last + 1), self.spilled_parts(last, cuts))
        return tuple(moved)

    def fill_bytes(self, storage: Storage, first: int, last: int, cuts: tuple[Cut, ...] = ()) -> float:
        """Bytes that a held storage from before brings in: what its readers inside touch, once, and again for every slice of an
        outer cut that it does not have where an inner one replaces it."""
        if storage.writers and first <= storage.writers[0] and not storage.from_outside:
            return 0.0
        touched = max(
            (
                a.size_bytes
                for p in storage.readers
                if first <= p <= last
                for a in self.accesses[p]
                if a.reads and a.storage == storage.name
            ),
            default=0.0,
        )
        mine = [c.stream in storage.streams for c in cuts]
        inner = max((i for i, own in enumerate(mine) if own), default=0)
        return touched * prod(c.slices for c, own in zip(cuts[:inner], mine, strict=False) if not own)

    def drain_bytes(self, storage: Storage, first: int, last: int) -> float:
        """Bytes that a held storage written inside sends out: all that is written, where someone outside needs it."""
        if not (storage.from_outside or storage.to_outside or any(r > last for r in storage.readers)):
            return 0.0
        return sum(
            a.size_bytes
            for p in storage.writers
            if first <= p <= last
            for a in self.accesses[p]
            if not a.reads and a.storage == storage.name
        )


def consecutive(segments: tuple[Segment, ...], operators: int) -> bool:
    """True where the segments cover `operators` operators in order, without gap or overlap."""
    if not segments:
        return operators == 0
    joined = all(b.first == a.last + 1 for a, b in pairwise(segments))
    return segments[0].first == 0 and segments[-1].last == operators - 1 and joined
