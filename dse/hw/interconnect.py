"""Nodes of a chip and the channels between them: routes, and the tree of channels that one multicast crosses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import networkx as nx


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
    def _network(self) -> nx.DiGraph:
        import networkx as nx  # 0.1 s, which accelerators of one core need not spend

        net: nx.DiGraph = nx.DiGraph()
        net.add_nodes_from(self.nodes)
        for c in self.channels:
            for a in c.sources:
                for b in c.targets:
                    seconds = len(c.sources) / c.bytes_per_s
                    if a != b and (not net.has_edge(a, b) or seconds < net.edges[a, b]["seconds"]):
                        net.add_edge(a, b, channel=c, seconds=seconds)
        return net

    @cached_property
    def _found(self) -> dict[str, Mapping[str, tuple[Channel, ...]]]:
        return {}

    def _routes_from(self, source: str) -> Mapping[str, tuple[Channel, ...]]:
        """Routes to every node that `source` reaches; found once."""
        import networkx as nx

        if source not in self._found:
            own = {source} | {gate for gate, behind in self.gates if behind == source}

            def seconds(u: str, v: str, edge: Mapping[str, float]) -> float | None:
                blocked = u in gates and u not in own and gates[u] != v
                return None if blocked else edge["seconds"]

            gates = dict(self.gates)
            paths = nx.single_source_dijkstra_path(self._network, source, weight=seconds)
            channel = self._network.edges
            self._found[source] = {b: tuple(channel[u, v]["channel"] for u, v in pairwise(path)) for b, path in paths.items()}
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


def transfer_s(channels: Iterable[Channel], size_bytes: float) -> float:
    """Seconds that a transfer holds its channels: bytes at the slowest rate, plus the latencies along the way."""
    taken = tuple(channels)
    if not taken or size_bytes == 0:
        return 0.0
    return size_bytes / min(c.bytes_per_s for c in taken) + sum(c.latency_s for c in taken)


def transfer_pj(channels: Iterable[Channel], size_bytes: float) -> float:
    """Picojoules of a transfer: every channel that it crosses."""
    return size_bytes * sum(c.pj_per_byte for c in channels)
