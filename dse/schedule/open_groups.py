"""Groups that hold a joint in two halves: how they begin before it and how they end behind it, each found once instead of every pair."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from dse.schedule.candidates import MAX_SEGMENT_OPERATORS, WayBook
from dse.schedule.growth import PIPELINED_SUMS, Growth, Ways
from dse.schedule.joints import blocks, sides
from dse.schedule.lattice import TooWideError, Tree, grown
from dse.schedule.streams import SOFTMAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from dse.schedule.growth import Front, Way
    from dse.schedule.joints import Block
    from dse.schedule.lattice import Dependences, Node
    from dse.schedule.segments import SegmentBuilder
    from dse.schedule.storage import Storage

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]
    BoolArray = NDArray[np.bool_]

NO_WAY: Final = -1


@dataclass(frozen=True, slots=True)
class Beginnings:
    """Groups from their first operator to a joint, without what it passes on; one row for each kind of group and way, [N] each."""

    kind: IntArray
    """Number of the kind in `Joint.kinds`."""
    way: IntArray
    """Number of the way among those of the joint."""
    size: IntArray
    """Operators, the joint among them."""
    dram: FloatArray
    array: FloatArray
    """Array cycles."""
    vector: FloatArray
    """Cycles of the assumed vector unit."""
    whole: FloatArray
    """Bytes held through all slices."""
    closed: FloatArray
    """Most bytes held for a while by the operators before the joint."""
    row: FloatArray
    """Bytes held for a while while the joint runs."""
    copies: FloatArray
    """Bytes held for a while where slices are at different operators."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What operators behind a joint add to a group that holds it and ends with them, for its V ways, [V] each."""

    size: int
    """Operators, without the joint."""
    good: BoolArray
    """Ways that may end so."""
    reduces: BoolArray
    dram: FloatArray
    array: FloatArray
    added: FloatArray
    """Cycles in which sums over a cut are added up."""
    vector: FloatArray
    """Cycles of the assumed vector unit, these among them."""
    held: FloatArray
    """Bytes held through all slices, and running sums."""
    row: FloatArray
    """Bytes held for a while while the joint runs."""
    rest: FloatArray
    """Most bytes held for a while by an operator behind it."""
    copies: FloatArray
    """Bytes held where slices are at different operators, running sums among them."""


@dataclass(frozen=True, slots=True)
class Passage:
    """What all operators from behind a joint to the next one add to a group that goes on there, for the V ways of the former."""

    size: int
    to: IntArray
    """Numbers of the ways at the next joint; `NO_WAY` where a group can't go on."""
    dram: FloatArray
    array: FloatArray
    vector: FloatArray
    whole: FloatArray
    row: FloatArray
    """Bytes held for a while while the former runs."""
    rest: FloatArray
    """Most bytes held for a while between the two."""
    next_row: FloatArray
    """Bytes held for a while while the latter runs."""
    copies: FloatArray


@dataclass(frozen=True, slots=True)
class Joint:
    """A joint with all groups that hold it and more behind it, in halves."""

    position: int
    ways: tuple[Way, ...]
    kinds: tuple[tuple[int, ...], ...]
    """Operators of the beginnings, as masks: those of one kind, as the same parts of other branches, are the same in all columns."""
    beginnings: Beginnings
    endings: tuple[tuple[Ending, tuple[int, ...]], ...]
    """With the operators, without the joint, of all that are the same."""
    passage: Passage | None


class _Half(Growth):
    """A growth whose totals are read before it is a whole group."""

    def behind(self, joint: int, storages: Sequence[Storage]) -> Self:
        """One that holds a joint, of which only `storages` are counted and nothing else."""
        self.members.append(joint)
        self._mask |= 1 << joint
        self.touch(storages)
        return self

    def going(self) -> BoolArray:
        """Ways that may go on behind the last operator, a joint, [V].

        Raises:
            TooWideError: unfinished sums behind a softmax would come and go, of which the halves know too little.
        """
        reduces = self.end().reduces
        going: BoolArray = self._alive & ~reduces
        if self._running is not None:
            going &= self._running < 0
        if (going & self._ways.spilled).any() and any(self._builder.order[p].op_type == SOFTMAX for p in self.members):
            raise TooWideError
        return going

    def beginning(self, going: BoolArray) -> tuple[FloatArray, ...]:
        """The columns of `Beginnings` from `dram` on, of the ways that go on."""
        rows = self._parts[: len(self.members)]
        closed = rows[:-1].max(axis=0, initial=0.0)
        columns = (self._dram, self._array, self._vector, self._whole, closed, rows[-1], self._copies)
        return tuple(c[going] for c in columns)

    def ending(self) -> Ending:
        """The group as it is, behind its joint."""
        end = self.end()
        rows = self._parts[: len(self.members)]
        sums = np.zeros_like(self._dram) if end.sums is None else end.sums
        dram = self._dram if end.spilled is None else self._dram + end.spilled
        good = end.good & (end.reduces | ~self._ways.spilled)
        if (good & (self._held == 0)).any():
            raise TooWideError  # what a joint passes on is held in every way
        self._alive = self._alive & ~end.reduces
        return Ending(
            len(self.members) - 1,
            good,
            end.reduces,
            dram,
            self._array,
            np.zeros_like(self._dram) + end.added,
            self._vector + end.added,
            self._whole + sums,
            rows[0].copy(),
            rows[1:].max(axis=0),
            self._copies + self._whole + sums * PIPELINED_SUMS,
        )

    def passage(self, to: IntArray) -> Passage:
        """The group as it is, from one joint to the next."""
        rows = self._parts[: len(self.members)]
        rest = rows[1:-1].max(axis=0, initial=0.0)
        columns = (self._dram, self._array, self._vector, self._whole, rows[0].copy(), rest, rows[-1].copy(), self._copies)
        return Passage(len(self.members) - 1, to, *columns)


