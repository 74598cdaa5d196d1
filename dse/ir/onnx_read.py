"""ONNX model in, operator graph out: every node costed or refused by name."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dse.errors import DseError, GraphError, UsageError
from dse.ir.graph import OperatorGraph, check_graph
from dse.ir.onnx_check import open_model
from dse.ir.onnx_flatten import flatten, shapeless, unknown_operator
from dse.ir.onnx_ops import READERS, ReadingContext, load_plugins
from dse.ir.onnx_roles import infer_roles
from dse.ir.onnx_types import FLOATS, element_type_name, format_name, supported_names
from dse.ir.operator import Kind
from dse.ir.precision import storage_type
from dse.ir.product_costs import beside_product
from dse.ir.tensor import Role, Tensor, data_type
from dse.ir.vector_costs import QUANTISE_OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from onnx import ModelProto, NodeProto, StringStringEntryProto

    from dse.ir.lowering import Precision
    from dse.ir.onnx_flatten import FlatModel, FlatNode
    from dse.ir.onnx_ops import Node
    from dse.ir.operator import Operator
    from dse.ir.tensor import DataType

DTYPE_KEY: Final = "dse.dtype"
"""Metadata key of a tensor's storage format, where the ONNX element type only carries it."""
ROLE_KEY: Final = "dse.role"
"""Metadata key of a tensor's role."""
VISIBLE_KEY: Final = "dse.visible"
"""Metadata key of a node: share of its loop nest that a mask leaves, as a fraction such as 1/2."""
ACCUMULATION_KEY: Final = "dse.accumulation"
"""Model metadata key of the format of partial sums."""
KEPT_AT_RUN_TIME: Final = frozenset({"DequantizeLinear"})
"""Operators that run even on constants: computing them beforehand would store weights in a wider format."""
_FRACTION: Final = re.compile(r"([0-9]{1,30})(?:/([0-9]{1,30}))?")


def load_onnx(path: str | Path, *, precision: Precision | None = None, dims: Mapping[str, int] | None = None) -> OperatorGraph:
    """The operator graph of an ONNX file; weights in other files are never read, only their shapes count.

    Raises:
        InputError: the file is missing or no ONNX model.
        GraphError, UsageError: as `read_onnx`.
    """
    file = Path(path)
    return read_onnx(open_model(file), name=file.stem, precision=precision, dims=dims or {}, where=str(file))


def read_onnx(
    model: ModelProto,
    *,
    name: str,
    precision: Precision | None = None,
    dims: Mapping[str, int] | None = None,
    where: str | None = None,
) -> OperatorGraph:
    """The operator graph of an ONNX model.

    Storage format and role of a tensor come from its `dse.dtype` and `dse.role` metadata. Without them: initialisers are
    weights, caches and scores are found by `dse.ir.onnx_roles`, views have the role of their source, everything else is an
    activation, and the format is `precision` by role (floating tensors of 16 bits and more) or the ONNX element type.
    What only gives shapes, axes or steps, and constants of one element, are part of the instruction and no operands.
    Arithmetic on constants alone is done before the first run: its result is stored like a weight.

    Args:
        model: any ONNX model of opset 13 or later; copied, never changed.
        name: name of the graph.
        precision: formats for floating tensors without metadata.
        dims: sizes of symbolic dimensions.
        where: how messages call the model; `name` when absent.

    Raises:
        UsageError: `dims` does not fit the model, or a package with operators cannot be loaded.
        GraphError: not valid ONNX, a tensor without concrete shape, or an operator that cannot be costed.
    """
    where = where or name
    load_plugins()
    flat = flatten(model, where=where, dims=dims or {})
    nodes, empty = _needed(flat)
    if 0 in (dims or {}).values() and not set(flat.outputs) - empty:
        raise GraphError.single(where, f"nothing to compute: with these sizes output '{flat.outputs[0]}' and all others have no elements")
    context = ReadingContext(
        tensors=_tensors(flat, nodes, empty, precision),
        constants={n: tuple(int(x) for x in v.reshape(-1)) for n, v in flat.values.items() if v.dtype.kind in "iub"},
        immediates=frozenset(n for n in flat.constants if (t := flat.tensor_type(n)) is not None and t.elements == 1),
        uses=_uses(flat, nodes),
        stored=set(flat.constants),
        entering=frozenset(flat.inputs) - empty,
        leaving=frozenset(flat.outputs),
    )
    operators: list[Operator] = []
    for flat_node in nodes:
        read = _read_node(flat_node, context)
        if not _before_running(flat_node.node, read, context):
            operators += read
            for operator in read:
                context.producers.update({x.tensor: operator for x in operator.outputs})
    outputs = tuple(n for n in flat.outputs if n not in empty)
    inputs = _graph_inputs(flat, context, operators, outputs)
    tensors = infer_roles({**context.tensors, **context.extra}, operators, context.entering)
    operators = [_beside(o, tensors) for o in operators]
    return check_graph(
        OperatorGraph(
            name=name,
            tensors=_stored(tensors, context.aliases, operators, {*inputs, *outputs}),
            operators=tuple(operators),
            inputs=inputs,
            outputs=outputs,
            accumulation=_accumulation(model, precision, where),
        )
    )


