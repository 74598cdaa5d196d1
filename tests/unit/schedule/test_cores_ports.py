"""What others fetch from and put into a core's memory against its own computation: two-core cases in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from accelerators.catalogue import TECHNOLOGIES
from dse.cost.metrics import Objective
from dse.files import parse_yaml
from dse.hw.many_core_read import ChipDescription, describe_chip
from dse.ir.graph import OperatorGraph
from dse.ir.onnx_read import read_onnx
from dse.schedule.cores.charges import ChipCharges
from dse.schedule.cores.groups import find_work, single_groups
from dse.schedule.cores.layout import Assigned, NoRoom
from dse.schedule.cores.offered import OfferedPlans
from dse.schedule.cores.part_price import KindPricer
from dse.schedule.cores.planner import Planner
from dse.schedule.cores.shapes import Shape
from dse.schedule.cores.tasks import Outcome, busy_by_resource, resource_names
from dse.schedule.cores.tasks import run as simulated

SIZE = 2 * 512 * 64
"""Bytes of every tensor."""
PORT = 64
"""GB/s of each port of the cores' memories: bytes per cycle."""


def chip(side_gb_per_s: float, ports: str = "read_gb_per_s: 64, write_gb_per_s: 64", side: str = "mac0, mac1") -> ChipDescription:
    """Two vector cores, each faster than its memory, with ways of their own to a fast memory and a link between them."""
    text = f"""schema_version: 1
name: pair
summary: two cores and a link
technology: generic_7nm
clock_mhz: 1000
cores:
  mac:
    count: 2
    vector: {{lanes: 1024}}
    memories:
      sram: {{kind: buffer, capacity_kib: 2048, {ports}, double_buffered: true}}
memories:
  dram: {{kind: dram, capacity_gib: 1, bandwidth_gb_per_s: 100000, latency_ns: 0}}
links:
  out: {{kind: link, between: [mac, dram], bandwidth_gb_per_s: 50000, energy_pj_per_byte: 1}}
  side: {{kind: link, between: [{side}], bandwidth_gb_per_s: {side_gb_per_s}, energy_pj_per_byte: 1}}
"""
    return describe_chip(parse_yaml(text, "pair.yaml"), TECHNOLOGIES)


def fork() -> OperatorGraph:
    """x -> t = relu(x); u = relu(t); v = sigmoid(t): fp16, 64 KiB each."""
    values = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT16, [512, 64]) for n in "xuv"}
    nodes = [
        helper.make_node("Relu", ["x"], ["t"], name="first"),
        helper.make_node("Relu", ["t"], ["u"], name="here"),
        helper.make_node("Relu", ["t"], ["v"], name="there"),
    ]
    graph = helper.make_graph(nodes, "fork", [values["x"]], [values["u"], values["v"]])
    return read_onnx(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), name="fork")


def run(description: ChipDescription) -> Outcome:
    """`first` and `here` on one core, `there` on the other, which fetches t meanwhile."""
    kinds = {kind: KindPricer(d) for kind, d in description.kinds.items()}
    planner = Planner(description.chip, find_work(fork()), kinds, 0.0, Objective.ENERGY)  # over the memory all would be faster
    groups = single_groups(planner.work)
    layout = planner.layouter.lay_out(groups, tuple(Assigned(Shape("mac", None, 1), (int(g.name == "there"),)) for g in groups))
    assert not isinstance(layout, NoRoom)
    return simulated(layout, description.chip, planner.charges)


def cycles(outcome: Outcome, name: str) -> tuple[float, float, float]:
    """Start and end of the computation of a group, and the longest of its pieces."""
    index = next(g.index for g in outcome.layout.groups if g.group.name == name)
    mine = [n for n, note in enumerate(outcome.tasks.notes) if note.group == index and note.what == "compute"]
    start, end = outcome.simulation.start_s * 1e9, outcome.simulation.end_s * 1e9
    return float(start[mine].min()), float(end[mine].max()), float((end - start)[mine].max())


