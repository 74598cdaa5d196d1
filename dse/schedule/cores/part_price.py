"""Prices the part of a group that one core does: time on the core, bytes from and to outside, memory and energy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, prod
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.frontier_pricing import DRAM_READ, OperatorPricer
from dse.cost.metrics import Objective
from dse.cost.traffic import matmul_ports, vector_ports
from dse.mapping.problem import MatmulProblem
from dse.schedule.cores.charges import KindCharges
from dse.schedule.cores.part_work import placed_part
from dse.schedule.place import frontier_of
from dse.units import BITS_PER_BYTE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dse.cost.frontier_pricing import PricedOperator
    from dse.cost.traffic import Moved
    from dse.hw.read import AcceleratorDescription
    from dse.hw.table import DesignTable
    from dse.mapping.frontier import MatmulMapping
    from dse.schedule.cores.groups import Group, Work
    from dse.schedule.cores.shapes import Shape
    from dse.schedule.place import PlacedOperator
    from dse.schedule.place import Work as PlacedWork

    FloatArray = NDArray[np.float64]

SMALLER_SHARES: Final = (0.5, 0.25, 0.125)
"""Parts of the free memory within which mappings are tried as well: what they leave takes the loads of the next group, and a group that
goes through its work in more tiles passes on its results sooner."""
SMALLER_EXCESS: Final = 0.02
"""The smallest part is taken that costs at most this much more, ..."""
SMALLER_EXCESS_J: Final = 0.1
"""... and at most this much more energy: what is read again takes time of a memory that others wait for."""
STEPS: Final = 64
"""Free memory is rounded down to this many steps of a core's memory, so that equal parts are priced once."""


@dataclass(frozen=True, slots=True)
class PricedOperatorPart:
    """One operator of a part."""

    name: str
    op_type: str
    compute_s: float
    moved: tuple[Moved, ...]
    mapping: MatmulMapping | None
    work: PlacedWork
    counts: FloatArray
    """[1, C + 1]: its footprint, then the columns of `dse.cost.columns`."""


@dataclass(frozen=True, slots=True)
class PricedPart:
    """One part of a group on one core."""

    compute_s: float
    reads: Mapping[str, float]
    """Bytes of each storage that come from outside, read again where the mapping does."""
    writes: Mapping[str, float]
    """Bytes of each storage that go outside, partial sums included."""
    need_bytes: float
    """Memory that the part works in, residents apart."""
    operators: tuple[PricedOperatorPart, ...]
    overlapped_slices: int
    """Slices of which the array works on one while the vector unit works on another; 1 where they take turns."""
    tiles: int
    """Tiles, or steps of the vector unit, in which the operator that loads most goes through its work."""


class KindPricer:
    """Prices parts on cores of one kind."""

    def __init__(self, description: AcceleratorDescription, pricers: dict[PlacedWork, OperatorPricer] | None = None) -> None:
        self.geometry = description.geometry
        clock = description.file.clock_mhz
        # rows: all free memory, and shares of it
        self.table: DesignTable = description.table({"clock_mhz": [clock] * (1 + len(SMALLER_SHARES))})
        self.one: DesignTable = description.table()
        self.clock_hz = float(self.one.clock_hz[0])
        self.lanes = float(self.one.vector_ops_per_cycle[0])
        self.capacity_bytes = float(self.one.buffer_capacity_bytes[0])
        self.charges = KindCharges.of(self.geometry, self.one)
        self._pricers = {} if pricers is None else pricers

    def pricer(self, work: PlacedWork) -> OperatorPricer:
        """The pricer of `work`, made once."""
        if work not in self._pricers:
            self._pricers[work] = OperatorPricer(work, self.geometry)
        return self._pricers[work]


