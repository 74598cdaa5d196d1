"""Operators alone, each in slices of a stream that it shares with its neighbours: on different cores they run at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dse.schedule.cores.groups import make_group
from dse.schedule.segments import Cut, slice_counts

if TYPE_CHECKING:
    from dse.schedule.cores.groups import Group, Work

MOST_SLICES: Final = (8, 32)
"""Slices at most, of the ways that are tried: few for arrays that take long to fill, many so that neighbours start soon."""


def in_step(work: Work, most: int) -> tuple[Group, ...]:
    """Groups of one operator each, cut into at most `most` slices along the stream over which the most bytes pass between neighbours;
    what no slice has of its own is kept meanwhile."""
    groups = []
    for position, stream in enumerate(_streams(work)):
        counts = [] if stream is None else [c for c in slice_counts(work.streams.sizes[stream], 2) if 1 < c <= most]
        if stream is None or not counts:
            groups.append(make_group(work, position, position, (), frozenset()))
            continue
        operator = work.order[position]
        kept = frozenset(
            work.graph.tensors[x.tensor].storage for x in operator.inputs if x.elements and stream not in work.streams.axes[x.tensor]
        )
        groups.append(make_group(work, position, position, (Cut(stream, max(counts)),), kept))
    return tuple(groups)


def _streams(work: Work) -> list[str | None]:
    """For each operator a stream along which it goes with a neighbour: those that pass on most bytes are dealt out first."""
    able = [work.streams.sliceable(o) for o in work.order]
    passed: list[tuple[str, float, int, int]] = []
    for storage in work.storages.values():
        if storage.from_outside or len(storage.writers) != 1:
            continue
        writer = storage.writers[0]
        for reader in storage.readers:
            passed += [(s, storage.size_bytes, writer, reader) for s in able[writer] & able[reader] & storage.streams]
    found: list[str | None] = [None] * len(work.order)
    while passed:
        total: dict[str, float] = {}
        for s, size, _, _ in passed:
            total[s] = total.get(s, 0.0) + size
        stream = max(sorted(total), key=lambda s: total[s])
        for s, _, writer, reader in passed:
            if s == stream:
                found[writer] = found[reader] = stream
        passed = [p for p in passed if found[p[2]] is None and found[p[3]] is None]
    return found
