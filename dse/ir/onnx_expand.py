"""Bodies of functions and chosen branches put in place of the nodes that call them, with names of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from onnx import AttributeProto, FunctionProto, NodeProto, helper

from dse.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from onnx import GraphProto

MAX_EXPANDED_NODES: Final = 50_000
"""Nodes that functions and branches may expand to in all; calls in calls grow exponentially."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What names, attributes and operator sets mean inside a body."""

    opsets: Mapping[str, int]
    names: Mapping[str, str] = field(default_factory=dict)
    """Name in the body: name in the flat graph; names that are not here mean themselves."""
    attributes: Mapping[str, AttributeProto] | None = None
    """Attributes of the function call that the body refers to; None outside functions."""
    calls: tuple[str, ...] = ()
    """Functions being expanded, outermost first."""
    prefix: str = ""

    def resolve(self, node: NodeProto) -> NodeProto:
        """A copy of `node` with names and attributes of the flat graph; `node` itself where nothing changes."""
        if not self.names and self.attributes is None and not self.prefix:
            return node
        found = NodeProto()
        found.CopyFrom(node)
        found.name = f"{self.prefix}{node.name}" if node.name else ""
        del found.input[:], found.output[:]
        found.input.extend(self.names.get(name, name) for name in node.input)
        found.output.extend(self.names.get(name, name) for name in node.output)
        if any(a.ref_attr_name for a in node.attribute):
            del found.attribute[:]
            found.attribute.extend(self._attributes(node))
        return found

    def _attributes(self, node: NodeProto) -> Iterable[AttributeProto]:
        """Attributes with references replaced by what the call gives; a reference to nothing is left out."""
        for attribute in node.attribute:
            if not attribute.ref_attr_name:
                yield attribute
            elif self.attributes is not None and attribute.ref_attr_name in self.attributes:
                given = AttributeProto()
                given.CopyFrom(self.attributes[attribute.ref_attr_name])
                given.name = attribute.name
                yield given


@dataclass
class Expander:
    """Gives bodies names that nothing else in the model has, and counts what they add."""

    where: str
    taken: set[str]
    """Tensor names in use."""
    added: int = 0
    _prefixes: dict[str, int] = field(default_factory=dict)

    def function(self, node: NodeProto, body: FunctionProto, scope: Scope, message_where: str) -> tuple[list[NodeProto], Scope]:
        """Nodes of a function call and the scope in which to read them.

        Raises:
            GraphError: a function that calls itself, more inputs or outputs than it has, or too many nodes in all.
        """
        key = f"{body.domain}::{body.name}:{body.overload}"
        if key in scope.calls:
            raise GraphError.single(message_where, f"calls itself by way of function '{body.name}'; ONNX functions may not be recursive")
        if len(node.input) > len(body.input) or len(node.output) > len(body.output):
            raise GraphError.single(
                message_where,
                f"gives {len(node.input)} inputs and {len(node.output)} outputs to function '{body.name}', which has {len(body.input)} and "
                f"{len(body.output)}",
            )
        attributes = {a.name: a for a in body.attribute_proto} | {a.name: a for a in node.attribute}
        names = dict(zip(body.input, [*node.input, *[""] * (len(body.input) - len(node.input))], strict=True))
        written = {name for inner in body.node for name in inner.output if name}
        nodes = list(body.node)
        opsets = {**scope.opsets, **{("" if o.domain == "ai.onnx" else o.domain): o.version for o in body.opset_import}}
        prefix = self._prefix(node, scope)
        copies = self._bind(names, written, zip(body.output, node.output, strict=False), prefix)
        self._count(len(nodes), message_where)
        return [*nodes, *copies], Scope(opsets, names, attributes, (*scope.calls, key), prefix)

    def branch(self, node: NodeProto, body: GraphProto, scope: Scope, message_where: str) -> tuple[list[NodeProto], Scope]:
        """Nodes of a branch of an If and the scope in which to read them; outer names keep their meaning.

        Raises:
            GraphError: another number of outputs, or too many nodes in all.
        """
        if len(node.output) > len(body.output) or body.sparse_initializer:
            raise GraphError.single(message_where, "its branch has too few outputs or sparse initialisers")
        names = dict(scope.names)
        written = {name for inner in body.node for name in inner.output if name} | {t.name for t in body.initializer}
        for name in written:
            names.pop(name, None)
        prefix = self._prefix(node, scope)
        formal = [value.name for value in body.output]
        constants = [
            helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in body.initializer
        ]  # as nodes, so that one rule reads both
        copies = self._bind(names, written, zip(formal, node.output, strict=False), prefix)
        self._count(len(body.node) + len(constants), message_where)
        return [*constants, *body.node, *copies], Scope(scope.opsets, names, scope.attributes, scope.calls, prefix)

    def _bind(self, names: dict[str, str], written: set[str], outputs: Iterable[tuple[str, str]], prefix: str) -> Sequence[NodeProto]:
        """Fill `names` for what a body writes; returns copies for outputs that it does not write itself."""
        copies = []
        for formal, actual in outputs:
            if not actual:
                continue
            if formal in written and formal not in names:
                names[formal] = actual
            else:
                alias = self._fresh(f"{prefix}{formal}.out")
                names[alias] = actual
                copies.append(helper.make_node("Identity", [formal], [alias]))
        for name in sorted(written):
            if name not in names:
                names[name] = self._fresh(f"{prefix}{name}")
        return copies

    def _fresh(self, name: str) -> str:
        while name in self.taken:
            name += "'"
        self.taken.add(name)
        return name

    def _prefix(self, node: NodeProto, scope: Scope) -> str:
        """A prefix for names of a body; `node` has its final name already, or none."""
        name = node.name or f"{scope.prefix}{node.op_type}"
        again = self._prefixes.get(name, 0)
        self._prefixes[name] = again + 1
        return f"{name}_{again}/" if again else f"{name}/"

    def _count(self, nodes: int, where: str) -> None:
        self.added += nodes
        if self.added > MAX_EXPANDED_NODES:
            raise GraphError.single(where, f"functions and branches expand to more than {MAX_EXPANDED_NODES:,} nodes; export fewer layers")