class PartPricer:
    """Prices parts of one graph's groups on the kinds of cores of one chip; every answer is kept."""

    def __init__(
        self,
        work: Work,
        kinds: Mapping[str, KindPricer],
        objective: Objective,
        placed: dict[object, tuple[PlacedOperator, ...]] | None = None,
    ) -> None:
        self.work = work
        self.kinds = kinds
        self.objective = objective
        self._placed = {} if placed is None else placed
        self._priced: dict[object, PricedPart | None] = {}
        self.parts = 0
        """Parts priced so far."""

    def price(
        self, group: Group, shape: Shape, resident: frozenset[str], free_bytes: float, outside_bytes_per_s: float
    ) -> PricedPart | None:
        """The part in `free_bytes` of memory; None where no mapping fits.

        `outside_bytes_per_s` is what the part gets of the way to memories outside; it decides between mappings, no more.

        Raises:
            GraphError: a contraction in a data type that the array cannot compute.
        """
        kind = self.kinds[shape.kind]
        step = kind.capacity_bytes / STEPS
        free = np.floor(free_bytes / step) * step if free_bytes > step else free_bytes
        key = (group.first, group.last, group.cuts, group.held, shape, resident, free, outside_bytes_per_s)
        if key not in self._priced:
            self.parts += 1
            self._priced[key] = self._price(group, shape, resident, float(free), outside_bytes_per_s)
        return self._priced[key]

    def placed(self, group: Group, shape: Shape, resident: frozenset[str]) -> tuple[PlacedOperator, ...]:
        """The operators of a part."""
        key = (group.first, group.last, group.cuts, group.held, shape, resident)
        if key not in self._placed:
            operators, _ = placed_part(self.work, group, shape, self.kinds[shape.kind].geometry, resident)
            self._placed[key] = tuple(_with_partial_sums(o) for o in operators) if shape.reduces else operators
        return self._placed[key]

    def _price(self, group: Group, shape: Shape, resident: frozenset[str], free: float, rate: float) -> PricedPart | None:
        kind = self.kinds[shape.kind]
        if free <= 0:
            return None
        shares = np.array((1.0, *SMALLER_SHARES))
        table = replace(kind.table, buffer_capacity_bytes=free * shares, dram_bytes_per_s=np.full(len(shares), rate))
        found = []
        need = 0.0
        operators = self.placed(group, shape, resident)
        if any(o.work.reserved_bytes > free for o in operators):  # no frontier is needed to know
            return None
        for operator in operators:
            pricer = kind.pricer(operator.work)
            weight = np.full(len(shares), 1.0) if self.objective is Objective.EDP else None  # watts: a joule as a second
            priced = pricer.price(table, self.objective, weight)
            if priced.row[0] < 0:
                return None
            row = int(priced.row[self._least_share(priced)])
            need = max(need, float(pricer.needed_bytes[row]))
            found.append(_priced_operator(operator, pricer, kind, row))
        reads: dict[str, float] = {}
        writes: dict[str, float] = {}
        for o in found:
            for m in o.moved:
                storage = self.work.graph.tensors[m.tensor].storage
                if m.dram_read:
                    reads[storage] = reads.get(storage, 0.0) + m.dram_read
                if m.dram_write:
                    writes[storage] = writes.get(storage, 0.0) + m.dram_write
        slices, need = _overlapped(found, need, free)
        most = max(found, key=lambda o: (sum(m.dram_read for m in o.moved), o.compute_s))
        part = PricedPart(0.0, reads, writes, need, tuple(found), slices, _tiles(most, kind.lanes))
        return replace(part, compute_s=float(kind.charges.part_s(part)[0]))

    def _least_share(self, priced: PricedOperator) -> int:
        """The smallest share of the memory in which an operator costs little more than in all of it."""
        near = (priced.row >= 0) & (priced.latency_s <= priced.latency_s[0] * (1 + SMALLER_EXCESS))
        near &= priced.energy_j <= priced.energy_j[0] * (1 + SMALLER_EXCESS_J)
        if self.objective is Objective.ENERGY:  # to which sooner is nothing
            near = (priced.row >= 0) & (priced.energy_j <= priced.energy_j[0] * (1 + SMALLER_EXCESS))
            near[2:] = False
        return int(np.flatnonzero(near)[-1])


def _overlapped(operators: list[PricedOperatorPart], need: float, free: float) -> tuple[int, float]:
    """Slices, and bytes: of groups in slices the array works on one slice while the vector unit works on another.

    Slices that two operators work on at once take what is held twice. One after the other where that does not fit, or nothing is sliced.
    """
    units = {o.work.dtype is not None for o in operators if o.compute_s}
    slices = max(o.work.slices for o in operators)
    doubled = need + max(o.work.reserved_bytes for o in operators)
    return (1, need) if slices < 2 or doubled > free or len(units) < 2 else (slices, doubled)


def _tiles(operator: PricedOperatorPart, lanes: float) -> int:
    """Steps in which an operator loads and computes, all slices together."""
    problem, mapping = operator.work.problem, operator.mapping
    if mapping is None or not isinstance(problem, MatmulProblem):
        return max(1, ceil(operator.work.vector_ops / lanes))
    sides = ((problem.m, mapping.tile_m), (problem.k, mapping.tile_k), (problem.n, mapping.tile_n))
    return operator.work.slices * ceil(problem.groups / mapping.together) * prod(ceil(size / side) for size, side in sides)


def _with_partial_sums(operator: PlacedOperator) -> PlacedOperator:
    """A contraction whose result stays in the core at the width of partial sums."""
    problem = operator.work.problem
    assert isinstance(problem, MatmulProblem), operator.name
    return replace(operator, work=replace(operator.work, problem=replace(problem, out_bits=problem.partial_bits, out_on_chip=True)))


def _priced_operator(operator: PlacedOperator, pricer: OperatorPricer, kind: KindPricer, row: int) -> PricedOperatorPart:
    work = operator.work
    counts = pricer.counts[row : row + 1]
    mappings = frontier_of(work, kind.geometry).mappings
    mapping = mappings[row] if mappings else None
    moved = matmul_ports(operator, mapping, kind.geometry) if mapping is not None else vector_ports(operator, counts[:, DRAM_READ:])
    part = PricedOperatorPart(operator.name, operator.op_type, 0.0, tuple(moved), mapping, work, counts)
    return replace(part, compute_s=float(kind.charges.operator_s(part)[0]))


def partial_bytes(work: Work, group: Group) -> float:
    """Bytes of the partial sums of a single contraction's whole result."""
    output = group.operators[0].outputs[0]
    bits = max(work.graph.accumulation.stored_bits, work.graph.tensors[output.tensor].dtype.stored_bits)
    return output.elements * bits / BITS_PER_BYTE
