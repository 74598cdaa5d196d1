"""What a reader of one ONNX operator sees and where it is registered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from dse.errors import GraphError
from dse.ir.operator import Operand, Operator

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dse.ir.tensor import Tensor

AttributeValue = int | float | str | tuple[int, ...] | tuple[float, ...] | None
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


Reader = Callable[[Node, ReadingContext], "Iterable[Operator]"]
"""Turns one node into operators, in order; the last writes the node's outputs."""

READERS: Final[dict[str, Reader]] = {}
"""Reader by ONNX operator type, `domain::Type` outside the standard domain."""


def register(*op_types: str) -> Callable[[Reader], Reader]:
    """Register a reader for ONNX operator types; this is where a new operator plugs in.

    Types outside the standard domain are written `domain::Type`.
    """

    def add(reader: Reader) -> Reader:
        for op_type in op_types:
            assert op_type not in READERS, op_type
            READERS[op_type] = reader
        return reader

    return add


def loop_names(rank: int) -> tuple[str, ...]:
    """Loop dimension names of an operator over a tensor of `rank` axes: d0, d1, …"""
    return tuple(f"d{i}" for i in range(rank))


def broadcast_axes(shape: Sequence[int], out_shape: Sequence[int], dims: Sequence[str]) -> tuple[str | None, ...]:
    """Loop dimension of each axis of an operand broadcast to `out_shape`; None where it is stretched."""
    offset = len(out_shape) - len(shape)
    return tuple(dims[offset + i] if size == out_shape[offset + i] else None for i, size in enumerate(shape))
