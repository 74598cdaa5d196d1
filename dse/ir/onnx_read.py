"""ONNX model in, operator graph out: every node costed or refused by name."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import replace
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from dse.errors import DseError, GraphError, UsageError
from dse.ir.graph import OperatorGraph, check_graph
from dse.ir.onnx_check import open_model, prepared, shapeless, standard_opset
from dse.ir.onnx_ops import READERS, Node, ReadingContext
from dse.ir.precision import storage_type
from dse.ir.tensor import Role, Tensor, data_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from onnx import ModelProto, NodeProto, StringStringEntryProto, ValueInfoProto

    from dse.ir.lowering import Precision
    from dse.ir.onnx_ops.registry import AttributeValue
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
MAX_CONSTANT_ELEMENTS: Final = 4096
"""Integer constants up to this size are read as values (axes, shapes, steps)."""

_ELEMENT_TYPES: Final[dict[int, str]] = {
    TensorProto.DOUBLE: "fp64",
    TensorProto.FLOAT: "fp32",
    TensorProto.FLOAT16: "fp16",
    TensorProto.BFLOAT16: "bf16",
    TensorProto.FLOAT8E4M3FN: "fp8",
    TensorProto.FLOAT8E4M3FNUZ: "fp8",
    TensorProto.FLOAT8E5M2: "fp8",
    TensorProto.FLOAT8E5M2FNUZ: "fp8",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "int8",
    TensorProto.INT32: "int32",
    TensorProto.UINT32: "int32",
    TensorProto.INT64: "int64",
    TensorProto.UINT64: "int64",
    TensorProto.BOOL: "bool",
}
_FRACTION: Final = re.compile(r"([0-9]{1,30})(?:/([0-9]{1,30}))?")
_FLOATS: Final = frozenset({"fp64", "fp32", "fp16", "bf16", "fp8"})


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
    weights, views have the role of their source, everything else is an activation, and the format is `precision` by role
    (floating tensors) or the ONNX element type. Initialisers that only give shapes, axes or steps, and constants of one
    element, are part of the instruction and no operands.

    Args:
        model: any ONNX model of opset 13 or later; copied, never changed.
        name: name of the graph.
        precision: formats for floating tensors without metadata.
        dims: sizes of symbolic dimensions.
        where: how messages call the model; `name` when absent.

    Raises:
        UsageError: `dims` does not fit the model.
        GraphError: not valid ONNX, a tensor without concrete shape, or an operator that cannot be costed.
    """
    where = where or name
    ready = prepared(model, where=where, dims=dims or {})
    opset = standard_opset(ready, where)
    nodes, constants, immediates = _split_constants(ready)
    tensors = _tensors(ready, nodes, precision, where)
    context = ReadingContext(tensors=tensors, constants=constants, immediates=immediates, uses=_uses(ready, nodes))
    operators: list[Operator] = []
    for node in _named(nodes, opset, where):
        for operator in _read_node(node, context):
            operators.append(operator)
            context.producers.update({x.tensor: operator for x in operator.outputs})
    return check_graph(
        OperatorGraph(
            name=name,
            tensors=_stored({**tensors, **context.extra}, context.aliases, operators, {value.name for value in ready.graph.input}),
            operators=tuple(operators),
            inputs=_graph_inputs(ready, operators),
            outputs=tuple(value.name for value in ready.graph.output),
            accumulation=_accumulation(ready, precision, where),
        )
    )


def _read_node(node: Node, context: ReadingContext) -> tuple[Operator, ...]:
    """Operators of one node; ONNX' own checks are not complete, so a node may still not fit its tensors."""
    if node.op_type not in READERS:
        raise node.error(
            f"operator type '{node.op_type}' has no cost; rewrite it in supported operators ({', '.join(sorted(READERS))}) "
            "or add a reader with dse.ir.onnx_ops.register"
        )
    try:
        operators = tuple(READERS[node.op_type](node, context))
    except (ValueError, KeyError, IndexError, ZeroDivisionError) as e:
        raise node.error(f"inputs, attributes and shapes do not fit each other ({e}); see the ONNX definition of {node.op_type}") from e
    return operators if node.visible == 1 else tuple(replace(o, visible=node.visible) for o in operators)


