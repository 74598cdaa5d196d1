"""One pass over an ONNX model: bodies expanded, every shape inferred, shape arithmetic computed, node by node."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import onnx
from onnx import AttributeProto, FunctionProto, NodeProto, TensorProto, TypeProto, checker, defs, helper, numpy_helper, shape_inference

from dse.errors import GraphError, did_you_mean
from dse.ir.onnx_check import STANDARD_DOMAINS, check_structure, check_tensor, standard_opset
from dse.ir.onnx_dims import missing_dimensions, set_dimensions
from dse.ir.onnx_expand import Expander, Scope
from dse.ir.onnx_fold import FOLDABLE, UNEVALUABLE, evaluate, may_be_value, stored_value
from dse.ir.onnx_ops import READERS, SHAPES, Node
from dse.ir.onnx_ops.einsum import check_equation
from dse.ir.onnx_ops.registry import OPERATORS
from dse.ir.onnx_types import TensorType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from onnx import GraphProto, ModelProto, ValueInfoProto
    from onnx.defs import OpSchema

    from dse.ir.onnx_fold import Value
    from dse.ir.onnx_ops.registry import AttributeValue

INVALID: Final = (checker.ValidationError, shape_inference.InferenceError, RuntimeError, ValueError, KeyError, TypeError)
"""What the onnx package raises on nodes that are not valid."""


@dataclass(frozen=True, slots=True)
class FlatNode:
    """A node of the flat graph with everything a reader sees of it, and its metadata."""

    node: Node
    proto: NodeProto


@dataclass
class FlatModel:
    """A model without bodies: nodes in order, concrete types, and the values that are known before running."""

    where: str
    nodes: list[FlatNode] = field(default_factory=list)
    types: dict[str, TypeProto] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    constants: dict[str, TensorProto | None] = field(default_factory=dict)
    """Tensors that are stored in the model, with the protobuf where there is one; their data are not read."""
    declared: dict[str, ValueInfoProto] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()

    def tensor_type(self, name: str) -> TensorType | None:
        """Element type and shape of `name`; None where it is no tensor or has no concrete shape."""
        given = self.types.get(name)
        if given is None or given.WhichOneof("value") != "tensor_type" or not given.tensor_type.HasField("shape"):
            return None
        dims = given.tensor_type.shape.dim
        if not all(d.HasField("dim_value") and d.dim_value >= 0 for d in dims):
            return None
        return TensorType(given.tensor_type.elem_type, tuple(d.dim_value for d in dims))


def flatten(model: ModelProto, *, where: str, dims: Mapping[str, int]) -> FlatModel:
    """The flat form of `model`, which is copied and never changed.

    Raises:
        UsageError: `dims` names a dimension that the model does not have, or a size below 1.
        GraphError: not valid ONNX, an input without concrete shape, a loop, or an operator without cost or shapes.
    """
    standard_opset(model, where)
    check_structure(model, where)
    return _Flattener(model, where, dims).run()


class _Flattener:
    """State of one pass."""

    def __init__(self, model: ModelProto, where: str, dims: Mapping[str, int]) -> None:
        self._model = _shapes_only(model)
        set_dimensions(self._model, dims, where)
        self._where = where
        self._flat = FlatModel(where=where)
        self._functions = {(f.domain, f.name, f.overload): f for f in model.functions}
        self._names: Counter[str] = Counter()
        self._read_so_far = 0
        graph = model.graph
        self._expander = Expander(where, {name for node in graph.node for name in (*node.input, *node.output)})
        self._given_names = {node.name for node in graph.node if node.name}
        self._contexts: dict[int, checker.C.CheckerContext] = {}

    def run(self) -> FlatModel:
        """Read declarations, then every node that an output needs."""
        graph, flat = self._model.graph, self._flat
        opsets = {("" if o.domain in STANDARD_DOMAINS else o.domain): o.version for o in self._model.opset_import}
        for tensor in graph.initializer:
            self._store(tensor.name, tensor)
        flat.declared = {value.name: value for value in (*graph.value_info, *graph.output, *graph.input)}
        flat.inputs = tuple(value.name for value in graph.input if value.name not in flat.constants)
        flat.outputs = tuple(value.name for value in graph.output)
        self._check_inputs([value for value in graph.input if value.name not in flat.constants])
        stack: list[tuple[NodeProto, Scope]] = [(node, Scope(opsets)) for node in reversed(_live(graph))]
        while stack:
            node, scope = stack.pop()
            resolved = scope.resolve(node)
            inner, inner_scope = self._read(resolved, scope)
            stack.extend((child, inner_scope) for child in reversed(inner))
        for name in flat.outputs:
            self._check_output(name)
        return flat

    def _check_inputs(self, inputs: list[ValueInfoProto]) -> None:
        for value in inputs:
            kind = value.type.WhichOneof("value")
            if kind not in (None, "tensor_type"):
                raise GraphError.single(self._where, f"'{value.name}' is not a tensor; sequences, maps and optionals are not supported")
            if not value.type.tensor_type.HasField("shape"):
                raise shapeless(value.name, self._where)
        missing = missing_dimensions(inputs)
        if missing:
            first = next(value.name for value in inputs if missing_dimensions([value]))
            options = " ".join(f"--dim {name}=value" for name in missing)
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            them = "it one" if len(missing) == 1 else "all of them one"
            raise GraphError.single(
                self._where, f"tensor '{first}' has no size for dimension '{missing[0]}'{more}; give {them} ({options})"
            )
        for value in inputs:
            shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
            if any(size < 0 for size in shape):
                raise GraphError.single(self._where, f"tensor '{value.name}' has shape {shape}; every size must be at least 1")
            self._flat.types[value.name] = value.type

    def _check_output(self, name: str) -> None:
        if name not in self._flat.types:
            raise GraphError.single(self._where, f"output '{name}' is not a valid ONNX output: no node, input or initialiser writes it")
        found, declared = self._flat.tensor_type(name), _declared_shape(self._flat.declared[name])
        if found is None or declared is None:
            return
        if len(declared) != len(found.shape) or any(d not in (None, size) for d, size in zip(declared, found.shape, strict=True)):
            said = ["?" if d is None else d for d in declared]
            raise GraphError.single(
                self._where,
                f"output '{name}' is declared with shape {said}, but its node makes {list(found.shape)}; export the model again",
            )

    def _store(self, name: str, tensor: TensorProto) -> None:
        """Make a stored tensor known: its type, its metadata, and its value where it is small."""
        check_tensor(tensor, self._where)
        flat = self._flat
        flat.types[name] = helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
        flat.constants[name] = tensor
        try:
            value = stored_value(tensor)
        except (*UNEVALUABLE, onnx.onnx_cpp2py_export.checker.ValidationError) as e:
            raise GraphError.single(self._where, f"initialiser '{name}' is not valid: its data do not fill its shape ({_short(e)})") from e
        if value is not None:
            flat.values[name] = value

    def _read(self, proto: NodeProto, scope: Scope) -> tuple[Sequence[NodeProto], Scope]:
        """Read one node of the flat graph; returns the nodes to read in its place, if any."""
        node = self._named(proto, scope)
        function = self._functions.get((proto.domain, proto.op_type, proto.overload))
        if function is not None:
            return self._expander.function(_with_name(proto, node.name), function, scope, node.where)
        if node.op_type == "If":
            return self._branch(proto, node, scope)
        if node.op_type == "Constant":
            self._constant(proto, node)
            return (), scope
        schema = _schema(proto, scope)
        if node.op_type not in READERS and schema is not None:
            body = _standard_body(schema, proto, scope, self._flat.types)
            if body is not None:
                return self._expander.function(_with_defaults(proto, node.name, schema), body, scope, node.where)
        if node.op_type not in READERS and node.op_type not in FOLDABLE and node.op_type not in ("Shape", "Size"):
            raise node.error(unknown_operator(node.op_type))
        self._infer(proto, node, schema, scope)
        if not self._compute(proto, node):
            self._flat.nodes.append(FlatNode(node, proto))
        return (), scope

    def _named(self, proto: NodeProto, scope: Scope) -> Node:
        """The node as readers see it, with a name that no other node has."""
        domain = "" if proto.domain in STANDARD_DOMAINS else proto.domain
        op_type = f"{domain}::{proto.op_type}" if domain else proto.op_type
        opset = scope.opsets.get(domain, scope.opsets.get("", 0))
        self._read_so_far += 1
        name = proto.name or f"{scope.prefix}{proto.op_type}_{self._read_so_far - 1}"
        while self._names[name] or (not proto.name and name in self._given_names):
            self._names[name] += 1
            name = f"{name}_{self._names[name] - 1}"
        self._names[name] += 1
        return Node(
            where=f"{self._where}: node '{name}' ({op_type}, opset {opset})",
            name=name,
            op_type=op_type,
            opset=opset,
            inputs=tuple(proto.input),
            outputs=tuple(proto.output),
            attributes={a.name: _attribute(a) for a in proto.attribute},
        )

    def _branch(self, proto: NodeProto, node: Node, scope: Scope) -> tuple[Sequence[NodeProto], Scope]:
        condition = self._flat.values.get(proto.input[0]) if proto.input else None
        if condition is None or condition.size != 1:
            raise node.error(
                "which branch runs is decided at run time, so its work cannot be counted; give the condition a constant value or export "
                "the branch that runs"
            )
        wanted = "then_branch" if bool(condition.reshape(-1)[0]) else "else_branch"
        body = next((a.g for a in proto.attribute if a.name == wanted and a.type == AttributeProto.GRAPH), None)
        if body is None:
            raise node.error(f"is not valid ONNX: it has no {wanted}")
        return self._expander.branch(_with_name(proto, node.name), body, scope, node.where)

    def _constant(self, proto: NodeProto, node: Node) -> None:
        tensor = _constant_tensor(proto) if proto.attribute and proto.output else None
        if tensor is None:
            raise node.error("holds text, a sparse tensor or nothing; a dense tensor of numbers is needed")
        self._store(proto.output[0], tensor)

    def _infer(self, proto: NodeProto, node: Node, schema: OpSchema | None, scope: Scope) -> None:
        """Types of the node's outputs, from its operator's own inference or from what the model declares."""
        flat = self._flat
        unknown = next((name for name in proto.input if name and name not in flat.types), None)
        if unknown is not None:
            raise node.error(f"is not a valid ONNX node: it reads '{unknown}', which no input, initialiser or node before it gives")
        types: Mapping[str, TypeProto] = {}
        if node.op_type == "Einsum":
            check_equation(node)
        if schema is not None:
            data = {n: numpy_helper.from_array(flat.values[n], n) for n in proto.input if n in flat.values}
            given = {n: flat.types[n] for n in proto.input if n}
            opsets = [helper.make_opsetid(domain, version) for domain, version in scope.opsets.items()]
            try:
                checker.check_node(proto, self._context(scope))
                types = shape_inference.infer_node_outputs(schema, proto, given, data, opset_imports=opsets)
                if not all(types[n].tensor_type.HasField("shape") for n in proto.output if n in types):
                    types = _newer_types(proto, given, data) or types
            except INVALID as e:
                raise node.error(f"is not a valid ONNX model: {_short(e)}") from e
        elif node.op_type in SHAPES:
            types = self._registered(node)
        elif node.op_type in READERS and "::" not in node.op_type and defs.has(node.op_type):  # onnxruntime writes them into older opsets
            types = _newer_types(proto, {n: flat.types[n] for n in proto.input if n}, {})
        for name in proto.output:
            if name:
                found = types.get(name, TypeProto())
                declared = flat.declared.get(name)
                flat.types[name] = _completed(found, declared.type) if declared is not None else found

    def _registered(self, node: Node) -> Mapping[str, TypeProto]:
        """Types of the outputs of an operator that onnx does not know, from its reader's own rule."""
        inputs = [self._flat.tensor_type(name) if name else None for name in node.inputs]
        for name, found in zip(node.inputs, inputs, strict=True):
            if name and found is None:
                raise shapeless(name, node.where)
        try:
            outputs = SHAPES[node.op_type](node, inputs, self._flat.values)
        except (ValueError, KeyError, IndexError, ZeroDivisionError, TypeError, AttributeError) as e:
            raise node.error(f"inputs, attributes and shapes do not fit each other ({_short(e)})") from e
        return {
            name: helper.make_tensor_type_proto(t.element_type, list(t.shape))
            for name, t in zip(node.outputs, outputs, strict=False)
            if name and t is not None
        }

    def _compute(self, proto: NodeProto, node: Node) -> bool:
        """Compute the values of a node's outputs where its inputs are known and small; False where the node must run."""
        flat = self._flat
        if node.op_type in ("Shape", "Size"):
            return self._shape_of(node)
        if node.op_type not in FOLDABLE or any(name and name not in flat.values for name in proto.input):
            return False
        if node.op_type != "NonZero":  # whose result is no larger than its input times its rank
            for name in proto.output:
                found = flat.tensor_type(name) if name else None
                if name and (found is None or not may_be_value(found.element_type, found.elements)):
                    return False
        try:
            values = evaluate(proto, node.opset, [flat.values[name] if name else None for name in proto.input])
        except UNEVALUABLE as e:
            raise node.error(f"cannot be computed from its constant inputs: {_short(e)}") from e
        for name, value in zip(proto.output, values, strict=False):
            if name:
                self._know(name, value)
        return True

    def _shape_of(self, node: Node) -> bool:
        found = self._flat.tensor_type(node.inputs[0])
        if found is None:
            raise shapeless(node.inputs[0], node.where)
        if node.op_type == "Size":
            if found.elements >= 2**63:
                raise node.error(f"the size of '{node.inputs[0]}', {found.elements}, does not fit 64 bits")
            value = np.asarray(found.elements, dtype=np.int64)
        else:
            rank = len(found.shape)
            start, end = node.integer("start", 0), node.integer("end", rank)
            value = np.asarray(found.shape, dtype=np.int64)[slice(start, end)]
        self._know(node.outputs[0], value)
        return True

    def _know(self, name: str, value: Value) -> None:
        self._flat.values[name] = value
        self._flat.constants[name] = None
        self._flat.types[name] = helper.make_tensor_type_proto(helper.np_dtype_to_tensor_dtype(value.dtype), list(value.shape))

    def _context(self, scope: Scope) -> checker.C.CheckerContext:
        """The checker's view of the operator sets of a scope."""
        key = id(scope.opsets)
        if key not in self._contexts:
            context = checker.C.CheckerContext()
            context.ir_version = onnx.IR_VERSION
            context.opset_imports = dict(scope.opsets)
            self._contexts[key] = context
        return self._contexts[key]


