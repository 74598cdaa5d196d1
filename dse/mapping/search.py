"""Finds the mappings of many blocks that no other mapping beats."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

import moocore
import numpy as np

from dse.mapping.cells import Cells, shares_of
from dse.mapping.comparison import Comparison, coarse
from dse.mapping.counted import counted, is_plain
from dse.mapping.matmul import Stationary
from dse.mapping.pivots import Stairs
from dse.mapping.sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from numpy.typing import NDArray

    from dse.hw.accelerator import Geometry
    from dse.mapping.blocks import Block, Index

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

SMALL: Final = (8192, 4096)
"""Blocks of at most so many mappings are counted whole: with one buffer, and where mappings have more counts."""
ALONE: Final = 2048
"""The same with one buffer and one group, where no two blocks are counted together."""
FEW: Final = 256
"""Mappings of a block that are counted without looking first which of them are worth it."""
FURTHER: Final = (4, 4)
"""All are compared with each other again when so many times as many were taken in as there were, and so many times as many are ahead."""
BATCH: Final = 65536
"""Mappings that are held against what is known at a time."""
SWEPT: Final = 1
"""Memories inside the outermost buffer with which large blocks are looked at by footprint (`Sweep`): with more of them many mappings that
need much room are beaten by none that need less."""


def everything(block: Block) -> Index:
    """Indices of all mappings of `block`."""
    return everything_of(block.shape)


def everything_of(shape: tuple[int, ...]) -> Index:
    """Indices of all mappings of a block of that shape."""
    m, k, n = np.ix_(*(np.arange(size) for size in shape))
    return m, k, n


def search(blocks: Sequence[Block]) -> tuple[FloatArray, IntArray]:
    """Counts [R, C] of the mappings of `blocks` that are not dominated, and (block, index in it) of each [R, 2].

    Small blocks are counted whole. Large ones are cut into cells of neighbouring tile sides, and a cell goes if a known mapping beats its
    floor, the least of every table in it with the least cycles. With few memories they are looked at by footprint (`Sweep`). With more one
    mapping of each cell is counted first; of these and of the small blocks those that no other beats are known. What is left is counted,
    tried against what is known, and in the end compared with each other. Of mappings with equal counts, or of which no price tells one
    from the other (`Comparison`), one stays.
    """
    cycles, view = _Cycles(), blocks[0].view
    comparison = Comparison.of(view.geometry, view.columns)
    whole = ALONE if view.problem.groups == 1 and not view.geometry.inner else SMALL[bool(view.geometry.inner)]
    small: dict[Hashable, list[tuple[int, Block]]] = {}
    large = [number for number, block in enumerate(blocks) if block.size > whole]
    found = {number: cycles.of(blocks[number], (blocks[number].together,)) for number in sorted(large, key=lambda i: -blocks[i].size)}
    for number, block in enumerate(blocks):
        if block.size <= whole:
            tiles = block.same_tiles
            small.setdefault(number if tiles is None else tiles, []).append((number, block))
    known_first = _all_of(small.values(), cycles)
    if not large:
        return _Known(comparison, *_in_order(known_first)).all()
    cells = Cells({number: blocks[number] for number in large}, [found[number] for number in large])
    if len(view.geometry.inner) <= SWEPT:
        return Sweep(comparison, cells, *_in_order(known_first)).run()
    known = _Known(comparison, *_in_order([*known_first, cells.samples()]))
    _rest(cells, known)
    return known.all()


def counted_whole(blocks: Sequence[Block]) -> tuple[FloatArray, IntArray] | None:
    """Counts of all mappings of `blocks` that are worth counting, and which they are, block after block as in `search`; None where some
    block is too large for it."""
    if any(block.size > SMALL[bool(block.view.geometry.inner)] for block in blocks):
        return None
    cycles = _Cycles()
    alike: dict[Hashable, list[tuple[int, Block]]] = {}
    for number, block in enumerate(blocks):
        tiles = block.same_tiles
        alike.setdefault(number if tiles is None else tiles, []).append((number, block))
    return _in_order(_all_of(alike.values(), cycles))


def unbeaten(geometry: Geometry, rows: FloatArray, at: IntArray) -> tuple[FloatArray, IntArray]:
    """Those of mappings with counts `rows` [R, C] that no other one beats, of equal ones the first, and their places `at` [R, 2]."""
    return _Known(Comparison.of(geometry, rows.shape[1]), rows, at).all()


def _in_order(counted: Sequence[tuple[FloatArray, IntArray]]) -> tuple[FloatArray, IntArray]:
    """Mappings that any buffer could hold, block after block."""
    rows, at = (np.concatenate(parts) for parts in zip(*counted, strict=True))
    finite = np.flatnonzero(np.isfinite(rows[:, 0]))
    finite = finite[np.argsort(at[finite, 0], kind="stable")]
    return rows[finite], at[finite]


def _rest(cells: Cells, known: _Known) -> None:
    """Take in what may be unbeaten of large blocks, the smallest first; cells are tried again when more is known."""
    floors = cells.floors().T
    unbeaten = np.flatnonzero(np.isfinite(floors).all(axis=1))
    parts = cells.by_block(unbeaten[~known.beat(floors[unbeaten])])
    ahead, counted = sum(cells.mappings_in(part) for part in parts), 0
    waiting: list[IntArray] = []
    tried = known.stairs
    for part in parts:
        size, here = cells.mappings_in(part), part
        if counted > BATCH or (counted and size > max(BATCH, FURTHER[1] * counted)):
            known.take(*cells.counts(np.concatenate(waiting)))
            known.settle_for(ahead)
            waiting, counted = [], 0
        ahead -= size
        if known.stairs is not tried and len(here):
            here = here[~known.beat(floors[here])]
        waiting.append(here)
        counted += size
    known.take(*cells.counts(np.concatenate(waiting)))


class _Known:
    """Mappings found so far that no other beats."""

    def __init__(self, comparison: Comparison, rows: FloatArray, at: IntArray) -> None:
        self._comparison, self._width = comparison, comparison.width
        self._rows, self._at = [comparison.laid(rows)], [at]
        self._settled, self._new = 0, len(rows)
        self.settle()

    def beat(self, rows: FloatArray) -> NDArray[np.bool_]:
        """Which of the counts [R, C] some known mapping beats, as far as it is quick to tell."""
        return self.stairs.beat(self._comparison.columns(rows).T)

    @cached_property
    def stairs(self) -> Stairs:
        """Those of which it is known that no other beats them."""
        return Stairs(self._rows[0][:, : self._width], self._comparison.footprint)

    def take(self, rows: FloatArray, at: IntArray) -> None:
        """Take in those of mappings [R, C], `at` (block, index in it), that nothing known beats; of many compare all with each other."""
        laid = self._comparison.laid(rows)
        finite = np.isfinite(rows[:, 0])
        keep = np.flatnonzero(~self.stairs.beat(laid.T[: self._width]) & finite)
        self._rows.append(laid.T.take(keep, axis=1).T)
        self._at.append(at[keep])
        self._new += len(keep)

    def settle_for(self, ahead: int) -> None:
        """Compare all with each other, if there is much that is new and mappings to come are many beside them."""
        if self._new > FURTHER[0] * self._settled and ahead > FURTHER[1] * (self._settled + self._new):
            self.settle()

    def settle(self) -> None:
        """Compare all with each other."""
        if self._new:
            rows, at = np.concatenate(self._rows), np.concatenate(self._at)
            keep = not_dominated(rows[:, : self._width])
            self._rows, self._at = [rows[keep]], [at[keep]]
            self._settled, self._new = len(keep), 0
            self.__dict__.pop("stairs", None)

    def all(self) -> tuple[FloatArray, IntArray]:
        """Counts of those that no other beats, and which they are."""
        self.settle()
        return self._comparison.counted(self._rows[0]), self._at[0]


class _Cycles:
    """Array cycles of whole blocks, and which mappings are worth counting; blocks that differ only in homes share both."""

    def __init__(self) -> None:
        self._cycles: dict[Hashable, FloatArray] = {}
        self._grids: dict[Hashable, list[tuple[list[IntArray], FloatArray]]] = {}
        self._worth: dict[Hashable, NDArray[np.bool_]] = {}

    def of(self, block: Block, together: tuple[int, ...]) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Cycles of all mappings of `block` with every number of groups together [T, *shape], and those for which none with one smaller
        side, or fewer groups together, has the same traffic and no more cycles."""
        key = block.cycles_key, together
        cycles = self._cycles.get(key)
        if cycles is None:
            cycles = self._cycles[key] = self._found(block, together)
        alike = block.alike() if cycles.size > FEW else ((), (), ())
        kept = key, alike
        worth = self._worth.get(kept)
        if worth is None:
            worth = self._worth[kept] = np.ones(cycles.shape, dtype=np.bool_)
            if block.shared_sums:
                worth &= shares_of(block) > 1
            for axis, groups in enumerate(alike, start=1):
                if groups:
                    _fewest(np.moveaxis(worth, axis, 0), np.moveaxis(cycles, axis, 0), groups)
            if len(together) > 1 and not block.view.array_memories:
                worth[1:] &= cycles[1:] < np.minimum.accumulate(cycles, axis=0)[:-1]
        return cycles, worth

    def _found(self, block: Block, together: tuple[int, ...]) -> FloatArray:
        """Cycles of a block, out of those of one that has all its sides and more, if there is one."""
        if block.inner_stays is not None or block.size <= SMALL[-1]:
            return block.all_cycles(np.array(together))
        sides = [tiling.inner.side for tiling in block.tilings]
        kind = block.view.dataflow, block.view.transposed, block.stays is Stationary.RIGHT, block.shared_sums, together
        grids = self._grids.setdefault(kind, [])
        for known, cycles in grids:
            at = [np.minimum(np.searchsorted(x, y), len(x) - 1) for x, y in zip(known, sides, strict=True)]
            if all(np.array_equal(x[i], y) for x, i, y in zip(known, at, sides, strict=True)):
                return np.asarray(cycles[np.ix_(np.arange(len(together)), *at)])
        grids.append((sides, block.all_cycles(np.array(together))))
        return grids[-1][1]


