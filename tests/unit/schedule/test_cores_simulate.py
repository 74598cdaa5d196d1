"""The event simulation: worked by hand, and against the rules on random tasks."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.schedule.cores.replay import Replay
from dse.schedule.cores.simulate import Task, Use, simulate
from dse.schedule.cores.takes import Block, Take


def task(waits: tuple[int, ...], *holds: tuple[int, float], lasts_s: float | None = None) -> Task:
    return Task(waits, Use(holds, max((s for _, s in holds), default=0.0) if lasts_s is None else lasts_s))


def test_loads_run_ahead_of_compute() -> None:
    # Resource 0 loads for 2 s, resource 1 computes for 3 s; three chunks: 2 + 3 x 3 = 11 s.
    tasks = [t for i in range(3) for t in (task(() if i == 0 else (2 * i - 2,), (0, 2.0)), task((2 * i,), (1, 3.0)))]
    found = simulate(tasks, 2)
    assert found.makespan_s == 11.0
    assert found.start_s.tolist() == [0.0, 2.0, 2.0, 5.0, 4.0, 8.0]


def test_a_channel_is_free_again_before_the_transfer_ends() -> None:
    # A fast port (1 s each) in front of two slow links (4 s each): 1 + 4 s, not 8 s.
    found = simulate([task((), (0, 1.0), (1, 4.0)), task((), (0, 1.0), (2, 4.0))], 3)
    assert found.end_s.tolist() == [4.0, 5.0]


def test_the_lower_number_goes_first_and_a_blocked_one_keeps_nobody_back() -> None:
    tasks = [task((), (0, 5.0)), task((), (0, 1.0), (1, 1.0)), task((), (1, 2.0))]
    found = simulate(tasks, 2)
    assert found.start_s.tolist() == [0.0, 5.0, 0.0]


def test_a_circle_is_refused() -> None:
    with pytest.raises(ValueError, match="circle"):
        simulate([task((1,), (0, 1.0)), task((0,), (0, 1.0))], 1)


@st.composite
def task_lists(draw: st.DrawFn) -> list[Task]:
    found = []
    for number in range(draw(st.integers(1, 12))):
        waits = tuple(sorted(draw(st.sets(st.integers(0, number - 1), max_size=3)))) if number else ()
        resources = sorted(draw(st.sets(st.integers(0, 2), min_size=1, max_size=2)))
        found.append(task(waits, *((r, float(draw(st.integers(1, 5)))) for r in resources)))
    return found


@given(task_lists())
def test_order_and_resources_are_respected(tasks: list[Task]) -> None:
    found = simulate(tasks, 3)
    for number, t in enumerate(tasks):
        assert all(found.end_s[before] <= found.start_s[number] for before in t.waits)
    for resource in range(3):
        held = sorted((found.start_s[n], found.start_s[n] + s) for n, t in enumerate(tasks) for r, s in t.use.holds if r == resource)
        assert all(a[1] <= b[0] for a, b in pairwise(held))
        assert found.makespan_s >= sum(b - a for a, b in held)


def replay_of(tasks: list[Task]) -> tuple[Replay, list[float]]:
    """The order of a simulation, with the seconds of its rows; every task has a use, and every hold a row and a rate, of its own."""
    seconds: list[float] = []

    def row(value: float) -> int:
        seconds.append(value)
        return len(seconds) - 1

    takes = []
    for t in tasks:
        stalls = t.use.stalls if t.use.ports else ()
        blocks = tuple(Block(row(s), i, (r,)) for i, (r, s) in enumerate(t.use.holds) if r not in stalls)
        takes.append(Take(blocks, row(t.use.lasts_s), tuple((p, row(s), waits) for p, s, waits in t.use.ports), stalls))
    return Replay.of([t.waits for t in tasks], range(len(tasks)), takes, simulate(tasks, 5).order), seconds


def test_a_port_that_others_use_too_keeps_computation_longer() -> None:
    # Resource 0 computes three pieces of 10 s that keep port 2 busy all the time; a transfer on channel 1 takes 2 s of the port: 32 s.
    piece = Use(((0, 10.0),), 10.0, ((2, 10.0, True),), (0,))
    other = Use(((1, 12.0),), 12.0, ((2, 2.0, False), (3, 2.0, True)))
    found = simulate([Task((), piece), Task((0,), piece), Task((1,), piece), Task((), other)], 4)
    assert found.end_s.tolist() == [10.0, 22.0, 32.0, 12.0]


def test_a_port_with_time_to_spare_keeps_nobody() -> None:
    piece = Use(((0, 10.0),), 10.0, ((2, 7.0, True),), (0,))
    other = Use(((1, 3.0),), 3.0, ((2, 3.0, False), (3, 3.0, True)))
    found = simulate([Task((), piece), Task((), other), Task((0,), piece), Task((1,), other)], 4)
    assert found.end_s.tolist() == [10.0, 3.0, 20.0, 6.0]


def test_transfers_wait_for_each_other_at_a_slow_port() -> None:
    # Two links at once behind a port that takes 8 s for each: 16 s for the second; what its core holds stays held.
    first, second = (Use(((r, 5.0),), 5.0, ((2, 8.0, True),)) for r in (0, 1))
    found = simulate([Task((), first), Task((), second), Task((), Use(((1, 1.0),), 1.0))], 3)
    assert found.end_s.tolist() == [8.0, 16.0, 6.0]
    stalls = simulate([Task((), first), Task((), Use(((1, 5.0),), 5.0, ((2, 8.0, True),), (1,))), Task((), Use(((1, 1.0),), 1.0))], 3)
    assert stalls.end_s.tolist() == [8.0, 16.0, 17.0]


@st.composite
def with_ports(draw: st.DrawFn) -> list[Task]:
    """Tasks of which some are served by ports 3 and 4."""
    found = []
    for t in draw(task_lists()):
        ports = draw(st.lists(st.tuples(st.sampled_from([3, 4]), st.integers(1, 6), st.booleans()), max_size=2, unique_by=lambda p: p[0]))
        stalls = tuple(r for r, _ in t.use.holds) if draw(st.booleans()) else ()
        holds = tuple((r, t.use.lasts_s if r in stalls else s) for r, s in t.use.holds)
        found.append(Task(t.waits, Use(holds, t.use.lasts_s, tuple((p, float(s), waits) for p, s, waits in ports), stalls)))
    return found


@given(with_ports())
def test_ports_serve_all_and_one_at_a_time(tasks: list[Task]) -> None:
    """Nobody is done before its ports had time for it and for all that started before; replays of the same durations are the simulation."""
    found = simulate(tasks, 5)
    free = {3: 0.0, 4: 0.0}
    for number in found.order:
        t, start = tasks[number], found.start_s[number]
        assert all(found.end_s[before] <= start for before in t.waits)
        ends = [start + t.use.lasts_s]
        for port, seconds, waits in t.use.ports:
            free[port] = max(free[port], start) + seconds
            ends += [free[port]] * waits
        assert found.end_s[number] == max(ends)
    for resource in range(3):
        held = sorted(
            (found.start_s[n], found.end_s[n] if resource in t.use.stalls else found.start_s[n] + s)
            for n, t in enumerate(tasks)
            for r, s in t.use.holds
            if r == resource
        )
        assert all(a[1] <= b[0] for a, b in pairwise(held))
    replay, seconds = replay_of(tasks)
    starts, ends = replay.times_of_one(seconds)
    assert starts.tolist() == found.start_s.tolist()
    assert ends.tolist() == found.end_s.tolist()
    latency, way = replay.way_of_one(seconds)
    assert replay.latency_of_one(seconds) == found.makespan_s == latency == sum(seconds[row] for row in way)
    assert replay.latency_s(np.array(seconds)[:, None] * np.ones(2)).tolist() == [found.makespan_s] * 2


@given(with_ports(), st.lists(st.integers(1, 5), min_size=60, max_size=60))
def test_a_replay_keeps_the_order_on_every_resource(tasks: list[Task], seconds: list[int]) -> None:
    """At other durations nothing starts before what it waits for, nor on a resource before it is free, and ports serve in the order of
    starts: one point alone as among others; and something that it waits for ends just then."""
    replay, made = replay_of(tasks)
    many = iter(seconds)
    other = []
    for t in tasks:
        holds = tuple((r, float(next(many, 2))) for r, _ in t.use.holds)
        lasts = max(s for _, s in holds)
        holds = tuple((r, lasts if r in t.use.stalls else s) for r, s in holds)
        other.append(Task(t.waits, Use(holds, lasts, tuple((p, float(next(many, 2)), w) for p, _, w in t.use.ports), t.use.stalls)))
    each = replay_of(other)[1]
    assert len(each) == len(made)
    starts, ends = replay.times_of_one(each)
    latency, way = replay.way_of_one(each)
    assert replay.latency_of_one(each) == ends.max() == latency == sum(each[row] for row in way)
    assert replay.latency_s(np.array(each)[:, None] * np.array([1.0, 3.0])).tolist() == [ends.max(), 3 * ends.max()]
    free, served = dict.fromkeys(range(3), 0.0), {3: 0.0, 4: 0.0}
    for number in replay.order:
        t = other[number]
        assert starts[number] == max([0.0, *(ends[b] for b in t.waits), *(free[r] for r, _ in t.use.holds)])
        done = starts[number] + t.use.lasts_s
        for port, lasts, waits in t.use.ports:
            served[port] = max(served[port], starts[number]) + lasts
            done = max(done, served[port]) if waits else done
        assert ends[number] == done
        free |= {r: done if r in t.use.stalls and t.use.ports else starts[number] + s for r, s in t.use.holds}
