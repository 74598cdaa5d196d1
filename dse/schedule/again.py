"""Recomputation: plans that form an intermediate again where it is read, slice by slice, instead of writing it and reading it back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.schedule.candidates import WayBook, segment_of
from dse.schedule.copies import with_copies
from dse.schedule.growth import VECTOR_OPS_PER_ARRAY_MAC, Growth
from dse.schedule.segments import Cut, SegmentBuilder
from dse.schedule.storage import find_storages
from dse.schedule.streams import find_streams

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dse.ir.graph import OperatorGraph
    from dse.ir.operator import Operator
    from dse.schedule.copies import Copied
    from dse.schedule.segments import Segment
    from dse.schedule.storage import Storage

WORTH: Final = 0.01
"""Share of a plan's DRAM bytes that an intermediate moves before forming it again is tried, and that it must save; what plans may
differ by before both are priced (`PLAN_EXCESS`)."""
MOST_MACS_PER_BYTE: Final = 1024.0
"""Array peak over DRAM rate above which no chip is taken to be: twice that of today's accelerators (`BALANCES_MACS_PER_BYTE`)."""
MOST_CHAINS: Final = 8
"""Chains of operators formed again in one plan."""
MOST_TRIED: Final = 48
"""Rewritings tried for one plan."""
MOST_OPERATORS: Final = 24
"""Operators of a segment with those formed again in it."""


@dataclass(frozen=True, slots=True)
class Formed:
    """An operator that a plan runs more than once for the same result."""

    operator: str
    """Its name in the graph."""
    name: str
    """Its name in the plan; another one where it is formed in several places."""
    times: int
    """How often it forms each element there."""


@dataclass(frozen=True)
class Again:
    """What a plan forms again."""

    line: tuple[str, ...]
    """All its operators in order."""
    formed: tuple[Formed, ...]
    """Those of which some element is formed more than once, in order."""


@dataclass(frozen=True)
class _Part:
    """One segment of a draft."""

    names: tuple[str, ...]
    cuts: tuple[Cut, ...]
    held: frozenset[str]


@dataclass(frozen=True)
class Draft:
    """Segments of a plan over a graph with copies."""

    builder: SegmentBuilder
    segments: tuple[Segment, ...]
    origin: Mapping[str, str]
    """Copies to the operators of the graph that they form again."""
    cost: float
    """DRAM bytes, and those that could have moved during its cycles."""

    @property
    def again(self) -> Again:
        """What it forms again."""
        builder = self.builder
        line = tuple(o.name for o in builder.order)
        places: dict[str, list[tuple[str, int]]] = {}
        for s in self.segments:
            for p in range(s.first, s.last + 1):
                name = line[p]
                places.setdefault(self.origin.get(name, name), []).append((name, repeats(builder, p, s.cuts)))
        found = [Formed(o, name, times) for o, at in places.items() if sum(t for _, t in at) > 1 for name, times in at]
        return Again(line, tuple(found))


def repeats(builder: SegmentBuilder, position: int, cuts: tuple[Cut, ...]) -> int:
    """How often an operator forms each of its elements in a segment: once for every slice of the streams that it does not have."""
    mine = builder.streams.loops[builder.order[position].name]
    return prod(c.slices for c in cuts if c.stream not in mine)


def work(builder: SegmentBuilder, segments: tuple[Segment, ...]) -> tuple[float, float]:
    """(least array cycles, operations of vector operators) of some segments."""
    operations = sum(builder.order[p].vector_ops * repeats(builder, p, s.cuts) for s in segments for p in range(s.first, s.last + 1))
    return sum(sum(s.array_cycles) for s in segments), float(operations)


@dataclass(frozen=True, slots=True)
class Balance:
    """What a cycle costs, in bytes that DRAM could have moved meanwhile."""

    bytes_per_cycle: float
    elements: int
    """MACs that the array does in a cycle."""

    @classmethod
    def within_reason(cls, bytes_per_cycle: float, elements: int) -> Balance:
        """At most `MOST_MACS_PER_BYTE`."""
        return cls(max(bytes_per_cycle, elements / MOST_MACS_PER_BYTE), elements)

    def of(self, array_cycles: float, operations: float) -> float:
        """Bytes of some work; what the vector unit does takes the cycles of a usual one."""
        return self.bytes_per_cycle * (array_cycles + operations / (self.elements * VECTOR_OPS_PER_ARRAY_MAC))

    def cost(self, builder: SegmentBuilder, segments: tuple[Segment, ...]) -> float:
        """DRAM bytes of some segments, and those of their work."""
        return sum(sum(s.dram_bytes) for s in segments) + self.of(*work(builder, segments))


