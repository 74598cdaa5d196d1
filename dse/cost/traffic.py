"""Bytes that each tensor moves while one placed operator runs, in and out of DRAM and the outermost buffer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.cost.frontier_pricing import BUFFER_READ, DRAM_READ
from dse.mapping.frontier import mapping_traffic
from dse.mapping.problem import MatmulProblem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.hw.accelerator import Geometry
    from dse.ir.tensor import Role
    from dse.mapping.frontier import MatmulMapping
    from dse.schedule.place import PlacedOperator

    FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moved:
    """Bytes that one tensor moves during one run of an operator."""

    tensor: str
    role: Role
    dram_read: float
    dram_write: float
    buffer_read: float
    buffer_write: float


def matmul_ports(operator: PlacedOperator, mapping: MatmulMapping, geometry: Geometry) -> list[Moved]:
    """What each operand of a matrix product moves, all slices, with what held tensors bring in and send out."""
    problem = operator.work.problem
    assert isinstance(problem, MatmulProblem)
    traffic, _ = mapping_traffic(problem, geometry, mapping)
    ports = (*operator.inputs[:2], operator.outputs[0])
    slices = operator.work.slices
    moved = [
        Moved(
            p.tensor,
            p.role,
            slices * float(t.dram_read_bytes[0]),
            slices * float(t.dram_write_bytes[0]),
            slices * float(t.buffer_read_bytes[0]),
            slices * float(t.buffer_write_bytes[0]),
        )
        for p, t in zip(ports, traffic, strict=True)
    ]
    return moved + _held(operator)


def vector_ports(operator: PlacedOperator, moved: FloatArray) -> list[Moved]:
    """Shares of a vector operator's inputs and outputs; inputs may be read twice."""
    slices = operator.work.slices
    from_dram = sum(p.size_bytes for p in operator.inputs if not p.on_chip) * slices
    reads = (float(moved[0, DRAM_READ - 1]) - operator.work.fill_bytes) / from_dram if from_dram else 1.0
    if not from_dram:
        on_chip = sum(p.size_bytes for p in operator.inputs) * slices
        written = sum(p.size_bytes for p in operator.outputs if not p.on_chip) * slices
        fixed = operator.work.drain_bytes + written
        reads = (float(moved[0, BUFFER_READ - 1]) - fixed) / on_chip if on_chip else 1.0
    found = []
    for p in operator.inputs:
        size = p.size_bytes * slices * reads
        found.append(Moved(p.tensor, p.role, 0.0, 0.0, size, 0.0) if p.on_chip else Moved(p.tensor, p.role, size, 0.0, size, size))
    for p in operator.outputs:
        size = p.size_bytes * slices
        found.append(Moved(p.tensor, p.role, 0.0, 0.0, 0.0, size) if p.on_chip else Moved(p.tensor, p.role, 0.0, size, size, size))
    return found + _held(operator)


def _held(operator: PlacedOperator) -> list[Moved]:
    """What tensors held on chip bring in and send out."""
    fills = [Moved(t.tensor, t.role, t.size_bytes, 0.0, 0.0, t.size_bytes) for t in operator.fills]
    drains = [Moved(t.tensor, t.role, 0.0, t.size_bytes, t.size_bytes, 0.0) for t in operator.drains]
    return fills + drains
