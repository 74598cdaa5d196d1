"""Ways of cutting one dimension into outer tiles and these into inner ones."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import moocore
import numpy as np

from dse.mapping.tiles import Sides, all_sides, ladder_sides, one_pass_side, whole_side
from dse.mapping.tiles import sides as sides_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]


EVERY_INNER_UP_TO: Final = 32
"""Largest dimension of which every side of inner tiles is tried: of longer ones frontiers of large products would take twice as long."""


@dataclass(frozen=True, slots=True)
class Between:
    """Tiles of a level between the outermost and the innermost one, arrays [S]."""

    side: IntArray
    count: IntArray


@dataclass(frozen=True, slots=True)
class Tiling:
    """Candidates along one dimension, arrays [S]. Tiles are made of whole ones of the next level inside, or are the whole dimension."""

    inner: Sides
    outer_side: IntArray
    outer_count: IntArray
    between: tuple[Between, ...] = ()
    """Levels between the outermost and the innermost one, from outer to inner."""

    def __len__(self) -> int:
        return len(self.outer_side)

    @property
    def size(self) -> int:
        """Elements of the dimension."""
        return self.inner.size

    @property
    def sides(self) -> tuple[IntArray, ...]:
        """Of each level, from outer to inner."""
        return self.outer_side, *(b.side for b in self.between), self.inner.side

    @property
    def counts(self) -> tuple[IntArray, ...]:
        """Tiles of each level along the dimension, from outer to inner."""
        return self.outer_count, *(b.count for b in self.between), self.inner.count

    def take(self, index: IntArray) -> Tiling:
        """The candidates at `index`, of any shape."""
        return Tiling(self.inner.take(index), self.outer_side[index], self.outer_count[index], self._between(lambda x: x[index]))

    def least(self, starts: IntArray) -> Tiling:
        """The least of every number in each stretch of neighbours that begins at one of `starts`."""
        values = (np.minimum.reduceat(getattr(self.inner, f.name), starts) for f in fields(self.inner)[1:])
        side, count = (np.minimum.reduceat(x, starts) for x in (self.outer_side, self.outer_count))
        return Tiling(Sides(self.size, *values), side, count, self._between(lambda x: np.minimum.reduceat(x, starts)))

    def _between(self, change: Callable[[IntArray], IntArray]) -> tuple[Between, ...]:
        return tuple(Between(change(b.side), change(b.count)) for b in self.between)


def flat(inner: Sides) -> Tiling:
    """Outer tiles that are the inner ones."""
    return Tiling(inner, inner.side, inner.count)


@lru_cache(maxsize=4096)
def plain(kind: str, size: int, array_side: int) -> Tiling:
    """One level of tiles with every side, those of a ladder, a single array pass or the whole dimension; "... parts" are those of them
    that leave several tiles, a "whole pass" is the whole where it is one array pass."""
    make: dict[str, Callable[[int, int], Sides]] = {
        "every": all_sides,
        "ladder": ladder_sides,
        "single": one_pass_side,
        "whole": whole_side,
    }
    first, _, which = kind.partition(" ")
    found = make[first](size, array_side)
    if which:
        found = found.take(np.flatnonzero(found.count > 1 if which == "parts" else found.folds == 1))
    return flat(found)


@lru_cache(maxsize=4096)
def nested(size: int, array_side: int, *, one_pass: bool, inner: bool, outer: bool) -> Tiling:
    """Tilings of `size` of which none is beaten.

    Inner sides are `rungs`, or with `one_pass` one array pass. `inner` and `outer`
    say whether the numbers of inner and outer tiles count. Outer sides are multiples of inner ones: for each number of outer tiles that
    can be reached the least; where it does not count outer tiles are inner ones, or the whole dimension, which is never replaced.

    A tiling goes if another has sides that are no larger and no more outer and inner tiles. All counts of a mapping grow with each of
    these.
    """
    candidates = one_pass_side(size, array_side) if one_pass else rungs(size, array_side)
    parts = [_least_per_count(tiles) if outer else np.unique([1, tiles]) for tiles in candidates.count.tolist()]
    held = np.concatenate(parts)
    chosen = candidates.take(np.repeat(np.arange(len(candidates)), [len(part) for part in parts]))
    found = Tiling(chosen, np.minimum(chosen.side * held, size), -(-chosen.count // held))
    return found.take(_kept(found, inner=inner, outer=outer))


@lru_cache(maxsize=4096)
def nested_deep(size: int, array_side: int, *, one_pass: bool, counted: tuple[bool, ...]) -> Tiling:
    """Tilings of `size` with three levels or more, of which none is beaten; as `nested`, which has two.

    `counted` says of each level, from the outermost inwards, whether its number of tiles counts. Sides of all levels but the outermost are
    those of a ladder; a level whose number does not count has the sides of the next one inside, or the whole dimension.
    """
    inner = one_pass_side(size, array_side) if one_pass else ladder_sides(size, array_side)
    rungs = ladder_sides(size, array_side)
    chains: list[tuple[int, ...]] = [(side,) for side in inner.side.tolist()]  # sides from outer to inner
    for counts in reversed(counted[1:-1]):
        chains = [
            (side, *chain) for chain in chains for side in (rungs.side.tolist() if counts else sorted({chain[0], size})) if side >= chain[0]
        ]
    outer = []
    for chain in chains:
        tiles = -(-size // chain[0])
        held = _least_per_count(tiles).tolist() if counted[0] else sorted({1, tiles})
        outer += [(min(chain[0] * h, size), *chain) for h in held]
    sides = np.array(outer, dtype=np.int64).T
    found = Tiling(
        sides_of(size, sides[-1], array_side),
        sides[0],
        -(-size // sides[0]),
        tuple(Between(side, -(-size // side)) for side in sides[1:-1]),
    )
    columns = [*sides, found.inner.folds, *(count > 1 for count in found.counts)]
    columns += [count for count, here in zip(found.counts, counted, strict=True) if here]
    rows = np.stack([np.asarray(c, dtype=np.float64) for c in columns], axis=1)
    kept = np.flatnonzero(moocore.is_nondominated(rows, keep_weakly=False))
    return found.take(kept[np.lexsort(sides[::-1, kept])])


def rungs(size: int, array_side: int) -> Sides:
    """Sides of inner tiles: all that may matter of a short dimension; of a longer one the array side times powers of two, and the whole."""
    return all_sides(size, array_side) if size <= EVERY_INNER_UP_TO else ladder_sides(size, array_side)


def _least_per_count(tiles: int) -> IntArray:
    """Inner tiles in an outer one: for each number of outer tiles that can be reached the fewest, ascending."""
    return all_sides(tiles, 1).side


def _kept(found: Tiling, *, inner: bool, outer: bool) -> IntArray:
    """Indices of the tilings that no other beats, in order of their sides."""
    columns = [found.inner.side, found.outer_side, found.inner.folds, found.inner.count > 1, found.outer_count > 1]
    for counts, here in ((found.inner.count, inner), (found.outer_count, outer)):
        if here:
            columns.append(counts)
    rows = np.stack([np.asarray(c, dtype=np.float64) for c in columns], axis=1)
    kept = np.flatnonzero(moocore.is_nondominated(rows, keep_weakly=False))
    return np.asarray(kept[np.lexsort((found.inner.side[kept], found.outer_side[kept]))])


def single(size: int, array_side: int, sides: tuple[int, ...]) -> Tiling:
    """The one tiling with these sides, from outer to inner."""
    outer, *between, inner = sides if len(sides) > 1 else sides * 2
    levels = tuple(Between(np.array([side]), np.array([-(-size // side)])) for side in between)
    return Tiling(sides_of(size, np.array([inner]), array_side), np.array([outer]), np.array([-(-size // outer)]), levels)
