"""What tasks take of a chip, with the resources that decide when they start: what others are always held with, and longer, never does."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Block(NamedTuple):
    """Resources that a task holds for the same time from its start."""

    row: int
    kin: int
    """Of blocks of the same kin in one take the later one is the longer, whatever the durations."""
    resources: tuple[int, ...]


class Take(NamedTuple):
    """What a task takes of the chip, times by the numbers of their rows."""

    blocks: tuple[Block, ...]
    lasts: int
    """Row of what it lasts, ports apart: at least as long as any block."""
    ports: tuple[tuple[int, int, bool], ...] = ()
    """(port, row, whether the task is done only when it has been served); see `Use`."""
    until_done: tuple[int, ...] = ()
    """Resources that are held until it is done; in no block."""


def needed(takes: Sequence[Take]) -> tuple[list[Take], int, int]:
    """Takes with the resources and ports alone that decide when tasks start, numbered from 0 each, and how many of either there are.

    Whatever the durations: what all takes hold alike is free at the same time; what is only held together with another resource, and never
    longer, is free no later than that; and a port that nobody waits for keeps nobody.
    """
    held, served = _uses(takes)
    first = {mine: r for r, mine in reversed([(r, tuple(mine.items())) for r, mine in held.items()])}
    kept = {r: held[r] for r in sorted(first.values())}
    for r in list(kept):
        if _covered(r, kept, takes):
            del kept[r]
    resources = {r: i for i, r in enumerate(kept)}
    port = {mine: p for p, mine in reversed([(p, tuple(mine)) for p, mine in served.items()]) if any(waited for _, _, waited in mine)}
    ports = {p: i for i, p in enumerate(sorted(port.values()))}
    found = [_kept(t, resources, ports) for t in takes]
    return found, len(resources), len(ports)


def _uses(takes: Sequence[Take]) -> tuple[dict[int, dict[int, int]], dict[int, list[tuple[int, int, bool]]]]:
    """Of each resource the takes that hold it, with the place of its block, that behind all blocks for until it is done; of each port
    (take, row, whether it waits)."""
    held: dict[int, dict[int, int]] = {}
    served: dict[int, list[tuple[int, int, bool]]] = {}
    for u, take in enumerate(takes):
        for place, resources in enumerate((*(b.resources for b in take.blocks), take.until_done)):
            for r in resources:
                held.setdefault(r, {})[u] = place
        for port, row, waited in take.ports:
            served.setdefault(port, []).append((u, row, waited))
    return held, served


def _covered(mine: int, held: Mapping[int, Mapping[int, int]], takes: Sequence[Take]) -> bool:
    """Whether one of the other resources in `held` is held whenever `mine` is, and at least as long."""
    uses = held[mine]
    few = next(iter(uses))
    beside = [r for b in takes[few].blocks for r in b.resources] + list(takes[few].until_done)
    return any(_covers(held[other], uses, takes) for other in beside if other != mine and other in held)


def _covers(other: Mapping[int, int], uses: Mapping[int, int], takes: Sequence[Take]) -> bool:
    """Whether what is held in the blocks `other` is held in all takes of `uses`, by take, and at least as long as there."""
    for u, place in uses.items():
        its, blocks = other.get(u, -1), takes[u].blocks
        if its < place or (its < len(blocks) and blocks[its].kin != blocks[place].kin):
            return False
    return True


def _kept(take: Take, resources: Mapping[int, int], ports: Mapping[int, int]) -> Take:
    blocks = (Block(b.row, b.kin, tuple([resources[r] for r in b.resources if r in resources])) for b in take.blocks)
    return Take(
        tuple(b for b in blocks if b.resources),
        take.lasts,
        tuple([(ports[p], row, waited) for p, row, waited in take.ports if p in ports]),
        tuple([resources[r] for r in take.until_done if r in resources]),
    )