def unknown_operator(op_type: str) -> str:
    """The message for an operator that has no reader."""
    return (
        f"operator type '{op_type}' has no cost.{did_you_mean(op_type, READERS)} Rewrite it in supported operators (listed in "
        "docs/onnx_import.md), or add a reader with dse.ir.onnx_ops.register, in a module named by an entry point of the group "
        f"{OPERATORS}"
    )


def shapeless(name: str, where: str) -> GraphError:
    """The error for a tensor whose shape is not known."""
    return GraphError.single(
        where,
        f"tensor '{name}' has no concrete shape after shape inference; give every symbolic dimension a size (--dim name=value) "
        "and export with fixed shapes where sizes are computed at run time",
    )


def _shapes_only(model: ModelProto) -> ModelProto:
    """The graph's declarations and nodes; large stored tensors without their data, which nothing here reads."""
    found = onnx.ModelProto()
    found.opset_import.extend(model.opset_import)
    graph = found.graph
    graph.node.extend(model.graph.node)
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    graph.value_info.extend(model.graph.value_info)
    for tensor in model.graph.initializer:
        if min(tensor.dims, default=0) < 0 or may_be_value(tensor.data_type, prod(tensor.dims)):
            graph.initializer.append(tensor)
            continue
        kept = graph.initializer.add(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims, data_location=tensor.data_location)
        kept.metadata_props.extend(tensor.metadata_props)
        kept.external_data.extend(tensor.external_data)
    return found


