"""Tile sides worth trying along one dimension, and what a side costs there."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Sides:
    """Candidate tile sides along one dimension of `size`, arrays [S].

    Sizes that do not divide are cut into `count - 1` whole tiles and a last one of `last` elements.
    """

    size: int
    side: IntArray
    count: IntArray
    """Tiles along the dimension."""
    last: IntArray
    """Elements of the last tile."""
    folds: IntArray
    """Array passes along the dimension, over all tiles: sum of ceil(tile / array side)."""
    folds_full: IntArray
    """Array passes of a whole tile."""
    folds_last: IntArray
    """Array passes of the last tile."""

    def __len__(self) -> int:
        return len(self.side)

    def along(self, axis: int) -> Sides:
        """The same candidates along `axis` of a three-dimensional grid, shape 1 elsewhere, to be combined by broadcasting."""
        shape = tuple(-1 if a == axis else 1 for a in range(3))
        return Sides(self.size, *(getattr(self, f.name).reshape(shape) for f in fields(self)[1:]))

    def take(self, index: IntArray) -> Sides:
        """The candidates at `index`."""
        return Sides(
            self.size,
            self.side[index],
            self.count[index],
            self.last[index],
            self.folds[index],
            self.folds_full[index],
            self.folds_last[index],
        )


def sides(size: int, side: IntArray, array_side: int) -> Sides:
    """Costs of the given tile sides; `array_side` is 1 along the dimension that streams through the array."""
    count = -(-size // side)
    last = size - (count - 1) * side
    full = -(-side // array_side)
    tail = -(-last // array_side)
    return Sides(size, side, count, last, (count - 1) * full + tail, full, tail)


EVERY_UP_TO: Final = 512
"""Largest dimension of which every side is looked at; of larger ones the least side for each number of tiles, and whole array passes."""


BELOW_PASS_UP_TO: Final = 16
"""Most elements of an array pass below which shorter sides are looked at."""


def sides_below_pass(size: int, array_side: int) -> IntArray:
    """Sides shorter than one array pass, ascending: all of them where a pass covers few elements, else none.

    They leave part of the array idle, for buffers that hold less than a pass of what is kept there. Below long passes they would make
    frontiers several times as long, for buffers that no chip with such an array has.
    """
    least = min(array_side, size)
    return np.arange(1, least if least <= BELOW_PASS_UP_TO else 1, dtype=np.int64)


@lru_cache(maxsize=1024)
def all_sides(size: int, array_side: int) -> Sides:
    """`sides_below_pass` and sides from one array pass upwards, less those that another beats on side, count and folds alike.

    All of them up to `EVERY_UP_TO`; of a larger dimension the least side for each count, and multiples of the array's side.

    A smaller side needs fewer bytes; fewer tiles mean less traffic; fewer folds fewer cycles and buffer accesses. All
    counts of a mapping grow with each of the three, so a side beaten on all three is beaten in every mapping. The tile
    count falls as the side grows, so only an equal count can beat: within one count, sides with a new least number of
    folds stay. Source: derived here; checked against brute force in the tests.
    """
    least = min(array_side, size)
    if array_side == 1:
        candidates = least_side_per_count(size, least)
    elif size <= EVERY_UP_TO:
        candidates = np.arange(least, size + 1, dtype=np.int64)
    else:
        candidates = np.unique(np.concatenate((least_side_per_count(size, least), whole_passes(size, array_side), np.array([size]))))
    found = sides(size, np.union1d(sides_below_pass(size, array_side), candidates), array_side)
    rank = found.count * (found.folds.max() + 1) + found.folds
    best_before = np.minimum.accumulate(np.concatenate(([rank[0] + 1], rank[:-1])))
    return found.take(np.flatnonzero(rank < best_before))


def ladder_sides(size: int, array_side: int) -> Sides:
    """The array side times powers of two, and the whole dimension: chunks of a streamed dimension."""
    chunks = [min(array_side, size)]
    while chunks[-1] * 2 < size:
        chunks.append(chunks[-1] * 2)
    return sides(size, np.unique(np.array([*chunks, size], dtype=np.int64)), array_side)


def whole_side(size: int, array_side: int) -> Sides:
    """The whole dimension as the only tile."""
    return sides(size, np.array([size], dtype=np.int64), array_side)


def one_pass_side(size: int, array_side: int) -> Sides:
    """One array pass as the only tile side."""
    return sides(size, np.array([min(array_side, size)], dtype=np.int64), array_side)


def whole_passes(size: int, array_side: int) -> IntArray:
    """Multiples of the array's side below `size`, the least for each number of tiles: all multiples with one number of tiles take as many
    passes, full and partial ones alike."""
    multiples = array_side * least_side_per_count(-(-size // array_side), 1)
    return multiples[multiples < size]


def least_side_per_count(size: int, least: int) -> IntArray:
    """For each reachable number of tiles the least side that reaches it, sides of at least `least`; ascending."""
    root = int(np.sqrt(size)) + 1
    counts = np.arange(1, root + 1, dtype=np.int64)
    large = -(-size // counts)
    small = np.arange(1, int(large[-1]) + 1, dtype=np.int64)
    reached = -(-size // np.unique(np.concatenate((large, small))))
    side = -(-size // np.unique(reached))
    side = np.unique(side)
    kept = side[side >= least]
    return np.unique(np.concatenate((kept, np.array([least, size], dtype=np.int64))))
