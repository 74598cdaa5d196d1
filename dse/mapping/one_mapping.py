"""What each operand of one mapping moves and takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.mapping.blocks import NAMES
from dse.mapping.counts import OperandTraffic, counts_of
from dse.mapping.crossings import OUTERMOST, moved

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.mapping.blocks import Block
    from dse.mapping.counts import Counts

    FloatArray = NDArray[np.float64]


def traffic_of(block: Block) -> tuple[tuple[OperandTraffic, OperandTraffic, OperandTraffic], Counts]:
    """Traffic of left, right and out of the product itself, and counts, of the first mapping of a block, arrays [1]."""
    zero = np.zeros(1, dtype=np.int64)
    at = (zero, zero, zero)
    found = []
    for position, name in enumerate(NAMES):
        home = block.homes[position]
        x = moved(block.view.problem, name, block.trips_at(position, at), home)
        nothing: FloatArray = np.zeros(1)
        near, far = [nothing] * 3, [nothing] * 3  # footprint, read and written inside the outermost buffer and in it
        for memory, size in block.footprint(position, at):
            here = far if memory == OUTERMOST else near
            here[0] = here[0] + size
        for (_, memory), (read, written) in zip(home.tiles, x.tiles, strict=True):
            here = far if memory == OUTERMOST else near
            here[1:] = [here[1] + read, here[2] + written]
        if x.resident is not None:
            far[1:] = [a + b for a, b in zip(far[1:], x.resident, strict=True)]
        found.append(OperandTraffic(far[0], x.dram_read, x.dram_write, far[1], far[2], *near))
    left, right, out = found
    return ((right, left, out) if block.view.transposed else (left, right, out)), counts_of(block.rows(at))
