"""What no chip can run is told in words or comes back as a value: circles, cores apart, tensors too large, operators nowhere at home."""

from __future__ import annotations

from dataclasses import replace

import pytest

from accelerators.catalogue import TECHNOLOGIES
from dse.cost.many_core import ChipEvaluation, evaluate_chip
from dse.cost.metrics import Objective
from dse.errors import GraphError, InputError
from dse.files import parse_yaml
from dse.hw.many_core_read import ChipDescription, describe_chip
from dse.ir.graph import OperatorGraph
from dse.schedule.cores.timeline import chip_timeline, peak_bytes
from tests.unit.schedule.chips import small_chip
from tests.unit.schedule.graphs import swiglu_chain, two_layers


def evaluated(chip: ChipDescription, graph: OperatorGraph) -> ChipEvaluation:
    return evaluate_chip(chip, ((graph, 1),), tokens=1, stored_bytes=0.0, objective=Objective.LATENCY)


def apart(links: str) -> ChipDescription:
    """Two cores joined as `links` says."""
    array = "{rows: 8, columns: 8, count: 1, dataflows: [weight_stationary], folds: pipelined, macs_per_pe_per_cycle: {fp16: 1, bf16: 1}}"
    buffer = "{kind: buffer, capacity_kib: 64, read_gb_per_s: 64, write_gb_per_s: 64, double_buffered: true}"
    text = f"""schema_version: 1
name: apart
summary: two cores
technology: generic_7nm
clock_mhz: 1000
cores:
  mac:
    count: 2
    array: {array}
    vector: {{lanes: 8}}
    memories:
      sram: {buffer}
memories:
  dram: {{kind: dram, capacity_gib: 1, bandwidth_gb_per_s: 16, latency_ns: 0}}
links:
{links}"""
    return describe_chip(parse_yaml(text, "apart.yaml"), TECHNOLOGIES)


def test_operators_in_a_circle_are_named() -> None:
    graph = two_layers()
    up, relu, down = graph.operators
    circle = replace(graph, operators=(replace(up, inputs=(replace(up.inputs[0], tensor="a"), up.inputs[1])), relu, down))
    with pytest.raises(GraphError, match=r"node 'up'.*reads 'a', which nothing before it writes"):
        evaluated(small_chip(2), circle)


def test_a_core_that_the_memory_does_not_reach_is_named() -> None:
    with pytest.raises(InputError, match=r"apart\.yaml:.*no way leads from the memory 'dram' to mac1"):
        apart("  only: {kind: link, between: [mac0, dram], bandwidth_gb_per_s: 16, energy_pj_per_byte: 0}\n")


def test_cores_without_a_link_pass_results_over_the_memory() -> None:
    """Each core has its link to the memory off chip and none to the other: plans hold, and what crosses is counted off chip."""
    chip = apart("  each: {kind: link, between: [mac, dram], bandwidth_gb_per_s: 16, energy_pj_per_byte: 0}\n")
    found = evaluated(chip, swiglu_chain(64, 64, 64, 1))
    assert found.feasible
    assert found.latency_s >= found.lower_bound_s * (1 - 1e-12)
    outcome = found.parts[0].planned.outcome
    assert chip_timeline("apart", outcome, chip.chip, found.clock_hz).problems() == []
    assert all(peak <= 64 * 1024 for peak in peak_bytes(outcome, chip.chip).values())


def test_a_tensor_larger_than_every_memory_is_infeasible_in_words() -> None:
    """A gibibyte of rows and their weights beside them, a gibibyte of memory."""
    found = evaluated(small_chip(2), swiglu_chain(2**19, 1024, 1024, 1))
    assert not found.feasible
    assert found.infeasibility[0].resource == "dram_capacity"
    assert found.infeasibility[0].demand_bytes > 2.0**30
    assert "'x0' 1.00 GiB" in found.infeasibility[0].message
    assert "use a smaller batch" in found.infeasibility[0].message


def test_a_type_that_no_array_computes_is_named() -> None:
    chip = small_chip(2).with_overrides({"cores.mac.array.macs_per_pe_per_cycle": {"int8": 1}})
    with pytest.raises(GraphError, match=r"node 'up'.*no core of small may run MatMul; it needs an array that multiplies fp16"):
        evaluated(chip, two_layers())
