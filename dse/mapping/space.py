"""The mapping space: the blocks of mappings that can hold a frontier row."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from dse.hw.accelerator import Dataflow, Folds
from dse.mapping.blocks import LACKED, NAMES, STAYS, Block, View, transposed_stationary
from dse.mapping.crossings import OUTERMOST, Home
from dse.mapping.matmul import Stationary, array_sides
from dse.mapping.residence import residence
from dse.mapping.tiles import whole_side
from dse.mapping.tilings import flat, nested, plain, single
from dse.mapping.worth import Need, Role, exchanges, hidden_cycles, short_streams, worthwhile

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from dse.hw.accelerator import Geometry
    from dse.mapping.matmul import MatmulMapping
    from dse.mapping.problem import MatmulProblem
    from dse.mapping.tilings import Tiling

    _Triple = tuple[Tiling, Tiling, Tiling]

_A, _B, _C = Stationary.LEFT, Stationary.RIGHT, Stationary.OUT
_OPERANDS: Final = dict(zip("ABC", range(3), strict=True))


class _Shape(NamedTuple):
    """Blocks with one level of tiles: who stays, who has a tile, and which sides of m, k and n are tried."""

    stays: Stationary
    tiles: str
    m: str
    k: str
    n: str
    one_pass: bool = False


def _weight_shapes() -> Iterator[_Shape]:
    yield _Shape(_C, "", "whole", "whole", "whole")
    for tiles in ("A", "AC"):
        yield _Shape(_A, tiles, "every", "every", "ladder")
    for tiles in ("C", "AC"):
        yield _Shape(_C, tiles, "every", "ladder", "every")
    for tiles in ("", "A", "C", "AC"):
        yield _Shape(_B, tiles, "ladder", "single", "single", one_pass=True)
        yield _Shape(_B, tiles + "B", "ladder", "every", "every")


def _output_shapes() -> Iterator[_Shape]:
    yield _Shape(_C, "", "whole", "whole", "whole")
    for tiles in ("A", "AB", "AC", "ABC"):
        yield _Shape(_A, tiles, "every", "every", "ladder")
    for tiles in ("B", "AB", "BC", "ABC"):
        yield _Shape(_B, tiles, "ladder", "every", "every")
    for tiles in ("", "A", "B", "AB"):
        yield _Shape(_C, tiles, "single", "ladder", "single", one_pass=True)
        yield _Shape(_C, tiles + "C", "every", "ladder", "every")


_SHAPES: Final = {Dataflow.WEIGHT_STATIONARY: tuple(_weight_shapes()), Dataflow.OUTPUT_STATIONARY: tuple(_output_shapes())}


class Regime(NamedTuple):
    """Blocks with two levels of tiles: who stays at each, and who has tiles where."""

    stays: int
    inner_stays: int
    outer: tuple[bool, bool, bool]
    inner: tuple[bool, bool, bool]
    one_pass: bool


def view_of(problem: MatmulProblem, geometry: Geometry, dataflow: Dataflow) -> View:
    """The operator as the array with `dataflow` sees it."""
    rate = geometry.array.rate(problem.dtype)
    assert rate is not None, "the schedule refuses data types that the array cannot compute"
    where, transposed = residence(geometry), dataflow is Dataflow.INPUT_STATIONARY
    if transposed:
        problem, where, dataflow = problem.transposed(), where.transposed(), Dataflow.WEIGHT_STATIONARY
    return View(problem, geometry, where, dataflow, rate, array_sides(geometry.array, dataflow, rate), transposed)


def blocks(problem: MatmulProblem, geometry: Geometry, dataflow: Dataflow) -> list[Block]:
    """The parts of the space that can hold a frontier row.

    Left out because another block is at least as good on every count: a stationary operand without a tile (its stay would serve
    nobody); a tile of the array's own operand in a weight-stationary array unless it stays (it is used once per tile, so passing it
    by costs the same traffic and no buffer); a tile that is fetched as often as the next memory inside asks. Checked against brute
    force.
    """
    view = view_of(problem, geometry, dataflow)
    found: dict[Hashable, Block] = {}
    for kind in kinds(view):
        here = kind.block(view, kind.tilings(view))
        variants = [here.without_idle_tiles()]
        if view.dataflow is Dataflow.OUTPUT_STATIONARY and geometry.array.count > 1 and (here.one_pass or _has_tiles(here)):
            variants.append(replace(here, shared_sums=True))
        for block in variants:
            if block.size:
                found.setdefault(_identity(block), block)
    several = _together(problem.groups, geometry.array.count)
    return [block if together == 1 else replace(block, together=together) for together in several for block in found.values()]


def whole_blocks(problem: MatmulProblem, geometry: Geometry, dataflow: Dataflow) -> Iterator[Block]:
    """One mapping each: the whole operator as one tile that has no home."""
    return whole_blocks_of(view_of(problem, geometry, dataflow))


def whole_blocks_of(view: View) -> Iterator[Block]:
    """`whole_blocks` of a view."""
    m, k, n = (flat(whole_side(size, side)) for size, side in zip(view.sizes, view.covered, strict=True))
    homes = tuple(Home(on_chip=view.on_chip(i)) for i in range(3))
    arrays = view.geometry.array.count
    for together in _together(view.problem.groups, arrays):
        for shared in {False, view.dataflow is Dataflow.OUTPUT_STATIONARY and arrays > 1}:
            yield Block(view, _C, homes, (m, k, n), together=together, shared_sums=shared)  # type: ignore[arg-type]  # three


def block_of(problem: MatmulProblem, geometry: Geometry, mapping: MatmulMapping) -> Block:
    """The block of one mapping."""
    view = view_of(problem, geometry, mapping.dataflow)
    outer = (mapping.tile_m, mapping.tile_k, mapping.tile_n)
    inner, inside, inner_kept = mapping.stationary, outer, (False,) * 3
    kept = (mapping.kept.left, mapping.kept.right, mapping.kept.out)
    stays = mapping.stationary
    if mapping.inner is not None:
        inner, inside = mapping.inner.stationary, (mapping.inner.tile_m, mapping.inner.tile_k, mapping.inner.tile_n)
        inner_kept = (mapping.inner.kept.left, mapping.inner.kept.right, mapping.inner.kept.out)
    if view.transposed:
        outer, inside, stays, inner = outer[::-1], inside[::-1], transposed_stationary(stays), transposed_stationary(inner)
        kept, inner_kept = ((x[1], x[0], x[2]) for x in (kept, inner_kept))
    places = mapping.places
    if places is not None and view.transposed:
        places = places[1], places[0], places[2]
    homes = []
    for i, name in enumerate(NAMES):
        at = places[i] if places is not None else view.residence.default(name)
        outer_home = kept[i] and not view.on_chip(i)
        home = Home(outer=outer_home, inner=inner_kept[i], on_chip=view.on_chip(i))
        homes.append(replace(home, outer_at=at[0] if outer_home else OUTERMOST, inner_at=at[1] if inner_kept[i] else OUTERMOST))
    tilings = [single(*given) for given in zip(view.sizes, view.covered, outer, inside, strict=True)]
    nested_tiles = outer != inside
    folds = [tiling.inner.folds_full[0] for i, tiling in enumerate(tilings) if i != LACKED[view.held]]
    one_pass = all(f == 1 for f in folds) and STAYS[inner if nested_tiles else stays] == view.held
    return Block(
        view,
        stays,
        tuple(homes),  # type: ignore[arg-type]  # three of each
        tuple(tilings),  # type: ignore[arg-type]
        together=mapping.together,
        inner_stays=inner if nested_tiles else None,
        one_pass=one_pass,
        shared_sums=mapping.shared_sums,
    )


def _has_tiles(block: Block) -> bool:
    return any(home.outer or home.inner or home.on_chip for home in block.homes)


def _identity(block: Block) -> Hashable:
    return block.stays, block.inner_stays, block.homes, block.one_pass, block.shared_sums, *(id(t) for t in block.tilings)


def _together(groups: int, arrays: int) -> tuple[int, ...]:
    """Groups that may run at the same time: powers of two up to the number of arrays."""
    return tuple(2**i for i in range(min(groups, arrays).bit_length()))


class Kind(NamedTuple):
    """What blocks share on every way to use the array with one dataflow: who stays, and which operands have tiles in which memories."""

    homes: tuple[Home, Home, Home]
    shape: _Shape | None = None
    """Of blocks with one level of tiles."""
    regime: Regime | None = None
    """Of blocks with two."""

    def block(self, view: View, tilings: _Triple) -> Block:
        """The block of this kind with these tilings."""
        if self.shape is not None:
            return Block(view, self.shape.stays, self.homes, tilings, one_pass=self.shape.one_pass)
        assert self.regime is not None
        stays, inner_stays = (_A, _B, _C)[self.regime.stays], (_A, _B, _C)[self.regime.inner_stays]
        return Block(view, stays, self.homes, tilings, inner_stays=inner_stays, one_pass=self.regime.one_pass)

    def tilings(self, view: View) -> _Triple:
        """Tilings of m, k and n that are tried on one way to use the array."""
        if self.shape is not None:
            return _sides_of(view, self.shape, self.homes)
        assert self.regime is not None
        m, k, n = (_nested_tiling(view, self.regime, position) for position in (1, 2, 0))  # those that lack m, k and n
        return m, k, n


def kinds(view: View) -> list[Kind]:
    """All kinds of blocks of a view, before those without mappings are left out; the same for every way to use the array with one
    dataflow."""
    return [*_flat_kinds(view), *_nested_kinds(view)]


def _flat_kinds(view: View) -> Iterator[Kind]:
    """One level of tiles; each tile in the outermost buffer or in one inside it."""
    for shape in _SHAPES[view.dataflow]:
        choices = []
        for letter, position in _OPERANDS.items():
            held = Home(on_chip=view.on_chip(position))
            if letter not in shape.tiles:
                choices.append([held])
                continue
            name, homes = NAMES[position], []
            if view.on_chip(position):
                homes.append(held)
            elif OUTERMOST in view.residence.of(name):
                homes.append(Home(outer=True))
            homes += [replace(held, inner=True, inner_at=at) for at in view.residence.inner(name)]
            choices.append(homes)
        for places in itertools.product(*choices):
            yield Kind(places, shape=shape)  # type: ignore[arg-type]  # three of each


def _sides_of(view: View, shape: _Shape, homes: tuple[Home, Home, Home]) -> _Triple:
    """Tilings of m, k and n for the blocks of `shape` whose operands have these homes.

    On one array a side goes where another beats it in what these blocks count of it. Several arrays deal out the passes of a tile, so
    that every side may count: there the innermost dimension takes sides from a ladder.
    """
    kinds = shape.m, shape.k, shape.n
    if view.geometry.array.count > 1:
        return tuple(plain(*given) for given in zip(kinds, view.sizes, view.covered, strict=True))  # type: ignore[return-value]  # three
    stream, rows, columns = (0, 1, 2) if view.dataflow is Dataflow.WEIGHT_STATIONARY else (1, 0, 2)
    needs = {at: _need(view, shape, homes, role, at) for at, role in ((stream, Role.STREAM), (rows, Role.ROWS), (columns, Role.COLUMNS))}
    found = {}
    for at in (rows, stream, columns) if shape.one_pass else (stream, rows, columns):
        need, size, side = needs[at], view.sizes[at], view.covered[at]
        fixed = kinds[at] == "single" or (kinds[at] == "whole" and at != rows)  # passes of a whole operator may be of unequal rows
        found[at] = plain(kinds[at], size, side) if fixed else worthwhile(size, side, need)
        if at == rows:
            needs[stream] = replace(needs[stream], lengths=exchanges(found[at].inner, need))
        elif at == stream:
            needs[rows] = replace(needs[rows], lengths=short_streams(found[at].inner, need))
    return found[0], found[1], found[2]


def _need(view: View, shape: _Shape, homes: tuple[Home, Home, Home], role: Role, at: int) -> Need:
    """What blocks of `shape` count of the sides along the dimension at `at`."""
    array = view.geometry.array
    lacking = LACKED.index(at)
    home, stays = homes[lacking], STAYS[shape.stays] == lacking
    still = shape.one_pass and stays
    fetched = (home.inner or (home.outer and not home.on_chip)) and not stays
    held = view.held == lacking and not still
    tiles = (h.inner or h.outer or (h.on_chip and i == STAYS[_C]) for i, h in enumerate(homes) if i != lacking)
    weights = view.dataflow is Dataflow.WEIGHT_STATIONARY
    return Need(
        role=role,
        side=any(tiles),
        count=fetched or held,
        resident=weights and still and array.folds is Folds.PIPELINED and role is Role.STREAM,
        rate=view.rate if weights == (role is Role.ROWS) else 1,
        folds=array.folds,
        hidden=hidden_cycles(array),
        load_rows_per_cycle=array.load_rows_per_cycle,
        ladder=(shape.m, shape.k, shape.n)[at] == "ladder" and held,
    )


def _nested_kinds(view: View) -> Iterator[Kind]:
    """Two levels of tiles: outer ones made of whole inner ones."""
    if not any(view.residence.inner(name) for name in NAMES):
        return
    for regime in regimes(view):
        for places in itertools.product(*(_homes(view, i, outer=regime.outer[i], inner=regime.inner[i]) for i in range(3))):
            yield Kind(places, regime=regime)  # type: ignore[arg-type]  # three of each


def _homes(view: View, position: int, *, outer: bool, inner: bool) -> list[Home]:
    """Memories in which an operand may have an outer and an inner tile; none where it cannot."""
    name, on_chip = NAMES[position], view.on_chip(position)
    if on_chip or not outer:
        home = Home(on_chip=on_chip)
        return [replace(home, inner=True, inner_at=at) for at in view.residence.inner(name)] if inner else [home]
    if inner:
        return [Home(outer=True, inner=True, outer_at=far, inner_at=near) for far, near in view.residence.pairs(name)]
    return [Home(outer=True, outer_at=at) for at in view.residence.outer(name)]


def _nested_tiling(view: View, regime: Regime, position: int) -> Tiling:
    """Tilings of the dimension that the operand at `position` lacks, by which of its numbers of tiles matter."""
    lacked = LACKED[position]
    stays, inner_stays, held = regime.stays == position, regime.inner_stays == position, view.held == position
    resident = regime.outer[position] and (not view.on_chip(position) or position == STAYS[_C])
    outer = (resident and not stays) or (inner_stays and (regime.inner[position] or regime.one_pass))
    inner = (regime.inner[position] and not inner_stays) or held
    one_pass = regime.one_pass and lacked != LACKED[view.held]
    inner = inner or view.geometry.array.count > 1
    return nested(view.sizes[lacked], view.covered[lacked], one_pass=one_pass, inner=inner, outer=outer)


def regimes(view: View) -> Iterator[Regime]:
    """Ways to use two levels of tiles that can be better than all others.

    An operand crosses once (1), once per outer tile (2), per inner tile (3) or per array pass (4) along the dimension that it lacks;
    a tile pays only where it is fetched more rarely than the next memory inside asks.
    """
    may_inner = [bool(view.residence.inner(name)) for name in NAMES]
    may_outer = [bool(view.residence.outer(name)) or view.on_chip(i) for i, name in enumerate(NAMES)]
    every = (False, True)
    for stays, inner_stays, one_pass in itertools.product(range(3), range(3), every):
        if one_pass and inner_stays != view.held:
            continue
        for outer in itertools.product(*((True,) if view.on_chip(i) else every[: 1 + may_outer[i]] for i in range(3))):
            for inner in itertools.product(*(every[: 1 + may_inner[i]] for i in range(3))):
                regime = Regime(stays, inner_stays, outer, inner, one_pass)  # type: ignore[arg-type]  # three of each
                if _may_be_best(view, regime):
                    yield regime


def _may_be_best(view: View, regime: Regime) -> bool:
    if not (any(regime.inner) or regime.one_pass) or not regime.outer[regime.stays]:
        return False
    if regime.inner[regime.inner_stays] == regime.one_pass:  # the one that stays has a tile, or is in the array itself
        return False
    for position in range(3):
        stays, inner_stays = regime.stays == position, regime.inner_stays == position
        outer, inner = 1 if stays else 2, 2 if inner_stays else 3
        array = (2 if regime.one_pass and inner_stays else 3) if view.held == position else 4
        asked = inner if regime.inner[position] else array
        if regime.inner[position] and inner >= array:
            return False
        if regime.outer[position] and not view.on_chip(position) and outer >= asked:
            return False
    return True
