"""Results that reach their readers sooner by way of the memory off chip than over the links between cores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.cost.metrics import Objective

if TYPE_CHECKING:
    from dse.schedule.cores.groups import Flow, Group
    from dse.schedule.cores.layout import Assigned, Layouter


def over_memory(groups: tuple[Group, ...], assigned: tuple[Assigned, ...], by: Layouter) -> tuple[str, ...]:
    """Storages for which all transfers between cores take longer than out to the memory and back; none where energy is minimised."""
    if by.pricer.objective is Objective.ENERGY:
        return ()
    writers = {f.storage: (i, f) for i, g in enumerate(groups) for f in g.writes}
    direct: dict[str, float] = {}
    detour: dict[str, float] = {}
    for i, group in enumerate(groups):
        for flow in group.reads:
            if flow.storage not in writers or by.work.storages[flow.storage].from_outside or writers[flow.storage][0] >= i:
                continue
            holder = assigned[writers[flow.storage][0]]
            straight, back = _seconds(flow, holder, assigned[i], by)
            direct[flow.storage] = direct.get(flow.storage, 0.0) + straight
            detour[flow.storage] = detour.get(flow.storage, 0.0) + back
    found = []
    for name, seconds in direct.items():
        if seconds > detour[name]:
            out = by.transfers.to_memory(assigned[writers[name][0]].holder, by.chip.dram)
            away = 0.0 if by.work.storages[name].to_outside or out is None else writers[name][1].size_bytes * out.seconds + out.latency_s
            if out is not None and seconds > detour[name] + away:
                found.append(name)
    return tuple(found)


def _seconds(flow: Flow, holder: Assigned, reader: Assigned, by: Layouter) -> tuple[float, float]:
    """Of a tensor from the cores that hold it, and from the memory off chip."""
    back = by.transfers.to_reader(flow.streams, by.chip.dram, reader.division)
    there = flow.size_bytes * back.seconds + back.latency_s if back is not None else float("inf")
    if holder.holder == reader.division and reader.division.ranged(flow.streams):
        return 0.0, there
    straight = by.transfers.to_reader(flow.streams, holder.holder, reader.division)
    return (flow.size_bytes * straight.seconds + straight.latency_s if straight is not None else float("inf")), there
