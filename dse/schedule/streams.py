"""Streaming dimensions: which loops of different operators run over the same axis of the tensors between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dse.ir.operator import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dse.ir.graph import OperatorGraph
    from dse.ir.operator import Operator


_Place = tuple[str, str, Any]  # Any: a name or a number
"""('loop', operator, dimension) or ('axis', tensor, number of the axis)."""

SOFTMAX: Final = "Softmax"
"""The operator type whose rows may be computed in pieces, with statistics that are put right later."""


@dataclass(frozen=True)
class Streams:
    """Streams of a graph: sets of loops, one per operator, that can be run in step.

    A stream is named after its first member, `operator.dim`.
    """

    loops: Mapping[str, Mapping[str, str]]
    """Operator name → stream → the loop dimension of the operator that belongs to it."""
    axes: Mapping[str, frozenset[str]]
    """Tensor name → streams that index one of its axes."""
    sizes: Mapping[str, int]

    def sliceable(self, operator: Operator) -> frozenset[str]:
        """Streams by which `operator` can run slice by slice: each slice gives its own part of every output."""
        found = set()
        for stream, dim in self.loops[operator.name].items():
            if dim not in operator.reduced_dims and all(dim in o.axes for o in operator.outputs):
                found.add(stream)
        return frozenset(found)

    def reducible(self, operator: Operator) -> frozenset[str]:
        """Streams over which `operator` sums: a contraction adds up what its slices give, a softmax goes on with running
        statistics (online softmax: Milakov and Gimelshein, arXiv 1805.02867)."""
        found = set()
        for stream, dim in self.loops[operator.name].items():
            summed = operator.kind is Kind.CONTRACTION and all(dim not in o.axes for o in operator.outputs)
            if summed or (operator.op_type == SOFTMAX and dim in operator.reduced_dims):
                found.add(stream)
        return frozenset(found)


def find_streams(graph: OperatorGraph) -> Streams:
    """Follow axes through tensors and views; loops that index the same axis of a tensor belong together.

    A stream that would meet the same operator or tensor in two dimensions, or has size 1, is left out.
    """
    same: dict[_Place, list[_Place]] = {}
    for o in graph.operators:
        for x in (*o.inputs, *o.outputs):
            shape = graph.tensors[x.tensor].shape
            for axis, dim in enumerate(x.axes):
                if dim is not None and shape[axis] == o.size(dim) > 1:
                    loop, place = ("loop", o.name, dim), ("axis", x.tensor, axis)
                    same.setdefault(loop, []).append(place)
                    same.setdefault(place, []).append(loop)
    loops: dict[str, dict[str, str]] = {o.name: {} for o in graph.operators}
    axes: dict[str, set[str]] = {t: set() for t in graph.tensors}
    sizes: dict[str, int] = {}
    for members in sorted(sorted(s) for s in _connected(same)):
        in_loops = [(name, key) for kind, name, key in members if kind == "loop"]
        in_axes = [name for kind, name, _ in members if kind == "axis"]
        if len({n for n, _ in in_loops}) < len(in_loops) or len(set(in_axes)) < len(in_axes):
            continue
        name = f"{in_loops[0][0]}.{in_loops[0][1]}"
        sizes[name] = next(o.size(in_loops[0][1]) for o in graph.operators if o.name == in_loops[0][0])
        for operator, dim in in_loops:
            loops[operator][name] = dim
        for tensor in in_axes:
            axes[tensor].add(name)
    return Streams(loops, {t: frozenset(s) for t, s in axes.items()}, sizes)


def _connected(neighbours: Mapping[_Place, Sequence[_Place]]) -> Iterator[set[_Place]]:
    """Connected components."""
    seen: set[_Place] = set()
    for first in neighbours:
        if first in seen:
            continue
        component, border = {first}, [first]
        while border:
            new = set(neighbours[border.pop()]) - component
            component |= new
            border += new
        seen |= component
        yield component


def as_late_as_possible(graph: OperatorGraph) -> tuple[Operator, ...]:
    """Operators that move or compute, each just before the first that needs it; depth first from the outputs.

    Views move nothing and are left out.
    """
    producer = {x.tensor: o for o in graph.operators for x in o.outputs}
    order: list[Operator] = []
    done: set[str] = set()
    for root in (*graph.outputs, *(x.tensor for o in graph.operators for x in o.outputs)):
        stack = [(root, False)]
        while stack:
            tensor, ready = stack.pop()
            operator = producer.get(tensor)
            if operator is None or operator.name in done:
                continue
            if ready:
                done.add(operator.name)
                order.append(operator)
                continue
            stack.append((tensor, True))
            stack.extend((x.tensor, False) for x in reversed(operator.inputs))
    return tuple(o for o in order if o.kind is not Kind.VIEW)
