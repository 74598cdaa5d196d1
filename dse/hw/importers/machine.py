"""A core as loop-nest tools describe it: MAC array dimensions, and memories with operands, ports and what one instance serves.

The form follows ZigZag's hardware files (zigzag-dse 3.9.1, `zigzag/inputs/hardware`), which say more about registers and
ports than an accelerator file does; a mapping given from outside is costed on it as given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum


class Direction(StrEnum):
    """One way that words cross the edge of a memory; high is farther from the MACs."""

    READ_TO_LOW = "read_to_low"
    WRITE_FROM_LOW = "write_from_low"
    READ_TO_HIGH = "read_to_high"
    WRITE_FROM_HIGH = "write_from_high"

    @property
    def is_read(self) -> bool:
        """Whether the memory is read."""
        return self in (Direction.READ_TO_LOW, Direction.READ_TO_HIGH)

    @property
    def is_low(self) -> bool:
        """Whether the other side is nearer to the MACs."""
        return self in (Direction.READ_TO_LOW, Direction.WRITE_FROM_LOW)


@dataclass(frozen=True, slots=True)
class Flow:
    """One operand crossing in one direction."""

    operand: str
    direction: Direction


@dataclass(frozen=True, slots=True)
class Port:
    """One physical port of a memory, shared by all its flows."""

    name: str
    min_bits: float
    """Finest part of an access: each transfer is rounded up to whole multiples of it."""
    max_bits: float
    """Bits per cycle, and the width of the access whose energy the memory states."""
    flows: tuple[Flow, ...]


@dataclass(frozen=True, slots=True)
class NestMemory:
    """One level of memory; all instances are equal."""

    name: str
    size_bits: float
    """Of one instance."""
    operands: tuple[str, ...]
    """Names of the memory operands that have a place here."""
    serves: tuple[str, ...]
    """Array dimensions that one instance feeds; along all others the memory is replicated."""
    read_pj: float
    """Of one read of a port's full width."""
    write_pj: float
    """Of one write of a port's full width."""
    ports: tuple[Port, ...]
    doubled: bool = False
    """Tiles that do not hold the whole operand take twice their bits."""

    def port_of(self, operand: str, direction: Direction) -> Port | None:
        """The port that carries the flow; None where none does."""
        return next((p for p in self.ports if Flow(operand, direction) in p.flows), None)


@dataclass(frozen=True, slots=True)
class Machine:
    """A MAC array with its memories from inner to outer."""

    name: str
    dimensions: tuple[tuple[str, int], ...]
    """(array dimension, MAC units along it)."""
    mac_pj: float
    memories: tuple[NestMemory, ...]
    systolic: tuple[str, ...] = ()
    """Array dimensions along which results move a unit per cycle."""

    @property
    def macs(self) -> int:
        """MAC units of the array."""
        return math.prod(size for _, size in self.dimensions)

    def levels(self, operand: str) -> tuple[NestMemory, ...]:
        """The memories that have a place for `operand`, inner to outer."""
        return tuple(m for m in self.memories if operand in m.operands)
