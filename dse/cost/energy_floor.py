"""What the operators of a graph must move on chip whatever the schedule: picojoules of buffers, inner memories and registers, and of
what crosses the DRAM boundary more often than once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from itertools import product
from math import prod
from typing import TYPE_CHECKING

from dse.hw.accelerator import OperandName
from dse.ir.operator import Kind
from dse.mapping.blocks import LACKED, NAMES, STAYS
from dse.mapping.crossings import AXES, OUTERMOST
from dse.mapping.flows import ways
from dse.mapping.matmul import Stationary
from dse.mapping.registers import register_bytes
from dse.mapping.space import view_of
from dse.schedule.problems import contraction_problem
from dse.units import BITS_PER_BYTE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dse.hw.accelerator import Geometry
    from dse.hw.table import DesignTable
    from dse.mapping.blocks import View
    from dse.mapping.problem import MatmulProblem
    from dse.schedule.plan import PlanBook
    from dse.schedule.segments import Access

OUT = STAYS[Stationary.OUT]


@dataclass(frozen=True, slots=True)
class _Ports:
    """Picojoules of a byte read from and written to a memory."""

    read: float
    write: float

    @property
    def both(self) -> float:
        return self.read + self.write


class _Side(Enum):
    """Where an operand comes from or goes to."""

    OUTSIDE = "outside"
    """DRAM, before or after the graph: one crossing is compulsory and counted apart."""
    INSIDE = "inside"
    """Another operator of the graph: it need not leave the chip."""


@dataclass(frozen=True, slots=True)
class _End:
    """An operand as its operator sees it."""

    side: _Side
    readers: int = 1
    """Operators that read it: a copy that is brought on chip once may serve them all."""


def least_moved_pj(book: PlanBook, geometry: Geometry, table: DesignTable, again_bytes: Sequence[float]) -> float:
    """Least picojoules of what the operators of a graph move, the one compulsory crossing of inputs and outputs left out;
    `again_bytes` are the least that each makes cross DRAM's boundary again (`least_again_bytes`).

    For every operator the cheapest dataflow, and for every operand the cheapest place: held by the schedule in the outermost buffer,
    a tile in a buffer, or none, straight from DRAM. What streams by the array is taken once per pass along the loop that the operand
    lacks, ceil(size / array side) times; partial sums go and come back once less. Slices, tiles and loop orders only add to that: the
    passes of the parts of a loop are at least those of the whole. What operands cross DRAM's boundary again for lack of a tile and what
    they must for lack of room may be the same bytes: the larger counts. Derived here; the tests hold it below the
    results of every schedule.
    """
    floor = _Floor(geometry, table)
    total = 0.0
    for accesses, operator, again in zip(book.builder.accesses, book.order, again_bytes, strict=True):
        ends = [_end(book, a) for a in accesses]
        if operator.kind is Kind.CONTRACTION:
            problem = contraction_problem(book.graph, operator, {}, geometry)
            total += floor.of_product(problem, (ends[0], ends[1], ends[-1]), again)
            more = range(2, len(accesses) - 1)
        else:
            more = range(len(accesses))
        total += sum(floor.of_vector(accesses[i], ends[i]) for i in more)
    return total


def _end(book: PlanBook, access: Access) -> _End:
    storage = book.builder.storages[access.storage]
    outside = storage.from_outside or (storage.to_outside and not access.reads)
    return _End(_Side.OUTSIDE if outside else _Side.INSIDE, max(1, len(storage.readers)))


@dataclass(frozen=True, slots=True)
class _Place:
    """Picojoules of an operand in one place: of memories on chip, and of what crosses DRAM's boundary beyond the compulsory crossing."""

    on_chip: float
    dram: float = 0.0


