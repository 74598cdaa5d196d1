"""What the reader makes of single operators: loops, MACs, touched elements, storage."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from dse.errors import GraphError, UsageError
from dse.ir.onnx_ops import READERS, register
from dse.ir.onnx_read import load_onnx, read_onnx
from dse.ir.operator import Kind, matmul_shape
from dse.ir.precision import precision
from dse.ir.tensor import Role

from .onnx_models import model, node


def read(*args, **kwargs):
    return read_onnx(model(*args, **kwargs), name="test")


def test_einsum_letters_are_loops():
    graph = read([node("Einsum", ["a", "b"], ["c"], name="e", equation="bhsn,rhn->bhsr")], {"a": [2, 3, 5, 7], "b": [11, 3, 7]}, ["c"])
    (e,) = graph.operators
    assert (e.kind, e.macs) == (Kind.CONTRACTION, 2 * 3 * 5 * 7 * 11)
    assert [o.axes for o in (*e.inputs, *e.outputs)] == [tuple("bhsn"), tuple("rhn"), tuple("bhsr")]
    shape = matmul_shape(e)
    assert (shape.groups, shape.m, shape.k, shape.n) == (3, 10, 7, 11)
    assert shape.group_dims == ("h",)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [  # shapes -> groups, m, k, n
        ([4, 5], [5, 6], (1, 4, 5, 6)),
        ([2, 3, 4, 5], [2, 3, 5, 6], (6, 4, 5, 6)),
        ([2, 3, 4, 5], [5, 6], (1, 24, 5, 6)),  # broadcast batch axes belong to the rows
        ([2, 1, 4, 5], [3, 5, 6], (1, 8, 5, 18)),  # each side has a batch axis of its own
        ([5], [5, 6], (1, 1, 5, 6)),
        ([4, 5], [5], (1, 4, 5, 1)),
        ([1, 1, 5], [5, 6], (1, 1, 5, 6)),
    ],
)
def test_matmul_broadcasts_like_numpy(left, right, expected):
    graph = read([node("MatMul", ["a", "b"], ["c"], name="m")], {"a": left, "b": right}, ["c"])
    shape = matmul_shape(graph.operators[0])
    assert (shape.groups, shape.m, shape.k, shape.n) == expected
    assert graph.operators[0].macs == shape.macs


def test_gemm_with_bias_is_a_product_and_an_addition():
    graph = read([node("Gemm", ["x", "w", "b"], ["y"], name="g", transB=1)], {"x": [4, 5]}, ["y"], weights={"w": [6, 5], "b": [6]})
    product, addition = graph.operators
    assert (product.name, product.macs, matmul_shape(product).n) == ("g.product", 120, 6)
    assert (addition.kind, addition.vector_ops) == (Kind.VECTOR, 24)
    assert addition.inputs[1].axes == ("d1",)
    assert graph.tensors["w"].role is Role.WEIGHT


def test_elementwise_broadcast_and_immediates():
    graph = read(
        [node("Mul", ["x", "two"], ["y"], name="m"), node("Add", ["y", "r"], ["z"], name="a")],
        {"x": [4, 5], "r": [4, 1]},
        ["z"],
        weights={"two": []},
    )
    scale, add = graph.operators
    assert [o.tensor for o in scale.inputs] == ["x"], "a constant of one element is no operand"
    assert add.inputs[1].axes == ("d0", None)
    assert add.vector_ops == 20
    assert "two" not in graph.inputs


def test_softmax_and_norm_name_their_rows():
    nodes = [node("Softmax", ["x"], ["p"], name="s", axis=1), node("RMSNormalization", ["p", "g"], ["y"], name="n", axis=-1)]
    graph = read(nodes, {"x": [2, 8, 3]}, ["y"], weights={"g": [3]})
    softmax, norm = graph.operators
    assert (softmax.vector_ops, softmax.reduced_elements, softmax.reduced_dims) == (7 * 48, 8, ("d1",))
    assert (norm.vector_ops, norm.reduced_elements, norm.reduced_dims) == (4 * 48, 3, ("d2",))


def test_reduce_drops_its_axis():
    graph = read([node("ReduceSum", ["x", "axes"], ["y"], name="r", keepdims=0)], {"x": [2, 8, 3]}, ["y"], integers={"axes": [1]})
    (r,) = graph.operators
    assert r.outputs[0].axes == ("d0", "d2")
    assert (r.vector_ops, r.reduced_elements) == (48, 8)


def test_gather_touches_only_what_it_gathers():
    graph = read([node("Gather", ["w", "index"], ["y"], name="g")], {"index": [2, 3]}, ["y"], weights={"w": [1000, 7]})
    (g,) = graph.operators
    assert (g.kind, g.inputs[0].elements, g.inputs[1].elements) == (Kind.MOVE, 42, 6)
    assert g.inputs[0].axes == (None, "d2")


def test_append_is_in_place():
    graph = read(
        [node("TensorScatter", ["c", "u", "index"], ["d"], name="t", axis=1)], {"c": [2, 100, 8], "u": [2, 3, 8], "index": [2]}, ["d"]
    )
    (t,) = graph.operators
    assert (t.inputs[0].elements, t.inputs[1].elements, t.outputs[0].elements) == (0, 48, 48)
    assert graph.tensors["d"].storage == "c"


def test_views_share_storage_and_keep_loops():
    nodes = [
        node("Slice", ["c", "start", "end", "axis"], ["v"], name="slice"),
        node("Reshape", ["v", "shape"], ["w"], name="reshape"),
        node("Relu", ["w"], ["y"]),
    ]
    graph = read(nodes, {"c": [2, 6, 8]}, ["y"], integers={"start": [0], "end": [4], "axis": [2], "shape": [2, 6, 2, 2]})
    cut, reshape, _ = graph.operators
    assert (cut.kind, reshape.kind) == (Kind.VIEW, Kind.VIEW)
    assert cut.inputs[0].axes == cut.outputs[0].axes == ("d0", "d1", None)
    assert reshape.inputs[0].axes == ("d0", "d1", None)
    assert reshape.outputs[0].axes == ("d0", "d1", None, None)
    assert graph.tensors["w"].storage == "c"


@pytest.mark.parametrize(
    ("source", "out", "kept"),
    [
        ([2, 3, 4], [6, 4], {2: 1}),
        ([6, 4], [2, 3, 4], {1: 2}),
        ([2, 1, 4], [2, 4], {0: 0, 2: 1}),
        ([2, 4], [2, 1, 4], {0: 0, 1: 2}),
        ([2, 3, 4, 5], [2, 12, 5], {0: 0, 3: 2}),
        ([4, 6], [6, 4], {}),
        ([8], [8, 1, 1], {0: 0}),
    ],
)
def test_reshape_keeps_axes_that_start_at_the_same_stride(source, out, kept):
    graph = read(
        [node("Reshape", ["x", "shape"], ["y"], name="r"), node("Relu", ["y"], ["z"])], {"x": source}, ["z"], integers={"shape": out}
    )
    view = graph.operators[0]
    after = {d: i for i, d in enumerate(view.outputs[0].axes) if d}
    assert {i: after[d] for i, d in enumerate(view.inputs[0].axes) if d} == kept


def test_concat_of_fresh_results_is_written_in_place():
    nodes = [node("Relu", ["a"], ["p"]), node("Relu", ["b"], ["q"]), node("Concat", ["p", "q"], ["c"], name="cat", axis=1)]
    graph = read(nodes, {"a": [2, 3], "b": [2, 5]}, ["c"])
    assert graph.operators[2].kind is Kind.VIEW
    assert graph.tensors["p"].storage == graph.tensors["q"].storage == "c"


@pytest.mark.parametrize("why", ["an input of the graph", "read elsewhere", "twice the same"])
def test_concat_moves_what_cannot_be_written_in_place(why: str):
    parts, outputs = {
        "an input of the graph": (["p", "b"], ["c"]),
        "read elsewhere": (["p", "q"], ["c", "q"]),
        "twice the same": (["p", "p"], ["c"]),
    }[why]
    nodes = [node("Relu", ["a"], ["p"]), node("Relu", ["b"], ["q"]), node("Concat", parts, ["c"], name="cat", axis=1)]
    graph = read(nodes, {"a": [2, 5], "b": [2, 5]}, outputs)
    cat = next(o for o in graph.operators if o.name == "cat")
    assert (cat.kind, cat.outputs[0].elements) == (Kind.MOVE, 20)
    assert graph.tensors["p"].storage == "p"


def test_transpose_is_a_view_for_contractions_only():
    inputs = {"x": [4, 5], "y": [4, 6]}
    product = read([node("Transpose", ["x"], ["t"], name="t"), node("MatMul", ["t", "y"], ["z"])], inputs, ["z"])
    assert product.operators[0].kind is Kind.VIEW
    assert product.operators[0].inputs[0].axes == ("d1", "d0")
    assert read([node("Transpose", ["x"], ["t"], name="t"), node("Relu", ["t"], ["z"])], inputs, ["z"]).operators[0].kind is Kind.MOVE


def test_split_outputs_share_the_source():
    graph = read([node("Split", ["x"], ["a", "b"], name="s", axis=1, num_outputs=2), node("Mul", ["a", "b"], ["y"])], {"x": [3, 8]}, ["y"])
    assert graph.tensors["a"].storage == graph.tensors["b"].storage == "x"


def test_view_of_a_weight_is_a_weight():
    graph = read(
        [node("Transpose", ["w"], ["t"], name="t"), node("MatMul", ["x", "t"], ["y"])], {"x": [4, 5]}, ["y"], weights={"w": [6, 5]}
    )
    assert graph.tensors["t"].role is Role.WEIGHT


def test_formats_follow_the_file_the_metadata_or_the_precision():
    nodes = [node("MatMul", ["x", "w"], ["y"], name="m")]
    plain = model(nodes, {"x": [4, 5]}, ["y"], weights={"w": [5, 6]})
    assert read_onnx(plain, name="p").tensors["w"].dtype.name == "fp16"
    assert read_onnx(plain, name="p", precision=precision("w8a16")).tensors["w"].dtype.name == "int8"
    assert read_onnx(plain, name="p", precision=precision("w8a16")).tensors["y"].dtype.name == "bf16"
    plain.graph.input[0].metadata_props.add(key="dse.dtype", value="fp8")
    plain.graph.input[0].metadata_props.add(key="dse.role", value="cache")
    x = read_onnx(plain, name="p", precision=precision("bf16")).tensors["x"]
    assert (x.dtype.name, x.role) == ("fp8", Role.CACHE)


def test_symbolic_dimensions_get_sizes():
    symbolic = model([node("MatMul", ["x", "w"], ["y"], name="m")], {"x": ["batch", 5]}, ["y"], weights={"w": [5, 6]})
    assert read_onnx(symbolic, name="s", dims={"batch": 7}).operators[0].macs == 7 * 5 * 6
    with pytest.raises(GraphError, match="no size for dimension 'batch'"):
        read_onnx(symbolic, name="s")
    with pytest.raises(UsageError, match=r"symbolic dimensions: batch\. Did you mean 'batch'"):
        read_onnx(symbolic, name="s", dims={"batsh": 7})
    with pytest.raises(UsageError, match="at least 0"):
        read_onnx(symbolic, name="s", dims={"batch": -1})


def test_constant_nodes_are_values():
    nodes = [
        helper.make_node("Constant", [], ["axes"], value_ints=[1]),
        node("ReduceMean", ["x", "axes"], ["y"], name="r"),
    ]
    assert [o.name for o in read(nodes, {"x": [2, 3]}, ["y"]).operators] == ["r"]


def test_functions_are_inlined():
    body = [node("Relu", ["a"], ["t"]), node("Exp", ["t"], ["b"])]
    function = helper.make_function("local", "F", ["a"], ["b"], body, [helper.make_opsetid("", 24)])
    source = model([helper.make_node("F", ["x"], ["y"], domain="local")], {"x": [2, 3]}, ["y"])
    source.functions.append(function)
    source.opset_import.append(helper.make_opsetid("local", 1))
    assert [o.op_type for o in read_onnx(source, name="f").operators] == ["Relu", "Exp"]


def test_equal_or_missing_node_names_become_unique():
    nodes = [
        node("Relu", ["x"], ["a"], name="n"),
        node("Relu", ["a"], ["b"], name="n"),
        node("Relu", ["b"], ["c"]),
        node("Relu", ["c"], ["d"], name="n_1"),
    ]
    names = [o.name for o in read(nodes, {"x": [2]}, ["d"]).operators]
    assert len(set(names)) == 4
    assert names[0] == "n"


def test_weights_in_other_files_are_not_read(tmp_path):
    source = model([node("MatMul", ["x", "w"], ["y"], name="m")], {"x": [4, 5]}, ["y"], weights={"w": [5, 6]})
    tensor = source.graph.initializer[0]
    tensor.ClearField("int32_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret.bin")
    path = tmp_path / "external.onnx"
    onnx.save(source, str(path))
    graph = load_onnx(path)
    assert graph.operators[0].macs == 120
    assert graph.tensors["w"].role is Role.WEIGHT


def test_the_source_model_is_not_changed():
    source = model([node("MatMul", ["x", "w"], ["y"], name="m")], {"x": ["n", 5]}, ["y"], weights={"w": [5, 6]})
    before = source.SerializeToString(deterministic=True)
    read_onnx(source, name="s", dims={"n": 3})
    assert source.SerializeToString(deterministic=True) == before


def test_a_registered_reader_is_used(monkeypatch):
    monkeypatch.delitem(READERS, "Erf")
    source = model([node("Erf", ["x"], ["y"], name="s")], {"x": [3]}, ["y"])
    with pytest.raises(GraphError, match="Erf"):
        read_onnx(source, name="s")
    register("Erf")(lambda n, c: READERS["Identity"](n, c))
    assert read_onnx(source, name="s").operators[0].op_type == "Erf"
    monkeypatch.delitem(READERS, "Erf")


@pytest.mark.parametrize(
    ("equation", "shapes", "expected"),
    [  # (operator type, loops, MACs, vector operations) of each step
        ("ab,bc,cd->ad", [[2, 3], [3, 4], [4, 5]], [("Einsum", "acb", 24, 0), ("Einsum", "adc", 40, 0)]),
        ("ab,bc", [[2, 3], [3, 4]], [("Einsum", "acb", 24, 0)]),
        ("...ab,...bc->...ac", [[7, 2, 3], [1, 3, 4]], [("Einsum", "e0acb", 168, 0)]),
        ("aa,ab->ab", [[2, 2], [2, 4]], [("Einsum", "a", 0, 0), ("Einsum", "ab", 8, 0)]),
        ("ab,cd->ad", [[2, 3], [4, 5]], [("ReduceSum", "ab", 0, 6), ("ReduceSum", "dc", 0, 20), ("Einsum", "ad", 10, 0)]),
        ("abc->ac", [[2, 3, 4]], [("ReduceSum", "acb", 0, 24)]),
        ("ii->", [[3, 3]], [("ReduceSum", "i", 0, 3)]),
        ("ii->i", [[3, 3]], [("Einsum", "i", 0, 0)]),
        ("ab->ba", [[2, 3]], [("Transpose", "d0d1", 0, 0)]),
        ("abc,cd,b->ad", [[2, 3, 4], [4, 5], [3]], [("Einsum", "abdc", 120, 0), ("Einsum", "adb", 30, 0)]),
    ],
)
def test_einsum_of_any_form(equation: str, shapes: list[list[int]], expected: list[tuple[str, str, int, int]]):
    inputs = {f"x{i}": shape for i, shape in enumerate(shapes)}
    graph = read([node("Einsum", list(inputs), ["y"], name="e", equation=equation)], inputs, ["y"])
    found = [(o.op_type, "".join(d for d, _ in o.dims), o.macs, o.vector_ops) for o in graph.operators]
    assert found == expected
    assert graph.tensors["y"].shape == np.einsum(equation, *(np.zeros(s) for s in shapes)).shape


def test_gathered_shapes_are_computed():
    """GatherElements on constants, with fewer indices than data: what exporters make of token types that are all zero."""
    nodes = [
        node("GatherElements", ["table", "index"], ["picked"], axis=1),
        node("Squeeze", ["picked", "axis"], ["shape"]),
        node("Reshape", ["x", "shape"], ["y"]),
    ]
    source = model(nodes, {"x": [12]}, ["y"], integers={"axis": [0], "table": [5], "index": [0]})
    del source.graph.initializer[1:]
    source.graph.initializer.append(onnx.numpy_helper.from_array(np.array([[9, 3, 4, 7]]), "table"))
    source.graph.initializer.append(onnx.numpy_helper.from_array(np.array([[1, 2]]), "index"))
    assert read_onnx(source, name="g").tensors["y"].shape == (3, 4)


def test_early_versions_without_shape_inference():
    """LessOrEqual 12, of opset 13 to 15, infers nothing."""
    graph = read([node("LessOrEqual", ["a", "b"], ["c"]), node("Where", ["c", "a", "b"], ["y"])], {"a": [3, 1], "b": [4]}, ["y"], opset=13)
    assert graph.tensors["c"].shape == (3, 4)


def test_nothing_to_compute():
    with pytest.raises(GraphError, match="nothing to compute: with these sizes output 'y'"):
        read_onnx(model([node("Relu", ["x"], ["y"])], {"x": ["n", 3]}, ["y"]), name="empty", dims={"n": 0})
