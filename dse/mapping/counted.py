"""Counts of whole blocks with one level of tiles in one buffer: all blocks of a search in one go, as arrays over their mappings."""

from __future__ import annotations

from dataclasses import fields
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from dse.mapping.blocks import BUFFER_READ, BUFFER_WRITE, CYCLES, DRAM_READ, DRAM_WRITE, FOOTPRINT, LACKED, STAYS
from dse.mapping.matmul import Stationary, TileGrid, array_cycles
from dse.mapping.tiles import Sides
from dse.units import BITS_PER_BYTE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.mapping.blocks import Block, View

    BoolArray = NDArray[np.bool_]
    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

_COLUMNS = (DRAM_READ, DRAM_WRITE, BUFFER_READ, BUFFER_WRITE)
"""Sums of what left, right and out move."""
_LEFT, _RIGHT, _OUT = range(3)


def is_plain(view: View) -> bool:
    """Whether a view has one buffer that every operand shares freely, and no groups side by side in the array."""
    outer = view.geometry.outer
    return view.abreast == 1 and not (view.geometry.inner or outer.replicated or outer.registers or outer.capacity_shares)


def counted(blocks: Sequence[Block], numbers: Sequence[int], together: tuple[int, ...]) -> tuple[FloatArray, IntArray]:
    """Counts [R, C] of all mappings of blocks worth counting, and (number, index in the block) of each [R, 2].

    `blocks` have one level of tiles and no shared sums, are of one view that `is_plain`, and stand for one block for each number of
    groups `together`; `numbers` are those of these blocks, all with the first number of groups, then all with the next. Left out are
    mappings for which fewer groups at a time take no more cycles. The same to the last bit as `Block.rows`.
    """
    grid = _Grid(blocks)
    cycles = grid.cycles(together)  # [T, R]
    if len(together) > 1:
        worth = np.ones(cycles.shape, dtype=np.bool_)
        np.less(cycles[1:], np.minimum.accumulate(cycles, axis=0)[:-1], out=worth[1:])
        some, at = np.nonzero(worth)
    else:
        some, at = np.zeros(grid.size, dtype=np.int64), np.arange(grid.size)
    found = np.empty((blocks[0].view.columns, len(at)))
    found[list(_COLUMNS)] = grid.moved()[:, at] if len(together) > 1 else grid.moved()
    found[CYCLES] = cycles[some, at]
    found[FOOTPRINT] = grid.footprints(np.array(together)[some], at, blocks[0].view.problem.groups)
    which = np.array(numbers).reshape(len(together), len(blocks))[some, grid.block[at]]
    return found.T, np.stack((which, grid.index[at]), axis=1)


def footprints(blocks: Sequence[Block], at: IntArray, groups: int) -> FloatArray:
    """Bytes in the buffer [R] of mappings `at` (number among `blocks`, index in it) of a product of so many groups.

    Blocks are as for `counted`, of any views.
    """
    found = np.empty(len(at))
    used, which = np.unique(at[:, 0], return_inverse=True)
    views: dict[int, list[int]] = {}
    for i, number in enumerate(used.tolist()):
        views.setdefault(id(blocks[number].view), []).append(i)
    for mine in views.values():
        some = [blocks[number] for number in used[mine].tolist()]
        sizes = np.array([block.size for block in some])
        rows = np.flatnonzero(np.isin(which, mine))
        kind = np.searchsorted(mine, which[rows])
        place = (np.cumsum(sizes) - sizes)[kind] + at[rows, 1]
        found[rows] = _Grid(some).footprints(np.array([block.together for block in some])[kind], place, groups)
    return found