def _live(graph: GraphProto) -> list[NodeProto]:
    """Nodes that an output of the graph needs, in order."""
    needed = {value.name for value in graph.output}
    found = []
    for node in reversed(graph.node):
        if any(name in needed for name in node.output if name):
            found.append(node)
            needed.update(node.input)
            needed.update(_captured(node))
    found.reverse()
    return found


def _captured(node: NodeProto) -> Iterable[str]:
    """Names that bodies of a node read, their own among them."""
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs) if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) else ():
            yield from (value.name for value in graph.output)
            for inner in graph.node:
                yield from inner.input
                yield from _captured(inner)


def _schema(proto: NodeProto, scope: Scope) -> OpSchema | None:
    """onnx' own definition of an operator; None where it has none."""
    domain = "" if proto.domain in STANDARD_DOMAINS else proto.domain
    try:
        return defs.get_schema(proto.op_type, scope.opsets.get(domain, 1), domain)
    except defs.SchemaError:
        return None


def _newer_types(proto: NodeProto, given: Mapping[str, TypeProto], data: Mapping[str, TensorProto]) -> Mapping[str, TypeProto]:
    """Types of the outputs by the newest version of an operator: early versions of some, such as LessOrEqual, infer nothing."""
    newest = defs.get_schema(proto.op_type, defs.onnx_opset_version(), "")
    opsets = [helper.make_opsetid("", defs.onnx_opset_version())]
    try:
        found: Mapping[str, TypeProto] = shape_inference.infer_node_outputs(newest, proto, dict(given), dict(data), opset_imports=opsets)
    except INVALID:  # the node does not fit the newer version, so this one is all there is
        return {}
    return found


