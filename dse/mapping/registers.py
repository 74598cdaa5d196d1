"""What registers beside the MACs hold and move, where a file describes them as a level of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.hw.accelerator import OperandName
from dse.units import BITS_PER_BYTE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.mapping.problem import MatmulProblem
    from dse.mapping.tiles import Sides

    FloatArray = NDArray[np.float64]


def register_bytes(problem: MatmulProblem, held: OperandName) -> float:
    """Bytes of the one element that registers hold, of the operand that stays in the array."""
    bits = {OperandName.LEFT: problem.left_bits, OperandName.RIGHT: problem.right_bits, OperandName.OUT: problem.partial_bits}
    return bits[held] / BITS_PER_BYTE


def register_traffic(
    problem: MatmulProblem, held: OperandName, come: FloatArray, go: FloatArray, k: Sides, rate: int
) -> tuple[FloatArray | float, FloatArray | float]:
    """Bytes read from and written to registers that hold the operand that stays in the array; `come` and `go` are bytes from and to the
    next memory outside.

    A MAC reads an element; what comes writes it. A sum is read and written once per step of its element, `rate` products together, and
    once more whenever it comes or goes. What streams by is not counted.
    """
    width = register_bytes(problem, held)
    if held is not OperandName.OUT:
        return problem.macs * width, come
    steps = (k.count - 1) * -(-k.side // rate) + -(-k.last // rate)
    added = problem.groups * problem.m * problem.n * steps * width
    return added + go, added + come
