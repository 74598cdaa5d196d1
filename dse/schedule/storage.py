"""Storages: the bytes behind tensors, with who writes and who reads them, in the order of a schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dse.units import BITS_PER_BYTE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.ir.graph import OperatorGraph
    from dse.ir.operator import Operand, Operator
    from dse.ir.tensor import Role


@dataclass(frozen=True, slots=True)
class Storage:
    """One storage; positions count operators of the schedule."""

    name: str
    role: Role
    size_bytes: float
    writers: tuple[int, ...]
    readers: tuple[int, ...]
    from_outside: bool
    """A graph input: its bytes come from DRAM."""
    to_outside: bool
    """A graph output: its bytes must reach DRAM."""
    streams: frozenset[str]
    """Streams along which a slice of it can be held."""


def touched_bytes(graph: OperatorGraph, operand: Operand) -> float:
    """Bytes that an operator touches of one operand."""
    return operand.elements * graph.tensors[operand.tensor].dtype.stored_bits / BITS_PER_BYTE


def find_storages(graph: OperatorGraph, order: tuple[Operator, ...], streams: Mapping[str, frozenset[str]]) -> dict[str, Storage]:
    """Storages that the operators of `order` touch, by name. Operands that touch no element count as no access."""
    writers: dict[str, list[int]] = {}
    readers: dict[str, list[int]] = {}
    held: dict[str, frozenset[str]] = {}
    for position, operator in enumerate(order):
        for operands, table in ((operator.inputs, readers), (operator.outputs, writers)):
            for x in operands:
                if x.elements == 0:
                    continue
                name = graph.tensors[x.tensor].storage
                places = table.setdefault(name, [])
                if position not in places:
                    places.append(position)
                held[name] = held.get(name, streams[x.tensor]) & streams[x.tensor]
    outputs = {graph.tensors[t].storage for t in graph.outputs}
    return {
        name: Storage(
            name=name,
            role=graph.tensors[name].role,
            size_bytes=float(graph.tensors[name].size_bytes),
            writers=tuple(writers.get(name, ())),
            readers=tuple(readers.get(name, ())),
            from_outside=name in graph.inputs,
            to_outside=name in outputs,
            streams=held[name],
        )
        for name in held
    }