class Rewritten:
    """Graphs with copies, their builders and the ways of their groups, made once for all plans that form the same again."""

    def __init__(self) -> None:
        self._copied: dict[tuple[int, tuple[str, ...], frozenset[str]], tuple[OperatorGraph, Copied]] = {}
        """By number of the graph, which is kept so that no other one gets it."""
        self._builders: dict[tuple[int, tuple[str, ...]], SegmentBuilder] = {}
        self._ways: dict[int, WayBook] = {}

    def copies(self, graph: OperatorGraph, chain: Sequence[str], readers: frozenset[str]) -> Copied:
        """See `with_copies`; the same object for the same graph."""
        key = (id(graph), tuple(chain), readers)
        if key not in self._copied:
            self._copied[key] = graph, with_copies(graph, chain, readers)
        return self._copied[key][1]

    def over(self, before: SegmentBuilder, graph: OperatorGraph, names: Sequence[str], came: Mapping[str, str]) -> SegmentBuilder:
        """The builder of a graph of `copies` in the order of `names`; a copy takes the cycles of what it forms again, `came`."""
        key = (id(graph), tuple(names))
        if key not in self._builders:
            self._builders[key] = _over(before, graph, names, came)
        return self._builders[key]

    def ways(self, builder: SegmentBuilder) -> WayBook:
        """The ways of the groups of a builder of `over`."""
        if id(builder) not in self._ways:
            self._ways[id(builder)] = WayBook(builder)
        return self._ways[id(builder)]


def with_recomputation(
    builder: SegmentBuilder,
    segments: tuple[Segment, ...],
    resident: frozenset[str],
    budget_bytes: float,
    balance: Balance,
    known: Rewritten,
) -> Draft | None:
    """The segments with intermediates formed again wherever that costs less, one chain after the other, the one that saves most
    first; None where none saves `WORTH`.

    An intermediate that is written out for later segments may be formed again in one of them or in all: its writers, alone or with
    all that they need of their segment, run at the start of each slice. They run for every slice of a stream that they do not have.
    Nothing is formed again that a plan holds across segments (`resident`).
    """
    best = first = Draft(builder, segments, {}, balance.cost(builder, segments))
    tried = 0
    for _ in range(MOST_CHAINS):
        found = best
        for chain, into in _choices(best, resident, balance):
            if tried == MOST_TRIED:
                break
            tried += 1
            for draft in _formed_again(best, chain, into, budget_bytes, balance, known):
                if draft.cost < found.cost:
                    found = draft
        if found is best:
            break
        best = found
    return best if best.cost <= first.cost * (1 - WORTH) and best.again.formed else None


