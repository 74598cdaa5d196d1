"""What does not fit is said in words, and found before anything is compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import pytest
from onnx import helper

from dse.cost.capacity import dram_too_small, least_dram_bytes
from dse.cost.evaluation import hopeless
from dse.ir.onnx_read import read_onnx
from dse.single import evaluate_single
from dse.units import BYTES_PER_GIB
from dse.workload import WorkloadOptions
from tests.unit.cost.compiled import accelerator, step

if TYPE_CHECKING:
    from dse.ir.graph import OperatorGraph


def test_the_message_names_memory_tensors_and_levers() -> None:
    given = step("deepseek_v3", "left_to_right")
    why = dram_too_small(given.graphs, 2.0 * BYTES_PER_GIB, 0.25 * BYTES_PER_GIB)
    assert why is not None
    assert why.resource == "dram_capacity"
    assert (why.demand_bytes, why.bound_bytes) == (2.0 * BYTES_PER_GIB, 0.25 * BYTES_PER_GIB)
    assert "weights and caches take 2.00 GiB, DRAM holds 0.25 GiB; largest in this step: " in why.message
    assert "(weight) 224.00 MiB" in why.message
    assert "smaller batch" in why.message
    assert dram_too_small(given.graphs, 1.0, BYTES_PER_GIB) is None


@pytest.mark.parametrize(("rows", "fits"), [(4096, True), (4097, False)])
def test_inputs_and_results_of_a_product_lie_off_chip(rows: int, *, fits: bool) -> None:
    """[rows, 1024] x [1024, 1024] in bf16: 2 (rows 1024 + 1024^2 + rows 1024) bytes, as `dse map` counts them; 18 MiB for 4,096 rows."""
    graphs = ((product(rows), 1),)
    need = 2.0 * (2 * rows * 1024 + 1024**2)
    assert least_dram_bytes(graphs, 0.0) == need
    assert least_dram_bytes(graphs, 5.0) == need + 5.0
    why = dram_too_small(graphs, 0.0, 18.0 * 1024**2)
    assert (why is None) is fits
    if why is not None:
        assert why.demand_bytes == need
        assert why.message.startswith(
            "activations off chip take 18.00 MiB at once ('x' 8.00 MiB, 'y' 8.00 MiB, 'w' 2.00 MiB), DRAM holds 18.00 MiB; "
        )


def test_results_after_a_chain_and_inputs_before_it_need_not_be_there_at_once() -> None:
    """Two products, the first of them with the larger operands: x [64, 512] and w [512, 64], then 64 x 64 times v [64, 64]."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], name="first"), helper.make_node("MatMul", ["h", "v"], ["y"], name="second")]
    shapes = {"x": [64, 512], "w": [512, 64], "v": [64, 64], "h": [64, 64], "y": [64, 64]}
    graph = read(nodes, shapes, ["x", "w", "v"])
    size = {name: 2.0 * a * b for name, (a, b) in shapes.items()}
    assert least_dram_bytes(((graph, 3),), 0.0) == size["x"] + size["w"] + size["v"]


def product(rows: int) -> OperatorGraph:
    """One matrix product of two inputs."""
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    return read([node], {"x": [rows, 1024], "w": [1024, 1024], "y": [rows, 1024]}, ["x", "w"])


def read(nodes: list[onnx.NodeProto], shapes: dict[str, list[int]], inputs: list[str]) -> OperatorGraph:
    """The graph of some nodes in bf16 whose result is y."""
    values = {name: helper.make_tensor_value_info(name, onnx.TensorProto.BFLOAT16, shape) for name, shape in shapes.items()}
    between = [v for name, v in values.items() if name not in (*inputs, "y")]
    graph = helper.make_graph(nodes, "g", [values[name] for name in inputs], [values["y"]], value_info=between)
    return read_onnx(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), name="g")


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
