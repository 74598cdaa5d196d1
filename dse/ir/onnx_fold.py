"""Values of small tensors: shape arithmetic is computed while a model is read, weights never are."""

from __future__ import annotations

from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from onnx import TensorProto, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from onnx import NodeProto

    Value = NDArray[Any]  # Any: integers, booleans and a few floats

MAX_INTEGER_ELEMENTS: Final = 4096
"""Integer and boolean constants up to this size are read as values (axes, shapes, positions)."""
MAX_FLOAT_ELEMENTS: Final = 16
"""Floating constants up to this size are read as values (scale factors of a resize)."""
_INTEGERS: Final = frozenset(
    {
        TensorProto.INT64,
        TensorProto.INT32,
        TensorProto.INT16,
        TensorProto.INT8,
        TensorProto.UINT64,
        TensorProto.UINT32,
        TensorProto.UINT16,
        TensorProto.UINT8,
        TensorProto.BOOL,
    }
)
_REAL: Final = frozenset({TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16})

FOLDABLE: Final = frozenset(
    {
        "Abs",
        "Add",
        "And",
        "ArgMax",
        "ArgMin",
        "Cast",
        "CastLike",
        "Ceil",
        "Concat",
        "ConstantOfShape",
        "CumSum",
        "Div",
        "Equal",
        "Expand",
        "Flatten",
        "Floor",
        "Gather",
        "GatherElements",
        "GatherND",
        "Greater",
        "GreaterOrEqual",
        "Identity",
        "Less",
        "LessOrEqual",
        "Max",
        "Min",
        "Mod",
        "Mul",
        "Neg",
        "NonZero",
        "Not",
        "OneHot",
        "Or",
        "Pad",
        "Pow",
        "Range",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "Reshape",
        "Round",
        "ScatterElements",
        "ScatterND",
        "Sign",
        "Slice",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Sum",
        "Tile",
        "TopK",
        "Transpose",
        "Trilu",
        "Unsqueeze",
        "Where",
        "Xor",
    }
)
"""Operators that shape arithmetic is made of."""
UNEVALUABLE: Final = (ArithmeticError, AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""What ONNX' reference operators raise on inputs that do not fit."""


def may_be_value(element_type: int, elements: int) -> bool:
    """Whether a tensor of this type and size is kept as a value."""
    if element_type in _INTEGERS:
        return elements <= MAX_INTEGER_ELEMENTS
    return element_type in _REAL and elements <= MAX_FLOAT_ELEMENTS


def stored_value(tensor: TensorProto) -> Value | None:
    """The value of a small constant that is stored in the model itself; None for others.

    Raises:
        ValueError: the stored data do not fill the shape.
    """
    if tensor.data_location == TensorProto.EXTERNAL or not may_be_value(tensor.data_type, prod(tensor.dims)):
        return None
    if prod(tensor.dims) and not _has_data(tensor):
        return None
    return np.asarray(numpy_helper.to_array(tensor))


def _has_data(tensor: TensorProto) -> bool:
    """Whether any data came with the shape; models whose weights were stripped have none."""
    fields = (tensor.raw_data, tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data, tensor.uint64_data)
    return any(len(field) for field in fields)


@cache
def _implementation(op_type: str, opset: int) -> Any:  # Any: onnx' reference operators are untyped
    from onnx.reference.ops import load_op  # all of its operators: 0.03 s, for models that have something to fold

    return load_op("", op_type, opset)


def evaluate(node: NodeProto, opset: int, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    """Outputs of a standard node on small inputs, by ONNX' reference implementation.

    Raises:
        One of UNEVALUABLE: the inputs do not fit the operator.
    """
    if node.op_type == "GatherElements":
        return (_gather_elements(node, inputs),)
    parameters = {
        "log": lambda *_: None,
        "opsets": {"": opset},
        "verbose": 0,
        "new_ops": None,
        "evaluator_cls": None,
        "existing_functions": {},
    }
    with np.errstate(all="ignore"):
        found = _implementation(node.op_type, opset)(node, parameters).run(*inputs)
    return tuple(np.asarray(value) for value in found)


def _gather_elements(node: NodeProto, inputs: Sequence[Value | None]) -> Value:
    """GatherElements; the reference implementation fails where the indices have fewer elements than the data."""
    data, indices = inputs
    assert data is not None
    assert indices is not None
    axis = next((int(a.i) for a in node.attribute if a.name == "axis"), 0) % data.ndim
    part = tuple(slice(None) if i == axis else slice(size) for i, size in enumerate(indices.shape))
    found: Value = np.take_along_axis(data[part], indices, axis)
    return found