def _visible(node: NodeProto, where: str) -> Fraction:
    """Share of the loop nest that a mask leaves, from the node's metadata."""
    text = _metadata(node.metadata_props).get(VISIBLE_KEY, "1")
    found = _FRACTION.fullmatch(text)
    if found is None or not 0 < int(found[1]) <= int(found[2] or 1):
        raise GraphError.single(
            where, f"node '{node.name}': metadata {VISIBLE_KEY}='{text[:40]}'; a fraction above 0 and at most 1 is needed, as 1/2"
        )
    return Fraction(int(found[1]), int(found[2] or 1))


def _split_constants(model: ModelProto) -> tuple[list[NodeProto], dict[str, tuple[int, ...]], frozenset[str]]:
    """Nodes other than Constant (which become initialisers), values of small integer constants, one-element constants."""
    nodes = []
    for node in model.graph.node:
        if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
            nodes.append(node)
            continue
        tensor = _constant_tensor(node)
        if tensor is not None:
            tensor.name = node.output[0]
            model.graph.initializer.append(tensor)
    values: dict[str, tuple[int, ...]] = {}
    for tensor in model.graph.initializer:
        if tensor.data_type in (TensorProto.INT64, TensorProto.INT32) and prod(tensor.dims) <= MAX_CONSTANT_ELEMENTS:
            values[tensor.name] = tuple(int(v) for v in numpy_helper.to_array(tensor).reshape(-1))
    return nodes, values, frozenset(t.name for t in model.graph.initializer if prod(t.dims) == 1)


def _constant_tensor(node: NodeProto) -> TensorProto | None:
    """The value of a Constant node as a tensor; None for strings and sparse tensors, which no reader takes."""
    attribute = node.attribute[0]
    if attribute.name == "value":
        tensor = TensorProto()
        tensor.CopyFrom(attribute.t)
        return tensor
    if attribute.name in ("value_int", "value_ints"):
        return numpy_helper.from_array(np.asarray(helper.get_attribute_value(attribute), dtype=np.int64))
    if attribute.name in ("value_float", "value_floats"):
        return numpy_helper.from_array(np.asarray(helper.get_attribute_value(attribute), dtype=np.float32))
    return None


def _uses(model: ModelProto, nodes: Iterable[NodeProto]) -> dict[str, list[str]]:
    """Operator types that read each tensor; '' stands for the world outside the graph."""
    uses: dict[str, list[str]] = defaultdict(list)
    for node in nodes:
        for tensor in node.input:
            uses[tensor].append(node.op_type)
    for value in model.graph.output:
        uses[value.name].append("")
    return uses


def _tensors(model: ModelProto, nodes: Iterable[NodeProto], precision: Precision | None, where: str) -> dict[str, Tensor]:
    """All tensors of a model with concrete shapes; raises a GraphError naming the first that has none."""
    tensors: dict[str, Tensor] = {}
    for initialiser in model.graph.initializer:
        metadata = _metadata(initialiser.metadata_props)
        tensors[initialiser.name] = _tensor(
            initialiser.name, tuple(initialiser.dims), initialiser.data_type, metadata, Role.WEIGHT, precision, where
        )
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        if value.name not in tensors:
            metadata = _metadata(value.metadata_props)
            tensors[value.name] = _tensor(
                value.name, _concrete_shape(value, where), value.type.tensor_type.elem_type, metadata, Role.ACTIVATION, precision, where
            )
    for node in nodes:
        for output in node.output:
            if output and output not in tensors and _is_standard(node):
                raise shapeless(output, where)
    return tensors


def _concrete_shape(value: ValueInfoProto, where: str) -> tuple[int, ...]:
    if value.type.WhichOneof("value") != "tensor_type":
        raise GraphError.single(where, f"'{value.name}' is not a tensor; sequences, maps and optionals are not supported")
    tensor_type = value.type.tensor_type
    if not tensor_type.HasField("shape"):
        raise shapeless(value.name, where)
    symbols = [d.dim_param or "?" for d in tensor_type.shape.dim if not d.HasField("dim_value")]
    if symbols:
        raise GraphError.single(
            where, f"tensor '{value.name}' has no size for dimension '{symbols[0]}'; give it one (--dim {symbols[0]}=value)"
        )
    shape = tuple(d.dim_value for d in tensor_type.shape.dim)
    if any(size < 1 for size in shape):
        raise GraphError.single(where, f"tensor '{value.name}' has shape {list(shape)}; every size must be at least 1")
    return shape


