"""Streams, storages and segments of a graph counted by hand, and of MLA."""

from __future__ import annotations

import pytest

from dse.ir.lowering import Part
from dse.ir.onnx_read import read_onnx
from dse.ir.operator import Kind
from dse.schedule.candidates import Candidate, candidates, runs, segment_of
from dse.schedule.growth import Hold, Way
from dse.schedule.plan import Schedule, make_plans
from dse.schedule.segments import Cut, consecutive, slice_counts
from dse.schedule.storage import find_storages
from dse.schedule.streams import as_late_as_possible, find_streams
from dse.workload import WorkloadOptions, load_workload

from .graphs import GEOMETRY, attention, two_layers


@pytest.fixture(scope="module")
def builder():
    return make_plans(two_layers(), Schedule.LAYER_BY_LAYER, GEOMETRY).builder


def stream_of(builder, operator: str, tensor: str, axis: int) -> str:
    """The stream of the loop that indexes one axis of an operand."""
    found = next(o for o in builder.order if o.name == operator)
    dim = next(x for x in (*found.inputs, *found.outputs) if x.tensor == tensor).axes[axis]
    return next(s for s, d in builder.streams.loops[operator].items() if d == dim)


def test_order_and_storages() -> None:
    graph = two_layers()
    order = as_late_as_possible(graph)
    assert [o.name for o in order] == ["up", "relu", "down"]
    found = find_storages(graph, order, find_streams(graph).axes)
    assert {n: (s.size_bytes, s.writers, s.readers, s.from_outside, s.to_outside) for n, s in found.items()} == {
        "x": (64, (), (0,), True, False),
        "w1": (256, (), (0,), True, False),
        "h": (128, (0,), (1,), False, False),
        "a": (128, (1,), (2,), False, False),
        "w2": (256, (), (2,), True, False),
        "y": (64, (2,), (), False, True),
    }


def test_rows_stream_through_all_three(builder) -> None:
    """The 4 rows go through; the 16 hidden columns go through up and relu and are summed by down."""
    rows = stream_of(builder, "up", "x", 0)
    assert rows == stream_of(builder, "relu", "h", 0) == stream_of(builder, "down", "y", 0)
    assert builder.streams.sizes[rows] == 4
    hidden = stream_of(builder, "up", "h", 1)
    assert hidden == stream_of(builder, "down", "w2", 0)
    assert builder.streams.sizes[hidden] == 16
    up, relu, down = builder.order
    assert {rows, hidden} <= builder.streams.sliceable(up)
    assert {rows, hidden} <= builder.streams.sliceable(relu)
    assert rows in builder.streams.sliceable(down)
    assert hidden not in builder.streams.sliceable(down)


def test_nothing_held(builder) -> None:
    """Each operand once: up 64 + 256 + 128, relu 128 + 128, down 128 + 256 + 64."""
    found = [builder.build(p, p, (), frozenset()) for p in range(3)]
    assert [s.dram_bytes for s in found] == [(448.0,), (256.0,), (448.0,)]
    assert [s.peak_bytes for s in found] == [0.0] * 3


def test_intermediates_held_whole(builder) -> None:
    """h and a stay: x, w1 in, then nothing, then w2 in and y out; 128, 256, 128 bytes held."""
    segment = builder.build(0, 2, (), frozenset({"h", "a"}))
    assert segment.dram_bytes == (64 + 256, 0.0, 256 + 64)
    assert segment.reserved_bytes == (128.0, 256.0, 128.0)
    assert segment.peak_bytes == 256


def test_slices_read_again_what_they_share(builder) -> None:
    """Four slices of one row: weights are read four times unless held, intermediates take a quarter."""
    rows = stream_of(builder, "up", "x", 0)
    segment = builder.build(0, 2, (Cut(rows, 4),), frozenset({"h", "a"}))
    assert segment.dram_bytes == (64 + 4 * 256, 0.0, 4 * 256 + 64)
    assert segment.reserved_bytes == (32.0, 64.0, 32.0)
    held = builder.build(0, 2, (Cut(rows, 4),), frozenset({"h", "a", "w1", "w2"}))
    assert held.dram_bytes == (64 + 256, 0.0, 256 + 64)
    assert held.reserved_bytes == (32 + 512, 64 + 512, 32 + 512)


def every_run(builder) -> list[Candidate]:
    return [c for front in runs(builder, 1 << 30, 1024) for c in candidates(front)]


def test_the_totals_of_a_run_by_hand(builder) -> None:
    segment = builder.build(0, 2, (), frozenset({"h", "a"}))
    assert segment.array_cycles[1] == 0
    (found,) = [c for c in every_run(builder) if c.members == (0, 1, 2) and c.way == Way((), Hold.BETWEEN)]
    assert (found.peak_bytes, found.dram_bytes, found.cycles) == (segment.peak_bytes, 640, sum(segment.array_cycles))


