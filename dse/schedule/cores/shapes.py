"""Shapes of a group: the kind of core that runs it, over how many of them it is divided, and along which stream."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from dse.ir.graph import multiply_type
from dse.ir.operator import Kind
from dse.schedule.cores.parts import Division

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.hw.many_core import Chip, Core
    from dse.ir.operator import Operator
    from dse.schedule.cores.groups import Group, Work


@dataclass(frozen=True, slots=True)
class Shape:
    """One way to divide a group, before it is said which cores of the kind do it."""

    kind: str
    stream: str | None
    ways: int
    """Parts in all, one for each core."""
    reduces: bool = False
    """The stream is summed over: each part makes partial sums of the whole result, which come together on the first core."""
    second: str | None = None
    """Another stream along which each part of the first is divided again, ..."""
    second_ways: int = 1
    """... into so many."""

    @property
    def splits(self) -> tuple[tuple[str, int], ...]:
        """(stream, parts along it) of the streams that are divided."""
        found = ((self.stream, self.ways // self.second_ways), (self.second, self.second_ways))
        return tuple((stream, ways) for stream, ways in found if stream is not None)

    def division(self, cores: tuple[int, ...]) -> Division:
        """Its parts on `cores`."""
        return Division(self.stream, cores, self.reduces, self.second, self.second_ways)

    def share(self, streams: frozenset[str]) -> int:
        """Parts that have different ranges of something that `streams` index."""
        if self.second is None:
            return self.ways if self.stream in streams else 1
        return prod(ways for stream, ways in self.splits if stream in streams)


def may_run(core: Core, operator: Operator, work: Work) -> bool:
    """Whether `core` has the units that `operator` needs, computes in its data type and has no restriction against its type."""
    if core.op_types is not None and operator.op_type not in core.op_types:
        return False
    if operator.kind is not Kind.CONTRACTION:
        return core.has_vector
    rate = core.geometry.array.rate(multiply_type(work.graph, operator).name)
    return core.has_array and rate is not None and (core.has_vector or not operator.vector_ops)


def kinds_for(group: Group, chip: Chip, work: Work) -> tuple[str, ...]:
    """Kinds of cores that may run all operators of a group."""
    first = {kind: chip.cores[chip.of_kind(kind)[0]] for kind in chip.kinds}
    return tuple(
        kind
        for kind, core in first.items()
        if all(may_run(core, o, work) for o in group.operators) and (core.has_vector or not adds_slices(group, work))
    )


def adds_slices(group: Group, work: Work) -> bool:
    """Whether a group adds up what its slices give, which takes a vector unit."""
    return any(c.stream in work.streams.reducible(o) for c in group.cuts for o in group.operators)


def shapes(group: Group, chip: Chip, work: Work) -> Iterator[Shape]:
    """Whole on one core, or divided along each stream over 2, 4, 8, ... or all cores of each kind that may run it.

    A stream with fewer indices than parts is left out. A sum is divided for single contractions only, where the cores can add.
    """
    for kind in kinds_for(group, chip, work):
        cores = chip.of_kind(kind)
        yield Shape(kind, None, 1)
        common = frozenset.intersection(*(work.streams.sliceable(o) for o in group.operators))
        sums: frozenset[str] = frozenset()
        if len(group.operators) == 1 and group.multiplies and chip.cores[cores[0]].has_vector:
            sums = work.streams.reducible(group.operators[0])
        for stream in sorted(common | sums):
            for ways in numbers_of_parts(len(cores)):
                if ways <= work.streams.sizes[stream]:
                    yield Shape(kind, stream, ways, stream in sums)


def numbers_of_parts(cores: int) -> tuple[int, ...]:
    """2, 4, 8, ... and all of so many cores."""
    found = [2**i for i in range(1, cores.bit_length()) if 2**i <= cores]
    return tuple(found if cores < 2 or found[-1] == cores else [*found, cores])


def windows(shape: Shape, chip: Chip) -> tuple[tuple[int, ...], ...]:
    """Sets of cores that a shape may take: neighbours in the order of the file, from multiples of its width on."""
    cores = chip.of_kind(shape.kind)
    starts = range(0, len(cores) - shape.ways + 1, shape.ways)
    return tuple(cores[s : s + shape.ways] for s in starts)
