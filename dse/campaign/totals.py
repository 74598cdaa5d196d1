"""What a step must do at least: its MACs and the DRAM bytes that it cannot avoid."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dse.ir.operator import Kind
from dse.units import BITS_PER_BYTE

if TYPE_CHECKING:
    from dse.evaluate import Step
    from dse.ir.graph import OperatorGraph


@dataclass(frozen=True, slots=True)
class StepTotals:
    """Totals of a step."""

    macs: float
    compulsory_bytes: float
    """Weights, caches, inputs and outputs once, only the elements touched."""
    dtype: str
    """Data type that most MACs multiply in: the wider of the two operands."""


def step_totals(step: Step) -> StepTotals:
    """Totals of `step`; one MAC is two FLOPs."""
    macs = sum(count * sum(o.macs for o in graph.operators) for graph, count in step.graphs)
    total = sum(count * _compulsory(graph) for graph, count in step.graphs)
    types: Counter[str] = Counter()
    for graph, count in step.graphs:
        for operator in graph.operators:
            if operator.kind is Kind.CONTRACTION:
                wider = max((graph.tensors[x.tensor].dtype for x in operator.inputs[:2]), key=lambda t: t.bits)
                types[wider.name] += count * operator.macs
    return StepTotals(float(macs), float(total), types.most_common(1)[0][0] if types else "")


def _compulsory(graph: OperatorGraph) -> float:
    """Bytes of graph inputs as far as operators touch them, and of graph outputs as far as operators write them.

    Tensors that share storage (views, caches updated in place) are read once: the most that one of them needs.
    """
    read: dict[str, float] = {}
    written: dict[str, float] = {}
    inputs = {graph.tensors[name].storage for name in graph.inputs}
    outputs = {graph.tensors[name].storage for name in graph.outputs}
    for operator in graph.operators:
        if operator.kind is Kind.VIEW:
            continue
        for operands, wanted, seen in ((operator.inputs, inputs, read), (operator.outputs, outputs, written)):
            for operand in operands:
                tensor = graph.tensors[operand.tensor]
                if tensor.storage in wanted:
                    size = operand.elements * tensor.dtype.bits / BITS_PER_BYTE
                    seen[tensor.storage] = max(seen.get(tensor.storage, 0.0), size)
    return sum(read.values()) + sum(written.values())
