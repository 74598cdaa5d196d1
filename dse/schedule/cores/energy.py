"""Where the energy of a plan goes, at D design points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.schedule.cores.layout import OFF_CHIP, Load
from dse.units import JOULES_PER_PJ

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dse.hw.many_core import Chip
    from dse.schedule.cores.charges import ChipCharges
    from dse.schedule.cores.layout import LaidGroup, Layout, Store

    FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EnergyItem:
    """Joules and bytes of one group at one component for tensors of one role."""

    group: int
    operator: str
    component: str
    role: str
    energy_j: FloatArray
    """[D]"""
    bytes: float


def energy_items(layout: Layout, chip: Chip, charges: ChipCharges) -> Iterator[EnergyItem]:
    """Where the energy of a plan goes, leakage apart: arithmetic, cores' memories, channels, memory off chip."""
    for laid in layout.groups:
        ways, kind = laid.assigned.shape.ways, charges.kinds[laid.assigned.shape.kind]
        for o in laid.part.operators:
            unit = "array" if o.work.dtype is not None else "vector"
            yield EnergyItem(laid.index, o.name, unit, "compute", ways * kind.compute_j(o), 0.0)
            yield EnergyItem(laid.index, o.name, "buffer", "access", ways * kind.memory_j(o), 0.0)
        name = laid.part.operators[0].name
        moved: tuple[Load | Store, ...] = (*laid.loads, *laid.stores)
        for x in moved:
            links = np.asarray(x.size_bytes * charges.pattern_j(x.pattern))
            yield EnergyItem(laid.index, name, "links", str(x.role), links, x.size_bytes if x.pattern.channels else 0.0)
            yield _at_memory(laid, name, x, chip, charges)
        if laid.reduction is not None and laid.added is not None:
            links = np.asarray(laid.reduction.size_bytes * charges.pattern_j(laid.reduction.pattern))
            yield EnergyItem(laid.index, name, "links", str(laid.reduction.role), links, laid.added.size_bytes)
            yield EnergyItem(laid.index, name, "vector", "compute", kind.adding_j(laid.added), 0.0)


def _at_memory(laid: LaidGroup, name: str, x: Load | Store, chip: Chip, charges: ChipCharges) -> EnergyItem:
    """Accesses at the far end of a transfer: the memory off chip, a shared buffer, or the core that holds the tensor."""
    reading, taken = isinstance(x, Load), x.size_bytes * x.pattern.sent
    core, place = (x.source_core, x.source) if isinstance(x, Load) else (x.target_core, x.target)
    if place == "cores":
        assert core is not None, x.storage
        table = charges.kinds[chip.cores[core].kind].table
        pj = table.buffer_read_pj_per_byte if reading else table.buffer_write_pj_per_byte
        taken, component = taken if isinstance(x, Load) else taken * x.copies, "buffer"
    elif place == OFF_CHIP:
        table = charges.kinds[laid.assigned.shape.kind].table
        pj, component = table.dram_read_pj_per_byte if reading else table.dram_write_pj_per_byte, "dram"
    else:
        pj, component = charges.shared_pj[place][0 if reading else 1], place
    return EnergyItem(laid.index, name, component, str(x.role), np.asarray(taken * pj * JOULES_PER_PJ), taken)


def plan_j(layout: Layout, chip: Chip, charges: ChipCharges, seconds: FloatArray | float) -> FloatArray:
    """Joules [D] of a plan that takes `seconds`."""
    spent: FloatArray = charges.leakage_w * seconds
    for item in energy_items(layout, chip, charges):
        spent = spent + item.energy_j
    return spent
