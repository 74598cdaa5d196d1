"""The mapping space: the blocks of mappings that can hold a frontier row."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from dse.hw.accelerator import Dataflow, Folds
from dse.mapping.blocks import LACKED, NAMES, STAYS, Block, View, transposed_stationary
from dse.mapping.crossings import OUTERMOST, Home
from dse.mapping.matmul import Kept, Stationary, array_sides
from dse.mapping.residence import residence
from dse.mapping.tiles import whole_side
from dse.mapping.tilings import flat, nested, nested_deep, plain, single
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


class Shape(NamedTuple):
    """Blocks with one level of tiles: who stays, who has a tile, and which sides of m, k and n are tried."""

    stays: Stationary
    tiles: str
    m: str
    k: str
    n: str
    one_pass: bool = False


def _weight_shapes() -> Iterator[Shape]:
    yield Shape(_C, "", "whole", "whole", "whole")
    for tiles in ("A", "AC"):
        yield Shape(_A, tiles, "every", "every", "ladder")
    for tiles in ("C", "AC"):
        yield Shape(_C, tiles, "every", "ladder", "every")
    for tiles in ("", "A", "C", "AC"):
        yield Shape(_B, tiles, "ladder", "single", "single", one_pass=True)
        yield Shape(_B, tiles + "B", "ladder", "every", "every")


def _output_shapes() -> Iterator[Shape]:
    yield Shape(_C, "", "whole", "whole", "whole")
    for tiles in ("A", "AB", "AC", "ABC"):
        yield Shape(_A, tiles, "every", "every", "ladder")
    for tiles in ("B", "AB", "BC", "ABC"):
        yield Shape(_B, tiles, "ladder", "every", "every")
    for tiles in ("", "A", "B", "AB"):
        yield Shape(_C, tiles, "single", "ladder", "single", one_pass=True)
        yield Shape(_C, tiles + "C", "every", "ladder", "every")


_SHAPES: Final = {Dataflow.WEIGHT_STATIONARY: tuple(_weight_shapes()), Dataflow.OUTPUT_STATIONARY: tuple(_output_shapes())}


def _turning(shape: Shape, held: Stationary) -> Iterator[Shape]:
    """A shape of several arrays, where the innermost dimension has the sides of a ladder, in parts of which none lets an operand stay that
    it counts as coming back.

    With all of that dimension in one tile another operand with a tile stays too, once the loop over what it lacks is the innermost. So the
    whole is left out, and counted where others stay instead: of two the one at any sides that do not let the other one stay too. What
    stayed before has its tile still, or passes by where the array asks for it once.
    """
    lacked = LACKED[STAYS[shape.stays]]
    others = [name for letter, name in zip("ABC", STAYS, strict=True) if letter in shape.tiles and name is not shape.stays]
    if not others:
        yield shape
        return
    sides = [shape.m, shape.k, shape.n]

    def at(stays: Stationary, changes: dict[int, str], *, less: str = "") -> Shape:
        m, k, n = (changes.get(i, side) for i, side in enumerate(sides))
        return Shape(stays, shape.tiles.replace(less, ""), m, k, n)

    yield at(shape.stays, {lacked: "ladder parts"})._replace(one_pass=shape.one_pass)
    own = "ABC"[STAYS[shape.stays]]
    for whole, less in (("whole", ""), ("whole" if shape.stays is held else "whole pass", own)):
        for name in others:
            along = LACKED[STAYS[name]]
            parts = {along: f"{sides[along]} parts"} if len(others) > 1 else {}
            yield at(name, {lacked: whole} | parts, less=less)
    if len(others) > 1:
        yield at(shape.stays, dict.fromkeys(range(3), "whole"))


_TURNING: Final = {
    flow: tuple(dict.fromkeys(found for shape in _SHAPES[flow] for found in _turning(shape, held)))
    for flow, held in ((Dataflow.WEIGHT_STATIONARY, _B), (Dataflow.OUTPUT_STATIONARY, _C))
}
"""Shapes of several arrays, in parts."""


class Regime(NamedTuple):
    """Blocks with two levels of tiles or more: who stays at each, and who has tiles where; levels from the outermost inwards."""

    stays: tuple[int, ...]
    tiles: tuple[tuple[bool, ...], ...]
    """By level, whether left, right and out have a tile; at the first one also of operands that are on chip."""
    one_pass: bool

    def of(self, position: int) -> tuple[bool, ...]:
        """By level, whether an operand has a tile."""
        return tuple(level[position] for level in self.tiles)


def view_of(problem: MatmulProblem, geometry: Geometry, dataflow: Dataflow) -> View:
    """The operator as the array with `dataflow` sees it."""
    rate = geometry.array.rate(problem.dtype)
    assert rate is not None, "the schedule refuses data types that the array cannot compute"
    where, transposed = residence(geometry), dataflow is Dataflow.INPUT_STATIONARY
    if transposed:
        problem, where, dataflow = problem.transposed(), where.transposed(), Dataflow.WEIGHT_STATIONARY
    return View(problem, geometry, where, dataflow, rate, array_sides(geometry.array, dataflow, rate), transposed)


def blocks(
    problem: MatmulProblem, geometry: Geometry, dataflow: Dataflow, most_levels: int | None = None, *, turning: bool = False
) -> list[Block]:
    """The parts of the space that can hold a frontier row, with so many levels of tiles at most; `turning` as for `flat_kinds`.

    Left out because another block is at least as good on every count: a stationary operand without a tile (its stay would serve
    nobody); a tile of the array's own operand in a weight-stationary array unless it stays (it is used once per tile, so passing it
    by costs the same traffic and no buffer); a tile that is fetched as often as the next memory inside asks. Checked against brute
    force.
    """
    view = view_of(problem, geometry, dataflow)
    found: dict[Hashable, Block] = {}
    for kind in each_kind(view, most_levels, turning=turning):
        here = kind.block(view, kind.tilings(view))
        variants = [here.without_idle_tiles()]
        if view.dataflow is Dataflow.OUTPUT_STATIONARY and geometry.array.count > 1 and (here.one_pass or _has_tiles(here)):
            variants.append(replace(here, shared_sums=True))
        for block in variants:
            if block.size:
                found.setdefault(_identity(block), block)
    several = together(problem.groups, geometry.array.count)
    return [block if many == 1 else block.running(many) for many in several for block in found.values()]


def whole_blocks(problem: MatmulProblem, geometry: Geometry, dataflow: Dataflow) -> Iterator[Block]:
    """One mapping each: the whole operator as one tile that has no home."""
    return whole_blocks_of(view_of(problem, geometry, dataflow))


def whole_blocks_of(view: View) -> Iterator[Block]:
    """`whole_blocks` of a view."""
    m, k, n = (flat(whole_side(size, side)) for size, side in zip(view.sizes, view.covered, strict=True))
    homes = tuple(Home(on_chip=view.on_chip(i)) for i in range(3))
    arrays = view.geometry.array.count
    for many in together(view.problem.groups, arrays):
        for shared in {False, view.dataflow is Dataflow.OUTPUT_STATIONARY and arrays > 1}:
            yield Block(view, _C, homes, (m, k, n), together=many, shared_sums=shared)  # type: ignore[arg-type]  # three


def block_of(problem: MatmulProblem, geometry: Geometry, mapping: MatmulMapping) -> Block:
    """The block of one mapping."""
    view = view_of(problem, geometry, mapping.dataflow)
    slots = [(mapping.stationary, mapping.kept, (mapping.tile_m, mapping.tile_k, mapping.tile_n))]
    slots += [(tile.stationary, tile.kept, (tile.tile_m, tile.tile_k, tile.tile_n)) for tile in mapping.inner_tiles]
    if len(slots) == 1:
        slots.append((mapping.stationary, Kept(left=False, right=False, out=False), slots[0][2]))
    if view.transposed:
        turned = [(stays, Kept(kept.right, kept.left, kept.out), (n, k, m)) for stays, kept, (m, k, n) in slots]
        slots = [(transposed_stationary(stays), kept, sides) for stays, kept, sides in turned]
    places = mapping.places
    if places is not None and view.transposed:
        places = places[1], places[0], places[2]
    homes = []
    for i, name in enumerate(NAMES):
        memories = places[i] if places is not None else view.residence.default(name, len(slots))
        kept = [getattr(kept, name) and not (slot == 0 and view.on_chip(i)) for slot, (_, kept, _) in enumerate(slots)]
        at = tuple(memory if here else None for memory, here in zip(memories, kept, strict=True))
        homes.append(Home(at, on_chip=view.on_chip(i)))
    different = [slot for slot in range(len(slots)) if slot == 0 or slots[slot][2] != slots[slot - 1][2]]
    level_of = tuple(sum(start <= slot for start in different) - 1 for slot in range(len(slots)))
    orders = [slots[slot][0] for slot in different]
    sides = list(zip(*(slots[slot][2] for slot in different), strict=True))
    tilings = [single(*given) for given in zip(view.sizes, view.covered, sides, strict=True)]
    folds = [tiling.inner.folds_full[0] for i, tiling in enumerate(tilings) if i != LACKED[view.held]]
    return Block(
        view,
        orders[0],
        tuple(homes),  # type: ignore[arg-type]  # three of each
        tuple(tilings),  # type: ignore[arg-type]
        together=max(1, mapping.together // view.abreast),
        inner_stays=orders[-1] if len(orders) > 1 else None,
        between_stays=tuple(orders[1:-1]),
        one_pass=all(f == 1 for f in folds) and STAYS[orders[-1]] == view.held,
        shared_sums=mapping.shared_sums,
        slots=level_of,
    )


def _has_tiles(block: Block) -> bool:
    return any(home.held for home in block.homes)


def _identity(block: Block) -> Hashable:
    return block.stays, block.inner_stays, block.homes, block.one_pass, block.shared_sums, *(id(t) for t in block.tilings)


def together(groups: int, arrays: int) -> tuple[int, ...]:
    """Groups that may run at the same time: powers of two up to the number of arrays."""
    return tuple(2**i for i in range(min(groups, arrays).bit_length()))


class Kind(NamedTuple):
    """What blocks share on every way to use the array with one dataflow: who stays, and which operands have tiles in which memories."""

    homes: tuple[Home, Home, Home]
    shape: Shape | None = None
    """Of blocks with one level of tiles."""
    regime: Regime | None = None
    """Of blocks with more."""

    def block(self, view: View, tilings: _Triple) -> Block:
        """The block of this kind with these tilings."""
        if self.shape is not None:
            return Block(view, self.shape.stays, self.homes, tilings, one_pass=self.shape.one_pass)
        assert self.regime is not None
        outer, *between, inner = ((_A, _B, _C)[position] for position in self.regime.stays)
        return Block(view, outer, self.homes, tilings, inner_stays=inner, between_stays=tuple(between), one_pass=self.regime.one_pass)

    def tilings(self, view: View) -> _Triple:
        """Tilings of m, k and n that are tried on one way to use the array."""
        if self.shape is not None:
            return sides_of(view, self.shape, self.homes)
        assert self.regime is not None
        m, k, n = (_nested_tiling(view, self.regime, position) for position in (1, 2, 0))  # those that lack m, k and n
        return m, k, n


def kinds(view: View, most_levels: int | None = None) -> list[Kind]:
    """All kinds of blocks of a view with so many levels of tiles at most, before those without mappings are left out; the same for every
    way to use the array with one dataflow."""
    return list(each_kind(view, most_levels))


def each_kind(view: View, most_levels: int | None = None, *, turning: bool = False) -> Iterator[Kind]:
    """`kinds`, one after another."""
    most = max(2, view.residence.levels) if most_levels is None else most_levels
    yield from flat_kinds(view, turning=turning)
    yield from _nested_kinds(view, most)


def flat_kinds(view: View, *, turning: bool = False) -> Iterator[Kind]:
    """One level of tiles; each tile in the outermost buffer or in one inside it.

    Where several arrays have all of the innermost dimension in one tile, other sides are any and an operand may stay that is counted as
    coming back. With `turning` such mappings are counted as they run; some 8 times as many of them may then be preferred by a price.
    """
    for shape in _shapes(view, turning=turning):
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
                homes.append(Home((OUTERMOST, None)))
            homes += [replace(held, at=(None, at)) for at in view.residence.inner(name)]
            choices.append(homes)
        for places in itertools.product(*choices):
            yield Kind(places, shape=shape)  # type: ignore[arg-type]  # three of each


def _shapes(view: View, *, turning: bool) -> Iterator[Shape]:
    """Blocks with one level of tiles that a view has."""
    if view.geometry.array.count == 1 or not turning:
        yield from _SHAPES[view.dataflow]
        return
    for shape in _TURNING[view.dataflow]:
        if all(len(plain(*given)) for given in zip((shape.m, shape.k, shape.n), view.sizes, view.covered, strict=True)):
            yield shape


def sides_of(view: View, shape: Shape, homes: tuple[Home, Home, Home]) -> _Triple:
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


def _need(view: View, shape: Shape, homes: tuple[Home, Home, Home], role: Role, at: int) -> Need:
    """What blocks of `shape` count of the sides along the dimension at `at`."""
    array = view.geometry.array
    lacking = LACKED.index(at)
    home, stays = homes[lacking], STAYS[shape.stays] == lacking
    still = shape.one_pass and stays
    fetched = bool(home.tiles) and not stays
    held = view.held == lacking and not still
    tiles = (bool(h.tiles) or (h.on_chip and i == STAYS[_C]) for i, h in enumerate(homes) if i != lacking)
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


def _nested_kinds(view: View, most: int) -> Iterator[Kind]:
    """Two levels of tiles to `most`: those of each made of whole ones of the next."""
    if not any(view.residence.inner(name) for name in NAMES):
        return
    for levels in range(2, most + 1):
        for regime in regimes(view, levels):
            for places in itertools.product(*(homes_of(view, i, regime.of(i)) for i in range(3))):
                yield Kind(places, regime=regime)  # type: ignore[arg-type]  # three of each


def homes_of(view: View, position: int, tiles: tuple[bool, ...]) -> list[Home]:
    """Memories in which an operand may have tiles at these levels, each inside the one before; none where it cannot. Where no more than
    two are tried, an outer tile alone lies in one of the last buffers of the operand, an inner one alone in any inside the outermost."""
    name, on_chip, where = NAMES[position], view.on_chip(position), view.residence
    levels = [level for level, here in enumerate(tiles) if here and not (on_chip and level == 0)]
    chains = where.chains(name, len(levels), on_chip=on_chip)
    if where.levels <= 2 and len(levels) == 2:
        chains = where.pairs(name)
    elif where.levels <= 2 and levels:
        chains = tuple((at,) for at in (where.inner(name) if levels[0] else where.outer(name)))
    found = []
    for chain in chains:
        at: list[int | None] = [None] * len(tiles)
        for level, memory in zip(levels, chain, strict=True):
            at[level] = memory
        found.append(Home(tuple(at), on_chip=on_chip))
    return found


def _nested_tiling(view: View, regime: Regime, position: int) -> Tiling:
    """Tilings of the dimension that the operand at `position` lacks, by which of its numbers of tiles matter."""
    lacked, last = LACKED[position], len(regime.stays) - 1
    stays, tiles, held = [here == position for here in regime.stays], list(regime.of(position)), view.held == position
    tiles[0] = tiles[0] and (not view.on_chip(position) or position == STAYS[_C])
    one_pass = regime.one_pass and lacked != LACKED[view.held]
    counted = [tiles[level] and not stays[level] for level in range(last + 1)]
    for level in range(last):  # what stays at the next level inside comes back with each of these
        inside = regime.tiles[level + 1][position] or (level + 1 == last and regime.one_pass)
        counted[level] = counted[level] or (stays[level + 1] and inside)
    counted[last] = counted[last] or held or view.geometry.array.count > 1
    size, covered = view.sizes[lacked], view.covered[lacked]
    if last == 1:
        return nested(size, covered, one_pass=one_pass, inner=counted[1], outer=counted[0])
    return nested_deep(size, covered, one_pass=one_pass, counted=tuple(counted))


def regimes(view: View, levels: int) -> Iterator[Regime]:
    """Ways to use so many levels of tiles that can be better than all others.

    With L levels an operand crosses once (1), once per tile of a level (2 to L + 1) or per array pass (L + 2) along the dimension that
    it lacks; a tile pays only where it is fetched more rarely than the next memory inside asks. What stays at a level has a tile there.
    """
    for stays in itertools.product(range(3), repeat=levels):
        for one_pass in (False, True):
            if one_pass and stays[-1] != view.held:
                continue
            choices = [operand_tiles(view, position, stays, one_pass=one_pass) for position in range(3)]
            found = [tuple(zip(*tiles, strict=True)) for tiles in itertools.product(*choices)]
            yield from (Regime(stays, tiles, one_pass) for tiles in sorted(found))


def operand_tiles(view: View, position: int, stays: tuple[int, ...], *, one_pass: bool) -> list[tuple[bool, ...]]:
    """Levels at which an operand may have tiles where these operands stay (`regimes`)."""
    found = []
    last, on_chip, held = len(stays) - 1, view.on_chip(position), view.held == position
    for tiles in itertools.product((False, True), repeat=last + 1):
        if any(here and not tile for here, tile in zip((s == position for s in stays[:-1]), tiles, strict=False)):
            continue
        if stays[-1] == position and tiles[-1] == one_pass:  # the one that stays has a tile, or is in the array itself
            continue
        if (on_chip and not tiles[0]) or not homes_of(view, position, tiles):
            continue
        asked = (last + 1 + (not (one_pass and stays[-1] == position))) if held else last + 3
        for level in reversed(range(last + 1)):
            if not tiles[level]:
                continue
            crossed = level + 1 + (stays[level] != position)
            if crossed >= asked and not (on_chip and level == 0):
                break
            asked = crossed
        else:
            found.append(tiles)
    return found
