"""Groups that repeat: layers and blocks of the same operators run in the same ways, under other names and at other positions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dse.schedule.candidates import SOFTMAX_WITHIN
from dse.schedule.growth import Way
from dse.schedule.segments import Cut

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from dse.schedule.growth import Front
    from dse.schedule.segments import SegmentBuilder
    from dse.schedule.storage import Storage


@dataclass(frozen=True, slots=True)
class Context:
    """All that the fronts of the groups depend on that begin with an operator."""

    first: int
    key: Hashable
    """Without names, positions counted from the first operator."""
    streams: tuple[str, ...]
    """Names in the order in which they are met."""


class Repeats:
    """Fronts of the groups that begin with an operator, found once for all operators with the same context."""

    def __init__(self, builder: SegmentBuilder) -> None:
        self._builder = builder
        self._number: dict[Hashable, int] = {}
        self._operators = [self._described(p) for p in range(len(builder.order))]
        self._known: dict[Hashable, tuple[Context, list[Front]]] = {}

    def _described(self, position: int) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
        """A number for what is the same without names and places, the streams of an operator and the storages that it touches.

        Names are listed in one order, so that equal numbers of theirs mean equal uses.
        """
        builder, o = self._builder, self._builder.order[position]
        tensors, axes = builder.graph.tensors, builder.streams.axes
        loops = sorted(builder.streams.loops[o.name].items())
        operands, accesses = (*o.inputs, *o.outputs), builder.accesses[position]
        sets = [axes[x.tensor] for x in o.outputs] + [a.streams for a in accesses] + [s.streams for s in builder.touched[position]]
        streams = (*(s for s, _ in loops), *(s for names in sets for s in sorted(names)))
        storages = (*(a.storage for a in accesses), *(s.name for s in builder.touched[position]))
        same = (
            (replace(o, name="", inputs=(), outputs=()), len(o.inputs)),
            tuple((dim, s in builder.sliceable[position], s in builder.reducible[position]) for s, dim in loops),
            tuple((replace(x, tensor=""), tensors[x.tensor].dtype, tensors[x.tensor].shape) for x in operands),
            tuple((a.size_bytes, a.reads) for a in accesses),
            tuple(map(len, sets)),
            tuple(_placed(s, position) for s in builder.touched[position]),
        )
        return self._number.setdefault(same, len(self._number)), streams, storages

    def context(self, first: int, inside: Iterable[int], shape: Hashable) -> Context:
        """The context of `first` for groups within the positions `inside`; `shape` says which groups there are."""
        builder = self._builder
        streams: dict[str, int] = {}
        storages: dict[str, int] = {}
        behind = range(first + 1, min(len(builder.order), first + 1 + SOFTMAX_WITHIN))  # what is looked at for attention
        operators = []
        for p in sorted({first, *inside, *behind}):
            same, of_streams, of_storages = self._operators[p]
            operators.append(
                (
                    p - first,
                    same,
                    tuple([streams.setdefault(s, len(streams)) for s in of_streams]),
                    tuple([storages.setdefault(s, len(storages)) for s in of_storages]),
                )
            )
        sizes = tuple((builder.streams.sizes[s], s in builder.summed) for s in streams)
        return Context(first, (shape, tuple(operators), sizes), tuple(streams))

    def known(self, context: Context) -> list[Front] | None:
        """The fronts of a context, moved to its place; None where it was not met before."""
        if context.key not in self._known:
            return None
        before, fronts = self._known[context.key]
        name = dict(zip(before.streams, context.streams, strict=True))
        moved: dict[Way, Way] = {}

        def way(w: Way) -> Way:
            if w not in moved:
                moved[w] = Way(tuple(Cut(name[c.stream], c.slices) for c in w.cuts), w.hold)
            return moved[w]

        shift = context.first - before.first
        return [replace(f, members=tuple(p + shift for p in f.members), ways=tuple(map(way, f.ways))) for f in fronts]

    def keep(self, context: Context, fronts: Sequence[Front]) -> None:
        """The fronts of all groups that begin with the first operator of `context`."""
        self._known[context.key] = context, list(fronts)


def _placed(storage: Storage, position: int) -> Hashable:
    places = tuple(tuple(p - position for p in ps) for ps in (storage.writers, storage.readers))
    return storage.role, storage.size_bytes, places, storage.from_outside, storage.to_outside
