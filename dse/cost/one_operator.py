"""One matrix product on one design point: the best mapping for an objective, its lower bounds, and what would make it faster."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.columns import (
    ARRAY,
    BUFFER_READ,
    BUFFER_WRITE,
    DRAM_READ,
    DRAM_WRITE,
    busy_latency_s,
    counts_per_second,
    pj_per_count,
    stages,
)
from dse.errors import InfeasibleError
from dse.mapping.cache import cached_frontier
from dse.mapping.counts import COUNT_NAMES, INNER_COLUMNS
from dse.mapping.frontier import MatmulMapping, every_mapping
from dse.mapping.two_level import gemm_lower_bound_elements
from dse.units import BITS_PER_BYTE, BYTES_PER_GIB, BYTES_PER_KIB, JOULES_PER_PJ

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.hw.accelerator import Geometry
    from dse.hw.table import DesignTable
    from dse.mapping.counts import Counts
    from dse.mapping.problem import MatmulProblem

    FloatArray = NDArray[np.float64]

EQUAL: Final = 1e-9
"""Relative difference below which two mappings tie and the second criterion decides."""
SHADE: Final = 5e-4
"""A mapping this much worse in the objective, relative, is taken where it is `MULTIPLE` times better in the other of latency and energy."""
MULTIPLE: Final = 2.0
MOST_PRICED: Final = 40_000_000
"""Mappings of which those that fit are priced one by one where a frontier was thinned; some 5 s."""


class MapObjective(StrEnum):
    """What the mapping minimises; ties go to energy, then latency (with energy: to latency)."""

    LATENCY = "latency"
    ENERGY = "energy"
    EDP = "edp"
    DRAM_BYTES = "dram_bytes"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Lower bounds that no mapping of the product can beat on this design point."""

    dram_bytes: float
    energy_pj: float
    latency_s: float


@dataclass(frozen=True, slots=True)
class TooLarge:
    """Why a product cannot run: a memory, what it would have to hold and what it holds, and who takes how much."""

    resource: str
    demand_bytes: float
    bound_bytes: float
    contributors: tuple[tuple[str, float], ...]
    levers: tuple[str, ...]

    @property
    def message(self) -> str:
        """In words."""
        unit, size_of = ("GiB", BYTES_PER_GIB) if self.bound_bytes >= BYTES_PER_GIB else ("KiB", BYTES_PER_KIB)
        parts = ", ".join(f"{name} {size / size_of:.4g} {unit}" for name, size in self.contributors)
        need, have = self.demand_bytes / size_of, self.bound_bytes / size_of
        return f"{self.resource}: needs {need:.4g} {unit} ({parts}), holds {have:.4g} {unit}; {'; or '.join(self.levers)}"


@dataclass(frozen=True)
class MappedProduct:
    """The best mapping of one product on one design point."""

    mapping: MatmulMapping
    counts: FloatArray
    """[1 + C]: footprint in the outermost buffer, then the columns of `dse.cost.columns`."""
    latency_s: float
    energy_pj: float
    busy_s: dict[str, float]
    """Busy time by resource, the busiest first."""
    bounds: Bounds
    frontier_rows: int
    excess: float

    @property
    def dram_bytes(self) -> float:
        """Read and written."""
        return float(self.counts[1 + DRAM_READ] + self.counts[1 + DRAM_WRITE])


def too_large(problem: MatmulProblem, table: DesignTable) -> TooLarge | None:
    """None where DRAM holds the operands."""
    parts = (("left", problem.left_bytes), ("right", problem.right_bytes), ("out", problem.out_bytes))
    need, have = sum(size for _, size in parts), float(table.dram_capacity_bytes[0])
    if need <= have:
        return None
    return TooLarge("dram_capacity", need, have, parts, ("enlarge capacity_gib of the DRAM", "use fewer bits or smaller sizes"))


def map_product(problem: MatmulProblem, geometry: Geometry, table: DesignTable, objective: MapObjective) -> MappedProduct:
    """The best mapping at the first design point of `table`; DRAM must hold the operands (`too_large`).

    Every mapping of the frontier that fits is priced; the least of the objective is taken, ties within `EQUAL` go to the
    second criterion. A shade (`SHADE`) of the objective never costs a multiple of the other of latency and energy.

    Raises:
        InfeasibleError: registers cannot hold one element.
    """
    frontier = cached_frontier(problem, geometry)
    rows = _fitting(frontier.counts, table)
    if frontier.excess:
        found = _best_of_all(problem, geometry, table, objective)
        if found is not None:
            return replace(found, frontier_rows=len(frontier))
    counts = count_columns(frontier.counts.matrix()[rows])
    latency, energy = prices(problem, geometry, table, counts[:, 1:])
    pick = _choose(latency, energy, _dram_bytes(counts), objective)
    chosen = (frontier.mappings[rows[pick]], counts[pick], float(latency[pick]), float(energy[pick]))
    return mapped_product(problem, geometry, table, chosen, len(frontier), frontier.excess)