def _fewest(worth: NDArray[np.bool_], cycles: FloatArray, groups: tuple[tuple[int, ...], ...]) -> None:
    """Strike out of `worth` [S, ...] what has no fewer cycles [S, ...] than all before it in its group of tilings [S]."""
    longest = sorted(groups, key=len, reverse=True)
    if len(longest[0]) >= len(groups):
        for group in groups:
            here = cycles[list(group)]
            worth[list(group[1:])] &= here[1:] < np.minimum.accumulate(here, axis=0)[:-1]
        return
    least = cycles[[group[0] for group in longest]]
    longer = len(longest)
    for place in range(1, len(longest[0])):
        while len(longest[longer - 1]) <= place:
            longer -= 1
        at = [group[place] for group in longest[:longer]]
        here = cycles[at]
        worth[at] &= here < least[:longer]
        np.minimum(least[:longer], here, out=least[:longer])


def _all_of(small: Iterable[Sequence[tuple[int, Block]]], cycles: _Cycles) -> list[tuple[FloatArray, IntArray]]:
    """Counts, and (block, index in it), of all mappings worth counting of blocks that differ in nothing but the groups that run together,
    fewest groups first, of several such sets: those with one buffer and one level of tiles in one go."""
    found: list[tuple[FloatArray, IntArray]] = []
    plain: dict[tuple[int, tuple[int, ...]], list[Sequence[tuple[int, Block]]]] = {}
    for alike in small:
        block = alike[0][1]
        if block.inner_stays is None and not block.shared_sums and is_plain(block.view):
            key = id(block.view), tuple([b.together for _, b in alike])
            plain.setdefault(key, []).append(alike)
        else:
            found.append(_whole(alike, cycles))
    for (_, together), sets in plain.items():
        numbers = [alike[i][0] for i in range(len(together)) for alike in sets]
        found.append(counted([alike[0][1] for alike in sets], numbers, together))
    return found


