"""What operators bring in again for lack of room: by hand, against mappings, and what it is for: plans of least energy in small buffers."""

from __future__ import annotations

import numpy as np
import pytest

from dse.cost.columns import DRAM_READ, DRAM_WRITE
from dse.cost.frontier_pricing import OperatorPricer
from dse.evaluate import Objective, compile_step, price
from dse.hw.accelerator import ArrayGeometry, Dataflow, Folds, Geometry
from dse.ir.lowering import Part
from dse.plugins import load_accelerator
from dse.schedule.growth import Front, Hold, Way
from dse.schedule.place import place
from dse.schedule.plan import Schedule, make_plans
from dse.schedule.rereads import Rereads
from dse.workload import WorkloadOptions, load_workload
from tests.unit.cost.test_energy_floor import product

TYPES = (("bf16", 1), ("fp16", 1))
ONE = Geometry(ArrayGeometry(1, 1, 1, (Dataflow.WEIGHT_STATIONARY,), Folds.PIPELINED, TYPES), double_buffered=True)
WIDE = Geometry(
    ArrayGeometry(16, 16, 1, (Dataflow.WEIGHT_STATIONARY, Dataflow.OUTPUT_STATIONARY), Folds.PIPELINED, TYPES), double_buffered=True
)


def alone(*columns: float) -> Front:
    """One operator that runs alone with nothing held."""
    return Front((0,), (Way((), Hold.NOTHING),), *(np.array([c]) for c in columns))


def test_a_way_for_each_room() -> None:
    """64 x 64 x 64 in bf16, sums of 4 bytes: in half of 2048 bytes lie 16 x 16 sums, three further times all of either input, 8192 bytes
    each (tests/unit/cost/test_least_again.py); in half of 16 KiB all of an input."""
    graph = product(64, 64, 64)
    again = Rereads(make_plans(graph, Schedule.LAYER_BY_LAYER, ONE).builder, ONE, (2048.0, 16384.0, 65536.0))
    found = again.with_rooms(alone(0.0, 24576.0, 10.0, 0.0, 11.0))
    assert found.ways == (Way((), Hold.NOTHING),) * 2
    assert found.peak_bytes.tolist() == found.step_bytes.tolist() == [0.0, 16384.0]
    assert found.dram_bytes == pytest.approx([24576.0 + 2 * 3 * 8192, 24576.0])
    assert found.cycles.tolist() == [10.0, 10.0]
    assert found.step_cycles.tolist() == [11.0, 11.0]


def test_of_a_plan_in_each_room() -> None:
    graph = product(64, 64, 64)
    book = make_plans(graph, Schedule.LAYER_BY_LAYER, ONE)
    again = Rereads(book.builder, ONE, (2048.0, 16384.0))
    assert again.of_plan(book.builder, book.plans[0]) == pytest.approx([2 * 3 * 8192, 0.0])


@pytest.mark.parametrize("sides", [(256, 256, 256), (512, 128, 256), (64, 512, 512), (1024, 64, 128)])
def test_mappings_bring_in_about_as_much(sides: tuple[int, int, int]) -> None:
    """With what comes once, 0.8 to 1.02 times the DRAM bytes of the mapping that moves least."""
    rooms = np.array([2048.0 * 4**i for i in range(6)])
    book = make_plans(product(*sides), Schedule.LAYER_BY_LAYER, WIDE)
    (operator,) = place(book, book.plans[0], WIDE)
    counts = OperatorPricer(operator.work, WIDE).counts
    moved = counts[:, 1 + DRAM_READ] + counts[:, 1 + DRAM_WRITE]
    least = np.array([moved[counts[:, 0] <= room].min() for room in rooms])
    estimate = Rereads(book.builder, WIDE, rooms.tolist()).of_plan(book.builder, book.plans[0]) + moved.min()
    assert (estimate <= 1.02 * least).all()
    assert (estimate >= 0.8 * least).all()


def test_expanded_latent_attention_in_half_a_mib() -> None:
    """Without plans for least energy the best took 132 mJ on tpu7x: every operator alone, its weights again and again."""
    options = WorkloadOptions(model="deepseek_v2_lite", part=Part.ATTENTION, batch=16, cache_len=4096, attention="naive")
    chip = load_accelerator("tpu7x")
    step = load_workload(options).step
    buffer = next(name for name, memory in reversed(chip.file.memories.items()) if memory.kind == "buffer")
    prices = chip.table({f"memories.{buffer}.capacity_kib": np.array([512.0])})
    assert price(compile_step(step, chip.geometry_for()), prices, objective=Objective.ENERGY).energy_j[0] < 0.065
