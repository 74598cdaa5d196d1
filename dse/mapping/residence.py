"""Which memories may hold tiles of which operand."""

from __future__ import annotations

import itertools
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
    most_tiles: int | None = None
    """Tiles of an operand at a time, at most; None for as many as memories may hold it."""

    def of(self, name: OperandName) -> tuple[int, ...]:
        """The buffers of an operand."""
        return dict(self.places)[name]

    def transposed(self) -> Residence:
        """For the transposed product: left and right change places."""
        found = {TRANSPOSED[name]: held for name, held in self.places}
        return Residence(tuple((name, found[name]) for name in OperandName), self.most_tiles)

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

    def chains(self, name: OperandName, tiles: int, *, on_chip: bool = False) -> tuple[tuple[int, ...], ...]:
        """Memories of so many tiles of an operand, each inside the one before; of one that is `on_chip` inside the outermost buffer."""
        held = self.inner(name) if on_chip else self.of(name)
        return tuple(itertools.combinations(held[::-1], tiles))

    @property
    def levels(self) -> int:
        """Levels of tiles that are tried: as many as the most memories of an operand, or as tiles are allowed."""
        most = max(len(held) for _, held in self.places)
        return most if self.most_tiles is None else min(most, self.most_tiles)

    def default(self, name: OperandName, slots: int = 2) -> tuple[int, ...]:
        """Memories of so many tiles, the outer one first, where nothing else is said: the last buffers of the operand. Where there are
        fewer, the innermost stands for the rest."""
        held = self.of(name)
        outer = held[-1] if held else OUTERMOST
        inside = [at for at in held[:-1] if at != OUTERMOST] or [at for at in held if at != OUTERMOST] or [OUTERMOST]
        found = inside[-1:-slots:-1]
        return (outer, *found, *found[-1:] * (slots - 1 - len(found)))


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
    return Residence(tuple(found), geometry.most_tiles)
