"""What registers beside the MACs hold and move, where a file describes them as a level of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.hw.accelerator import Dataflow, OperandName
from dse.units import BITS_PER_BYTE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.hw.accelerator import Geometry
    from dse.mapping.counts import OperandTraffic
    from dse.mapping.matmul import TileGrid
    from dse.mapping.problem import MatmulProblem

    FloatArray = NDArray[np.float64]

_HELD = {
    Dataflow.WEIGHT_STATIONARY: OperandName.RIGHT,
    Dataflow.INPUT_STATIONARY: OperandName.LEFT,
    Dataflow.OUTPUT_STATIONARY: OperandName.OUT,
}


def register_counts(
    problem: MatmulProblem,
    geometry: Geometry,
    grid: TileGrid,
    traffic: tuple[OperandTraffic, OperandTraffic, OperandTraffic],
    *,
    dataflow: Dataflow,
    rate: int,
) -> FloatArray | None:
    """[R, 3 L]: footprint, bytes read and written of each registers level; None where there is none.

    Registers hold one element of the operand that stays in the array, if they may; what streams by is not counted. A MAC reads the
    element; a fill of the array writes it. A sum is read and written once per step of its element, `rate` products together, and
    comes and goes as often as the array asks.
    """
    if not geometry.inner:
        return None
    held = _HELD[dataflow]
    shape = np.broadcast_shapes(grid.m.count.shape, grid.k.count.shape, grid.n.count.shape)
    columns: list[FloatArray] = []
    for level in geometry.inner:
        if held not in level.operands:
            found: tuple[FloatArray | float, ...] = (0.0, 0.0, 0.0)
        elif held is OperandName.OUT:
            found = _sums(problem, grid, traffic[2], rate)
        else:
            found = _inputs(problem, traffic[0 if held is OperandName.LEFT else 1], held)
        columns += [np.broadcast_to(np.asarray(c, dtype=np.float64), shape).ravel() for c in found]
    return np.stack(columns, axis=1)


def _inputs(problem: MatmulProblem, moved: OperandTraffic, held: OperandName) -> tuple[FloatArray | float, ...]:
    width = (problem.left_bits if held is OperandName.LEFT else problem.right_bits) / BITS_PER_BYTE
    crossed = np.where(moved.buffer_read_bytes > 0, moved.buffer_read_bytes, moved.dram_read_bytes)
    return width, problem.macs * width, crossed


def _sums(problem: MatmulProblem, grid: TileGrid, moved: OperandTraffic, rate: int) -> tuple[FloatArray | float, ...]:
    width = problem.partial_bits / BITS_PER_BYTE
    steps = (grid.k.count - 1) * -(-grid.k.side // rate) + -(-grid.k.last // rate)
    added = problem.groups * problem.m * problem.n * steps * width
    kept = moved.buffer_write_bytes > 0
    arrived = np.where(kept, moved.buffer_read_bytes - moved.dram_write_bytes, moved.dram_read_bytes)
    left = np.where(kept, moved.buffer_write_bytes - moved.dram_read_bytes, moved.dram_write_bytes)
    return width, np.asarray(added + left, dtype=np.float64), np.asarray(added + arrived, dtype=np.float64)