def _choices(draft: Draft, resident: frozenset[str], balance: Balance) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(positions of a chain, numbers of the segments to form it in) that may save something: results that move most bytes first."""
    builder, segments = draft.builder, draft.segments
    number = {p: i for i, s in enumerate(segments) for p in range(s.first, s.last + 1)}
    least = WORTH * draft.cost
    moved: dict[str, dict[int, float]] = {}
    for name, storage in builder.storages.items():
        if name in resident or not _is_result(builder, storage):
            continue
        at = sorted({number[p] for p in (*storage.writers, *storage.readers)})
        moved[name] = {i: _effect(builder, storage, segments[i]) for i in at}
    for name in sorted((n for n, sizes in moved.items() if sum(sizes.values()) >= least), key=lambda n: (-sum(moved[n].values()), n)):
        storage = builder.storages[name]
        home = {number[w] for w in storage.writers}
        into = tuple(sorted({number[r] for r in storage.readers} - home))
        whole = tuple(sorted({*storage.writers, *_needed(builder, storage.writers, [segments[i] for i in sorted(home)])}))
        for chain in dict.fromkeys((storage.writers, whole)):
            if not all(_may_copy(builder, p) for p in chain):
                continue
            for where in dict.fromkeys((into, *((i,) for i in into))):
                alone = len(where) == 1 and not home & {number[r] for r in storage.readers} and where == into
                if alone and all(repeats(builder, p, segments[where[0]].cuts) == 1 for p in chain):
                    continue  # formed once, in another segment: the choice of groups has seen that
                if where and _most_saved(draft, moved[name], chain, where, resident, balance) >= least:
                    yield chain, where


def _effect(builder: SegmentBuilder, storage: Storage, segment: Segment) -> float:
    held = storage.name in segment.held
    return builder.effect(storage, segment.first, segment.last, segment.cuts, held=held).dram_bytes


def _most_saved(
    draft: Draft, moved: Mapping[int, float], chain: tuple[int, ...], into: tuple[int, ...], resident: frozenset[str], balance: Balance
) -> float:
    """Bytes that forming a result again may save at most: what it moves in some segments and, where that is all, where it is formed
    and what forming it costs there; less its inputs once for each segment and the work without slices."""
    builder, segments = draft.builder, draft.segments
    made = {a.storage for p in chain for a in builder.accesses[p] if not a.reads}
    inputs = {a.storage: a.size_bytes for p in chain for a in builder.accesses[p] if a.reads and a.storage not in made | resident}
    cycles = sum(builder.cycles(builder.order[p], ()) for p in chain)
    saved = sum(moved[i] for i in into)
    homes = [s for i, s in enumerate(segments) if i in moved and i not in into]
    if all(s.first <= p <= s.last or all(not (t.first <= p <= t.last) for t in homes) for p in chain for s in homes):
        for s in homes:
            mine = [p for p in chain if s.first <= p <= s.last]
            saved += sum(s.dram_bytes[p - s.first] for p in mine)
            saved += balance.of(sum(s.array_cycles[p - s.first] for p in mine), sum(builder.order[p].vector_ops for p in mine))
            saved += sum(moved[i] for i, t in enumerate(segments) if t is s)
    for i in into:
        s = segments[i]
        here = {a.storage for p in range(s.first, s.last + 1) for a in builder.accesses[p]}
        saved -= sum(size for name, size in inputs.items() if name not in here)
        saved -= balance.of(cycles, sum(builder.order[p].vector_ops for p in chain))
    return saved


def _is_result(builder: SegmentBuilder, storage: Storage) -> bool:
    """Whether a storage is an intermediate that nobody writes to once it is read."""
    if storage.from_outside or storage.to_outside or not storage.writers or not storage.readers:
        return False
    return storage.writers[-1] < storage.readers[0]


def _may_copy(builder: SegmentBuilder, position: int) -> bool:
    """Whether an operator has one result, and finds its inputs unchanged later."""
    accesses = builder.accesses[position]
    written = {a.storage for a in accesses if not a.reads}
    read = [builder.storages[a.storage] for a in accesses if a.reads]
    return len(written) == 1 and all(_is_result(builder, builder.storages[s]) for s in written) and not _changes(read, position)


def _changes(read: list[Storage], position: int) -> bool:
    return any(w >= position for s in read for w in s.writers)


def _needed(builder: SegmentBuilder, chain: tuple[int, ...], homes: list[Segment]) -> set[int]:
    """What a chain needs, directly or not, of the segments that it is in."""
    found: set[int] = set()
    open_ = list(chain)
    while open_:
        p = open_.pop()
        for a in builder.accesses[p]:
            if not a.reads:
                continue
            new = {w for w in builder.storages[a.storage].writers if w < p and any(s.first <= w <= s.last for s in homes)} - found
            found |= new
            open_ += new
    return found


def _formed_again(
    draft: Draft, chain: tuple[int, ...], into: tuple[int, ...], budget_bytes: float, balance: Balance, known: Rewritten
) -> Iterator[Draft]:
    """The draft in which a chain is formed again in some segments; none where it cannot run there."""
    if not _can_form(draft, chain, into):
        return
    line = [o.name for o in draft.builder.order]
    named = [line[p] for p in chain]
    touched = [a for p in chain for a in draft.builder.accesses[p]]
    inputs = {a.storage for a in touched if a.reads} - {a.storage for a in touched if not a.reads}
    parts = [_Part(tuple(line[s.first : s.last + 1]), s.cuts, s.held) for s in draft.segments]
    builder, origin = draft.builder, dict(draft.origin)
    for i in into:
        copied = known.copies(builder.graph, named, frozenset(parts[i].names))
        held = frozenset(copied.storages.get(s, s) for s in parts[i].held) | frozenset(copied.storages.values())
        parts = [_Part(tuple(n for n in p.names if n not in copied.dropped), p.cuts, p.held) for p in parts]
        parts[i] = _Part((*(copied.names[n] for n in named), *parts[i].names), parts[i].cuts, held)
        came = {copied.names[n]: n for n in named}
        origin |= {new: origin.get(old, old) for new, old in came.items() if new != old or old in origin}
        builder = known.over(builder, copied.graph, [n for p in parts for n in p.names], came)
    segments = _built(draft.builder, builder, parts)
    if segments is None:
        return
    ways, read = known.ways(builder), frozenset(inputs)
    new = {i: _best(ways, builder, s, read, budget_bytes, balance) for i, s in enumerate(segments) if s is not None and i in into}
    found = tuple(new.get(i, s) for i, s in enumerate(segments) if s is not None)
    if all(s.peak_bytes <= budget_bytes for s in found):
        yield Draft(builder, found, origin, balance.cost(builder, found))


def _best(
    book: WayBook, builder: SegmentBuilder, segment: Segment, inputs: frozenset[str], budget_bytes: float, balance: Balance
) -> Segment:
    """The operators of a segment in the way that costs least within a budget: as they are, with inputs of what is formed again held
    as well, or in any of the ways of `candidates`."""
    ways = [segment]
    if inputs - segment.held:
        ways.append(builder.build(segment.first, segment.last, segment.cuts, segment.held | inputs))
    growth = Growth(book.starting(segment.first), budget_bytes, balance.elements)
    front = growth.front() if all(growth.take(p) for p in range(segment.first, segment.last + 1)) else None
    if front is not None:
        cost = front.dram_bytes + balance.bytes_per_cycle * front.cycles
        ways.append(segment_of(builder, segment.first, segment.last, front.ways[int(np.argmin(cost))]))
    return min(ways, key=lambda s: (s.peak_bytes > budget_bytes, balance.cost(builder, (s,)), s.peak_bytes))


def _can_form(draft: Draft, chain: tuple[int, ...], into: tuple[int, ...]) -> bool:
    """Whether each operator of a chain gives its own part of its result in every slice, where it is and where it is formed again."""
    builder, segments = draft.builder, draft.segments
    homes = [s for s in segments if any(s.first <= p <= s.last for p in chain)]
    there = [segments[i] for i in into]
    if any(s.last - s.first + 1 + len(chain) > MOST_OPERATORS for s in there):
        return False
    if not all(_gives(builder, p, s.cuts) for p in chain for s in (*homes, *there)):
        return False
    pieces = [s for s in homes if s.reducer is not None]
    read = {a.storage for p in chain for a in builder.accesses[p] if a.reads}
    return not any(s.first <= w <= s.last for name in read for w in builder.storages[name].writers if w not in chain for s in pieces)


def _gives(builder: SegmentBuilder, position: int, cuts: tuple[Cut, ...]) -> bool:
    mine = builder.streams.loops[builder.order[position].name]
    return all(c.stream in builder.sliceable[position] or c.stream not in mine for c in cuts)


def _over(before: SegmentBuilder, graph: OperatorGraph, names: Sequence[str], came: Mapping[str, str]) -> SegmentBuilder:
    """The builder of a graph with copies, in the order of `names`; a copy takes the cycles of what it forms again, `came`."""
    table, known = {o.name: o for o in graph.operators}, {o.name: o for o in before.order}
    order = tuple(table[n] for n in names)
    streams = find_streams(graph)

    def cycles(operator: Operator, loops: tuple[tuple[str, int], ...]) -> float:
        return before.cycles(known[came.get(operator.name, operator.name)], loops)

    storages = find_storages(graph, order, streams.axes)
    return replace(before, graph=graph, order=order, streams=streams, storages=storages, cycles=cycles, prepare=None)


def _built(before: SegmentBuilder, builder: SegmentBuilder, parts: list[_Part]) -> list[Segment | None] | None:
    """The segments of a draft in a new builder, None for those without operators; None where a stream is none any more."""
    found: list[Segment | None] = []
    first = 0
    for part in parts:
        last = first + len(part.names) - 1
        touched = {a.storage for p in range(first, last + 1) for a in builder.accesses[p]}
        held = part.held & touched
        cuts = _renamed(before, builder, part) if held else ()
        if cuts is None:
            return None
        found.append(builder.build(first, last, cuts, held) if part.names else None)
        first = last + 1
    return found


def _renamed(before: SegmentBuilder, builder: SegmentBuilder, part: _Part) -> tuple[Cut, ...] | None:
    """The cuts of a segment by the streams of another builder, found by the loops that belong to them."""
    cuts = []
    for cut in part.cuts:
        dims = {n: before.streams.loops[n][cut.stream] for n in part.names if cut.stream in before.streams.loops.get(n, {})}
        streams = {s for n, dim in dims.items() for s, d in builder.streams.loops[n].items() if d == dim}
        if len(streams) != 1:
            return None
        cuts.append(Cut(streams.pop(), cut.slices))
    return tuple(cuts)
