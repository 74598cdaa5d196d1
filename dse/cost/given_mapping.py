"""What one mapping given from outside costs on one design point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.cost.one_operator import TooLarge, mapped_product
from dse.cost.row_prices import count_columns, prices
from dse.mapping.counts import INNER_COLUMNS
from dse.mapping.given import counts_of_mapping

if TYPE_CHECKING:
    from dse.cost.one_operator import MappedProduct
    from dse.hw.accelerator import Geometry
    from dse.hw.table import DesignTable
    from dse.mapping.frontier import MatmulMapping
    from dse.mapping.problem import MatmulProblem


def cost_mapping(
    problem: MatmulProblem, geometry: Geometry, table: DesignTable, mapping: MatmulMapping, *, buffer: str = "buffer"
) -> MappedProduct | TooLarge:
    """`mapping` as it is at the first design point of `table`, or the memory that cannot hold its tiles; `buffer` is that one's name.

    DRAM must hold the operands (`too_large`).
    """
    traffic, counts = counts_of_mapping(problem, geometry, mapping)
    need, have = float(counts.footprint_bytes[0]), float(table.buffer_capacity_bytes[0])
    if need > have:
        parts = tuple((n, float(t.footprint_bytes.ravel()[0])) for n, t in zip(("left", "right", "out"), traffic, strict=True))
        levers = (f"enlarge memories.{buffer}.capacity_kib", "shrink a tile's step, or keep fewer operands")
        return TooLarge(f"{buffer} capacity", need, have, tuple(p for p in parts if p[1]), levers)
    for i, memory in enumerate(table.inner):
        assert counts.inner is not None
        need, have = float(counts.inner[0, INNER_COLUMNS * i]), float(memory.capacity_bytes[0])
        if need > have:
            return TooLarge(f"{memory.name} capacity", need, have, (), (f"enlarge memories.{memory.name}", "use fewer bits"))
    columns = count_columns(counts.matrix())
    latency, energy = prices(problem, geometry, table, columns[:, 1:])
    return mapped_product(problem, geometry, table, (mapping, columns[0], float(latency[0]), float(energy[0])))