@lru_cache(maxsize=256)
def _indices(shapes: tuple[tuple[int, int, int], ...]) -> tuple[IntArray, IntArray, IntArray]:
    """Of all mappings of blocks with these shapes: the block, the index in it, and its places along m, k and n, [3, R]."""
    sizes = np.array([m * k * n for m, k, n in shapes])
    block = np.repeat(np.arange(len(shapes)), sizes)
    index = np.arange(len(block)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    _, k, n = np.array(shapes).T.take(block, axis=1)
    rest = index // n
    m = rest // k
    return block, index, np.stack((m, rest - m * k, index - rest * n))


class _Grid:
    """All mappings of some blocks, [R], one block after another."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks, self._view = blocks, blocks[0].view
        self.block, self.index, places = _indices(tuple(block.shape for block in blocks))
        self.size = len(self.block)
        self._starts = np.array([np.cumsum([0, *(len(b.tilings[d]) for b in blocks[:-1])]) for d in range(3)])
        """[3, B]: where the tilings of each block begin among those of all."""
        self._at = places + self._starts.take(self.block, axis=1)
        """[3, R]: tilings of m, k and n."""
        self._every = [_joined([b.tilings[d].inner for b in blocks]) for d in range(3)]
        self._sides = [sides.take(at) for sides, at in zip(self._every, self._at, strict=True)]
        self._tiled = np.array([[bool(home.tiles) for home in b.homes] for b in blocks]).T  # [3, B]

    def cycles(self, together: tuple[int, ...]) -> FloatArray:
        """Busy cycles of the array with every number of groups, [T, R]."""
        view, groups = self._view, np.array(together)[:, None]
        array = view.geometry.array
        tiles, which = self._different_tiles()

        def of(stationary: Stationary) -> FloatArray:
            found = array_cycles(view.problem, tiles, array, dataflow=view.dataflow, stationary=stationary, rate=view.rate, together=groups)
            return np.broadcast_to(found, (len(together), len(tiles.m)))[:, which]

        found = of(Stationary.OUT)
        right = np.array([block.stays is Stationary.RIGHT for block in self._blocks])
        if array.count == 1 and right.any():  # weights may stay in the array
            found = np.where(right[self.block], of(Stationary.RIGHT), found)
        return found

    def _different_tiles(self) -> tuple[TileGrid, IntArray]:
        """The tiles of all mappings, each once, and which of them each mapping has, [R]."""
        first, number = [], []
        for every in self._every:
            _, index, inverse = np.unique(every.side, return_index=True, return_inverse=True)
            first.append(index)
            number.append(inverse)
        shape = len(first[0]), len(first[1]), len(first[2])
        m, k, n = (inverse[at] for inverse, at in zip(number, self._at, strict=True))
        key = (m * shape[1] + k) * shape[2] + n
        used = np.zeros(shape[0] * shape[1] * shape[2], dtype=np.bool_)
        used[key] = True
        different = np.flatnonzero(used)
        place = np.cumsum(used) - 1
        rest = different // shape[2]
        m = rest // shape[1]
        at = m, rest - m * shape[1], different - rest * shape[2]
        return TileGrid(*(every.take(index[i]) for every, index, i in zip(self._every, first, at, strict=True))), place[key]

    def moved(self) -> FloatArray:
        """Bytes of `_COLUMNS`, [4, R]."""
        right, out, left = (self._lines(p).take(self._at[LACKED[p]], axis=1) for p in (_RIGHT, _OUT, _LEFT))
        return np.asarray(right + out + left)

    def _lines(self, position: int) -> FloatArray:
        """Bytes of `_COLUMNS` that an operand moves, by tiling of the dimension that it lacks, [4, S] (`crossings.moved`)."""
        problem, on_chip = self._view.problem, self._view.on_chip(position)
        tiles, array, tiled = self._trips(position)
        found = np.zeros((4, len(tiles)))
        read, written, from_buffer, to_buffer = found
        if position == _OUT:
            elements = problem.groups * problem.m * problem.n
            distinct = elements * problem.out_share
            final = distinct * problem.out_bits / BITS_PER_BYTE
            partial = distinct * problem.partial_bits / BITS_PER_BYTE
            to_array = (elements * array - distinct) * problem.partial_bits / BITS_PER_BYTE
            to_array = np.where(tiled | on_chip, to_array * problem.work_share, to_array)
            from_array = to_array + final
            if on_chip:
                from_buffer[:], to_buffer[:] = to_array, from_array
                return found
            returned = (tiles - 1) * partial
            read[:] = np.where(tiled, returned, to_array)
            written[:] = np.where(tiled, returned + final, from_array)
            from_buffer[:] = np.where(tiled, to_array + returned + final, 0.0)
            to_buffer[:] = np.where(tiled, from_array + returned, 0.0)
            return found
        left = position == _LEFT
        bits, share = (problem.left_bits, problem.left_share) if left else (problem.right_bits, problem.right_share)
        size = problem.groups * problem.k * (problem.m if left else problem.n) * bits / BITS_PER_BYTE
        to_array = size * array
        to_array = np.where(tiled | on_chip, to_array * problem.work_share, to_array)
        if on_chip:
            from_buffer[:] = to_array
            return found
        filled = size * share * tiles
        read[:] = np.where(tiled, filled, to_array)
        from_buffer[:] = np.where(tiled, to_array, 0.0)
        to_buffer[:] = np.where(tiled, filled, 0.0)
        return found

    def _trips(self, position: int) -> tuple[FloatArray, FloatArray, BoolArray]:
        """How often the operand at `position` crosses into its tile and into the array, and whether it has a tile, [S] by tiling of the
        dimension that it lacks (`Block.trips`)."""
        lacked, held = LACKED[position], self._view.held == position
        every = self._every[lacked]
        lengths = [len(b.tilings[lacked]) for b in self._blocks]
        stays = np.repeat([STAYS[b.stays] == position for b in self._blocks], lengths)
        still = np.repeat([b.one_pass and STAYS[b.stays] == position for b in self._blocks], lengths)
        tiles = np.where(stays, 1.0, every.count)
        array = np.where(still, 1.0, every.count if held else every.folds)
        return tiles, array, np.repeat(self._tiled[position], lengths)

    def footprints(self, together: IntArray, at: IntArray, groups: int) -> FloatArray:
        """Bytes in the buffer of mappings `at` with so many groups at a time, [R] each, and in all (`Block.footprints`)."""
        block = self.block[at]
        m, k, n = ((s.side[at], s.count[at] > 1) for s in self._sides)
        again = together < groups
        double = self._view.geometry.outer.double_buffered
        total: FloatArray = np.zeros(len(at))
        for position, (a, b) in enumerate(((m, k), (k, n), (m, n))):
            tiled = self._tiled[position]
            on_chip = self._view.on_chip(position) and position == _OUT
            if not (tiled.any() or on_chip):
                continue
            size = self._width(position, at) * (together * (a[0] * b[0]))
            if double and not on_chip:
                size *= np.where(a[1] | b[1] | again, 2, 1)
            total += size if on_chip else np.where(tiled[block], size, 0.0)
        return total

    def _width(self, position: int, at: IntArray) -> float | FloatArray:
        """Bytes that an element takes in the buffer (`crossings.tile_bytes_per_element`)."""
        problem = self._view.problem
        if position != _OUT:
            left = position == _LEFT
            bits, share = (problem.left_bits, problem.left_share) if left else (problem.right_bits, problem.right_share)
            return bits * share / BITS_PER_BYTE
        narrow, wide = (bits * problem.out_share / BITS_PER_BYTE for bits in (problem.out_bits, problem.partial_bits))
        tiles, array, _ = self._trips(position)
        if self._view.on_chip(position):
            width = np.where(array > 1, wide, 0.0) + np.where(tiles > 1, np.inf, 0.0)
        else:
            width = np.where((array > 1) | (tiles > 1), wide, narrow)
        return np.asarray(width[self._at[LACKED[position], at]])


def _joined(parts: Sequence[Sides]) -> Sides:
    """Candidates of one dimension one after another."""
    return Sides(parts[0].size, *(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Sides)[1:]))
