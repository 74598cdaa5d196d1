"""Groups: operators that run one after the other on the same cores, slice by slice where they are fused."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from dse.ir.graph import check_graph
from dse.ir.operator import Kind
from dse.schedule.segments import Cut, SegmentBuilder
from dse.schedule.storage import find_storages, touched_bytes
from dse.schedule.streams import as_late_as_possible, find_streams

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.ir.graph import OperatorGraph
    from dse.ir.operator import Operand, Operator
    from dse.ir.tensor import Role
    from dse.schedule.segments import Segment
    from dse.schedule.storage import Storage
    from dse.schedule.streams import Streams


@dataclass(frozen=True, slots=True)
class Flow:
    """Bytes of one storage that enter or leave a group."""

    storage: str
    role: Role
    size_bytes: float
    """Distinct bytes that the group touches of it."""
    streams: frozenset[str]
    """Streams along which a part of the group touches its own range only."""


@dataclass(frozen=True)
class Group:
    """One unit of the plan: operators `first` to `last` of the order."""

    first: int
    last: int
    operators: tuple[Operator, ...]
    cuts: tuple[Cut, ...]
    held: frozenset[str]
    """Storages of which a slice stays on chip while the group runs."""
    reads: tuple[Flow, ...]
    writes: tuple[Flow, ...]

    def __hash__(self) -> int:
        """Of what tells groups of one graph apart: all else follows from it, and is long."""
        return hash((self.first, self.last, self.cuts, self.held))

    @property
    def name(self) -> str:
        """Name of its first operator, with the number of those that follow."""
        more = len(self.operators) - 1
        return self.operators[0].name + (f" +{more}" if more else "")

    @property
    def multiplies(self) -> bool:
        """Whether it needs an array."""
        return any(o.kind is Kind.CONTRACTION for o in self.operators)


@dataclass(frozen=True)
class Work:
    """A graph with its order, streams and storages: what groups are made of."""

    graph: OperatorGraph
    order: tuple[Operator, ...]
    streams: Streams
    storages: Mapping[str, Storage]

    @cached_property
    def builder(self) -> SegmentBuilder:
        """Builds segments of the whole graph; cycles are found elsewhere."""
        return SegmentBuilder(self.graph, self.order, self.streams, self.storages, lambda operator, loops: 0.0)

    @cached_property
    def groups(self) -> dict[object, Group]:
        """Groups made so far: ways to form groups share most of them."""
        return {}

    @cached_property
    def stays(self) -> tuple[tuple[str, int, int], ...]:
        """Storages of intermediates with the first and the last operator that touches each."""
        inside = (s for s in self.storages.values() if s.writers and not (s.from_outside or s.to_outside))
        return tuple((s.name, min((*s.writers, *s.readers)), max((*s.writers, *s.readers))) for s in inside)


def find_work(graph: OperatorGraph) -> Work:
    """The schedule order of `graph` with what follows from it.

    Raises:
        GraphError: operators that wait for each other in a circle, or anything else that is wrong with the order.
    """
    check_graph(graph)
    order, streams = as_late_as_possible(graph), find_streams(graph)
    return Work(graph, order, streams, find_storages(graph, order, streams.axes))


def single_groups(work: Work) -> tuple[Group, ...]:
    """Every operator alone."""
    return tuple(make_group(work, p, p, (), frozenset()) for p in range(len(work.order)))


def fused_groups(work: Work, segments: tuple[Segment, ...]) -> tuple[Group, ...]:
    """The segments of a plan of one core as groups."""
    return tuple(make_group(work, s.first, s.last, s.cuts, s.held) for s in segments)


def make_group(work: Work, first: int, last: int, cuts: tuple[Cut, ...], held: frozenset[str]) -> Group:
    """Operators `first` to `last` with what they read from and write for others.

    Of a storage that several of them read the largest share counts once: it is loaded for the first and, where the group holds it,
    kept for the others; what is read again is counted when the group is priced. Made once.
    """
    key = first, last, cuts, held
    if key not in work.groups:
        work.groups[key] = _made_group(work, first, last, cuts, held)
    return work.groups[key]


def _made_group(work: Work, first: int, last: int, cuts: tuple[Cut, ...], held: frozenset[str]) -> Group:
    operators = work.order[first : last + 1]
    inside = {name for name, low, high in work.stays if first <= low and high <= last}
    return Group(
        first,
        last,
        operators,
        cuts,
        held,
        _flows(work, operators, inside, reads=True),
        _flows(work, operators, inside, reads=False),
    )


def _flows(work: Work, operators: tuple[Operator, ...], inside: set[str], *, reads: bool) -> tuple[Flow, ...]:
    found: dict[str, Flow] = {}
    written: set[str] = set()
    for operator in operators:
        for x in operator.inputs if reads else operator.outputs:
            name = work.graph.tensors[x.tensor].storage
            if x.elements and name not in inside and not (reads and name in written):
                found[name] = _merged(work, name, x, found.get(name), adds=not reads)
        made = (work.graph.tensors[x.tensor].storage for x in operator.outputs)
        written |= {s for s in made if s not in work.storages or not work.storages[s].from_outside}
    return tuple(found.values())


def _merged(work: Work, storage: str, x: Operand, before: Flow | None, *, adds: bool) -> Flow:
    size, streams = touched_bytes(work.graph, x), work.streams.axes[x.tensor]
    role = work.graph.tensors[storage].role
    if before is None:
        return Flow(storage, role, size, streams)
    total = before.size_bytes + size if adds else max(before.size_bytes, size)
    whole = float(work.graph.tensors[storage].size_bytes)
    return Flow(storage, role, min(total, whole), before.streams & streams)
