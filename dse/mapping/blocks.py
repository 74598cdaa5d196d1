"""Mappings that share everything but their tile sides, and the counts of any of them.

Every element of an operand comes back once per tile of the one dimension that the operand lacks. So each count of bytes is a sum of
three terms, one per dimension, and a block of mappings is counted by adding three small tables; only footprints and array cycles
couple the dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, reduce
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.hw.accelerator import Dataflow, OperandName
from dse.mapping.counts import COUNT_NAMES, INNER_COLUMNS
from dse.mapping.crossings import AXES, OUTERMOST, Home, Trips, moved, tile_bytes_per_element
from dse.mapping.lines import Lines
from dse.mapping.matmul import InnerTile, Kept, MatmulMapping, Stationary, TileGrid, array_cycles, in_rounds, remembered_passes, sum_shares
from dse.mapping.registers import register_bytes, register_traffic
from dse.mapping.residence import TRANSPOSED

if TYPE_CHECKING:
    from collections.abc import Hashable

    from numpy.typing import NDArray

    from dse.hw.accelerator import Geometry, MemoryGeometry
    from dse.mapping.problem import MatmulProblem
    from dse.mapping.residence import Residence
    from dse.mapping.tiles import Sides
    from dse.mapping.tilings import Tiling

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]
    Index = tuple[IntArray, IntArray, IntArray]

NAMES: Final = tuple(OperandName)
LACKED: Final = (2, 0, 1)
"""Position in (m, k, n) of the dimension that left, right and out lack."""
STAYS: Final = {Stationary.LEFT: 0, Stationary.RIGHT: 1, Stationary.OUT: 2}
ARRAYS: Final = "arrays"
"""Name of the dimension of equal arrays in the short form."""
REMEMBERED: Final = 4096
"""Most mappings of a block whose array passes are remembered for other problems: 32 KiB."""
FOOTPRINT, DRAM_READ, DRAM_WRITE, BUFFER_READ, BUFFER_WRITE, CYCLES = range(6)
_NOTHING: Final = Kept(left=False, right=False, out=False)


def ports_of(at: int) -> tuple[int, int]:
    """Columns of bytes read and written of the memory at a position."""
    if at == OUTERMOST:
        return BUFFER_READ, BUFFER_WRITE
    first = len(COUNT_NAMES) + INNER_COLUMNS * at
    return first + 1, first + 2


@dataclass(frozen=True)
class View:
    """An operator on an array with one dataflow; input-stationary mappings are seen as weight-stationary ones of the transpose."""

    problem: MatmulProblem
    geometry: Geometry
    residence: Residence
    dataflow: Dataflow
    rate: int
    covered: tuple[int, int, int]
    """Elements of (m, k, n) that an array pass covers; 1 where the dimension streams."""
    transposed: bool = False

    @cached_property
    def lines(self) -> Lines:
        """What blocks share."""
        return Lines()

    @property
    def held(self) -> int:
        """Position of the operand that stays in the array."""
        return 1 if self.dataflow is Dataflow.WEIGHT_STATIONARY else 2

    @property
    def columns(self) -> int:
        """Number of count columns."""
        return len(COUNT_NAMES) + INNER_COLUMNS * len(self.geometry.inner)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """m, k and n."""
        return self.problem.m, self.problem.k, self.problem.n

    @property
    def held_name(self) -> OperandName:
        """The operand that stays in the array, as it is called in the product itself."""
        return OperandName.LEFT if self.transposed else NAMES[self.held]

    def memory(self, at: int) -> MemoryGeometry:
        """The buffer at a position."""
        return self._memories[at]

    @cached_property
    def _memories(self) -> dict[int, MemoryGeometry]:
        return dict(enumerate(self.geometry.inner)) | {OUTERMOST: self.geometry.outer}

    def units(self, at: int) -> tuple[int, int, int]:
        """Elements of m, k and n side by side that the instances of a memory share between them; 1 where each has all."""
        names, array = self.memory(at).replicated, self.geometry.array
        if not names:
            return 1, 1, 1
        if array.spread:
            m, k, n, _ = dict(array.spread)[names]
            return (n, k, m) if self.transposed else (m, k, n)
        rows, columns = array.rows if "rows" in names else 1, array.columns if "columns" in names else 1
        return (1, rows, columns) if self.dataflow is Dataflow.WEIGHT_STATIONARY else (rows, 1, columns)

    @property
    def abreast(self) -> int:
        """Groups that run side by side, each on a part of the array."""
        return min(self.geometry.array.groups, self.problem.groups)

    def in_instance(self, at: int) -> int:
        """Of these, those that one instance of a replicated memory holds."""
        array = self.geometry.array
        along = dict(array.spread)[self.memory(at).replicated][3] if array.spread else 1
        return min(array.groups // along, self.problem.groups)

    def copies(self, at: int, position: int) -> int:
        """Instances of a memory that hold the same data of an operand: those along the loop that it lacks, and equal arrays. Sums of
        elements along k are added on their way out and lie in one of them."""
        replicated = self.memory(at).replicated
        if not replicated:
            return 1
        alike = 1 if position == STAYS[Stationary.OUT] else self.units(at)[LACKED[position]]
        return alike * (self.geometry.array.count if ARRAYS in replicated else 1)

    def share(self, position: int, at: int) -> float:
        """Part of a buffer that an operand may fill."""
        name = NAMES[position]
        return dict(self.memory(at).capacity_shares).get(TRANSPOSED[name] if self.transposed else name, 1.0)

    @property
    def array_memories(self) -> bool:
        """Whether some buffer stands in every one of several equal arrays: what lies there does not grow with groups that run at once."""
        return any(ARRAYS in memory.replicated for memory in self.geometry.inner)

    def on_chip(self, position: int) -> bool:
        """Whether the schedule holds the operand in the outermost buffer."""
        return (self.problem.left_on_chip, self.problem.right_on_chip, self.problem.out_on_chip)[position]


@dataclass(frozen=True)
class Block:
    """Every combination of the tilings of m, k and n given."""

    view: View
    stays: Stationary
    """Operand whose outer tile stays while the innermost DRAM loop runs."""
    homes: tuple[Home, Home, Home]
    """Of left, right and out."""
    tilings: tuple[Tiling, Tiling, Tiling]
    """Of m, k and n."""
    together: int = 1
    inner_stays: Stationary | None = None
    """Operand whose inner tile stays while the innermost loop over inner tiles runs; None where outer tiles are inner ones."""
    between_stays: tuple[Stationary, ...] = ()
    """Operands that stay at the levels of tiles between the outermost and the innermost one, from outer to inner."""
    one_pass: bool = False
    """The tile of the operand in the array is one array pass, and stays there while the innermost loop runs."""
    shared_sums: bool = False
    slots: tuple[int, ...] | None = None
    """The level of tiles of each slot of a home; None where each slot has a level of its own, or all have the only one."""

    @cached_property
    def orders(self) -> tuple[int, ...]:
        """Position of the operand that stays at each level of tiles, from outer to inner."""
        inside = () if self.inner_stays is None else (*self.between_stays, self.inner_stays)
        return tuple(STAYS[stays] for stays in (self.stays, *inside))

    def level(self, slot: int) -> int:
        """The level of tiles of a slot."""
        return self.slots[slot] if self.slots is not None else min(slot, len(self.orders) - 1)

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of tilings of m, k and n."""
        return len(self.tilings[0]), len(self.tilings[1]), len(self.tilings[2])

    @cached_property
    def size(self) -> int:
        """Number of mappings."""
        m, k, n = self.shape
        return m * k * n

    def trips(self, position: int) -> Trips:
        """How often the operand at `position` crosses, along the dimension that it lacks."""
        lines, key = self.view.lines, self.keys[position]
        if key not in lines.trips:
            lines.keep(*self._cut(position))
            lines.trips[key] = self._trips_of(position)
        return lines.trips[key]

    @cached_property
    def keys(self) -> tuple[Hashable, ...]:
        """For each operand, what says how often it crosses and what it moves."""
        found: list[Hashable] = []
        for position, home in enumerate(self.homes):
            stayed = tuple(stays == position for stays in self.orders)
            still = self.one_pass and stayed[-1]
            found.append((type(self), position, home, stayed, still, self.slots, *map(id, self._cut(position))))
        return tuple(found)

    def _cut(self, position: int) -> tuple[Tiling, Tiling]:
        """Tilings that what an operand moves follows from: of the dimension that it lacks, and of sums, whose width registers count."""
        return self.tilings[LACKED[position]], self.tilings[1]

    def _trips_of(self, position: int) -> Trips:
        tiling, orders = self.tilings[LACKED[position]], self.orders
        counts = tiling.counts if len(orders) > 1 else (tiling.inner.count,)
        outside = (np.ones_like(tiling.outer_count), *counts[:-1])
        levels = [stayed if stays == position else count for stays, stayed, count in zip(orders, outside, counts, strict=True)]
        still = self.one_pass and orders[-1] == position
        array = (outside[-1] if still else tiling.inner.count) if self.view.held == position else tiling.inner.folds
        return Trips(tuple(levels[self.level(slot)] for slot in range(len(self.homes[position].at))), array)

    @cached_property
    def tables(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Bytes of every column by tiling of m, k and n, [columns, S] each: those of the operand that lacks the dimension.

        Sums that several arrays share depend on all three dimensions and are left out (`coupled`).
        """
        found = [np.empty(0)] * 3
        for position in range(3):
            at = LACKED[position]
            shared = self.shared_sums and position == STAYS[Stationary.OUT]
            found[at] = np.zeros((self.view.columns, self.shape[at])) if shared else self.line(position)
        for i in self.held_alone():
            found[0] = found[0].copy()
            found[0][len(COUNT_NAMES) + INNER_COLUMNS * i] = register_bytes(self.view.problem, NAMES[self.view.held])
        return found[0], found[1], found[2]

    def line(self, position: int) -> FloatArray:
        """Bytes of every column that the operand at `position` moves, by tiling of the dimension that it lacks, [columns, S]."""
        lines, key = self.view.lines, self.keys[position]
        if key not in lines.columns:
            columns = np.zeros((self.view.columns, self.shape[LACKED[position]]))
            self.add(columns, position, self.trips(position), self.tilings[1].inner)
            lines.keep(*self._cut(position))
            lines.columns[key] = columns
        return lines.columns[key]

    def add(self, columns: FloatArray, position: int, trips: Trips, k: Sides) -> None:
        """Add what an operand moves to `columns` [columns, ...]; `k` are the inner tilings of the sum in the same shape."""
        traffic = moved(self.view.problem, NAMES[position], trips, self.homes[position])
        columns[DRAM_READ] += traffic.dram_read
        columns[DRAM_WRITE] += traffic.dram_write
        home = self.homes[position]
        held = [(at, *both) for (_, at), both in zip(home.tiles, traffic.tiles, strict=True)][::-1]
        if traffic.resident is not None:
            held.append((OUTERMOST, *traffic.resident))
        for at, read, written in held:
            self._access(columns, position, at, read, written)
        if position != self.view.held:
            return
        for at in self._held_in():
            inside = next((x for x in held if x[0] == at), None)
            come, go = (traffic.to_array, traffic.from_array)
            if inside is not None:
                come, go = inside[2] - traffic.from_array, inside[1] - traffic.to_array
            copies = self.view.copies(at, position)
            found = register_traffic(self.view.problem, NAMES[position], come * copies, go * copies, k, self.view.rate)
            for column, count in zip(ports_of(at), found, strict=True):
                columns[column] += count

    def _access(self, columns: FloatArray, position: int, at: int, read: FloatArray, written: FloatArray) -> None:
        """Add bytes of an operand at one memory, in all its instances; registers of what stays in the array are counted apart."""
        if position == self.view.held and self.view.memory(at).registers:
            return
        copies = self.view.copies(at, position)
        for column, count in zip(ports_of(at), (read, written), strict=True):
            columns[column] += count * copies

    def held_alone(self) -> list[int]:
        """Registers that hold the operand that stays in the array, and no tile of it."""
        tiles = {at for _, at in self.homes[self.view.held].tiles}
        return [i for i in self._held_in() if i not in tiles]

    def _held_in(self) -> list[int]:
        """Registers that hold the operand that stays in the array."""
        return [i for i, level in enumerate(self.view.geometry.inner) if level.registers and self.view.held_name in level.operands]

    def footprints(self, at: Index, together: IntArray | None = None) -> list[tuple[int, FloatArray]]:
        """(column, bytes) of the mappings at `at`; where a memory gives each operand a share, the capacity that this takes.

        `together` is as for `rows`.
        """
        return [
            (ports_of(i)[0] - 1 if i != OUTERMOST else FOOTPRINT, self._joined(i, [size for _, size in parts]))
            for i, parts in self._held(at, together).items()
        ]

    def holders(self) -> dict[int, tuple[tuple[OperandName, float], ...]]:
        """By memory, the operands of the product itself that the first mapping holds there and the capacity that each takes: tiles, sums
        in work, and the one element of the operand that stays in the array."""
        zero = np.zeros(1, dtype=np.int64)
        held = self._held((zero, zero, zero))
        for i in self._held_in():
            if self.view.held not in (position for position, _ in held.get(i, [])):
                size = np.full(1, register_bytes(self.view.problem, NAMES[self.view.held]))
                held.setdefault(i, []).append((self.view.held, size))
        names = [TRANSPOSED[name] if self.view.transposed else name for name in NAMES]
        return {i: tuple((names[position], float(size.ravel()[0])) for position, size in parts) for i, parts in held.items()}

    def _held(self, at: Index, together: IntArray | None = None) -> dict[int, list[tuple[int, FloatArray]]]:
        """By memory, (position, capacity taken) of operands with a tile or with sums in work there."""
        held: dict[int, list[tuple[int, FloatArray]]] = {}
        for position in range(3):
            home = self.homes[position]
            if not (home.tiles or (home.on_chip and position == STAYS[Stationary.OUT])):
                continue
            for memory, size in self.footprint(position, at, together):
                held.setdefault(memory, []).append((position, size / self.view.share(position, memory)))
        return held

    def _joined(self, memory: int, parts: list[FloatArray]) -> FloatArray:
        return reduce(np.maximum if self.view.memory(memory).capacity_shares else np.add, parts)

    def footprint(self, position: int, at: Index, together: IntArray | None = None) -> list[tuple[int, FloatArray]]:
        """(memory, bytes) of the tiles of one operand, from the outermost inwards; of sums that are on chip also of those in work."""
        first, second = AXES[NAMES[position]]
        found: list[tuple[int, FloatArray]] = []
        for memory, slot, width in self.widths(position, self.trips_at(position, at)):
            elements, copies = self.room(position, memory, slot, (at[first], at[second]), together)
            found.append((memory, width * elements * copies))
        return found

    def widths(self, position: int, trips: Trips) -> list[tuple[int, int | None, FloatArray]]:
        """(memory, slot, bytes that an element takes there) of the tiles of one operand, from the outermost inwards; sums that are on chip
        come first, and those in work have no slot."""
        name, home = NAMES[position], self.homes[position]
        widths = tile_bytes_per_element(self.view.problem, name, trips, home)
        grown = position == self.view.held == STAYS[Stationary.OUT]
        found: list[tuple[int, int | None, FloatArray]] = []
        if home.on_chip and position == STAYS[Stationary.OUT]:
            found.append((OUTERMOST, None, widths[-1]))
        for (slot, memory), width in zip(home.tiles, widths, strict=False):
            if grown and self.view.memory(memory).registers:  # sums grow in the registers themselves
                width = np.maximum(width, register_bytes(self.view.problem, name) * self.view.problem.out_share)
            found.append((memory, slot, width))
        return found

    def room(
        self, position: int, memory: int, slot: int | None, at: tuple[IntArray, IntArray], together: IntArray | None = None
    ) -> tuple[IntArray, IntArray]:
        """Elements of a tile of one operand in one instance of a memory, and how many copies of it lie there, for tilings `at` of its two
        dimensions; without a slot those of sums in work."""
        name = NAMES[position]
        groups: int | IntArray = self.together if together is None else together
        first, second = (self.tilings[d] for d in AXES[name])
        level = 0 if slot is None else self.level(slot)
        elements = self._per_instance(name, memory, first.sides[level][at[0]], second.sides[level][at[1]], groups)
        if slot is None:
            return elements, np.ones((), dtype=np.int64)
        double = self.view.memory(memory).double_buffered
        return elements, self._copies(first.counts[level][at[0]], second.counts[level][at[1]], groups, double=double)

    def _per_instance(self, name: OperandName, at: int, a: IntArray, b: IntArray, groups: int | IntArray) -> IntArray:
        """Elements of tiles of `a` x `b` in one instance of a memory, of the groups that it holds at a time."""
        replicated = self.view.memory(at).replicated
        if not replicated:
            return np.asarray(groups * self.view.abreast * (a * b))
        units, first, second = self.view.units(at), *AXES[name]
        together = 1 if ARRAYS in replicated else groups * self.view.in_instance(at)
        return np.asarray(together * (-(-a // units[first]) * -(-b // units[second])))

    def trips_at(self, position: int, at: Index) -> Trips:
        """Trips of an operand for the mappings at `at`; those of sums that several arrays share included."""
        trips, index = self.trips(position), at[LACKED[position]]
        if not (self.shared_sums and position == 2):
            return Trips(tuple(tile[index] for tile in trips.tiles), trips.array[index])
        shares = self._shares(self.grid(at))
        one = np.ones_like(shares)
        return Trips(tuple(tile[index] * one for tile in trips.tiles), trips.array[index] * shares)

    def _copies(self, a: IntArray, b: IntArray, groups: int | IntArray, *, double: bool) -> IntArray:
        """Copies that a tile occupies: where transfers overlap two, if it is replaced during the operator; `a` and `b` tiles, so many
        groups at a time."""
        again = groups * self.view.abreast < self.view.problem.groups
        return np.where((a > 1) | (b > 1) | again, 2, 1) if double else np.ones((), dtype=np.int64)

    def grid(self, at: Index) -> TileGrid:
        """Inner tiles at `at`."""
        return TileGrid(*(t.inner.take(i) for t, i in zip(self.tilings, at, strict=True)))

    def cycles(self, at: Index, together: IntArray | None = None) -> FloatArray:
        """Busy cycles of the array, in the shape to which `at` and `together` (see `rows`) broadcast."""
        view, inner_stays = self.view, self.inner_stays
        stay = None
        if inner_stays is not None:
            stream = LACKED[view.held]
            stay = self.tilings[stream].sides[-2][at[stream]]
        grid = self.grid(at)
        found = array_cycles(
            view.problem,
            grid,
            view.geometry.array,
            dataflow=view.dataflow,
            stationary=inner_stays or self.stays,
            rate=view.rate,
            together=(self.together if together is None else together) * view.abreast,
            shares=self._shares(grid) if self.shared_sums else None,
            stay=stay,
        )
        return np.broadcast_to(found, np.broadcast_shapes(*(i.shape for i in at), () if together is None else together.shape))

    def running(self, together: int) -> Block:
        """The block with so many groups at a time, which changes nothing that is known of it but footprints and cycles."""
        found = object.__new__(Block)
        found.__dict__.update(self.__dict__, together=together)
        return found

    def without_idle_tiles(self) -> Block:
        """The block less tilings with which some tile is fetched as often as the next memory inside asks.

        Passing that tile by moves the same and takes no room, in a block of its own. Left alone are tiles of an operand that stays, and
        operands whose elements are met more than once.
        """
        problem, found = self.view.problem, list(self.tilings)
        shares = problem.left_share, problem.right_share, problem.out_share
        for position, home in enumerate(self.homes):
            if shares[position] != 1.0 or problem.work_share != 1.0 or self.shared_sums or not home.tiles:
                continue
            trips, lacked = self.trips(position), LACKED[position]
            idle = np.zeros(len(found[lacked]), dtype=np.bool_)
            asked = trips.array
            for slot, _ in reversed(home.tiles):
                idle |= (trips.tiles[slot] >= asked) & (position not in self.orders)
                asked = trips.tiles[slot]
            found[lacked] = found[lacked].take(np.flatnonzero(~idle)) if idle.any() else found[lacked]
        left = found[0], found[1], found[2]
        return self if all(a is b for a, b in zip(left, self.tilings, strict=True)) else replace(self, tilings=left)

    @property
    def same_tiles(self) -> Hashable:
        """Blocks of one search with equal keys differ in nothing but `together`; None where that changes how often sums cross."""
        if self.shared_sums:
            return None
        return id(self.view), self.orders, self.homes, self.one_pass, *(id(t) for t in self.tilings)

    @property
    def cycles_key(self) -> Hashable:
        """Blocks with equal keys have equal cycles where as many groups run together."""
        sides = tuple(tiling.inner.side.tobytes() for tiling in self.tilings)
        stream = self.tilings[LACKED[self.view.held]]
        stay = stream.sides[-2].tobytes() if self.inner_stays is not None else b""
        stays_put = (self.inner_stays or self.stays) is Stationary.RIGHT
        return self.view.dataflow, self.view.transposed, sides, stay, self.shared_sums, stays_put

    def all_cycles(self, together: IntArray) -> FloatArray:
        """Busy cycles of the array for all mappings and every number of groups in `together` [T], [T, *shape]; they follow from inner
        sides and from how long the array's operand stays."""
        if self.inner_stays is None:  # sides differ, and how long the operand stays follows from them
            return self._flat_cycles(together)
        where: list[IntArray] = []
        first: list[IntArray] = []
        for at, tiling in enumerate(self.tilings):
            stay = tiling.sides[-2] if at == LACKED[self.view.held] else np.zeros_like(tiling.outer_side)
            kind = stay * (tiling.size + 1) + tiling.inner.side
            _, index, inverse = np.unique(kind, return_index=True, return_inverse=True)
            first.append(index)
            where.append(inverse)
        m, k, n = np.ix_(*first)
        every = self.cycles((m, k, n), together[:, None, None, None])
        return np.asarray(every[np.ix_(np.arange(len(together)), *where)])

    def _flat_cycles(self, together: IntArray) -> FloatArray:
        if self.shared_sums or self.size * len(together) > REMEMBERED:
            m, k, n = np.ix_(*(np.arange(size) for size in self.shape))
            return np.asarray(self.cycles((m, k, n), together[:, None, None, None]))
        view = self.view
        sides = tuple((size, tiling.inner.side.tobytes()) for size, tiling in zip(view.sizes, self.tilings, strict=True))
        passes = remembered_passes(view.geometry.array, view.dataflow, self.stays, view.rate, view.covered, sides, tuple(together.tolist()))
        groups = together[:, None, None, None] * view.abreast
        return in_rounds(view.problem, passes, view.geometry.array, dataflow=view.dataflow, together=groups)

    def alike(self) -> tuple[tuple[tuple[int, ...], ...], ...]:
        """For m, k and n: tilings in order of size that move the same bytes; only groups of more than one.

        Of two in a group the smaller one needs no more room, so it beats the larger one wherever it has no more cycles.
        """
        if self.shared_sums:
            return (), (), ()
        return self._alike(1), self._alike(2), self._alike(0)  # of the operands that lack m, k and n

    def _alike(self, position: int) -> tuple[tuple[int, ...], ...]:
        """Tilings of the dimension that the operand at `position` lacks, as `alike`."""
        lines, key = self.view.lines, self.keys[position]
        if key not in lines.alike:
            tiling = self.tilings[LACKED[position]]
            groups: dict[bytes, list[int]] = {}
            outside = [side * (self.inner_stays is not None) for side in tiling.sides[:-1]]
            kind = np.stack((*(count > 1 for count in tiling.counts), *outside))
            keys = np.ascontiguousarray(np.concatenate((self.line(position), kind)).T)
            for i, each in enumerate(keys.view(f"V{keys.itemsize * keys.shape[1]}").ravel().tolist()):
                groups.setdefault(each, []).append(i)
            lines.keep(*self._cut(position))
            lines.alike[key] = tuple(tuple(group) for group in groups.values() if len(group) > 1)
        return lines.alike[key]

    def _shares(self, grid: TileGrid) -> IntArray:
        return sum_shares(grid, self.view.geometry.array, rate=self.view.rate, together=self.together)

    def coupled(self, at: Index) -> list[tuple[int, FloatArray]]:
        """(column, counts) that are no sums over dimensions, beside footprints and cycles: sums that several arrays share."""
        if not self.shared_sums:
            return []
        spread = self.trips_at(2, at)
        columns = np.zeros((self.view.columns, *spread.array.shape))
        self.add(columns, 2, spread, self.tilings[1].inner.take(at[1]))
        return [(i, column) for i, column in enumerate(columns) if column.any()]

    def rows(self, at: Index, cycles: FloatArray | None = None, together: IntArray | None = None) -> FloatArray:
        """Counts [R, columns] of the mappings at `at`, three arrays that broadcast to R mappings, in their order flattened.

        `together` are the groups that each of them runs at a time, where that is not the same for all (not with `shared_sums`).
        """
        m, k, n = self.tables
        shape = np.broadcast_shapes(*(i.shape for i in at))
        found = np.empty((self.view.columns, *shape))
        np.add(m.take(at[0], axis=1) + k.take(at[1], axis=1), n.take(at[2], axis=1), out=found)
        for column, counts in (*self.footprints(at, together), *self.coupled(at)):
            found[column] += counts
        found[CYCLES] = self.cycles(at, together) if cycles is None else cycles
        return found.reshape(self.view.columns, -1).T

    def floor(self, starts: tuple[IntArray, ...]) -> Block:
        """A block of one mapping per cell of neighbouring tilings, cells beginning at `starts` along m, k and n.

        Each has the least of every side, number of tiles and passes in its cell, so none of its bytes is above those of any mapping
        in the cell; its cycles mean nothing.
        """
        m, k, n = (self.view.lines.least(tiling, start) for tiling, start in zip(self.tilings, starts, strict=True))
        return replace(self, tilings=(m, k, n), shared_sums=False)

    def describe(self, at: tuple[int, int, int]) -> MatmulMapping:
        """The mapping at `at` in words, as one of the product itself."""
        sides = [[int(side[i]) for side in t.sides] for t, i in zip(self.tilings, at, strict=True)]
        slots = range(len(self.homes[0].at))
        turned = self.view.transposed
        levels = []
        for slot in slots:
            kept = [home.at[slot] is not None for home in self.homes]
            level = self.level(slot)
            tile = [along[level] for along in sides]
            stays = next(name for name, position in STAYS.items() if position == self.orders[level])
            if turned:
                kept, tile, stays = [kept[1], kept[0], kept[2]], tile[::-1], transposed_stationary(stays)
            levels.append((stays, Kept(*kept), tile))
        inside: InnerTile | None = None
        for stays, tiles, (m, k, n) in levels[:0:-1]:
            if inside is not None or tiles != _NOTHING or self.inner_stays is not None:
                inside = InnerTile(stays, tiles, m, k, n, inside)
        stays, tiles, (m, k, n) = levels[0]
        dataflow = Dataflow.INPUT_STATIONARY if turned else self.view.dataflow
        at_once = self.together * self.view.abreast
        return MatmulMapping(dataflow, stays, tiles, m, k, n, at_once, self.shared_sums, inner=inside, places=self._places())

    def described_sides(self, at: Index, tiles: int) -> IntArray:
        """Sides [R, 3 x tiles] along m, k and n of the product itself of the mappings at `at`, of so many tiles from the outermost inwards,
        as `describe` has them."""
        levels = [self.level(slot) for slot in range(tiles)]
        order = (2, 1, 0) if self.view.transposed else (0, 1, 2)
        return np.stack([self.tilings[d].sides[level][at[d]] for level in levels for d in order], axis=1)

    def _places(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None:
        """Memory of each slot of left, right and out of the product itself; None where each operand is where it is by default."""
        usual = _usual(self.view.residence, len(self.homes[0].at))
        found = tuple(
            tuple(known if at is None else at for at, known in zip(home.at, default, strict=True))
            for home, default in zip(self.homes, usual, strict=True)
        )
        if found == usual:
            return None
        left, right, out = found
        return (right, left, out) if self.view.transposed else (left, right, out)


@lru_cache(maxsize=64)
def _usual(residence: Residence, slots: int) -> tuple[tuple[int, ...], ...]:
    """Memory of each slot of left, right and out where nothing else is said."""
    return tuple(residence.default(name, slots) for name in NAMES)


def transposed_stationary(stationary: Stationary) -> Stationary:
    """Which operand stays put, seen from the transposed product."""
    return {Stationary.LEFT: Stationary.RIGHT, Stationary.RIGHT: Stationary.LEFT, Stationary.OUT: Stationary.OUT}[stationary]
