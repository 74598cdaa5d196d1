"""How far a group is when a piece of it is done: groups on other cores go on with what is ready, instead of waiting for its end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING, Final

from dse.ir.operator import matmul_shape
from dse.mapping.matmul import Stationary
from dse.mapping.problem import MatmulProblem
from dse.schedule.cores.part_work import part_cuts, part_indices

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.schedule.cores.groups import Flow, Work
    from dse.schedule.cores.layout import LaidGroup, Layout

ROUNDING: Final = 1e-9
"""What a share may be off by rounding."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A group whose outermost loop runs along `stream`, on every one of its cores alike."""

    stream: str
    indices: int
    """Of the stream, of one part."""
    steps: int
    """Equal steps in which a part goes through them: tiles or slices."""
    behind: int = 0
    """Steps that array and vector unit are apart: a result is there that much later."""

    def read(self, share: float) -> float:
        """Share of the stream that is needed for the first `share` of the work."""
        tiles = min(1.0, _up(share, self.steps) + self.behind / self.steps)
        return _up(tiles, self.indices)

    def worked(self, share: float) -> float:
        """Share of the work after which the first `share` of the stream is written."""
        return min(1.0, _up(share, self.steps) + self.behind / self.steps)


def _up(share: float, steps: int) -> float:
    return min(1.0, ceil(share * steps - ROUNDING) / steps)


@dataclass(frozen=True)
class Pipelines:
    """Groups that run at the same time as those whose results they read."""

    progress: Mapping[int, Progress]
    """By group, of those that take part."""
    writers: Mapping[tuple[int, str], int]
    """The writer by (reader, storage)."""

    def pieces(self, reader: int, storage: str, share: float, pieces: int) -> int | None:
        """Of the `pieces` of the writer those that must be done before the reader does its first `share`; None where all of it must."""
        writer = self.writers.get((reader, storage))
        if writer is None:
            return None
        read = self.progress[reader].read(share)
        return max(1, ceil(self.progress[writer].worked(read) * pieces - ROUNDING))

    def streams(self, group: int, flow: Flow) -> bool:
        """Whether a group reads a tensor bit by bit; what it does not must be there before it starts, for it is used at every step."""
        return group not in self.progress or self.progress[group].stream in flow.streams


NOTHING: Final = Pipelines({}, {})


def find_pipelines(layout: Layout, work: Work) -> Pipelines:
    """Readers on other cores than their writers, where both may run along one stream that indexes the tensor between them.

    Tiles of a mapping may be gone through with any loop outermost that is not the one which keeps its stationary operand in place, at
    the same traffic: so the order is chosen here. Every group has one; of several streams that which passes on most bytes.
    """
    flows = list(_between(layout))
    ways = {g.index: _outermost(work, g) for g in layout.groups if any(g.index in (w, r) for w, r, _, _ in flows)}
    chosen: dict[int, Progress] = {}
    writers: dict[tuple[int, str], int] = {}
    for writer, reader, wrote, reads in flows:  # in the order of readers
        common = set(wrote.streams & reads.streams & ways[writer].keys() & ways[reader].keys())
        common = {s for s in common if _alike(layout.groups[writer], layout.groups[reader], s)}
        for group in (writer, reader):
            if group in chosen:
                common &= {chosen[group].stream}
        if not common:
            continue
        stream = max(sorted(common), key=lambda s: (_passed_on(s, flows, ways), min(ways[writer][s].steps, ways[reader][s].steps)))
        if min(ways[writer][stream].steps, ways[reader][stream].steps) < 2:
            continue
        chosen[writer], chosen[reader] = ways[writer][stream], ways[reader][stream]
        writers[reader, reads.storage] = writer
    return Pipelines(chosen, writers)


def _between(layout: Layout) -> list[tuple[int, int, Flow, Flow]]:
    """(writer, reader, what is written, what is read) of results that other cores read, written once and whole."""
    found = []
    writers: dict[str, list[tuple[int, Flow]]] = {}
    for laid in layout.groups:
        for f in laid.group.reads:
            wrote = writers.get(f.storage, [])
            if len(wrote) == 1 and not set(layout.groups[wrote[0][0]].assigned.cores) & set(laid.assigned.cores):
                found.append((wrote[0][0], laid.index, wrote[0][1], f))
        for f in laid.group.writes:
            again = any(r.storage == f.storage for r in laid.group.reads)
            writers.setdefault(f.storage, []).extend([(laid.index, f)] * (2 if again else 1))
    return found


def _passed_on(stream: str, flows: list[tuple[int, int, Flow, Flow]], ways: Mapping[int, Mapping[str, Progress]]) -> float:
    mine = (r.size_bytes for w, i, f, r in flows if stream in f.streams & r.streams and stream in ways[w] and stream in ways[i])
    return sum(mine)


def _alike(writer: LaidGroup, reader: LaidGroup, stream: str) -> bool:
    """Whether the first steps of all parts of the reader need no more than the first steps of all parts of the writer."""
    ways = [dict(x.assigned.shape.splits).get(stream, 1) for x in (writer, reader)]
    return ways[0] == ways[1]


def _outermost(work: Work, laid: LaidGroup) -> dict[str, Progress]:
    """Streams along which the parts of a group can go from one end to the other."""
    shape, group = laid.assigned.shape, laid.group
    indices = part_indices(work, shape)

    def made(stream: str, steps: int, behind: int = 0) -> Progress:
        return Progress(stream, indices.get(stream, work.streams.sizes[stream]), max(1, steps), behind)

    if group.cuts:
        cuts = part_cuts(work, group, shape)
        behind = 1 if laid.part.overlapped_slices > 1 else 0
        return {c.stream: made(c.stream, c.slices, behind) for c in cuts[:1]}
    if len(group.operators) > 1:
        return {}
    operator, part = group.operators[0], laid.part.operators[0]
    streams = work.streams.loops[operator.name]
    problem, mapping = part.work.problem, part.mapping
    if mapping is None or not isinstance(problem, MatmulProblem):
        alone = [made(s, 1) for s in sorted(work.streams.sliceable(operator))]
        return {p.stream: replace(p, steps=p.indices) for p in alone}
    dims = matmul_shape(operator)
    together = ceil(problem.groups / mapping.together)
    m, k, n = ceil(problem.m / mapping.tile_m), ceil(problem.k / mapping.tile_k), ceil(problem.n / mapping.tile_n)
    allowed = [(dims.group_dims, together)]
    if together == 1 and (mapping.stationary is not Stationary.RIGHT or k * n == 1):
        allowed.append((dims.m_dims, m))
    if together == 1 and (mapping.stationary is not Stationary.LEFT or m * k == 1):
        allowed.append((dims.n_dims, n))
    return {s: made(s, steps) for s, dim in streams.items() for ds, steps in allowed if dim in ds and not shape.reduces}