@dataclass(slots=True)
class _Begun:
    """A joint while its groups are being found."""

    position: int
    ways: dict[Way, int]
    kinds: dict[bytes, list[int]]
    """Operators of groups that are the same."""
    columns: list[tuple[FloatArray | IntArray, ...]]
    """Of `Beginnings`, by kind."""

    def add(self, mask: int, *columns: FloatArray | IntArray) -> None:
        """A group with the columns of `Beginnings` but the first."""
        key = _key(columns)
        if key not in self.kinds:
            self.columns.append((np.full(len(columns[0]), len(self.kinds)), *columns))
        self.kinds.setdefault(key, []).append(mask)


def _key(columns: Iterable[NDArray[Any]]) -> bytes:
    """Equal for equal columns."""
    return b"".join([c.tobytes() for c in columns])


class BlockTrees:
    """The sets of every block, and those that begin with the joint before it."""

    def __init__(self, builder: SegmentBuilder, deps: Dependences) -> None:
        """
        Raises:
            TooWideError: more than `MOST_SETS` sets in all blocks.
        """
        tree = Tree(deps)
        self.blocks = blocks(builder, deps)
        self.inside = [[tree.root(p, b.last) for p in range(b.first, b.last + 1)] for b in self.blocks]
        self.behind = [None if b.before is None else tree.root(b.before, b.last) for b in self.blocks]

    @property
    def sets(self) -> int:
        """Groups of the whole graph: those within blocks, and every beginning before a joint with every end behind it."""
        count = 0
        begun = np.zeros(MAX_SEGMENT_OPERATORS + 1, dtype=np.int64)  # groups that hold the last joint and go on, by size
        for block, roots, root in zip(self.blocks, self.inside, self.behind, strict=True):
            through = np.zeros_like(begun)
            for size, position in _connected(root) if root is not None else ():
                count += int(begun[: MAX_SEGMENT_OPERATORS + 2 - size].sum()) if size > 1 else 0
                if position == block.last and size > 1:
                    through[size - 1 :] = begun[: len(begun) + 1 - size]
            begun = through
            for size, position in (x for r in roots for x in _connected(r)):
                count += 1
                begun[size] += position == block.last
        return count


def _connected(root: Node) -> Iterator[tuple[int, int]]:
    """Operators and the last one of every connected set of a tree."""
    stack = [(root, 1)]
    while stack:
        node, size = stack.pop()
        if node.connected:
            yield size, node.position
        stack += [(n, size + 1) for n in node.below]


class Halves:
    """The groups of a graph: those within a block as fronts, those that hold a joint and more behind it in halves."""

    def __init__(self, builder: SegmentBuilder, trees: BlockTrees, most_bytes: float, elements: int) -> None:
        """
        Raises:
            TooWideError: no joint.
        """
        self._builder, self._most, self._elements = builder, most_bytes, elements
        self._book = WayBook(builder)
        self.fronts: list[Front] = []
        """Those of all groups that hold no joint but as their last operator."""
        self.joints: list[Joint] = []
        if len(trees.blocks) == 1:
            raise TooWideError
        last: _Begun | None = None
        for block, roots, root in zip(trees.blocks, trees.inside, trees.behind, strict=True):
            begun = _Begun(block.last, {}, {}, [])
            for r in roots:
                self._grow(r, block, begun)
            if last is not None and root is not None:
                self.joints.append(self._joint(last, root, block, begun))
            last = begun

    def _grow(self, root: Node, block: Block, begun: _Begun) -> None:
        """The groups within a block that begin with `root`; those that hold its joint are begun there too."""
        ways = self._book.starting(root.position)
        left, right = sides(self._builder, block.last) if block.joint else ((), ())
        halved = {block.last: left} if block.joint else {}
        for growth in grown(root, _Half(ways, self._most, self._elements), halved):
            if block.joint and growth.members[-1] == block.last:
                going = growth.going()
                if going.any():
                    number = [begun.ways.setdefault(ways.ways[v], len(begun.ways)) for v in np.flatnonzero(going).tolist()]
                    begun.add(growth.mask, np.array(number), np.full(len(number), len(growth.members)), *growth.beginning(going))
                growth.touch(right)
            front = growth.front()
            if front is not None:
                self.fronts.append(front)

    def _joint(self, last: _Begun, root: Node, block: Block, begun: _Begun) -> Joint:
        """A joint with what `block`, that behind it, adds to its groups."""
        ways = Ways(self._builder, tuple(last.ways))
        left, right = sides(self._builder, block.last) if block.joint else ((), ())
        halved = {block.last: left} if block.joint else {}
        half = _Half(ways, self._most, self._elements).behind(last.position, sides(self._builder, last.position)[1])
        endings: dict[bytes, tuple[Ending, list[int]]] = {}
        passage = None
        for growth in grown(root, half, halved, begun=True):
            if block.joint and growth.members[-1] == block.last:
                going = growth.going()
                to = np.full(len(ways.ways), NO_WAY)
                for v in np.flatnonzero(going).tolist():
                    to[v] = begun.ways.setdefault(ways.ways[v], len(begun.ways))
                passage = growth.passage(to)
                growth.touch(right)
            ending = growth.ending()
            columns = [np.asarray(getattr(ending, f.name)) for f in fields(Ending)]
            endings.setdefault(_key(columns), (ending, []))[1].append(growth.mask & ~(1 << last.position))
        beginnings = Beginnings(*(np.concatenate(c) for c in zip(*last.columns, strict=True)))
        ended = tuple((e, tuple(masks)) for e, masks in endings.values())
        return Joint(last.position, tuple(last.ways), tuple(map(tuple, last.kinds.values())), beginnings, ended, passage)
