"""Counts of an operator graph: MACs and bytes by operator and by role, every stored byte attributed once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING

from dse.ir.operator import Kind
from dse.ir.tensor import Role, stored_bytes
from dse.units import FLOPS_PER_MAC

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
    def operations(self) -> int:
        """Operations: two per multiply-accumulate, and those of the vector unit."""
        return FLOPS_PER_MAC * self.macs + self.vector_ops

    @property
    def total_bytes(self) -> int:
        """Bytes of all roles."""
        return self.weight_bytes + self.cache_bytes + self.activation_bytes

    @property
    def intensity_op_per_byte(self) -> float | None:
        """Operations per byte; None where there are no bytes."""
        return intensity(self.operations, self.total_bytes)

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

    def to_json_dict(self) -> dict[str, int | float | None]:
        """The counts under their field names."""
        return {
            "macs": self.macs,
            "visible_macs": self.visible_macs,
            "vector_ops": self.vector_ops,
            "weight_bytes": self.weight_bytes,
            "cache_bytes": self.cache_bytes,
            "activation_bytes": self.activation_bytes,
            "score_bytes": self.score_bytes,
            "intensity_op_per_byte": self.intensity_op_per_byte,
        }


def intensity(operations: int, size_bytes: int) -> float | None:
    """Operations per byte; None without bytes."""
    return operations / size_bytes if size_bytes else None


@dataclass(frozen=True, slots=True)
class OperatorSummary:
    """Counts of one run of an operator, and how often it runs."""

    name: str
    op_type: str
    counts: Counts
    count: int
    role: Role = Role.ACTIVATION
    """What its operations are for: products for weights, else for caches, else for activations; all others for scores or activations."""


@dataclass(frozen=True, slots=True)
class RoleSummary:
    """Operations on tensors of one role, and the bytes of that role; over all operators and repetitions."""

    role: Role
    macs: int
    vector_ops: int
    size_bytes: int

    @property
    def intensity_op_per_byte(self) -> float | None:
        """Operations per byte of the role: how often a byte is used once it is there; None without bytes."""
        return intensity(FLOPS_PER_MAC * self.macs + self.vector_ops, self.size_bytes)

    def to_json_dict(self) -> dict[str, str | int | float | None]:
        """The values under their names."""
        return {
            "role": self.role.value,
            "macs": self.macs,
            "vector_ops": self.vector_ops,
            "bytes": self.size_bytes,
            "intensity_op_per_byte": self.intensity_op_per_byte,
        }


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

    @property
    def roles(self) -> tuple[RoleSummary, ...]:
        """Operations and bytes by role. Every operator counts for one role, so operations add up to the totals; so do the bytes.

        Worked number: DeepSeek-V3, decode of one token, left to right, no rope, bf16: a position of the latent cache, 512 · 2 bytes, is
        multiplied by 128 heads twice, 2 · 2 · 128 · 512 operations: 256 per byte.
        """
        totals = self.totals
        sizes = {
            Role.WEIGHT: totals.weight_bytes,
            Role.CACHE: totals.cache_bytes,
            Role.ACTIVATION: totals.activation_bytes - totals.score_bytes,
            Role.SCORE: totals.score_bytes,
        }
        return tuple(
            RoleSummary(
                role,
                macs=sum(o.count * o.counts.macs for o in self.operators if o.role is role),
                vector_ops=sum(o.count * o.counts.vector_ops for o in self.operators if o.role is role),
                size_bytes=size,
            )
            for role, size in sizes.items()
        )

    def to_json_dict(self) -> dict[str, object]:
        """`totals`, `roles` and `operators` as the command `dse lower --summary` prints them; an operator's counts are of one run."""
        return {
            "totals": self.totals.to_json_dict(),
            "operators": [{"name": o.name, "op_type": o.op_type, **o.counts.to_json_dict(), "count": o.count} for o in self.operators],
            "roles": [role.to_json_dict() for role in self.roles],
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
    operators = tuple(OperatorSummary(o.name, o.op_type, _counts(o, graph, left), count, _role(o, graph)) for o in graph.operators)
    return Summary(operators)


def summarise_workload(parts: Iterable[tuple[OperatorGraph, int]]) -> Summary:
    """Counts of several graphs with their repetitions; with more than one, names are `<graph>/<operator>`."""
    summaries = [(graph, summarise(graph, count)) for graph, count in parts]
    if len(summaries) == 1:
        return summaries[0][1]
    return Summary(tuple(replace(o, name=f"{graph.name}/{o.name}") for graph, summary in summaries for o in summary.operators))


def weight_elements(graph: OperatorGraph) -> int:
    """Elements of all weights of `graph`, each storage once: the parameter count of a model without configuration."""
    return sum(t.elements for t in graph.tensors.values() if t.role is Role.WEIGHT and t.storage == t.name)


def _role(operator: Operator, graph: OperatorGraph) -> Role:
    """The role that an operator's work counts for."""
    touched = {graph.tensors[x.tensor].role for x in (*operator.inputs, *operator.outputs)}
    if operator.kind is not Kind.CONTRACTION:
        return Role.SCORE if Role.SCORE in touched else Role.ACTIVATION
    return next((role for role in (Role.WEIGHT, Role.CACHE) if role in touched), Role.ACTIVATION)


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
