"""What does not fit, in words: which memory, how much is wanted and there, which tensors take it, and what would help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from dse.ir.tensor import Role
from dse.units import BYTES_PER_GIB, BYTES_PER_KIB, BYTES_PER_MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.ir.graph import OperatorGraph

NAMED: Final = 3
"""Tensors named in a message, the largest first."""
LONG: Final = 9999.5
"""From here on figures are told with all their digits."""
LEVERS: Final = ("use a smaller batch or cache length", "a narrower precision", "fewer layers", "more DRAM capacity")
STORED: Final = frozenset({Role.WEIGHT, Role.CACHE})
"""Roles of what lies off chip all the time."""


@dataclass(frozen=True, slots=True)
class Infeasibility:
    """Why a design point cannot run the step, or the operator."""

    resource: str
    """The memory, as its file calls it, or `dram_capacity`."""
    demand_bytes: float
    """What it would have to hold."""
    bound_bytes: float
    """What it holds."""
    message: str
    """All of it in words."""
    contributors: tuple[tuple[str, float], ...] = ()
    """(name, bytes) of what takes the room, the largest where there are many."""
    levers: tuple[str, ...] = ()
    """What would make it fit, each alone."""

    @classmethod
    def of(
        cls,
        resource: str,
        demand_bytes: float,
        bound_bytes: float,
        *,
        contributors: tuple[tuple[str, float], ...],
        levers: tuple[str, ...],
    ) -> Self:
        """With the message that follows from the figures."""
        unit, size_of = _unit(bound_bytes)

        def told(size_bytes: float) -> str:
            size = size_bytes / size_of
            return f"{size:.4g} {unit}" if size < LONG else f"{size:,.0f} {unit}"

        parts = ", ".join(f"{name} {told(size)}" for name, size in contributors)
        message = f"needs {told(demand_bytes)} ({parts}), holds {told(bound_bytes)}; {'; or '.join(levers)}"
        return cls(resource, demand_bytes, bound_bytes, message, contributors, levers)

    def __str__(self) -> str:
        return f"{self.resource}: {self.message}"

    def to_json_dict(self) -> dict[str, object]:
        """The entry of `infeasibility` in JSON."""
        return {
            "resource": self.resource,
            "demand_bytes": self.demand_bytes,
            "bound_bytes": self.bound_bytes,
            "contributors": dict(self.contributors),
            "levers": list(self.levers),
            "message": self.message,
        }


def least_dram_bytes(graphs: Sequence[tuple[OperatorGraph, int]], stored_bytes: float) -> float:
    """Bytes that lie off chip at some moment whatever the plan: `stored_bytes` of weights and caches, and `at_the_ends` of the part of the
    step, (graph, times it runs), with the most of them."""
    return stored_bytes + max((at_the_ends(graph)[0] for graph, _ in graphs), default=0.0)


def at_the_ends(graph: OperatorGraph) -> tuple[float, tuple[tuple[str, float], ...]]:
    """Most bytes of inputs and results that lie off chip before a graph runs, after it, or while one operator that reads inputs makes
    results, and those tensors, largest first; weights and caches, which always lie there, left out."""
    first, last = (_activations(graph, names) for names in (graph.inputs, graph.outputs))
    moments = [first, last]
    for o in graph.operators:
        read = {x.tensor: first[x.tensor] for x in o.inputs if x.tensor in first}
        moments.append(read | {x.tensor: last[x.tensor] for x in o.outputs if x.tensor in last})
    most = max(moments, key=lambda there: sum(there.values()))
    return sum(most.values()), tuple(sorted(most.items(), key=lambda item: (-item[1], item[0])))


def _activations(graph: OperatorGraph, names: Sequence[str]) -> dict[str, float]:
    """Bytes of those tensors that are not stored."""
    return {name: float(graph.tensors[name].size_bytes) for name in names if graph.tensors[name].role not in STORED}


def dram_too_small(
    graphs: Sequence[tuple[OperatorGraph, int]], stored_bytes: float, capacity_bytes: float, memory: str = "DRAM"
) -> Infeasibility | None:
    """None where `memory` holds `least_dram_bytes`: weights and caches of the whole step, (graph, times it runs), experts that no token
    uses included, and beside them its inputs and results."""
    if stored_bytes <= capacity_bytes:
        ends = (off_chip_too_small(stored_bytes, *at_the_ends(graph), capacity_bytes, memory) for graph, _ in graphs)
        return next((why for why in ends if why is not None), None)
    contributors = tuple(_largest(graphs))
    largest = ", ".join(f"{name} {_size(size)}" for name, size in contributors)
    return Infeasibility(
        "dram_capacity",
        stored_bytes,
        capacity_bytes,
        f"weights and caches take {in_gib(stored_bytes)}, {memory} holds {in_gib(capacity_bytes)}; "
        f"largest in this step: {largest}; {', '.join(LEVERS[:-1])}, or {LEVERS[-1]}",
        contributors,
        LEVERS,
    )


def off_chip_too_small(
    stored_bytes: float,
    activation_bytes: float,
    there: Sequence[tuple[str, float]],
    capacity_bytes: float,
    memory: str,
    levers: tuple[str, ...] = ("use a smaller batch", "a narrower precision", "more DRAM capacity"),
) -> Infeasibility | None:
    """None where `memory` holds activations, `there` (name, bytes) the largest first, beside weights and caches."""
    if stored_bytes + activation_bytes <= capacity_bytes:
        return None
    listed = ", ".join(f"'{name}' {_size(size)}" for name, size in there[:NAMED])
    stored = f"weights and caches take {in_gib(stored_bytes)}, activations off chip" if stored_bytes else "activations off chip take"
    return Infeasibility(
        "dram_capacity",
        stored_bytes + activation_bytes,
        capacity_bytes,
        f"{stored} {in_gib(activation_bytes)} at once ({listed}), {memory} holds {in_gib(capacity_bytes)}; "
        f"{', '.join(levers[:-1])}, or {levers[-1]}",
        (("weights and caches", stored_bytes), *there[:NAMED]),
        levers,
    )


def _unit(size_bytes: float) -> tuple[str, float]:
    """Unit in which a memory of this size is told."""
    if size_bytes >= BYTES_PER_GIB:
        return "GiB", BYTES_PER_GIB
    return ("KiB", BYTES_PER_KIB) if size_bytes >= BYTES_PER_KIB else ("bytes", 1)


def _largest(graphs: Sequence[tuple[OperatorGraph, int]]) -> list[tuple[str, float]]:
    """Weights and caches of most bytes over all layers, as `tensor (role)` or `part/tensor (role) x times`."""
    found = []
    for graph, count in graphs:
        for name in graph.inputs:
            tensor = graph.tensors[name]
            if tensor.role in STORED:
                part = f"{graph.name}/" if len(graphs) > 1 else ""
                times = f" x {count}" if count > 1 else ""
                found.append((f"{part}{name} ({tensor.role}){times}", count * float(tensor.size_bytes)))
    return sorted(found, key=lambda item: (-item[1], item[0]))[:NAMED]


def in_gib(size_bytes: float) -> str:
    """GiB with two digits behind the point; MiB or KiB where these would say little."""
    return f"{size_bytes / BYTES_PER_GIB:.2f} GiB" if size_bytes >= BYTES_PER_GIB / 10 else _size(size_bytes)


def _size(size_bytes: float) -> str:
    for unit, name in ((BYTES_PER_GIB, "GiB"), (BYTES_PER_MIB, "MiB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.2f} {name}"
    return f"{size_bytes / BYTES_PER_KIB:.1f} KiB"
