"""Every group that some order of the operators allows: connected sets that nothing outside lies between; and the downsets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from dse.schedule.candidates import MAX_SEGMENT_OPERATORS, WayBook
from dse.schedule.growth import Growth
from dse.schedule.repeats import Repeats

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    from dse.schedule.growth import Front
    from dse.schedule.segments import SegmentBuilder
    from dse.schedule.storage import Storage

GrowthT = TypeVar("GrowthT", bound=Growth)

MOST_SETS: Final = 20_000
"""Sets of operators looked at before a graph counts as too wide; what a graph of 400 operators in blocks of two branches needs."""
MOST_DOWNSETS: Final = 5_000
"""And states of the dynamic programme."""


@dataclass(frozen=True)
class Dependences:
    """Which operators of a schedule order need which, as bit masks over its positions."""

    needed: tuple[int, ...]
    """What each needs, directly or not."""
    needing: tuple[int, ...]
    """What needs it, directly or not."""
    beside: tuple[int, ...]
    """What touches a storage that it touches."""


def dependences(builder: SegmentBuilder) -> Dependences:
    """Dependences through storages: readers wait for writers before them in the order, writers for readers and writers."""
    needed: list[int] = []
    readers: dict[str, int] = {}
    writers: dict[str, int] = {}
    for p, accesses in enumerate(builder.accesses):
        direct = 0
        for a in accesses:
            direct |= writers.get(a.storage, 0) | (0 if a.reads else readers.get(a.storage, 0))
        for a in accesses:
            table = readers if a.reads else writers
            table[a.storage] = table.get(a.storage, 0) | 1 << p
        direct &= ~(1 << p)
        for q in bits(direct):
            direct |= needed[q]
        needed.append(direct)
    needing = [0] * len(needed)
    for p, mask in enumerate(needed):
        for q in bits(mask):
            needing[q] |= 1 << p
    touching = {s: readers.get(s, 0) | writers.get(s, 0) for s in {*readers, *writers}}
    beside = []
    for p, accesses in enumerate(builder.accesses):
        mask = 0
        for a in accesses:
            mask |= touching[a.storage]
        beside.append(mask & ~(1 << p))
    return Dependences(tuple(needed), tuple(needing), tuple(beside))


def bits(mask: int) -> Iterator[int]:
    """Positions of the ones of `mask`, ascending."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


class TooWideError(Exception):
    """A graph has more sets or downsets than are looked at; never leaves this package."""


@dataclass(slots=True)
class Node:
    """A set of operators, as its last operator and the set before; `useful` where it or one that it grows into is connected."""

    position: int
    connected: bool
    below: list[Node]

    @property
    def useful(self) -> bool:
        """Whether it is a group or grows into one."""
        return self.connected or bool(self.below)

    def shape(self, first: int, inside: set[int]) -> Hashable:
        """The sets, positions counted from `first`; their operators are put into `inside`."""
        inside.add(self.position)
        return self.position - first, self.connected, tuple([n.shape(first, inside) for n in self.below])


