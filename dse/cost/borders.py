"""Bytes that one mapping moves over each border between levels of memory, and the least that any mapping must move there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dse.cost.residents import resident_bytes
from dse.mapping.blocks import NAMES
from dse.mapping.crossings import OUTERMOST, moved
from dse.mapping.space import block_of
from dse.mapping.two_level import gemm_lower_bound_elements
from dse.units import BITS_PER_BYTE

if TYPE_CHECKING:
    from dse.hw.accelerator import Geometry
    from dse.hw.table import DesignTable
    from dse.mapping.matmul import MatmulMapping
    from dse.mapping.problem import MatmulProblem

BORDERS: Final = ("dram", "buffer", "array")
"""Between DRAM and chip; between the outermost buffer, with DRAM, and all inside it; between all memories and the array."""


@dataclass(frozen=True, slots=True)
class Border:
    """What crosses one border, both ways; data that goes to several places at once counts once."""

    name: str
    moved_bytes: float
    least_bytes: float
    """No mapping moves less there (`least_bytes_over`)."""

    @property
    def ratio(self) -> float:
        """At least 1; 1 where nothing has to cross and nothing does."""
        return self.moved_bytes / self.least_bytes if self.least_bytes else 1.0


def inside_bytes(problem: MatmulProblem, geometry: Geometry, table: DesignTable) -> tuple[float, float, float]:
    """Bytes that fit inside each of `BORDERS`: array and its registers, with inner buffers, with the outermost one."""
    array = geometry.array
    rate = array.rate(problem.dtype)
    assert rate is not None
    known = array.elements * rate * (problem.left_bits + problem.right_bits + problem.partial_bits) / BITS_PER_BYTE
    levels = [(g.registers, float(m.capacity_bytes[0]) * g.instances) for m, g in zip(table.inner, geometry.inner, strict=True)]
    known += sum(size for registers, size in levels if registers)
    below = known + sum(size for registers, size in levels if not registers)
    return below + float(table.buffer_capacity_bytes[0]), below, known


def least_bytes_over(problem: MatmulProblem, inside: float) -> float:
    """Bytes that cross a border with `inside` bytes behind it whatever the mapping: `2 M N K / sqrt(S) - 2 S` elements of the narrowest
    width (decision 0010); groups move at least as much as one of them."""
    if min(problem.left_share, problem.right_share, problem.out_share) < 1.0:
        return 0.0  # the bound is that of a matrix product whose loops meet each element in one row or column
    width = min(problem.left_bits, problem.right_bits, problem.out_bits, problem.partial_bits) / BITS_PER_BYTE
    return float(gemm_lower_bound_elements(problem.m, problem.k, problem.n, int(inside / width)) * width)


def borders(problem: MatmulProblem, geometry: Geometry, table: DesignTable, mapping: MatmulMapping) -> tuple[Border, ...]:
    """Every border of one mapping. Sums that several arrays share are counted as if one array had them: a lower figure."""
    block = block_of(problem, mapping.used(geometry), mapping)
    crossed = dict.fromkeys(BORDERS, 0.0)
    for position, name in enumerate(NAMES):
        home = block.homes[position]
        found = moved(block.view.problem, name, block.trips(position), home)
        over = float((found.dram_read + found.dram_write).item())
        crossed["dram"] += over
        if found.resident is not None:
            over = float((found.resident[0] + found.resident[1]).item()) - over
        elif home.tiles and home.tiles[0][1] == OUTERMOST:
            over = float((found.tiles[0][0] + found.tiles[0][1]).item()) - over
        crossed["buffer"] += over
        crossed["array"] += float((found.to_array + found.from_array).item())
    compulsory = problem.left_bytes + problem.right_bytes + problem.out_bytes
    inside = dict(zip(BORDERS, inside_bytes(problem, geometry, table), strict=True))
    least = {name: max(compulsory, least_bytes_over(problem, inside[name])) for name in BORDERS}
    least["dram"] -= sum(size for _, size in resident_bytes(problem))
    return tuple(Border(name, crossed[name], least[name]) for name in BORDERS)
