"""Counts of matrix-product mappings on one buffer and an array of MACs, vectorised over tiles.

The mapping space (docs/mapping_space.md): buffer tiles m x k x n of any side, the order of the DRAM loops by which
operand stays put, each operand kept in the buffer or passed straight between DRAM and array, and the array's dataflow.
Input-stationary mappings are weight-stationary ones of the transposed product, so two dataflows are written out here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from dse.hw.accelerator import Dataflow, Folds
from dse.mapping.tiles import sides as sides_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dse.hw.accelerator import ArrayGeometry, Geometry
    from dse.mapping.problem import MatmulProblem
    from dse.mapping.tiles import Sides

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]


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
class InnerTile:
    """Tiles in the buffers inside the outermost one: sides, which operand's tile stays while the innermost loop over them runs, and
    which operands have one."""

    stationary: Stationary
    kept: Kept
    tile_m: int
    tile_k: int
    tile_n: int
    inside: InnerTile | None = None
    """Tiles that these are made of; None where the array comes next."""


@dataclass(frozen=True, slots=True)
class MatmulMapping:
    """One mapping in words: tile sides, what stays, what is kept in the outermost buffer, dataflow."""

    dataflow: Dataflow
    stationary: Stationary
    kept: Kept
    tile_m: int
    tile_k: int
    tile_n: int
    together: int
    """Groups that run at the same time on different arrays."""
    shared_sums: bool = False
    """Output-stationary arrays that would be idle take a stretch of the others' sums."""
    array: ArrayGeometry | None = None
    """How an array of the long form is used: as one with these rows and columns; None in the short form."""
    inner: InnerTile | None = None
    """What the buffers inside the outermost one do; None where they do nothing."""
    places: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None = None
    """Memories of the tiles of left, right and out, the outer one first, as positions in `Geometry.inner` (-1: the outermost buffer); None
    where each operand is where it is by default (`Residence.default`)."""

    @property
    def inner_tiles(self) -> tuple[InnerTile, ...]:
        """Levels of tiles inside the outermost one, from outer to inner."""
        found, level = [], self.inner
        while level is not None:
            found.append(level)
            level = level.inside
        return tuple(found)

    def used(self, geometry: Geometry) -> Geometry:
        """`geometry` with its array as this mapping uses it."""
        return geometry if self.array is None else replace(geometry, array=self.array)


def inner_json(mapping: MatmulMapping) -> dict[str, object] | None:
    """What the buffers inside the outermost one do, in plain words; None where they do nothing. A further level is `inside` the first."""
    found: dict[str, object] | None = None
    for tile in reversed(mapping.inner_tiles):
        kept = [name for name in ("left", "right", "out") if getattr(tile.kept, name)]
        sides = {"m": tile.tile_m, "k": tile.tile_k, "n": tile.tile_n}
        here: dict[str, object] = {"stationary": str(tile.stationary), "kept": kept, "tile": sides}
        found = here if found is None else here | {"inside": found}
    return found


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


def array_cycles(
    problem: MatmulProblem,
    grid: TileGrid,
    array: ArrayGeometry,
    *,
    dataflow: Dataflow,
    stationary: Stationary,
    rate: int,
    together: int | IntArray = 1,
    shares: NDArray[np.int64] | None = None,
    stay: IntArray | None = None,
) -> FloatArray:
    """Busy cycles of the arrays, all groups; arrays [T].

    Serial passes cost what SCALE-Sim 3.0.0 counts plus one (its figure is the index of the last cycle): weight
    stationary ceil(K/R) ceil(N/C) (M + 2R + C - 2), output stationary ceil(M/R) ceil(N/C) (K + R + C - 2). Pipelined
    passes hide the load of the next weights, or the drain of the last outputs, behind the stream: a pass takes the longer
    of the two, and one fill and drain is paid per operator. With several arrays the passes of one buffer tile are dealt
    out, those of `together` groups (one number, or one for each mapping) at a time; where there are fewer passes than arrays
    the weight-stationary stream is cut into equal shares; the weights that go to several arrays then count as one read, a
    multicast. A round takes as long as a pass with the most rows of its tile. Output-stationary arrays that `shares` [T]
    (`sum_shares`) of them work on one output each take a stretch of its sum. `stay` is the length of stream for which weights
    that fill the array once stay, the whole stream unless given.
    """
    total = array_passes(grid, array, dataflow=dataflow, stationary=stationary, rate=rate, together=together, shares=shares, stay=stay)
    return in_rounds(problem, total, array, dataflow=dataflow, together=together)


