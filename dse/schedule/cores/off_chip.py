"""What a plan keeps in the memory off chip beside weights and caches: inputs, results, and what lies there on its way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dse.ir.tensor import Role
from dse.schedule.cores.layout import OFF_CHIP

if TYPE_CHECKING:
    from dse.schedule.cores.tasks import Outcome

STORED: Final = frozenset({Role.WEIGHT, Role.CACHE})


def off_chip_bytes(outcome: Outcome) -> tuple[float, tuple[tuple[str, float], ...]]:
    """Most bytes of activations off chip while any group runs, and the tensors there at that time, largest first.

    A tensor lies there from the group that sends it, or the start, until the last that loads it, or the end.
    """
    sizes: dict[str, float] = {}
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    groups = outcome.layout.groups
    for laid in groups:
        flows = {f.storage: f.size_bytes for f in (*laid.group.reads, *laid.group.writes)}
        for store in (x for x in laid.stores if x.target == OFF_CHIP and x.role not in STORED):
            sizes[store.storage] = max(sizes.get(store.storage, 0.0), flows.get(store.storage, store.size_bytes))
            first.setdefault(store.storage, laid.index)
            last.setdefault(store.storage, len(groups) - 1)
        for load in (x for x in laid.loads if x.source == OFF_CHIP and x.role not in STORED):
            sizes[load.storage] = max(sizes.get(load.storage, 0.0), flows.get(load.storage, load.size_bytes))
            first.setdefault(load.storage, 0)
            last[load.storage] = laid.index
    best: tuple[float, list[str]] = 0.0, []
    for index in range(len(groups)):
        there = [name for name in sizes if first[name] <= index <= last[name]]
        total = sum(sizes[name] for name in there)
        if total > best[0]:
            best = total, there
    return best[0], tuple(sorted(((name, sizes[name]) for name in best[1]), key=lambda item: (-item[1], item[0])))