@pytest.mark.parametrize("side", [64.0, 32.0, 16.0, 8.0])
def test_computation_beside_a_fetch_takes_what_the_fetch_leaves_of_the_port(side: float) -> None:
    """Reading t, and u to store it, at 64 bytes a cycle takes 2,048 cycles alone; beside a fetch at `side` bytes a cycle the port has
    64 - side left, until the fetch is over."""
    outcome = run(chip(side))
    start, end, piece = cycles(outcome, "here")
    alone, fetch = 2 * SIZE / PORT, SIZE / side
    shared = alone / (1 - side / PORT) if side < PORT else float("inf")
    expected = shared if shared <= fetch else alone + SIZE / PORT  # all that is fetched has passed
    assert end - start == pytest.approx(expected, abs=2 * piece)
    assert end - start > alone * 1.1
    fetched = [n for n, note in enumerate(outcome.tasks.notes) if note.what == "transfer"]
    took = outcome.simulation.end_s[fetched].max() - outcome.simulation.start_s[fetched].min()
    assert took * 1e9 == pytest.approx(fetch)  # the fetch is as fast as its link


def test_one_port_for_both_ways_is_shared_by_both() -> None:
    """Reading t and u and writing u at 64 bytes a cycle take 3,072 cycles, and 1,024 more pass for the other core."""
    outcome = run(chip(64.0, "bandwidth_gb_per_s: 64"))
    start, end, piece = cycles(outcome, "here")
    assert end - start == pytest.approx(3 * SIZE / PORT + SIZE / PORT, abs=2 * piece)


def test_a_fetch_is_no_faster_than_the_port() -> None:
    """Over a link of four times its rate a fetch takes as long as the port needs for it."""
    outcome = run(chip(256.0))
    fetched = [n for n, note in enumerate(outcome.tasks.notes) if note.what == "transfer"]
    took = outcome.simulation.end_s[fetched].max() - outcome.simulation.start_s[fetched].min()
    assert took * 1e9 == pytest.approx(SIZE / PORT, rel=0.02)


def test_nobody_waits_for_ports_with_time_to_spare() -> None:
    """At 20 times the rate of both, plans have no ports to follow."""
    outcome = run(chip(16.0, "read_gb_per_s: 100000, write_gb_per_s: 100000"))
    assert not any(use.ports for use in outcome.tasks.uses)


def test_busy_ports_are_told() -> None:
    """Core 0 reads x never (it comes from outside), t once for itself and once for the other core."""
    description = chip(16.0)
    outcome = run(description)
    names, busy = resource_names(description.chip), busy_by_resource(outcome.tasks)
    found = {names[r]: seconds * 1e9 for r, seconds in busy.items() if seconds}
    reads = sum(o.counts[0, 1 + 2] for g in outcome.layout.groups if g.assigned.cores == (0,) for o in g.part.operators)
    assert found["mac0.read"] == pytest.approx((reads + SIZE) / PORT)


def test_points_share_the_port_at_their_own_rates() -> None:
    """A point priced among others takes what it takes alone; a slower port makes it slower, and the plan at its own rates is itself."""
    description = chip(64.0)
    outcome = run(description)
    rates = np.array([64.0, 48.0, 256.0])
    columns = {"cores.mac.memories.sram.read_gb_per_s": rates}
    geometry = {k: d.geometry for k, d in description.kinds.items()}
    offered = OfferedPlans((outcome,), description, Objective.LATENCY)
    together = offered.best(ChipCharges.at_points(description, geometry, columns)).latency_s
    assert together[0] == pytest.approx(outcome.latency_s, rel=1e-12)
    assert together[1] > together[0] > together[2]
    for rate, latency in zip(rates, together, strict=True):
        alone = description.with_overrides({"cores.mac.memories.sram.read_gb_per_s": float(rate)})
        again = offered.at(ChipCharges.at_points(alone, {k: d.geometry for k, d in alone.kinds.items()}, {}))
        assert again.latency_s == pytest.approx(latency, rel=1e-12)
