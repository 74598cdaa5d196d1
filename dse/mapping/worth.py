"""Tile sides worth trying along one dimension of a block on one array: those that no other side beats in all that the block counts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import moocore
import numpy as np

from dse.hw.accelerator import Folds
from dse.mapping.tiles import EVERY_UP_TO, ladder_sides, least_side_per_count, sides, sides_below_pass, whole_passes
from dse.mapping.tilings import Tiling, flat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.hw.accelerator import ArrayGeometry
    from dse.mapping.tiles import Sides

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

LOOK_AHEAD: Final = 4
"""Sides that hide an exchange are looked for among so many times the least that could, then among so many times as many, and so on."""
_MOST_COLUMNS: Final = 255
"""Columns that `moocore.is_nondominated` takes."""


class Role(Enum):
    """What a dimension does in the array."""

    STREAM = auto()
    ROWS = auto()
    COLUMNS = auto()


@dataclass(frozen=True, slots=True)
class Need:
    """What a block counts of the sides of one dimension, beside its array passes."""

    role: Role
    side: bool
    """Some tile of the block has the dimension, so that the side takes room."""
    count: bool
    """Something is moved once per tile."""
    resident: bool
    """Weights that fill the array stay while all tiles of the stream pass; only the first one waits for their load."""
    rate: int
    """Elements of a stream that an array element takes in a cycle; elements along the rows that one row holds."""
    folds: Folds
    hidden: int
    """Cycles that a pass takes at least, for a full array; 0 where a pass takes its stream."""
    load_rows_per_cycle: int
    ladder: bool
    """Sides from a ladder only."""
    lengths: tuple[int, ...] = ()
    """For rows: streams shorter than `hidden` that a pass may have. For streams: exchanges that a pass may have to wait for, where
    the blocks have only one side of the rows."""


def hidden_cycles(array: ArrayGeometry) -> int:
    """Least cycles of a pass that fills the array: the exchange of the stationary block, where passes overlap."""
    return -(-array.rows // array.load_rows_per_cycle) if array.folds is Folds.PIPELINED else 0


@lru_cache(maxsize=4096)
def worthwhile(size: int, array_side: int, need: Need) -> Tiling:
    """Sides of `size`, ascending, of which none is beaten by another in room, number of tiles (where they count), passes and cycles.

    Exact over `sides_below_pass` and all sides from one array pass upwards, for dimensions of up to `EVERY_UP_TO` and streams of any
    size; of a larger dimension over the least side for each number of tiles and whole array passes. Cycles of a mapping on one array are
    sums over the tiles of one dimension for each length of stream and each number of rows in use, so a side that is at most as large in
    each of these sums is in every mapping. Equal sides: the smallest.
    """
    candidates = _candidates(size, array_side, need)
    below = sides_below_pass(size, array_side)
    if need.side and len(below):
        candidates = np.union1d(below, candidates)
    found = sides(size, candidates, array_side)
    columns = [np.minimum(found.count, 2)]
    if need.side:
        columns.append(found.side)
    if need.count:
        columns.append(found.count)
    columns += _stream(found, need) if need.role is Role.STREAM else [found.folds]
    if need.role is Role.ROWS:
        columns += _rows(found, array_side, need)
    rows = np.stack(columns, axis=1).astype(np.float64)
    return flat(found.take(_unbeaten(rows)))


def _unbeaten(rows: FloatArray) -> IntArray:
    if rows.shape[1] <= _MOST_COLUMNS:
        return np.flatnonzero(moocore.is_nondominated(rows, keep_weakly=False))
    kept: list[int] = []
    for i in np.lexsort(rows.T[::-1]):
        if not (rows[kept] <= rows[i]).all(axis=1).any():
            kept.append(int(i))
    return np.sort(np.array(kept, dtype=np.int64))


def short_streams(stream: Sides, need: Need) -> tuple[int, ...]:
    """Cycles of passes with the sides of `stream` that are shorter than the exchange of a full array."""
    steps = np.unique(np.concatenate((-(-stream.side // need.rate), -(-stream.last // need.rate))))
    return tuple(steps[steps < need.hidden].tolist())


def exchanges(rows: Sides, need: Need) -> tuple[int, ...]:
    """Cycles to exchange what rows with the sides of `rows` hold, where passes overlap."""
    if not need.hidden:
        return ()
    used = np.unique(np.concatenate((rows.side, rows.last)))
    return tuple(np.unique(_exchange(used, need)).tolist())


def _candidates(size: int, array_side: int, need: Need) -> IntArray:
    least = min(array_side, size)
    if not need.side and need.role is not Role.ROWS:
        return np.array([size], dtype=np.int64)
    if need.ladder:
        return ladder_sides(size, array_side).side
    if size <= EVERY_UP_TO:
        return np.arange(least, size + 1, dtype=np.int64)
    parts = [least_side_per_count(size, least), np.array([size], dtype=np.int64)]
    if array_side > 1:
        parts.append(whole_passes(size, array_side))
    if need.role is Role.STREAM:
        if need.rate > 1:
            parts.append(np.minimum(need.rate * least_side_per_count(-(-size // need.rate), 1), size))
        if need.hidden and not need.count:
            parts.append(_until_hidden(size, need))
    return np.unique(np.concatenate(parts))


def _until_hidden(size: int, need: Need) -> IntArray:
    """Sides up to the first whose tiles, the last one too, all hide the exchange of a full array: no larger one has fewer cycles."""
    most = min(size, LOOK_AHEAD * need.hidden * need.rate)
    while True:
        every = sides(size, np.arange(1, most + 1, dtype=np.int64), 1)
        long = (-(-every.side // need.rate) >= need.hidden) & (-(-every.last // need.rate) >= need.hidden) & (every.side % need.rate == 0)
        if long.any():
            return every.side[: int(np.argmax(long)) + 1]
        if most == size:
            return every.side
        most = min(size, LOOK_AHEAD * most)


def _stream(found: Sides, need: Need) -> list[IntArray]:
    """Cycles of all tiles, for every least that a pass may take."""
    whole, last = -(-found.side // need.rate), -(-found.last // need.rate)
    columns = [(found.count - 1) * whole + last]
    if need.folds is Folds.SERIAL:
        columns.append(found.count)
    if need.resident:
        return [*columns, *(-np.minimum(whole, x) for x in need.lengths)]
    if need.count:
        return [*columns, whole, last] if need.rate > 1 or need.ladder else columns
    return [*columns, *((found.count - 1) * np.maximum(whole, x) + np.maximum(last, x) for x in need.lengths)]


def _rows(found: Sides, array_side: int, need: Need) -> list[IntArray]:
    """Cycles of all passes, for every length of stream that does not hide the exchange of a full array."""
    full = (found.count - 1) * (found.side // array_side) + found.last // array_side
    ends = [(found.count - 1) * (found.side % array_side > 0), np.where(found.last % array_side > 0, 1, 0)]
    lasting = [_exchange(x % array_side, need) for x in (found.side, found.last)]
    return [
        full * need.hidden + ends[0] * np.maximum(lasting[0], length) + ends[1] * np.maximum(lasting[1], length) for length in need.lengths
    ]


def _exchange(elements: IntArray, need: Need) -> IntArray:
    """Cycles in which rows that hold so many elements are exchanged."""
    used = -(-elements // need.rate)
    return np.asarray(-(-used // need.load_rows_per_cycle))
