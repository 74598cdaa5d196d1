"""Operands that lie whole in the outermost buffer before and after an operator: weights that stay over steps, results of the one before."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dse.cost.capacity import Infeasibility
from dse.hw.accelerator import OperandName

if TYPE_CHECKING:
    from dse.hw.accelerator import Geometry
    from dse.hw.table import DesignTable
    from dse.mapping.problem import MatmulProblem


def resident_bytes(problem: MatmulProblem) -> tuple[tuple[OperandName, float], ...]:
    """(operand, bytes) of the operands that lie whole on chip, all groups."""
    found = (
        (OperandName.LEFT, problem.left_on_chip, problem.left_bytes),
        (OperandName.RIGHT, problem.right_on_chip, problem.right_bytes),
        (OperandName.OUT, problem.out_on_chip, problem.out_bytes),
    )
    return tuple((name, size) for name, resident, size in found if resident)


def room_beside(problem: MatmulProblem, geometry: Geometry, table: DesignTable, *, buffer: str = "buffer") -> DesignTable | Infeasibility:
    """`table`, whose first design point is looked at, with what residents leave of the outermost buffer, or that it cannot hold them;
    `buffer` is its name. Where operands have shares of the capacity each resident lies in its own.
    """
    residents, shares = resident_bytes(problem), dict(geometry.outer.capacity_shares)
    if not residents:
        return table
    have = float(table.buffer_capacity_bytes[0])
    taken = tuple((str(name), size / shares.get(name, 1.0)) for name, size in residents)
    need = max(size for _, size in taken) if shares else sum(size for _, size in taken)
    if need > have:
        levers = (f"enlarge memories.{buffer}.capacity_kib", "keep fewer operands on chip")
        return Infeasibility.of(f"{buffer} capacity", need, have, contributors=taken, levers=levers)
    return table if shares else replace(table, buffer_capacity_bytes=table.buffer_capacity_bytes - need)
