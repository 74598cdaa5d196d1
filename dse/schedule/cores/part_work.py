"""The part of a group that one core does, as placed operators of a one-core schedule."""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING

from dse.ir.graph import OperatorGraph
from dse.schedule.cores.parts import part_of
from dse.schedule.place import place
from dse.schedule.plan import Plan, PlanBook
from dse.schedule.segments import Cut, SegmentBuilder, slice_counts
from dse.schedule.storage import find_storages
from dse.schedule.streams import Streams

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.hw.accelerator import Geometry
    from dse.ir.operator import Operator
    from dse.schedule.cores.groups import Group, Work
    from dse.schedule.cores.shapes import Shape
    from dse.schedule.place import PlacedOperator


def part_indices(work: Work, shape: Shape) -> dict[str, int]:
    """Indices of each divided stream that the largest part has."""
    return {stream: ceil(work.streams.sizes[stream] / ways) for stream, ways in shape.splits}


def divided(work: Work, operator: Operator, indices: Mapping[str, int]) -> Operator:
    """An operator over `indices` of the streams that run along loops of its own."""
    loops = work.streams.loops[operator.name]
    for stream, mine in indices.items():
        operator = part_of(operator, loops.get(stream), mine)
    return operator


def placed_part(
    work: Work, group: Group, shape: Shape, geometry: Geometry, resident: frozenset[str]
) -> tuple[tuple[PlacedOperator, ...], float]:
    """The operators of the largest part of a group on one core of `geometry`, and the bytes of its residents.

    `resident` storages lie in the core's memory: they move nothing to or from outside. All others come from and go to outside, which
    the placed operators call DRAM wherever it is.

    Raises:
        GraphError: a contraction in a data type that the array cannot compute.
    """
    part = _part_graph(work, group, shape, resident)
    streams = work.streams
    if shape.stream is not None:
        streams = Streams(streams.loops, streams.axes, {**streams.sizes, **part_indices(work, shape)})
    storages = find_storages(part, part.operators, streams.axes)
    builder = SegmentBuilder(part, part.operators, streams, storages, lambda operator, loops: 0.0)
    held = frozenset(h for h in group.held if h in storages) - resident
    segment = builder.build(0, len(part.operators) - 1, part_cuts(work, group, shape), held)
    inside = frozenset(resident & storages.keys())
    size = sum(storages[name].size_bytes for name in sorted(inside))
    plan = Plan((segment,), inside, tuple(r for r in segment.reserved_bytes))
    return place(PlanBook(part, builder, (plan,)), plan, geometry), size


def part_cuts(work: Work, group: Group, shape: Shape) -> tuple[Cut, ...]:
    """Cuts of the part: slices of the divided stream are dealt out, those of others stay."""
    indices, splits = part_indices(work, shape), dict(shape.splits)
    cuts = []
    for cut in group.cuts:
        slices = cut.slices
        if cut.stream in splits:
            wanted, mine = -(-cut.slices // splits[cut.stream]), indices[cut.stream]
            slices = min((n for n in (*slice_counts(mine), 1) if n >= min(wanted, mine)), default=1)
        if slices > 1:
            cuts.append(Cut(cut.stream, slices))
    return tuple(cuts)


def _part_graph(work: Work, group: Group, shape: Shape, resident: frozenset[str]) -> OperatorGraph:
    """The operators of a group with the indices of one part; tensors keep their number of elements, not their axes."""
    indices, whole = part_indices(work, shape), work.streams.sizes
    operators = [divided(work, o, indices) for o in group.operators]
    tensors = {}
    touched = {x.tensor for o in group.operators for x in (*o.inputs, *o.outputs)}
    for name in sorted(touched | {work.graph.tensors[t].storage for t in touched}):
        tensor = work.graph.tensors[name]
        elements = tensor.elements
        for stream, mine in indices.items():
            if stream in work.streams.axes[name]:
                elements = ceil(elements * mine / whole[stream])
        tensors[name] = replace(tensor, shape=(elements,)) if indices.keys() & work.streams.axes[name] else tensor
    reads = tuple(f.storage for f in group.reads)
    writes = tuple(f.storage for f in group.writes if f.storage not in resident or work.storages[f.storage].to_outside)
    return OperatorGraph(work.graph.name, tensors, tuple(operators), reads, writes, work.graph.accumulation)
