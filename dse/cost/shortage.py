"""Which memory on chip cannot hold what mappings keep there, who keeps it, and what would help."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.cost.capacity import Infeasibility
from dse.mapping.crossings import OUTERMOST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.cost.frontier_pricing import OperatorPricer
    from dse.cost.workload_pricing import CompiledPart
    from dse.hw.accelerator import MemoryGeometry, OperandName
    from dse.hw.table import DesignTable
    from dse.mapping.blocks import Block

    Residents = tuple[tuple[OperandName, float], ...]


def shortage(block: Block, table: DesignTable, *, buffer: str = "buffer", residents: Residents = ()) -> Infeasibility | None:
    """The memory that the first mapping of `block` lacks most of, relative to what it holds, at the first design point of `table`; None
    where it fits. `buffer` is the outermost buffer as its file calls it, `residents` lie there beside the tiles.
    """
    found: list[tuple[float, Infeasibility]] = []
    for at, held in sorted(block.holders().items()):
        memory = block.view.memory(at)
        parts = tuple((str(name), size) for name, size in (*held, *(residents if at == OUTERMOST else ())))
        sizes = [size for _, size in parts]
        need = max(sizes) if memory.capacity_shares else sum(sizes)
        have = float(table.buffer_capacity_bytes[0] if at == OUTERMOST else table.inner[at].capacity_bytes[0])
        if need > have:
            name = buffer if at == OUTERMOST else table.inner[at].name
            other = "use fewer bits" if memory.registers else "shrink a tile's step, or keep fewer operands"
            levers = (f"enlarge {_key(name, memory)}", other)
            found.append((need / have, Infeasibility.of(f"{name} capacity", need, have, contributors=parts, levers=levers)))
    return max(found, key=lambda pair: pair[0])[1] if found else None


def nothing_fits(blocks: Sequence[Block], table: DesignTable) -> Infeasibility:
    """What the mapping that is closest to fitting lacks, of `blocks` of one mapping each none of which fits."""
    lacking = [why for block in blocks if (why := shortage(block, table)) is not None]
    assert len(lacking) == len(blocks) > 0, "asked only where nothing fits"
    return min(lacking, key=lambda why: why.demand_bytes / why.bound_bytes)


def no_plan_fits(parts: Sequence[CompiledPart], table: DesignTable) -> Infeasibility:
    """What a step lacks at the first design point of `table`, where no mapping of some operator fits in any plan: registers, which hold an
    element of what stays in the array. Of the plans of the first such part the one that is closest to fitting.
    """
    for part in parts:
        worst = []
        for plan in part.plans:
            lacking = [_closest(pricer, table) for pricer in plan.pricers]
            at = int(np.argmax([need / have for _, need, have in lacking]))
            worst.append((plan.operators[at].name, *lacking[at]))
        operator, memory, need, have = min(worst, key=lambda found: found[2] / found[3])
        if need > have:
            levers = (f"enlarge {memory}", "use a narrower precision")
            resource = f"{memory.split('.')[1]} capacity"
            return Infeasibility.of(resource, need, have, contributors=((operator, need),), levers=levers)
    raise AssertionError("asked only where something does not fit")


def _closest(pricer: OperatorPricer, table: DesignTable) -> tuple[str, float, float]:
    """Of the mapping that is closest to fitting: the key of the memory that it fills most, what it needs there and what is there."""
    geometry = pricer.geometry
    names = [_key("buffer", geometry.outer), *(_key(m.name, g) for m, g in zip(table.inner, geometry.inner, strict=True))]
    have = np.array([table.buffer_capacity_bytes[0], *(memory.capacity_bytes[0] for memory in table.inner)])
    need = np.concatenate((pricer.needed_bytes[:, None], pricer.inner_footprint_bytes), axis=1)  # [R, 1 + L]
    share = need / have
    row = int(np.argmin(share.max(axis=1)))
    at = int(np.argmax(share[row]))
    return names[at], float(need[row, at]), float(have[at])


def _key(name: str, memory: MemoryGeometry) -> str:
    """Key of its capacity in the accelerator's file."""
    return f"memories.{name}.capacity_{'bytes' if memory.registers else 'kib'}"
