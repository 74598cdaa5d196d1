"""Expressions that a campaign states as limits: a small grammar, parsed to a tree of our own and worked out over columns.

Numbers, 'texts', true, false and null; names, which are whole paths such as `core.array.rows`; `+ - * / // %`; comparisons,
also chained; `in` and `not in` a list; `and`, `or`, `not`; parentheses. There are no calls, no attributes, no subscripts,
no powers. Python's parser only reads the text; nothing is ever compiled or evaluated by Python.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from dse.errors import DseError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from dse.search.space import Value

MAX_CHARACTERS: Final = 1_000
MAX_DEPTH: Final = 50
LARGEST_INTEGER: Final = 2**63 - 1
GRAMMAR: Final = "numbers, 'texts', paths, + - * / // %, comparisons, in [..], and, or, not, ( )"

_ARITHMETIC: Final[Mapping[type, tuple[str, Callable[[Any, Any], Any]]]] = {  # Any: scalars and arrays alike
    ast.Add: ("+", np.add),
    ast.Sub: ("-", np.subtract),
    ast.Mult: ("*", np.multiply),
    ast.Div: ("/", np.divide),
    ast.FloorDiv: ("//", np.floor_divide),
    ast.Mod: ("%", np.mod),
}
_ORDER: Final[Mapping[type, tuple[str, Callable[[Any, Any], Any]]]] = {
    ast.Lt: ("<", np.less),
    ast.LtE: ("<=", np.less_equal),
    ast.Gt: (">", np.greater),
    ast.GtE: (">=", np.greater_equal),
}
_WORDS: Final[Mapping[str, Value]] = {"true": True, "false": False, "null": None}
_ITEMS: Final = (ast.Constant, ast.UnaryOp, ast.Name)
_REFUSED: Final[Mapping[type, str]] = {
    ast.Call: "a call",
    ast.Attribute: "attribute access",
    ast.Subscript: "a subscript",
    ast.Pow: "a power",
    ast.Lambda: "a function",
    ast.ListComp: "a loop",
    ast.GeneratorExp: "a loop",
    ast.NamedExpr: "an assignment",
    ast.JoinedStr: "a formatted text",
    ast.IfExp: "'... if ... else ...'",
}


class ExpressionError(DseError):
    """An expression that is not of the grammar, or names what does not exist."""


class Kind:
    """What an expression gives."""

    NUMBER: Final = "a number"
    TRUTH: Final = "true or false"
    TEXT: Final = "a text"


Column: TypeAlias = "Value | NDArray[Any]"  # Any: numbers, truths or texts
Names: TypeAlias = "Mapping[str, Column]"


@dataclass(frozen=True, slots=True)
class Node:
    """A tree: `operator` is `value`, `name`, `list` or a sign; `content` is the value or the name."""

    operator: str
    content: Value = None
    parts: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed condition."""

    text: str
    tree: Node

    @property
    def names(self) -> tuple[str, ...]:
        """Paths that it names, each once, in the order of the text."""
        return tuple(dict.fromkeys(str(node.content) for node in _walk(self.tree) if node.operator == "name"))

    def holds(self, names: Names, size: int) -> NDArray[np.bool_]:
        """Mask [size]: where the condition is true; `names` gives each name a scalar or a column [size].

        A division by zero makes a comparison false; so does a comparison of sizes with null.
        """
        with np.errstate(all="ignore"):
            return np.broadcast_to(np.asarray(_work(self.tree, names), dtype=np.bool_), (size,))

    def check(self, samples: Mapping[str, tuple[Value, ...]]) -> None:
        """Raise an ExpressionError where a name is unknown or a sign does not go with the values of its names.

        `samples`: the values that each name takes.
        """
        for name in self.names:
            if name not in samples:
                raise ExpressionError(
                    f"'{self.text}': there is no '{name}' here; names are dimensions of the space, fields of the workload and of the"
                    f" accelerator, and area_mm2; there is no attribute access.{did_you_mean(name, samples)}"
                )
        if _kind(self.tree, samples, self.text) != Kind.TRUTH:
            raise ExpressionError(f"'{self.text}' is no condition; compare with <, <=, ==, !=, >=, > or in [..]")


