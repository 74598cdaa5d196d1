"""Blocks of one kind on many ways to use an array, counted side by side: what no mapping of each of them goes below."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Self

import numpy as np

from dse.hw.accelerator import Folds
from dse.mapping.blocks import LACKED, STAYS, Block, View
from dse.mapping.crossings import Home
from dse.mapping.tiles import BELOW_PASS_UP_TO, Sides
from dse.mapping.tilings import Between, Tiling

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dse.mapping.blocks import Index
    from dse.mapping.crossings import Trips

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

SIDES: Final = ("side", "count", "last", "folds", "folds_full", "folds_last")


@dataclass(frozen=True, slots=True)
class WayTiling(Tiling):
    """Candidates along one dimension on many ways, those of the first way first."""

    way: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    """Which way a candidate belongs to, ascending, [S]."""

    def take(self, index: IntArray) -> Self:
        """The candidates at `index`, of any shape."""
        plain = Tiling(self.inner, self.outer_side, self.outer_count, self.between).take(index)
        return type(self)(plain.inner, plain.outer_side, plain.outer_count, plain.between, self.way[index])

    def least(self, starts: IntArray) -> Self:
        """The least of every number in each stretch of neighbours of one way that begins at one of `starts`."""
        plain = Tiling(self.inner, self.outer_side, self.outer_count, self.between).least(starts)
        return type(self)(plain.inner, plain.outer_side, plain.outer_count, plain.between, self.way[starts])

    @staticmethod
    def joined(tilings: Sequence[Tiling]) -> WayTiling:
        """Candidates of one dimension on each way."""
        inner = Sides(tilings[0].size, *(np.concatenate([getattr(t.inner, name) for t in tilings]) for name in SIDES))
        side, count = (np.concatenate([getattr(t, name) for t in tilings]) for name in ("outer_side", "outer_count"))
        levels = zip(*(t.between for t in tilings), strict=True)
        between = tuple(Between(*(np.concatenate([getattr(x, name) for x in level]) for name in ("side", "count"))) for level in levels)
        return WayTiling(inner, side, count, between, np.repeat(np.arange(len(tilings)), [len(t) for t in tilings]))


@dataclass(frozen=True)
class Ways(View):
    """Ways to use an array with one dataflow; what differs between them are arrays with a value for each count in hand."""

    spread: Mapping[tuple[str, ...], IntArray] | None = None
    """Elements of m, k, n and groups side by side along the dimensions of a replicated memory, [4, ways]."""
    rates: IntArray | None = None
    """[ways]."""
    groups: IntArray | None = None
    """Groups side by side, [ways]."""
    way: IntArray | None = None
    """The way of each count in hand."""

    def units(self, at: int) -> tuple[int, int, int]:
        """As of one view; arrays."""
        names = self.memory(at).replicated
        if not names:
            return 1, 1, 1
        assert self.spread is not None
        m, k, n, _ = self.spread[names][:, self.way]
        return m, k, n

    @property
    def abreast(self) -> int:
        """As of one view; an array."""
        assert self.groups is not None
        return np.minimum(self.groups[self.way], self.problem.groups)  # type: ignore[return-value]  # one for each count

    def in_instance(self, at: int) -> int:
        """As of one view; an array."""
        assert self.groups is not None
        assert self.spread is not None
        along = self.spread[self.memory(at).replicated][3, self.way]
        return np.minimum(self.groups[self.way] // along, self.problem.groups)  # type: ignore[no-any-return]

    def seen(self, way: IntArray) -> Ways:
        """With counts of these ways in hand."""
        assert self.rates is not None
        return replace(self, way=way, rate=self.rates[way])  # type: ignore[arg-type]  # a rate for each count


def side_by_side(views: Sequence[View]) -> Ways:
    """Views of one dataflow on one array, as one."""
    first = views[0]
    replicated = {memory.replicated: at for at, memory in enumerate(first.geometry.inner) if memory.replicated}
    return Ways(
        first.problem,
        first.geometry,
        first.residence,
        first.dataflow,
        first.rate,
        first.covered,
        first.transposed,
        spread={names: np.array([_along(view, at) for view in views]).T for names, at in replicated.items()},
        rates=np.array([view.rate for view in views]),
        groups=np.array([view.geometry.array.groups for view in views]),
    )


def _along(view: View, at: int) -> tuple[int, int, int, int]:
    """Elements of m, k and n and groups side by side along the dimensions of a replicated memory."""
    array = view.geometry.array
    return (*view.units(at), dict(array.spread)[view.memory(at).replicated][3] if array.spread else 1)


@dataclass(frozen=True)
class ManyBlocks(Block):
    """Blocks of one kind on many ways; its tilings are `WayTiling`s, and mappings are counted whose three tilings are of one way."""

    def _seen(self, way: IntArray) -> Block:
        assert isinstance(self.view, Ways)
        return Block(
            self.view.seen(way),
            self.stays,
            self.homes,
            self.tilings,
            inner_stays=self.inner_stays,
            between_stays=self.between_stays,
            one_pass=self.one_pass,
        )

    def add(self, columns: FloatArray, position: int, trips: Trips, k: Sides) -> None:
        """As of one view."""
        tiling = self.tilings[LACKED[position]]
        assert isinstance(tiling, WayTiling)
        self._seen(tiling.way).add(columns, position, trips, k)  # the same rule with ways in hand

    def footprints(self, at: Index, together: IntArray | None = None) -> list[tuple[int, FloatArray]]:
        """(column, bytes) of the mappings at `at`, arrays of one shape."""
        tiling = self.tilings[0]
        assert isinstance(tiling, WayTiling)
        return self._seen(tiling.way[at[0]]).footprints(at, together)


def least_cycles(ways: Ways, views: Sequence[View]) -> FloatArray:
    """Array cycles that no tiling goes below on each way, [ways]: the whole product as one tile (`array_cycles`)."""
    problem, weights = ways.problem, ways.held == 1
    arrays = [view.geometry.array for view in views]
    rows, columns, copies, groups = (np.array([getattr(a, name) for a in arrays]) for name in ("rows", "columns", "stream", "groups"))
    assert ways.rates is not None
    row_rate, stream_rate = (ways.rates, copies) if weights else (np.ones_like(rows), ways.rates)
    stream, along, across = (problem.m, problem.k, problem.n) if weights else (problem.k, problem.m, problem.n)
    folds, per_cycle = arrays[0].folds, arrays[0].load_rows_per_cycle
    length = -(-stream // stream_rate)
    around = (-(-rows // per_cycle) if weights else 0) + rows + columns - 2
    whole, rest = along // (rows * row_rate), along % (rows * row_rate)
    if folds is Folds.PIPELINED:
        full, last = (np.maximum(length, -(-used // per_cycle)) for used in (rows, -(-rest // row_rate)))
    else:
        full = last = length + (around if folds is Folds.SERIAL else 0)
    total = (whole * full + (rest > 0) * last) * -(-across // columns) * (-(-problem.groups // groups) * problem.work_share)
    return np.asarray(total + (around if folds is Folds.PIPELINED else 0.0), dtype=np.float64)


def least_tilings(views: Sequence[View]) -> tuple[WayTiling, WayTiling, WayTiling]:
    """One candidate a way and dimension, that has the least of every number that any has."""
    found = []
    for size, covered in zip(views[0].sizes, np.array([view.covered for view in views]).T, strict=True):
        side, one = np.minimum(covered, size), np.ones(len(views), dtype=np.int64)
        side = np.where(side <= BELOW_PASS_UP_TO, 1, side)  # shorter sides than a pass are tried there
        folds = -(-size // covered)
        found.append(WayTiling(Sides(size, side, one, one * size, folds, one, one), side, one, (), np.arange(len(views))))
    m, k, n = found
    return m, k, n


def line_of(
    ways: Ways, position: int, home: Home, tiling: WayTiling, stays: tuple[bool, ...], *, one_pass: bool
) -> tuple[WayTiling, FloatArray]:
    """Tilings of the dimension that one operand lacks, less those that `Block.without_idle_tiles` leaves out, and bytes of every column
    that the operand moves with each, [columns, tilings].

    `stays` says of each level of tiles whether the operand's tile stays, from outer to inner, and `one_pass` whether what stays in the
    array is one pass.
    """
    mine = next(stationary for stationary, at in STAYS.items() if at == position)
    other = next(stationary for stationary, at in STAYS.items() if at != position)
    homes = [Home(), Home(), Home()]
    homes[position] = home
    left, right, out = homes
    orders = [mine if here else other for here in stays]
    inner = orders[-1] if len(orders) > 1 else None
    block = ManyBlocks(
        ways,
        orders[0],
        (left, right, out),
        (tiling,) * 3,
        inner_stays=inner,
        between_stays=tuple(orders[1:-1]),
        one_pass=one_pass,
    )
    kept = block.without_idle_tiles().tilings[LACKED[position]]
    assert isinstance(kept, WayTiling)
    block = replace(block, tilings=(kept,) * 3)
    found = np.zeros((ways.columns, len(kept)))
    block.add(found, position, block.trips(position), kept.inner)
    return kept, found


def least_of_operand(ways: Ways, views: Sequence[View], position: int, home: Home) -> FloatArray:
    """Bytes of every column that an operand with this home moves at least on each way, [columns, ways]."""
    least = least_tilings(views)[LACKED[position]]
    return line_of(ways, position, home, least, (True,), one_pass=False)[1]
