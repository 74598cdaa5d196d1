"""A graph as kernels: what one launch computes and what crosses its boundary, by which axes may be cut."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from math import prod
from typing import TYPE_CHECKING

from dse.ir.graph import multiply_type
from dse.ir.operator import Kind
from dse.ir.tensor import Role
from dse.system.axes import Cut, layer_axes
from dse.units import BITS_PER_BYTE

if TYPE_CHECKING:
    from dse.ir.graph import OperatorGraph
    from dse.ir.operator import Operator
    from dse.ir.tensor import Tensor
    from dse.system.axes import LayerAxes

Signature = tuple[Cut, ...]
"""The cuts that divide a count."""


class Region(StrEnum):
    """Where the time of a kernel is accounted."""

    ATTENTION = "attention"
    FFN = "ffn"
    EXPERTS = "experts"
    """Routed experts: work follows the load of the chip, not its own tokens."""
    OTHER = "other"
    """Embedding and output head."""


@dataclass
class Kernel:
    """One launch; counts are of the whole graph, before any cutting."""

    name: str
    region: Region
    macs: dict[tuple[str, Signature], float] = field(default_factory=dict)
    """By format of the multipliers; those that a mask leaves."""
    vector_ops: dict[Signature, float] = field(default_factory=dict)
    read_bytes: dict[tuple[Role, Signature], float] = field(default_factory=dict)
    written_bytes: dict[tuple[Role, Signature], float] = field(default_factory=dict)


@dataclass(frozen=True)
class LayerKernels:
    """The kernels of one graph, and what its chip must store."""

    axes: LayerAxes
    kernels: tuple[Kernel, ...]
    weights: dict[tuple[bool, Signature], float]
    """Stored bytes by (of routed experts, cuts)."""
    caches: dict[Signature, float]
    """Stored bytes."""
    expert_groups: tuple[tuple[float, float], ...]
    """(experts, rows of all of them) of each group of experts of equal load that the expert kernels were counted for."""
    stream_bytes: float
    """Bytes of the graph's output activation: what passes between layers and chips."""


def layer_kernels(graph: OperatorGraph) -> LayerKernels:
    """Group the operators of a graph to kernels.

    Every product is a kernel; what touches the scores is one kernel, as in FlashAttention and FlashMLA; everything else
    joins the kernel that made its last input, if that is of the same region (epilogues), or the product that writes into
    the same tensor, else it stands alone. A kernel reads each tensor from outside once and writes what others or the
    graph's outputs need; views cost nothing.
    """
    axes = layer_axes(graph)
    members, names, regions = _group(graph, axes)
    kernels = tuple(_counted(graph, axes, names[k], regions[k], members[k]) for k in range(len(members)))
    kernels = tuple(k for k in kernels if k.macs or k.vector_ops or k.read_bytes or k.written_bytes)
    weights, caches = _stored(graph, axes)
    return LayerKernels(axes, kernels, weights, caches, _expert_sizes(graph, axes), _stream_bytes(graph))


def region_of(axes: LayerAxes, operator: Operator) -> Region:
    """Where the time of an operator is accounted."""
    layer = bool(axes.core or any(cut in (Cut.FFN, Cut.EXPERT_FFN) for cut in axes.cuts.values()))
    if operator.name in axes.attention:
        return Region.ATTENTION
    if operator.name in axes.experts:
        return Region.EXPERTS
    return Region.FFN if layer else Region.OTHER


def _group(graph: OperatorGraph, axes: LayerAxes) -> tuple[list[list[Operator]], list[str], list[Region]]:
    members: list[list[Operator]] = []
    names: list[str] = []
    regions: list[Region] = []
    made_by: dict[str, int] = {}
    stored_by: dict[str, int] = {}
    core: int | None = None
    for o in graph.operators:
        region = region_of(axes, o)
        at: int | None = None
        if o.name in axes.core:
            at = core
        elif o.kind is not Kind.CONTRACTION:
            before = [made_by[x.tensor] for x in o.inputs if x.tensor in made_by]
            same = [k for k in before if regions[k] is region]
            at = max(same) if same else stored_by.get(graph.tensors[o.outputs[0].tensor].storage)
        if at is None:
            members.append([])
            names.append(o.name)
            regions.append(region)
            at = len(members) - 1
        if o.name in axes.core:
            core = at
        members[at].append(o)
        for x in o.outputs:
            tensor = graph.tensors[x.tensor]
            if tensor.role is not Role.CACHE:
                made_by[x.tensor] = at
            if o.kind is Kind.CONTRACTION:
                stored_by[tensor.storage] = at
    return members, names, regions