def parse(text: str) -> Expression:
    """The expression in `text`.

    Raises:
        ExpressionError: it is not of the grammar; says what is not allowed.
    """
    if len(text) > MAX_CHARACTERS:
        raise ExpressionError(f"'{text[:60]}…' has {len(text)} characters; at most {MAX_CHARACTERS}")
    if not text.strip() or "\n" in text:
        raise ExpressionError(f"'{text}' is no condition; write one line such as core.array.rows * core.array.columns <= 65536")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ExpressionError(f"'{text}' cannot be read ({getattr(error, 'msg', error)}); allowed: {GRAMMAR}") from error
    return Expression(text.strip(), _read(tree, text, 0))


def _read(node: ast.expr, text: str, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise ExpressionError(f"'{text[:60]}…' is nested more than {MAX_DEPTH} deep; write several limits")
    name = _path(node)
    if name is not None:
        return Node("value", _WORDS[name]) if name in _WORDS else Node("name", name)
    match node:
        case ast.Constant(value=value) if value is None or isinstance(value, bool | int | float | str):
            if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
                raise ExpressionError(f"'{text[:60]}': a number is too large; integers go up to {LARGEST_INTEGER}")
            return Node("value", value)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Not(), operand=operand):
            sign = {ast.USub: "negative", ast.UAdd: "positive", ast.Not: "not"}[type(node.op)]
            return Node(sign, parts=(_read(operand, text, depth + 1),))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return Node(_ARITHMETIC[type(op)][0], parts=(_read(left, text, depth + 1), _read(right, text, depth + 1)))
        case ast.BoolOp(op=op, values=values):
            return Node("and" if isinstance(op, ast.And) else "or", parts=tuple(_read(v, text, depth + 1) for v in values))
        case ast.Compare():
            return _comparison(node, text, depth)
        case ast.List(elts=items) | ast.Tuple(elts=items) if depth and all(isinstance(i, _ITEMS) for i in items):
            return Node("list", parts=tuple(_read(item, text, depth + 1) for item in items))
        case _:
            raise _refused(node, text)


def _refused(node: ast.AST, text: str) -> ExpressionError:
    kinds = [type(node), *([type(node.op)] if isinstance(node, ast.BinOp) else [])]
    what = next((_REFUSED[kind] for kind in kinds if kind in _REFUSED), f"'{type(node).__name__}'")
    return ExpressionError(f"'{text}': {what} is not allowed in a limit; allowed: {GRAMMAR}")


def _path(node: ast.expr) -> str | None:
    """A name with its dots, where the node is one; private names are no paths."""
    steps: list[str] = []
    while isinstance(node, ast.Attribute):
        steps.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    steps.append(node.id)
    return None if any(re.match(r"__", step) for step in steps) else ".".join(reversed(steps))


def _comparison(node: ast.Compare, text: str, depth: int) -> Node:
    """A chain `a < b < c` as `a < b and b < c`."""
    sides = [_read(side, text, depth + 1) for side in (node.left, *node.comparators)]
    pairs = []
    for op, left, right in zip(node.ops, sides, sides[1:], strict=False):
        if type(op) in _ORDER:
            pairs.append(Node(_ORDER[type(op)][0], parts=(left, right)))
        elif isinstance(op, ast.Eq | ast.NotEq):
            pairs.append(Node("==" if isinstance(op, ast.Eq) else "!=", parts=(left, right)))
        elif isinstance(op, ast.In | ast.NotIn) and right.operator == "list":
            equal = Node("in", parts=(left, *right.parts))
            pairs.append(equal if isinstance(op, ast.In) else Node("not", parts=(equal,)))
        else:
            raise ExpressionError(f"'{text}': 'in' takes a list such as [8, 16], and 'is' is not allowed; allowed: {GRAMMAR}")
    return pairs[0] if len(pairs) == 1 else Node("and", parts=tuple(pairs))


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for part in node.parts:
        yield from _walk(part)


