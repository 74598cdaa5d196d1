"""Mappings given from outside: from a file to a mapping and back, and what one mapping counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from dse.errors import InputError, Problem, did_you_mean
from dse.files import dump_yaml, render
from dse.hw.accelerator import Dataflow, Loop, OperandName
from dse.mapping.flows import flows
from dse.mapping.frontier import MatmulMapping, mapping_counts
from dse.mapping.loop_nest import NestLoop, loop_nest
from dse.mapping.matmul import Kept, Stationary, TileGrid, array_sides
from dse.mapping.tiles import sides

if TYPE_CHECKING:
    from dse.files import Document, Value
    from dse.hw.accelerator import ArrayGeometry, Geometry
    from dse.mapping.counts import Counts, OperandTraffic
    from dse.mapping.file_form import LoopForm, MappingFile
    from dse.mapping.problem import MatmulProblem

BUFFER: Final = "buffer"
DRAM: Final = "dram"
ARRAY: Final = "array"
_LEVELS: Final = (DRAM, BUFFER, ARRAY)
_TILED: Final = (Loop.M, Loop.K, Loop.N)
_LACKING: Final = {Loop.N: Stationary.LEFT, Loop.M: Stationary.RIGHT, Loop.K: Stationary.OUT}
"""Operand whose tile stays while the loop runs."""
_NAMES: Final = {Stationary.LEFT: "left", Stationary.RIGHT: "right", Stationary.OUT: "out"}


def counts_of_mapping(
    problem: MatmulProblem, geometry: Geometry, mapping: MatmulMapping
) -> tuple[tuple[OperandTraffic, OperandTraffic, OperandTraffic], Counts]:
    """Traffic of left, right and out, and counts, of one mapping, arrays [1]; any tile sides."""
    used = mapping.used(geometry)
    covered = array_sides(used.array, mapping.dataflow, _rate(used.array, problem))
    tiles = (mapping.tile_m, mapping.tile_k, mapping.tile_n)
    sizes = (problem.m, problem.k, problem.n)
    grid = TileGrid(*(sides(size, np.array([tile]), cover) for size, tile, cover in zip(sizes, tiles, covered, strict=True)))
    return mapping_counts(
        problem,
        used,
        grid,
        dataflow=mapping.dataflow,
        stationary=mapping.stationary,
        kept=mapping.kept,
        together=mapping.together,
        shared_sums=mapping.shared_sums,
    )


def _rate(array: ArrayGeometry, problem: MatmulProblem) -> int:
    rate = array.rate(problem.dtype)
    assert rate is not None
    return rate


def mapping_values(problem: MatmulProblem, geometry: Geometry, mapping: MatmulMapping) -> dict[str, Value]:
    """The values of a mapping file; `read_mapping` gives the mapping back."""
    used = mapping.used(geometry)
    gemm: dict[str, Value] = {"groups": problem.groups, "m": problem.m, "k": problem.k, "n": problem.n, "bits": int(problem.out_bits)}
    if problem.partial_bits != problem.out_bits:
        gemm["partial_bits"] = int(problem.partial_bits)
    values: dict[str, Value] = {"schema_version": 1, "gemm": gemm, "dataflow": str(mapping.dataflow)}
    if geometry.array.dims:
        values["covers"] = dict(zip("mkn", _covers(used.array, mapping.dataflow, problem), strict=True))
    values["keeps"] = {BUFFER: [str(o) for o in OperandName if getattr(mapping.kept, o)]}
    if mapping.shared_sums:
        values["shared_sums"] = True
    values["loops"] = [_loop_values(loop) for loop in loop_nest(problem, geometry, mapping)]
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


def _covers(array: ArrayGeometry, dataflow: Dataflow, problem: MatmulProblem) -> tuple[int, int, int]:
    rate = _rate(array, problem)
    m, k, n = array_sides(array, dataflow, rate)
    return (m, rate, n) if dataflow is Dataflow.OUTPUT_STATIONARY else (m, k, n)


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

    def mapping(self) -> MatmulMapping:
        """See `read_mapping`."""
        array = self._array()
        self._levels()
        tiles, kept = self._tiles(), self._kept()
        together = self._together()
        stationary = self._stationary()
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
        given = self.file.dataflow
        fitting = [a for a in flows(self.geometry.array) if given in a.dataflows]
        if not fitting:
            allowed = sorted({str(d) for a in flows(self.geometry.array) for d in a.dataflows})
            self._fault(("dataflow",), f"'dataflow' is {given}; the array can be used as {', '.join(allowed)}")
            return None
        ways = {_covers(a, given, self.problem): a for a in fitting}
        asked = self.file.covers
        if asked is None and len(ways) == 1:
            return fitting[0]
        known = "; ".join(f"{{m: {m}, k: {k}, n: {n}}}" for m, k, n in ways)
        if asked is None:
            self._fault((), f"'covers' is missing; the array can be used in several ways: {known}")
            return None
        if (asked.m, asked.k, asked.n) not in ways:
            self._fault(("covers",), f"'covers' is {{m: {asked.m}, k: {asked.k}, n: {asked.n}}}; the array covers {known}")
        return ways.get((asked.m, asked.k, asked.n))

    def _levels(self) -> None:
        seen: dict[tuple[str, Loop], int] = {}
        for i, loop in enumerate(self.file.loops):
            at = ("loops", i, "level")
            if loop.level not in _LEVELS:
                near = did_you_mean(loop.level, _LEVELS)
                self._fault(at, f"level '{loop.level}' is not known; allowed: {', '.join(_LEVELS)}.{near}")
            elif i and _LEVELS.index(loop.level) < max(_LEVELS.index(x.level) for x in self.file.loops[:i] if x.level in _LEVELS):
                self._fault(at, f"a loop of {loop.level} stands inside one of a level nearer to the array; order them {', '.join(_LEVELS)}")
            if (loop.level, loop.loop) in seen:
                self._fault(("loops", i), f"a second loop over {loop.loop} at {loop.level}; give one with the step of the inner one")
            seen[loop.level, loop.loop] = i

    def _tiles(self) -> dict[Loop, int]:
        tiles = {d: self.sizes[d] for d in _TILED}
        for i, loop in self._at(DRAM):
            size = self.sizes[loop.loop]
            if loop.step > size:
                self._fault(("loops", i, "step"), f"a step of {loop.step} over {loop.loop}, which has {size}; give at most {size}")
            tiles[loop.loop] = min(loop.step, size)
        return tiles

    def _kept(self) -> Kept:
        for level in self.file.keeps:
            if level != BUFFER:
                self._fault(("keeps", level), f"memory '{level}' takes no tiles here; allowed: {BUFFER}")
        kept = self.file.keeps.get(BUFFER, ())
        for operand in kept:
            if operand not in self.geometry.outer.operands:
                allowed = ", ".join(self.geometry.outer.operands)
                self._fault(("keeps", BUFFER), f"the buffer may hold {allowed}, not {operand}")
        return Kept(*(o in kept for o in (OperandName.LEFT, OperandName.RIGHT, OperandName.OUT)))

    def _together(self) -> int:
        steps = [(i, loop.step) for i, loop in self._at(DRAM) if loop.loop is Loop.GROUPS]
        if not steps:
            if self.problem.groups > 1:
                need = f"{self.problem.groups} groups need a loop: {{level: dram, loop: groups, step: 1}}"
                self._fault(("loops",), f"{need}; the step is the groups that run at once")
            return 1
        most = min(self.problem.groups, self.geometry.array.count)
        if steps[0][1] > most:
            self._fault(("loops", steps[0][0], "step"), f"{steps[0][1]} groups at once; {most} can run, one on each array")
        return steps[0][1]

    def _stationary(self) -> Stationary:
        given = [(i, loop) for i, loop in self._at(DRAM) if loop.loop is not Loop.GROUPS]
        inner = given[-1] if given else None
        several = [(i, loop) for i, loop in given if loop.step < self.sizes[loop.loop]]
        for i, loop in given:
            lacking = _NAMES[_LACKING[loop.loop]]
            if loop.stays and (inner is None or i != inner[0]):
                self._fault(("loops", i, "stays"), f"{loop.stays} cannot stay: other DRAM loops run inside this one")
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
        expected = {(x.level, x.loop): x for x in loop_nest(self.problem, self.geometry, mapping)}
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
            if loop.level != DRAM and loop.stays and loop.stays != known.stays:
                self._fault(("loops", i, "stays"), f"{loop.stays} does not stay in this loop; {known.stays or 'nothing'} does")
        inner = [loop for loop in self.file.loops if loop.level == BUFFER]
        streams = [x.loop for (level, _), x in expected.items() if level == BUFFER and x.stays]
        for i, loop in self._at(BUFFER):
            if str(loop.loop) in streams and inner[-1] is not loop:
                held = expected[BUFFER, str(loop.loop)].stays
                self._fault(("loops", i), f"{loop.loop} must be the innermost loop of the buffer: the array holds {held} while it streams")


def _line(problem: Problem) -> int:
    line = problem.where.rpartition(":")[2]
    return int(line) if line.isdecimal() else 0


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