def _best_of_all(problem: MatmulProblem, geometry: Geometry, table: DesignTable, objective: MapObjective) -> MappedProduct | None:
    """As `map_product`, from every mapping of the space where the frontier was thinned; None where there are too many."""
    near: list[tuple[MatmulMapping, FloatArray, float, float]] = []
    capacities = (float(table.buffer_capacity_bytes[0]), *(float(memory.capacity_bytes[0]) for memory in table.inner))
    for counts, describe in every_mapping(problem, geometry, most=MOST_PRICED, capacities=capacities):
        fits = np.ones(len(counts), dtype=np.bool_)
        for i, memory in enumerate(table.inner):
            assert counts.inner is not None
            fits &= counts.inner[:, INNER_COLUMNS * i] <= memory.capacity_bytes[0]  # registers, which hold no tile
        rows = np.flatnonzero(fits)
        if not len(rows):
            continue
        columns = count_columns(counts.take(rows).matrix())
        latency, energy = prices(problem, geometry, table, columns[:, 1:])
        dram = _dram_bytes(columns)
        first, second = _criteria(latency, energy, dram, objective)
        picks = {_least(first, second, tolerance) for tolerance in (0.0, EQUAL, SHADE)}
        near += [(describe(int(rows[i])), columns[i], float(latency[i]), float(energy[i])) for i in sorted(picks)]
    if not near:
        return None
    pick = _choose(np.array([x[2] for x in near]), np.array([x[3] for x in near]), _dram_bytes(np.array([x[1] for x in near])), objective)
    return mapped_product(problem, geometry, table, near[pick], 0, 0.0)


def mapped_product(
    problem: MatmulProblem,
    geometry: Geometry,
    table: DesignTable,
    chosen: tuple[MatmulMapping, FloatArray, float, float],
    rows: int,
    excess: float,
) -> MappedProduct:
    """`chosen` (mapping, counts [1 + C], seconds, picojoules) with what stands beside it."""
    mapping, counts, latency_s, energy_pj = chosen
    busy = busy_s(geometry, table, counts[1:])
    return MappedProduct(
        mapping=mapping,
        counts=counts,
        latency_s=latency_s,
        energy_pj=energy_pj,
        busy_s=dict(sorted(busy.items(), key=lambda item: (-item[1], item[0]))),
        bounds=lower_bounds(problem, geometry, table),
        frontier_rows=rows,
        excess=excess,
    )


def count_columns(everything: FloatArray) -> FloatArray:
    """A matrix of `Counts` [R, 6 + 3 L] without the footprints of inner memories, [R, 6 + 2 L]."""
    rows = len(everything)
    inner = everything[:, len(COUNT_NAMES) :].reshape(rows, -1, INNER_COLUMNS)[:, :, 1:].reshape(rows, -1)
    return np.concatenate((everything[:, : len(COUNT_NAMES)], inner), axis=1)


def _dram_bytes(counts: FloatArray) -> FloatArray:
    return np.asarray(counts[:, 1 + DRAM_READ] + counts[:, 1 + DRAM_WRITE])


def _fitting(counts: Counts, table: DesignTable) -> NDArray[np.int64]:
    fits = counts.footprint_bytes <= table.buffer_capacity_bytes[0]
    for i, memory in enumerate(table.inner):
        assert counts.inner is not None
        need = counts.inner[:, INNER_COLUMNS * i]
        if not (fits & (need <= memory.capacity_bytes[0])).any():
            raise InfeasibleError(
                f"{memory.name}: needs {need[fits].min():g} bytes for one element, holds {memory.capacity_bytes[0]:g}; "
                f"enlarge memories.{memory.name}.capacity_bytes or use fewer bits"
            )
        fits &= need <= memory.capacity_bytes[0]
    return np.flatnonzero(fits)


