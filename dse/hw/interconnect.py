"""Nodes of a chip and the channels between them: routes, and the tree of channels that one multicast crosses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from heapq import heappop, heappush
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Channel:
    """One resource that carries one transfer at a time: a direction of a link, a bus, or the port of a memory."""

    name: str
    sources: tuple[str, ...]
    """Nodes that may send over it."""
    targets: tuple[str, ...]
    """Nodes that it reaches."""
    bytes_per_s: float
    pj_per_byte: float
    latency_s: float
    """Seconds from the first byte sent to the first received."""
    path: str = ""
    """What of the chip's file gives its rate, energy and latency: `links.bus`, `memories.hbm`."""


@dataclass(frozen=True)
class Interconnect:
    """Channels between named nodes.

    A route takes the channels of least time per byte when all nodes that may send over them do: a link of one's own is
    preferred to a bus of the same rate.
    """

    nodes: tuple[str, ...]
    channels: tuple[Channel, ...]
    gates: tuple[tuple[str, str], ...] = ()
    """(gate, what is behind it): nodes that routes enter only on the way to what is behind them, and leave only from there."""

    @cached_property
    def by_name(self) -> Mapping[str, Channel]:
        """Channels by name."""
        return {c.name: c for c in self.channels}

    @cached_property
    def _leaving(self) -> Mapping[str, tuple[Channel, ...]]:
        """Channels over which each node may send."""
        found: dict[str, list[Channel]] = {node: [] for node in self.nodes}
        for c in self.channels:
            for node in c.sources:
                found[node].append(c)
        return {node: tuple(channels) for node, channels in found.items()}

    @cached_property
    def _found(self) -> dict[str, Mapping[str, tuple[Channel, ...]]]:
        return {}

    def _routes_from(self, source: str) -> Mapping[str, tuple[Channel, ...]]:
        """Routes to every node that `source` reaches; found once, by Dijkstra's algorithm over channels: each is gone over once, from the
        first of its nodes that is reached, however many it joins."""
        if source in self._found:
            return self._found[source]
        gates, own = dict(self.gates), {source} | {gate for gate, behind in self.gates if behind == source}
        seconds: dict[str, float] = {source: 0.0}
        before: dict[str, tuple[str, Channel]] = {}
        done: set[str] = set()
        crossed: set[str] = set()
        queue: list[tuple[float, int, str]] = [(0.0, 0, source)]
        pushed = 0
        while queue:
            at, _, node = heappop(queue)
            if node in done:
                continue
            done.add(node)
            only = gates[node] if node in gates and node not in own else None
            for c in self._leaving[node]:
                if c.name in crossed:
                    continue
                if only is None:
                    crossed.add(c.name)
                there = at + len(c.sources) / c.bytes_per_s
                for target in c.targets:
                    if target != node and (only is None or target == only) and there < seconds.get(target, inf):
                        seconds[target], before[target] = there, (node, c)
                        pushed += 1
                        heappush(queue, (there, pushed, target))
        self._found[source] = _ways(source, before)
        return self._found[source]

    def connected(self, source: str, target: str) -> bool:
        """Whether any route leads from `source` to `target`."""
        return target in self._routes_from(source)

    def route(self, source: str, target: str) -> tuple[Channel, ...]:
        """Channels from `source` to `target`, in order; none where they are the same node.

        A bus counts once however many stretches of the route it carries.

        Raises:
            KeyError: no route; check `connected` first.
        """
        return tuple(dict.fromkeys(self._routes_from(source)[target]))

    def tree(self, source: str, targets: Iterable[str]) -> tuple[Channel, ...]:
        """Channels that one multicast from `source` crosses, each once: the union of its routes, or one bus of all where that is faster."""
        to = tuple(targets)
        tree = tuple(dict.fromkeys(c for t in to for c in self.route(source, t)))
        if len(to) < 2 or len(tree) < 2:
            return tree
        slowest = min(c.bytes_per_s for c in tree)
        buses = [c for c in self._buses if source in c.sources and all(t in c.targets for t in to) and c.bytes_per_s > slowest]
        return (max(buses, key=lambda c: c.bytes_per_s),) if buses else tree

    @cached_property
    def _buses(self) -> tuple[Channel, ...]:
        return tuple(c for c in self.channels if len(c.targets) > 2)


def _ways(source: str, before: Mapping[str, tuple[str, Channel]]) -> Mapping[str, tuple[Channel, ...]]:
    """Routes from `source` to every node, each given by the node and the channel before it."""
    routes: dict[str, tuple[Channel, ...]] = {source: ()}
    for target in before:
        way: list[Channel] = []
        node = target
        while node != source:
            node, channel = before[node]
            way.append(channel)
        routes[target] = tuple(reversed(way))
    return routes


def transfer_s(channels: Iterable[Channel], size_bytes: float) -> float:
    """Seconds that a transfer holds its channels: bytes at the slowest rate, plus the latencies along the way."""
    taken = tuple(channels)
    if not taken or size_bytes == 0:
        return 0.0
    return size_bytes / min(c.bytes_per_s for c in taken) + sum(c.latency_s for c in taken)


def transfer_pj(channels: Iterable[Channel], size_bytes: float) -> float:
    """Picojoules of a transfer: every channel that it crosses."""
    return size_bytes * sum(c.pj_per_byte for c in channels)
