"""One chip's share of a layer's graph: axes cut to what the chip has, and the graph split where collectives lie."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from math import ceil, prod
from typing import TYPE_CHECKING

from dse.ir.graph import OperatorGraph
from dse.ir.operator import Kind
from dse.system.kernels import Region, region_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.ir.operator import Operand, Operator
    from dse.ir.tensor import Tensor
    from dse.system.axes import Axis, Cut, LayerAxes


class Piece(StrEnum):
    """Parts of a graph between which collectives may lie."""

    ATTENTION = "attention"
    ROUTING = "routing"
    """Of the feed-forward part what no chip shares: residuals, norms, routers."""
    DENSE = "dense"
    """Dense networks, shared experts, output head."""
    EXPERTS = "experts"
    OTHER = "other"


def pieces_of(graph: OperatorGraph, axes: LayerAxes) -> dict[Piece, OperatorGraph]:
    """The graph in pieces: each with the operators of its kind, fed by what they read from outside."""
    kinds: dict[Piece, list[Operator]] = {}
    for o in graph.operators:
        kinds.setdefault(_piece(axes, o), []).append(o)
    return {piece: _part_of(graph, f"{graph.name}_{piece}", operators) for piece, operators in kinds.items() if _has_work(operators)}


def _piece(axes: LayerAxes, operator: Operator) -> Piece:
    region = region_of(axes, operator)
    if region is Region.ATTENTION:
        return Piece.ATTENTION
    if region is Region.EXPERTS:
        return Piece.EXPERTS
    loops = axes.classes.of_loops(operator)
    if axes.signature(tuple(a for classes in loops.values() for a in classes)):
        return Piece.DENSE
    return Piece.OTHER if region is Region.OTHER else Piece.ROUTING


def _has_work(operators: list[Operator]) -> bool:
    return any(o.kind is not Kind.VIEW for o in operators)


def _part_of(graph: OperatorGraph, name: str, operators: list[Operator]) -> OperatorGraph:
    """The graph of some operators; what others made becomes an input, what others need an output."""
    made = {x.tensor for o in operators for x in o.outputs}
    read = dict.fromkeys(x.tensor for o in operators for x in o.inputs)
    inside = {o.name for o in operators}
    needed = {x.tensor for o in graph.operators if o.name not in inside for x in o.inputs} | set(graph.outputs)
    inputs = tuple(t for t in read if t not in made)
    tensors = {t: graph.tensors[t] for t in (*inputs, *(x.tensor for o in operators for x in o.outputs))}
    tensors = {t: replace(v, storage=v.storage if v.storage in tensors else t) for t, v in tensors.items()}
    ends = tuple(x.tensor for o in operators for x in o.outputs if x.tensor in needed)
    last = tuple(x.tensor for x in operators[-1].outputs)
    return OperatorGraph(name, tensors, tuple(operators), inputs, ends or last, graph.accumulation)


def resized(graph: OperatorGraph, axes: LayerAxes, sizes: Mapping[Axis, int]) -> OperatorGraph:
    """`graph` with other sizes along some classes of axes; counts scale with the loops, sizes by which they do not divide go up.

    `axes` are those of the graph that this one is, or is a piece of.
    """

    def factor(classes: tuple[Axis, ...]) -> float:
        return prod(sizes[c] / axes.classes.size(c) for c in classes if c in sizes)

    def tensor(one: Tensor) -> Tensor:
        shape = tuple(_size(n, factor(axes.classes.parts((one.name, i)))) for i, n in enumerate(one.shape))
        return replace(one, shape=shape)

    def operand(one: Operand) -> Operand:
        return replace(one, elements=_size(one.elements, factor(axes.classes.of_operand(one))))

    def operator(one: Operator) -> Operator:
        loops = axes.classes.of_loops(one)
        scaled = {d: _size(n, factor(loops.get(d, ()))) for d, n in one.dims}
        whole = prod(factor(classes) for classes in loops.values())
        over = prod(factor(loops.get(d, ())) for d in one.reduced_dims)
        return replace(
            one,
            dims=tuple(scaled.items()),
            inputs=tuple(operand(x) for x in one.inputs),
            outputs=tuple(operand(x) for x in one.outputs),
            macs=prod(scaled.values()) if one.macs == prod(n for _, n in one.dims) else _size(one.macs, whole),
            vector_ops=_size(one.vector_ops, whole),
            reduced_elements=_size(one.reduced_elements, over),
        )

    tensors = {name: tensor(t) for name, t in graph.tensors.items()}
    return replace(graph, tensors=tensors, operators=tuple(operator(o) for o in graph.operators))


def _size(number: int, by: float) -> int:
    """Scaled and rounded up, without the last bits of floating-point arithmetic; what was nothing stays nothing."""
    return max(1, ceil(number * by - 1e-9 * number)) if number else 0


def chip_sizes(axes: LayerAxes, by: Mapping[Cut, float]) -> dict[Axis, int]:
    """Sizes of the cut axes on the fullest chip."""
    return {axis: ceil(axes.classes.size(axis) / by[cut] - 1e-9) for axis, cut in axes.cuts.items()}
