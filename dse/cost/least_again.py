"""What must cross the DRAM boundary again where memories are small: bytes beyond one crossing of inputs and outputs, whatever the schedule.

A schedule runs a product C[m, n] = A[m, k] B[k, n] as a nest of loops: slices of a plan, tiles of a mapping. Each operand has a part on
chip that stays while the loops inside it run. Take the operand whose part is outermost, A say with m x k elements: around it the other two
come again, B for every part of m but the first and sums, out and back, for every part of k. So what comes again is at least

    A:  B (M / m - 1) + sums (K / k - 1)       m k elements of A fit
    B:  A (N / n - 1) + sums (K / k - 1)       k n elements of B fit
    C:  A (N / n - 1) + B (M / m - 1)          m n sums fit, at the width of partial sums

for one of the three, with sides of any real length: the largest memory has to hold the part, or the array what stays in one of its passes.
Source: derived here; with one width for all and every operand from DRAM the last is 2 M N K / sqrt(S) less what comes once, the constant of
Smith, Lowery, Langou and van de Geijn (arXiv 1702.02017).

A result of another operator need not come from DRAM, but to have it again it is read, or formed again out of inputs that are on chip or
read; what fits a memory whole need not come again at all. Parts are taken to lie alone in the memory and once: no second buffer, nothing
held for other operators. Where operators share what comes of an operand, their parts are on chip together: with shares x and y of the
room, x + y <= 1, it comes max(r / x, s / y) >= r + s times at least, r and s those of each alone in all of it. So each counts in full;
where an operator shares both of its inputs this is not so, and their bytes are divided by the number of their readers.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from math import inf, sqrt
from typing import TYPE_CHECKING

from dse.hw.accelerator import Dataflow
from dse.ir.graph import multiply_type
from dse.ir.operator import Kind
from dse.mapping.flows import flows
from dse.mapping.matmul import array_sides
from dse.schedule.problems import contraction_problem, is_too_large
from dse.units import BITS_PER_BYTE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.hw.accelerator import ArrayGeometry, Geometry
    from dse.hw.table import DesignTable
    from dse.mapping.problem import MatmulProblem
    from dse.schedule.segments import Access, SegmentBuilder


@dataclass(frozen=True, slots=True)
class Room:
    """Where the part of an operand may lie that stays while loops inside it run."""

    bytes: float
    """Of the largest memory on chip, all its instances, or of several that may hold a part together."""
    arrays: int = 1
    """Arrays that may hold a part together."""

    @classmethod
    def of(cls, geometry: Geometry, table: DesignTable) -> Room:
        """That of a core at the first design point of `table`."""
        outer = float(table.buffer_capacity_bytes[0])
        inner = [
            float(prices.capacity_bytes[0]) * memory.instances
            for memory, prices in zip(geometry.inner, table.inner, strict=True)
            if not memory.registers
        ]
        return cls(max((outer, *inner)))


def least_again_bytes(builder: SegmentBuilder, geometries: Sequence[Geometry], room: Room) -> tuple[float, ...]:
    """By operator in the order of `builder`: the least bytes that it makes come again, on that of the cores with which they are fewest.

    None are counted for a product too large to be mapped as a whole: parts of it may run.
    """
    again, found = _Again(builder, room.bytes), []
    for position, operator in enumerate(builder.order):
        least = 0.0
        if operator.kind is Kind.CONTRACTION and not is_too_large(operator):
            inputs = again.inputs(position)
            dtype = multiply_type(builder.graph, operator).name
            able = [g for g in geometries if g.array.rate(dtype) is not None]
            problems = [contraction_problem(builder.graph, operator, {}, g) for g in able]
            least = min((product_again_bytes(p, g, room, inputs) for p, g in zip(problems, able, strict=True)), default=0.0)
        found.append(least)
        again.form(position)
    return tuple(found)


class _Again:
    """What it takes at least to have an input on chip once more, as far as known when operators are met in order."""

    def __init__(self, builder: SegmentBuilder, whole_bytes: float) -> None:
        self._builder, self._whole = builder, whole_bytes
        self._formed: dict[str, float] = {}
        self._reads = Counter(a.storage for accesses in builder.accesses for a in accesses if a.reads)

    def inputs(self, position: int) -> tuple[float, float]:
        """Bytes for left and right of a product; where others read both as well, the part that is its own."""
        (left, of_left), (right, of_right) = self._read(position)[:2]
        return (left / of_left, right / of_right) if min(of_left, of_right) > 1 else (left, right)

    def form(self, position: int) -> None:
        """The operator has run: to form its results again takes its inputs again, which may serve others as well."""
        inputs = sum(size / readers for size, readers in self._read(position))
        for name in {a.storage for a in self._builder.accesses[position] if not a.reads}:
            self._formed[name] = self._formed.get(name, 0.0) + inputs

    def _read(self, position: int) -> list[tuple[float, int]]:
        """Bytes for each input of an operator, and how many read the same."""
        return [(self._bytes(a), self._reads[a.storage]) for a in self._builder.accesses[position] if a.reads]

    def _bytes(self, access: Access) -> float:
        if access.size_bytes <= self._whole:
            return 0.0
        if self._builder.storages[access.storage].from_outside:
            return access.size_bytes
        return min(access.size_bytes, self._formed.get(access.storage, inf))


@dataclass(frozen=True, slots=True)
class _Along:
    """One side of a part: the size of its dimension, and the bytes that come again for each further part along it."""

    size: int
    again: float

    def parts(self, side: float) -> float:
        """Bytes that come again with parts of a side."""
        return self.again * (self.size / side - 1)


def product_again_bytes(problem: MatmulProblem, geometry: Geometry, room: Room, inputs: tuple[float, float]) -> float:
    """Least bytes that come again for a product in so much room; `inputs` are the bytes of left and right once more."""
    sums = 2 * problem.groups * problem.m * problem.n * problem.out_share * problem.partial_bits / BITS_PER_BYTE
    m, k, n = _Along(problem.m, inputs[1]), _Along(problem.k, sums), _Along(problem.n, inputs[0])
    bits = problem.left_bits * problem.left_share, problem.right_bits * problem.right_share, problem.partial_bits * problem.out_share
    rate = geometry.array.rate(problem.dtype)
    assert rate is not None, "only cores that compute the type are asked"
    found = []
    for sides, width, passes in zip(((m, k), (k, n), (m, n)), bits, _passes(geometry.array, rate), strict=True):
        found.append(_least(*sides, room.bytes * BITS_PER_BYTE / width, (inf, inf)))
        if passes is not None:
            area, *box = (room.arrays * x for x in passes)
            found.append(_least(*sides, area, (box[0], box[1])))
    return min(found)


def _least(x: _Along, y: _Along, area: float, box: tuple[float, float]) -> float:
    """The least of what comes again over parts within a box and of at most so many elements, one at least."""
    wide, high = max(1.0, min(x.size, box[0])), max(1.0, min(y.size, box[1]))
    area = max(1.0, area)
    if wide * high > area:
        low, wide = max(1.0, area / high), min(wide, area)
        falling, rising = x.again * x.size, y.again * y.size / area
        best = sqrt(falling / rising) if rising else wide
        wide = min(max(low, best), wide)
        high = area / wide
    return x.parts(wide) + y.parts(high)


@lru_cache(maxsize=256)
def _passes(array: ArrayGeometry, rate: int) -> tuple[tuple[float, float, float] | None, ...]:
    """For left, right and out: (elements, sides) of the largest part that stays in an array for a pass; None where it never stays.

    Sides are in the order (m, k), (k, n), (m, n). Of an array of the long form the largest of each over all ways to use it.
    """
    stays = (Dataflow.INPUT_STATIONARY, (0, 1)), (Dataflow.WEIGHT_STATIONARY, (1, 2)), (Dataflow.OUTPUT_STATIONARY, (0, 2))
    found: list[tuple[float, float, float] | None] = []
    for dataflow, (first, second) in stays:
        used = [flow for flow in flows(array) if dataflow in flow.dataflows]
        sides = [array_sides(flow, dataflow, rate) for flow in used]
        pairs = [(side[first], side[second]) for side in sides]
        if not pairs:
            found.append(None)
            continue
        found.append((max(a * b for a, b in pairs), max(a for a, _ in pairs), max(b for _, b in pairs)))
    return tuple(found)