def _whole(alike: Sequence[tuple[int, Block]], cycles: _Cycles) -> tuple[FloatArray, IntArray]:
    """Counts, and (block, index in it), of all mappings worth counting of blocks that differ in nothing but the groups that run
    together, fewest groups first."""
    block = alike[0][1]
    numbers = np.array([number for number, _ in alike])
    together = tuple(b.together for _, b in alike)
    found, worth = cycles.of(block, together)
    at = np.flatnonzero(worth)
    some = at // block.size
    index = at - some * block.size
    m, k, n = np.unravel_index(index, block.shape)
    several = None if len(alike) == 1 else np.array(together)[some]
    return block.rows((m, k, n), found.ravel()[at], several), np.stack((numbers[some], index), axis=1)


def not_dominated(rows: FloatArray, *, excess: float = 0.0, exact: tuple[int, ...] = (0,)) -> IntArray:
    """Indices of the rows [R, C] that no other row beats, one of each set of equal rows, ascending.

    With `excess` above 0 the columns `exact` are compared as they are and one plus each other by powers of `1 + excess`: for every
    row left out, one that stays is at most as large in these columns and, plus one, less than `1 + excess` times as large in the others.
    """
    if len(rows) == 0:
        return np.empty(0, dtype=np.int64)
    if excess > 0.0:
        rows = coarse(rows, excess, exact)
    return np.flatnonzero(moocore.is_nondominated(rows, keep_weakly=False))
