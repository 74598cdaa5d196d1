"""What collectives cost: alpha-beta time with contention by topology, for ring, tree, direct and hierarchical algorithms."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import ceil, log2
from typing import TYPE_CHECKING, Final

from dse.errors import UsageError
from dse.system.system import Operation, Topology

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.system.system import LinkLevel, Protocol, System


class Algorithm(StrEnum):
    """How a collective is run on one level."""

    RING = "ring"
    """Each member passes on one share per step."""
    TREE = "tree"
    """Doubling distances: few steps; reduces and broadcasts the whole buffer in an all-reduce."""
    DIRECT = "direct"
    """Every member sends to every other at once."""
    IN_NETWORK = "in_network"
    """The switch adds up and multicasts."""


ALGORITHMS: Final = {
    Operation.ALL_REDUCE: (Algorithm.RING, Algorithm.TREE, Algorithm.DIRECT, Algorithm.IN_NETWORK),
    Operation.ALL_GATHER: (Algorithm.RING, Algorithm.TREE, Algorithm.DIRECT),
    Operation.REDUCE_SCATTER: (Algorithm.RING, Algorithm.TREE, Algorithm.DIRECT),
    Operation.ALL_TO_ALL: (Algorithm.RING, Algorithm.DIRECT),
}
"""Which algorithms an operation has."""


@dataclass(frozen=True, slots=True)
class CollectiveCost:
    """Time of one collective, what each chip puts on its links, and how it was run."""

    seconds: float
    wire_bytes: float
    """Bytes that one chip sends, all levels together."""
    energy_j: float
    """Of all chips that take part."""
    algorithm: str


def wire_bytes(operation: Operation, algorithm: Algorithm, size_bytes: float, ranks: int) -> float:
    """Bytes that one of `ranks` members sends.

    `size_bytes` S is the buffer as nccl-tests reports it: of an all-reduce the buffer of one rank; of an all-gather all that
    a rank has in the end; of a reduce-scatter or all-to-all all that a rank has at the start.

        all-reduce   ring, direct 2 S (n-1)/n; tree 2 S; in network S (n+1)/n
        others       S (n-1)/n; all-to-all by ring S (n-1)/2, as every share travels n/2 hops of (n-1)/n of S on average

    Source: Thakur, Rabenseifner, Gropp 2005 (doi 10.1177/1094342005051521), sections 4.1 to 4.5; in network: a member's
    data is read once (S), its reduced share written once (S/n). Worked number: all-reduce of 8 bytes by ring over 4: 12.
    """
    share = size_bytes * (ranks - 1) / ranks
    if operation is Operation.ALL_TO_ALL:
        return size_bytes * (ranks - 1) / 2 if algorithm is Algorithm.RING else share
    if operation is not Operation.ALL_REDUCE:
        return share
    return {
        Algorithm.RING: 2 * share,
        Algorithm.DIRECT: 2 * share,
        Algorithm.TREE: 2 * size_bytes,
        Algorithm.IN_NETWORK: size_bytes * (ranks + 1) / ranks,
    }[algorithm]


def steps(operation: Operation, algorithm: Algorithm, ranks: int) -> int:
    """Messages that follow one another: n-1 (ring), ceil(log2 n) (tree), 1 (direct); twice that for an all-reduce.

    An all-reduce in the network takes 2: up and down. Source: as `wire_bytes`.
    """
    twice = 2 if operation is Operation.ALL_REDUCE else 1
    match algorithm:
        case Algorithm.RING:
            return twice * (ranks - 1)
        case Algorithm.TREE:
            return twice * ceil(log2(ranks))
        case Algorithm.DIRECT:
            return twice
        case Algorithm.IN_NETWORK:
            return 2


def contention(link: LinkLevel, operation: Operation, algorithm: Algorithm, ranks: int) -> float:
    """How many times longer the bytes take than at the full rate of a chip, because links are shared.

    Switch: 1. Ring and torus: neighbour traffic uses all ports, so 1 for ring algorithms; traffic to everybody loads each
    link with the average distance. In dimension i of d, of size a, a chip has 2 ports of rate / (2 d) each:

        torus   d n/(n-1) a/4 (a even), d n/(n-1) (a^2-1)/(4 a) (a odd)
        mesh    d n/(n-1) a/2 (a even), d n/(n-1) (a^2-1)/(2 a) (a odd): the middle link
        fat tree  oversubscription x share of bytes that leave the leaf, at least 1

    and the largest over the dimensions counts. On a mesh a corner has half its ports: 2 for neighbour traffic. Uniform
    traffic, dimension-order routing. Derived here; ring of 4: 4/3, as one third of the bytes goes 2 hops.
    """
    everybody = operation is Operation.ALL_TO_ALL or algorithm in (Algorithm.DIRECT, Algorithm.TREE)
    if link.topology is Topology.SWITCH or ranks == 1:
        return 1.0
    if link.topology is Topology.FAT_TREE:
        leaf = min(link.leaf_members, ranks)
        leaving = (ranks - leaf) / (ranks - 1) if everybody else 1 / leaf
        return max(1.0, link.oversubscription * leaving) if ranks > leaf else 1.0
    mesh = link.topology is Topology.MESH
    if not everybody or algorithm is Algorithm.RING:
        return 2.0 if mesh else 1.0
    sides = _sides(link, ranks)
    worst = max((a if a % 2 == 0 else (a * a - 1) / a) / (2 if mesh else 4) for a in sides)
    return max(1.0, len(sides) * worst * ranks / (ranks - 1))


def _sides(link: LinkLevel, ranks: int) -> tuple[int, ...]:
    """Sides of the part of the grid that `ranks` members fill, innermost dimension first."""
    sides: list[int] = []
    left = ranks
    for side in link.shape:
        here = min(side, left)
        sides.append(here)
        left = -(-left // here)
    return tuple(s for s in sides if s > 1) or (1,)


def _hops(link: LinkLevel, algorithm: Algorithm, ranks: int) -> int:
    """Hops of the longest message of one step."""
    if link.topology in (Topology.SWITCH, Topology.FAT_TREE) or algorithm is Algorithm.RING:
        return 1
    per_side = [(s - 1 if link.topology is Topology.MESH else s // 2) for s in _sides(link, ranks)]
    return max(1, sum(per_side))


def level_cost(
    link: LinkLevel, operation: Operation, size_bytes: float, ranks: int, *, algorithm: Algorithm | None = None
) -> CollectiveCost:
    """Cost over `ranks` members of one level, without measured protocols: the fastest algorithm unless one is named.

        seconds = steps x hops x latency + wire bytes x contention / (rate x sustained fraction)

    Raises:
        UsageError: an algorithm that the operation does not have, or in-network reduction on links without it.
    """
    if ranks == 1:
        return CollectiveCost(0.0, 0.0, 0.0, "none")
    allowed = [a for a in ALGORITHMS[operation] if a is not Algorithm.IN_NETWORK or link.in_network_reduction]
    if algorithm is not None and algorithm not in allowed:
        raise UsageError(f"{operation} over {link.name} has no algorithm '{algorithm}'; allowed: {', '.join(allowed)}")
    costs = []
    for one in allowed if algorithm is None else [algorithm]:
        sent = wire_bytes(operation, one, size_bytes, ranks)
        moving = sent * contention(link, operation, one, ranks) / (link.bytes_per_s * link.sustained_fraction)
        waiting = steps(operation, one, ranks) * _hops(link, one, ranks) * link.latency_s
        energy = ranks * sent * link.pj_per_byte * 1e-12
        costs.append(CollectiveCost(waiting + moving, sent, energy, one.value))
    return min(costs, key=lambda c: (c.seconds, c.wire_bytes))


def protocol_s(link: LinkLevel, protocol: Protocol, operation: Operation, size_bytes: float, ranks: int) -> float:
    """Seconds of a measured protocol: fixed + per rank (n-1) + wire / (rate x fraction) + S x staging / rate.

    Wire bytes are the ring's, or the network's where it adds up and all members of the level take part.
    """
    whole = protocol.in_network and ranks == link.members and operation is Operation.ALL_REDUCE
    sent = wire_bytes(operation, Algorithm.IN_NETWORK if whole else _BULK[operation], size_bytes, ranks)
    moving = sent / (link.bytes_per_s * protocol.link_fraction) + size_bytes * protocol.staging_fraction / link.bytes_per_s
    return protocol.fixed_s + protocol.per_rank_s * (ranks - 1) + moving


_BULK: Final = {
    Operation.ALL_REDUCE: Algorithm.RING,
    Operation.ALL_GATHER: Algorithm.RING,
    Operation.REDUCE_SCATTER: Algorithm.RING,
    Operation.ALL_TO_ALL: Algorithm.DIRECT,
}


def measured_cost(link: LinkLevel, operation: Operation, size_bytes: float, ranks: int, library: str) -> CollectiveCost | None:
    """The fastest measured protocol of `library` on this level; None where the level has none."""
    known = link.protocols.get(f"{library}.{operation}", ())
    if not known or ranks == 1:
        return None
    best = min(known, key=lambda p: protocol_s(link, p, operation, size_bytes, ranks))
    sent = wire_bytes(operation, _BULK[operation], size_bytes, ranks)
    energy = ranks * sent * link.pj_per_byte * 1e-12
    return CollectiveCost(protocol_s(link, best, operation, size_bytes, ranks), sent, energy, library)


def best_on(link: LinkLevel, operation: Operation, size_bytes: float, ranks: int) -> CollectiveCost:
    """The fastest library where there are measurements, else the fastest algorithm."""
    libraries = sorted({key.partition(".")[0] for key in link.protocols})
    measured = [c for c in (measured_cost(link, operation, size_bytes, ranks, lib) for lib in libraries) if c is not None]
    if measured:
        return min(measured, key=lambda c: c.seconds)
    return level_cost(link, operation, size_bytes, ranks)


def collective_cost(system: System, operation: Operation, size_bytes: float, ranks: int) -> CollectiveCost:
    """Cost of a collective over `ranks` neighbouring chips, level by level where they span several.

    Over levels of n1, n2, ... members: an all-reduce scatters inside (n1), reduces shares of S/n1 across (n2), gathers
    inside; an all-gather gathers across first, then inside (buffers S/n1, then S); a reduce-scatter the other way round.
    An all-to-all sends every message straight: each level carries the bytes whose destination it separates, all at once,
    so the slowest level counts. Source: as `wire_bytes`, applied to a hierarchy; derived here.

    Raises:
        UsageError: more ranks than chips, or ranks that fill no whole number of domains.
    """
    spans = system.spans(ranks)
    if not spans:
        return CollectiveCost(0.0, 0.0, 0.0, "none")
    if operation is Operation.ALL_TO_ALL:
        return _straight(spans, size_bytes, ranks)
    if len(spans) == 1:
        return best_on(spans[0][0], operation, size_bytes, ranks)
    return _hierarchical(spans, operation, size_bytes)


def _hierarchical(spans: Sequence[tuple[LinkLevel, int]], operation: Operation, size_bytes: float) -> CollectiveCost:
    (link, inner), rest = spans[0], spans[1:]
    if not rest:
        return best_on(link, operation, size_bytes, inner)
    across = _hierarchical(rest, operation, size_bytes / inner)
    if operation is Operation.ALL_REDUCE:
        inside = [best_on(link, Operation.REDUCE_SCATTER, size_bytes, inner)]
        inside.append(best_on(link, Operation.ALL_GATHER, size_bytes, inner))
    else:
        inside = [best_on(link, operation, size_bytes, inner)]
    groups = inner  # every chip of a group takes part in one exchange across
    return CollectiveCost(
        seconds=across.seconds + sum(c.seconds for c in inside),
        wire_bytes=across.wire_bytes + sum(c.wire_bytes for c in inside),
        energy_j=across.energy_j * groups + sum(c.energy_j for c in inside) * _members(rest),
        algorithm="hierarchical",
    )


def _members(spans: Sequence[tuple[LinkLevel, int]]) -> int:
    found = 1
    for _, members in spans:
        found *= members
    return found


def _straight(spans: Sequence[tuple[LinkLevel, int]], size_bytes: float, ranks: int) -> CollectiveCost:
    """All-to-all of S bytes per chip over all levels at once."""
    seconds, sent, energy, inside = 0.0, 0.0, 0.0, 1
    for link, members in spans:
        bytes_here = size_bytes * (inside * (members - 1)) / ranks
        if len(spans) == 1:
            cost = best_on(link, Operation.ALL_TO_ALL, size_bytes, ranks)
            seconds = cost.seconds
        else:
            slow = contention(link, Operation.ALL_TO_ALL, Algorithm.DIRECT, members)
            seconds = max(seconds, link.latency_s + bytes_here * slow / (link.bytes_per_s * link.sustained_fraction))
        sent += bytes_here
        energy += ranks * bytes_here * link.pj_per_byte * 1e-12
        inside *= members
    return CollectiveCost(seconds, sent, energy, "direct")
