"""Counts of an operator graph: MACs and bytes by operator and by role, every stored byte attributed once."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from dse.ir.operator import Kind
from dse.ir.tensor import Role, stored_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dse.ir.graph import OperatorGraph
    from dse.ir.operator import Operand, Operator


@dataclass(frozen=True, slots=True)
class Counts:
    """What one operator, or all of them, compute and move. Bytes are in the tensors' storage formats."""

    macs: int = 0
    """Multiply-accumulates of whole loop nests, masked positions included."""
    masked_macs: int = 0
    """Those of them that causal and banded masks leave out."""
    vector_ops: int = 0
    weight_bytes: int = 0
    cache_bytes: int = 0
    activation_bytes: int = 0
    """Inputs and outputs that are activations or scores; views have none."""
    score_bytes: int = 0
    """The part of `activation_bytes` that is scores."""

    @property
    def visible_macs(self) -> int:
        """Multiply-accumulates of positions that no mask leaves out: what a kernel does that skips the others."""
        return self.macs - self.masked_macs

    def plus(self, other: Counts, times: int = 1) -> Counts:
        """The sum with `times` repetitions of `other`."""
        return Counts(
            macs=self.macs + times * other.macs,
            masked_macs=self.masked_macs + times * other.masked_macs,
            vector_ops=self.vector_ops + times * other.vector_ops,
            weight_bytes=self.weight_bytes + times * other.weight_bytes,
            cache_bytes=self.cache_bytes + times * other.cache_bytes,
            activation_bytes=self.activation_bytes + times * other.activation_bytes,
            score_bytes=self.score_bytes + times * other.score_bytes,
        )

    def to_json_dict(self) -> dict[str, int]:
        """The counts under their field names."""
        return {
            "macs": self.macs,
            "visible_macs": self.visible_macs,
            "vector_ops": self.vector_ops,
            "weight_bytes": self.weight_bytes,
            "cache_bytes": self.cache_bytes,
            "activation_bytes": self.activation_bytes,
            "score_bytes": self.score_bytes,
        }


@dataclass(frozen=True, slots=True)
class OperatorSummary:
    """Counts of one run of an operator, and how often it runs."""

    name: str
    op_type: str
    counts: Counts
    count: int


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of a graph or of a workload of several; `totals` multiplies each operator by its count."""

    operators: tuple[OperatorSummary, ...]

    @property
    def totals(self) -> Counts:
        """Sum over operators and repetitions."""
        total = Counts()
        for operator in self.operators:
            total = total.plus(operator.counts, operator.count)
        return total

    def to_json_dict(self) -> dict[str, object]:
        """`totals` and `operators` as the command `dse lower --summary` prints them; an operator's counts are of one run."""
        return {
            "totals": self.totals.to_json_dict(),
            "operators": [{"name": o.name, "op_type": o.op_type, **o.counts.to_json_dict(), "count": o.count} for o in self.operators],
        }


def summarise(graph: OperatorGraph, count: int = 1) -> Summary:
    """Counts of `graph`, run `count` times.

    Weights and caches: each stored byte is attributed once per run, to the first operator that touches it. An append
    touches the new rows, the score the cached ones, and the context none where values alias keys; so a cache adds up to
    its length times its width. Where operators touch different parts of a storage, parts are taken from the front.
    Activations: inputs and outputs of every operator, as often as they are read and written. Derived here from the
    definition of compulsory traffic. Worked number: DeepSeek-V3, left to right, no rope, batch 1, T = 4096, bf16:
    cache 4096 · 512 · 2 bytes = 4,194,304.
    """
    left: dict[str, int] = {}
    operators = tuple(OperatorSummary(o.name, o.op_type, _counts(o, graph, left), count) for o in graph.operators)
    return Summary(operators)


def summarise_workload(parts: Iterable[tuple[OperatorGraph, int]]) -> Summary:
    """Counts of several graphs with their repetitions; with more than one, names are `<graph>/<operator>`."""
    summaries = [(graph, summarise(graph, count)) for graph, count in parts]
    if len(summaries) == 1:
        return summaries[0][1]
    return Summary(
        tuple(
            OperatorSummary(f"{graph.name}/{o.name}", o.op_type, o.counts, o.count)
            for graph, summary in summaries
            for o in summary.operators
        )
    )


def weight_elements(graph: OperatorGraph) -> int:
    """Elements of all weights of `graph`, each storage once: the parameter count of a model without configuration."""
    return sum(t.elements for t in graph.tensors.values() if t.role is Role.WEIGHT and t.storage == t.name)


def _counts(operator: Operator, graph: OperatorGraph, left: dict[str, int]) -> Counts:
    """Counts of one operator; `left` holds the elements of each weight or cache storage not attributed yet."""
    if operator.kind is Kind.VIEW:
        return Counts()
    total = Counts(macs=operator.macs, masked_macs=operator.macs - operator.visible_macs, vector_ops=operator.vector_ops)
    for operand in (*operator.inputs, *operator.outputs):
        total = total.plus(_operand_counts(operand, graph, left))
    return total


def _operand_counts(operand: Operand, graph: OperatorGraph, left: dict[str, int]) -> Counts:
    tensor = graph.tensors[operand.tensor]
    if tensor.role in (Role.ACTIVATION, Role.SCORE):
        size = ceil(stored_bytes(operand.elements, tensor.dtype))
        return Counts(activation_bytes=size, score_bytes=size if tensor.role is Role.SCORE else 0)
    storage = tensor.storage
    new = min(operand.elements, left.setdefault(storage, graph.tensors[storage].elements))
    left[storage] -= new
    size = ceil(stored_bytes(new, tensor.dtype))
    return Counts(weight_bytes=size) if tensor.role is Role.WEIGHT else Counts(cache_bytes=size)
