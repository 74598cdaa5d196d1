"""What every assignment of groups to cores takes at least: the part of a plan that a solver sees."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from dse.ir.operator import Kind
from dse.schedule.cores.parts import moves
from dse.schedule.cores.tasks import MOST_PIECES
from dse.units import JOULES_PER_PJ

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.schedule.cores.charges import ChipCharges
    from dse.schedule.cores.estimate import Estimator
    from dse.schedule.cores.groups import Flow, Group
    from dse.schedule.cores.layout import Assigned

    FloatArray = NDArray[np.float64]


class Placement(StrEnum):
    """How cores are found for groups."""

    AUTO = "auto"
    """All assignments where they are few, else a short search."""
    SEARCH = "search"
    """A long seeded search."""
    EXACT = "exact"
    """All assignments."""
    CP_SAT = "cp-sat"
    """A constraint solver proposes, the simulation decides, until nothing better is left."""


@dataclass(frozen=True)
class Relaxation:
    """Bounds of a plan that no order of its tasks, no mapping and no place of its tensors beats."""

    options: tuple[tuple[Assigned, ...], ...]
    """For each group."""
    works_s: tuple[FloatArray, ...]
    """Seconds that each core and channel is held, at least, [options, resources]: computing, and what comes from and goes off chip."""
    lasts_s: tuple[FloatArray, ...]
    """Seconds from its first to its last computation, at least, [options]."""
    waits_s: dict[tuple[int, int], FloatArray]
    """Seconds from the end of a group to that of one that reads its results, [options, options]: all of the reader and what must reach
    its cores; the last piece of it where the reader may go on with what is ready."""
    spends_j: tuple[FloatArray, ...]
    """Joules, at least, [options]."""


def relax(groups: Sequence[Group], options: Sequence[Sequence[Assigned]], estimator: Estimator, charges: ChipCharges) -> Relaxation:
    """The bounds of all assignments of `options` to `groups`."""
    made = _Relaxer(estimator, charges)
    works, lasts, spends = [], [], []
    waits: dict[tuple[int, int], FloatArray] = {}
    writer: dict[str, tuple[int, Flow]] = {}
    for i, group in enumerate(groups):
        seconds = np.array([made.computes_s(group, o) for o in options[i]])
        works.append(np.array([made.works_s(group, o, s) for o, s in zip(options[i], seconds, strict=True)]))
        lasts.append(seconds)
        spends.append(np.array([made.spends_j(group, o) for o in options[i]]))
        for flow in group.reads:
            if flow.storage in writer and not estimator.work.storages[flow.storage].from_outside:
                w, wrote = writer[flow.storage]
                mine = list(zip(options[i], seconds, strict=True))
                table = np.array([[made.waits_s(wrote, flow, a, b, s) for b, s in mine] for a in options[w]])
                waits[w, i] = np.maximum(waits[w, i], table) if (w, i) in waits else table
        writer.update({f.storage: (i, f) for f in group.writes})
    return Relaxation(tuple(tuple(o) for o in options), tuple(works), tuple(lasts), waits, tuple(spends))


class _Relaxer:
    def __init__(self, estimator: Estimator, charges: ChipCharges) -> None:
        self.by, self.charges = estimator, charges
        interconnect = estimator.chip.interconnect
        self.channels = len(interconnect.channels)
        self.enters = {
            c: sum(x.bytes_per_s for x in interconnect.channels if core.name in x.targets) for c, core in enumerate(estimator.chip.cores)
        }

    def computes_s(self, group: Group, to: Assigned) -> float:
        """Array and vector unit may work at the same time, on slices of their own."""
        array = sum(self.by.compute_s(o, to.shape) for o in group.operators if o.kind is Kind.CONTRACTION)
        vector = sum(self.by.compute_s(o, to.shape) for o in group.operators if o.kind is not Kind.CONTRACTION)
        return max(array, vector)

    def works_s(self, group: Group, to: Assigned, seconds: float) -> FloatArray:
        found = np.zeros(self.channels + len(self.by.chip.cores))
        storages, dram = self.by.work.storages, self.by.chip.dram
        for f in group.reads:
            if storages[f.storage].from_outside:
                pattern = self.by.transfers.to_reader(f.streams, dram, to.division)
                for channel, part in pattern.channels if pattern else ():
                    found[channel] += f.size_bytes * part / self.charges.bytes_per_s[channel, 0]
        for f in group.writes:
            if storages[f.storage].to_outside:
                pattern = self.by.transfers.to_memory(to.holder, dram)
                for channel, part in pattern.channels if pattern else ():
                    found[channel] += f.size_bytes * part / self.charges.bytes_per_s[channel, 0]
        found[[self.channels + c for c in to.cores]] += seconds
        return found

    def waits_s(self, wrote: Flow, flow: Flow, holder: Assigned, reader: Assigned, seconds: float) -> float:
        """From the end of the writer to that of the reader, which computes for `seconds`."""
        all_of_it = max(seconds, self.moves_s(flow, holder, reader))
        apart = not set(holder.cores) & set(reader.cores)
        return all_of_it / MOST_PIECES if apart and wrote.streams & flow.streams else all_of_it

    def moves_s(self, flow: Flow, holder: Assigned, reader: Assigned) -> float:
        """What a core lacks must enter it over its channels, whatever the way."""
        into: dict[int, float] = {}
        for move in moves(flow.size_bytes, flow.streams, replace(holder.holder, reduces=False), reader.division):
            for target in move.targets:
                into[target] = into.get(target, 0.0) + move.size_bytes
        return max((size / self.enters[core] for core, size in into.items()), default=0.0)

    def spends_j(self, group: Group, to: Assigned) -> float:
        kind = self.charges.kinds[to.shape.kind].table
        storages = self.by.work.storages
        least = min((float(v[0]) for v in kind.mac_pj.values()), default=0.0)
        pj = sum(o.macs * least + o.vector_ops * float(kind.vector_pj_per_op[0]) for o in group.operators)
        pj += sum(f.size_bytes for f in group.reads if storages[f.storage].from_outside) * float(kind.dram_read_pj_per_byte[0])
        pj += sum(f.size_bytes for f in group.writes if storages[f.storage].to_outside) * float(kind.dram_write_pj_per_byte[0])
        return pj * JOULES_PER_PJ