class _Floor:
    """Least energies at the first design point of a table; equal products are looked at once."""

    def __init__(self, geometry: Geometry, table: DesignTable) -> None:
        self._geometry = geometry
        self._dram = _Ports(float(table.dram_read_pj_per_byte[0]), float(table.dram_write_pj_per_byte[0]))
        self._buffer = _Ports(float(table.buffer_read_pj_per_byte[0]), float(table.buffer_write_pj_per_byte[0]))
        self._inner = [_Ports(float(m.read_pj_per_byte[0]), float(m.write_pj_per_byte[0])) for m in table.inner]
        self._found: dict[tuple[MatmulProblem, tuple[_End, _End, _End], float], float] = {}

    def of_vector(self, access: Access, end: _End) -> float:
        """An operand of the vector unit: through the buffer, from and to DRAM as well; a held copy is filled once for all readers."""
        if end.side is _Side.INSIDE:
            return access.size_bytes * (self._buffer.read if access.reads else self._buffer.write)
        if access.reads:
            return access.size_bytes * (self._buffer.read + self._buffer.write / end.readers)
        return access.size_bytes * self._buffer.both

    def of_product(self, problem: MatmulProblem, ends: tuple[_End, _End, _End], again_bytes: float) -> float:
        """A contraction: left, right and out with the cheapest way to use the array."""
        key = (problem, ends, again_bytes)
        if key not in self._found:
            again = again_bytes * min(self._dram.read, self._dram.write)
            self._found[key] = min(self._with(view, ends, again) for view in self._views(problem))
        return self._found[key]

    def _views(self, problem: MatmulProblem) -> Iterator[View]:
        for array in ways(self._geometry):
            here = replace(self._geometry, array=array)
            yield from (view_of(problem, here, dataflow) for dataflow in array.dataflows)

    def _with(self, view: View, ends: tuple[_End, _End, _End], again_pj: float) -> float:
        left, right, out = (ends[1], ends[0], ends[2]) if view.transposed else ends
        places = self._input(view, 0, left), self._input(view, 1, right), self._output(view, out)
        least = min(
            sum(p.on_chip for p in chosen) + max(again_pj, sum(p.dram for p in chosen)) for chosen in product(*map(_unbeaten, places))
        )
        return least + self._registers(view)

    def _input(self, view: View, position: int, end: _End) -> list[_Place]:
        problem = view.problem
        once = (problem.left_bytes, problem.right_bytes)[position]
        bits = (problem.left_bits, problem.right_bits)[position]
        asked = _elements(view, position) * bits / BITS_PER_BYTE * _passes(view, position) * problem.work_share
        inside = end.side is _Side.INSIDE
        fetched = once * self._dram.read if inside else 0.0
        filled = 0.0 if inside else once * self._buffer.write / end.readers
        found = [
            _Place(0.0, max(once, asked) * self._dram.read - (once * self._dram.read - fetched)),
            _Place(filled + asked * self._buffer.read),
        ]
        for at in view.residence.inner(NAMES[position]):
            port = self._port(view, at, position)
            held = once * port.write + asked * port.read
            found += [_Place(held, fetched), *([_Place(held + once * self._buffer.read)] if inside else [])]
        return found

    def _output(self, view: View, end: _End) -> list[_Place]:
        problem, elements = view.problem, _elements(view, OUT)
        final = problem.out_bytes
        distinct = elements * problem.out_share
        back = max(0.0, elements * _passes(view, OUT) - distinct) * problem.partial_bits / BITS_PER_BYTE * problem.work_share
        inside = end.side is _Side.INSIDE
        sent = final * self._dram.write if inside else 0.0
        drained = 0.0 if inside else final * self._buffer.read
        found = [_Place(0.0, back * self._dram.both + sent), _Place(back * self._buffer.both + final * self._buffer.write + drained)]
        for at in view.residence.inner(NAMES[OUT]):
            held = (back + final) * self._port(view, at, OUT).both
            found += [_Place(held, sent), *([_Place(held + final * self._buffer.write)] if inside else [])]
        return found

    def _port(self, view: View, at: int, position: int) -> _Ports:
        """Of all instances that need the operand; registers of what stays in the array are counted apart."""
        assert at != OUTERMOST, "inner memories only"
        if view.memory(at).registers and position == view.held:
            return _Ports(0.0, 0.0)
        copies, port = view.copies(at, position), self._inner[at]
        return _Ports(copies * port.read, copies * port.write)

    def _registers(self, view: View) -> float:
        """Of the operand that stays in the array: read by every product, sums read and written once per step."""
        problem, name, total = view.problem, NAMES[view.held], 0.0
        width = register_bytes(problem, name)
        for at, memory in enumerate(view.geometry.inner):
            if memory.registers and view.held_name in memory.operands:
                port = self._inner[at]
                if name is OperandName.OUT:
                    steps = -(-problem.k // view.rate)
                    total += problem.groups * problem.m * problem.n * steps * width * port.both
                else:
                    total += problem.macs * width * port.read + _elements(view, view.held) * width * port.write
        return total


def _elements(view: View, position: int) -> int:
    """Elements of an operand that the loops count."""
    return view.problem.groups * prod(view.sizes[d] for d in AXES[NAMES[position]])


def _passes(view: View, position: int) -> int:
    """Times that the array takes each element at least: once of what stays in it, else per pass along the loop that it lacks."""
    lacked = LACKED[position]
    return 1 if position == view.held else -(-view.sizes[lacked] // view.covered[lacked])


def _unbeaten(places: list[_Place]) -> list[_Place]:
    """Those that no other one beats in both."""
    found: list[_Place] = []
    for place in sorted(places, key=lambda p: (p.on_chip, p.dram)):
        if not found or place.dram < found[-1].dram:
            found.append(place)
    return found
