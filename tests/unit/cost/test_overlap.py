"""Overlapping windows: by hand, against event simulations that know nothing of windows, and against published targets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.cost.columns import ARRAY, BUFFER_WRITE, DRAM_READ
from dse.cost.metrics import Objective
from dse.cost.roofline import roofline
from dse.cost.window_table import CostedWindow, Piece, PlacedRow, Rates, WindowTable, costed_window
from dse.cost.workload_pricing import CompiledPart, price_part
from dse.evaluate import compile_step, graph_step, price
from dse.ir.lowering import Part, Phase
from dse.schedule.rounds import pipelined_bytes, rounds
from dse.schedule.segments import Cut
from tests.unit.cost.compiled import accelerator, compiled, step
from tests.unit.schedule.graphs import GEOMETRY, swiglu_chain, two_layers


def row(
    *, cycles: float = 0.0, vector_ops: float = 0.0, dram: float = 0.0, stream: float = 0.0, ramp: float = 0.0, size: float = 0.0
) -> PlacedRow:
    counts = np.zeros(5)
    counts[[ARRAY, DRAM_READ, BUFFER_WRITE]] = cycles, dram, dram
    return PlacedRow("o", 1, counts, np.zeros(5), stream, 0.0, size, (), vector_ops, ramp, 0, False)


def rates(*, bytes_per_s: float = 1.0, write_bytes_per_s: float = np.inf, capacity_bytes: float = np.inf, cycle_s: float = 1.0) -> Rates:
    seconds = np.array([1 / bytes_per_s, 1 / bytes_per_s, 0.0, 1 / write_bytes_per_s, cycle_s])[:, None]
    one, zero = np.ones(1), np.zeros(1)
    return Rates(seconds, one, capacity_bytes * one, np.zeros((0, 1)), zero, zero)


def alone(placed: PlacedRow) -> CostedWindow:
    return costed_window([Piece(placed, 1, first=True)], 0.0, 1, GEOMETRY, together=True)


def seconds(windows: list[CostedWindow], point: Rates) -> float:
    return float(WindowTable([windows], GEOMETRY).latency_s(point)[0, 0])


def test_loads_run_ahead_as_far_as_the_buffer_has_room() -> None:
    """A computes 10 s and loads nothing; B computes 1 s and loads 8 bytes at 1 byte/s. All of B's loads fit under A: 11 s.
    Room for 3 bytes: 10 + (8 - 3) = 15 s. Loads that need A's result: 18 s."""
    a, b, late = alone(row(cycles=10)), alone(row(cycles=1, dram=8, stream=8)), alone(row(cycles=1, dram=8))
    assert seconds([a, b], rates()) == 11
    assert seconds([a, b], rates(capacity_bytes=3)) == 15
    assert seconds([a, late], rates()) == 18
    assert seconds([b, a], rates()) == 18


def test_loads_run_ahead_over_several_windows() -> None:
    """10 s, 1 s, 1 s of compute; the last loads 12 bytes: 10 under the first, 1 under the second, 1 under itself."""
    windows = [alone(row(cycles=10)), alone(row(cycles=1)), alone(row(cycles=1, dram=12, stream=12))]
    assert seconds(windows, rates()) == 12


def test_loads_share_the_write_port() -> None:
    """The port takes 2 bytes/s: 8 bytes at 4 bytes/s from DRAM take 4 s of it, all under A's 10 s or, without A, 4 s."""
    b = alone(row(cycles=1, dram=8, stream=8))
    assert seconds([b], rates(bytes_per_s=4, write_bytes_per_s=2)) == 4
    assert seconds([alone(row(cycles=10)), b], rates(bytes_per_s=4, write_bytes_per_s=2)) == 11


def test_operators_of_a_round_hide_all_ramps_but_one() -> None:
    a, b = (Piece(row(cycles=c, ramp=3), 1, first=True) for c in (10, 20))
    assert costed_window([a, b], 0.0, 1, GEOMETRY, together=True).counts[ARRAY] == 27
    assert costed_window([a, b], 0.0, 1, GEOMETRY, together=False).counts[ARRAY] == 30


