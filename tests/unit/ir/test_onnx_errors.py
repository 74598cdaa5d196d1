"""Bad ONNX gives one error that names the node or tensor and what to do."""

from __future__ import annotations

import random

import pytest
from onnx import TensorProto, helper

from dse.errors import DseError, ExitCode, GraphError, InputError
from dse.ir.onnx_read import load_onnx, read_onnx

from .onnx_models import model, node


def error(*args, **kwargs) -> GraphError:
    with pytest.raises(GraphError) as caught:
        read_onnx(model(*args, **kwargs), name="bad")
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    assert str(caught.value).startswith("bad")
    return caught.value


def test_no_shapes():
    message = str(error([node("Relu", ["x"], ["y"])], {"x": None}, ["y"]))
    assert message == (
        "bad: tensor 'x' has no concrete shape after shape inference; give every symbolic dimension a size (--dim name=value) "
        "and export with fixed shapes where sizes are computed at run time"
    )


def test_shape_known_at_run_time_only():
    message = str(error([node("NonZero", ["x"], ["i"]), node("Cast", ["i"], ["y"], to=TensorProto.FLOAT)], {"x": [3]}, ["y"]))
    assert "tensor" in message
    assert "no size for dimension" in message or "no concrete shape" in message


def test_unknown_operator_names_node_type_opset_and_plug_in_point():
    message = str(error([node("Det", ["x"], ["y"], name="d")], {"x": [3, 3]}, ["y"], element_type=TensorProto.FLOAT))
    assert message.startswith("bad: node 'd' (Det, opset 24): operator type 'Det' has no cost.")
    assert "add a reader with dse.ir.onnx_ops.register" in message
    assert message.endswith("entry point of the group dse.onnx_operators")


def test_unknown_domain():
    source = model([helper.make_node("Attention", ["x"], ["y"], name="a", domain="com.example")], {"x": [3]}, ["y"])
    source.opset_import.append(helper.make_opsetid("com.example", 1))
    source.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT16, [3]))
    with pytest.raises(GraphError, match=r"com\.example::Attention"):
        read_onnx(source, name="bad")


@pytest.mark.parametrize(
    ("equation", "shapes", "what"),
    [
        ("ab,bc,cd->ad", [[2, 3], [3, 4]], "Number of input tensors does not match"),
        ("ab,bc->ad", [[2, 3], [3, 4]], "output contains a label missing from the inputs"),
        ("ab,bc->aa", [[2, 3], [3, 4]], "or twice in the result"),
        ("ab,bc->ac", [[2, 3], [4, 5]], "index 'b' has size"),
        ("a1,1c->ac", [[2, 3], [3, 5]], "letters and at most one '...'"),
        (".b...,b->b", [[2, 3], [3]], "letters and at most one '...'"),
        ("ab->->a", [[2, 3]], "letters and at most one '...'"),
        ("......a->a", [[2, 3]], "letters and at most one '...'"),
        ("...a...,a->a", [[2, 3], [3]], "letters and at most one '...'"),
    ],
)
def test_einsum_that_does_not_fit(equation: str, shapes: list[list[int]], what: str):
    inputs = {f"x{i}": shape for i, shape in enumerate(shapes)}
    message = str(error([node("Einsum", list(inputs), ["y"], name="e", equation=equation)], inputs, ["y"]))
    assert "node 'e' (Einsum, opset 24)" in message
    assert what in message


def test_cycle():
    message = str(error([node("Add", ["x", "b"], ["a"], name="first"), node("Relu", ["a"], ["b"], name="second")], {"x": [3]}, ["b"]))
    assert "sorted" in message
    assert "first" in message


def test_inconsistent_shapes():
    assert "not a valid ONNX model" in str(error([node("MatMul", ["a", "b"], ["c"], name="m")], {"a": [2, 3], "b": [4, 5]}, ["c"]))


def test_old_opset():
    assert "opset 12" in str(error([node("Relu", ["x"], ["y"])], {"x": [3]}, ["y"], element_type=TensorProto.FLOAT, opset=12))


def test_axes_computed_at_run_time():
    message = str(error([node("ReduceSum", ["x", "index"], ["y"], name="r")], {"x": [2, 3], "index": [1]}, ["y"]))
    assert "constant" in message or "shape" in message


def test_unknown_role_and_format():
    for key, value in (("dse.role", "wheight"), ("dse.dtype", "bf15")):
        source = model([node("Relu", ["x"], ["y"])], {"x": [3]}, ["y"])
        source.graph.input[0].metadata_props.add(key=key, value=value)
        with pytest.raises(GraphError, match=f"tensor 'x': metadata {key}.*{value}.*allowed"):
            read_onnx(source, name="bad")


def test_files(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        load_onnx(tmp_path / "missing.onnx")
    for name, content in (("text.onnx", b"this is no protobuf"), ("empty.onnx", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="is not an ONNX model"):
            load_onnx(tmp_path / name)
    with pytest.raises(InputError, match="cannot be read"):
        load_onnx(tmp_path)


def test_random_bytes_and_damaged_files_never_give_a_traceback(tmp_path):
    source = model([node("MatMul", ["x", "w"], ["y"]), node("Softmax", ["y"], ["z"])], {"x": [4, 5]}, ["z"], weights={"w": [5, 6]})
    good = source.SerializeToString()
    rng = random.Random(1)
    path = tmp_path / "damaged.onnx"
    for _ in range(150):
        damaged = bytearray(good)
        for _ in range(rng.randint(1, 8)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(bytes(damaged))
        try:
            load_onnx(path)
        except DseError as e:
            assert str(e)


def test_absurd_sizes_allocate_nothing():
    graph = read_onnx(model([node("Relu", ["x"], ["y"])], {"x": [2**40, 2**20]}, ["y"]), name="huge")
    assert graph.operators[0].vector_ops == 2**60


def test_sparse_constants_and_strings_are_refused():
    source = model([helper.make_node("Constant", [], ["c"], value_string=b"x"), node("Identity", ["c"], ["y"], name="i")], {}, ["y"])
    with pytest.raises(GraphError):
        read_onnx(source, name="bad")


def test_what_is_computed_from_nothing():
    nothing = {"a": [5, 0], "b": [0, 3]}
    message = str(error([node("MatMul", ["a", "b"], ["y"], name="p")], nothing, ["y"]))
    assert message.endswith("input 'a' has no elements, so there is nothing to compute from; give its dimensions sizes")