class Tree:
    """Connected convex sets as a tree: operators are added in the schedule order, sets that share their first ones share a path."""

    def __init__(self, deps: Dependences) -> None:
        self._deps = deps
        self._all = (1 << len(deps.needed)) - 1
        self._left = MOST_SETS
        self._beside: dict[int, int] = {}

    def root(self, position: int, last: int | None = None) -> Node:
        """The sets that begin with an operator, of operators up to `last` of the schedule order.

        Raises:
            TooWideError: more than `MOST_SETS` sets in all roots.
        """
        self._all = (1 << (len(self._deps.needed) if last is None else last + 1)) - 1
        return self._node(position, [1 << position], 1 << position, self._deps.needing[position], 0, 1)

    def _node(self, position: int, parts: list[int], mask: int, below: int, barred: int, size: int) -> Node:
        """`parts`: connected parts of `mask`; `below`: what needs something in it; `barred`: what can't be added, as something left out
        lies before it."""
        self._left -= 1
        if self._left < 0:
            raise TooWideError
        deps = self._deps
        node = Node(position, len(parts) == 1, [])
        if size == MAX_SEGMENT_OPERATORS:
            return node
        near = [self._near(part) for part in parts]
        later = self._all & ~((1 << position + 1) - 1)
        for t in bits(later):
            bit = 1 << t
            if barred & bit:
                continue
            open_ = self._all & ~((1 << t) - 1) & ~barred
            if any(not n & open_ for n in near):
                break  # a part that nothing can join to the others any more, or a set that cannot grow
            joined = mask | bit
            touched = [part for part, n in zip(parts, near, strict=True) if n & bit]
            others = [part for part, n in zip(parts, near, strict=True) if not n & bit]
            merged = [*others, bit | sum(touched)]
            if len(merged) == 1 or all(self._near(part) & open_ & ~bit for part in merged):
                child = self._node(t, merged, joined, below | deps.needing[t], barred, size + 1)
                if child.useful:
                    node.below.append(child)
            if below & bit:
                barred |= deps.needing[t]
        return node

    def _near(self, part: int) -> int:
        found = self._beside.get(part)
        if found is None:
            found = 0
            for p in bits(part):
                found |= self._deps.beside[p]
            found = self._beside[part] = found & ~part
        return found


def every_group(builder: SegmentBuilder, deps: Dependences, most_bytes: float, elements: int) -> list[Front]:
    """The fronts of all connected sets of at most `MAX_SEGMENT_OPERATORS` operators that nothing outside lies between.

    Operators of a group run in the schedule order. A set in several parts that share nothing is as good as its parts one after
    another, so it is left out.

    Raises:
        TooWideError: more than `MOST_SETS` sets.
    """
    tree = Tree(deps)
    roots = [tree.root(p) for p in range(len(builder.order))]
    book, repeats = WayBook(builder), Repeats(builder)
    found: list[Front] = []
    for root in roots:
        first = root.position
        inside: set[int] = set()
        shape = root.shape(first, inside)
        context = repeats.context(first, inside, shape)
        fronts = repeats.known(context)
        if fronts is None:
            every = grown(root, Growth(book.starting(first), most_bytes, elements))
            fronts = [front for growth in every if (front := growth.front()) is not None]
            repeats.keep(context, fronts)
        found += fronts
    return found


def grown(root: Node, growth: GrowthT, in_part: Mapping[int, Sequence[Storage]] | None = None, *, begun: bool = False) -> Iterator[GrowthT]:
    """The connected sets that begin with `root`, one after another, as growths that their `Growth.front` is asked of before the next;
    `begun` where the growth holds `root` already, which is then left out. Of operators `in_part` only some storages are counted."""
    only = in_part or {}
    stack: list[tuple[Node, GrowthT, tuple[int, ...]]] = [(root, growth, ())]
    while stack:
        node, growth, waiting = stack.pop()
        if not (begun and node is root):
            waiting = (*waiting, node.position)
            if node.connected:
                if not all(growth.take(p, only.get(p)) for p in waiting):
                    continue
                waiting = ()
                yield growth
                if not growth.alive:
                    continue
        for i, child in enumerate(reversed(node.below)):
            last = i == len(node.below) - 1
            stack.append((child, growth if last else growth.copy(), waiting))


def downsets(deps: Dependences) -> list[int]:
    """Sets that hold with each operator all that it needs, smallest first.

    Raises:
        TooWideError: more than `MOST_DOWNSETS`.
    """
    layer, found = [0], [0]
    for _ in deps.needed:
        above: dict[int, None] = {}
        for mask in layer:
            for p in range(len(deps.needed)):
                if not mask >> p & 1 and not deps.needed[p] & ~mask:
                    above[mask | 1 << p] = None
        layer = sorted(above)
        found += layer
        if len(found) > MOST_DOWNSETS:
            raise TooWideError
    return found