_SIGNS: Final = dict((*_ARITHMETIC.values(), *_ORDER.values()))


def _work(node: Node, names: Names) -> Any:  # Any: scalar or array of numbers, truths or texts
    match node.operator:
        case "value":
            return node.content
        case "name":
            return names[str(node.content)]
        case "and":
            return _fold(np.logical_and, node, names)
        case "or":
            return _fold(np.logical_or, node, names)
        case "negative" | "positive" | "not":
            return _ONE_SIDED[node.operator](_work(node.parts[0], names))
        case "==" | "!=":
            equal = _equal(_work(node.parts[0], names), _work(node.parts[1], names))
            return equal if node.operator == "==" else np.logical_not(equal)
        case "in":
            first, *rest = (_work(part, names) for part in node.parts)
            return np.logical_or.reduce([np.broadcast_to(_equal(first, one), np.shape(first)) for one in rest])
        case sign:
            return _SIGNS[sign](_number(_work(node.parts[0], names)), _number(_work(node.parts[1], names)))


def _fold(call: Callable[[Any, Any], Any], node: Node, names: Names) -> Any:  # Any: as `_work`
    result = _work(node.parts[0], names)
    for part in node.parts[1:]:
        result = call(result, _work(part, names))
    return result


def _number(value: Any) -> Any:  # Any: as `_work`
    """Floating point, so that nothing overflows or raises; null becomes not a number, which no comparison holds for."""
    return np.asarray(value, dtype=np.float64) if value is not None else np.float64("nan")


_ONE_SIDED: Final[Mapping[str, Callable[[Any], Any]]] = {
    "negative": lambda value: np.negative(_number(value)),
    "positive": _number,
    "not": np.logical_not,
}


def _equal(left: Any, right: Any) -> Any:  # Any: as `_work`
    """Equality by value and kind: a text never equals a number, true never equals 1."""
    left, right = np.asarray(left, dtype=object), np.asarray(right, dtype=object)
    return np.frompyfunc(_same, 2, 1)(left, right).astype(np.bool_) if left.ndim or right.ndim else _same(left[()], right[()])


def _same(left: object, right: object) -> bool:
    numbers = isinstance(left, int | float | np.number) and isinstance(right, int | float | np.number)
    truths = isinstance(left, bool | np.bool_), isinstance(right, bool | np.bool_)
    return bool(left == right) and truths[0] == truths[1] and (numbers or type(left) is type(right) or all(truths))


def _kind(node: Node, samples: Mapping[str, tuple[Value, ...]], text: str) -> str:
    """What `node` gives; raises an ExpressionError where a sign does not go with its parts."""
    match node.operator:
        case "value":
            return _kind_of((node.content,))
        case "name":
            return _kind_of(samples[str(node.content)])
        case "==" | "!=" | "in":
            for part in node.parts:
                _kind(part, samples, text)
            return Kind.TRUTH
        case "and" | "or" | "not":
            _need(node, Kind.TRUTH, samples, text)
            return Kind.TRUTH
        case "list":
            raise ExpressionError(f"'{text}': a list stands after 'in' only; allowed: {GRAMMAR}")
        case sign:
            _need(node, Kind.NUMBER, samples, text)
            if sign in {"/", "//", "%"} and node.parts[1] == Node("value", content=0):
                raise ExpressionError(f"'{text}': divides by 0, which no design changes; leave it out, or name what is meant")
            return Kind.TRUTH if sign in {"<", "<=", ">", ">="} else Kind.NUMBER


def _need(node: Node, kind: str, samples: Mapping[str, tuple[Value, ...]], text: str) -> None:
    for part in node.parts:
        found = _kind(part, samples, text)
        if found != kind:
            what = f"'{part.content}'" if part.operator in ("name", "value") else "one side"
            raise ExpressionError(f"'{text}': '{node.operator}' needs {kind} on each side, {what} is {found}")


def _kind_of(values: tuple[Value, ...]) -> str:
    known = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in known) and known:
        return Kind.TRUTH
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        return Kind.NUMBER
    return Kind.TEXT
