"""Plans for many cores against enumeration, hand counts and the bounds that no schedule beats."""

from __future__ import annotations

from functools import partial
from itertools import product
from pathlib import Path

import pytest

from accelerators.catalogue import TECHNOLOGIES
from dse.cost.evaluation import evaluate
from dse.cost.frontier_pricing import TIE_TOLERANCE
from dse.cost.many_core import ChipEvaluation, evaluate_chip
from dse.cost.metrics import Objective
from dse.errors import GraphError
from dse.evaluate import Schedule, compile_step, graph_step
from dse.files import parse_yaml
from dse.hw.many_core_read import ChipDescription, describe_chip
from dse.ir.graph import OperatorGraph
from dse.ir.onnx_read import load_onnx
from dse.plugins import chip_names, load_chip
from dse.schedule.cores import planner as planner_module
from dse.schedule.cores.chip_plan import no_room_message
from dse.schedule.cores.groups import find_work, make_group, single_groups
from dse.schedule.cores.layout import Assigned, NoRoom
from dse.schedule.cores.part_price import KindPricer
from dse.schedule.cores.planner import NoPlan, Planned, Planner, value_of
from dse.schedule.cores.shapes import Shape, shapes, windows
from dse.schedule.cores.timeline import chip_timeline, peak_bytes
from dse.schedule.plan import make_plans
from dse.schedule.segments import Cut
from tests.unit.schedule.chips import SHARED, small_chip
from tests.unit.schedule.graphs import swiglu_chain, two_layers


def planner_of(chip: ChipDescription, graph: OperatorGraph, objective: Objective = Objective.LATENCY) -> Planner:
    kinds = {kind: KindPricer(d) for kind, d in chip.kinds.items()}
    return Planner(chip.chip, find_work(graph), kinds, 0.0, objective)


def evaluated(chip: ChipDescription, graph: OperatorGraph, objective: Objective = Objective.LATENCY) -> ChipEvaluation:
    return evaluate_chip(chip, ((graph, 1),), tokens=1, stored_bytes=0.0, objective=objective)


@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize("vector", [False, True])
def test_small_plans_are_the_best_of_all(objective: Objective, vector: bool) -> None:
    planner = planner_of(small_chip(2, vector=vector), two_layers(), objective)
    groups = single_groups(planner.work)
    places = [[Assigned(s, w) for s in shapes(g, planner.chip, planner.work) for w in windows(s, planner.chip)] for g in groups]
    values = []
    for assigned in product(*places):
        found = planner.evaluate(groups, assigned)
        assert not isinstance(found, NoRoom)
        values.append(value_of(found, objective))
    planned = planner.plan(groups, seed=0)
    assert isinstance(planned, Planned)
    assert planned.exact
    assert planned.trials == len(values)
    assert planned.value <= min(values) * (1 + TIE_TOLERANCE)
    assert planned.value in values