def test_every_candidate_is_what_it_grew_from() -> None:
    """What is counted operator by operator agrees with the segment built at once; sums that are cut need their accumulators."""
    builder = make_plans(attention(64, 128, 16, 32), Schedule.LAYER_BY_LAYER, GEOMETRY).builder
    found = every_run(builder)
    assert {len(c.way.cuts) for c in found} >= {0, 1, 2}
    reduced = 0
    for c in found:
        segment = segment_of(builder, c.members[0], c.members[-1], c.way)
        assert sum(segment.dram_bytes) == pytest.approx(c.dram_bytes)
        assert segment.peak_bytes == pytest.approx(c.peak_bytes)
        assert c.cycles >= sum(segment.array_cycles) * (1 - 1e-12)
        reduced += segment.reducer is not None
    assert reduced


def test_a_cut_sum_holds_its_accumulators(builder) -> None:
    """Two halves of the 16 hidden columns: all operands once, 640 B; accumulators 2 x 4 x 8 x 4 B beside what a half needs."""
    hidden = stream_of(builder, "up", "h", 1)
    everything = frozenset(builder.storages)
    segment = builder.build(0, 2, (Cut(hidden, 2),), everything)
    assert segment.reducer == 2
    assert sum(segment.dram_bytes) == 640
    whole = builder.build(0, 2, (), everything)
    assert segment.slices == 2
    assert builder.accumulator_bytes(2, segment.cuts) == 2 * 4 * 8 * 4
    assert whole.reducer is None


@pytest.mark.parametrize(("size", "counts"), [(1, (1,)), (16, (16, 4)), (128, (128, 32, 8, 2)), (7, (7,)), (12, (12, 3)), (6, (6,))])
def test_slice_counts(size: int, counts: tuple[int, ...]) -> None:
    """Divisors, each at most a quarter of the one before, down to two."""
    assert slice_counts(size) == counts


@pytest.fixture(scope="module")
def mla():
    """DeepSeek-V3's attention, left to right with rope, 4 sequences of 1024 positions."""
    options = WorkloadOptions(model="deepseek_v3", part=Part.ATTENTION, batch=4, cache_len=1024, attention="left_to_right")
    name, model, _ = load_workload(options).models[0]
    return read_onnx(model, name=name)


def test_mla_streams_by_batch_and_by_head(mla) -> None:
    """Batch goes through everything from the first product to the last; heads from the query on; keys through the softmax."""
    streams = find_streams(mla)
    by_name = {o.name: o for o in mla.operators}
    batch = next(s for s, d in streams.loops["score"].items() if d == "b")
    heads = next(s for s, d in streams.loops["score"].items() if d == "h")
    keys = next(s for s, d in streams.loops["score"].items() if d == "t")
    assert (streams.sizes[batch], streams.sizes[heads], streams.sizes[keys]) == (4, 128, 1024)
    for name in ("latent_down", "query_down", "query_up", "query_absorbed", "score", "probability", "context", "value_up", "attention_out"):
        assert batch in streams.sliceable(by_name[name]), name
    for name in ("query_up", "query_absorbed", "score", "probability", "context", "value_up"):
        assert heads in streams.sliceable(by_name[name]), name
    assert heads not in streams.sliceable(by_name["attention_out"])  # summed over heads
    assert keys not in streams.sliceable(by_name["probability"])  # a row is needed whole
    assert batch in streams.axes["latent_cache"]
    assert heads not in streams.axes["latent_cache"]  # all heads share it


def test_schedule_order_keeps_dependences_and_leaves_views_out(mla) -> None:
    order = as_late_as_possible(mla)
    assert {o.name for o in order} == {o.name for o in mla.operators if o.kind is not Kind.VIEW}
    written = {t for o in mla.operators if o.kind is Kind.VIEW for t in (x.tensor for x in o.outputs)} | set(mla.inputs)
    for o in order:
        assert all(x.tensor in written for x in o.inputs), o.name
        written |= {x.tensor for x in o.outputs}


def test_plans_of_mla_cover_every_operator_once(mla) -> None:
    for schedule in Schedule:
        book = make_plans(mla, schedule, GEOMETRY_BF16)
        assert len(book.plans) >= (4 if schedule is Schedule.FUSED else 1)
        for plan in book.plans:
            assert consecutive(plan.segments, len(book.order))
            assert len(plan.reserved_bytes) == len(book.order)
            assert min(plan.reserved_bytes) >= 0
        assert book.plans[0].peak_bytes == 0


GEOMETRY_BF16 = type(GEOMETRY)(
    type(GEOMETRY.array)(256, 256, 1, GEOMETRY.array.dataflows, GEOMETRY.array.folds, (("bf16", 1),)), double_buffered=True
)
