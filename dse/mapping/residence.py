"""Which memories may hold tiles of which operand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from dse.hw.accelerator import OperandName
from dse.mapping.crossings import OUTERMOST

if TYPE_CHECKING:
    from dse.hw.accelerator import Geometry

TRANSPOSED = {OperandName.LEFT: OperandName.RIGHT, OperandName.RIGHT: OperandName.LEFT, OperandName.OUT: OperandName.OUT}


@dataclass(frozen=True, slots=True)
class Residence:
    """Buffers of each operand from inner to outer, as positions in `Geometry.inner`, the outermost buffer as `OUTERMOST`."""

    places: tuple[tuple[OperandName, tuple[int, ...]], ...]

    def of(self, name: OperandName) -> tuple[int, ...]:
        """The buffers of an operand."""
        return dict(self.places)[name]

    def transposed(self) -> Residence:
        """For the transposed product: left and right change places."""
        found = {TRANSPOSED[name]: held for name, held in self.places}
        return Residence(tuple((name, found[name]) for name in OperandName))

    def outer(self, name: OperandName) -> tuple[int, ...]:
        """Where an outer tile may lie: in the last buffer of the operand; of three or more in all but the first."""
        held = self.of(name)
        return held[-1:] if len(held) < 3 else held[1:]

    def inner(self, name: OperandName) -> tuple[int, ...]:
        """Where an inner tile, or the only one, may lie: in any buffer inside the outermost one."""
        return tuple(at for at in self.of(name) if at != OUTERMOST)

    def pairs(self, name: OperandName) -> tuple[tuple[int, int], ...]:
        """(outer, inner) of an operand with both tiles: two different buffers, the inner one inside the other."""
        held = self.of(name)
        return tuple((outer, inner) for outer in self.outer(name) for inner in held[: held.index(outer)])

    def default(self, name: OperandName) -> tuple[int, int]:
        """(outer, inner) where nothing else is said: the last two buffers of the operand."""
        held = self.of(name)
        outer = held[-1] if held else OUTERMOST
        inside = [at for at in held[:-1] if at != OUTERMOST] or [at for at in held if at != OUTERMOST]
        return outer, (inside[-1] if inside else OUTERMOST)


@lru_cache(maxsize=256)
def residence(geometry: Geometry) -> Residence:
    """Where operands may have tiles."""
    found = []
    for name in OperandName:
        several = "arrays" if geometry.array.count > 1 and name is OperandName.OUT else None  # each would have a part of every sum
        held = [i for i, memory in enumerate(geometry.inner) if name in memory.operands and several not in memory.replicated]
        if name in geometry.outer.operands:
            held.append(OUTERMOST)
        found.append((name, tuple(held)))
    return Residence(tuple(found))
