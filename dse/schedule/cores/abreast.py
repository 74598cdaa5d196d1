"""Branches side by side: groups that do not wait for each other take disjoint cores where all cores in turns would take longer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.schedule.cores.estimate import Estimator
    from dse.schedule.cores.groups import Group
    from dse.schedule.cores.shapes import Shape

PROMISING: Final = 0.95
"""Branches are tried side by side where the estimate is at most so much of that of one after the other."""
MOST_GROUPS: Final = 400
"""Longer plans are not searched for branches, whose number of pairs grows with the square."""


def side_by_side(groups: Sequence[Group], offered: Sequence[Sequence[Shape]], by: Estimator) -> list[list[Shape]] | None:
    """Shapes of `offered` that leave cores to branches beside their groups; None where there are none that promise to gain."""
    if len(groups) > MOST_GROUPS:
        return None
    levels = _levels(groups)
    narrowed: list[list[Shape]] | None = None
    for members in _branches(groups):
        rows: dict[int, list[int]] = {}
        for i in members:
            rows.setdefault(levels[i], []).append(i)
        width = max(len(row) for row in rows.values())
        if width < 2:
            continue
        narrow = {i: _narrow(offered[i], width, by) for i in members}
        in_turns = sum(_least(groups[i], offered[i], by) for i in members)
        apart = sum(max(_least(groups[i], narrow[i], by) for i in row) for row in rows.values())
        if max(apart, sum(_port_s(groups[i], by) for i in members)) <= PROMISING * in_turns:
            narrowed = narrowed or [list(o) for o in offered]
            for i in members:
                narrowed[i] = narrow[i]
    return narrowed


def _least(group: Group, offered: Sequence[Shape], by: Estimator) -> float:
    return min((by.own(group, s) for s in offered), default=float("inf"))


def _narrow(offered: Sequence[Shape], width: int, by: Estimator) -> list[Shape]:
    """Shapes on at most a `width`-th of the cores of their kind; all of a kind with fewer cores."""
    return [s for s in offered if s.ways <= max(1, len(by.chip.of_kind(s.kind)) // width)]


def _port_s(group: Group, by: Estimator) -> float:
    """Seconds that the port of the memory off chip is busy with a group, at least: all branches share it."""
    storages = by.work.storages
    size = sum(f.size_bytes for f in group.reads if storages[f.storage].from_outside)
    size += sum(f.size_bytes for f in group.writes if storages[f.storage].to_outside)
    return size / float(next(iter(by.kinds.values())).one.dram_bytes_per_s[0])


def _before(groups: Sequence[Group]) -> list[int]:
    """For each group those that must be over before it, as a mask."""
    writers: dict[str, list[int]] = {}
    before: list[int] = []
    for i, group in enumerate(groups):
        mask = 0
        for f in group.reads:
            for w in writers.get(f.storage, []):
                mask |= before[w] | 1 << w
        before.append(mask)
        for f in group.writes:
            writers.setdefault(f.storage, []).append(i)
    return before


def _levels(groups: Sequence[Group]) -> list[int]:
    """Groups on the longest way to each group."""
    before = _before(groups)
    found: list[int] = []
    for i in range(len(groups)):
        found.append(1 + max((found[w] for w in range(i) if before[i] >> w & 1), default=-1))
    return found


def _branches(groups: Sequence[Group]) -> list[list[int]]:
    """Sets of groups joined by pairs of which neither waits for the other, those of several groups."""
    before = _before(groups)
    root = list(range(len(groups)))

    def find(i: int) -> int:
        while root[i] != i:
            i = root[i]
        return i

    for j in range(len(groups)):
        for i in range(j):
            if not before[j] >> i & 1:
                root[find(j)] = find(i)
    found: dict[int, list[int]] = {}
    for i in range(len(groups)):
        found.setdefault(find(i), []).append(i)
    return [members for members in found.values() if len(members) > 1]
