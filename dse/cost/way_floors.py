"""Floors of blocks of mappings on many ways to use an array at one design point, priced: least energy, busy times and DRAM bytes.

Counts are sums of three terms, one for each dimension, and so are energy and busy times. The terms of all ways are found at once; cells of
neighbouring tilings have the least of each term in them, so no mapping in a cell costs less than the sum.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.columns import ARRAY, DRAM_READ, DRAM_WRITE, counts_per_second, pj_per_count, stages
from dse.cost.row_prices import criteria_of, overhead_s
from dse.mapping.blocks import CYCLES, FOOTPRINT, LACKED, Block
from dse.mapping.counts import COUNT_NAMES, INNER_COLUMNS
from dse.mapping.many_ways import ManyBlocks, WayTiling, least_cycles, least_of_operand, least_tilings, line_of, side_by_side
from dse.mapping.matmul import Stationary
from dse.mapping.space import kinds
from dse.mapping.tilings import Tiling
from dse.units import JOULES_PER_PJ

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

    from dse.cost.row_prices import MapObjective
    from dse.hw.accelerator import Geometry
    from dse.hw.table import DesignTable
    from dse.mapping.blocks import View
    from dse.mapping.crossings import Home
    from dse.mapping.problem import MatmulProblem

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]
    BoolArray = NDArray[np.bool_]

SPLIT: Final = 3
"""Cells that a cell is cut into along each dimension."""
COARSEST: Final = 5
"""Cells of a way along a dimension, at most, before the first cut."""


class LinearPrices:
    """What counts cost at the first design point of a table, as sums: energy, DRAM bytes and busy time of every resource but the array."""

    def __init__(self, problem: MatmulProblem, geometry: Geometry, table: DesignTable, objective: MapObjective) -> None:
        self._problem, self._geometry, self._table, self._objective = problem, geometry, table, objective
        columns = [c for c in range(len(COUNT_NAMES)) if c != FOOTPRINT]
        columns += [len(COUNT_NAMES) + INNER_COLUMNS * i + j for i in range(len(geometry.inner)) for j in (1, 2)]
        seconds = 1.0 / counts_per_second(geometry, table)[:, 0]
        rows = [pj_per_count(geometry, table)[:, 0], np.isin(np.arange(len(columns)), (DRAM_READ, DRAM_WRITE)).astype(float)]
        self._stages: list[tuple[list[int], bool]] = []
        for stage in stages(geometry):
            found = []
            for busy in stage.resources:
                if busy.columns != (ARRAY,):
                    found.append(len(rows))
                    rows.append(np.isin(np.arange(len(columns)), busy.columns) * seconds[busy.columns[0]])
            self._stages.append((found, stage.overlaps))
        self.matrix = np.zeros((len(rows), len(COUNT_NAMES) + INNER_COLUMNS * len(geometry.inner)))
        """[terms, columns of a block]."""
        self.matrix[:, columns] = np.stack(rows)
        self.matrix[:, CYCLES] = 0.0
        self._cycle_s = float(seconds[ARRAY])

    def criteria(self, terms: FloatArray, cycles: FloatArray) -> tuple[FloatArray, FloatArray]:
        """What is minimised and what decides between ties, of sums of terms [terms, ...] with so many array cycles [...]."""
        table = self._table
        latency: FloatArray = cycles * self._cycle_s
        overlaps = True
        for number, (resources, overlapped) in enumerate(self._stages):
            if number and not overlaps:
                latency = latency + terms[resources].max(axis=0)
            elif resources:
                latency = np.maximum(latency, terms[resources].max(axis=0))
            overlaps = overlapped
        latency = latency + overhead_s(table)
        compute = self._problem.macs * float(table.mac_pj[self._problem.dtype][0])
        energy = terms[0] + compute + float(table.leakage_w[0]) * latency / JOULES_PER_PJ
        return criteria_of(latency, energy, terms[1], self._objective)


class Family:
    """All ways to use an array with one dataflow, and the kinds of blocks that they have in common."""

    def __init__(self, views: Sequence[View], prices: LinearPrices, most_levels: int | None = None) -> None:
        self.views, self.prices = views, prices
        self.ways = side_by_side(views)
        self.cycles = least_cycles(self.ways, views)
        self.kinds = kinds(views[0], most_levels)
        self._least = least_tilings(views)
        self._lines: dict[Hashable, Line] = {}
        self._footprints: dict[tuple[Home, Home, Home], list[tuple[int, FloatArray]]] = {}
        self.first, self.second = self._floors()
        """[kinds, ways]."""

    def _floors(self) -> tuple[FloatArray, FloatArray]:
        terms: list[dict[Home, FloatArray]] = [{}, {}, {}]
        sums: dict[tuple[Home, Home, Home], tuple[FloatArray, FloatArray]] = {}
        for kind in self.kinds:
            for position, home in enumerate(kind.homes):
                if home not in terms[position]:
                    terms[position][home] = self.prices.matrix @ least_of_operand(self.ways, self.views, position, home)
            if kind.homes not in sums:
                left, right, out = (known[home] for known, home in zip(terms, kind.homes, strict=True))
                sums[kind.homes] = self.prices.criteria(left + right + out, self.cycles)
        first, second = zip(*(sums[kind.homes] for kind in self.kinds), strict=True)
        return np.stack(first), np.stack(second)

    def footprints(self, kind: int) -> list[tuple[int, FloatArray]]:
        """(column, bytes [ways]) that every mapping of a kind needs."""
        homes = self.kinds[kind].homes
        if homes not in self._footprints:
            every = np.arange(len(self.views))
            many = ManyBlocks(self.ways, Stationary.OUT, homes, self._least)
            self._footprints[homes] = many.footprints((every, every, every))
        return self._footprints[homes]

    def stack(self, kind: int, ways: IntArray) -> Stack | None:
        """The blocks of a kind on some ways; None where they have no mappings."""
        found, views = self.kinds[kind], [self.views[i] for i in ways]
        tilings = list(zip(*(found.tilings(view) for view in views), strict=True))
        block = found.block(self.ways, tuple(t[0] for t in tilings))
        lines = [self._line(block, position, tilings[LACKED[position]], ways) for position in (1, 2, 0)]  # those that lack m, k and n
        whole = np.logical_and.reduce([line.counts > 0 for line in lines])
        if whole.all():
            return Stack(block, (lines[0], lines[1], lines[2]), ways, self)
        return self.stack(kind, ways[whole]) if whole.any() else None

    def _line(self, block: Block, position: int, tilings: Sequence[Tiling], ways: IntArray) -> Line:
        stays = tuple(stays == position for stays in block.orders)
        home = block.homes[position]
        key = position, home, stays, block.one_pass, ways.tobytes(), tuple(map(id, tilings))
        if key not in self._lines:
            here = side_by_side([self.views[i] for i in ways])
            kept, columns = line_of(here, position, home, WayTiling.joined(tilings), stays, one_pass=block.one_pass)
            self._lines[key] = Line(kept, self.prices.matrix @ columns, len(ways), tilings)
        return self._lines[key]


@dataclass(frozen=True, slots=True)
class LineLevel:
    """Cells of one size along one dimension."""

    least: WayTiling
    """One candidate a cell, with the least of every number in it."""
    terms: FloatArray
    """Least of each term in each cell, [terms, cells]."""
    first: IntArray
    """The first cell of the next level in each cell."""
    parts: IntArray
    """How many cells of the next level are in each."""


class Line:
    """Tilings of one dimension on some ways, with the priced terms of the operand that lacks it."""

    def __init__(self, tiling: WayTiling, terms: FloatArray, ways: int, given: Sequence[Tiling]) -> None:
        self.tiling, self._terms, self._given = tiling, terms, given  # the last one keeps what the key of the cache names
        self.counts = np.bincount(tiling.way, minlength=ways)
        """Tilings of each way."""
        self.offsets = np.cumsum(self.counts) - self.counts
        self._levels: dict[int, LineLevel] = {}

    def level(self, size: int) -> LineLevel:
        """Cells of so many tilings, and those a `SPLIT`th as large in them."""
        if size not in self._levels:
            inside, finer = (SPLIT, -(-self.counts // (size // SPLIT))) if size > 1 else (1, self.counts)
            here = -(-self.counts // size)
            way = np.repeat(np.arange(len(here)), here)
            number = np.arange(len(way)) - (np.cumsum(here) - here)[way]
            ends = np.cumsum(finer)
            first = (ends - finer)[way] + number * inside
            starts = self.offsets[way] + number * size
            least, terms = self.tiling, self._terms
            if size > 1:
                least, terms = self.tiling.least(starts), np.minimum.reduceat(terms, starts, axis=1)
            self._levels[size] = LineLevel(least, terms, first, np.minimum(first + inside, ends[way]) - first)
        return self._levels[size]


class Stack:
    """Blocks of one kind on many ways, cut into cells, these into smaller ones, and so on."""

    def __init__(self, block: Block, lines: tuple[Line, Line, Line], numbers: IntArray, family: Family) -> None:
        self._block, self._lines, self._family, self.numbers = block, lines, family, numbers
        self._view = side_by_side([family.views[i] for i in numbers])
        self._cycles = family.cycles[numbers]
        most = max(int(line.counts.max()) for line in lines)
        self.cells = [1]
        """Tilings in a cell, by level; the last one has single ones."""
        while -(-most // self.cells[0]) > COARSEST:
            self.cells.insert(0, self.cells[0] * SPLIT)

    def _levels(self, number: int) -> tuple[LineLevel, LineLevel, LineLevel]:
        m, k, n = (line.level(self.cells[number]) for line in self._lines)
        return m, k, n

    def roots(self) -> IntArray:
        """All cells of the first level, [3, cells]."""
        counts = np.stack([-(-line.counts // self.cells[0]) for line in self._lines])
        begins = np.cumsum(counts, axis=1) - counts
        way = np.repeat(np.arange(counts.shape[1]), counts.prod(axis=0))
        number = np.arange(len(way)) - (np.cumsum(counts.prod(axis=0)) - counts.prod(axis=0))[way]
        _, k, n = counts[:, way]
        return np.asarray(begins[:, way] + np.stack((number // (k * n), number // n % k, number % n)))

    def inside(self, number: int, cells: IntArray) -> IntArray:
        """Cells of the next level in some cells of a level, [3, cells]."""
        offsets = np.indices((SPLIT,) * 3).reshape(3, 1, -1)
        levels = self._levels(number)
        first = np.stack([level.first[c] for level, c in zip(levels, cells, strict=True)])[:, :, None]
        parts = np.stack([level.parts[c] for level, c in zip(levels, cells, strict=True)])[:, :, None]
        here = (offsets < parts).all(axis=0)
        return np.asarray((first + offsets)[:, here])

    def floors(self, number: int, cells: IntArray) -> tuple[FloatArray, FloatArray]:
        """Both criteria that no mapping in the cells goes below."""
        levels = self._levels(number)
        m, k, n = (level.terms[:, at] for level, at in zip(levels, cells, strict=True))
        return self._family.prices.criteria(m + k + n, self._cycles[levels[0].least.way[cells[0]]])

    def footprints(self, number: int, cells: IntArray) -> list[tuple[int, FloatArray]]:
        """(column, bytes) that every mapping in the cells needs."""
        m, k, n = cells
        tilings = tuple(level.least for level in self._levels(number))
        block = self._block
        stays = {"inner_stays": block.inner_stays, "between_stays": block.between_stays}
        many = ManyBlocks(self._view, block.stays, block.homes, tilings, one_pass=block.one_pass, **stays)  # type: ignore[arg-type]  # three
        return many.footprints((m, k, n))

    def blocks(self, cells: IntArray) -> list[tuple[int, Block, tuple[IntArray, IntArray, IntArray]]]:
        """Mappings of the last level by way: (its number, its block, indices in the block)."""
        ways = self._lines[0].tiling.way[cells[0]]
        found = []
        for way in np.unique(ways):
            tilings, index = [], []
            for line, at in zip(self._lines, cells[:, ways == way], strict=True):
                part = line.tiling.take(line.offsets[way] + np.arange(line.counts[way]))
                tilings.append(Tiling(part.inner, part.outer_side, part.outer_count, part.between))
                index.append(at - line.offsets[way])
            number = int(self.numbers[way])
            m, k, n = tilings
            block = replace(self._block, view=self._family.views[number], tilings=(m, k, n))
            found.append((number, block, (index[0], index[1], index[2])))
        return found
