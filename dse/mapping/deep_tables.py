"""Three levels of tiles or more on one way to use an array: what every choice of memories of an operand costs with every tiling.

An operand's part of a count depends on how the one dimension is cut that it lacks, its room on how the two are cut that it has. So all
choices of memories of the three operands share three small tables, whose least values over neighbouring tilings are floors.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from dse.mapping.blocks import LACKED, NAMES, STAYS, Block
from dse.mapping.crossings import AXES, OUTERMOST, Home, tile_bytes_per_element
from dse.mapping.matmul import Stationary
from dse.mapping.registers import register_bytes
from dse.mapping.space import Shape, flat_kinds, homes_of, operand_tiles, sides_of
from dse.mapping.tiles import sides
from dse.mapping.tilings import Tiling, flat, nested, nested_deep

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from numpy.typing import NDArray

    from dse.mapping.blocks import View

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]
    BoolArray = NDArray[np.bool_]

SPLIT: Final = 3
"""Cells that a cell is cut into along each dimension."""
COARSEST: Final = 4
"""Cells along a dimension, at most, before the first cut."""
LACKING: Final = (1, 2, 0)
"""Position of the operand that lacks m, k and n."""
_WHO: Final = {position: name for name, position in STAYS.items()}


class Team(NamedTuple):
    """Who stays at each level of tiles, from outer to inner, and where each operand may have its tiles then."""

    stays: tuple[int, ...]
    one_pass: bool
    options: tuple[tuple[Home, ...], tuple[Home, ...], tuple[Home, ...]]
    together: int = 1
    shared_sums: bool = False
    shape: Shape | None = None
    """Of teams with one level of tiles."""

    def block(self, view: View, homes: tuple[Home, Home, Home], tilings: tuple[Tiling, Tiling, Tiling]) -> Block:
        """The block with these memories."""
        outer, *inside = (_WHO[position] for position in self.stays)
        *between, inner = inside or (None,)
        return Block(
            view,
            outer,
            homes,
            tilings,
            together=self.together,
            inner_stays=inner,
            between_stays=tuple(between),
            one_pass=self.one_pass,
            shared_sums=self.shared_sums,
        )


def teams(view: View, levels: int) -> Iterator[Team]:
    """All with so many levels of tiles; the same for every way to use the array with one dataflow."""
    for stays in np.ndindex((3,) * levels):
        for one_pass in (False, True):
            if one_pass and stays[-1] != view.held:
                continue
            options = tuple(
                tuple(home for tiles in operand_tiles(view, p, stays, one_pass=one_pass) for home in homes_of(view, p, tiles))
                for p in range(3)
            )
            if all(options):
                yield Team(stays, one_pass, options)  # type: ignore[arg-type]  # three


def flat_teams(view: View) -> Iterator[Team]:
    """All with one level of tiles."""
    found: dict[Shape, list[tuple[Home, Home, Home]]] = {}
    for kind in flat_kinds(view):
        assert kind.shape is not None
        found.setdefault(kind.shape._replace(tiles=""), []).append(kind.homes)
    for shape, homes in found.items():
        left, right, out = (tuple(dict.fromkeys(along)) for along in zip(*homes, strict=True))
        yield Team((STAYS[shape.stays],), shape.one_pass, (left, right, out), shape=shape)


def _flat_tilings(view: View, team: Team) -> tuple[Tiling, Tiling, Tiling]:
    """Tilings of m, k and n that blocks of a team with one level of tiles may want: those of each of them."""
    assert team.shape is not None
    kinds = (dict.fromkeys(Home((0,) if home.tiles else (), on_chip=home.on_chip) for home in options) for options in team.options)
    every = [sides_of(view, team.shape, homes) for homes in itertools.product(*kinds)]  # type: ignore[arg-type]  # three
    found: list[Tiling] = []
    for tilings in zip(*every, strict=True):
        different = {id(t): t for t in tilings}.values()
        side = np.unique(np.concatenate([t.outer_side for t in different]))
        size, covered = view.sizes[len(found)], view.covered[len(found)]
        found.append(next(iter(different)) if len(different) == 1 else flat(sides(size, side, covered)))
    return found[0], found[1], found[2]


@lru_cache(maxsize=4096)
def every_tiling(size: int, array_side: int, levels: int, *, one_pass: bool) -> Tiling:
    """Tilings of a dimension that some choice of memories may want."""
    if levels == 2:
        return nested(size, array_side, one_pass=one_pass, inner=True, outer=True)
    return nested_deep(size, array_side, one_pass=one_pass, counted=(True,) * levels)


@dataclass(frozen=True, slots=True)
class OperandTable:
    """What an operand costs with each of O options and S tilings of the dimension that it lacks."""

    terms: FloatArray
    """Priced terms, [terms, O, S]."""
    widths: FloatArray
    """Bytes that an element takes in the memory of each tile of each option over the operand's share of it, [tiles, S]."""
    option: IntArray
    """The option of each tile, ascending, [tiles]."""
    place: tuple[tuple[int, int], ...]
    """Level and memory of each tile."""

    def least(self, starts: IntArray) -> OperandTable:
        """The least in each stretch of neighbours that begins at one of `starts`."""
        terms, widths = (np.minimum.reduceat(x, starts, axis=-1) for x in (self.terms, self.widths))
        return replace(self, terms=terms, widths=widths)


