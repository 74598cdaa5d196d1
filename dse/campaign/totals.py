"""What a step must do at least: its MACs and the DRAM bytes that it cannot avoid."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dse.cost.roofline import compulsory_bytes
from dse.ir.graph import multiply_type
from dse.ir.operator import Kind

if TYPE_CHECKING:
    from dse.evaluate import Step


@dataclass(frozen=True, slots=True)
class StepTotals:
    """Totals of a step."""

    macs: float
    """Those that no mask leaves out."""
    compulsory_bytes: float
    """Weights, caches, inputs and outputs once, see `dse.cost.roofline`."""
    dtype: str
    """Data type that most MACs multiply in: the wider of the two operands."""


def step_totals(step: Step) -> StepTotals:
    """Totals of `step`; one MAC is two FLOPs."""
    macs = sum(count * sum(o.visible_macs for o in graph.operators) for graph, count in step.graphs)
    total = sum(count * compulsory_bytes(graph) for graph, count in step.graphs)
    types: Counter[str] = Counter()
    for graph, count in step.graphs:
        for operator in graph.operators:
            if operator.kind is Kind.CONTRACTION:
                types[multiply_type(graph, operator).arithmetic] += count * operator.visible_macs
    return StepTotals(float(macs), float(total), types.most_common(1)[0][0] if types else "")
