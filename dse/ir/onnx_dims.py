"""Symbolic dimensions of an ONNX model: named, unnamed and computed ones get their sizes."""

from __future__ import annotations

import ast
import operator
from typing import TYPE_CHECKING, Final

from dse.errors import GraphError, UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from onnx import ModelProto, ValueInfoProto

    Binary = Callable[[int, int], int]

MAX_SIZE: Final = 2**62
"""Largest size of a dimension; byte counts of one axis then stay within 64 bits plus one."""
_OPERATORS: Final[dict[type[ast.operator], Binary]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: Final[dict[str, Callable[..., int]]] = {"max": max, "min": min}
MAX_EXPRESSION: Final = 200
"""Longest text of a computed dimension that is read as an expression."""


def symbols_of(model: ModelProto) -> tuple[str, ...]:
    """Names that `--dim` may give a size: symbolic dimensions of the model, each once, inputs first.

    A dimension with neither name nor size is called `<tensor>_dim_<axis>`. Dimensions that are computed from others
    (`past + query`) are not among them, their parts are.
    """
    found: dict[str, None] = {}
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for text in unknown_dims(value):
            expression = _parsed(text)
            found.update(dict.fromkeys(_names(expression) if expression is not None else (text,)))
    return tuple(found)


def unknown_dims(value: ValueInfoProto) -> tuple[str, ...]:
    """Names of the dimensions of `value` that have no size."""
    return tuple(
        d.dim_param or f"{value.name}_dim_{axis}"
        for axis, d in enumerate(value.type.tensor_type.shape.dim)
        if not d.HasField("dim_value") or d.dim_value == -1
    )


def set_dimensions(model: ModelProto, dims: Mapping[str, int], where: str) -> None:
    """Give symbolic dimensions their sizes, computed ones from their parts.

    Raises:
        UsageError: a name that the model does not have, or a size below 0.
        GraphError: a computed dimension comes out below 1, or is no whole number.
    """
    symbols = symbols_of(model)
    for name, size in dims.items():
        if name not in symbols:
            allowed = ", ".join(sorted(symbols)) or "none, all sizes are fixed"
            raise UsageError(f"dimension '{name}' is not in the model; its symbolic dimensions: {allowed}.{did_you_mean(name, symbols)}")
        if not 0 <= size <= MAX_SIZE:
            raise UsageError(f"dimension '{name}' is {size}; a size of at least 0 (an empty past) is needed, and at most {MAX_SIZE}")
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for axis, d in enumerate(value.type.tensor_type.shape.dim):
            if d.HasField("dim_value") and d.dim_value != -1:
                continue
            size_found = dimension_size(d.dim_param or f"{value.name}_dim_{axis}", dims, f"{where}: tensor '{value.name}'")
            if size_found is not None:
                d.dim_value = size_found


def dimension_size(text: str, dims: Mapping[str, int], where: str) -> int | None:
    """Size of the symbolic dimension `text`; None where a part of it has no size."""
    if text in dims:
        return dims[text]
    expression = _parsed(text)
    if expression is None or any(name not in dims for name in _names(expression)):
        return None
    try:
        size = _value(expression, dims)
    except (ArithmeticError, TypeError, ValueError) as e:
        raise GraphError.single(where, f"dimension '{text}' cannot be computed from the given sizes ({e})") from e
    if not 0 <= size <= MAX_SIZE:
        raise GraphError.single(where, f"dimension '{text}' is {size} with the given sizes; it must be at least 0")
    return size


def missing_dimensions(values: Iterable[ValueInfoProto]) -> tuple[str, ...]:
    """Names of all dimensions without size, parts of computed ones instead of these, each once."""
    found: dict[str, None] = {}
    for value in values:
        for text in unknown_dims(value):
            expression = _parsed(text)
            found.update(dict.fromkeys(_names(expression) if expression is not None else (text,)))
    return tuple(found)


def _parsed(text: str) -> ast.expr | None:
    """The expression in `text`; None for a plain name and for anything but sums, products, max and min of names."""
    if text.isidentifier() or len(text) > MAX_EXPRESSION:
        return None
    try:
        expression = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return expression if _is_arithmetic(expression) and any(_names(expression)) else None


def _is_arithmetic(node: ast.expr) -> bool:
    match node:
        case ast.Name():
            return True
        case ast.Constant():
            return isinstance(node.value, int) and not isinstance(node.value, bool)
        case ast.BinOp():
            return type(node.op) in _OPERATORS and _is_arithmetic(node.left) and _is_arithmetic(node.right)
        case ast.UnaryOp():
            return isinstance(node.op, ast.USub) and _is_arithmetic(node.operand)
        case ast.Call(func=ast.Name(id=name)):
            return name.lower() in _FUNCTIONS and not node.keywords and bool(node.args) and all(_is_arithmetic(a) for a in node.args)
    return False


def _names(node: ast.expr) -> tuple[str, ...]:
    """Names in an expression, functions left out."""
    match node:
        case ast.Name():
            return (node.id,)
        case ast.BinOp():
            return (*_names(node.left), *_names(node.right))
        case ast.UnaryOp():
            return _names(node.operand)
        case ast.Call():
            return tuple(name for a in node.args for name in _names(a))
    return ()


def _value(node: ast.expr, dims: Mapping[str, int]) -> int:
    match node:
        case ast.Name():
            return dims[node.id]
        case ast.Constant(value=int(value)):
            return value
        case ast.BinOp():
            return _OPERATORS[type(node.op)](_value(node.left, dims), _value(node.right, dims))
        case ast.UnaryOp():
            return -_value(node.operand, dims)
        case ast.Call(func=ast.Name(id=name)):
            return _FUNCTIONS[name.lower()](*(_value(a, dims) for a in node.args))
    raise TypeError(f"'{ast.dump(node)}' is no arithmetic")