class WayTables:
    """Tables of all operands on one way to use an array; those of teams in which an operand stays at the same levels are shared."""

    def __init__(self, view: View, matrix: FloatArray) -> None:
        """`matrix` [terms, columns of a block] says what counts cost."""
        self.view, self._matrix = view, matrix
        self._known: dict[Hashable, OperandTable] = {}
        self._least: dict[Hashable, Tiling] = {}
        self._flat: dict[Hashable, tuple[Tiling, Tiling, Tiling]] = {}

    def tiling(self, team: Team, dim: int) -> Tiling:
        """Tilings of a dimension."""
        if team.shape is not None:
            key = team.shape, *(tuple(bool(home.tiles) for home in options) for options in team.options)
            if key not in self._flat:
                self._flat[key] = _flat_tilings(self.view, team)
            return self._flat[key][dim]
        one_pass = team.one_pass and dim != LACKED[self.view.held]
        return every_tiling(self.view.sizes[dim], self.view.covered[dim], len(team.stays), one_pass=one_pass)

    def operand(self, team: Team, position: int, size: int) -> OperandTable:
        """Of cells of `size` tilings."""
        stays = tuple(here == position for here in team.stays)
        key = position, stays, team.one_pass, team.options[position], size, team.shape
        if key not in self._known:
            if size == 1:
                self._known[key] = self._table(team, position)
            else:
                whole = self.operand(team, position, 1)
                self._known[key] = whole.least(np.arange(0, whole.terms.shape[-1], size))
        return self._known[key]

    def _table(self, team: Team, position: int) -> OperandTable:
        view, tiling = self.view, self.tiling(team, LACKED[position])
        terms, widths, option, place = [], [], [], []
        for number, home in enumerate(team.options[position]):
            homes = [Home(), Home(), Home()]
            homes[position] = home
            block = replace(team.block(view, tuple(homes), (tiling,) * 3), together=1, shared_sums=False)  # type: ignore[arg-type]  # three
            trips = block.trips(position)
            columns = np.zeros((view.columns, len(tiling)))
            block.add(columns, position, trips, tiling.inner)
            terms.append(self._matrix @ columns)
            found = tile_bytes_per_element(view.problem, NAMES[position], trips, home)
            for (slot, memory), width in zip(home.tiles, found, strict=False):
                here = width
                if position == view.held == STAYS[Stationary.OUT] and view.memory(memory).registers:
                    here = np.maximum(here, register_bytes(view.problem, NAMES[position]) * view.problem.out_share)
                widths.append(here / view.share(position, memory))
                option.append(number)
                place.append((block.level(slot), memory))
            if home.on_chip and position == STAYS[Stationary.OUT]:
                widths.append(found[-1] / view.share(position, OUTERMOST))
                option.append(number)
                place.append((-1, OUTERMOST))
        empty = np.zeros((0, len(tiling)))
        return OperandTable(np.stack(terms, axis=1), np.stack(widths) if widths else empty, np.array(option, dtype=np.int64), tuple(place))

    def cells(self, team: Team) -> list[int]:
        """Tilings in a cell, by level of cells; the last one has single ones."""
        most = max(len(self.tiling(team, dim)) for dim in range(3))
        found = [1]
        while -(-most // found[0]) > COARSEST:
            found.insert(0, found[0] * SPLIT)
        return found

    def least(self, team: Team, dim: int, size: int) -> Tiling:
        """The least of every number in cells of `size` tilings of a dimension."""
        key = dim, len(team.stays), team.one_pass, size, team.shape
        if key not in self._least:
            tiling = self.tiling(team, dim)
            self._least[key] = tiling if size == 1 else tiling.least(np.arange(0, len(tiling), size))
        return self._least[key]

    def room(self, team: Team, table: OperandTable, position: int, cells: IntArray, size: int) -> FloatArray:
        """Capacity that each tile of each option takes in cells [3, n] of `size` tilings, [tiles, n]."""
        if not table.place:
            return np.zeros((0, cells.shape[1]))
        view, name = self.view, NAMES[position]
        first, second = AXES[name]
        a, b = (self.least(team, dim, size).take(cells[dim]) for dim in (first, second))
        elements: dict[tuple[int, int], IntArray] = {}
        block = team.block(view, (Home(),) * 3, (self.tiling(team, 0),) * 3)
        for level, memory in dict.fromkeys(table.place):
            at = max(level, 0)
            held = block._per_instance(name, memory, a.sides[at], b.sides[at], team.together)
            double = level >= 0 and view.memory(memory).double_buffered
            copies = block._copies(a.counts[at], b.counts[at], team.together, double=double)
            elements[level, memory] = held * copies
        return table.widths[:, cells[LACKED[position]]] * np.stack([elements[place] for place in table.place])
