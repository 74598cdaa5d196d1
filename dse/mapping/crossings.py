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
    """How often each element of an operand crosses into its outer tile, its inner tile and the array; arrays of one shape."""

    outer: IntArray
    inner: IntArray
    array: IntArray


@dataclass(frozen=True, slots=True)
class Home:
    """Where an operand has tiles."""

    outer: bool = False
    """In the outermost buffer."""
    inner: bool = False
    """In a memory inside it."""
    on_chip: bool = False
    """The whole operand is held in the outermost buffer already."""
    outer_at: int = OUTERMOST
    """Which memory has the outer tile: `OUTERMOST`, or a position in `Geometry.inner`."""
    inner_at: int = OUTERMOST
    """Which memory has the inner tile: a position in `Geometry.inner`."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Bytes of one operand, all groups, arrays of one shape; `to_array` and `from_array` are what crosses the array's border."""

    dram_read: FloatArray
    dram_write: FloatArray
    buffer_read: FloatArray
    buffer_write: FloatArray
    inner_read: FloatArray
    inner_write: FloatArray
    to_array: FloatArray
    from_array: FloatArray


def moved(problem: MatmulProblem, name: OperandName, trips: Trips, home: Home) -> Moved:
    """What `name` moves.

    An input is read from the memory that holds it and written to the next one inside. Partial sums that leave are written and read
    back at `partial_bits`, the very first read is skipped; a finished output leaves once at `out_bits`. Transfers between memories
    count distinct elements (`left_share`, ...); what the array takes does not, and counts only the products that a mask leaves.
    Source: facts of the single-buffer machine, Huang et al., ISCA 2024; a second buffer is the same rule once more.
    """
    if name is OperandName.OUT:
        return _out(problem, trips, home)
    left = name is OperandName.LEFT
    bits, share = (problem.left_bits, problem.left_share) if left else (problem.right_bits, problem.right_share)
    size = problem.groups * problem.k * (problem.m if left else problem.n) * bits / BITS_PER_BYTE
    to_array = size * trips.array.astype(np.float64)
    if home.inner or home.outer or home.on_chip:
        to_array = to_array * problem.work_share
    zero = np.zeros_like(to_array)
    asked: FloatArray = to_array
    inner_read, inner_write = zero, zero
    if home.inner:
        inner_read, inner_write = asked, size * share * trips.inner.astype(np.float64)
        asked = inner_write
    if home.on_chip:
        return Moved(zero, zero, asked, zero, inner_read, inner_write, to_array, zero)
    if not home.outer:
        return Moved(asked, zero, zero, zero, inner_read, inner_write, to_array, zero)
    filled = size * share * trips.outer.astype(np.float64)
    return Moved(filled, zero, asked, filled, inner_read, inner_write, to_array, zero)


def _out(problem: MatmulProblem, trips: Trips, home: Home) -> Moved:
    """Where products share outputs (`out_share` below 1) every crossing of the array is a partial sum but the last of each output."""
    elements = problem.groups * problem.m * problem.n
    distinct = elements * problem.out_share
    final = distinct * problem.out_bits / BITS_PER_BYTE
    partial = distinct * problem.partial_bits / BITS_PER_BYTE
    to_array = (elements * trips.array.astype(np.float64) - distinct) * problem.partial_bits / BITS_PER_BYTE
    if home.inner or home.outer or home.on_chip:
        to_array = to_array * problem.work_share
    from_array = to_array + final
    zero = np.zeros_like(to_array)
    down, up, inner_read, inner_write = to_array, from_array, zero, zero
    if home.inner:
        returned = (trips.inner.astype(np.float64) - 1) * partial
        inner_read, inner_write = down + returned + final, up + returned
        down, up = returned, returned + final
    if home.on_chip:
        return Moved(zero, zero, down, up, inner_read, inner_write, to_array, from_array)
    if not home.outer:
        return Moved(down, up, zero, zero, inner_read, inner_write, to_array, from_array)
    spilled = (trips.outer.astype(np.float64) - 1) * partial
    read, written = down + spilled + final, up + spilled
    return Moved(spilled, spilled + final, read, written, inner_read, inner_write, to_array, from_array)


def tile_bytes_per_element(problem: MatmulProblem, name: OperandName, trips: Trips, home: Home) -> tuple[FloatArray, FloatArray]:
    """Bytes that an element of a tile takes in the outermost buffer and in an inner one; 0 where it has none there.

    An output tile takes the wide form as soon as any sum in it is unfinished when it arrives or leaves. Of an output that is held on
    chip only the accumulators of the tile in work are counted, where sums come back to it; a mapping that would come back to a tile
    it has left is excluded by an infinite size, since the finished tensor has no room for unfinished sums.
    """
    zero = np.zeros(trips.outer.shape)
    if name is not OperandName.OUT:
        left = name is OperandName.LEFT
        bits, share = (problem.left_bits, problem.left_share) if left else (problem.right_bits, problem.right_share)
        width = bits * share / BITS_PER_BYTE
        return zero + (width if home.outer and not home.on_chip else 0.0), zero + (width if home.inner else 0.0)
    narrow, wide = (bits * problem.out_share / BITS_PER_BYTE for bits in (problem.out_bits, problem.partial_bits))
    coming = trips.inner if home.inner else trips.array
    inner = np.where((trips.array > 1) | (trips.inner > 1), wide, narrow) if home.inner else zero
    if home.on_chip:
        return np.where(coming > 1, wide, 0.0) + np.where(trips.outer > 1, np.inf, 0.0), inner
    outer = np.where((coming > 1) | (trips.outer > 1), wide, narrow) if home.outer else zero
    return outer, inner
