"""Groups that run at the same time as those whose results they read."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.cost.many_core import ChipEvaluation, evaluate_chip
from dse.cost.metrics import Objective
from dse.schedule.cores.abreast import _branches
from dse.schedule.cores.groups import find_work, single_groups
from dse.schedule.cores.progress import Progress
from dse.schedule.plan import Schedule
from tests.unit.schedule.chips import small_chip
from tests.unit.schedule.graphs import attention, swiglu_chain


def evaluated(cores: int, schedule: Schedule = Schedule.FUSED) -> ChipEvaluation:
    """Attention of 64 queries and keys where only one vector core normalises what matrix cores multiply."""
    chip = small_chip(cores, vector=True, dram_gb_per_s=64, bus_gb_per_s=64)
    graph = attention(64, 64, 64, 64)
    return evaluate_chip(chip, ((graph, 1),), tokens=1, stored_bytes=0.0, objective=Objective.LATENCY, schedule=schedule)


@pytest.mark.parametrize("cores", [1, 2])
def test_matrix_and_vector_cores_work_at_the_same_time(cores: int) -> None:
    """Arrays alone work 8,192 cycles on one core; one after the other they and the vector core would take 11,776. On two cores the tiles
    of operators alone are small enough for the same."""
    found, apart = evaluated(cores), evaluated(cores, Schedule.LAYER_BY_LAYER)
    assert found.latency_s <= 1.15 * found.lower_bound_s
    assert apart.latency_s >= (1.3 if cores == 1 else 1.0) * found.latency_s
    scores, softmax, context = found.groups
    assert scores.start_s < softmax.start_s < scores.end_s
    assert softmax.start_s < context.start_s or context.start_s < softmax.end_s
    assert softmax.dram_bytes == 0.0


@pytest.mark.parametrize("cores", [1, 2])
def test_no_piece_is_computed_before_what_it_reads(cores: int) -> None:
    """The first share of a reader needs at least that share of its writers."""
    found = evaluated(cores)
    outcome = found.parts[0].planned.outcome
    ends: list[list[float]] = [[] for _ in outcome.layout.groups]
    starts: list[list[float]] = [[] for _ in outcome.layout.groups]
    for number, note in enumerate(outcome.tasks.notes):
        if note.what == "compute":
            starts[note.group].append(float(outcome.simulation.start_s[number]))
            ends[note.group].append(float(outcome.simulation.end_s[number]))
    for writer, reader in ((0, 1), (1, 2)):
        for piece, start in enumerate(starts[reader]):
            needed = ceil((piece + 1) / len(starts[reader]) * len(ends[writer]) - 1e-9)
            assert ends[writer][needed - 1] <= start * (1 + 1e-12)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(0, 1), st.integers(1, 24), st.data())
def test_what_is_ready_covers_what_is_read(indices: int, reads: int, writes: int, behind: int, pieces: int, data: st.DataObject) -> None:
    """Tiles of reader and writer counted one by one: work goes evenly through tiles, a tile reads and writes all indices that it touches."""
    reader, writer = Progress("s", indices, reads), Progress("s", indices, writes, behind)
    piece = data.draw(st.integers(1, pieces))
    share = piece / pieces
    begun = [t for t in range(reads) if t / reads < share - 1e-9]
    touched = {i for t in begun for i in range(indices) if i / indices < (t + 1) / reads - 1e-12 and (i + 1) / indices > t / reads + 1e-12}
    last = max(touched) + 1
    assert reader.read(share) >= last / indices - 1e-9
    worked = writer.worked(last / indices)
    whole = min(writes, int(worked * writes + 1e-6))
    done = whole if worked >= 1 - 1e-9 else whole - behind
    assert done / writes >= last / indices - 1e-9


def test_branches_run_side_by_side() -> None:
    """Gate and up projection of 8 columns on arrays of 8 x 8: divided over all four cores each part would be two columns wide, and both
    would wait for the same rows to pass. Two cores each, at the same time, take less."""
    chip = small_chip(4, capacity_kib=256, dram_gb_per_s=512, bus_gb_per_s=512)
    graph = swiglu_chain(8, 8, 8, 1)
    found = evaluate_chip(chip, ((graph, 1),), tokens=1, stored_bytes=0.0, objective=Objective.LATENCY)
    by_name = {g.group: g for g in found.groups}
    gate, up = by_name["gate0"], by_name["up0"]
    assert not set(gate.cores) & set(up.cores)
    assert max(gate.start_s, up.start_s) < min(gate.end_s, up.end_s)


def test_branches_are_found_by_what_waits_for_what() -> None:
    """gate, sigmoid and silu against up; down and product wait for all."""
    work = find_work(swiglu_chain(8, 8, 8, 2))
    names = [{work.order[i].name for i in members} for members in _branches(single_groups(work))]
    assert names == [{"gate0", "sigmoid0", "silu0", "up0"}, {"gate1", "sigmoid1", "silu1", "up1"}]
