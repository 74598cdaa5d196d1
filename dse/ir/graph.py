"""The operator graph: operators in topological order over tensors."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dse.errors import GraphError
from dse.ir.tensor import wider_element

if TYPE_CHECKING:
    from collections.abc import Mapping

    import networkx as nx

    from dse.ir.operator import Operator
    from dse.ir.tensor import DataType, Tensor


@dataclass(frozen=True)
class OperatorGraph:
    """Operators in a deterministic topological order, the tensors between them, and what enters and leaves."""

    name: str
    tensors: Mapping[str, Tensor]
    operators: tuple[Operator, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    accumulation: DataType
    """Format of partial sums."""

    def producer(self, tensor: str) -> Operator | None:
        """The operator that writes `tensor`; None for a graph input."""
        return next((o for o in self.operators if any(x.tensor == tensor for x in o.outputs)), None)

    def consumers(self, tensor: str) -> tuple[Operator, ...]:
        """The operators that read `tensor`, in topological order."""
        return tuple(o for o in self.operators if any(x.tensor == tensor for x in o.inputs))

    def network(self) -> nx.MultiDiGraph:
        """A networkx view: one node per operator, one edge per tensor passed on (key and attribute `tensor`)."""
        import networkx as nx  # 0.1 s, which most commands need not spend

        net: nx.MultiDiGraph = nx.MultiDiGraph(name=self.name)
        net.add_nodes_from(o.name for o in self.operators)
        producers = {x.tensor: o.name for o in self.operators for x in o.outputs}
        for o in self.operators:
            for x in o.inputs:
                if x.tensor in producers:
                    net.add_edge(producers[x.tensor], o.name, key=x.tensor, tensor=x.tensor)
        return net


def multiply_type(graph: OperatorGraph, operator: Operator) -> DataType:
    """The format that a contraction multiplies in: the wider of its two operands' elements, without their scales."""
    return wider_element(*(graph.tensors[x.tensor].dtype for x in operator.inputs[:2]))


def nothing_to_compute(graph: OperatorGraph) -> GraphError:
    """The error of a graph of which no operator does anything."""
    return GraphError.single(graph.name, "nothing to compute: its results have no elements, or are its inputs in other shapes")


def check_graph(graph: OperatorGraph) -> OperatorGraph:
    """Return `graph` after checking names, order and operands.

    Raises:
        GraphError: duplicate operator names, a tensor without description, a tensor written twice, an operand read
            before it is written, or a cycle.
    """
    doubled = [n for n, c in Counter(o.name for o in graph.operators).items() if c > 1]
    if doubled:
        raise GraphError.single(graph.name, f"operator name '{doubled[0]}' is used more than once; names must be unique")
    written = set(graph.inputs)
    for o in graph.operators:
        for x in (*o.inputs, *o.outputs):
            if x.tensor not in graph.tensors:
                raise GraphError.single(f"{graph.name}: node '{o.name}'", f"tensor '{x.tensor}' has no shape")
        for x in o.inputs:
            if x.tensor not in written:
                raise GraphError.single(f"{graph.name}: node '{o.name}'", f"reads '{x.tensor}', which nothing before it writes")
        for x in o.outputs:
            if x.tensor in written:
                raise GraphError.single(f"{graph.name}: node '{o.name}'", f"writes '{x.tensor}', which exists already")
            written.add(x.tensor)
    return graph