@pytest.mark.parametrize("stages", range(1, 6))
@pytest.mark.parametrize("slices", range(1, 12))
def test_rounds_are_a_pipeline(stages: int, slices: int) -> None:
    """Round k has slice k - j of operator j."""
    found = [share for share, runs in rounds(range(stages), slices) for _ in range(runs)]
    assert [tuple(s.operator for s in shares) for shares in found] == [
        tuple(j for j in range(stages) if 0 <= k - j < slices) for k in range(slices + stages - 1)
    ]
    assert sorted(s.operator for shares, _ in rounds(range(stages), slices) for s in shares if s.first) == list(range(stages))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 20)), min_size=2, max_size=6),
    st.integers(2, 20),
)
def test_an_event_simulation_with_the_copies_counted_keeps_the_promise(operators: list[tuple[bool, int]], slices: int) -> None:
    """Operators on two units, one slice at a time, a result overwritten only when its reader is done with the slice before it (two
    copies); units take slices in the order of the rounds but wait for nothing else. That ends no later than rounds say."""
    count = len(operators)
    ends: dict[tuple[int, int], float] = {}
    free = {True: 0.0, False: 0.0}
    for k in range(slices + count - 1):
        for j, (array, lasts) in enumerate(operators):
            t = k - j
            if 0 <= t < slices:
                waits = ((j - 1, t), (j, t - 1), (j + 1, t - 2))
                start = max(free[array], *(ends.get(w, 0.0) for w in waits))
                free[array] = ends[j, t] = start + lasts
    rows = [row(cycles=lasts) if array else row(vector_ops=lasts) for array, lasts in operators]
    windows = [
        costed_window([Piece(rows[s.operator], s.slices, s.first) for s in shares], 0.0, runs, GEOMETRY, together=True)
        for shares, runs in rounds(range(count), slices)
    ]
    priced = seconds(windows, rates())
    busiest = max(sum(lasts for array, lasts in operators if array is unit) for unit in (True, False))
    assert slices * busiest <= priced <= (slices + count - 1) * busiest
    assert max(ends.values()) <= priced


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 10), st.integers(0, 12)), min_size=1, max_size=8),
    st.integers(12, 60),
)
def test_a_loader_that_fetches_byte_by_byte_takes_as_long(work: list[tuple[int, int, int, int]], capacity: int) -> None:
    """(cycles, bytes that may run ahead, bytes that may not, tile bytes) of each window; one byte per second, one loop over bytes."""
    windows = [alone(row(cycles=c, dram=s + u, stream=s, size=t)) for c, s, u, t in work]
    assert seconds(windows, rates(capacity_bytes=capacity)) == pytest.approx(fetched(work, capacity))


@given(
    st.lists(st.lists(st.tuples(*[st.integers(0, 9)] * 4), min_size=1, max_size=5), min_size=1, max_size=4),
    st.lists(st.integers(0, 40), min_size=1, max_size=6),
)
@settings(max_examples=100, deadline=None)
def test_many_buffers_at_once_are_as_many_alone(sequences: list[list[tuple[int, int, int, int]]], sizes: list[int]) -> None:
    """`latency_in_s`, which prices no buffer twice that has room for all loads, against each buffer on its own."""
    table = WindowTable(
        [[alone(row(cycles=c, dram=s + f, stream=s, size=b)) for c, s, f, b in sequence] for sequence in sequences], GEOMETRY
    )
    found = table.latency_in_s(np.sort(np.array(sizes, dtype=float)), rates(bytes_per_s=3.0))
    for at, size in enumerate(sorted(sizes)):
        assert np.array_equal(found[:, at], table.latency_s(rates(bytes_per_s=3.0, capacity_bytes=size)))


