"""Groups grown operator by operator, for every way to run them at once: bytes held, DRAM bytes and cycles as arrays over the ways."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from dse.ir.operator import Kind
from dse.schedule.segments import ACCUMULATOR_COPIES, MAX_STAGES, PIPELINED_ACCUMULATOR_COPIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.schedule.segments import Cut, SegmentBuilder
    from dse.schedule.storage import Storage

    FloatArray = NDArray[np.float64]
    BoolArray = NDArray[np.bool_]
    IntArray = NDArray[np.int64]

VECTOR_OPS_PER_ARRAY_MAC: Final = 1 / 64
"""Operations of the vector unit per MAC of the array, for estimates alone: tpu7x 1/64 (16,384 lanes, 1,048,576 MACs per cycle),
h100_sxm 1/32 (accelerators/catalogue)."""
PIPELINED_SUMS: Final = PIPELINED_ACCUMULATOR_COPIES / ACCUMULATOR_COPIES
"""Bytes of running sums in a pipeline, for a byte of them in turns."""
UNKNOWN: Final = -1.0
ROOM: Final = 8
"""Operators for which a growing group sets aside rows at first."""


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
    SPILLED = "spilled"
    """The same, the sum cut around the last cut: unfinished sums go out and come back for every part of it but the first."""


@dataclass(frozen=True, slots=True)
class Way:
    """How a group may run: its cuts, and what it keeps."""

    cuts: tuple[Cut, ...]
    hold: Hold

    @property
    def summed(self) -> Cut | None:
        """The cut that the last operator may sum over; None where nothing is cut."""
        if not self.cuts:
            return None
        return self.cuts[-2] if self.hold is Hold.SPILLED else self.cuts[-1]

    @property
    def beside(self) -> bool:
        """Whether estimates know too little of what the way costs on chip, so that it displaces no other: unfinished sums that come and
        go, and slices inside slices of which something stays."""
        return self.hold is Hold.SPILLED or (self.hold is Hold.SHARED and len(self.cuts) > 1)


@dataclass(frozen=True, slots=True)
class Front:
    """The ways to run one group that no other way beats in bytes held, DRAM bytes and cycles, in turns or as pipelines, fewest bytes held
    in turns first."""

    members: tuple[int, ...]
    """Positions in the schedule order, ascending."""
    ways: tuple[Way, ...]
    peak_bytes: FloatArray
    dram_bytes: FloatArray
    cycles: FloatArray
    """Array cycles, and those in which an assumed vector unit adds up cut sums."""
    step_bytes: FloatArray
    """Bytes held where operators work on different slices at the same time; as `peak_bytes` where they cannot."""
    step_cycles: FloatArray
    """Cycles of the busier of array and assumed vector unit then; of one after the other where they cannot."""


class Ways:
    """V ways to run a group, with what follows from their cuts for operators and storages; each found once."""

    def __init__(self, builder: SegmentBuilder, ways: Sequence[Way]) -> None:
        self.builder = builder
        self.ways = tuple(ways)
        deepest = max((len(w.cuts) for w in ways), default=0)
        cuts = [[*w.cuts, *[None] * (deepest - len(w.cuts))] for w in ways]
        self._cut_by = np.array([[1.0 if c is None else float(c.slices) for c in row] for row in cuts]).reshape(len(ways), deepest)
        """[V, cuts], outermost first; 1 where a way has fewer."""
        self._streams = {stream: i for i, stream in enumerate(dict.fromkeys(c.stream for w in ways for c in w.cuts))}
        self._stream = np.array([[-1 if c is None else self._streams[c.stream] for c in row] for row in cuts], dtype=np.int64)
        self._stream = self._stream.reshape(len(ways), deepest)
        """Number of the stream of each, in the same shape; -1 where a way has fewer."""
        self.spilled = np.array([w.hold is Hold.SPILLED for w in ways])
        summed = [w.summed for w in ways]
        self._summed = np.array([self._streams[cut.stream] if cut else -1 for cut in summed], dtype=np.int64)
        """Number of the stream that may be summed over."""
        self.parts = np.array([float(cut.slices) if cut else 1.0 for cut in summed])
        """Parts into which it is cut."""
        self.slices = self._cut_by.prod(axis=1)  # [V]
        self.cut = self.slices > 1
        self.shared = np.array([w.hold is Hold.SHARED for w in ways])
        self.all = np.array([w.hold in (Hold.ALL, Hold.SPILLED) for w in ways])
        self.beside = np.array([w.beside for w in ways])
        self._share: dict[frozenset[str], FloatArray] = {}
        self._refill: dict[frozenset[str], FloatArray] = {}
        self._fits: dict[int, tuple[BoolArray, BoolArray]] = {}
        self._cycles: dict[int, FloatArray] = {}
        self._inner: dict[int, BoolArray] = {}
        self._effects: dict[tuple[str, int, bool], _Effect] = {}
        self._sizes: dict[bytes, FloatArray] = {}
        self._inside: dict[frozenset[str], FloatArray] = {}
        self._times: dict[tuple[frozenset[str], int], FloatArray] = {}
        self._cuts: dict[frozenset[str], IntArray] = {}
        self._copied: dict[tuple[int, frozenset[str], int], FloatArray] = {}
        self._vector: dict[int, FloatArray] = {}

    def _among(self, streams: frozenset[str], *, none: bool = False) -> BoolArray:
        """Which numbers of streams are among `streams`; `none` for the last one, which stands for no cut."""
        return np.array([*(stream in streams for stream in self._streams), none])

    def share(self, streams: frozenset[str]) -> FloatArray:
        """Parts into which the cuts divide what `streams` index, [V]."""
        if streams not in self._share:
            self._share[streams] = np.where(self._among(streams)[self._stream], self._cut_by, 1.0).prod(axis=1)
        return self._share[streams]

    def refill(self, streams: frozenset[str]) -> FloatArray:
        """Times that what is held of a storage from before is brought in, [V] (see `SegmentBuilder.fill_bytes`)."""
        if streams not in self._refill:
            own = self._among(streams)[self._stream]
            inside = np.zeros_like(own)  # some cut further in is one of the storage
            inside[:, :-1] = np.logical_or.accumulate(own[:, :0:-1], axis=1)[:, ::-1]
            self._refill[streams] = np.where(inside & ~own, self._cut_by, 1.0).prod(axis=1)
        return self._refill[streams]

    def copied(self, part: FloatArray, streams: frozenset[str], apart: int) -> FloatArray:
        """Bytes of the slices of a storage, `part` [V] each, one for each that is between its first operator and its last, `apart`
        operators behind it, [V] (see `dse.schedule.rounds.pipelined_bytes`); the same array for the same `part`."""
        if not apart:
            return part
        key = (id(part), streams, apart)
        if key not in self._copied:
            self._copied[key] = part * self._copies(streams, apart)
        return self._copied[key]

    def _copies(self, streams: frozenset[str], apart: int) -> FloatArray:
        if (streams, apart) not in self._times:
            if streams not in self._inside:
                own = self._among(streams)[self._stream]
                later = np.logical_or.accumulate(own[:, ::-1], axis=1)[:, ::-1]  # this cut or one further in is one of the storage
                self._inside[streams] = np.where(later, 1.0, self._cut_by).prod(axis=1)
            self._times[streams, apart] = 1 + np.ceil(apart / self._inside[streams])
        return self._times[streams, apart]

    def vector_cycles(self, position: int, elements: int) -> FloatArray:
        """Cycles of an assumed vector unit for an operator, all slices, [V]."""
        if position not in self._vector:
            operator = self.builder.order[position]
            own = self.share(frozenset(self.builder.streams.loops[operator.name]))
            self._vector[position] = operator.vector_ops / (elements * VECTOR_OPS_PER_ARRAY_MAC) * self.slices / own
        return self._vector[position]

    def fits(self, position: int) -> tuple[BoolArray, BoolArray]:
        """Ways in which an operator gives its own part of every output; these, and those in which it sums over a cut, [V] each."""
        if position not in self._fits:
            own = self._among(self.builder.sliceable[position], none=True)[self._stream]
            every: BoolArray = np.logical_and.reduce(own, axis=1)
            depth = (self._stream >= 0).sum(axis=1, keepdims=True) - 1 - self.spilled[:, None]
            outer = np.logical_and.reduce(own | (np.arange(own.shape[1]) == depth), axis=1)
            self._fits[position] = every, every | (self.all & self.sums_inner(position) & outer)
        return self._fits[position]

    def sums_inner(self, position: int) -> BoolArray:
        """Ways that cut what an operator sums over, [V]."""
        if position not in self._inner:
            self._inner[position] = self._among(self.builder.reducible[position])[self._summed]
        return self._inner[position]

    def cycles(self, position: int, wanted: BoolArray) -> FloatArray:
        """Least cycles in which the array works on an operator or waits for it, all slices, [V]; at least the `wanted` ones are known."""
        operator = self.builder.order[position]
        if operator.kind is not Kind.CONTRACTION:
            return np.zeros(len(self.ways))
        if position not in self._cycles:
            self._cycles[position] = np.full(len(self.ways), UNKNOWN)
        found = self._cycles[position]
        new = np.flatnonzero(wanted & (found == UNKNOWN))
        if not len(new):
            return found
        cuts = self._cuts_of(frozenset(self.builder.streams.loops[operator.name]))[new]
        _, first, kind = np.unique(cuts, return_index=True, return_inverse=True)
        loops = [self.builder.loops(position, self.ways[v].cuts) for v in new[first].tolist()]
        if self.builder.prepare is not None:
            self.builder.prepare(operator, loops)
        found[new] = self.slices[new] * np.array([self.builder.cycles(operator, cut) for cut in loops])[kind]
        if self.builder.cycles_per_byte:
            touched = sum(a.size_bytes * (self.slices / self.share(a.streams))[new] for a in self.builder.accesses[position])
            found[new] = np.maximum(found[new], touched * self.builder.cycles_per_byte)
        return found

    def _cuts_of(self, streams: frozenset[str]) -> IntArray:
        """A number for each way [V], the same for those that cut `streams` in the same way."""
        if streams not in self._cuts:
            sizes, by = np.unique(self._cut_by, return_inverse=True)
            cut = np.where(self._among(streams)[self._stream], 1 + by.reshape(self._cut_by.shape) + len(sizes) * self._stream, 0)
            base = 1 + len(sizes) * len(self._streams)
            self._cuts[streams] = cut @ base ** np.arange(cut.shape[1])
        return self._cuts[streams]

    def effect(self, storage: Storage, inside: int, position: int) -> _Effect:
        """What a storage adds to the group of operators `inside` (a mask), `position` the last of them."""
        reduced = self.builder.order[position].kind is Kind.CONTRACTION and position in storage.writers
        key = (storage.name, inside & self.builder.touching[storage.name], reduced)
        if key not in self._effects:
            self._effects[key] = self._effect(storage, key[1], position if reduced else None)
        return self._effects[key]

    def _effect(self, storage: Storage, inside: int, reducer: int | None) -> _Effect:
        read = written = 0.0
        is_open = np.zeros(len(self.ways))
        for p in _ones(inside):
            for a in self.builder.accesses[p]:
                if a.storage == storage.name:
                    is_open = is_open + a.size_bytes * (self.slices / self.share(a.streams))
                    read = max(read, a.size_bytes) if a.reads else read
                    written += 0.0 if a.reads else a.size_bytes
        held, begun = self._keeps(storage, inside)
        filled = 0.0 if begun else read * self.refill(storage.streams)
        drained = written if leaves(storage, inside) or storage.from_outside else 0.0
        share = self.share(storage.streams)
        size = np.where(held, storage.size_bytes / share, 0.0)
        if reducer is not None:
            size = np.where(self.sums_inner(reducer), 0.0, size)  # lies where its sums were
        through = self.cut & (share == 1)
        part, whole = np.where(through, 0.0, size), np.where(through, size, 0.0)
        moved = np.where(held, filled + drained, is_open)
        return _Effect(moved, self._same(part), self._same(whole), held)

    def _same(self, size: FloatArray) -> FloatArray | None:
        """The same array for the same bytes; None where they are nothing."""
        return self._sizes.setdefault(size.tobytes(), size) if size.any() else None

    def _keeps(self, storage: Storage, inside: int) -> tuple[BoolArray, bool]:
        """Ways in which a storage is held, [V], and whether it begins inside (see `dse.schedule.candidates.is_held`)."""
        readers = [r for r in storage.readers if inside >> r & 1]
        begun = not storage.from_outside and bool(storage.writers) and bool(inside >> storage.writers[0] & 1)
        if begun:
            all_here = bool(readers) and bool(inside >> storage.writers[-1] & 1)
            return (np.ones(len(self.ways), dtype=bool) if all_here else self.all), True
        if readers and (storage.from_outside or (storage.writers and storage.writers[-1] < readers[0])):
            again = len(readers) > 1 or self.slices > self.share(storage.streams)
            return self.all | (self.shared & again), False
        return self.all, False


def leaves(storage: Storage, inside: int) -> bool:
    """Whether someone outside needs what the operators `inside` (a mask) write to a storage."""
    first = next((w for w in storage.writers if inside >> w & 1), -1)
    return storage.to_outside or any(not inside >> r & 1 and r > first for r in storage.readers)


def _ones(mask: int) -> list[int]:
    return [p for p in range(mask.bit_length()) if mask >> p & 1]


@dataclass(frozen=True, slots=True)
class _Effect:
    """What one storage adds to a group that touches it with certain operators, [V] each."""

    moved: FloatArray
    """DRAM bytes."""
    part: FloatArray | None
    """Bytes held between the first and the last of them; None where there are none."""
    whole: FloatArray | None
    """Bytes held through all slices."""
    held: BoolArray


@dataclass(frozen=True, slots=True)
class End:
    """What a group adds that ends where it is, [V] each."""

    good: BoolArray
    """Ways that may end so."""
    reduces: BoolArray
    """Those in which the last operator sums over a cut."""
    sums: FloatArray | None
    """Bytes of running sums; None where nothing is summed over a cut."""
    added: FloatArray | float
    """Cycles in which they are added up."""
    spilled: FloatArray | None
    """DRAM bytes of unfinished sums; None where there are none."""


class Growth:
    """A group with its totals for every way to run it."""

    def __init__(self, ways: Ways, most_bytes: float, elements: int) -> None:
        size = len(ways.ways)
        self._ways, self._builder, self._most, self._elements = ways, ways.builder, most_bytes, elements
        self.members: list[int] = []
        self._mask = 0
        self._alive: BoolArray = np.ones(size, dtype=bool)
        self._dram: FloatArray = np.zeros(size)
        self._array: FloatArray = np.zeros(size)
        self._held: NDArray[np.int64] = np.zeros(size, dtype=np.int64)
        self._whole: FloatArray = np.zeros(size)
        self._copies: FloatArray = np.zeros(size)
        """Bytes held for a while where slices are at different operators."""
        self._vector: FloatArray = np.zeros(size)
        """Cycles of the assumed vector unit."""
        self._parts: FloatArray = np.zeros((ROOM, size))
        """Bytes held for a while, by member."""
        self._effects: dict[str, tuple[_Effect, int, int]] = {}
        """Storage to what it adds, and the first and the last member that touch it."""
        self._running: NDArray[np.int64] | None = None
        """Member that is the first softmax in pieces, [V]; -1 where none is."""

    @property
    def mask(self) -> int:
        """Its operators."""
        return self._mask

    def copy(self) -> Self:
        """One that may grow in another direction."""
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.members, other._parts, other._effects = list(self.members), self._parts.copy(), dict(self._effects)
        return other

    def take(self, position: int, storages: Sequence[Storage] | None = None) -> bool:
        """Add an operator behind the others, with all storages that it touches or with those given; False where no way is left."""
        ways, operator = self._ways, self._builder.order[position]
        own, either = ways.fits(position)
        multiplies = operator.kind is Kind.CONTRACTION
        self._alive = self._alive & (either if self.members or not multiplies else own)
        if not self._alive.any():
            return False
        index = len(self.members)
        if index == len(self._parts):
            self._parts = np.concatenate((self._parts, np.zeros_like(self._parts)))
        self.members.append(position)
        self._mask |= 1 << position
        if multiplies:
            self._array = self._array + ways.cycles(position, self._alive)
        if operator.vector_ops:
            self._vector = self._vector + ways.vector_cycles(position, self._elements)
        if not multiplies and ways.sums_inner(position).any():
            running = np.full(len(ways.ways), -1) if self._running is None else self._running
            self._running = np.where(ways.sums_inner(position) & (running < 0), index, running)
        return self.touch(self._builder.touched[position] if storages is None else storages)

    def touch(self, storages: Sequence[Storage]) -> bool:
        """Count storages that the last operator touches and that were left out so far; False where no way is left."""
        position, index = self.members[-1], len(self.members) - 1
        for storage in storages:
            self._touch(storage, position, index)
        self._alive = self._alive & (self._peak() <= self._most)
        return bool(self._alive.any())

    def _peak(self) -> FloatArray:
        return np.asarray(self._parts[: len(self.members)].max(axis=0) + self._whole)

    def _touch(self, storage: Storage, position: int, index: int) -> None:
        """Count a storage as it is now instead of as it was."""
        before, first, last = self._effects.get(storage.name, (None, index, index - 1))
        now = self._ways.effect(storage, self._mask, position)
        if before is None:
            self._dram, self._held = self._dram + now.moved, self._held + now.held
        else:
            self._dram, self._held = self._dram + (now.moved - before.moved), self._held + now.held - before.held
            if before.whole is not None:
                self._whole = self._whole - before.whole
            if before.part is not None:
                self._copies = self._copies - self._ways.copied(before.part, storage.streams, last - first)
                if before.part is not now.part:
                    self._parts[first : last + 1] -= before.part
        if now.whole is not None:
            self._whole = self._whole + now.whole
        if now.part is not None:
            kept = before is not None and before.part is now.part
            self._parts[last + 1 if kept else first : index + 1] += now.part
            self._copies = self._copies + self._ways.copied(now.part, storage.streams, index - first)
        self._effects[storage.name] = (now, first, index)

    def front(self) -> Front | None:
        """The ways that make sense for the group as it is; None where there is none. Ways that sum over a cut end here."""
        ways, last = self._ways, self.members[-1]
        end = self.end()
        good, reduces = end.good & (self._held > 0), end.reduces
        peak, cycles, dram, step, vector = self._peak(), self._array, self._dram, self._copies + self._whole, self._vector
        if end.sums is not None:
            peak, cycles, vector = peak + end.sums, cycles + end.added, vector + end.added
            step = step + end.sums * PIPELINED_SUMS
            good &= peak <= self._most
            self._alive = self._alive & ~reduces
            if end.spilled is not None:
                dram = dram + end.spilled
        if len(self.members) == 1:
            good &= ~ways.all
        stages = len(self.members) + reduces
        together = ways.cut & (stages > 1) & (stages <= MAX_STAGES)
        step = np.where(together, np.maximum(step, peak), peak)
        busy = np.where(together, np.maximum(self._array, vector), self._array + vector)
        found = np.flatnonzero(good & (reduces | ~ways.spilled))
        named, beside = [ways.ways[v] for v in found.tolist()], ways.beside[found]
        columns = [c[found] for c in (peak, dram, cycles, step, busy)]
        if len(self.members) == 1:
            alone = self._alone(last)
            named.insert(0, Way((), Hold.NOTHING))
            beside = np.concatenate(([False], beside))
            columns = [np.concatenate(([a], c)) for a, c in zip(alone, columns, strict=True)]
        return _front(tuple(self.members), named, beside, *columns) if named else None

    def end(self) -> End:
        """What is added where the group ends as it is."""
        ways, last = self._ways, self.members[-1]
        good = self._alive
        if self._builder.order[last].kind is not Kind.CONTRACTION or not ways.sums_inner(last).any():
            if self._running is not None:
                good = good & (self._running < 0)
            return End(good, np.zeros(len(ways.ways), dtype=bool), None, 0.0, None)
        reduces = ways.sums_inner(last)
        sums, added = (np.where(reduces, x, 0.0) for x in self._accumulated(last))
        good = good & ~self._unfinished(reduces)
        spilled = None
        if (reduces & ways.spilled).any():
            once = self._builder.spilled_bytes(self.members, 2)
            spilled = np.where(reduces & ways.spilled, (ways.parts - 1) * once, 0.0)
        return End(good, reduces, sums, added, spilled)

    @property
    def alive(self) -> bool:
        """Whether it may grow further."""
        return bool(self._alive.any())

    def _accumulated(self, position: int) -> tuple[FloatArray, FloatArray]:
        """Bytes of the running sums of a contraction, and cycles of adding them up, [V]."""
        ways = self._ways
        sums = self._builder.accumulator_sums(position) / ways.share(self._builder.output_streams(position))
        return sums, ways.slices * sums / (self._elements * VECTOR_OPS_PER_ARRAY_MAC)

    def _alone(self, position: int) -> tuple[float, ...]:
        segment = self._builder.build(position, position, (), frozenset())
        vector = self._builder.order[position].vector_ops / (self._elements * VECTOR_OPS_PER_ARRAY_MAC)
        return 0.0, segment.dram_bytes[0], segment.array_cycles[0], 0.0, segment.array_cycles[0] + vector

    def _unfinished(self, reduces: BoolArray) -> BoolArray:
        """Ways in which a softmax in pieces is not followed by the sum that puts it right, or its result is needed elsewhere, [V]."""
        if self._running is None:
            return np.zeros(len(reduces), dtype=bool)
        running = self._running >= 0
        loose = np.zeros(len(running), dtype=bool)
        for start in np.unique(self._running[running & reduces]):
            inside = self.members[start:-1]
            written = (a.storage for p in inside for a in self._builder.accesses[p] if not a.reads)
            if any(leaves(self._builder.storages[s], self._mask) for s in written):
                loose |= self._running == start
        return running & (~reduces | loose)


def _front(members: tuple[int, ...], ways: list[Way], beside: BoolArray, *columns: FloatArray) -> Front:
    """`columns` are bytes held, DRAM bytes and cycles, and bytes held and cycles of pipelines."""
    if len(ways) == 1:
        return Front(members, tuple(ways), *columns)
    order = np.lexsort((columns[2], columns[1], columns[0]))
    columns = tuple(c[order] for c in columns)
    _, dram, cycles, step, busy = columns
    earlier = _before(len(ways))  # [by, of]
    beats = (dram[:, None] <= dram) & (cycles[:, None] <= cycles) & earlier
    if beside.any():
        beside = beside[order]
        beats &= ~beside[:, None] | beside
    by, of = np.argmax(beats, axis=0), np.arange(len(ways))
    beaten: BoolArray = beats[by, of]
    left = np.flatnonzero(beaten & ((step[by] > step) | (busy[by] > busy)))  # others are beaten as pipelines by the same way
    if len(left):
        as_pipelines = (dram[:, None] <= dram[left]) & (step[:, None] <= step[left]) & (busy[:, None] <= busy[left])
        same = (dram[:, None] == dram[left]) & (step[:, None] == step[left]) & (busy[:, None] == busy[left])
        as_pipelines &= (earlier[:, left] | ~same) & (~beside[:, None] | beside[left])
        beaten[left] = as_pipelines.any(axis=0)
    kept = np.flatnonzero(~beaten)
    return Front(members, tuple([ways[i] for i in order[kept].tolist()]), *(c[kept] for c in columns))


@lru_cache(maxsize=256)
def _before(size: int) -> BoolArray:
    """Whether the first of two numbers is the smaller one, [size, size]."""
    return np.arange(size)[:, None] < np.arange(size)