def _counted(graph: OperatorGraph, axes: LayerAxes, name: str, region: Region, operators: list[Operator]) -> Kernel:
    kernel = Kernel(name, region)
    inside = {o.name for o in operators}
    made = {x.tensor for o in operators for x in o.outputs}
    reads: dict[str, tuple[float, Signature]] = {}
    for o in operators:
        loops = axes.classes.of_loops(o)
        signature = axes.signature(tuple(a for classes in loops.values() for a in classes))
        if o.macs:
            key = (multiply_type(graph, o).arithmetic, signature)
            kernel.macs[key] = kernel.macs.get(key, 0.0) + o.macs * float(o.visible)
        if o.vector_ops:
            kernel.vector_ops[signature] = kernel.vector_ops.get(signature, 0.0) + o.vector_ops * float(o.visible)
        if o.kind is Kind.VIEW:
            continue
        for x in o.inputs:
            if x.tensor in made:
                continue
            storage = graph.tensors[x.tensor].storage
            if any(graph.tensors[t].storage == storage for t in made) and graph.tensors[x.tensor].role is not Role.CACHE:
                continue
            size = _bytes(graph.tensors[x.tensor], x.elements)
            if size > reads.get(storage, (0.0, ()))[0]:
                reads[storage] = (size, axes.signature(axes.classes.of_operand(x)))
    for storage, (size, signature) in reads.items():
        read = (graph.tensors[storage].role, signature)
        kernel.read_bytes[read] = kernel.read_bytes.get(read, 0.0) + size
    _count_writes(graph, axes, kernel, operators, inside)
    return kernel


def _count_writes(graph: OperatorGraph, axes: LayerAxes, kernel: Kernel, operators: list[Operator], inside: set[str]) -> None:
    """What other kernels or the graph's outputs need of the kernel's results."""
    for o in operators:
        if o.kind is Kind.VIEW:
            continue
        for x in o.outputs:
            if not _needed_outside(graph, x.tensor, inside):
                continue
            written = (graph.tensors[x.tensor].role, axes.signature(axes.classes.of_operand(x)))
            kernel.written_bytes[written] = kernel.written_bytes.get(written, 0.0) + _bytes(graph.tensors[x.tensor], x.elements)


def _needed_outside(graph: OperatorGraph, tensor: str, inside: set[str]) -> bool:
    """Whether an operator outside, views looked through, or the graph's end needs a tensor."""
    waiting = [tensor]
    while waiting:
        name = waiting.pop()
        if name in graph.outputs:
            return True
        for o in graph.consumers(name):
            if o.kind is Kind.VIEW:
                waiting += [x.tensor for x in o.outputs]
            elif o.name not in inside:
                return True
    return False


def _bytes(tensor: Tensor, elements: int) -> float:
    return elements * tensor.dtype.stored_bits / BITS_PER_BYTE


def _expert_sizes(graph: OperatorGraph, axes: LayerAxes) -> tuple[tuple[float, float], ...]:
    """(experts, rows) of each expert group."""
    found = []
    for group in axes.expert_groups:
        for o in graph.operators:
            dims = axes.classes.of_loops(o)
            if o.kind is Kind.CONTRACTION and any(group in classes for classes in dims.values()):
                rows = prod(o.size(d) for d in o.inputs[0].axes if d is not None and d in o.outputs[0].axes)
                experts = next(o.size(d) for d, classes in dims.items() if group in classes)
                found.append((float(experts), float(rows)))
                break
    return tuple(found)


def _stored(graph: OperatorGraph, axes: LayerAxes) -> tuple[dict[tuple[bool, Signature], float], dict[Signature, float]]:
    weights: dict[tuple[bool, Signature], float] = {}
    caches: dict[Signature, float] = {}
    of_experts = {x.tensor for o in graph.operators if o.name in axes.experts for x in o.inputs}
    for name in graph.inputs:
        tensor = graph.tensors[name]
        signature = axes.signature(axes.classes.of_tensor(name))
        if tensor.role is Role.WEIGHT:
            key = (name in of_experts, signature)
            weights[key] = weights.get(key, 0.0) + float(tensor.size_bytes)
        elif tensor.role is Role.CACHE:
            caches[signature] = caches.get(signature, 0.0) + float(tensor.size_bytes)
    return weights, caches


def _stream_bytes(graph: OperatorGraph) -> float:
    """Bytes of the largest output that is an activation."""
    sizes = [float(graph.tensors[n].size_bytes) for n in graph.outputs if graph.tensors[n].role is Role.ACTIVATION]
    return max(sizes, default=0.0)
