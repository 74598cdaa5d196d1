"""Damaged ONNX files: one clear error or a graph, never another exception, in time and memory that do not follow declared sizes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper

from dse.errors import DseError, GraphError, InputError
from dse.ir.onnx_read import load_onnx, read_onnx

from .onnx_models import model, node

DATA = Path(__file__).resolve().parents[2] / "data" / "onnx"
SEQUENCES = ("gpt2_dynamo_20", "bert_script_13", "bertq_script_17", "bertfused_script_17", "hfllama4bit_dynamo_18")
DAMAGED = (*SEQUENCES, "mobile_dynamo_18", "llama_dynamo_23", "mobilenetfused_script_17")
SIZES = st.sampled_from([-(2**63), -1, 0, 1, 2, 3, 7, 2**31, 2**40, 2**62, 2**63 - 1])
MUTATIONS = (
    "dim",
    "rank",
    "rename_input",
    "rename_output",
    "drop_initialiser",
    "drop_node",
    "swap",
    "attribute",
    "op_type",
    "equation",
    "opset",
    "type",
    "external",
)


def mutate(found: ModelProto, data: st.DataObject) -> None:  # noqa: C901 - one case per kind of damage
    """One change to the nodes, types or stored tensors of a model."""
    graph = found.graph
    at = data.draw(st.sampled_from(graph.node))
    match data.draw(st.sampled_from(MUTATIONS)):
        case "dim":
            value = data.draw(st.sampled_from([*graph.input, *graph.output]))
            if value.type.tensor_type.shape.dim:
                data.draw(st.sampled_from(value.type.tensor_type.shape.dim)).dim_value = data.draw(SIZES)
        case "rank":
            value = data.draw(st.sampled_from(graph.input))
            value.type.tensor_type.shape.dim.add(dim_value=data.draw(SIZES))
        case "rename_input" if at.input:
            at.input[0] = data.draw(st.sampled_from([*at.output, "", "nowhere", graph.output[0].name]))
        case "rename_output":
            at.output[0] = data.draw(st.sampled_from(["", graph.node[0].output[0], graph.input[0].name]))
        case "drop_initialiser" if graph.initializer:
            del graph.initializer[data.draw(st.integers(0, len(graph.initializer) - 1))]
        case "drop_node":
            del graph.node[data.draw(st.integers(0, len(graph.node) - 1))]
        case "swap":
            other = data.draw(st.sampled_from(graph.node))
            at.input[:], other.input[:] = list(other.input), list(at.input)
        case "attribute":
            if at.attribute:
                data.draw(st.sampled_from(at.attribute)).i = data.draw(SIZES)
            at.attribute.append(helper.make_attribute("axis", 99))
        case "op_type":
            at.op_type = data.draw(
                st.sampled_from(["Add", "MatMul", "Conv", "Reshape", "Concat", "If", "Loop", "Einsum", "Gather", "Nothing"])
            )
        case "equation":
            at.op_type = "Einsum"
            parts = st.lists(st.sampled_from(["a", "b", "i", ",", "->", "...", ".", " ", "é"]), max_size=9).map("".join)
            at.attribute.append(helper.make_attribute("equation", data.draw(parts)))
        case "opset":
            found.opset_import[0].version = data.draw(st.sampled_from([0, 12, 13, 18, 24, 99, 2**40]))
        case "type":
            value = data.draw(st.sampled_from(graph.input))
            value.type.tensor_type.elem_type = data.draw(st.sampled_from([0, 1, 7, TensorProto.STRING, TensorProto.COMPLEX64, 77]))
        case "external" if graph.initializer:
            tensor = data.draw(st.sampled_from(graph.initializer))
            tensor.dims.append(data.draw(SIZES))
        case _:
            at.domain = "com.example"


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_mutated_exports(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(DAMAGED))
    found = ModelProto.FromString((DATA / f"{path}.onnx").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        mutate(found, data)
    try:
        read_onnx(found, name="damaged", dims={"batch": 2, "seq": 16} if path in SEQUENCES else {})
    except DseError as e:
        assert str(e)


@settings(max_examples=100)
@given(st.data())
def test_mutated_bytes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray((DATA / "gpt2_dynamo_20.onnx").read_bytes())
    for position, value in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), min_size=1, max_size=6)):
        content[position] = value
    file = tmp_path_factory.getbasetemp() / "damaged.onnx"
    file.write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
    try:
        load_onnx(file, dims={"batch": 2, "seq": 16})
    except DseError as e:
        assert str(e)


def function_model(depth: int, calls: int, *, recursive: bool = False) -> ModelProto:
    """Functions f0 … f<depth>, each of which calls the one before `calls` times in a chain."""
    functions = []
    for level in range(depth + 1):
        inner = "f0" if recursive else f"f{level - 1}"
        names = ["x", *(f"t{i}" for i in range(calls - 1)), "y"]
        if level == 0 and not recursive:
            nodes = [node("Relu", ["x"], ["y"])]
        else:
            nodes = [helper.make_node(inner, [a], [b], domain="own") for a, b in pairwise(names)]
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
        functions.append(helper.make_function("own", f"f{level}", ["x"], ["y"], nodes, opsets))
    source = model([helper.make_node(f"f{depth}", ["x"], ["y"], domain="own", name="call")], {"x": [3]}, ["y"], opset=21)
    source.opset_import.append(helper.make_opsetid("own", 1))
    source.functions.extend(functions)
    return source


def test_functions_are_expanded():
    graph = read_onnx(function_model(2, 3), name="f")
    assert len(graph.operators) == 9
    assert len({o.name for o in graph.operators}) == 9


def test_recursive_functions_and_explosions_end():
    with pytest.raises(GraphError, match="calls itself by way of function 'f0'"):
        read_onnx(function_model(0, 1, recursive=True), name="f")
    with pytest.raises(GraphError, match="expand to more than 50,000 nodes"):
        read_onnx(function_model(12, 8), name="f")


def test_branches_follow_a_constant_condition():
    branch = [
        helper.make_graph([node(op, ["x"], ["inner"], name="n")], "b", [], [helper.make_empty_tensor_value_info("inner")])
        for op in ("Relu", "Exp")
    ]
    choose = node("If", ["c"], ["y"], name="choose", then_branch=branch[0], else_branch=branch[1])
    source = model([node("Constant", [], ["c"], value=helper.make_tensor("v", TensorProto.BOOL, [], [False])), choose], {"x": [3]}, ["y"])
    assert [o.op_type for o in read_onnx(source, name="if").operators] == ["Exp"]
    open_choice = model([choose], {"x": [3], "index_c": []}, ["y"])
    open_choice.graph.node[0].input[0] = "index_c"
    with pytest.raises(GraphError, match=r"node 'choose'.*decided at run time"):
        read_onnx(open_choice, name="if")


def test_large_declared_constants_are_not_computed():
    nodes = [node("ConstantOfShape", ["s"], ["c"], name="fill"), node("Add", ["x", "c"], ["y"], name="add")]
    graph = read_onnx(
        model(nodes, {"x": [2**20, 2**30]}, ["y"], integers={"s": [2**20, 2**30]}, element_type=TensorProto.FLOAT), name="huge"
    )
    assert graph.operators[-1].vector_ops == 2**50


def test_computed_dimensions():
    nodes = [node("Concat", ["a", "b"], ["y"], axis=0)]
    source = model(nodes, {"a": ["past"], "b": ["past + 2*query"]}, ["y"])
    graph = read_onnx(source, name="c", dims={"past": 5, "query": 3})
    assert graph.tensors["b"].shape == (11,)
    with pytest.raises(GraphError, match=r"--dim past=value --dim query=value"):
        read_onnx(source, name="c")


def test_sparse_and_too_new():
    source = model([node("Relu", ["x"], ["y"])], {"x": [3]}, ["y"])
    source.opset_import[0].version = 99
    with pytest.raises(GraphError, match="opset 99; the installed onnx package knows opsets up to"):
        read_onnx(source, name="new")
    source.opset_import[0].version = 21
    source.graph.sparse_initializer.add().values.name = "s"
    with pytest.raises(InputError, match="sparse initialiser 's'"):
        read_onnx(source, name="sparse")
