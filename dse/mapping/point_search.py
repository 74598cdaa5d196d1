"""The mappings that one design point could prefer, where operands may lie in many memories: branch and bound over how dimensions are cut.

At a point counts are compared by what they cost there: room in the outermost buffer, energy, and how long each stage of transfers takes.
Mappings that do not fit are left out. So few mappings remain that all ways to use the array, all choices of memories and all tilings can be
searched at once, as `dse.cost.deep_search` does for one objective: a node is some cells of neighbouring tilings with the options of each
operand that may still be chosen there, and what a known mapping beats in all criteria goes.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

import moocore
import numpy as np

from dse.hw.accelerator import Dataflow
from dse.mapping.blocks import CYCLES, FOOTPRINT, NAMES
from dse.mapping.crossings import OUTERMOST
from dse.mapping.deep_cells import OPENED, Cells, WaysOfDataflow, column_of, drop_crowded, drop_too_large, largest_cells, needs, taken_of
from dse.mapping.deep_tables import flat_teams, teams
from dse.mapping.flows import MAX_SEARCHED, ways
from dse.mapping.pivots import Pivots
from dse.mapping.registers import register_bytes
from dse.mapping.residence import residence
from dse.mapping.space import together, view_of, whole_blocks_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from dse.hw.accelerator import ArrayGeometry, Geometry, PointPrices
    from dse.mapping.blocks import Block, View
    from dse.mapping.crossings import Home
    from dse.mapping.deep_cells import Taken
    from dse.mapping.deep_tables import Team, WayTables
    from dse.mapping.problem import MatmulProblem

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]
    BoolArray = NDArray[np.bool_]
    Rank = Callable[[FloatArray], FloatArray]

NEAR: Final = 0.01
"""Where only so many cells are looked at, mappings that differ by less in energy, by less of the longest busy time, or by less of the
outermost buffer are one."""
STEEP: Final = 1.3
"""How much floors are thought to grow with each cut of cells where only so many are looked at. With 1 nothing is found before all cells
with floors below the best are cut; above 2 only what is near the first guess."""
CUTS: Final = 6
"""Cuts that ways which are not opened yet are thought to be from single tilings."""
DIVED: Final = (1, 16)
"""Ways and cells that are opened at a time meanwhile."""
RECENT: Final = 8
"""Known mappings that are held against others one by one before a table is made of them."""
MOST_CELLS: Final = 2**18
"""Cells of mappings with three tiles of an operand or more that are looked at of one product, unless `core.most_tiles` says how many tiles
are asked for: some CPU second."""
ROUNDING: Final = 1e-12
"""Share by which a sum of costs may be off: what is below a known one by less is as large."""


def _promising(floors: FloatArray) -> FloatArray:
    """Energy times all busy times, [n]."""
    return np.asarray(floors[1] * floors[2:].sum(axis=0))


RANKS: Final[tuple[Rank, ...]] = (_promising, lambda floors: floors[1])
"""By what floors [V, n] cells are opened while good mappings are looked for."""


class Found(NamedTuple):
    """A mapping that no other beats at the point."""

    block: Block
    used: ArrayGeometry | None
    counts: FloatArray
    """[columns]."""


class Criteria:
    """What mappings of a problem are compared by: room in the outermost buffer, then each criterion of the prices."""

    def __init__(self, prices: PointPrices) -> None:
        self.terms = np.array(prices.terms)
        """[terms, columns of a block]."""
        self._cycles = self.terms[:, CYCLES].copy()
        self.terms[:, CYCLES] = 0.0
        groups = np.array(prices.criterion)
        self._starts = np.flatnonzero(np.diff(groups, prepend=-1))
        self.capacities = np.array(prices.capacity_bytes)
        """Of the outermost buffer, then of those inside it."""

    def of(self, terms: FloatArray, cycles: FloatArray, room: FloatArray) -> FloatArray:
        """Criteria [V, ...] of sums of terms [terms, ...] with so many array cycles and so much room in the outermost buffer, [...]."""
        spent = terms + self._cycles.reshape(-1, *(1,) * (terms.ndim - 1)) * cycles
        return np.concatenate((np.broadcast_to(room, spent.shape[1:])[None], np.maximum.reduceat(spent, self._starts, axis=0)))

    def of_rows(self, rows: FloatArray) -> FloatArray:
        """Criteria [V, R] of counts [R, columns]."""
        return self.of(self.terms @ rows.T, rows[:, CYCLES], rows[:, FOOTPRINT])

    def fits(self, rows: FloatArray) -> BoolArray:
        """Which of the counts [R, columns] fit all memories."""
        needs = rows[:, [FOOTPRINT, *(column_of(i) for i in range(len(self.capacities) - 1))]]
        return np.asarray((needs <= self.capacities).all(axis=1))

    def limit(self, memory: int) -> float:
        """Capacity of a memory."""
        return float(self.capacities[memory + 1])


class _Known:
    """Mappings found so far that no other beats."""

    def __init__(self, width: int) -> None:
        self.rows = np.empty((0, width))
        self.what: list[_Choice] = []
        self._table: Pivots | None = None
        self._settled = 0
        self.room_bytes = 0.0
        """Of the outermost buffer, where mappings that are `NEAR` are one; 0 where all that differ are told apart."""

    def beat(self, criteria: FloatArray) -> BoolArray:
        """Which of the columns of [V, n] some known mapping is at most as large as."""
        flat = criteria.reshape(len(criteria), -1)
        found = np.zeros(flat.shape[1], dtype=np.bool_)
        near = flat * (1 + ROUNDING)
        if self.room_bytes:
            near[0] += NEAR * self.room_bytes
            near[1] *= 1 + NEAR
            near[2:] += NEAR * flat[2:].max(axis=0)
        if self._table is not None:
            found |= self._table.beat(near)
        for row in self.rows[self._settled :]:
            found |= (row[:, None] <= near).all(axis=0)
        return found.reshape(criteria.shape[1:])

    def add(self, criteria: FloatArray, what: Sequence[_Choice]) -> None:
        """Take in [V, n] mappings of which none beats another."""
        self.rows = np.concatenate((self.rows, criteria.T))
        self.what += what
        if len(self.rows) - self._settled > max(RECENT, self._settled // RECENT):
            self.settle()

    def settle(self) -> None:
        """Compare all with each other."""
        keep = np.flatnonzero(moocore.is_nondominated(self.rows, keep_weakly=False))
        self.rows, self.what = self.rows[keep], [self.what[i] for i in keep]
        self._settled = len(keep)
        self._table = Pivots(self.rows)


class _Choice(NamedTuple):
    """One mapping: memories of all operands and the tilings of m, k and n."""

    team: Team
    tables: WayTables
    used: ArrayGeometry | None
    homes: tuple[Home, Home, Home]
    at: tuple[int, int, int]

    @property
    def block(self) -> Block:
        m, k, n = (self.tables.tiling(self.team, dim).take(np.array([i])) for dim, i in enumerate(self.at))
        return self.team.block(self.tables.view, self.homes, (m, k, n))


@dataclass(frozen=True)
class _Node(Cells):
    """Cells, the most promising ones first."""

    floors: FloatArray
    """[V, n]."""

    def take(self, index: IntArray) -> _Node:
        return replace(self.at(index), floors=self.floors[:, index])


@dataclass(frozen=True)
class _Ways:
    """Ways of one team that are not opened yet."""

    team: Team
    family: _Family
    number: IntArray
    floors: FloatArray

    def take(self, index: IntArray) -> _Ways:
        return replace(self, number=self.number[index], floors=self.floors[:, index])


class _Family(WaysOfDataflow):
    """All ways to use an array with one dataflow."""

    def __init__(self, views: Sequence[View], used: Sequence[ArrayGeometry | None], criteria: Criteria) -> None:
        super().__init__(views, used, np.array([_least_cycles(view) for view in views]), criteria.terms, criteria.limit)
        self._criteria = criteria

    def floors(self, team: Team) -> FloatArray:
        """Criteria that no mapping of a team goes below, [V, ways]; infinite where nothing fits."""
        total, fits, rooms = self.least(team)
        return np.where(fits, self._criteria.of(total, self.cycles, rooms), np.inf)


class PointSearch:
    """Looks for mappings that no other beats at the point, the most promising cells first, whatever their team and way."""

    def __init__(self, problem: MatmulProblem, geometry: Geometry) -> None:
        assert geometry.point is not None
        self.criteria = Criteria(geometry.point)
        self._known = _Known(2 + max(geometry.point.criterion))
        self._serial = 0
        self._todo: list[tuple[float, int, _Node | _Ways]] = []
        self._families: list[_Family] = []
        self.looked_at = 0
        """Cells so far."""
        self.in_part = False
        """Not all mappings with two tiles of an operand or more were looked at."""
        self.behind = (0.0, 0.0)
        """How far, relative, the least longest busy time and the least energy found may be above the least there are."""
        self._rank: Rank = _promising
        self._steep = 1.0
        self._most = None if geometry.most_tiles is not None else MOST_CELLS
        self._asked = geometry.most_cells
        self._levels = residence(geometry).levels
        geometry = replace(geometry, point=None)
        every = ways(geometry, MAX_SEARCHED, groups=problem.groups)
        used = [array if geometry.array.dims else None for array in every]
        for dataflow in Dataflow:
            here = [(replace(geometry, array=a), u) for a, u in zip(every, used, strict=True) if dataflow in a.dataflows]
            views = [(view_of(problem, g, dataflow), u) for g, u in here]
            views = [(view, u) for view, u in views if self._holds_registers(view)]
            if views:
                self._families.append(_Family([v for v, _ in views], [u for _, u in views], self.criteria))

    def _holds_registers(self, view: View) -> bool:
        """Whether registers have room for one element of what stays in the array."""
        size = register_bytes(view.problem, NAMES[view.held])
        held = [i for i, memory in enumerate(view.geometry.inner) if memory.registers and view.held_name in memory.operands]
        return all(size <= self.criteria.limit(i) for i in held)

    def _add(self, family: _Family, every: Iterator[Team]) -> None:
        view = family.views[0]
        count, groups = view.geometry.array.count, view.problem.groups
        for team in every:
            summed = view.dataflow is Dataflow.OUTPUT_STATIONARY and count > 1
            tiles = team.shape is None or team.one_pass or any(home.held for options in team.options for home in options)
            for shared in (False, True) if summed and tiles else (False,):
                for many in together(groups, count):
                    now = team._replace(together=many, shared_sums=shared)
                    self._later(_Ways(now, family, np.arange(len(family.views)), family.floors(now)))

    def run(self) -> list[Found]:
        """The mappings that no other beats: all with up to two tiles of an operand, then those with more; where only so many cells are
        to be looked at those where good ones seem to be."""
        if self._asked is not None:
            self._run_some(self._asked)
        else:
            for family in self._families:
                self._add(family, _teams(family.views[0], 1, min(self._levels, 2)))
            self._until(None)
            for family in self._families:
                self._add(family, _teams(family.views[0], 3, self._levels))
            self._until(None if self._most is None else self.looked_at + self._most)
        self._tell_rest()
        self._known.settle()
        zero = np.zeros(1, dtype=np.int64)
        blocks = [(choice.block, choice.used) for choice in self._known.what]
        return [Found(block, used, block.rows((zero, zero, zero))[0]) for block, used in blocks]

    def _run_some(self, most: int) -> None:
        """Look at so many cells, a third of them of mappings with one tile of an operand."""
        self._steep, share = STEEP, most // (1 + len(RANKS))
        self._known.room_bytes = self.criteria.limit(OUTERMOST)
        for family in self._families:
            self._add(family, _teams(family.views[0], 1, 1))
        self._until(self.looked_at + share)
        for family in self._families:
            self._add(family, _teams(family.views[0], 2, self._levels))
        for rank in RANKS:
            self._rank, nodes = rank, [node for *_, node in self._todo]
            self._todo.clear()
            for node in nodes:
                self._later(node)
            self._until(self.looked_at + share)

    def _tell_rest(self) -> None:
        """Say what cells that were not opened could still hold."""
        floors = [node.floors[:, ~self._known.beat(node.floors)] for *_, node in self._todo]
        left = np.concatenate([np.empty((self._known.rows.shape[1], 0)), *floors], axis=1)
        self._todo.clear()
        near = NEAR if self._known.room_bytes else 0.0
        self.in_part = left.shape[1] > 0 or near > 0
        if self.in_part and len(self._known.rows):
            rows, every = self._known.rows.T, np.concatenate((left, self._known.rows.T), axis=1)
            busy, energy = (_above(of(rows).min(), of(every).min()) for of in (_busiest, lambda x: x[1]))
            self.behind = (1 + busy) * (1 + near) - 1, (1 + energy) * (1 + near) - 1

    def _until(self, most: int | None) -> None:
        """Look at all that is on the list, or until so many cells were looked at."""
        while self._todo:
            if most is not None and self.looked_at >= most:
                return
            *_, node = heapq.heappop(self._todo)
            good = np.flatnonzero(~self._known.beat(node.floors))
            if not len(good):
                continue
            opened = OPENED[0] if isinstance(node, _Ways) else OPENED[1] if not node.last else OPENED[2]
            if self._steep > 1:
                opened = DIVED[0] if isinstance(node, _Ways) else DIVED[1]
            if len(good) > opened:
                self._later(node.take(good[opened:]))
            now = node.take(good[:opened])
            if isinstance(now, _Ways):
                self._open_ways(now)
            elif now.last:
                self._join(now)
            else:
                self._split(now)

    def _later(self, node: _Node | _Ways) -> None:
        finite = np.isfinite(node.floors).all(axis=0)
        good = np.flatnonzero(finite & ~self._known.beat(node.floors))
        if len(good):
            rank = self._rank(node.floors[:, good])
            order = np.argsort(rank, kind="stable")
            self._serial += 1
            cuts = CUTS if isinstance(node, _Ways) else len(node.tables.cells(node.team)) - 1 - node.depth
            heapq.heappush(self._todo, (float(rank[order[0]]) * self._steep**cuts, self._serial, node.take(good[order])))

    def _open_ways(self, node: _Ways) -> None:
        for way in node.number.tolist():
            tables, family = node.family.tables(way), node.family
            cells, options = largest_cells(tables, node.team)
            floors = np.zeros((len(node.floors), cells.shape[1]))
            self._looked_at(_Node(node.team, tables, family.used[way], float(family.cycles[way]), 0, cells, options, floors))

    def _split(self, node: _Node) -> None:
        cells, parent = node.inside()
        self._looked_at(replace(node.take(parent), depth=node.depth + 1, cells=cells))

    def _looked_at(self, node: _Node) -> None:
        """Find floors of new cells, drop options and cells, and put the rest on the list."""
        self.looked_at += node.cells.shape[1]
        cycles = node.array_cycles()
        tables, terms, rooms = node.seen()
        options = [possible.copy() for possible in node.options]
        for position, (table, room) in enumerate(zip(tables, rooms, strict=True)):
            drop_too_large(options[position], table, room, self.criteria.limit)
        taken = taken_of(options, tables, rooms)
        outer = [x for memory, x in taken if memory == OUTERMOST]
        held = outer[0] if outer else [np.zeros(o.shape) for o in options]
        pool = not node.tables.view.memory(OUTERMOST).capacity_shares
        drop_crowded(node.tables.view, options, taken, self.criteria.limit)
        least = [np.where(o, t, np.inf).min(axis=1) for o, t in zip(options, terms, strict=True)]
        free = [np.where(o, t, np.inf).min(axis=0) for o, t in zip(options, held, strict=True)]
        alive = np.logical_and.reduce([o.any(axis=0) for o in options])
        floors = self._floors(least, cycles, free, pool=pool, alive=alive)
        alive &= ~self._known.beat(floors)
        keep = np.flatnonzero(alive)
        if not len(keep):
            return
        options, least, free = [o[:, keep] for o in options], [x[:, keep] for x in least], [x[keep] for x in free]
        for position in range(3):
            others, beside = least[position - 1] + least[position - 2], free[position - 1] + free[position - 2]  # both other operands
            here = held[position][:, keep] + beside if pool else np.zeros(options[position].shape)
            options[position] &= ~self._known.beat(self.criteria.of(terms[position][:, :, keep] + others[:, None], cycles[keep], here))
        left, right, out = options
        alive = left.any(axis=0) & right.any(axis=0) & out.any(axis=0)
        found = replace(node, cells=node.cells[:, keep], options=(left, right, out), floors=floors[:, keep])
        self._later(found.take(np.flatnonzero(alive)))

    def _floors(
        self, least: Sequence[FloatArray], cycles: FloatArray, room: Sequence[FloatArray], *, pool: bool, alive: BoolArray
    ) -> FloatArray:
        total = np.where(alive, least[0] + least[1] + least[2], 0.0)
        here = np.where(alive, room[0] + room[1] + room[2], 0.0) if pool else np.zeros(len(alive))
        return self.criteria.of(total, cycles, here)

    def _join(self, node: _Node) -> None:
        """Choose memories for all operands with single tilings, and keep what may be unbeaten."""
        tables, terms, rooms = node.seen()
        cycles, taken = node.array_cycles(), taken_of(node.options, tables, rooms)
        for at in range(node.cells.shape[1]):
            if not self._known.beat(node.floors[:, at : at + 1])[0]:
                self._join_one(node, at, [t[:, :, at] for t in terms], taken, float(cycles[at]))

    def _join_one(self, node: _Node, at: int, terms: Sequence[FloatArray], taken: Taken, cycles: float) -> None:
        a, b, c = (x.ravel() for x in np.meshgrid(*(np.flatnonzero(options[:, at]) for options in node.options), indexing="ij"))
        room, fits = np.zeros(len(a)), np.ones(len(a), dtype=np.bool_)
        for memory, need in needs(node.tables.view, taken, at, (a, b, c)):
            fits &= need <= self.criteria.limit(memory)
            room = need if memory == OUTERMOST else room
        criteria = self.criteria.of(terms[0][:, a] + terms[1][:, b] + terms[2][:, c], np.full(len(a), cycles), room)
        index = np.flatnonzero(fits & ~self._known.beat(criteria))
        if not len(index):
            return
        at_tilings = (int(node.cells[0, at]), int(node.cells[1, at]), int(node.cells[2, at]))
        homes = [(node.team.options[0][a[i]], node.team.options[1][b[i]], node.team.options[2][c[i]]) for i in index.tolist()]
        choices = [_Choice(node.team, node.tables, node.used, home, at_tilings) for home in homes]
        found = criteria[:, index]
        if node.team.shared_sums:  # terms are floors: sums that arrays share cross more often
            zero = np.zeros(1, dtype=np.int64)
            rows = np.concatenate([choice.block.rows((zero, zero, zero)) for choice in choices])
            found = self.criteria.of_rows(rows)
            index = np.flatnonzero(self.criteria.fits(rows) & ~self._known.beat(found))
            if not len(index):
                return
            found, choices = found[:, index], [choices[i] for i in index.tolist()]
        keep = np.flatnonzero(moocore.is_nondominated(found.T, keep_weakly=False))
        self._known.add(found[:, keep], [choices[i] for i in keep.tolist()])


def _above(found: float, least: float) -> float:
    """By how much, relative, what was found is above what may be."""
    if found <= least:
        return 0.0
    return float(found / least - 1) if least > 0 else np.inf


def _busiest(criteria: FloatArray) -> FloatArray:
    """The longest busy time, [n]."""
    return np.asarray(criteria[2:].max(axis=0))


def _teams(view: View, first: int, last: int) -> Iterator[Team]:
    """All with so many levels of tiles."""
    if first == 1:
        yield from flat_teams(view)
    if last > 1 and any(view.residence.inner(name) for name in NAMES):
        for levels in range(max(first, 2), last + 1):
            yield from teams(view, levels)


def _least_cycles(view: View) -> float:
    """Array cycles that no tiling goes below: the whole product as one tile. Several arrays share passes; there MACs at peak."""
    array = view.geometry.array
    if array.count > 1:
        return view.problem.macs * view.problem.work_share / (array.elements * view.rate)
    at = (np.zeros(1, dtype=np.int64),) * 3
    return min(float(block.cycles(at)[0]) for block in whole_blocks_of(view))