def _standard_body(schema: OpSchema, proto: NodeProto, scope: Scope, types: Mapping[str, TypeProto]) -> FunctionProto | None:
    """The function by which onnx defines an operator, for those that have no reader; None where there is none."""
    opset = scope.opsets.get("", schema.since_version)
    definition: Any = schema  # Any: onnx' own annotations leave these out
    if definition.has_function:
        body: FunctionProto = definition.function_body
        return body
    if not definition.has_context_dependent_function:
        return None
    versions = [v for v in definition.context_dependent_function_opset_versions if v <= opset]
    if not versions:
        return None
    given = [types.get(name, TypeProto()).SerializeToString() for name in proto.input]
    try:
        text = definition.get_context_dependent_function_with_opset_version(max(versions), proto.SerializeToString(), given)
        body = FunctionProto.FromString(text)
    except INVALID:
        return None
    return body if body.node else None


def _with_name(proto: NodeProto, name: str) -> NodeProto:
    if proto.name == name:
        return proto
    found = NodeProto()
    found.CopyFrom(proto)
    found.name = name
    return found


def _with_defaults(proto: NodeProto, name: str, schema: OpSchema) -> NodeProto:
    """A copy of a node that spells out the defaults of its attributes, which the body of its function refers to."""
    found = NodeProto()
    found.CopyFrom(proto)
    found.name = name
    given = {a.name for a in proto.attribute}
    for key, attribute in schema.attributes.items():
        if key not in given and attribute.default_value.name:
            found.attribute.append(attribute.default_value)
    return found


