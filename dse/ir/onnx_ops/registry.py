"""What a reader of one ONNX operator sees and where it is registered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from importlib.metadata import entry_points
from math import prod
from typing import TYPE_CHECKING, Any, Final

from dse.errors import GraphError, UsageError
from dse.ir.operator import Kind, Operand, Operator
from dse.ir.tensor import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from dse.ir.onnx_types import TensorType
    from dse.ir.tensor import DataType, Role

OPERATORS: Final = "dse.onnx_operators"
"""Entry-point group of packages that bring readers."""

AttributeValue = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | None
"""Attribute values that readers may ask for; others (tensors, graphs) are None."""


@dataclass(frozen=True, slots=True)
class Node:
    """One ONNX node; empty optional inputs are ''."""

    where: str
    """`file: node 'name' (Type, opset N)` for messages."""
    name: str
    op_type: str
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, AttributeValue]
    visible: Fraction = Fraction(1)
    """Share of the loop nest that a mask leaves, from the node's metadata."""

    def integer(self, name: str, default: int) -> int:
        """The integer attribute `name`."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise GraphError.single(self.where, f"attribute '{name}' is {value!r}; an integer is needed")
        return value

    def integers(self, name: str) -> tuple[int, ...] | None:
        """The attribute `name` as a list of integers; None when absent."""
        value = self.attributes.get(name)
        if value is None:
            return None
        if not isinstance(value, tuple):
            raise GraphError.single(self.where, f"attribute '{name}' is {value!r}; a list of integers is needed")
        return tuple(int(v) for v in value)

    def number(self, name: str, default: float) -> float:
        """The number attribute `name`."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int | float):
            raise GraphError.single(self.where, f"attribute '{name}' is {value!r}; a number is needed")
        return float(value)

    def given(self, index: int) -> str:
        """Name of input `index`; '' where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def made(self, index: int) -> str:
        """Name of output `index`; '' where nobody wants it."""
        return self.outputs[index] if index < len(self.outputs) else ""

    def text(self, name: str, default: str) -> str:
        """The string attribute `name`."""
        value = self.attributes.get(name, default)
        if not isinstance(value, str):
            raise GraphError.single(self.where, f"attribute '{name}' is {value!r}; a string is needed")
        return value

    def error(self, message: str) -> GraphError:
        """An error that names this node, its type and opset."""
        return GraphError.single(self.where, message)


@dataclass
class ReadingContext:
    """State of one reading: tensors by name, small integer constants, who reads what, and storage aliases."""

    tensors: Mapping[str, Tensor]
    constants: Mapping[str, tuple[int, ...]]
    """Values of small integer initialisers and constants, flattened."""
    immediates: frozenset[str]
    """Constants of one element; an instruction carries them, so they are no operand."""
    uses: Mapping[str, Sequence[str]]
    """Operator types that read a tensor, one entry per use; a graph output counts as a use by ''."""
    producers: dict[str, Operator] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    """Tensor to the tensor whose storage it shares."""
    extra: dict[str, Tensor] = field(default_factory=dict)
    """Tensors that a reader invented for an operator it took apart."""
    stored: set[str] = field(default_factory=set)
    """Tensors that are in the file, or computed from such before the first run."""
    entering: frozenset[str] = frozenset()
    """Inputs of the graph."""
    leaving: frozenset[str] = frozenset()
    """Outputs of the graph."""

    def tensor(self, name: str) -> Tensor:
        """The tensor called `name`; every one has a concrete shape."""
        return self.extra[name] if name in self.extra else self.tensors[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of tensor `name`."""
        return self.tensor(name).shape

    def operand(self, name: str, axes: Sequence[str | None], elements: int | None = None) -> Operand:
        """Operand over tensor `name`, touching all of it unless `elements` says less.

        Raises:
            ValueError: the tensor has another number of axes; the reading loop makes it an error that names the node.
        """
        tensor = self.tensor(name)
        if len(axes) != len(tensor.shape):
            raise ValueError(f"tensor '{name}' has shape {list(tensor.shape)}, {len(axes)} axes are expected")
        return Operand(tensor=name, axes=tuple(axes), elements=tensor.elements if elements is None else min(elements, tensor.elements))

    def integers(self, node: Node, index: int) -> tuple[int, ...] | None:
        """Values of the constant integer input `index`; None when the input is absent.

        Raises:
            GraphError: the input is computed at run time.
        """
        if index >= len(node.inputs) or not node.inputs[index]:
            return None
        name = node.inputs[index]
        if name not in self.constants:
            raise node.error(f"input '{name}' must be a constant so that shapes are known before running; fold constants and export again")
        return self.constants[name]

    def share(self, output: str, source: str) -> None:
        """`output` is stored in the bytes of `source`."""
        self.aliases[output] = source

    def invent(
        self, name: str, like: str, shape: Sequence[int], *, dtype: DataType | None = None, role: Role | None = None, storage: str = ""
    ) -> str:
        """A new tensor of `shape`, otherwise like the tensor `like`; a view of `storage` where that is given. Returns its name."""
        while name in self.tensors or name in self.extra:
            name += "'"
        source = self.tensor(like)
        self.extra[name] = Tensor(name, tuple(shape), dtype or source.dtype, role or source.role, name)
        if storage:
            self.share(name, storage)
        return name


