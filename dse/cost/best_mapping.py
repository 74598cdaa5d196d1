"""The best mapping of one product at one design point: branch and bound over the whole mapping space, exact.

Ways to use the array, blocks of mappings, and cells of neighbouring tile sides have floors, counts that no mapping in them goes
below; priced, they say which of them can still hold the best. What is left is counted and priced mapping by mapping.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from dse.cost.deep_search import Asked, DeepFamily, DeepSearch, coarse
from dse.cost.row_prices import count_columns, criteria, prices
from dse.cost.shortage import nothing_fits
from dse.cost.way_floors import Family, LinearPrices
from dse.hw.accelerator import Dataflow
from dse.mapping.blocks import CYCLES, LACKED, NAMES, STAYS, ports_of
from dse.mapping.crossings import AXES, OUTERMOST
from dse.mapping.flows import MAX_SEARCHED, ways
from dse.mapping.matmul import Stationary
from dse.mapping.residence import residence
from dse.mapping.search import everything_of
from dse.mapping.space import blocks, together, view_of, whole_blocks_of
from dse.units import BITS_PER_BYTE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from dse.cost.capacity import Infeasibility
    from dse.cost.row_prices import MapObjective
    from dse.cost.way_floors import Stack
    from dse.hw.accelerator import ArrayGeometry, Geometry
    from dse.hw.table import DesignTable
    from dse.mapping.blocks import Block, Index, View
    from dse.mapping.matmul import MatmulMapping
    from dse.mapping.problem import MatmulProblem

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

EQUAL: Final = 1e-9
"""Relative difference below which two mappings tie and the second criterion decides."""
SHADE: Final = 5e-4
"""A mapping this much worse in the objective, relative, is taken where it is `MULTIPLE` times better in the second criterion."""
MULTIPLE: Final = 2.0
CELL: Final = ((96, 8), (24, 4), (8, 2))
"""(tilings, cell): a dimension with at least so many tilings is cut into cells of so many neighbours."""
DEEP: Final = 2
"""Levels of tiles up to which blocks are made of every choice of memories."""
OPENED: Final = (32, 64, 16)
"""Ways, cells, and single mappings that are opened at a time."""
TOGETHER: Final = 32_768
"""Mappings that are counted at a time."""


class Candidate(NamedTuple):
    """A mapping that was counted."""

    first: float
    """What is minimised."""
    second: float
    """What decides between ties."""
    block: Block
    at: tuple[int, int, int]
    used: ArrayGeometry | None


@dataclass(frozen=True)
class Best:
    """The best mapping."""

    mapping: MatmulMapping
    counts: FloatArray
    """[1 + C]: footprint in the outermost buffer, then the columns of `dse.cost.columns`."""
    latency_s: float
    energy_pj: float
    counted: int
    """Mappings whose counts were looked at; floors say of all others that they are not better."""


def best_mapping(problem: MatmulProblem, geometry: Geometry, table: DesignTable, objective: MapObjective) -> Best | Infeasibility:
    """The mapping of the space with the least of `objective` at the first design point of `table` among those that fit; ties within
    `EQUAL` go to the second criterion, and a shade (`SHADE`) of the objective never costs a multiple of it. Where none fits, the memory
    that the closest one lacks most of.
    """
    search = _Search(problem, geometry, table, objective)
    if geometry.array.dims:
        search.try_ways()
    else:
        search.try_flows()
    if search.deep:
        search.try_levels()
    return search.result()


class _Flow(NamedTuple):
    """A way to use the array with one dataflow."""

    floor: tuple[float, float]
    number: int
    view: View
    geometry: Geometry
    dataflow: Dataflow
    used: ArrayGeometry | None
    cycles: float


@dataclass(frozen=True)
class _Node:
    """Cells of one level of one stack, those with the least floors first; ways that have no stack yet."""

    family: Family
    kind: int
    stack: Stack | None
    level: int
    cells: IntArray
    """[3, cells], or [1, ways] where there is no stack."""
    first: FloatArray
    second: FloatArray
    arrays: Sequence[ArrayGeometry]

    def take(self, index: IntArray) -> _Node:
        """Some of them."""
        return replace(self, cells=self.cells[:, index], first=self.first[index], second=self.second[index])

    @property
    def most(self) -> int:
        """So many are opened at a time."""
        if self.stack is None:
            return OPENED[0]
        return OPENED[1] if self.level + 1 < len(self.stack.cells) else OPENED[2]


class _Search:
    """What is known so far."""

    def __init__(self, problem: MatmulProblem, geometry: Geometry, table: DesignTable, objective: MapObjective) -> None:
        self.problem, self.geometry, self.table, self.objective = problem, geometry, table, objective
        inner = [float(memory.capacity_bytes[0]) for memory in table.inner]
        self.capacities = {0: float(table.buffer_capacity_bytes[0])} | {ports_of(i)[0] - 1: c for i, c in enumerate(inner)}
        self.near: list[Candidate] = []
        """Those that may still be chosen."""
        self.counted = 0
        self._serial = 0
        levels = residence(geometry).levels
        self.deep = levels if levels > DEEP else None
        """Levels of tiles, where there are so many that blocks have only one and the rest is searched by `DeepSearch`."""
        self.first = self.tied = self.shaded = np.inf
        """Least of the objective; least second criterion of those that tie with it, and of those a shade worse."""

    def flows(self) -> Iterator[_Flow]:
        number = 0
        for array in ways(self.geometry, MAX_SEARCHED, groups=self.problem.groups):
            here = replace(self.geometry, array=array)
            for dataflow in array.dataflows:
                view = view_of(self.problem, here, dataflow)
                cycles = _least_cycles(view, array)
                row = np.zeros((1, view.columns))
                row[0, CYCLES] = cycles
                extra = _least_at_array_pj(view, self.table)
                first, second = self.criteria(row, extra)
                used = array if self.geometry.array.dims else None
                yield _Flow((float(first[0]), float(second[0])), number, view, here, dataflow, used, cycles)
                number += 1

    @property
    def _most_levels(self) -> int | None:
        return None if self.deep is None else 1

    def try_levels(self) -> None:
        """Count what can be better with two levels of tiles or more, on all ways to use the array."""
        assert self.deep is not None
        prices_here = LinearPrices(self.problem, self.geometry, self.table, self.objective)
        search = DeepSearch(Asked(prices_here, self.capacities, self.may_improve, self._count_one))
        flows = list(self.flows())
        for dataflow in Dataflow:
            here = [flow for flow in flows if flow.dataflow is dataflow]
            if here:
                array = here[0].geometry.array
                cycles = np.array([flow.cycles for flow in here])
                family = DeepFamily([flow.view for flow in here], [flow.used for flow in here], cycles, search.asked)
                shared = (False, True) if dataflow is Dataflow.OUTPUT_STATIONARY and array.count > 1 else (False,)
                variants = [(t, s) for t in together(self.problem.groups, array.count) for s in shared]
                for levels in range(2, self.deep + 1):
                    search.add(family, levels, variants)
        search.run()

    def _count_one(self, block: Block, used: ArrayGeometry | None) -> None:
        zero = np.zeros(1, dtype=np.int64)
        self._count(block, (zero, zero, zero), used)

    def try_flows(self) -> None:
        """Count what can be better on an array of the short form, one dataflow after another."""
        flows = sorted(self.flows(), key=lambda flow: (flow.floor, flow.number))
        for flow in flows:
            if self.may_improve(np.array([flow.floor[0]]), np.array([flow.floor[1]]))[0]:
                self.try_flow(flow)

    def try_ways(self) -> None:
        """Count what can be better on all ways to use an array of the long form: the cells with the least floors first, whatever their
        way."""
        every = ways(self.geometry, MAX_SEARCHED, groups=self.problem.groups)
        prices_here = LinearPrices(self.problem, self.geometry, self.table, self.objective)
        todo: list[tuple[float, float, int, _Node]] = []
        for dataflow in Dataflow:
            arrays = [array for array in every if dataflow in array.dataflows]
            if arrays:
                views = [view_of(self.problem, replace(self.geometry, array=array), dataflow) for array in arrays]
                family = Family(views, prices_here, self._most_levels)
                for kind in range(len(family.kinds)):
                    first, second = family.first[kind], family.second[kind]
                    self._later(todo, _Node(family, kind, None, -1, np.arange(len(views))[None], first, second, arrays))
        while todo:
            *_, node = heapq.heappop(todo)
            good = self.may_improve(node.first, node.second)
            most = node.most
            now, later = np.flatnonzero(good)[:most], np.flatnonzero(good)[most:]
            if len(now):
                self._open(todo, node.take(now))
            if len(later):
                self._later(todo, node.take(later))

    def _later(self, todo: list[tuple[float, float, int, _Node]], node: _Node) -> None:
        good = np.flatnonzero(self.may_improve(node.first, node.second))
        if len(good):
            first = coarse(node.first[good])
            order = np.lexsort((node.second[good], first))
            node = node.take(good[order])
            self._serial += 1
            heapq.heappush(todo, (float(first[order[0]]), float(node.second[0]), self._serial, node))

    def _open(self, todo: list[tuple[float, float, int, _Node]], node: _Node) -> None:
        """Count single mappings; of larger cells look at those inside."""
        stack, level = node.stack, node.level + 1
        if stack is None:
            held = self._hold(node.family.footprints(node.kind), len(node.family.views))
            numbers = node.cells[0, held[node.cells[0]]]
            stack = node.family.stack(node.kind, numbers) if len(numbers) else None
            if stack is None:
                return
            cells = stack.roots()
        elif level < len(stack.cells):
            cells = stack.inside(node.level, node.cells)
        else:
            for way, block, at in stack.blocks(node.cells):
                self._count(block, at, node.arrays[way])
            return
        cells = cells[:, self._hold(stack.footprints(level, cells), cells.shape[1])]
        if cells.shape[1]:
            first, second = stack.floors(level, cells)
            self._later(todo, _Node(node.family, node.kind, stack, level, cells, first, second, node.arrays))

    def _hold(self, needs: list[tuple[int, FloatArray]], size: int) -> NDArray[np.bool_]:
        """Which of so many mappings fit."""
        found = np.ones(size, dtype=np.bool_)
        for column, need in needs:
            found &= need <= self.capacities[column]
        return found

    def criteria(self, rows: FloatArray, extra_pj: float = 0.0) -> tuple[FloatArray, FloatArray]:
        """What is minimised and what decides between ties, of rows of counts [R, 6 + 3 L]."""
        columns = count_columns(rows)
        latency, energy = prices(self.problem, self.geometry, self.table, columns[:, 1:])
        return criteria(latency, energy + extra_pj, columns, self.objective)

    def may_improve(self, first: FloatArray, second: FloatArray) -> NDArray[np.bool_]:
        """Which floors leave room for a better choice."""
        better = first < self.first * (1 - EQUAL)
        ties = (first <= self.first * (1 + EQUAL)) & (second < self.tied * (1 - EQUAL))
        shade = (first <= self.first * (1 + SHADE)) & (second < self.shaded * (1 - EQUAL)) & (second * MULTIPLE < self.tied)
        return np.asarray(better | ties | shade)

    def fits(self, rows: FloatArray) -> NDArray[np.bool_]:
        found = np.ones(len(rows), dtype=np.bool_)
        for column, most in self.capacities.items():
            found &= rows[:, column] <= most
        return found

    def try_flow(self, flow: _Flow) -> None:
        """Count what can be better in the blocks of a way to use the array, the most promising first."""
        found = blocks(self.problem, flow.geometry, flow.dataflow, self._most_levels, turning=True)
        start = np.zeros(1, dtype=np.int64)
        cycles = np.full((1, 1, 1), flow.cycles)
        rows = np.concatenate([b.floor((start,) * 3).rows(everything_of((1, 1, 1)), cycles) for b in found])
        first, second = self.criteria(rows)
        left = np.flatnonzero(self.fits(rows))
        for i in left[np.lexsort((second[left], first[left]))]:
            if self.may_improve(first[i : i + 1], second[i : i + 1])[0]:
                self._try_block(found[i], flow)

    def _try_block(self, block: Block, flow: _Flow) -> None:
        sizes = [next((cell for least, cell in CELL if size >= least), 1) for size in block.shape]
        starts = tuple(np.arange(0, size, cell) for size, cell in zip(block.shape, sizes, strict=True))
        shape = tuple(len(s) for s in starts)
        rows = block.floor(starts).rows(everything_of(shape), np.full(shape, flow.cycles))
        first, second = self.criteria(rows)
        cells = np.flatnonzero(self.fits(rows) & self.may_improve(first, second))
        cells = cells[np.lexsort((second[cells], first[cells]))]
        step = max(1, TOGETHER // int(np.prod(sizes)))
        while len(cells):
            self._count(block, _inside(cells[:step], starts, block.shape), flow.used)
            cells = cells[step:]
            cells = cells[self.may_improve(first[cells], second[cells])]

    def _count(self, block: Block, at: Index, used: ArrayGeometry | None) -> None:
        """Price mappings of a block and keep what may be chosen."""
        rows = block.rows(at)
        self.counted += len(rows)
        index = np.flatnonzero(self.fits(rows))
        if not len(index):
            return
        first, second = self.criteria(rows[index])
        for i in sorted({least(first, second, tolerance) for tolerance in (0.0, EQUAL, SHADE)}):
            place = tuple(int(x.ravel()[index[i]]) for x in at)
            self.near.append(Candidate(float(first[i]), float(second[i]), block, place, used))  # type: ignore[arg-type]  # three
        self.first = min(x.first for x in self.near)
        self.tied, self.shaded = (min(x.second for x in self.near if x.first <= self.first * (1 + t)) for t in (EQUAL, SHADE))
        self.near = [x for x in self.near if x.first <= self.first * (1 + SHADE)]

    def result(self) -> Best | Infeasibility:
        if not self.near:
            return nothing_fits([block for flow in self.flows() for block in whole_blocks_of(flow.view)], self.table)
        first, second = (np.array(x) for x in zip(*((c.first, c.second) for c in self.near), strict=True))
        chosen = self.near[choose(first, second)]
        at = tuple(np.array([i]) for i in chosen.at)
        columns = count_columns(chosen.block.rows(at))  # type: ignore[arg-type]  # three
        latency, energy = prices(self.problem, self.geometry, self.table, columns[:, 1:])
        mapping = replace(chosen.block.describe(chosen.at), array=chosen.used)
        return Best(mapping, columns[0], float(latency[0]), float(energy[0]), self.counted)


def _inside(cells: IntArray, starts: tuple[IntArray, ...], shape: tuple[int, ...]) -> Index:
    """Indices of the mappings in cells of a block."""
    of_dim = np.unravel_index(cells, tuple(len(s) for s in starts))
    length = [int(s[1]) if len(s) > 1 else size for s, size in zip(starts, shape, strict=True)]
    offsets = np.indices(length).reshape(3, -1)
    at = [(s[i][:, None] + o).ravel() for s, i, o in zip(starts, of_dim, offsets, strict=True)]
    inside = np.logical_and.reduce([a < size for a, size in zip(at, shape, strict=True)])
    m, k, n = (a[inside] for a in at)
    return m, k, n


def least(first: FloatArray, second: FloatArray, tolerance: float) -> int:
    """Index of the least `second` among those within `tolerance` of the least `first`."""
    near = first <= first.min() * (1 + tolerance)
    return int(np.lexsort((first, np.where(near, second, np.inf)))[0])


def choose(first: FloatArray, second: FloatArray) -> int:
    """Index of the best: the least, ties by the second criterion, a shade more where that halves it."""
    pick, cheaper = least(first, second, EQUAL), least(first, second, SHADE)
    return cheaper if second[cheaper] * MULTIPLE < second[pick] else pick


def _least_cycles(view: View, array: ArrayGeometry) -> float:
    """Array cycles that no tiling goes below: the whole product as one tile. Several arrays share passes; there MACs at peak."""
    if array.count > 1:
        return view.problem.macs * view.problem.work_share / (array.elements * view.rate)
    at = (np.zeros(1, dtype=np.int64),) * 3
    return min(float(block.cycles(at)[0]) for block in whole_blocks_of(view))


def _least_at_array_pj(view: View, table: DesignTable) -> float:
    """Picojoules of what DRAM moves at least once, and of what the operands that do not stay in the array take at its border from the
    cheapest memory that may hold them."""
    problem, total = view.problem, 0.0
    dram = float(table.dram_read_pj_per_byte[0]), float(table.dram_write_pj_per_byte[0])
    distinct = problem.left_bytes, problem.right_bytes, problem.out_bytes
    for position in range(3):
        if view.on_chip(position):
            continue
        out = position == STAYS[Stationary.OUT]
        once = distinct[position] * dram[out]
        asked = [_asked_pj(view, position, ports) for ports in _ports_pj(view, position, table)] if position != view.held else [0.0]
        direct = max(once, _asked_pj(view, position, dram))
        total += min([direct, *(once + pj for pj in asked)])
    return total


def _asked_pj(view: View, position: int, ports: tuple[float, float]) -> float:
    """Picojoules of what the array asks for of an operand, once for each of its passes along the loop that the operand lacks, at a memory
    that takes `ports` to read and to write a byte. Of sums, those that come back."""
    problem, out = view.problem, position == STAYS[Stationary.OUT]
    if position == view.held:
        return 0.0
    lacked = LACKED[position]
    folds = -(-view.sizes[lacked] // view.covered[lacked])
    bits = (problem.left_bits, problem.right_bits, problem.partial_bits)[position]
    elements = problem.groups * prod(view.sizes[d] for d in AXES[NAMES[position]])
    size = elements * bits / BITS_PER_BYTE * problem.work_share
    return (folds - 1) * size * sum(ports) if out else folds * size * ports[0]


def _ports_pj(view: View, position: int, table: DesignTable) -> Iterator[tuple[float, float]]:
    """Picojoules of a byte read and written in the memories that may hold an operand, over all instances that need it."""
    for at in view.residence.of(NAMES[position]):
        copies = view.copies(at, position)
        if at == OUTERMOST:
            yield copies * float(table.buffer_read_pj_per_byte[0]), copies * float(table.buffer_write_pj_per_byte[0])
        else:
            yield copies * float(table.inner[at].read_pj_per_byte[0]), copies * float(table.inner[at].write_pj_per_byte[0])
