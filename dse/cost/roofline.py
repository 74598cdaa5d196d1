"""The lower bound beside every result: peak compute and compulsory bytes, each at its rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dse.ir.graph import multiply_type
from dse.ir.operator import Kind
from dse.units import BITS_PER_BYTE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.cost.workload_pricing import CompiledWorkload
    from dse.hw.accelerator import Geometry
    from dse.hw.table import DesignTable
    from dse.ir.graph import OperatorGraph


@dataclass(frozen=True, slots=True)
class Roofline:
    """max(MACs / peak, compulsory bytes / DRAM rate), summed over parts of a step; MACs of masked scores are not compulsory."""

    macs: int
    compulsory_bytes: float
    compute_cycles: float
    dram_cycles: float
    cycles: float


def compulsory_bytes(graph: OperatorGraph) -> float:
    """Bytes that must cross the DRAM boundary: weights, caches, graph inputs and outputs, once each, as far as operators touch them.

    A cache that is appended in place counts once: old positions are read, new ones written. Of one that sparse attention reads in part,
    or only appends to, no more counts than what one operator reads or writes of it.
    """
    names = {graph.tensors[t].storage for t in (*graph.inputs, *graph.outputs)}
    return sum(_touched_bytes(graph, name) for name in sorted(names))


def _touched_bytes(graph: OperatorGraph, storage: str) -> float:
    """Bytes of a storage that the operator which touches most of it touches, at most its size; whole where the graph makes it."""
    tensor = graph.tensors[storage]
    if storage not in graph.inputs:
        return float(tensor.size_bytes)
    operands = (x for o in graph.operators if o.kind is not Kind.VIEW for x in (*o.inputs, *o.outputs))
    uses = [x.elements for x in operands if graph.tensors[x.tensor].storage == storage]
    return min(float(tensor.size_bytes), max(uses, default=0) * tensor.dtype.stored_bits / BITS_PER_BYTE)


def compute_cycles(graph: OperatorGraph, geometry: Geometry) -> tuple[int, float]:
    """MACs that no mask leaves out, and the cycles that they take with every array element busy in its data type."""
    array = geometry.array
    total, cycles = 0, 0.0
    for o in graph.operators:
        if o.kind is Kind.CONTRACTION:
            rate = array.rate(multiply_type(graph, o).name)
            assert rate is not None
            total += o.visible_macs
            cycles += o.visible_macs / (array.rows * array.columns * array.count * rate)
    return total, cycles


def roofline(compiled: CompiledWorkload, table: DesignTable) -> Roofline:
    """The roofline of a step at the first design point of `table`, at peak (not sustained) rates."""
    return roofline_of([(p.book.graph, p.count) for p in compiled.parts], compiled.geometry, table)


def roofline_of(graphs: Sequence[tuple[OperatorGraph, int]], geometry: Geometry, table: DesignTable) -> Roofline:
    """The roofline of (graph, times it runs), as `roofline`, before anything is compiled."""
    bytes_per_cycle = float(table.dram_bytes_per_s[0] / table.clock_hz[0])
    macs, total_bytes, compute, dram, bound = 0, 0.0, 0.0, 0.0, 0.0
    for graph, count in graphs:
        part_macs, part_compute = compute_cycles(graph, geometry)
        part_bytes = compulsory_bytes(graph)
        macs += count * part_macs
        total_bytes += count * part_bytes
        compute += count * part_compute
        dram += count * part_bytes / bytes_per_cycle
        bound += count * max(part_compute, part_bytes / bytes_per_cycle)
    return Roofline(macs, total_bytes, compute, dram, bound)
