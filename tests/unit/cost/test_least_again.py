"""What must come again in small memories: by hand, and never more than any schedule moves where only DRAM's bytes cost anything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper

from dse.cost.least_again import Room, least_again_bytes
from dse.cost.metrics import Objective
from dse.cost.roofline import compulsory_bytes
from dse.evaluate import compile_step, graph_step, price
from dse.hw.accelerator import ArrayGeometry, Dataflow, Folds, Geometry
from dse.ir.graph import OperatorGraph
from dse.ir.onnx_read import read_onnx
from dse.schedule.plan import Schedule, make_plans
from tests.unit.cost.design_points import points
from tests.unit.cost.test_energy_floor import product
from tests.unit.schedule.graphs import attention, branches, swiglu_chain, two_layers

TYPES = (("bf16", 1), ("fp16", 1))
ONE = ArrayGeometry(1, 1, 1, (Dataflow.WEIGHT_STATIONARY,), Folds.PIPELINED, TYPES)
CAPACITIES = np.array([0.0, *(16.0 * 2**i for i in range(14))])


def machine(rows: int, columns: int, dataflow: Dataflow, *, count: int = 1, double: bool = True) -> Geometry:
    return Geometry(ArrayGeometry(rows, columns, count, (dataflow,), Folds.PIPELINED, TYPES), double_buffered=double)


MACHINES = [
    machine(1, 1, Dataflow.WEIGHT_STATIONARY, double=False),
    machine(4, 2, Dataflow.WEIGHT_STATIONARY),
    machine(2, 4, Dataflow.OUTPUT_STATIONARY, double=False),
    machine(4, 4, Dataflow.INPUT_STATIONARY),
    machine(2, 2, Dataflow.OUTPUT_STATIONARY, count=3),
]


def again(graph, geometry: Geometry, capacity_bytes: float) -> tuple[float, ...]:
    book = make_plans(graph, Schedule.LAYER_BY_LAYER, geometry)
    return least_again_bytes(book.builder, (geometry,), Room(capacity_bytes))


def test_a_product_by_hand() -> None:
    """64 x 64 x 64 in bf16, sums of 4 bytes, room for 1024 bytes: 16 x 16 sums, three further times all of either input, 8192 bytes each;
    with 512 elements of an input, 8 x 64, the other would come seven further times."""
    geometry = Geometry(ONE, double_buffered=True)
    assert again(product(64, 64, 64), geometry, 1024.0) == pytest.approx((2 * 3 * 8192,))
    assert again(product(64, 64, 64), geometry, 8192.0) == (0.0,)


def test_an_array_holds_a_part() -> None:
    """Without a buffer 32 x 64 weights stay in the array: the input once more for the other half of 128 columns, sums of 4 bytes out and
    back for every 32 of 64 rows but the first."""
    geometry = machine(32, 64, Dataflow.WEIGHT_STATIONARY)
    assert again(product(16, 64, 128), geometry, 0.0) == pytest.approx((16 * 64 * 2 + 2 * 16 * 128 * 4,))


def test_operators_that_share_an_input_count_in_full() -> None:
    """Gate and up projection of 64 x 64 x 64 read one x: either takes what the product alone takes. The last product reads a result that
    must be read again or formed again."""
    found = again(swiglu_chain(64, 64, 64, 1), Geometry(ONE, double_buffered=True), 1024.0)
    products = [x for x in found if x]
    assert products == pytest.approx([2 * 3 * 8192] * 3)


def test_what_fits_whole_is_free() -> None:
    """x comes from outside and is too large, a result that fits comes again for nothing."""
    graph = two_layers()
    book = make_plans(graph, Schedule.LAYER_BY_LAYER, MACHINES[0])
    sizes = [s.size_bytes for s in book.builder.storages.values() if not s.from_outside]
    assert again(graph, MACHINES[0], max(sizes))[-1] == 0.0
    assert again(graph, MACHINES[0], 16.0)[-1] > 0.0


def siblings() -> OperatorGraph:
    """Products that share the left input, one of them both; and one that reads a result twice: y = (x w1) (x w1)^T, z = x w1, v = x w2."""
    kind = TensorProto.FLOAT16
    shapes = {"x": [20, 12], "w1": [12, 16], "w2": [12, 28]}
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"], name="first"),
        helper.make_node("MatMul", ["x", "w1"], ["z"], name="again"),
        helper.make_node("MatMul", ["x", "w2"], ["v"], name="beside"),
        helper.make_node("Einsum", ["a", "a"], ["y"], name="square", equation="ik,jk->ij"),
    ]
    outputs = {"z": [20, 16], "v": [20, 28], "y": [20, 20]}
    ends = [[helper.make_tensor_value_info(n, kind, s) for n, s in table.items()] for table in (shapes, outputs)]
    graph = helper.make_graph(nodes, "siblings", *ends)
    return read_onnx(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10), name="siblings")


GRAPHS = [
    siblings(),
    product(24, 18, 30),
    two_layers(),
    attention(16, 32, 8, 8),
    attention(32, 32, 4, 4),
    swiglu_chain(8, 16, 32, 1),
    swiglu_chain(12, 8, 24, 2),
    branches(8, 16, (2, 1)),
]


@pytest.mark.parametrize("geometry", MACHINES, ids=["1x1", "4x2", "2x4", "4x4", "2x2x3"])
@pytest.mark.parametrize("number", range(len(GRAPHS)))
def test_nothing_moves_less(number: int, geometry: Geometry) -> None:
    """At every capacity the schedule that moves least, with the results that are formed again and sums that come back."""
    graph = GRAPHS[number]
    prices = points(
        buffer_capacity_bytes=CAPACITIES.tolist(),
        dram_read_pj_per_byte=1.0,
        dram_write_pj_per_byte=1.0,
        buffer_read_pj_per_byte=0.0,
        buffer_write_pj_per_byte=0.0,
        vector_pj_per_op=0.0,
    )
    prices.mac_pj.update(fp16=np.zeros(prices.size), bf16=np.zeros(prices.size))
    found = compile_step(graph_step(graph, 1), replace(geometry, dram_alike=False))
    moved = price(found, prices, objective=Objective.ENERGY).dram_bytes
    least = [compulsory_bytes(graph) + sum(again(graph, geometry, c)) for c in CAPACITIES]
    assert (np.array(least) <= moved * (1 + 1e-9)).all(), np.round(moved / least, 3)
    assert np.isclose(moved[-1], compulsory_bytes(graph))