def fetched(work: list[tuple[int, int, int, int]], capacity: int) -> float:
    """Seconds when a loader takes the next byte whenever some window's byte is missing and there is room for it until it is used."""
    owner = [i for i, (_, s, _, _) in enumerate(work) for _ in range(s)]
    room = [capacity - tile for *_, tile in work]
    loaded = now = 0
    for i, (cycles, _, fixed, _) in enumerate(work):
        end = now + cycles
        busy = now + fixed
        mine = sum(s for _, s, _, _ in work[: i + 1])
        while loaded < mine or (loaded < len(owner) and busy < end and waits(owner, loaded, i, room)):
            loaded, busy = loaded + 1, busy + 1
        now = max(end, busy)
    return now


def waits(owner: list[int], loaded: int, window: int, room: list[int]) -> bool:
    """Whether one more byte fits beside each window from now until its own begins."""
    for j in range(window, owner[loaded]):
        later = sum(1 for o in owner[: loaded + 1] if o > j)
        if later > min(room[j], room[j + 1]):
            return False
    return True


def test_copies_of_a_pipelined_segment_by_hand() -> None:
    """x [4, 8] w1 [8, 16] relu w2 [16, 8], fp16, four slices of one row. Held h and a: 32 bytes a row, two copies each: the one that is
    written and the one that is read."""
    book = compile_step(graph_step(two_layers(), 4), GEOMETRY).parts[0].book
    builder = book.builder
    stream = next(s for s in builder.sliceable[0] if builder.streams.sizes[s] == 4)
    segment = builder.build(0, 2, (Cut(stream, 4),), frozenset({"h", "a"}))
    assert segment.peak_bytes == 64
    assert pipelined_bytes(builder, segment) == 2 * 32 + 2 * 32


@pytest.mark.parametrize(("batch", "most"), [(1, 1.10), (32, 1.20), (128, 1.20)])
def test_mla_decode_on_tpu7x(batch: int, most: float) -> None:
    """Times the roofline that the attention layer of DeepSeek-V3 may take, 4,096 positions, left to right, bf16."""
    given_step, chip = step("deepseek_v3", "left_to_right", batch=batch), accelerator("tpu7x")
    found = compiled(given_step, "tpu7x")
    table = chip.table({})
    cycles = price(found, table).latency_s[0] * table.clock_hz[0]
    least = roofline(found, table).cycles
    assert least <= cycles <= most * least


@pytest.mark.parametrize("name", ["flat_edge", "flat_cloud", "tpu7x", "h100_sxm"])
@pytest.mark.parametrize("phase", [Phase.DECODE, Phase.PREFILL])
def test_overlap_never_costs_latency_or_energy(name: str, phase: Phase) -> None:
    given_step = step("deepseek_v2_lite", part=Part.LAYER, cache_len=256, phase=phase)
    part, table = compiled(given_step, name).parts[0], accelerator(name).table({})
    assert part.combinations is not None
    bare = CompiledPart(part.name, part.count, part.book, part.plans)
    for objective, value in ((Objective.LATENCY, "latency_s"), (Objective.ENERGY, "energy_j")):
        with_overlap, without = (getattr(price_part(p, table, objective), value)[0] for p in (part, bare))
        assert with_overlap <= without * (1 + 1e-3)


def test_more_of_anything_is_never_slower() -> None:
    """Combinations are fixed, so their best latency falls with every rate and with the buffer."""
    chip = accelerator("tpu7x")
    found = compile_step(graph_step(swiglu_chain(128, 512, 1024, 2), 128), chip.geometry)
    for path, values in (
        ("memories.vmem.capacity_kib", [256, 512, 1024, 4096, 65536]),
        ("memories.hbm.bandwidth_gb_per_s", [100, 400, 1000, 7000, 20000]),
        ("memories.vmem.read_gb_per_s", [1000, 4000, 20000, 54000]),
        ("memories.vmem.write_gb_per_s", [1000, 4000, 20000, 54000]),
        ("core.vector.lanes", [64, 512, 4096, 65536]),
    ):
        latency = price(found, chip.table({path: np.array(values, dtype=float)})).latency_s
        assert (np.diff(latency) <= 1e-3 * latency[:-1]).all(), path
