"""What does not fit, in words: which memory, how much is wanted and there, which tensors take it, and what would help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dse.ir.tensor import Role
from dse.units import BYTES_PER_GIB, BYTES_PER_KIB, BYTES_PER_MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.ir.graph import OperatorGraph

NAMED: Final = 3
"""Tensors named in a message, the largest first."""
LEVERS: Final = "use a smaller batch or cache length, a narrower precision, fewer layers, or more DRAM capacity"


@dataclass(frozen=True, slots=True)
class Infeasibility:
    """Why a design point cannot run the step."""

    resource: str
    demand_bytes: float
    bound_bytes: float
    message: str


def dram_too_small(graphs: Sequence[tuple[OperatorGraph, int]], stored_bytes: float, capacity_bytes: float) -> Infeasibility | None:
    """None where DRAM holds weights and caches of the whole step: (graph, times it runs), experts that no token uses included."""
    if stored_bytes <= capacity_bytes:
        return None
    largest = ", ".join(f"{name} {_size(size)}" for name, size in _largest(graphs))
    return Infeasibility(
        "dram_capacity",
        stored_bytes,
        capacity_bytes,
        f"weights and caches take {stored_bytes / BYTES_PER_GIB:.2f} GiB, DRAM holds {capacity_bytes / BYTES_PER_GIB:.2f} GiB; "
        f"largest in this step: {largest}; {LEVERS}",
    )


def _largest(graphs: Sequence[tuple[OperatorGraph, int]]) -> list[tuple[str, float]]:
    """Weights and caches of most bytes over all layers, as `tensor (role)` or `part/tensor (role) x times`."""
    found = []
    for graph, count in graphs:
        for name in graph.inputs:
            tensor = graph.tensors[name]
            if tensor.role in (Role.WEIGHT, Role.CACHE):
                part = f"{graph.name}/" if len(graphs) > 1 else ""
                times = f" x {count}" if count > 1 else ""
                found.append((f"{part}{name} ({tensor.role}){times}", count * float(tensor.size_bytes)))
    return sorted(found, key=lambda item: (-item[1], item[0]))[:NAMED]


def _size(size_bytes: float) -> str:
    for unit, name in ((BYTES_PER_GIB, "GiB"), (BYTES_PER_MIB, "MiB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.2f} {name}"
    return f"{size_bytes / BYTES_PER_KIB:.1f} KiB"
