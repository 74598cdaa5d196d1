"""What transfers between cores and memories take of the channels, for one byte of a tensor: found once, scaled by its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.schedule.cores.parts import Division, Move, moves

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dse.hw.many_core import Chip

    Tree = tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]
    """(numbers of the channels, its routes) of a multicast."""
    Touched = tuple[tuple[int, float], ...]
    """(core, bytes of its memory)."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A transfer of one byte in all, from everyone who holds a piece to everyone who needs one."""

    channels: tuple[tuple[int, float], ...]
    """(number of the channel, bytes that cross it)."""
    seconds: float
    """Until the last byte is there, latencies apart: the busiest channel."""
    latency_s: float
    """Longest latency of a route."""
    pj: float
    """Energy of the channels."""
    sent: float
    """Bytes read at the sources: a multicast is read once."""
    ways: tuple[tuple[int, ...], ...] = ()
    """Channels of each route whose latencies add up."""
    reads: tuple[tuple[int, float], ...] = ()
    """(core, bytes that are read from its memory)."""
    writes: tuple[tuple[int, float], ...] = ()
    """(core, bytes that are written to its memory)."""


class Transfers:
    """Patterns of one chip, each found once."""

    def __init__(self, chip: Chip) -> None:
        self.chip = chip
        self.number = {c.name: i for i, c in enumerate(chip.interconnect.channels)}
        channels = chip.interconnect.channels
        self._rates = np.array([c.bytes_per_s for c in channels])
        self._pj = np.array([c.pj_per_byte for c in channels])
        self._found: dict[object, Pattern | None] = {}
        self._latencies = [c.latency_s for c in channels]
        self._late = any(self._latencies)
        self._routes: dict[tuple[str, str], tuple[int, ...] | None] = {}
        self._trees: dict[tuple[str, tuple[int, ...]], Tree | None] = {}

    def to_reader(self, axes: frozenset[str], holder: Division | str, reader: Division) -> Pattern | None:
        """From `holder` (cores, or the name of a memory's node) to the parts of `reader`; None where no route leads.

        `axes`: the streams that index the tensor; parts divided along one of them read their own range of it.
        """
        has = reader.stream in axes, reader.second in axes
        lies: tuple[object, ...]
        if isinstance(holder, str):
            lies = (holder,)
        elif holder.ways > 1 and not holder.reduces:
            streams = reader.stream, reader.second
            same = tuple(streams.index(s) if s is not None and s in streams else None for s in (holder.stream, holder.second))
            lies = holder.cores, holder.second_ways, same
        else:
            lies = (holder.cores[:1],)
        key = ("read", has, lies, reader.cores, reader.second_ways)
        if key not in self._found:
            self._found[key] = self._to_reader(axes, holder, reader)
        return self._found[key]

    def _to_reader(self, axes: frozenset[str], holder: Division | str, reader: Division) -> Pattern | None:
        if isinstance(holder, str):
            return self._pattern((holder, m) for m in moves(1.0, axes, None, reader))
        cores = self.chip.cores
        return self._pattern((cores[m.source].name, m) for m in moves(1.0, axes, holder, reader) if m.source is not None)

    def to_memory(self, holder: Division, node: str) -> Pattern | None:
        """From the cores that hold the pieces of a tensor to a memory's node; None where no route leads."""
        pieces = holder.cores if not holder.reduces else holder.cores[:1]
        key = ("write", pieces, node)
        if key not in self._found:
            names = [self.chip.cores[c].name for c in pieces]
            reads = tuple((c, 1.0 / len(pieces)) for c in pieces)
            self._found[key] = self._gather([(name, node, 1.0 / len(names)) for name in names], reads, ())
        return self._found[key]

    def to_first(self, holder: Division) -> Pattern | None:
        """Partial sums of the whole result, one byte on every core, from all others to the first; None where no route leads."""
        key = ("reduce", holder.cores)
        if key not in self._found:
            names = [self.chip.cores[c].name for c in holder.cores]
            reads, writes = tuple((c, 1.0) for c in holder.cores[1:]), ((holder.cores[0], float(len(names) - 1)),)
            self._found[key] = self._gather([(name, names[0], 1.0) for name in names[1:]], reads, writes)
        return self._found[key]

    def _pattern(self, sent: Iterable[tuple[str, Move]]) -> Pattern | None:
        crossed: list[tuple[int, ...]] = []
        sizes: list[float] = []
        ways: list[tuple[int, ...]] = []
        reads: dict[int, float] = {}
        writes: dict[int, float] = {}
        for source, move in sent:
            tree = self._tree(source, move.targets)
            if tree is None:
                return None
            crossed.append(tree[0])
            sizes.append(move.size_bytes)
            ways += tree[1]
            if move.source is not None:
                reads[move.source] = reads.get(move.source, 0.0) + move.size_bytes
            for core in move.targets:
                writes[core] = writes.get(core, 0.0) + move.size_bytes
        return self._made(crossed, sizes, ways, tuple(reads.items()), tuple(writes.items()))

    def _gather(self, sent: list[tuple[str, str, float]], reads: Touched, writes: Touched) -> Pattern | None:
        routes = [self._route(source, target) for source, target, _ in sent]
        if None in routes:
            return None
        found = [r for r in routes if r is not None]
        return self._made(found, [size for _, _, size in sent], found, reads, writes)

    def _route(self, source: str, target: str) -> tuple[int, ...] | None:
        """Numbers of the channels from node to node."""
        if (source, target) not in self._routes:
            joined = self.chip.interconnect.connected(source, target)
            route = self.chip.interconnect.route(source, target) if joined else ()
            self._routes[source, target] = tuple(self.number[c.name] for c in route) if joined else None
        return self._routes[source, target]

    def _tree(self, source: str, targets: tuple[int, ...]) -> Tree | None:
        """Numbers of the channels of a multicast, and its routes."""
        cores = self.chip.cores
        if len(targets) == 1:
            only = self._route(source, cores[targets[0]].name)
            return None if only is None else (only, (only,))
        if (source, targets) not in self._trees:
            names = [cores[t].name for t in targets]
            routes = [self._route(source, name) for name in names]
            if None in routes:
                self._trees[source, targets] = None
            else:
                tree = tuple(self.number[c.name] for c in self.chip.interconnect.tree(source, names))
                self._trees[source, targets] = tree, (tree,) if len(tree) == 1 else tuple(r for r in routes if r is not None)
        return self._trees[source, targets]

    def _made(
        self, crossed: Sequence[tuple[int, ...]], sizes: list[float], ways: Sequence[tuple[int, ...]], reads: Touched, writes: Touched
    ) -> Pattern:
        numbers = np.array([c for channels in crossed for c in channels], dtype=np.int64)
        each = np.repeat(np.array(sizes), [len(c) for c in crossed]) if crossed else np.zeros(0)
        total = np.bincount(numbers, weights=each, minlength=len(self.number)) if len(numbers) else np.zeros(len(self.number))
        used = np.flatnonzero(total)
        channels = tuple((int(c), float(total[c])) for c in used)
        seconds = float((total / self._rates).max()) if len(total) else 0.0
        different = tuple(dict.fromkeys(w for w in ways if w))
        latency = max((sum(self._latencies[c] for c in way) for way in different), default=0.0) if self._late else 0.0
        return Pattern(channels, seconds, latency, float(total @ self._pj), float(sum(sizes)), different, reads, writes)
