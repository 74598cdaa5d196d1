"""Groups divided along two streams at once: what each part gets, what it saves, and that plans are never worse for it."""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from accelerators.catalogue import TECHNOLOGIES
from dse.cost.many_core import evaluate_chip
from dse.cost.metrics import Objective
from dse.files import parse_yaml
from dse.hw.many_core_read import ChipDescription, describe_chip
from dse.ir.graph import OperatorGraph
from dse.ir.onnx_read import read_onnx
from dse.schedule.cores import planner as planner_module
from dse.schedule.cores.crossed import crossed, squarest
from dse.schedule.cores.groups import find_work, single_groups
from dse.schedule.cores.layout import Assigned, NoRoom
from dse.schedule.cores.part_price import KindPricer
from dse.schedule.cores.parts import Division, moves
from dse.schedule.cores.planner import Planner
from dse.schedule.cores.shapes import Shape, shapes, windows
from tests.unit.schedule.chips import small_chip
from tests.unit.schedule.graphs import swiglu_chain


def grid_chip(cores: int = 4) -> ChipDescription:
    """Cores with slow links of their own to a fast memory."""
    text = f"""schema_version: 1
name: grid
summary: cores with links of their own
technology: generic_7nm
clock_mhz: 1000
cores:
  mac:
    count: {cores}
    array: {{rows: 64, columns: 64, count: 1, dataflows: [weight_stationary], folds: pipelined, macs_per_pe_per_cycle: {{fp16: 1, bf16: 1}}}}
    vector: {{lanes: 64}}
    memories:
      sram: {{kind: buffer, capacity_kib: 4096, read_gb_per_s: 4096, write_gb_per_s: 4096, double_buffered: true}}
memories:
  dram: {{kind: dram, capacity_gib: 1, bandwidth_gb_per_s: 1024, latency_ns: 0}}
links:
  out: {{kind: link, between: [mac, dram], bandwidth_gb_per_s: 16, energy_pj_per_byte: 1}}
"""
    return describe_chip(parse_yaml(text, "grid.yaml"), TECHNOLOGIES)


def product(size: int = 256) -> OperatorGraph:
    """y = x w, each [size, size] in fp16."""
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT16, [size, size]) for n in "xwy"]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"], name="mm")], "product", values[:2], values[2:])
    return read_onnx(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), name="product")


def planner_of(chip: ChipDescription, graph: OperatorGraph) -> Planner:
    return Planner(chip.chip, find_work(graph), {k: KindPricer(d) for k, d in chip.kinds.items()}, 0.0, Objective.LATENCY)


def test_a_product_on_a_grid_loads_half_of_either_operand() -> None:
    """Along one stream a core loads a quarter of one operand and all of the other, 1.25 x 128 KiB; on 2 x 2 cores half of both. Each crosses
    the memory's port once. Links decide: 16 bytes a cycle."""
    planner = planner_of(grid_chip(), product())
    (group,) = single_groups(planner.work)
    size = 2 * 256 * 256
    took = {}
    for shape in (*shapes(group, planner.chip, planner.work), *crossed(group, planner.chip, planner.work)):
        if shape.ways < 4 or shape.reduces:
            continue
        found = planner.evaluate((group,), (Assigned(shape, (0, 1, 2, 3)),))
        assert not isinstance(found, NoRoom)
        laid = found.layout.groups[0]
        expected = 1.0 if shape.second is not None else 1.25
        link = planner.transfers.number["out.mac1.dram.to_mac1"]
        assert sum(x.size_bytes * dict(x.pattern.channels)[link] for x in laid.loads) == pytest.approx(expected * size)
        assert sum(x.size_bytes * x.pattern.sent for x in laid.loads) == pytest.approx(2 * size)
        assert sum(x.size_bytes for x in laid.stores) == pytest.approx(size)
        took[shape.second is not None] = found.latency_s * 1e9
    assert size / 16 <= took[True] <= 1.12 * size / 16  # results leave beside the loads, the last piece behind them
    assert took[True] / took[False] == pytest.approx(1.0 / 1.25, abs=0.05)