def in_rounds(
    problem: MatmulProblem, passes: FloatArray, array: ArrayGeometry, *, dataflow: Dataflow, together: int | IntArray
) -> FloatArray:
    """Busy cycles of all groups from those of the passes of one round of `together` groups (`array_passes`)."""
    total = passes * (-(-problem.groups // together) * problem.work_share)
    weights = dataflow is Dataflow.WEIGHT_STATIONARY
    return total + fill_and_drain_cycles(array, weights=weights) if array.folds is Folds.PIPELINED else total


def array_passes(
    grid: TileGrid,
    array: ArrayGeometry,
    *,
    dataflow: Dataflow,
    stationary: Stationary,
    rate: int,
    together: int | IntArray = 1,
    shares: NDArray[np.int64] | None = None,
    stay: IntArray | None = None,
) -> FloatArray:
    """Cycles of all passes of one round of groups, fill and drain of the array left out where passes overlap; see `array_cycles`."""
    weights = dataflow is Dataflow.WEIGHT_STATIONARY
    stream, rows, columns = (grid.m, grid.k, grid.n) if weights else (grid.k, grid.m, grid.n)
    shape = _Passes(array, stream_rate=array.stream if weights else rate, row_rate=rate if weights else 1, weights=weights)
    if array.count == 1:
        total = shape.on_one_array(stream, rows, columns)
        if weights and stationary is Stationary.RIGHT and array.folds is Folds.PIPELINED and array.stream == 1:
            total = np.minimum(total, shape.with_resident_weights(stream, rows, columns, stay))
    else:
        total = shape.on_several_arrays(stream, rows, columns, together, shares)
    return total


@lru_cache(maxsize=512)
def remembered_passes(
    array: ArrayGeometry,
    dataflow: Dataflow,
    stays: Stationary,
    rate: int,
    covered: tuple[int, int, int],
    sides: tuple[tuple[int, bytes], ...],
    together: tuple[int, ...],
) -> FloatArray:
    """`array_passes` of all tiles with (size, sides) of m, k and n, [T, *shape]: the same for an operand in DRAM or on chip, and for any
    number of groups."""
    tiles = [sides_of(size, np.frombuffer(side, dtype=np.int64), along) for (size, side), along in zip(sides, covered, strict=True)]
    grid = TileGrid(*(tile.along(axis) for axis, tile in enumerate(tiles)))
    groups = np.array(together)[:, None, None, None]
    found = array_passes(grid, array, dataflow=dataflow, stationary=stays, rate=rate, together=groups)
    return np.broadcast_to(found, (len(together), *map(len, tiles)))


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
        ends = tuple((count, x) for count, x in ((rows.count - 1, rest[0]), (np.ones_like(rows.count), rest[1])) if x.any())
        total: FloatArray = np.zeros(np.broadcast_shapes(stream.side.shape, rows.side.shape))
        for tiles, elements in _full_and_last(stream):
            total = total + tiles * ((rows.count - 1) * whole[0] + whole[1]) * self._cycles(elements, np.full(1, per_pass))
            for count, rest_elements in ends:
                total = total + tiles * (count * (rest_elements > 0)) * self._cycles(elements, rest_elements)
        return total * columns.folds

    def on_several_arrays(
        self, stream: Sides, rows: Sides, columns: Sides, together: int | IntArray, sum_shares: NDArray[np.int64] | None
    ) -> FloatArray:
        """The passes of a tile in rounds over the arrays, each as long as a pass with the most rows of the tile.

        Rounds are a matter of rows and columns, their lengths one of stream and rows, and of how many arrays share a stream or sum.
        """
        total: FloatArray = np.zeros(())
        streams = _full_and_last(stream)
        if sum_shares is not None:
            streams = tuple((tiles, -(-elements // sum_shares)) for tiles, elements in streams)
        columns_of = _full_and_last_folds(columns)
        for row_tiles, row_elements, row_folds in _full_and_last_folds(rows):
            least = self._exchange(row_elements)
            rounds: dict[int, IntArray] = {}
            for column_tiles, _, column_folds in columns_of:
                folds = row_folds * column_folds * together
                times = row_tiles * column_tiles * -(-folds // self.array.count)
                for cut, here in self._cuts(folds):
                    rounds[cut] = rounds.get(cut, 0) + (times if here is None else times * here)
            for cut, times in rounds.items():
                cut_streams = streams if cut == 1 else tuple((tiles, -(-elements // cut)) for tiles, elements in streams)
                length = sum((tiles * self._lasts(elements, least) for tiles, elements in cut_streams), np.zeros((), dtype=np.int64))
                total = total + times.astype(np.float64) * length
        return total

    def _cuts(self, folds: IntArray) -> Iterator[tuple[int, NDArray[np.bool_] | None]]:
        """Shares into which the stream of tiles with so many passes is cut, and where; None stands for everywhere."""
        if not self.weights or folds.min() * 2 > self.array.count:
            yield 1, None
            return
        shares = np.maximum(self.array.count // np.maximum(folds, 1), 1)
        for cut in np.flatnonzero(np.bincount(shares.ravel())).tolist():
            yield cut, shares == cut

    def with_resident_weights(self, stream: Sides, rows: Sides, columns: Sides, stay: IntArray | None) -> FloatArray:
        """Weights that fill one array once per stay: only the first stream tile of a stay waits for their load."""
        one_fold = (rows.folds_full == 1) & (columns.folds_full == 1)
        length = np.asarray(stream.size) if stay is None else stay
        stays = -(-stream.size // length)
        first_of_last = np.minimum(stream.side, stream.size - (stays - 1) * length)
        total: FloatArray = np.zeros(())
        for tiles, elements in _full_and_last(rows):
            waits = (stays - 1) * (self._cycles(stream.side, elements) - stream.side)
            waits = waits + self._cycles(first_of_last, elements) - first_of_last
            total = total + tiles * (waits + stream.size)
        return np.where(one_fold, total * columns.count, np.inf)

    def _cycles(self, elements: IntArray, row_elements: IntArray) -> IntArray:
        """One pass of `elements` streamed past up to `row_elements` along the rows."""
        return self._lasts(elements, self._exchange(row_elements))

    def _exchange(self, row_elements: IntArray) -> IntArray | None:
        """Cycles in which up to `row_elements` along the rows are exchanged while others stream; None where none are."""
        if self.array.folds is not Folds.PIPELINED:
            return None
        used_rows = np.minimum(self.array.rows, -(-row_elements // self.row_rate))
        return np.asarray(-(-used_rows // self.array.load_rows_per_cycle))

    def _lasts(self, elements: IntArray, exchange: IntArray | None) -> IntArray:
        """One pass of `elements` while what comes next is exchanged."""
        length = elements if self.stream_rate == 1 else -(-elements // self.stream_rate)
        if self.array.folds is Folds.SERIAL:
            return np.asarray(length + fill_and_drain_cycles(self.array, weights=self.weights))
        return np.asarray(length if exchange is None else np.maximum(length, exchange))


def sum_shares(grid: TileGrid, array: ArrayGeometry, *, rate: int, together: int | IntArray) -> NDArray[np.int64]:
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
    """(number of tiles, elements) of whole tiles, if there are any, and of the last one."""
    last = np.ones_like(side.count), side.last
    return ((side.count - 1, side.side), last) if (side.count > 1).any() else (last,)


def _full_and_last_folds(side: Sides) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], ...]:
    """(number of tiles, elements, array passes) of whole tiles, if there are any, and of the last one."""
    last = np.ones_like(side.count), side.last, side.folds_last
    return ((side.count - 1, side.side, side.folds_full), last) if (side.count > 1).any() else (last,)
