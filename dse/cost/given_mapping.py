"""What one mapping given from outside costs on one design point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.cost.capacity import Infeasibility
from dse.cost.one_operator import mapped_product
from dse.cost.residents import resident_bytes, room_beside
from dse.cost.row_prices import count_columns, prices
from dse.cost.shortage import shortage
from dse.mapping.one_mapping import traffic_of
from dse.mapping.space import block_of

if TYPE_CHECKING:
    from dse.cost.one_operator import MappedProduct
    from dse.hw.accelerator import Geometry
    from dse.hw.table import DesignTable
    from dse.mapping.frontier import MatmulMapping
    from dse.mapping.problem import MatmulProblem


def cost_mapping(
    problem: MatmulProblem, geometry: Geometry, table: DesignTable, mapping: MatmulMapping, *, buffer: str = "buffer"
) -> MappedProduct | Infeasibility:
    """`mapping` as it is at the first design point of `table`, or the memory that cannot hold its tiles; `buffer` is that one's name.

    DRAM must hold the operands (`too_large`).
    """
    block = block_of(problem, mapping.used(geometry), mapping)
    room = room_beside(problem, geometry, table, buffer=buffer)
    why = room if isinstance(room, Infeasibility) else shortage(block, table, buffer=buffer, residents=resident_bytes(problem))
    if why is not None:
        return why
    _, counts = traffic_of(block)
    columns = count_columns(counts.matrix())
    latency, energy = prices(problem, geometry, table, columns[:, 1:])
    return mapped_product(problem, geometry, table, (mapping, columns[0], float(latency[0]), float(energy[0])))