def _constant_tensor(node: NodeProto) -> TensorProto | None:
    """The value of a Constant node as a tensor; None for strings and sparse tensors."""
    attribute = node.attribute[0]
    if attribute.name == "value" and attribute.type == AttributeProto.TENSOR:
        tensor: TensorProto = attribute.t
        return tensor
    if attribute.name in ("value_int", "value_ints"):
        return numpy_helper.from_array(np.asarray(helper.get_attribute_value(attribute), dtype=np.int64))
    if attribute.name in ("value_float", "value_floats"):
        return numpy_helper.from_array(np.asarray(helper.get_attribute_value(attribute), dtype=np.float32))
    return None


def _completed(found: TypeProto, declared: TypeProto) -> TypeProto:
    """An inferred type with what only the declaration knows: sizes that depend on data, types of unknown operators."""
    if declared.WhichOneof("value") != "tensor_type" or found.WhichOneof("value") not in (None, "tensor_type"):
        return found
    if not found.tensor_type.HasField("shape"):
        result = TypeProto()
        result.CopyFrom(declared)
        result.tensor_type.elem_type = found.tensor_type.elem_type or declared.tensor_type.elem_type
        return result
    if len(found.tensor_type.shape.dim) == len(declared.tensor_type.shape.dim):
        for mine, theirs in zip(found.tensor_type.shape.dim, declared.tensor_type.shape.dim, strict=True):
            if not mine.HasField("dim_value") and theirs.HasField("dim_value"):
                mine.dim_value = theirs.dim_value
    return found


def _declared_shape(value: ValueInfoProto) -> list[int | None] | None:
    if value.type.WhichOneof("value") != "tensor_type" or not value.type.tensor_type.HasField("shape"):
        return None
    return [d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else None for d in value.type.tensor_type.shape.dim]


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
        case AttributeProto.STRINGS:
            return tuple(v.decode(errors="replace") for v in attribute.strings)
        case _:
            return None


def _short(error: BaseException) -> str:
    """A message on one line, not longer than a screen."""
    return " ".join(str(error).split())[:400]
