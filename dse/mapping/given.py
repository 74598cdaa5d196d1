"""Mappings given from outside: from a file to a mapping and back, and what one mapping counts."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

from dse.errors import InputError, Problem, did_you_mean
from dse.files import dump_yaml, render
from dse.hw.accelerator import Dataflow, Loop, OperandName
from dse.mapping.flows import MAX_SEARCHED, ways
from dse.mapping.frontier import MatmulMapping, mapping_traffic
from dse.mapping.loop_nest import NestLoop, loop_nest, tile_level
from dse.mapping.matmul import InnerTile, Kept, Stationary, array_sides
from dse.mapping.residence import residence

if TYPE_CHECKING:
    from dse.files import Document, Value
    from dse.hw.accelerator import ArrayGeometry, Geometry
    from dse.mapping.counts import Counts, OperandTraffic
    from dse.mapping.file_form import LoopForm, MappingFile
    from dse.mapping.problem import MatmulProblem

    _Units = tuple[int, int, int, int]

BUFFER: Final = "buffer"
DRAM: Final = "dram"
ARRAY: Final = "array"
_TILED: Final = (Loop.M, Loop.K, Loop.N)
_LACKING: Final = {Loop.N: Stationary.LEFT, Loop.M: Stationary.RIGHT, Loop.K: Stationary.OUT}
"""Operand whose tile stays while the loop runs."""
_NAMES: Final = {Stationary.LEFT: "left", Stationary.RIGHT: "right", Stationary.OUT: "out"}


def counts_of_mapping(
    problem: MatmulProblem, geometry: Geometry, mapping: MatmulMapping
) -> tuple[tuple[OperandTraffic, OperandTraffic, OperandTraffic], Counts]:
    """Traffic of left, right and out, and counts, of one mapping, arrays [1]; any tile sides."""
    return mapping_traffic(problem, geometry, mapping)


def _rate(array: ArrayGeometry, problem: MatmulProblem) -> int:
    rate = array.rate(problem.dtype)
    assert rate is not None
    return rate


def on_chip(problem: MatmulProblem) -> tuple[bool, bool, bool]:
    """Whether left, right and out lie whole in the outermost buffer."""
    return problem.left_on_chip, problem.right_on_chip, problem.out_on_chip


def mapping_values(problem: MatmulProblem, geometry: Geometry, mapping: MatmulMapping) -> dict[str, Value]:
    """The values of a mapping file; `read_mapping` gives the mapping back."""
    used = mapping.used(geometry)
    gemm: dict[str, Value] = {"groups": problem.groups, "m": problem.m, "k": problem.k, "n": problem.n, "bits": int(problem.out_bits)}
    if problem.partial_bits != problem.out_bits:
        gemm["partial_bits"] = int(problem.partial_bits)
    residents = [str(o) for o, held in zip(OperandName, on_chip(problem), strict=True) if held]
    if residents:
        gemm["on_chip"] = list(residents)
    values: dict[str, Value] = {"schema_version": 1, "gemm": gemm, "dataflow": str(mapping.dataflow)}
    if geometry.array.dims:
        values["covers"] = {**_named(_covers(used.array, mapping.dataflow, problem))}
        if used.array.spread:
            values["spread"] = [{"dims": list(names), **_named(units)} for names, units in used.array.spread]
    keeps: dict[str, Value] = {}
    for slot, kept in enumerate((mapping.kept, *(tile.kept for tile in mapping.inner_tiles))):
        keeps[tile_level(slot)] = [str(o) for o in OperandName if getattr(kept, o)]
    values["keeps"] = keeps
    if mapping.places is not None:
        values["places"] = {str(o): list(at) for o, at in zip(OperandName, mapping.places, strict=True)}
    if mapping.shared_sums:
        values["shared_sums"] = True
    values["loops"] = [_loop_values(loop) for loop in loop_nest(problem, geometry, mapping, every_level=True)]
    return values


def mapping_text(problem: MatmulProblem, geometry: Geometry, mapping: MatmulMapping) -> str:
    """A mapping file, one loop a line."""
    values = mapping_values(problem, geometry, mapping)
    loops = values.pop("loops")
    assert isinstance(loops, list)
    return dump_yaml(values) + "loops:  # outermost first\n" + "".join(f"- {render(loop)}\n" for loop in loops)


def _loop_values(loop: NestLoop) -> Value:
    found: dict[str, Value] = {"level": loop.level, "loop": loop.loop, "step": loop.step, "count": loop.count}
    if loop.spatial:
        found["spatial"] = True
    if loop.stays:
        found["stays"] = loop.stays
    return found


def _covers(array: ArrayGeometry, dataflow: Dataflow, problem: MatmulProblem) -> _Units:
    rate = _rate(array, problem)
    m, k, n = array_sides(array, dataflow, rate)
    if dataflow is Dataflow.OUTPUT_STATIONARY:
        return m, rate, n, array.groups
    return (array.stream, k, n, array.groups) if dataflow is Dataflow.WEIGHT_STATIONARY else (m, k, array.stream, array.groups)


def _named(units: _Units) -> dict[str, int]:
    """Elements of m, k and n by name, and groups where there are several."""
    m, k, n, groups = units
    return {"m": m, "k": k, "n": n} | ({"groups": groups} if groups > 1 else {})


def read_mapping(document: Document, file: MappingFile, problem: MatmulProblem, geometry: Geometry) -> MatmulMapping:
    """The mapping of `problem` on `geometry` that a checked file describes.

    Loops of DRAM may come in any order; what stays in the buffer is the operand that the innermost loop of several steps lacks.

    Raises:
        InputError: with file and line: what the array or the sizes do not allow, loops given twice, steps that contradict each other.
    """
    return _Reader(document, file, problem, geometry).mapping()


class _Reader:
    """Collects what is wrong with a mapping."""

    def __init__(self, document: Document, file: MappingFile, problem: MatmulProblem, geometry: Geometry) -> None:
        self.document, self.file, self.problem, self.geometry = document, file, problem, geometry
        self.problems: list[Problem] = []
        self.sizes = {Loop.GROUPS: problem.groups, Loop.M: problem.m, Loop.K: problem.k, Loop.N: problem.n}
        self.residence = residence(geometry)
        most = max(2, self.residence.levels) if geometry.inner else 1
        self.tiled = tuple(tile_level(slot) for slot in range(most))
        """Levels of tiles, from outer to inner."""
        self.used = max((self.tiled.index(level) + 1 for level in file.keeps if level in self.tiled), default=1)
        """How many of them the mapping has."""
        self.levels = (DRAM, *self.tiled, ARRAY)

    def mapping(self) -> MatmulMapping:
        """See `read_mapping`."""
        array = self._array()
        self._levels()
        kept = self._kept(BUFFER)
        tiles, stationary = self._tiles(DRAM, self.sizes), self._stationary(DRAM, self.sizes)
        inner = self._inner(tiles, 1)
        together = self._together(array)
        self._shared()
        self._done()
        assert array is not None
        found = MatmulMapping(
            dataflow=self.file.dataflow,
            stationary=stationary,
            kept=kept,
            tile_m=tiles[Loop.M],
            tile_k=tiles[Loop.K],
            tile_n=tiles[Loop.N],
            together=together,
            shared_sums=self.file.shared_sums,
            array=array if self.geometry.array.dims else None,
            inner=inner,
            places=self._places(),
        )
        self._compare(found)
        self._done()
        return found

    def _fault(self, location: tuple[str | int, ...], message: str) -> None:
        self.problems.append(Problem(self.document.where(location), message))

    def _done(self) -> None:
        if self.problems:
            raise InputError(sorted(dict.fromkeys(self.problems), key=_line))

    def _at(self, level: str) -> list[tuple[int, LoopForm]]:
        return [(i, loop) for i, loop in enumerate(self.file.loops) if loop.level == level]

    def _array(self) -> ArrayGeometry | None:
        """The array, or the way of using it, that the file means; None and a fault where there is none."""
        given, every = self.file.dataflow, ways(self.geometry, MAX_SEARCHED, groups=self.problem.groups)
        fitting = [a for a in every if given in a.dataflows]
        if not fitting:
            allowed = sorted({str(d) for a in every for d in a.dataflows})
            self._fault(("dataflow",), f"'dataflow' is {given}; the array can be used as {', '.join(allowed)}")
            return None
        asked = self.file.covers
        covering = fitting
        if asked is not None:
            covering = [a for a in fitting if _covers(a, given, self.problem) == (asked.m, asked.k, asked.n, asked.groups)]
        known = "; ".join(dict.fromkeys(_units(_covers(a, given, self.problem)) for a in fitting))
        if not covering:
            assert asked is not None
            self._fault(("covers",), f"'covers' is {_units((asked.m, asked.k, asked.n, asked.groups))}; the array covers {known}")
            return None
        if asked is None and len({_covers(a, given, self.problem) for a in fitting}) > 1:
            self._fault((), f"'covers' is missing; the array can be used in several ways: {known}")
            return None
        return self._spread(covering)

    def _spread(self, covering: list[ArrayGeometry]) -> ArrayGeometry | None:
        """The one of several ways that cover the same which the file means: they differ in what lies along which dimension."""
        asked = tuple(sorted((tuple(s.dims), (s.m, s.k, s.n, s.groups)) for s in self.file.spread))
        found = [a for a in covering if not asked or asked == tuple(sorted(a.spread))]
        if len(found) == 1:
            return found[0]
        known = "; or ".join(_yaml_spread(a) for a in covering)
        if found:
            self._fault(("covers",), f"'covers' can be met in several ways; add 'spread', one of: {known}")
        elif any(a.spread for a in covering):
            self._fault(("spread",), f"no way to use the array with these 'covers' is spread so; allowed: {known}")
        else:
            self._fault(("spread",), "'spread' says nothing here: no memory has instances along dimensions of the array; leave it out")
        return None

    def _levels(self) -> None:
        order = {level: i for i, level in enumerate(self.levels)}
        seen: set[tuple[str, Loop]] = set()
        deepest = 0
        for i, loop in enumerate(self.file.loops):
            at = ("loops", i, "level")
            if loop.level not in order:
                near = did_you_mean(loop.level, order)
                self._fault(at, f"level '{loop.level}' is not known; allowed: {', '.join(order)}.{near}")
            elif order[loop.level] < deepest:
                self._fault(at, f"a loop of {loop.level} stands inside one of a level nearer to the array; order them {', '.join(order)}")
            if (loop.level, loop.loop) in seen:
                self._fault(("loops", i), f"a second loop over {loop.loop} at {loop.level}; give one with the step of the inner one")
            seen.add((loop.level, loop.loop))
            deepest = max(deepest, order.get(loop.level, 0))
        for level in self.file.keeps:
            if level not in self.tiled:
                self._fault(("keeps", level), f"memory '{level}' takes no tiles here; allowed: {', '.join(self.tiled)}")

    def _tiles(self, level: str, sizes: dict[Loop, int]) -> dict[Loop, int]:
        """Sides of the tiles that the loops of `level` step through, out of `sizes`."""
        tiles = {d: sizes[d] for d in _TILED}
        for i, loop in self._at(level):
            size = sizes.get(loop.loop, 1)
            if loop.step > size:
                self._fault(("loops", i, "step"), f"a step of {loop.step} over {loop.loop}, which has {size}; give at most {size}")
            if loop.loop in tiles:
                tiles[loop.loop] = min(loop.step, size)
        return tiles

    def _kept(self, level: str) -> Kept:
        kept = self.file.keeps.get(level, ())
        allowed = {o for o in OperandName if self._may_hold(o, self.tiled.index(level))}
        for operand in kept:
            if operand not in allowed:
                self._fault(("keeps", level), f"{level} may hold {', '.join(sorted(allowed))}, not {operand}")
        return Kept(*(o in kept for o in (OperandName.LEFT, OperandName.RIGHT, OperandName.OUT)))

    def _may_hold(self, operand: OperandName, slot: int) -> tuple[int, ...]:
        """Memories in which an operand may have its tile of a level."""
        if self.residence.levels > 2:
            return self.residence.of(operand)
        return self.residence.inner(operand) if slot else self.residence.outer(operand)

    def _places(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]] | None:
        """Memories of the tiles of left, right and out; None where all are where they are by default."""
        found, slots = [], max(2, self.used)
        for operand in OperandName:
            known = self.residence.default(operand, slots)
            places = self.file.places.get(operand, known)
            if len(places) != slots:
                given, levels = list(places), ", ".join(self.tiled[:slots])
                self._fault(
                    ("places", operand), f"{given} names {len(given)} memories for {operand}; give {slots}, those of its tiles in {levels}"
                )
                places = known
            for slot, (at, usual) in enumerate(zip(places, known, strict=True)):
                may = {*self._may_hold(operand, slot), usual}
                if at not in may:
                    level, allowed = tile_level(slot), ", ".join(map(str, sorted(may)))
                    self._fault(("places", operand), f"the tile of {operand} in {level} cannot lie in memory {at}; allowed: {allowed}")
            self._inwards(operand, places)
            found.append(places)
        left, right, out = found
        return None if found == [self.residence.default(o, slots) for o in OperandName] else (left, right, out)

    def _inwards(self, operand: OperandName, places: tuple[int, ...]) -> None:
        """Each tile of an operand lies inside the one before."""
        order = {at: rank for rank, at in enumerate(self.residence.of(operand))}
        kept = [at for level, at in zip(self.tiled, places, strict=False) if operand in self.file.keeps.get(level, ())]
        ranks = [order[at] for at in kept if at in order]
        if any(far <= near for far, near in itertools.pairwise(ranks)):
            chain = ", ".join(str(at) for at in reversed(order))
            where = ("places", operand) if operand in self.file.places else ("keeps",)
            self._fault(
                where, f"tiles of {operand} lie in memories {', '.join(map(str, kept))}; each must lie inside the one before, of {chain}"
            )

    def _inner(self, tiles: dict[Loop, int], slot: int) -> InnerTile | None:
        """Tiles of a level and of those inside it; None where there are none."""
        if slot >= self.used:
            return None
        outside = tile_level(slot - 1)
        sides = self._tiles(outside, tiles)
        stays, kept = self._stationary(outside, tiles), self._kept(tile_level(slot))
        return InnerTile(stays, kept, sides[Loop.M], sides[Loop.K], sides[Loop.N], self._inner(sides, slot + 1))

    def _together(self, array: ArrayGeometry | None) -> int:
        steps = [(i, loop.step) for i, loop in self._at(DRAM) if loop.loop is Loop.GROUPS]
        abreast = 1 if array is None else min(array.groups, self.problem.groups)
        if not steps:
            if self.problem.groups > 1:
                need = f"{self.problem.groups} groups need a loop: {{level: dram, loop: groups, step: {abreast}}}"
                self._fault(("loops",), f"{need}; the step is the groups that run at once")
            return 1
        most = abreast * min(self.problem.groups, self.geometry.array.count)
        if steps[0][1] > most:
            self._fault(("loops", steps[0][0], "step"), f"{steps[0][1]} groups at once; {most} can run, one on each array")
        elif array is not None and array.groups > 1 and steps[0][1] != abreast:
            self._fault(("loops", steps[0][0], "step"), f"{steps[0][1]} groups at once; with these 'covers' {abreast} run side by side")
        return steps[0][1]

    def _stationary(self, level: str, sizes: dict[Loop, int]) -> Stationary:
        """The operand whose tile stays while the innermost loop of `level` runs."""
        given = [(i, loop) for i, loop in self._at(level) if loop.loop in _TILED]
        inner = given[-1] if given else None
        several = [(i, loop) for i, loop in given if loop.step < sizes[loop.loop]]
        for i, loop in given:
            lacking = _NAMES[_LACKING[loop.loop]]
            if loop.stays and (inner is None or i != inner[0]):
                self._fault(("loops", i, "stays"), f"{loop.stays} cannot stay: other loops of {level} run inside this one")
            elif loop.stays and loop.stays != lacking:
                self._fault(("loops", i, "stays"), f"{loop.stays} cannot stay while {loop.loop} runs; {lacking} can, which lacks it")
        if inner is not None and (inner[1].stays or not several):
            return _LACKING[inner[1].loop]
        return _LACKING[several[-1][1].loop] if several else Stationary.OUT

    def _shared(self) -> None:
        if self.file.shared_sums and (self.file.dataflow is not Dataflow.OUTPUT_STATIONARY or self.geometry.array.count == 1):
            self._fault(("shared_sums",), "only several output-stationary arrays can share sums; leave 'shared_sums' out")

    def _compare(self, mapping: MatmulMapping) -> None:
        """Whatever the file says of its loops against what follows from the mapping."""
        passes = tile_level(self.used - 1)
        expected = {(x.level, x.loop): x for x in loop_nest(self.problem, self.geometry, mapping, every_level=True)}
        for i, loop in enumerate(self.file.loops):
            known = expected.get((loop.level, str(loop.loop)))
            if known is None:
                if loop.count not in (None, 1):
                    self._fault(("loops", i), f"no loop over {loop.loop} runs at {loop.level} with {mapping.dataflow}; leave it out")
                continue
            for name in ("step", "count", "spatial"):
                given = getattr(loop, name)
                if given is not None and given != getattr(known, name):
                    must, shown = _yaml(getattr(known, name)), _yaml(given)
                    self._fault(
                        ("loops", i, name),
                        f"'{name}' of {loop.loop} at {loop.level} is {shown}; with this array and these tiles it is {must}",
                    )
            if loop.level in (passes, ARRAY) and loop.stays and loop.stays != known.stays:
                self._fault(("loops", i, "stays"), f"{loop.stays} does not stay in this loop; {known.stays or 'nothing'} does")
        inside = [loop for loop in self.file.loops if loop.level == passes]
        streams = [x.loop for (level, _), x in expected.items() if level == passes and x.stays]
        for i, loop in self._at(passes):
            if str(loop.loop) in streams and inside[-1] is not loop:
                held = expected[passes, str(loop.loop)].stays
                self._fault(("loops", i), f"{loop.loop} must be the innermost loop of {passes}: the array holds {held} while it streams")


def _line(problem: Problem) -> int:
    line = problem.where.rpartition(":")[2]
    return int(line) if line.isdecimal() else 0


def _units(units: _Units) -> str:
    return "{" + ", ".join(f"{loop}: {count}" for loop, count in _named(units).items()) + "}"


def _yaml_spread(array: ArrayGeometry) -> str:
    ways_along = (f"{{dims: [{', '.join(names)}], {_units(units)[1:]}" for names, units in array.spread)
    return f"[{', '.join(ways_along)}]"


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
