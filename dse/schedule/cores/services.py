"""Whether ports that a replay of a plan left out would have kept somebody waiting: a check, so that only those that do are followed."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.schedule.cores.simulate import Use
    from dse.schedule.cores.tasks import Outcome

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]
    BoolArray = NDArray[np.bool_]

LOOK_BACK: Final = 200
"""Tasks among which the one is looked for that held a resource before."""
SURE: Final = 1e-11
"""Part of the length of a plan by which a service must be over too early to count as such: sums are rounded otherwise than in a replay."""


@dataclass(frozen=True, eq=False)
class PortServices:
    """What each port serves in its order, one port in each row; rows are filled up with services that take no time."""

    ports: IntArray
    tasks: IntArray
    """[ports, most services]"""
    spans: IntArray
    """Rows of seconds that services take, ..."""
    lasts: IntArray
    """... and that their tasks take without them."""
    waits: BoolArray
    """Whether the task is done only when it has been served."""

    @staticmethod
    def of(
        kinds: Sequence[int],
        uses: Sequence[Use],
        order: Sequence[int],
        spans: Sequence[IntArray],
        lasts: IntArray,
        apart: frozenset[int] = frozenset(),
    ) -> PortServices:
        """Of tasks that take `uses[kinds]` and start in `order`, ports of `apart` left out; `spans` has for each use the rows of its ports,
        `lasts` its own row."""
        started = np.array(order, dtype=np.int64)
        its_use = np.array(kinds, dtype=np.int64)[started]
        parts: dict[int, list[tuple[IntArray, int, int, bool]]] = defaultdict(list)
        for u, use in enumerate(uses):
            at = np.flatnonzero(its_use == u) if use.ports else np.zeros(0, dtype=np.int64)
            for (port, _, waits), span in zip(use.ports, spans[u], strict=True):
                if port not in apart:
                    parts[port].append((at, int(span), int(lasts[u]), waits))
        found = {port: _in_order(mine) for port, mine in sorted(parts.items())}
        most = max((len(at) for at, *_ in found.values()), default=0)

        def table(column: int, empty: int) -> IntArray:
            rows = np.full((len(found), most), empty, dtype=np.int64)
            for row, columns in zip(rows, found.values(), strict=True):
                row[: len(columns[column])] = columns[column]
            return rows

        tasks = np.append(started, 0)[table(0, -1)] if len(started) else table(0, 0)
        return PortServices(np.array(list(found), dtype=np.int64), tasks, table(1, -1), table(2, -1), table(3, 0) > 0)

    def late(self, starts_s: FloatArray, seconds: FloatArray, latency_s: float) -> frozenset[int]:
        """Ports that may be done with something later than its task where tasks start at `starts_s` and spans take `seconds`.

        Services end at max over those before them of (start + what is served from then on), as each port serves in its order.
        """
        if not len(self.ports):
            return frozenset()
        sure = SURE * latency_s
        start, lasts, each = starts_s[self.tasks], seconds[self.lasts], seconds[self.spans]  # [ports, services]
        served = each.cumsum(axis=1)
        queued = np.maximum.accumulate(start - served + each, axis=1)
        end = queued + served
        early = end <= start + lasts - sure
        at_once = np.ones_like(early)
        at_once[:, 1:] = end[:, :-1] <= start[:, 1:] - sure
        fine = early | (at_once & (each <= lasts)) | ~self.waits
        return frozenset(int(p) for p in self.ports[~fine.all(axis=1)])


def critical_way(outcome: Outcome) -> list[tuple[int, tuple[int, ...]]]:
    """Spans, as (use, which of its resources; none: until it is done), of a way through a simulated plan on which nothing waits, from its
    end as far back as ports let it: what it takes at other durations is a bound there, as each resource keeps its order."""
    tasks, kinds = outcome.tasks, outcome.tasks.kinds
    start, end, order = outcome.simulation.start_s.tolist(), outcome.simulation.end_s.tolist(), outcome.simulation.order
    place = {task: i for i, task in enumerate(order)}
    task = max(range(len(end)), key=end.__getitem__)
    way: list[tuple[int, tuple[int, ...]]] = [(kinds[task], ())]
    while start[task] > 0.0:
        before = next((b for b in tasks.waits[task] if end[b] == start[task]), None)
        if before is not None:
            way.append((kinds[before], ()))
            task = before
            continue
        mine = {r for r, _ in tasks.uses[kinds[task]].holds}
        held = (
            (b, i)
            for b in order[max(0, place[task] - LOOK_BACK) : place[task]][::-1]
            for i, (r, seconds) in enumerate(tasks.uses[kinds[b]].holds)
            if r in mine and start[b] + seconds == start[task]
        )
        found = next(held, None)
        if found is None:
            break
        way.append((kinds[found[0]], (found[1],)))
        task = found[0]
    return way


def _in_order(parts: list[tuple[IntArray, int, int, bool]]) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """(position in the order of starts, span, row of the task, whether it waits) of all services of a port, first come first."""
    at = np.concatenate([a for a, *_ in parts])
    columns = [np.concatenate([np.full(len(p[0]), int(p[c])) for p in parts]) for c in (1, 2, 3)]
    first = np.argsort(at, kind="stable")
    return at[first], columns[0][first], columns[1][first], columns[2][first]
