"""Least energy of what operators move: by hand, and against the best mapping of single products, which it meets or nearly so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper

from dse.cost.energy_floor import least_moved_pj
from dse.cost.metrics import Objective
from dse.cost.schedule_bound import schedule_bound
from dse.evaluate import compile_step, graph_step, price
from dse.ir.onnx_read import read_onnx
from dse.schedule.plan import Schedule, make_plans
from tests.unit.cost.compiled import accelerator
from tests.unit.cost.design_points import points
from tests.unit.schedule.graphs import GEOMETRY, two_layers

ROUNDING = 1e-9
READ, WRITE, DRAM = 3.0, 5.0, 100.0


def ample(book) -> tuple[float, ...]:
    """Bytes that come again by operator where there is room for everything."""
    return (0.0,) * len(book.order)


def product(m: int, k: int, n: int):
    """x [m, k] w [k, n] in bf16."""
    kind = TensorProto.BFLOAT16
    inputs = [helper.make_tensor_value_info(name, kind, shape) for name, shape in (("x", [m, k]), ("w", [k, n]))]
    output = helper.make_tensor_value_info("y", kind, [m, n])
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"], name="product")], "product", inputs, [output])
    return read_onnx(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10), name="product")


def test_two_layers_by_hand() -> None:
    """Products of one pass take x, w1, w2 straight from DRAM and give y back to it; h and a, 128 bytes each, are written and read."""
    prices = points(buffer_read_pj_per_byte=READ, buffer_write_pj_per_byte=WRITE, dram_read_pj_per_byte=DRAM, dram_write_pj_per_byte=DRAM)
    prices.mac_pj["fp16"] = np.ones(1)
    book = make_plans(two_layers(), Schedule.FUSED, GEOMETRY)
    assert least_moved_pj(book, GEOMETRY, prices, ample(book)) == pytest.approx(2 * 128 * (READ + WRITE))
    found = compile_step(graph_step(two_layers(), 4), GEOMETRY)
    bound, least = schedule_bound(found, prices), price(found, prices, objective=Objective.ENERGY)
    assert least.energy_j[0] == pytest.approx(bound.energy_j)


def test_passes_by_hand() -> None:
    """64 x 64 x 64 on 32 x 32: two passes of whatever streams by. Weights stay: x comes twice, sums go, come back and go."""
    prices = points(buffer_read_pj_per_byte=READ, buffer_write_pj_per_byte=WRITE, dram_read_pj_per_byte=DRAM, dram_write_pj_per_byte=DRAM)
    prices.mac_pj["bf16"] = np.ones(1)
    geometry = replace(GEOMETRY, array=replace(GEOMETRY.array, macs_per_pe_per_cycle=(("bf16", 1),)))
    book = make_plans(product(64, 64, 64), Schedule.FUSED, geometry)
    size = 64 * 64 * 2
    streamed = WRITE + 2 * READ  # x once into the buffer, twice out of it
    output_stationary = 2 * size * streamed
    weight_stationary = size * streamed + 2 * size * (READ + WRITE) + size * (WRITE + READ)  # sums are twice as wide
    assert least_moved_pj(book, geometry, prices, ample(book)) == pytest.approx(min(output_stationary, weight_stationary))


@pytest.mark.parametrize("name", ["edge32", "flat_cloud", "tpu7x", "h100_sxm", "fusemax", "tpu_v4i"])
@pytest.mark.parametrize(("shape", "most"), [((64, 512, 384), 1.02), ((8, 1024, 640), 1.02), ((300, 77, 130), 1.1)])
def test_single_products(name: str, shape: tuple[int, int, int], most: float) -> None:
    """In a buffer that holds everything the best mapping is never below, and near."""
    chip = accelerator(name)
    buffer = chip.file.buffer[0]
    found, prices = compile_step(graph_step(product(*shape), 1), chip.geometry), chip.table({f"memories.{buffer}.capacity_kib": [2.0**22]})
    bound, least = schedule_bound(found, prices), price(found, prices, objective=Objective.ENERGY)
    assert bound.energy_j * (1 - ROUNDING) <= least.energy_j[0] <= bound.energy_j * most