def test_the_plan_takes_the_grid_and_says_so() -> None:
    chip = grid_chip()
    found = evaluate_chip(chip, ((product(), 1),), tokens=1, stored_bytes=0.0, objective=Objective.LATENCY)
    (group,) = found.groups
    assert group.stream is not None
    assert len(group.stream.split(" x ")) == 2
    assert found.to_json_dict()["groups"][0]["cores"] == ["mac0", "mac1", "mac2", "mac3"]  # type: ignore[index]


@pytest.mark.parametrize(("rows", "blocks", "capacity_kib"), [(16, 2, 512), (128, 1, 32), (512, 1, 512)])
def test_plans_are_never_worse_for_it(rows: int, blocks: int, capacity_kib: float, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = swiglu_chain(rows, 64, 128, blocks)
    for chip in (small_chip(4, capacity_kib=capacity_kib), grid_chip(4)):
        both = evaluate_chip(chip, ((graph, 1),), tokens=1, stored_bytes=0.0, objective=Objective.LATENCY)
        with monkeypatch.context() as patched:
            patched.setattr(planner_module, "with_crossed", lambda *a, **k: None)
            one = evaluate_chip(chip, ((graph, 1),), tokens=1, stored_bytes=0.0, objective=Objective.LATENCY)
        assert both.latency_s <= one.latency_s * (1 + 5e-4)
        assert both.latency_s >= both.lower_bound_s


def test_energy_does_not_depend_on_how_links_are_counted() -> None:
    """MACs are the same; every byte that enters a core crosses its link."""
    planner = planner_of(grid_chip(), product())
    (group,) = single_groups(planner.work)
    for shape in crossed(group, planner.chip, planner.work):
        found = planner.evaluate((group,), (Assigned(shape, windows(shape, planner.chip)[0]),))
        assert not isinstance(found, NoRoom)
        part = found.layout.groups[0].part
        assert shape.ways * sum(o.work.macs for o in part.operators) == 256**3


def test_grids_are_the_squarest() -> None:
    assert squarest(4) == (2,)
    assert squarest(36) == (6,)
    assert squarest(32) == (4, 8)
    assert squarest(6) == (2, 3)
    assert squarest(7) == squarest(2) == ()


@st.composite
def divisions(draw: st.DrawFn, first: int) -> Division:
    """Cores from number `first` on, whole or along one or two of four streams."""
    names = draw(st.permutations(["a", "b", "c", "d"]))
    ways = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    cores = tuple(range(first, first + prod(ways)))
    return Division(
        names[0] if len(cores) > 1 else None, cores, second=names[1] if ways[1] > 1 else None, second_ways=ways[1] if ways[1] > 1 else 1
    )


@given(divisions(0), divisions(20), st.sets(st.sampled_from("abcd")))
def test_every_part_gets_what_it_reads(holder: Division, reader: Division, axes: set[str]) -> None:
    """Of a tensor that lies on other cores: its share along the streams that index it, once; holders send what they have."""
    found = moves(1.0, frozenset(axes) | holder.streams, holder, reader)
    streams = frozenset(axes) | holder.streams
    for part, core in enumerate(reader.cores):
        share = prod(1 / ways for stream, _, ways in reader.ranges(part) if stream in streams)
        assert sum(m.size_bytes for m in found if core in m.targets) == pytest.approx(share)
    regions = {tuple(r for r in reader.ranges(p) if r[0] in streams) for p in range(reader.ways)}
    assert sum(m.size_bytes for m in found) == pytest.approx(sum(prod(1 / w for _, _, w in region) for region in regions))


def test_on_one_grid_nothing_travels() -> None:
    grid = Division("a", (0, 1, 2, 3), second="b", second_ways=2)
    assert moves(1.0, frozenset("ab"), grid, grid) == ()
    rows = moves(1.0, frozenset("a"), grid, grid)  # each row needs what its members have
    assert sorted((m.source, m.targets) for m in rows) == [(0, (1,)), (1, (0,)), (2, (3,)), (3, (2,))]


def test_a_shape_says_what_it_shares() -> None:
    shape = Shape("mac", "a", 6, second="b", second_ways=2)
    assert shape.splits == (("a", 3), ("b", 2))
    assert [shape.share(frozenset(s)) for s in ("a", "b", "ab", "c")] == [3, 2, 6, 1]