def _metadata(entries: Iterable[StringStringEntryProto]) -> dict[str, str]:
    return {e.key: e.value for e in entries}


def _tensor(
    name: str,
    shape: tuple[int, ...],
    element_type: int,
    metadata: Mapping[str, str],
    default_role: Role,
    precision: Precision | None,
    where: str,
) -> Tensor:
    given = metadata.get(ROLE_KEY, default_role.value)
    if given not in list(Role):
        raise GraphError.single(where, f"tensor '{name}': metadata {ROLE_KEY}='{given}'; allowed: {', '.join(Role)}")
    role = Role(given)
    return Tensor(name=name, shape=shape, dtype=_format(name, element_type, metadata, role, precision, where), role=role, storage=name)


def _format(name: str, element_type: int, metadata: Mapping[str, str], role: Role, precision: Precision | None, where: str) -> DataType:
    if DTYPE_KEY in metadata:
        try:
            return data_type(metadata[DTYPE_KEY])
        except UsageError as e:
            raise GraphError.single(where, f"tensor '{name}': metadata {DTYPE_KEY}: {e}") from e
    if element_type not in _ELEMENT_TYPES:
        found = TensorProto.DataType.Name(element_type) if element_type in TensorProto.DataType.values() else element_type
        allowed = ", ".join(sorted(TensorProto.DataType.Name(t) for t in _ELEMENT_TYPES))
        raise GraphError.single(where, f"tensor '{name}' has element type {found}; supported: {allowed}")
    stored = _ELEMENT_TYPES[element_type]
    return storage_type(precision, role) if precision is not None and stored in _FLOATS else data_type(stored)


def _is_standard(node: NodeProto) -> bool:
    return node.domain in ("", "ai.onnx") and node.op_type in READERS


def _named(nodes: Iterable[NodeProto], opset: int, where: str) -> Iterable[Node]:
    """Nodes in file order (which ONNX wants topological) with unique names."""
    seen: Counter[str] = Counter()
    taken = {node.name for node in nodes}
    for index, node in enumerate(nodes):
        op_type = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"
        name = node.name or f"{node.op_type}_{index}"
        seen[name] += 1
        while seen[name] > 1 or (not node.name and name in taken):
            name = f"{name}_{index}"
            seen[name] += 1
        yield Node(
            where=f"{where}: node '{name}' ({op_type}, opset {opset})",
            name=name,
            op_type=op_type,
            opset=opset,
            inputs=tuple(node.input),
            outputs=tuple(node.output),
            attributes={a.name: _attribute(a) for a in node.attribute},
            visible=_visible(node, where),
        )


def _attribute(attribute: AttributeProto) -> AttributeValue:
    match attribute.type:
        case AttributeProto.INT:
            return int(attribute.i)
        case AttributeProto.FLOAT:
            return float(attribute.f)
        case AttributeProto.STRING:
            return attribute.s.decode(errors="replace")
        case AttributeProto.INTS:
            return tuple(int(v) for v in attribute.ints)
        case AttributeProto.FLOATS:
            return tuple(float(v) for v in attribute.floats)
        case _:
            return None


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


def _graph_inputs(model: ModelProto, operators: Iterable[Operator]) -> tuple[str, ...]:
    """Declared inputs, then the initialisers that are operands."""
    read = {x.tensor for o in operators for x in o.inputs}
    declared = [value.name for value in model.graph.input]
    known = set(declared)
    return (*declared, *(t.name for t in model.graph.initializer if t.name in read and t.name not in known))


def _accumulation(model: ModelProto, precision: Precision | None, where: str) -> DataType:
    given = _metadata(model.metadata_props).get(ACCUMULATION_KEY)
    if given is None:
        return precision.accumulation if precision is not None else data_type("fp32")
    try:
        return data_type(given)
    except DseError as e:
        raise GraphError.single(where, f"metadata {ACCUMULATION_KEY}: {e}") from e
