"""Where the energy of a plan goes, as counts of what charges it: priced at any number of design points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.schedule.cores.charges import Charge, OfKind, OfMemory
from dse.schedule.cores.layout import OFF_CHIP, Load
from dse.schedule.cores.transfers import Pattern
from dse.units import JOULES_PER_PJ

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from dse.hw.many_core import Chip
    from dse.schedule.cores.charges import ChipCharges
    from dse.schedule.cores.layout import LaidGroup, Layout, Store
    from dse.schedule.cores.part_price import PricedOperatorPart

    FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class EnergyItem:
    """Counts and bytes of one group at one component for tensors of one role."""

    group: int
    operator: str
    component: str
    role: str
    counts: tuple[tuple[Charge, float], ...]
    bytes: float
    accesses: tuple[str, FloatArray] | None = None
    """Kind of core, and counts [C] of the columns of its memories."""

    def energy_j(self, charges: ChipCharges) -> FloatArray:
        """Joules [D]."""
        pj = charges.nothing
        for charge, count in self.counts:
            pj = pj + count * charges.pj(charge)
        if self.accesses is not None:
            kind, counts = self.accesses
            pj = pj + counts @ charges.kinds[kind].access_pj
        return pj * JOULES_PER_PJ


@dataclass(frozen=True, eq=False)
class Spends:
    """All that costs energy in a plan, leakage apart."""

    counts: tuple[tuple[OfKind | OfMemory, float], ...]
    channels: tuple[tuple[int, ...], FloatArray]
    """Numbers of the channels that are used, and bytes that cross each."""
    accesses: Mapping[str, FloatArray]
    """Counts [C] of the columns of the memories of each kind of core."""
    dram_bytes: float

    @staticmethod
    def of(layout: Layout, chip: Chip) -> Spends:
        """The sum of the items of a layout."""
        single: dict[OfKind | OfMemory, float] = {}
        sent: dict[int, tuple[Pattern, float]] = {}
        accesses: dict[str, FloatArray] = {}
        dram = 0.0
        for item in energy_items(layout, chip):
            dram += item.bytes if item.component == "dram" else 0.0
            for charge, count in item.counts:
                if isinstance(charge, Pattern):
                    sent[id(charge)] = charge, count + (sent[id(charge)][1] if id(charge) in sent else 0.0)
                else:
                    single[charge] = single.get(charge, 0.0) + count
            if item.accesses is not None:
                kind, counts = item.accesses
                accesses[kind] = accesses[kind] + counts if kind in accesses else counts
        crossed: dict[int, float] = {}
        for pattern, size in sent.values():
            for channel, part in pattern.channels:
                crossed[channel] = crossed.get(channel, 0.0) + size * part
        return Spends(tuple(single.items()), (tuple(crossed), np.array(list(crossed.values()))), accesses, dram)

    def joules(self, charges: ChipCharges, seconds: FloatArray | float) -> FloatArray:
        """Joules [D] of a plan that takes `seconds`, leakage included."""
        used, size = self.channels
        pj = charges.nothing + size @ charges.pj_per_byte[list(used)]
        for charge, count in self.counts:
            pj = pj + count * charges.pj(charge)
        for kind, counts in self.accesses.items():
            pj = pj + counts @ charges.kinds[kind].access_pj
        return pj * JOULES_PER_PJ + charges.leakage_w * seconds


def energy_items(layout: Layout, chip: Chip) -> Iterator[EnergyItem]:
    """Where the energy of a plan goes, leakage apart: arithmetic, cores' memories, channels, memory off chip."""
    for laid in layout.groups:
        ways, kind = laid.assigned.shape.ways, laid.assigned.shape.kind
        for o in laid.part.operators:
            yield _computed(laid, kind, ways, o)
            yield EnergyItem(laid.index, o.name, "buffer", "access", (), 0.0, (kind, ways * o.counts[0, 1:]))
        name = laid.part.operators[0].name
        moved: tuple[Load | Store, ...] = (*laid.loads, *laid.stores)
        for x in moved:
            size = x.size_bytes if x.pattern.channels else 0.0
            yield EnergyItem(laid.index, name, "links", str(x.role), ((x.pattern, x.size_bytes),), size)
            yield _at_memory(laid, name, x, chip)
        if laid.reduction is not None and laid.added is not None:
            sent, added = laid.reduction, laid.added
            yield EnergyItem(laid.index, name, "links", str(sent.role), ((sent.pattern, sent.size_bytes),), added.size_bytes)
            # each sum is sent from, written to and read from memory, and so is what it is added to
            touched = (OfKind(kind, "read"), 3 * added.size_bytes), (OfKind(kind, "write"), 2 * added.size_bytes)
            yield EnergyItem(laid.index, name, "vector", "compute", ((OfKind(kind, "vector"), added.operations), *touched), 0.0)


def _computed(laid: LaidGroup, kind: str, ways: int, o: PricedOperatorPart) -> EnergyItem:
    """MACs and vector operations."""
    counts: list[tuple[Charge, float]] = [(OfKind(kind, "vector"), ways * o.work.vector_ops)]
    if o.work.dtype is not None:
        counts.append((OfKind(kind, "mac", o.work.dtype), ways * o.work.macs))
    return EnergyItem(laid.index, o.name, "array" if o.work.dtype is not None else "vector", "compute", tuple(counts), 0.0)


def _at_memory(laid: LaidGroup, name: str, x: Load | Store, chip: Chip) -> EnergyItem:
    """Accesses at the far end of a transfer: the memory off chip, a shared buffer, or the core that holds the tensor."""
    reading, taken = isinstance(x, Load), x.size_bytes * x.pattern.sent
    core, place = (x.source_core, x.source) if isinstance(x, Load) else (x.target_core, x.target)
    way, component, charge = "read" if reading else "write", place, None
    if place == "cores":
        assert core is not None, x.storage
        taken, component = taken if isinstance(x, Load) else taken * x.copies, "buffer"
        charge = OfKind(chip.cores[core].kind, way)
    elif place == OFF_CHIP:
        component, charge = "dram", OfKind(laid.assigned.shape.kind, f"dram_{way}")
    return EnergyItem(laid.index, name, component, str(x.role), ((charge or OfMemory(place, way), taken),), taken)
