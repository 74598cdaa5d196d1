"""Frontiers for one design point: what its prices say of the counts of mappings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.columns import ARRAY, counts_per_second, pj_per_count, stages
from dse.hw.accelerator import PointPrices
from dse.mapping.blocks import FOOTPRINT
from dse.mapping.counts import COUNT_NAMES, INNER_COLUMNS
from dse.mapping.residence import residence

if TYPE_CHECKING:
    from dse.hw.accelerator import Geometry
    from dse.hw.table import DesignTable

DEEP: Final = 2
"""Tiles of an operand at a time up to which frontiers have what any price could prefer."""


def at_point(geometry: Geometry, table: DesignTable) -> Geometry:
    """`geometry` for what is only priced at the first design point of `table`, where an operand may have three tiles or more; else
    `geometry` itself.
    """
    return geometry if residence(geometry).levels <= DEEP else replace(geometry, point=point_prices(geometry, table))


def point_prices(geometry: Geometry, table: DesignTable) -> PointPrices:
    """What mappings are compared by at the first design point of `table`.

    Criteria are room in the outermost buffer, energy, the busiest of the array and the memories next to it, each port of the outermost
    buffer, and DRAM: a latency is made of these by sums and maxima, whether operators run one after another or beside each other. Of
    operators that run beside each other the array and the memories next to it are taken as one.
    """
    columns = [c for c in range(len(COUNT_NAMES)) if c != FOOTPRINT]
    columns += [len(COUNT_NAMES) + INNER_COLUMNS * i + j for i in range(len(geometry.inner)) for j in (1, 2)]
    seconds = 1.0 / counts_per_second(geometry, table)[:, 0]
    terms, criterion = [pj_per_count(geometry, table)[:, 0]], [0]
    for stage in stages(geometry):
        near = any(ARRAY in busy.columns for busy in stage.resources)
        for number, busy in enumerate(stage.resources):
            terms.append(np.isin(np.arange(len(columns)), busy.columns) * seconds[busy.columns[0]])
            criterion.append(criterion[-1] + (not near or number == 0))
    wide = np.zeros((len(terms), len(COUNT_NAMES) + INNER_COLUMNS * len(geometry.inner)))
    wide[:, columns] = np.stack(terms)
    capacities = (float(table.buffer_capacity_bytes[0]), *(float(memory.capacity_bytes[0]) for memory in table.inner))
    return PointPrices(tuple(map(tuple, wide.tolist())), tuple(criterion), capacities)
