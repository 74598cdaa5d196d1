"""What does not fit is said in words, and found before anything is compiled."""

from __future__ import annotations

import pytest

from dse.cost.capacity import dram_too_small
from dse.cost.evaluation import hopeless
from dse.single import evaluate_single
from dse.units import BYTES_PER_GIB
from dse.workload import WorkloadOptions
from tests.unit.cost.compiled import accelerator, step


def test_the_message_names_memory_tensors_and_levers() -> None:
    given = step("deepseek_v3", "left_to_right")
    why = dram_too_small(given.graphs, 2.0 * BYTES_PER_GIB, 0.25 * BYTES_PER_GIB)
    assert why is not None
    assert why.resource == "dram_capacity"
    assert (why.demand_bytes, why.bound_bytes) == (2.0 * BYTES_PER_GIB, 0.25 * BYTES_PER_GIB)
    assert "weights and caches take 2.00 GiB, DRAM holds 0.25 GiB; largest in this step: " in why.message
    assert "(weight) 224.00 MiB" in why.message
    assert "smaller batch" in why.message
    assert dram_too_small(given.graphs, 1.0, 1.0) is None


def test_hopeless_points_are_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("compiled")

    monkeypatch.setattr("dse.single.compile_step", refuse)
    found = evaluate_single(WorkloadOptions(model="deepseek_v3"), "flat_cloud", ["memories.dram.capacity_gib=1"])
    assert not found.feasible
    assert found.roofline.cycles > 0
    assert found.area_mm2 > 0


def test_what_fits_is_not_hopeless() -> None:
    given, chip = step("deepseek_v3", "left_to_right"), accelerator("tpu7x")
    table = chip.table({})
    assert hopeless(given.graphs, tokens=1, stored_bytes=given.stored_bytes, geometry=chip.geometry, table=table) is None
