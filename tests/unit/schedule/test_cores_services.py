"""The check that tells which ports a replay must follow, against serving one task after another."""

from __future__ import annotations

import numpy as np
import pytest

from dse.schedule.cores.services import PortServices
from dse.schedule.cores.simulate import Use, simulate_uses


def late_by_hand(kinds: list[int], uses: list[Use], order: tuple[int, ...], starts: list[float]) -> set[int]:
    """Ports that end a service, for which its task waits, after the task."""
    free: dict[int, float] = {}
    found = set()
    for task in order:
        use = uses[kinds[task]]
        for port, seconds, waits in use.ports:
            free[port] = max(free.get(port, 0.0), starts[task]) + seconds
            if waits and free[port] > starts[task] + use.lasts_s:
                found.add(port)
    return found


@pytest.mark.parametrize("seed", range(60))
def test_late_ports_are_those_that_keep_a_task(seed: int) -> None:
    """Times are whole numbers, so that ties are many: a port is named where it keeps a task, and else only where a tie leaves it open."""
    random = np.random.default_rng(seed)
    uses = [Use((), 0.0)]
    for _ in range(4):
        last = float(random.integers(2, 9))
        ports = tuple(
            (p, float(random.integers(1, 6 if seed % 2 else 3)), bool(random.integers(2))) for p in range(3) if random.integers(2)
        )
        uses.append(Use(((10 + int(random.integers(2)), last),), last, ports))
    kinds = [int(k) for k in random.integers(0, len(uses), 40)]
    waits = [() if t == 0 else (int(random.integers(t)),) for t in range(40)]
    run = simulate_uses(waits, kinds, [Use(u.holds, u.lasts_s) for u in uses], 12)  # as if there were no ports
    seconds = np.array([u.lasts_s for u in uses] + [s for u in uses for _, s, _ in u.ports] + [0.0])
    rows, first = [], len(uses)
    for use in uses:
        rows.append(np.arange(first, first + len(use.ports)))
        first += len(use.ports)
    services = PortServices.of(kinds, uses, run.order, rows, np.arange(len(uses)))
    found = services.late(run.start_s, seconds, run.makespan_s)
    hard = late_by_hand(kinds, uses, run.order, run.start_s.tolist())
    assert hard <= found
    shorter = [Use(u.holds, u.lasts_s, tuple((p, s * (1 + 1e-6), w) for p, s, w in u.ports)) for u in uses]
    assert found <= late_by_hand(kinds, shorter, run.order, run.start_s.tolist()) | hard


def test_what_is_apart_is_not_looked_at() -> None:
    """Two tasks at once share a port: the second is served late, unless that port is followed already."""
    uses = [Use((), 4.0, ((0, 3.0, True),))]
    for apart, late in ((frozenset[int](), {0}), (frozenset({0}), set[int]())):
        services = PortServices.of([0, 0], uses, (0, 1), [np.array([1])], np.array([0]), apart)
        assert services.late(np.zeros(2), np.array([4.0, 3.0, 0.0]), 4.0) == late