def prices(problem: MatmulProblem, geometry: Geometry, table: DesignTable, moved: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Seconds and picojoules [R] of count rows [R, C] at the first design point."""
    rates = counts_per_second(geometry, table)[:, :1]
    latency = busy_latency_s(geometry, moved, 1.0 / rates)[:, 0] + overhead_s(table)
    compute = problem.macs * float(table.mac_pj[problem.dtype][0])
    energy = moved @ pj_per_count(geometry, table)[:, 0] + compute + float(table.leakage_w[0]) * latency / JOULES_PER_PJ
    return latency, energy


def overhead_s(table: DesignTable) -> float:
    """Launch and first access to DRAM."""
    return float(table.launch_latency_s[0] + table.dram_latency_s[0])


def busy_s(geometry: Geometry, table: DesignTable, moved: FloatArray) -> dict[str, float]:
    """Seconds that each resource is busy with the counts [C]."""
    rates = counts_per_second(geometry, table)[:, 0]
    every = (b for stage in stages(geometry) for b in stage.resources)
    return {b.name: float(sum(moved[c] for c in b.columns) / rates[b.columns[0]]) for b in every}


def _choose(latency: FloatArray, energy: FloatArray, dram: FloatArray, objective: MapObjective) -> int:
    first, second = _criteria(latency, energy, dram, objective)
    pick = _least(first, second, EQUAL)
    if objective in (MapObjective.LATENCY, MapObjective.ENERGY):
        cheaper = _least(first, second, SHADE)
        if second[cheaper] * MULTIPLE < second[pick]:
            return cheaper
    return pick


def _criteria(latency: FloatArray, energy: FloatArray, dram: FloatArray, objective: MapObjective) -> tuple[FloatArray, FloatArray]:
    """What is minimised, and what decides between ties."""
    return {
        MapObjective.LATENCY: (latency, energy),
        MapObjective.ENERGY: (energy, latency),
        MapObjective.EDP: (latency * energy, energy),
        MapObjective.DRAM_BYTES: (dram, energy),
    }[objective]


def _least(first: FloatArray, second: FloatArray, tolerance: float) -> int:
    near = first <= first.min() * (1 + tolerance)
    return int(np.lexsort((first, np.where(near, second, np.inf)))[0])


def lower_bounds(problem: MatmulProblem, geometry: Geometry, table: DesignTable) -> Bounds:
    """Bounds on DRAM traffic, energy and latency at the first design point (facts: decision 0010).

    Traffic: compulsory bytes, or `2 M N K / sqrt(S) - 2 S` elements of the narrowest width with everything on chip counted in S,
    array registers included. Energy: MACs, this traffic, and what must cross each border inside beyond it: that of everything inside the
    outermost buffer, at the cheapest port of buffer and DRAM, and that of the array, at the cheapest port of all.
    Latency: MACs at peak or this traffic at peak, plus overheads.
    """
    array = geometry.array
    rate = array.rate(problem.dtype)
    assert rate is not None
    registers = array.elements * rate * (problem.left_bits + problem.right_bits + problem.partial_bits) / BITS_PER_BYTE
    inside = registers + float(table.buffer_capacity_bytes[0])
    inside += sum(float(m.capacity_bytes[0]) * g.instances for m, g in zip(table.inner, geometry.inner, strict=True))
    compulsory = problem.left_bytes + problem.right_bytes + problem.out_bytes
    dram = max(compulsory, _least_bytes(problem, inside))
    read, write = float(table.dram_read_pj_per_byte[0]), float(table.dram_write_pj_per_byte[0])
    energy = (problem.left_bytes + problem.right_bytes) * read + problem.out_bytes * write + (dram - compulsory) * min(read, write)
    held = sum(float(m.capacity_bytes[0]) * g.instances for m, g in zip(table.inner, geometry.inner, strict=True) if g.registers)
    inner = [m for m, g in zip(table.inner, geometry.inner, strict=True) if not g.registers]
    known = registers + held
    below = known + sum(float(m.capacity_bytes[0]) for m in inner)
    outside = min(read, write, float(table.buffer_read_pj_per_byte[0]), float(table.buffer_write_pj_per_byte[0]))
    nearest = min([outside, *(float(p[0]) for m in inner for p in (m.read_pj_per_byte, m.write_pj_per_byte))])
    into_inner, into_array = _least_bytes(problem, below), _least_bytes(problem, known)
    energy += max(0.0, into_inner - dram) * outside + max(0.0, into_array - max(into_inner, dram)) * nearest
    peak = array.elements * rate * float(table.clock_hz[0])
    latency = max(problem.macs / peak, dram * (1.0 / float(table.dram_bytes_per_s[0]))) + overhead_s(table)
    compute = problem.macs * float(table.mac_pj[problem.dtype][0])
    return Bounds(dram, compute + energy + float(table.leakage_w[0]) * latency / JOULES_PER_PJ, latency)


def _least_bytes(problem: MatmulProblem, inside_bytes: float) -> float:
    """Bytes that cross a boundary with `inside_bytes` behind it; groups move at least as much as one of them."""
    if min(problem.left_share, problem.right_share, problem.out_share) < 1.0:
        return 0.0  # the bound is that of a matrix product whose loops meet each element in one row or column
    width = min(problem.left_bits, problem.right_bits, problem.out_bits, problem.partial_bits) / BITS_PER_BYTE
    elements = gemm_lower_bound_elements(problem.m, problem.k, problem.n, int(inside_bytes / width))
    return float(elements * width)


COUNT_KEYS: Final = {
    "dram_read_bytes": DRAM_READ,
    "dram_write_bytes": DRAM_WRITE,
    "buffer_read_bytes": BUFFER_READ,
    "buffer_write_bytes": BUFFER_WRITE,
    "array_cycles": ARRAY,
}
