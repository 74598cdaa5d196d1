"""Chips priced by mappings inside a system: against one chip priced as a whole, and against the roofline of their kernels."""

import pytest

from dse.errors import UsageError
from dse.plugins import load_system
from dse.serving_case import ChipModelName, ServingChoices, serving_case
from dse.single import evaluate_single
from dse.workload import WorkloadOptions

MAPPED = ServingChoices(chip_model=ChipModelName.MAPPED)


def test_one_chip_is_what_one_chip_is() -> None:
    """A system of one chip takes what `dse eval` finds, but for what is fused across the pieces of a layer."""
    options = WorkloadOptions(model="llama3_8b", batch=16, cache_len=1024, all_layers=True)
    alone = load_system("h100_node").with_overrides({"chips.count": 1, "links.nvlink.chips": 1}).system
    ours = serving_case(options, alone, choices=MAPPED).times([16])
    whole = evaluate_single(options, "h100_sxm")
    assert float(ours.seconds[0]) == pytest.approx(whole.latency_s, rel=0.02)
    assert float(ours.joules[0]) == pytest.approx(whole.energy_j, rel=0.1)  # the whole takes a dearer plan for 0.2 % of the time


def test_multiplies_what_the_roofline_multiplies() -> None:
    options, system = WorkloadOptions(model="deepseek_v2_lite", cache_len=512), load_system("b200_x32").system
    totals = []
    for choices in (ServingChoices(), MAPPED):
        case = serving_case(options, system, "tp=4,ep=32,dense_tp=32", choices=choices)
        run = case.run(512)
        totals.append([{o.name: float(o.macs[0]) for o in run.operators(p) if o.region is not None} for p in case.work.parts])
    for roofline, mapped in zip(*totals, strict=True):
        rows_rounded = 1.3 if "experts" in mapped else 1.001  # whole rows per expert and whole active experts
        assert sum(roofline.values()) <= sum(mapped.values()) * 1.001
        assert sum(mapped.values()) <= sum(roofline.values()) * rows_rounded


def test_a_memory_side_unit_has_no_mappings() -> None:
    unit = {"runs": ["experts"], "bandwidth_gb_per_s": 32000, "tflops": 256}
    system = load_system("b200_x32").with_overrides({"chips.near_memory": unit}).system
    case = serving_case(WorkloadOptions(model="deepseek_v2_lite"), system, choices=MAPPED)
    with pytest.raises(UsageError, match="near-memory unit, which has no mappings"):
        case.times([64])
