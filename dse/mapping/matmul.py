"""Counts of matrix-product mappings on one buffer and an array of MACs, vectorised over tiles.

The mapping space (docs/mapping_space.md): buffer tiles m x k x n of any side, the order of the DRAM loops by which
operand stays put, each operand kept in the buffer or passed straight between DRAM and array, and the array's dataflow.
Input-stationary mappings are weight-stationary ones of the transposed product, so two dataflows are written out here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from dse.hw.accelerator import Dataflow, Folds
from dse.mapping.counts import OperandTraffic
from dse.units import BITS_PER_BYTE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.hw.accelerator import ArrayGeometry
    from dse.mapping.problem import MatmulProblem
    from dse.mapping.tiles import Sides

    FloatArray = NDArray[np.float64]
    BoolArray = NDArray[np.bool_]


class Stationary(StrEnum):
    """The operand whose buffer tile stays put while the innermost DRAM loop runs over the dimension it lacks."""

    LEFT = "input"
    """A[m, k] stays, n runs."""
    RIGHT = "weight"
    """B[k, n] stays, m runs."""
    OUT = "output"
    """C[m, n] stays, k runs."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Which operands have a tile in the buffer; the others pass straight between DRAM and array."""

    left: bool
    right: bool
    out: bool


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Tile sides of T mappings: side, tile count, last tile and folds along each dimension; arrays that broadcast to [T]."""

    m: Sides
    k: Sides
    n: Sides


def array_sides(array: ArrayGeometry, dataflow: Dataflow, rate: int) -> tuple[int, int, int]:
    """Elements of (m, k, n) that one array pass covers; 1 where the dimension streams.

    An array that does `rate` MACs per element and cycle packs them along k.
    """
    match dataflow:
        case Dataflow.WEIGHT_STATIONARY:
            return 1, array.rows * rate, array.columns
        case Dataflow.INPUT_STATIONARY:
            return array.columns, array.rows * rate, 1
        case Dataflow.OUTPUT_STATIONARY:
            return array.rows, 1, array.columns


def matmul_traffic(
    problem: MatmulProblem,
    grid: TileGrid,
    *,
    dataflow: Dataflow,
    stationary: Stationary,
    kept: Kept,
    double_buffered: bool,
    together: int = 1,
    shares: NDArray[np.int64] | None = None,
) -> tuple[OperandTraffic, OperandTraffic, OperandTraffic]:
    """Bytes that left, right and out move, all groups; arrays [T].

    At the DRAM boundary a kept operand is read once per tile and again for every tile of the loop it lacks, except the
    stationary one; partial sums that leave are written and read back, the very first read is skipped (facts of the
    single-buffer machine: Huang et al., ISCA 2024; loop reuse derived here). At the array boundary an operand is read
    once per array pass that uses it; partial sums are accumulated in the buffer between passes. `together` groups run at
    the same time, each with tiles of its own. Sums that `shares` [T] arrays share come together in the buffer (or DRAM).
    """
    q_m, q_k, q_n = grid.m.count, grid.k.count, grid.n.count
    one = np.ones_like(q_m)
    left_trips = one if stationary is Stationary.LEFT else q_n
    right_trips = one if stationary is Stationary.RIGHT else q_m
    out_trips = one if stationary is Stationary.OUT else q_k
    passes = _array_trips(grid, dataflow, stationary)
    tiles = double_buffered
    rounds = -(-problem.groups // together)
    left = _input_traffic(
        elements=problem.groups * problem.m * problem.k,
        tile=together * grid.m.side * grid.k.side * _copies(q_m * q_k * rounds, tiles),
        bits=problem.left_bits,
        trips=left_trips,
        array_trips=passes.left,
        share=problem.left_share,
        work_share=problem.work_share,
        kept=kept.left,
        on_chip=problem.left_on_chip,
    )
    right = _input_traffic(
        elements=problem.groups * problem.k * problem.n,
        tile=together * grid.k.side * grid.n.side * _copies(q_k * q_n * rounds, tiles),
        bits=problem.right_bits,
        trips=right_trips,
        array_trips=passes.right,
        share=problem.right_share,
        work_share=problem.work_share,
        kept=kept.right,
        on_chip=problem.right_on_chip,
    )
    out = _output_traffic(
        problem,
        tile=together * grid.m.side * grid.n.side,
        copies=_copies(q_m * q_n * rounds, tiles),
        trips=out_trips,
        array_trips=passes.out if shares is None else passes.out * shares,
        kept=kept.out,
    )
    return left, right, out


@dataclass(frozen=True, slots=True)
class _ArrayTrips:
    """How often each operand crosses the array boundary, arrays [T]."""

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    out: NDArray[np.int64]


def _array_trips(grid: TileGrid, dataflow: Dataflow, stationary: Stationary) -> _ArrayTrips:
    """Crossings of the array boundary; an operand that fills the array exactly once per stay crosses only then."""
    one_fold = (grid.k.folds_full == 1) & (grid.n.folds_full == 1)
    match dataflow:
        case Dataflow.WEIGHT_STATIONARY:
            stays = one_fold if stationary is Stationary.RIGHT else np.zeros_like(one_fold)
            return _ArrayTrips(left=grid.n.folds, right=np.where(stays, 1, grid.m.count), out=grid.k.folds)
        case Dataflow.OUTPUT_STATIONARY:
            one_fold = (grid.m.folds_full == 1) & (grid.n.folds_full == 1)
            stays = one_fold if stationary is Stationary.OUT else np.zeros_like(one_fold)
            return _ArrayTrips(left=grid.n.folds, right=grid.m.folds, out=np.where(stays, 1, grid.k.count))
        case Dataflow.INPUT_STATIONARY:
            raise AssertionError("input-stationary mappings are counted as weight-stationary ones of the transposed product")


def _copies(tiles: NDArray[np.int64], double_buffered: bool) -> NDArray[np.int64]:
    """Copies that a tile occupies: two where tiles are replaced during the operator and transfers overlap."""
    return np.where(double_buffered & (tiles > 1), 2, 1)


def _input_traffic(
    *,
    elements: int,
    tile: NDArray[np.int64],
    bits: float,
    trips: NDArray[np.int64],
    array_trips: NDArray[np.int64],
    share: float,
    work_share: float,
    kept: bool,
    on_chip: bool,
) -> OperandTraffic:
    width = bits / BITS_PER_BYTE
    zero = np.zeros(tile.shape)
    from_array = _float(elements * width * array_trips)
    if on_chip:
        return OperandTraffic(zero, zero, zero, work_share * from_array, zero)
    if not kept:
        return OperandTraffic(zero, from_array, zero, zero, zero)
    filled = _float(elements * width * share * trips)
    return OperandTraffic(_float(tile * width * share), filled, zero, work_share * from_array, filled)


def _output_traffic(
    problem: MatmulProblem,
    *,
    tile: NDArray[np.int64],
    copies: NDArray[np.int64],
    trips: NDArray[np.int64],
    array_trips: NDArray[np.int64],
    kept: bool,
) -> OperandTraffic:
    """Partial sums cross at `partial_bits`, the finished output once at `out_bits`.

    Where products share outputs (`out_share` below 1) every crossing of the array is a partial sum but the last of each output.
    """
    elements = problem.groups * problem.m * problem.n
    distinct = elements * problem.out_share
    final = distinct * problem.out_bits / BITS_PER_BYTE
    partial = distinct * problem.partial_bits / BITS_PER_BYTE
    zero = np.zeros(tile.shape)
    array_read = _float((elements * array_trips - distinct) * problem.partial_bits / BITS_PER_BYTE)
    if kept or problem.out_on_chip:
        array_read = problem.work_share * array_read
    array_write = array_read + final
    if not (kept or problem.out_on_chip):  # shared outputs come and go as often as the array asks
        return OperandTraffic(zero, array_read, array_write, zero, zero)
    unfinished = (array_trips > 1) | (trips > 1)
    width = np.where(unfinished, problem.partial_bits, problem.out_bits) / BITS_PER_BYTE
    if problem.out_on_chip:
        accumulators = np.where(array_trips > 1, tile * width * problem.out_share, 0.0)
        returned = np.where(trips > 1, np.inf, 0.0)  # the finished tensor has no room for partial sums of a later visit
        return OperandTraffic(accumulators + returned, zero, zero, array_read, array_write)
    spilled = _float((trips - 1) * partial)
    footprint = _float(tile * copies * width * problem.out_share)
    return OperandTraffic(footprint, spilled, spilled + final, array_read + spilled + final, array_write + spilled)


def _float(counts: NDArray[np.generic]) -> FloatArray:
    return counts.astype(np.float64)


def array_cycles(
    problem: MatmulProblem,
    grid: TileGrid,
    array: ArrayGeometry,
    *,
    dataflow: Dataflow,
    stationary: Stationary,
    rate: int,
    together: int = 1,
    shares: NDArray[np.int64] | None = None,
) -> FloatArray:
    """Busy cycles of the arrays, all groups; arrays [T].

    Serial passes cost what SCALE-Sim 3.0.0 counts plus one (its figure is the index of the last cycle): weight
    stationary ceil(K/R) ceil(N/C) (M + 2R + C - 2), output stationary ceil(M/R) ceil(N/C) (K + R + C - 2). Pipelined
    passes hide the load of the next weights, or the drain of the last outputs, behind the stream: a pass takes the longer
    of the two, and one fill and drain is paid per operator. With several arrays the passes of one buffer tile are dealt
    out, those of `together` groups at a time; where there are fewer passes than arrays the weight-stationary stream is
    cut into equal shares; the weights that go to several arrays then count as one read, a multicast. A round takes as long
    as a pass with the most rows of its tile. Output-stationary arrays that `shares` [T] (`sum_shares`) of them work on one
    output each take a stretch of its sum.
    """
    weights = dataflow is Dataflow.WEIGHT_STATIONARY
    stream, rows, columns = (grid.m, grid.k, grid.n) if weights else (grid.k, grid.m, grid.n)
    shape = _Passes(array, stream_rate=1 if weights else rate, row_rate=rate if weights else 1, weights=weights)
    if array.count == 1:
        total = shape.on_one_array(stream, rows, columns)
        if weights and stationary is Stationary.RIGHT and array.folds is Folds.PIPELINED:
            total = np.minimum(total, shape.with_resident_weights(stream, rows, columns))
    else:
        total = shape.on_several_arrays(stream, rows, columns, together, shares)
    total = total * (-(-problem.groups // together) * problem.work_share)
    return total + fill_and_drain_cycles(array, weights=weights) if array.folds is Folds.PIPELINED else total


@dataclass(frozen=True, slots=True)
class _Passes:
    """Cycles of array passes: a stream of elements against a stationary tile of rows x columns."""

    array: ArrayGeometry
    stream_rate: int
    """Elements of the stream that an array element takes in a cycle."""
    row_rate: int
    """Elements along the rows that one row of the array holds."""
    weights: bool

    def on_one_array(self, stream: Sides, rows: Sides, columns: Sides) -> FloatArray:
        """Every pass on its own: whole passes along the rows, and the shorter one that ends each tile."""
        per_pass = self.array.rows * self.row_rate
        whole = rows.side // per_pass, rows.last // per_pass
        rest = rows.side % per_pass, rows.last % per_pass
        total: FloatArray = np.zeros(())
        for tiles, elements in _full_and_last(stream):
            total = total + tiles * ((rows.count - 1) * whole[0] + whole[1]) * self._cycles(elements, np.full(1, per_pass))
            total = total + tiles * (rows.count - 1) * (rest[0] > 0) * self._cycles(elements, rest[0])
            total = total + tiles * (rest[1] > 0) * self._cycles(elements, rest[1])
        return total * columns.folds

    def on_several_arrays(
        self, stream: Sides, rows: Sides, columns: Sides, together: int, sum_shares: NDArray[np.int64] | None
    ) -> FloatArray:
        """The passes of a tile in rounds over the arrays, each as long as a pass with the most rows of the tile."""
        total: FloatArray = np.zeros(())
        for stream_tiles, elements in _full_and_last(stream):
            for row_tiles, row_elements, row_folds in _full_and_last_folds(rows):
                for column_tiles, _, column_folds in _full_and_last_folds(columns):
                    folds = row_folds * column_folds * together
                    rounds = -(-folds // self.array.count)
                    shares = 1 if sum_shares is None else sum_shares
                    if self.weights:
                        shares = np.maximum(self.array.count // np.maximum(folds, 1), 1)
                    cycles = self._cycles(-(-elements // shares), row_elements)
                    total = total + stream_tiles * row_tiles * column_tiles * rounds * cycles
        return total

    def with_resident_weights(self, stream: Sides, rows: Sides, columns: Sides) -> FloatArray:
        """Weights that fill one array once per stay: only the first stream tile of a stay waits for their load."""
        one_fold = (rows.folds_full == 1) & (columns.folds_full == 1)
        total: FloatArray = np.zeros(())
        for tiles, elements in _full_and_last(rows):
            total = total + tiles * (self._cycles(stream.side, elements) + stream.size - stream.side)
        return np.where(one_fold, total * columns.count, np.inf)

    def _cycles(self, elements: NDArray[np.int64], row_elements: NDArray[np.int64]) -> NDArray[np.int64]:
        """One pass of `elements` streamed past up to `row_elements` along the rows."""
        length = -(-elements // self.stream_rate)
        if self.array.folds is Folds.SERIAL:
            return np.asarray(length + fill_and_drain_cycles(self.array, weights=self.weights))
        if self.array.folds is Folds.BROADCAST:
            return np.asarray(length)
        used_rows = np.minimum(self.array.rows, -(-row_elements // self.row_rate))
        return np.asarray(np.maximum(length, -(-used_rows // self.array.load_rows_per_cycle)))


def sum_shares(grid: TileGrid, array: ArrayGeometry, *, rate: int, together: int) -> NDArray[np.int64]:
    """Arrays that share one sum in an output-stationary mapping, [T]: those that a whole tile's passes leave idle.

    At most as many as there are steps in the tile's stretch of k.
    """
    idle = array.count // (grid.m.folds_full * grid.n.folds_full * together)
    return np.asarray(np.clip(idle, 1, -(-grid.k.side // rate)))


def fill_and_drain_cycles(array: ArrayGeometry, *, weights: bool) -> int:
    """Cycles of one pass beyond its stream: skew over rows and columns and, where weights stay, their load."""
    load = -(-array.rows // array.load_rows_per_cycle) if weights else 0
    return load + array.rows + array.columns - 2


def _full_and_last(side: Sides) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64]], ...]:
    """(number of tiles, elements) of whole tiles and of the last one."""
    return (side.count - 1, side.side), (np.ones_like(side.count), side.last)


def _full_and_last_folds(side: Sides) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], ...]:
    """(number of tiles, elements, array passes) of whole tiles and of the last one."""
    return (side.count - 1, side.side, side.folds_full), (np.ones_like(side.count), side.last, side.folds_last)