Reader = Callable[[Node, ReadingContext], "Iterable[Operator]"]
"""Turns one node into operators, in order; the last writes the node's outputs."""

ShapeRule = Callable[["Node", "Sequence[TensorType | None]", "Mapping[str, NDArray[Any]]"], "Sequence[TensorType | None]"]
"""Types of a node's outputs, from those of its inputs (None where left out) and the values known before running, by name."""

READERS: Final[dict[str, Reader]] = {}
"""Reader by ONNX operator type, `domain::Type` outside the standard domain."""

SHAPES: Final[dict[str, ShapeRule]] = {}
"""Shape rule of operators that the onnx package does not define."""


def register(*op_types: str, shapes: ShapeRule | None = None, replace: bool = False) -> Callable[[Reader], Reader]:
    """Register a reader for ONNX operator types; this is where a new operator plugs in.

    Args:
        op_types: names; outside the standard domain `domain::Type`.
        shapes: types of the outputs, for operators that the onnx package does not define; without it the model must declare them.
        replace: take the place of a reader that is there already.

    Raises:
        UsageError: there is a reader for the type and `replace` is not set.
    """

    def add(reader: Reader) -> Reader:
        for op_type in op_types:
            if op_type in READERS and not replace:
                raise UsageError(f"operator type '{op_type}' has a reader already; register with replace=True to take its place")
            READERS[op_type] = reader
            if shapes is not None:
                SHAPES[op_type] = shapes
        return reader

    return add


@cache
def load_plugins() -> None:
    """Import what other packages bring in the entry-point group `dse.onnx_operators`, once; importing it registers readers.

    Raises:
        UsageError: a package cannot be imported; names it.
    """
    for entry in sorted(entry_points(group=OPERATORS), key=lambda e: e.name):
        try:
            entry.load()
        except (ImportError, AttributeError) as error:
            message = f"ONNX operators '{entry.name}' ({entry.value}) of {OPERATORS} cannot be loaded: {error}"
            raise UsageError(f"{message}; reinstall the package that brings them, or remove it") from error


def loop_names(rank: int) -> tuple[str, ...]:
    """Loop dimension names of an operator over a tensor of `rank` axes: d0, d1, …"""
    return tuple(f"d{i}" for i in range(rank))


def vector_operator(
    node: Node,
    *,
    dims: Iterable[tuple[str, int]],
    inputs: Iterable[Operand],
    outputs: Iterable[Operand],
    vector_ops: int,
    reduced_dims: tuple[str, ...] = (),
    reduced_elements: int | None = None,
) -> Operator:
    """The operator of the vector unit that `node` stands for; a result needs all of `reduced_dims` unless `reduced_elements` says less."""
    loops = tuple(dims)
    sizes = dict(loops)
    return Operator(
        name=node.name,
        op_type=node.op_type,
        kind=Kind.VECTOR,
        dims=loops,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        vector_ops=vector_ops,
        reduced_elements=prod(sizes[d] for d in reduced_dims) if reduced_elements is None else reduced_elements,
        reduced_dims=reduced_dims,
    )


def broadcast_axes(shape: Sequence[int], out_shape: Sequence[int], dims: Sequence[str]) -> tuple[str | None, ...]:
    """Loop dimension of each axis of an operand broadcast to `out_shape`; None where it is stretched."""
    offset = len(out_shape) - len(shape)
    return tuple(dims[offset + i] if size == out_shape[offset + i] else None for i, size in enumerate(shape))
