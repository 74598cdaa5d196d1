"""What a plan keeps in the memory off chip beside weights and caches: inputs, results, and what lies there on its way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from dse.ir.tensor import Role
from dse.schedule.cores.layout import OFF_CHIP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.schedule.cores.layout import LaidGroup
    from dse.schedule.cores.tasks import Outcome

STORED: Final = frozenset({Role.WEIGHT, Role.CACHE})


@dataclass(frozen=True, slots=True)
class OffChipStay:
    """One activation that lies off chip for a while."""

    storage: str
    role: Role
    size_bytes: float
    writer: int | None
    """Group that sends it; None for an input of the graph."""
    reader: int | None
    """Last group that loads it; None where none does: it is a result."""


def off_chip_stays(groups: Sequence[LaidGroup]) -> tuple[OffChipStay, ...]:
    """Activations off chip in the order in which groups first touch them; weights and caches, which always lie there, left out."""
    found: dict[str, OffChipStay] = {}
    for laid in groups:
        flows = {f.storage: f.size_bytes for f in (*laid.group.reads, *laid.group.writes)}
        for store in (x for x in laid.stores if x.target == OFF_CHIP and x.role not in STORED):
            size = flows.get(store.storage, store.size_bytes)
            before = found.get(store.storage, OffChipStay(store.storage, store.role, size, laid.index, None))
            found[store.storage] = replace(before, size_bytes=max(before.size_bytes, size), reader=None)
        for load in (x for x in laid.loads if x.source == OFF_CHIP and x.role not in STORED):
            size = flows.get(load.storage, load.size_bytes)
            before = found.get(load.storage, OffChipStay(load.storage, load.role, size, None, None))
            found[load.storage] = replace(before, size_bytes=max(before.size_bytes, size), reader=laid.index)
    return tuple(found.values())


def off_chip_bytes(outcome: Outcome) -> tuple[float, tuple[tuple[str, float], ...]]:
    """Most bytes of activations off chip while any group runs, and the tensors there at that time, largest first.

    A tensor lies there from the group that sends it, or the start, until the last that loads it, or the end.
    """
    groups = outcome.layout.groups
    stays = off_chip_stays(groups)
    best: tuple[float, list[OffChipStay]] = 0.0, []
    for index in range(len(groups)):
        there = [s for s in stays if (s.writer or 0) <= index and (s.reader is None or index <= s.reader)]
        total = sum(s.size_bytes for s in there)
        if total > best[0]:
            best = total, there
    return best[0], tuple(sorted(((s.storage, s.size_bytes) for s in best[1]), key=lambda item: (-item[1], item[0])))