@pytest.mark.parametrize(("cores", "rows"), [(2, 4), (3, 16), (2, 64)])
def test_the_search_is_near_the_best(cores: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path for large plans against enumeration, on plans small enough for both."""
    chip = small_chip(cores, capacity_kib=16)
    graph = swiglu_chain(rows, 32, 64, 1)
    work = find_work(graph)
    groups = (*single_groups(work)[:2], make_group(work, 2, 4, (), frozenset()), single_groups(work)[5])
    planner = planner_of(chip, graph)
    monkeypatch.setattr(planner_module, "MAX_ENUMERATED", 10**6)
    offered = [list(shapes(g, planner.chip, planner.work)) for g in groups]
    few = [[s for s in options if s.ways in (1, cores) and not s.reduces] for options in offered]
    places = [[Assigned(s, w) for s in options for w in windows(s, planner.chip)] for options in few]
    best = min(value_of(o, Objective.LATENCY) for a in product(*places) if not isinstance(o := planner.evaluate(groups, a), NoRoom))
    monkeypatch.setattr(planner_module, "MAX_ENUMERATED", 0)
    searched = planner.plan(groups, seed=0)
    assert isinstance(searched, Planned)
    assert not searched.exact
    assert searched.value <= best * 1.05


def test_one_operator_on_one_core_by_hand() -> None:
    """x [4, 8] w1 [8, 16], fp16 at 1 GHz: 64 + 256 bytes in at 16 GB/s take 20 ns, 128 bytes out 8 ns, in four pieces.

    The array's cycles are those of the one-core model; piece n is loaded while piece n - 1 is computed. Loading is the longest:
    the last piece is loaded at 20 ns, then computed, then stored.
    """
    planner = planner_of(small_chip(1), two_layers())
    group = single_groups(planner.work)[0]
    found = planner.evaluate((group,), (Assigned(Shape("mac", None, 1), (0,)),))
    assert not isinstance(found, NoRoom)
    compute = found.layout.groups[0].part.compute_s
    assert sum(x.size_bytes for x in found.layout.groups[0].loads) == 64 + 256
    assert [x.size_bytes for x in found.layout.groups[0].stores] == [128]
    loaded = 20e-9
    stored = 8e-9
    last = max(loaded / 4 + compute, loaded + compute / 4)
    assert last + stored / 4 - 1e-15 <= found.latency_s <= loaded + compute + stored + 1e-15


def test_what_all_cores_read_is_sent_once() -> None:
    """Rows divided over four cores: the weights cross the memory's port and the bus once, whatever the number of cores."""
    planner = planner_of(small_chip(4, capacity_kib=256), two_layers())
    group = single_groups(planner.work)[0]
    for ways in (1, 2, 4):
        stream = next((s for s in planner.work.streams.sizes if planner.work.streams.sizes[s] == 4), None)
        shape = Shape("mac", stream if ways > 1 else None, ways)
        found = planner.evaluate((group,), (Assigned(shape, tuple(range(ways))),))
        assert not isinstance(found, NoRoom)
        weights = next(x for x in found.layout.groups[0].loads if x.storage == "w1")
        assert weights.size_bytes * weights.pattern.sent == 256
        port = dict(weights.pattern.channels)[planner.transfers.number["dram.port"]]
        assert port * weights.size_bytes == 256


def test_a_divided_sum_is_brought_together() -> None:
    """K over two cores: the second sends its partial sums, 4 x 16 of 4 bytes, to the first, which adds them."""
    planner = planner_of(small_chip(2), two_layers())
    group = single_groups(planner.work)[0]
    shape = next(s for s in shapes(group, planner.chip, planner.work) if s.reduces and s.ways == 2)
    found = planner.evaluate((group,), (Assigned(shape, (0, 1)),))
    assert not isinstance(found, NoRoom)
    laid = found.layout.groups[0]
    assert laid.reduction is not None
    assert laid.reduction.size_bytes == 4 * 16 * 4
    assert laid.added is not None
    assert float(planner.charges.kinds["mac"].adding_s(laid.added)[0]) >= 4 * 16 / (8 * 1e9)
    assert [n.what for n in found.tasks.notes][-3:] == ["reduce", "add", "store"]


def test_spilling_instead_of_failure() -> None:
    """Intermediates of 128 KiB with cores of 24 KiB leave them: for a shared buffer where there is one, else off chip."""
    graph = swiglu_chain(64, 32, 512, 1)
    without = evaluated(small_chip(2, capacity_kib=24), graph)
    assert without.feasible
    assert without.spilled
    beside = evaluated(small_chip(2, capacity_kib=24, extra=SHARED), graph)
    assert beside.feasible
    dram = [sum(b.bytes for b in e.breakdown if b.component == "dram") for e in (without, beside)]
    assert dram[1] < dram[0]
    assert any(b.component == "l2" for b in beside.breakdown)


def test_a_group_too_large_for_every_core_is_told_in_words() -> None:
    """All intermediates of a SwiGLU of 64 rows in cores of 1 KiB; its operators alone run all the same."""
    chip = small_chip(2, capacity_kib=1)
    planner = planner_of(chip, swiglu_chain(64, 32, 512, 1))
    storages = frozenset(planner.work.storages)
    found = planner.first((make_group(planner.work, 0, 5, (), storages),))
    assert isinstance(found, NoPlan)
    message = no_room_message(found, chip.chip)
    assert message.startswith("'gate0 +5' fits on no core in any division: the memory of mac0 has 1 KiB of 1 KiB left")
    assert "'wg0' 32 KiB" in message
    assert "capacity_kib" in message
    assert evaluated(chip, swiglu_chain(64, 32, 512, 1)).feasible


def test_weights_larger_than_the_memory_off_chip() -> None:
    found = evaluate_chip(small_chip(2), ((two_layers(), 1),), tokens=1, stored_bytes=2.0**31, objective=Objective.LATENCY)
    assert not found.feasible
    assert found.infeasibility[0].resource == "dram_capacity"
    assert found.infeasibility[0].message.startswith("weights and caches take 2.00 GiB, 'dram' holds 1.00 GiB")
    assert found.to_json_dict()["latency_cycles"] is None


def test_an_operator_that_no_core_may_run_is_named() -> None:
    chip = load_chip("tpu_like_quad").with_overrides({"cores.simd.op_types": ["Add"]})
    with pytest.raises(GraphError, match=r"node 'relu'.*no core of tpu_like_quad may run Relu.*'simd' \(vector unit; Add\)"):
        evaluated(chip.with_overrides({"cores.tpu.array.macs_per_pe_per_cycle.fp16": 1}), two_layers())


def test_groups_go_slice_by_slice_with_their_intermediates_on_chip() -> None:
    """A fused SwiGLU in slices of rows moves only its inputs, weights and result."""
    graph = swiglu_chain(64, 32, 64, 1)
    planner = planner_of(small_chip(2, capacity_kib=64), graph)
    work = planner.work
    rows = next(s for s in work.streams.sliceable(work.order[0]) if work.streams.sizes[s] == 64 and s in work.streams.axes["x1"])
    held = frozenset(s.name for s in work.storages.values())
    group = make_group(work, 0, 5, (Cut(rows, 8),), held)
    found = planner.evaluate((group,), (Assigned(Shape("mac", rows, 2), (0, 1)),))
    assert not isinstance(found, NoRoom)
    loads = {x.storage: x.size_bytes * x.pattern.sent for x in found.layout.groups[0].loads}
    assert loads == {"x0": 64 * 32 * 2, "wg0": 32 * 64 * 2, "wu0": 32 * 64 * 2, "wd0": 64 * 32 * 2}
    assert [x.size_bytes for x in found.layout.groups[0].stores] == [64 * 32 * 2]
    assert all(o.work.slices == 8 for o in found.layout.groups[0].part.operators)


@pytest.mark.parametrize("name", [*chip_names(), "small"])
@pytest.mark.parametrize("objective", [Objective.LATENCY, Objective.ENERGY])
def test_what_holds_on_every_chip(name: str, objective: Objective, monkeypatch: pytest.MonkeyPatch) -> None:
    """No plan ends before the bound, no memory holds more than it can, no resource does two things at once, energies add up."""
    monkeypatch.setattr(planner_module, "SEARCH_GROUPS", 20)
    chip = small_chip(3, capacity_kib=24, vector=True) if name == "small" else load_chip(name)
    if name == "tpu_like_quad":
        chip = chip.with_overrides({"cores.tpu.array.macs_per_pe_per_cycle.bf16": 1, "cores.tpu.array.mac_energy_pj.bf16": 0.04})
    found = evaluated(chip, swiglu_chain(48, 96, 160, 2), objective)
    assert found.feasible
    assert found.latency_s >= found.lower_bound_s * (1 - 1e-12)
    outcome = found.parts[0].planned.outcome
    line = chip_timeline("plan", outcome, chip.chip, found.clock_hz)
    assert line.problems() == []
    capacity = {c.name: c.capacity_bytes for c in chip.chip.cores}
    assert all(peak <= capacity[memory] * (1 + 1e-9) for memory, peak in peak_bytes(outcome, chip.chip).items())
    assert sum(b.energy_j for b in found.breakdown) == pytest.approx(found.energy_j, rel=1e-9)
    assert sum(b.bytes for b in found.breakdown if b.component == "dram") >= found.roofline.compulsory_bytes * (1 - 1e-9)
    assert evaluated(chip, swiglu_chain(48, 96, 160, 2), objective).to_json_dict() == found.to_json_dict()


@pytest.mark.parametrize(("capacity_kib", "most"), [(16, 1.05), (32, 1.07), (64, 1.05), (256, 1.05)])
@pytest.mark.parametrize("schedule", list(Schedule))
def test_a_chip_of_one_core_takes_what_the_core_takes(
    capacity_kib: int, most: float, schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulated on one core: at most 5 % (7 % at 32 KiB) above the priced latency of the one-core model with the same steps of slices,
    which adds up operators. Below it where tensors stay on chip between operators, or loads run ahead, which layer by layer the other does not do."""
    chip, graph = small_chip(1, capacity_kib=capacity_kib), swiglu_chain(64, 64, 128, 2)
    core = chip.kinds["mac"]
    many = evaluate_chip(chip, ((graph, 1),), tokens=1, stored_bytes=0.0, objective=Objective.LATENCY, schedule=schedule)
    fine = evaluate(compile_step(graph_step(graph, 1), core.geometry, schedule=schedule), core.table(), Objective.LATENCY)
    monkeypatch.setattr("dse.evaluate.make_plans", partial(make_plans, fine=False))
    one = evaluate(compile_step(graph_step(graph, 1), core.geometry, schedule=schedule), core.table(), Objective.LATENCY)
    assert many.lower_bound_s * (1 - 1e-12) <= many.latency_s <= most * one.latency_s
    assert many.latency_s <= 1.07 * fine.latency_s  # finer steps are tried where coarser ones stay far above the bound (decision 0041)


def test_one_small_core_moves_the_same_bytes() -> None:
    """512 x 768 x 2048 in 256 KiB, bound by the memory off chip: the same bytes and energy as the one-core model, 1 % more time at most."""
    chip = load_chip("simba").with_overrides(
        {
            "cores.chiplet.count": 1,
            "links": {"entry": {"kind": "link", "between": ["dram", "chiplet"], "bandwidth_gb_per_s": 32, "energy_pj_per_byte": 0}},
        }
    )
    graph, core = swiglu_chain(512, 768, 2048, 1), chip.kinds["chiplet"]
    compiled = compile_step(graph_step(graph, 1), core.geometry, schedule=Schedule.LAYER_BY_LAYER)
    one = evaluate(compiled, core.table(), Objective.LATENCY)
    many = evaluate_chip(chip, ((graph, 1),), tokens=1, stored_bytes=0.0, objective=Objective.LATENCY, schedule=Schedule.LAYER_BY_LAYER)
    moved = [sum(b.bytes for b in e.breakdown if b.component == "dram") for e in (one, many)]
    assert moved[1] == pytest.approx(moved[0], rel=1e-12)
    assert many.energy_j == pytest.approx(one.energy_j, rel=1e-9)
    assert one.latency_s <= many.latency_s <= 1.01 * one.latency_s


def test_the_chip_of_the_docs(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row through weights of 3 MiB is bound by the memory: the unit beside it, with four times the bandwidth, takes most of it. Of
    512 rows, bound by MACs, the matrix cores do."""
    monkeypatch.setattr(planner_module, "SEARCH_GROUPS", 20)
    text = (repository / "docs/many_cores.md").read_text()
    chip = describe_chip(parse_yaml(text.partition("```yaml\n")[2].partition("```")[0], "docs"), TECHNOLOGIES)
    of_one, of_many = (evaluated(chip, swiglu_chain(rows, 512, 1024, 1)) for rows in (1, 512))
    kinds = [{g.kind for g in e.groups if any(o.startswith(("gate", "up", "down")) for o in g.operators)} for e in (of_one, of_many)]
    assert "near" in kinds[0]
    assert "mac" in kinds[1]
    bytes_ = 3 * 512 * 1024 * 2
    assert of_one.latency_s < bytes_ / 64e9  # the bus alone
    assert of_one.latency_s >= bytes_ / 256e9


def test_resnet18_on_four_tpu_like_cores(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """stream-dse 2.1.1 ends after 7,739,942 cycles on the same four cores, links and bus, with tensors of 4 bytes as exported."""
    monkeypatch.setattr(planner_module, "SEARCH_GROUPS", 20)
    graph = load_onnx(repository / "tests/data/onnx/resnet18_dynamo_18.onnx", dims={"batch": 1})
    found = evaluated(load_chip("tpu_like_quad"), graph)
    cycles = found.latency_s * found.clock_hz
    assert found.roofline.cycles == pytest.approx(5_915_720)
    assert found.roofline.cycles <= cycles <= 7_739_942
