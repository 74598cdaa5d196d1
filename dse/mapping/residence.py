"""Which memories may hold tiles of which operand, and what of a memory hierarchy is not mapped."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from dse.errors import InputError
from dse.hw.accelerator import OperandName

if TYPE_CHECKING:
    from dse.hw.accelerator import Geometry

_TRANSPOSED = {OperandName.LEFT: OperandName.RIGHT, OperandName.RIGHT: OperandName.LEFT, OperandName.OUT: OperandName.OUT}


@dataclass(frozen=True, slots=True)
class Residence:
    """Operands of the outermost buffer, and for each operand the buffer inside it that may hold its inner tile."""

    outer: tuple[OperandName, ...]
    inner: tuple[tuple[OperandName, int], ...]
    """(operand, position of its buffer in `Geometry.inner`)."""
    outer_shares: tuple[tuple[OperandName, float], ...]
    """Part of the outermost buffer that an operand may fill; all of it where it is not named."""
    inner_shares: tuple[tuple[OperandName, float], ...]
    """The same for the inner buffer of each operand."""

    def transposed(self) -> Residence:
        """For the transposed product: left and right change places."""
        return Residence(
            tuple(_TRANSPOSED[name] for name in self.outer),
            tuple((_TRANSPOSED[name], position) for name, position in self.inner),
            tuple((_TRANSPOSED[name], share) for name, share in self.outer_shares),
            tuple((_TRANSPOSED[name], share) for name, share in self.inner_shares),
        )


@lru_cache(maxsize=256)
def residence(geometry: Geometry) -> Residence:
    """Where operands may have tiles.

    Raises:
        InputError: an operand has more than one buffer inside the outermost, or one of them has several instances.
    """
    found: dict[OperandName, int] = {}
    shares: list[tuple[OperandName, float]] = []
    for position, memory in enumerate(geometry.inner):
        if memory.registers:
            continue
        if memory.replicated:
            where = ", ".join(memory.replicated)
            raise _unmapped(f"a buffer with an instance for each position along {where}; let one instance serve the whole array")
        for name in memory.operands:
            if name in found:
                raise _unmapped(f"two buffers inside the outermost one that hold {name}; name each operand in one of them")
            found[name] = position
        shares += memory.capacity_shares
    return Residence(geometry.outer.operands, tuple(found.items()), geometry.outer.capacity_shares, tuple(shares))


def _unmapped(what: str) -> InputError:
    return InputError.single("memories", f"read and priced, but this version finds no mappings for {what}")