def _beside(operator: Operator, tensors: Mapping[str, Tensor]) -> Operator:
    """`operator` with the vector work that formats bring: of products `beside_product`, of others storing with block scales."""
    if operator.kind is Kind.CONTRACTION:
        more = beside_product(operator, tensors).total
    elif operator.kind is Kind.VECTOR:
        written = (x for x in operator.outputs if tensors[x.tensor].role is Role.ACTIVATION and tensors[x.tensor].dtype.scale_bits)
        more = QUANTISE_OPERATIONS * sum(x.elements for x in written)
    else:
        more = 0
    return replace(operator, vector_ops=operator.vector_ops + more) if more else operator


def _needed(flat: FlatModel) -> tuple[list[FlatNode], frozenset[str]]:
    """Nodes that an output needs, in order, and the tensors of no element, which nobody computes.

    What is known before running needs no node; a node all of whose outputs are empty does nothing.
    """
    needed = set(flat.outputs)
    found: list[FlatNode] = []
    for flat_node in reversed(flat.nodes):
        made = [n for n in flat_node.node.outputs if n in needed and n]
        if made:
            found.append(flat_node)
            needed.update(n for n in flat_node.node.inputs if n not in flat.constants)
    found.reverse()
    empty = frozenset(n for n in flat.types if (t := flat.tensor_type(n)) is not None and t.elements == 0)
    nodes = [
        replace(n, node=replace(n.node, inputs=tuple("" if i in empty else i for i in n.node.inputs))) if empty & {*n.node.inputs} else n
        for n in found
        if not all(o in empty for o in n.node.outputs if o)
    ]
    return nodes, empty


def _read_node(flat_node: FlatNode, context: ReadingContext) -> tuple[Operator, ...]:
    """Operators of one node; ONNX' own checks are not complete, so a node may still not fit its tensors."""
    node = flat_node.node
    if node.op_type not in READERS:
        raise node.error(unknown_operator(node.op_type))
    visible = _visible(flat_node.proto, node)
    try:
        operators = tuple(READERS[node.op_type](node, context))
    except (ValueError, KeyError, IndexError, ZeroDivisionError) as e:
        gone = [given for given, here in zip(flat_node.proto.input, node.inputs, strict=False) if given and not here]
        if gone:
            raise node.error(f"input '{gone[0]}' has no elements, so there is nothing to compute from; give its dimensions sizes") from e
        raise node.error(f"inputs, attributes and shapes do not fit each other ({e}); see the ONNX definition of {node.op_type}") from e
    return operators if visible == 1 else tuple(replace(o, visible=visible) for o in operators)


def _visible(proto: NodeProto, node: Node) -> Fraction:
    """Share of the loop nest that a mask leaves, from the node's metadata."""
    text = _metadata(proto.metadata_props).get(VISIBLE_KEY, "1")
    found = _FRACTION.fullmatch(text)
    if found is None or not 0 < int(found[1]) <= int(found[2] or 1):
        raise node.error(f"metadata {VISIBLE_KEY}='{text[:40]}'; a fraction above 0 and at most 1 is needed, as 1/2")
    return Fraction(int(found[1]), int(found[2] or 1))


def _before_running(node: Node, operators: tuple[Operator, ...], context: ReadingContext) -> bool:
    """Whether the node's results are formed once, before the first run: it has constant inputs alone and is no view."""
    if node.op_type in KEPT_AT_RUN_TIME or not all(n in context.stored for n in node.inputs if n):
        return False
    made = [n for n in node.outputs if n]
    context.stored.update(made)
    if all(o.kind is Kind.VIEW for o in operators):
        return False
    for n in made:
        context.aliases.pop(n, None)
    return True


def _uses(flat: FlatModel, nodes: Iterable[FlatNode]) -> dict[str, list[str]]:
    """Operator types that read each tensor; '' stands for the world outside the graph."""
    uses: dict[str, list[str]] = defaultdict(list)
    for flat_node in nodes:
        for tensor in flat_node.node.inputs:
            uses[tensor].append(flat_node.node.op_type)
    for name in flat.outputs:
        uses[name].append("")
    return uses


