"""One matrix product on one design point: the best mapping for an objective, its lower bounds, and what would make it faster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dse.cost.best_mapping import best_mapping
from dse.cost.borders import borders, inside_bytes, least_bytes_over
from dse.cost.capacity import Infeasibility
from dse.cost.columns import ARRAY, BUFFER_READ, BUFFER_WRITE, DRAM_READ, DRAM_WRITE, counts_per_second, stages
from dse.cost.residents import resident_bytes, room_beside
from dse.cost.row_prices import MapObjective, count_columns, overhead_s, prices
from dse.units import JOULES_PER_PJ

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dse.cost.borders import Border
    from dse.hw.accelerator import Geometry
    from dse.hw.table import DesignTable
    from dse.mapping.matmul import MatmulMapping
    from dse.mapping.problem import MatmulProblem

    FloatArray = NDArray[np.float64]

__all__ = ("MapObjective", "MappedProduct", "count_columns", "fitting", "map_product", "mapped_product", "prices", "too_large")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Lower bounds that no mapping of the product can beat on this design point."""

    dram_bytes: float
    energy_pj: float
    latency_s: float


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
    borders: tuple[Border, ...]
    """Bytes over each border between levels against the least there."""
    counted: int
    """Mappings that were counted to find it: floors say that no other is better; 0 for a mapping given from outside."""

    @property
    def dram_bytes(self) -> float:
        """Read and written."""
        return float(self.counts[1 + DRAM_READ] + self.counts[1 + DRAM_WRITE])


def too_large(problem: MatmulProblem, table: DesignTable) -> Infeasibility | None:
    """None where DRAM holds the operands."""
    parts = (("left", problem.left_bytes), ("right", problem.right_bytes), ("out", problem.out_bytes))
    need, have = sum(size for _, size in parts), float(table.dram_capacity_bytes[0])
    if need <= have:
        return None
    levers = ("enlarge capacity_gib of the DRAM", "use fewer bits or smaller sizes")
    return Infeasibility.of("dram_capacity", need, have, contributors=parts, levers=levers)


def map_product(
    problem: MatmulProblem, geometry: Geometry, table: DesignTable, objective: MapObjective, *, buffer: str = "buffer"
) -> MappedProduct | Infeasibility:
    """The best mapping at the first design point of `table`, or the memory on chip that is too small for every mapping; DRAM must hold
    the operands (`too_large`), the outermost buffer, of this name, those that are on chip.

    The least of the objective over the whole space (`best_mapping`), ties by the second criterion. A shade of the objective never costs a
    multiple of the other of latency and energy.
    """
    room = room_beside(problem, geometry, table, buffer=buffer)
    best = room if isinstance(room, Infeasibility) else best_mapping(problem, geometry, room, objective)
    if isinstance(best, Infeasibility):
        return best
    return mapped_product(problem, geometry, table, (best.mapping, best.counts, best.latency_s, best.energy_pj), best.counted)


def fitting(found: MappedProduct | Infeasibility) -> MappedProduct:
    """The result where it is known that some mapping fits."""
    assert not isinstance(found, Infeasibility), found
    return found


def mapped_product(
    problem: MatmulProblem,
    geometry: Geometry,
    table: DesignTable,
    chosen: tuple[MatmulMapping, FloatArray, float, float],
    counted: int = 0,
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
        borders=borders(problem, geometry, table, mapping),
        counted=counted,
    )


def busy_s(geometry: Geometry, table: DesignTable, moved: FloatArray) -> dict[str, float]:
    """Seconds that each resource is busy with the counts [C]."""
    rates = counts_per_second(geometry, table)[:, 0]
    every = (b for stage in stages(geometry) for b in stage.resources)
    return {b.name: float(sum(moved[c] for c in b.columns) / rates[b.columns[0]]) for b in every}


def lower_bounds(problem: MatmulProblem, geometry: Geometry, table: DesignTable) -> Bounds:
    """Bounds on DRAM traffic, energy and latency at the first design point (facts: decision 0010).

    Traffic: compulsory bytes, or `2 M N K / sqrt(S) - 2 S` elements of the narrowest width with everything on chip counted in S,
    array registers included. Energy: MACs, this traffic, and what must cross each border inside beyond it: that of everything inside the
    outermost buffer, at the cheapest port of buffer and DRAM, and that of the array, at the cheapest port of all.
    Latency: MACs at peak or this traffic at peak, plus overheads.

    What lies on chip need not come from DRAM or go there: a mapping could load or store it once and do the rest as it does with it there,
    so the bound on traffic is less by its bytes.
    """
    array = geometry.array
    rate = array.rate(problem.dtype)
    assert rate is not None
    inside, below, known = inside_bytes(problem, geometry, table)
    residents = dict(resident_bytes(problem))
    resident = sum(residents.values())
    out = 0.0 if problem.out_on_chip else problem.out_bytes
    inputs = problem.left_bytes + problem.right_bytes + problem.out_bytes - resident - out
    compulsory = inputs + out
    dram = max(compulsory, least_bytes_over(problem, inside) - resident)
    read, write = float(table.dram_read_pj_per_byte[0]), float(table.dram_write_pj_per_byte[0])
    energy = inputs * read + out * write + (dram - compulsory) * min(read, write)
    inner = [m for m, g in zip(table.inner, geometry.inner, strict=True) if not g.registers]
    outside = min(read, write, float(table.buffer_read_pj_per_byte[0]), float(table.buffer_write_pj_per_byte[0]))
    nearest = min([outside, *(float(p[0]) for m in inner for p in (m.read_pj_per_byte, m.write_pj_per_byte))])
    into_inner, into_array = least_bytes_over(problem, below), least_bytes_over(problem, known)
    energy += max(0.0, into_inner - dram) * outside + max(0.0, into_array - max(into_inner, dram)) * nearest
    peak = array.elements * rate * float(table.clock_hz[0])
    latency = max(problem.macs / peak, dram * (1.0 / float(table.dram_bytes_per_s[0]))) + overhead_s(table)
    compute = problem.macs * float(table.mac_pj[problem.dtype][0])
    return Bounds(dram, compute + energy + float(table.leakage_w[0]) * latency / JOULES_PER_PJ, latency)


COUNT_KEYS: Final = {
    "dram_read_bytes": DRAM_READ,
    "dram_write_bytes": DRAM_WRITE,
    "buffer_read_bytes": BUFFER_READ,
    "buffer_write_bytes": BUFFER_WRITE,
    "array_cycles": ARRAY,
}
