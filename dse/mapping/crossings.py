"""Bytes that one operand moves through the memories, from how often its elements cross into each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.hw.accelerator import OperandName
from dse.units import BITS_PER_BYTE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.mapping.problem import MatmulProblem

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

AXES: Final = {OperandName.LEFT: (0, 1), OperandName.RIGHT: (1, 2), OperandName.OUT: (0, 2)}
"""Positions in (m, k, n) of the two dimensions of each operand."""


OUTERMOST: Final = -1
"""The outermost buffer among positions of `Geometry.inner`."""


@dataclass(frozen=True, slots=True)
class Trips:
    """How often each element of an operand crosses into its tile of each level and into the array; arrays of one shape."""

    tiles: tuple[IntArray, ...]
    """By slot of a `Home`, from the outermost inwards."""
    array: IntArray


@dataclass(frozen=True, slots=True)
class Home:
    """Where an operand has tiles."""

    at: tuple[int | None, ...] = (None, None)
    """The memory of its tile in each slot, from the outermost inwards: `OUTERMOST`, or a position in `Geometry.inner`; None where it has
    no tile. Slots are the levels of tiles, of which two or more may have tiles of one size."""
    on_chip: bool = False
    """The whole operand is held in the outermost buffer already."""

    @property
    def tiles(self) -> tuple[tuple[int, int], ...]:
        """(slot, memory) of each tile, from the outermost inwards."""
        return tuple((slot, at) for slot, at in enumerate(self.at) if at is not None)

    @property
    def held(self) -> bool:
        """Whether some memory on chip holds it or a tile of it."""
        return self.on_chip or any(at is not None for at in self.at)


@dataclass(frozen=True, slots=True)
class Moved:
    """Bytes of one operand, all groups, arrays of one shape; `to_array` and `from_array` are what crosses the array's border."""

    dram_read: FloatArray
    dram_write: FloatArray
    tiles: tuple[tuple[FloatArray, FloatArray], ...]
    """Read from and written to the memory of each tile, in the order of `Home.tiles`."""
    resident: tuple[FloatArray, FloatArray] | None
    """Read from and written to the outermost buffer, where the whole operand is on chip."""
    to_array: FloatArray
    from_array: FloatArray


def moved(problem: MatmulProblem, name: OperandName, trips: Trips, home: Home) -> Moved:
    """What `name` moves.

    An input is read from the memory that holds it and written to the next one inside. Partial sums that leave are written and read
    back at `partial_bits`, the very first read is skipped; a finished output leaves once at `out_bits`. Transfers between memories
    count distinct elements (`left_share`, ...); what the array takes does not, and counts only the products that a mask leaves.
    Source: facts of the single-buffer machine, Huang et al., ISCA 2024; each further memory is the same rule once more.
    """
    if name is OperandName.OUT:
        return _out(problem, trips, home)
    left = name is OperandName.LEFT
    bits, share = (problem.left_bits, problem.left_share) if left else (problem.right_bits, problem.right_share)
    size = problem.groups * problem.k * (problem.m if left else problem.n) * bits / BITS_PER_BYTE
    to_array = size * trips.array.astype(np.float64)
    if home.held:
        to_array = to_array * problem.work_share
    zero = np.zeros_like(to_array)
    asked: FloatArray = to_array
    tiles: list[tuple[FloatArray, FloatArray]] = []
    for slot, _ in reversed(home.tiles):
        filled = size * share * trips.tiles[slot].astype(np.float64)
        tiles.insert(0, (asked, filled))
        asked = filled
    if home.on_chip:
        return Moved(zero, zero, tuple(tiles), (asked, zero), to_array, zero)
    return Moved(asked, zero, tuple(tiles), None, to_array, zero)


def _out(problem: MatmulProblem, trips: Trips, home: Home) -> Moved:
    """Where products share outputs (`out_share` below 1) every crossing of the array is a partial sum but the last of each output."""
    elements = problem.groups * problem.m * problem.n
    distinct = elements * problem.out_share
    final = distinct * problem.out_bits / BITS_PER_BYTE
    partial = distinct * problem.partial_bits / BITS_PER_BYTE
    to_array = (elements * trips.array.astype(np.float64) - distinct) * problem.partial_bits / BITS_PER_BYTE
    if home.held:
        to_array = to_array * problem.work_share
    from_array = to_array + final
    down, up = to_array, from_array
    tiles: list[tuple[FloatArray, FloatArray]] = []
    for slot, _ in reversed(home.tiles):
        returned = (trips.tiles[slot].astype(np.float64) - 1) * partial
        tiles.insert(0, (down + returned + final, up + returned))
        down, up = returned, returned + final
    if home.on_chip:
        zero = np.zeros_like(to_array)
        return Moved(zero, zero, tuple(tiles), (down, up), to_array, from_array)
    return Moved(down, up, tuple(tiles), None, to_array, from_array)


def tile_bytes_per_element(problem: MatmulProblem, name: OperandName, trips: Trips, home: Home) -> tuple[FloatArray, ...]:
    """Bytes that an element takes in the memory of each tile, in the order of `Home.tiles`, and last, where the operand is on chip,
    beside it in the outermost buffer.

    An output tile takes the wide form as soon as any sum in it is unfinished when it arrives or leaves. Of an output that is held on
    chip only the accumulators of the tile in work are counted, where sums come back to it; a mapping that would come back to a tile
    it has left is excluded by an infinite size, since the finished tensor has no room for unfinished sums.
    """
    if name is not OperandName.OUT:
        left = name is OperandName.LEFT
        bits, share = (problem.left_bits, problem.left_share) if left else (problem.right_bits, problem.right_share)
        width = np.full(trips.array.shape, bits * share / BITS_PER_BYTE)
        return (*(width for _ in home.tiles), *((np.zeros_like(width),) if home.on_chip else ()))
    narrow, wide = (bits * problem.out_share / BITS_PER_BYTE for bits in (problem.out_bits, problem.partial_bits))
    coming = trips.array
    found: list[FloatArray] = []
    for slot, _ in reversed(home.tiles):
        found.insert(0, np.where((coming > 1) | (trips.tiles[slot] > 1), wide, narrow))
        coming = trips.tiles[slot]
    if home.on_chip:
        found.append(np.where(coming > 1, wide, 0.0) + np.where(trips.tiles[0] > 1, np.inf, 0.0))
    return tuple(found)
