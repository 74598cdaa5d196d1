"""Opens ONNX files and checks what holds for a whole model: version, order of nodes, names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, defs

from dse.errors import GraphError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

OLDEST_OPSET: Final = 13  # Softmax, Squeeze and Unsqueeze have today's meaning since then
STANDARD_DOMAINS: Final = ("", "ai.onnx")
LARGEST_FILE_BYTES: Final = 2**31 - 1  # protobuf's own limit: larger models keep their weights in other files


def open_model(path: Path) -> ModelProto:
    """The ONNX model in a file; weights kept in other files are never read.

    Raises:
        InputError: the file is missing, unreadable, too large for protobuf, or no ONNX model.
    """
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise InputError.single(str(path), "is larger than 2 GiB, which no ONNX file can be; keep its weights as external data")
        model = onnx.load(str(path), load_external_data=False, format="protobuf")
    except OSError as e:
        raise InputError.single(str(path), f"cannot be read: {e.strerror or e}; give the path of an ONNX file") from e
    except (DecodeError, ValueError, TypeError) as e:
        raise InputError.single(str(path), "is not an ONNX model (the protobuf message cannot be decoded)") from e
    if not model.graph.node and not model.graph.output:
        raise InputError.single(str(path), "is not an ONNX model, or its graph is empty")
    return model


def standard_opset(model: ModelProto, where: str) -> int:
    """Version of the standard operator set that a model imports.

    Raises:
        GraphError: none, one older than 13, or one that the installed onnx package does not know yet.
    """
    versions = [o.version for o in model.opset_import if o.domain in STANDARD_DOMAINS]
    if not versions or versions[0] < OLDEST_OPSET:
        found = versions[0] if versions else "none"
        raise GraphError.single(
            where, f"opset {found}; opset {OLDEST_OPSET} or later is needed: use onnx.version_converter or export again"
        )
    newest = defs.onnx_opset_version()
    if versions[0] > newest:
        raise GraphError.single(
            where, f"opset {versions[0]}; the installed onnx package knows opsets up to {newest}: install a newer one or export again"
        )
    return int(versions[0])


def check_structure(model: ModelProto, where: str) -> None:
    """Nodes in order, every tensor written once, weights dense.

    Raises:
        GraphError: a node reads what a later one writes (or a cycle), a tensor is written twice, or a sparse initialiser.
    """
    if model.graph.sparse_initializer:
        name = model.graph.sparse_initializer[0].values.name
        raise GraphError.single(where, f"sparse initialiser '{name}' is not supported; store it dense, only its shape is read")
    for tensor in model.graph.initializer:
        check_tensor(tensor, where)
    _check_text(model, where)
    _check_order(model.graph, where)
    _check_written_once(model.graph, where)


def check_tensor(tensor: TensorProto, where: str) -> None:
    """Sizes of a stored tensor are not negative. Where its data lie does not matter: they are never read.

    Raises:
        GraphError: otherwise.
    """
    if any(size < 0 for size in tensor.dims):
        raise GraphError.single(where, f"initialiser '{tensor.name}' has shape {list(tensor.dims)}; no size may be negative")


def _check_text(model: ModelProto, where: str) -> None:
    """Names are text: protobuf hands over bytes where they are not UTF-8."""
    for name in _names(model.graph):
        if not isinstance(name, str):
            raise GraphError.single(where, f"is not a valid ONNX model: the name {name!r} is not UTF-8 text")
    for function in model.functions:
        for name in (function.name, function.domain, *function.input, *function.output, *_node_names(function.node)):
            if not isinstance(name, str):
                raise GraphError.single(where, f"is not a valid ONNX model: the name {name!r} is not UTF-8 text")


def _names(graph: GraphProto) -> Iterator[object]:
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield value.name
        yield from (d.dim_param for d in value.type.tensor_type.shape.dim)
    for tensor in graph.initializer:
        yield tensor.name
        yield from (entry.value for entry in tensor.metadata_props)
    yield from _node_names(graph.node)


def _node_names(nodes: Iterable[NodeProto]) -> Iterator[object]:
    for node in nodes:
        yield from (node.name, node.op_type, node.domain, node.overload, *node.input, *node.output)
        for attribute in node.attribute:
            yield from (attribute.name, attribute.ref_attr_name)
            for body in (attribute.g, *attribute.graphs) if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS) else ():
                yield from _names(body)


def _check_order(graph: GraphProto, where: str) -> None:
    """Every node comes after the nodes it reads from, as ONNX demands; so there is no cycle."""
    later = {output: node for node in graph.node for output in node.output if output}
    for node in graph.node:
        late = next((name for name in node.input if name in later), None)
        if late is not None:
            raise GraphError.single(
                f"{where}: node '{node.name}' ({node.op_type})",
                f"reads '{late}', which node '{later[late].name}' ({later[late].op_type}) writes later; ONNX wants nodes topologically "
                "sorted, so sort them, or break the cycle if there is one",
            )
        for output in node.output:
            later.pop(output, None)


def _check_written_once(graph: GraphProto, where: str) -> None:
    written = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        for output in node.output:
            if output and output in written:
                raise GraphError.single(
                    f"{where}: node '{node.name}' ({node.op_type})", f"writes '{output}', which exists already; names must be unique"
                )
            written.add(output)