def _tensors(flat: FlatModel, nodes: Iterable[FlatNode], empty: frozenset[str], precision: Precision | None) -> dict[str, Tensor]:
    """All tensors that nodes and the outside touch; raises a GraphError naming the first that has no concrete shape."""
    tensors: dict[str, Tensor] = {}
    wanted = [(n, flat.where) for n in (*flat.inputs, *flat.outputs)]
    wanted += [(n, f.node.where) for f in nodes for n in (*f.node.inputs, *f.node.outputs) if n]
    for name, where in wanted:
        if name in tensors or name in empty:
            continue
        if name not in flat.types:
            raise GraphError.single(where, f"is not a valid ONNX model: nothing gives '{name}'")
        found = flat.tensor_type(name)
        if found is None:
            kind = flat.types[name].WhichOneof("value")
            if kind not in (None, "tensor_type"):
                raise GraphError.single(where, f"'{name}' is not a tensor; sequences, maps and optionals are not supported")
            raise shapeless(name, where)
        if any(size < 1 for size in found.shape):
            raise GraphError.single(where, f"tensor '{name}' has shape {list(found.shape)}; every size must be at least 1")
        stored = flat.constants.get(name)
        declared = flat.declared.get(name)
        metadata = _metadata([*(declared.metadata_props if declared else ()), *(stored.metadata_props if stored is not None else ())])
        default = Role.WEIGHT if name in flat.constants else Role.ACTIVATION
        role = _role(name, metadata, default, flat.where)
        dtype = _format(name, found.element_type, metadata, role, precision, where)
        tensors[name] = Tensor(name=name, shape=found.shape, dtype=dtype, role=role, storage=name)
    return tensors


def _metadata(entries: Iterable[StringStringEntryProto]) -> dict[str, str]:
    return {e.key: e.value for e in entries}


def _role(name: str, metadata: Mapping[str, str], default: Role, where: str) -> Role:
    given = metadata.get(ROLE_KEY, default.value)
    if given not in list(Role):
        raise GraphError.single(where, f"tensor '{name}': metadata {ROLE_KEY}='{given}'; allowed: {', '.join(Role)}")
    return Role(given)


def _format(name: str, element_type: int, metadata: Mapping[str, str], role: Role, precision: Precision | None, where: str) -> DataType:
    if DTYPE_KEY in metadata:
        try:
            return data_type(metadata[DTYPE_KEY])
        except UsageError as e:
            raise GraphError.single(where, f"tensor '{name}': metadata {DTYPE_KEY}: {e}") from e
    stored = format_name(element_type)
    if stored is None:
        raise GraphError.single(
            where, f"tensor '{name}' has element type {element_type_name(element_type)}; supported: {supported_names()}"
        )
    return storage_type(precision, role) if precision is not None and stored in FLOATS else data_type(stored)


def _stored(
    tensors: Mapping[str, Tensor], aliases: Mapping[str, str], operators: Iterable[Operator], declared: set[str]
) -> dict[str, Tensor]:
    """Declared inputs and tensors that operators touch, with storage and role.

    Storage is the end of the chain of aliases; a view of a weight or a cache has its role.
    """
    found: dict[str, Tensor] = {}
    roots: dict[str, str] = {}
    kept = declared | {x.tensor for o in operators for x in (*o.inputs, *o.outputs)}
    for name, tensor in tensors.items():
        root = _root(name, aliases, roots)
        source = tensors[root].role
        role = source if tensor.role is Role.ACTIVATION and source in (Role.WEIGHT, Role.CACHE) else tensor.role
        if name in kept:
            found[name] = replace(tensor, storage=root, role=role)
    return found


def _root(name: str, aliases: Mapping[str, str], roots: dict[str, str]) -> str:
    """End of the chain of aliases from `name`; `roots` remembers it for every link, so that long chains stay linear."""
    chain = []
    while name not in roots and name in aliases:
        chain.append(name)
        name = aliases[name]
    root = roots.get(name, name)
    roots.update(dict.fromkeys(chain, root))
    return root


def _graph_inputs(flat: FlatModel, context: ReadingContext, operators: Iterable[Operator], outputs: tuple[str, ...]) -> tuple[str, ...]:
    """Declared inputs, then stored tensors that are operands or leave the graph, in the order of their first use."""
    written = {x.tensor for o in operators for x in o.outputs}
    read = [x.tensor for o in operators for x in o.inputs]
    found = dict.fromkeys(n for n in flat.inputs if n in context.entering)
    found.update(dict.fromkeys(n for n in (*read, *outputs) if n not in written and (n in context.stored or n in context.extra)))
    return tuple(found)


def _accumulation(model: ModelProto, precision: Precision | None, where: str) -> DataType:
    given = _metadata(model.metadata_props).get(ACCUMULATION_KEY)
    if given is None:
        return precision.accumulation if precision is not None else data_type("fp32")
    try:
        return data_type(given)
    except DseError as e:
        raise GraphError.single(where, f"metadata {ACCUMULATION_KEY}: {e}") from e
