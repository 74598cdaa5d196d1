"""Makes an ONNX model ready for reading: dimensions put in, functions inlined, checked, every shape inferred."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import checker, inliner, shape_inference

from dse.errors import GraphError, InputError, UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from onnx import ModelProto, ValueInfoProto

OLDEST_OPSET: Final = 13  # Softmax, Squeeze and Unsqueeze have today's meaning since then


def open_model(path: Path) -> ModelProto:
    """The ONNX model in a file; weights kept in other files are never read.

    Raises:
        InputError: the file is missing, unreadable, or no ONNX model.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
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
        GraphError: none, or one older than 13.
    """
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if not versions or versions[0] < OLDEST_OPSET:
        found = versions[0] if versions else "none"
        raise GraphError.single(
            where, f"opset {found}; opset {OLDEST_OPSET} or later is needed: use onnx.version_converter or export again"
        )
    return int(versions[0])


def prepared(model: ModelProto, *, where: str, dims: Mapping[str, int]) -> ModelProto:
    """A copy of `model` that is checked, inlined and fully shaped.

    Raises:
        UsageError: `dims` names a dimension that the model does not have, or a size below 1.
        GraphError: the model is not valid ONNX, or shape inference fails.
    """
    ready = onnx.ModelProto()
    ready.CopyFrom(model)
    _external_data_to_inputs(ready)
    _check_order(ready, where)
    _set_dimensions(ready, dims)
    try:
        if ready.functions:
            ready = inliner.inline_local_functions(ready)
        ready = shape_inference.infer_shapes(
            ready, check_type=True, strict_mode=True, data_prop=True
        )  # gives outputs the type that the checker wants
        _check_shapes_are_there(ready, where)
        checker.check_model(ready)
    except (checker.ValidationError, shape_inference.InferenceError, RuntimeError, ValueError) as e:
        reason = " ".join(str(e).split())
        raise GraphError.single(where, f"is not a valid ONNX model: {reason}") from e
    return ready


def shapeless(name: str, where: str) -> GraphError:
    """The error for a tensor whose shape is not known."""
    return GraphError.single(
        where,
        f"tensor '{name}' has no concrete shape after shape inference; give every symbolic dimension a size (--dim name=value) "
        "and export with fixed shapes where sizes are computed at run time",
    )


def _check_order(model: ModelProto, where: str) -> None:
    """Every node comes after the nodes it reads from, as ONNX demands; so there is no cycle."""
    later = {output: node for node in model.graph.node for output in node.output if output}
    for node in model.graph.node:
        late = next((name for name in node.input if name in later), None)
        if late is not None:
            raise GraphError.single(
                f"{where}: node '{node.name}' ({node.op_type})",
                f"reads '{late}', which node '{later[late].name}' ({later[late].op_type}) writes later; ONNX wants nodes topologically "
                "sorted, so sort them, or break the cycle if there is one",
            )
        for output in node.output:
            later.pop(output, None)


def _check_shapes_are_there(model: ModelProto, where: str) -> None:
    """The checker wants shapes of inputs and outputs, but does not say whose is missing."""
    for value in (*model.graph.input, *model.graph.output):
        if value.type.WhichOneof("value") in (None, "tensor_type") and not value.type.tensor_type.HasField("shape"):
            raise shapeless(value.name, where)


def _external_data_to_inputs(model: ModelProto) -> None:
    """Replace initialisers whose data lie in other files by graph inputs: only their shapes matter."""
    present = {value.name for value in model.graph.input}
    kept = []
    for tensor in model.graph.initializer:
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            kept.append(tensor)
            continue
        if tensor.name not in present:
            value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            value.metadata_props.add(key="dse.role", value="weight")
            value.metadata_props.extend(tensor.metadata_props)
            model.graph.input.append(value)
    if len(kept) != len(model.graph.initializer):
        del model.graph.initializer[:]
        model.graph.initializer.extend(kept)


def _values(model: ModelProto) -> list[ValueInfoProto]:
    return [*model.graph.input, *model.graph.value_info, *model.graph.output]


def _set_dimensions(model: ModelProto, dims: Mapping[str, int]) -> None:
    """Give symbolic dimensions their sizes."""
    symbols = {d.dim_param for value in _values(model) for d in value.type.tensor_type.shape.dim if d.dim_param}
    for name, size in dims.items():
        if name not in symbols:
            allowed = ", ".join(sorted(symbols)) or "none, all sizes are fixed"
            raise UsageError(f"dimension '{name}' is not in the model; its symbolic dimensions: {allowed}.{did_you_mean(name, symbols)}")
        if size < 1:
            raise UsageError(f"dimension '{name}' is {size}; a size of at least 1 is needed")
    for value in _values(model):
        for d in value.type.tensor_type.shape.dim:
            if d.dim_param in dims:
                d.dim_value = dims[d.dim_param]
