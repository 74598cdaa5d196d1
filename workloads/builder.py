"""Writes ONNX graphs whose tensors carry their storage format and role as metadata."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Final

from onnx import TensorProto, checker, helper, shape_inference

from dse.ir.lowering import Masked
from dse.ir.onnx_read import ACCUMULATION_KEY, DTYPE_KEY, ROLE_KEY, VISIBLE_KEY
from dse.ir.precision import storage_type
from dse.ir.tensor import Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from onnx import ModelProto, NodeProto, ValueInfoProto

    from dse.ir.lowering import Precision

Attribute = int | float | str
"""Values of node attributes."""
WHOLE: Final = Fraction(1)
OPSET: Final = 24  # first with TensorScatter, the in-place cache append
IR_VERSION: Final = 11  # carries metadata on values (10 and later); read by onnxruntime 1.31


class GraphBuilder:
    """Collects inputs and nodes; a node and the tensor it writes have one name.

    Floating tensors are carried as FLOAT16 (FLOAT for precision fp32), as ONNX' Einsum takes no bfloat16 or fp8; the
    storage format that counts is in the metadata `dse.dtype`, the role in `dse.role`.
    """

    def __init__(self, name: str, precision: Precision, *, masked: Masked = Masked.SKIPPED) -> None:
        self.name = name
        self.masked = masked
        self.precision = precision
        self.carrier = TensorProto.FLOAT if precision.activation.name == "fp32" else TensorProto.FLOAT16
        self._inputs: list[ValueInfoProto] = []
        self._nodes: list[NodeProto] = []
        self._outputs: list[str] = []
        self._constants: list[TensorProto] = []
        self._roles: dict[str, Role] = {}
        self._expert_weights: set[str] = set()

    def weight(self, name: str, *shape: int, expert: bool = False) -> str:
        """A weight, fed as graph input: only its shape is needed here; `expert` says that of a routed expert."""
        if expert:
            self._expert_weights.add(name)
        return self._input(name, shape, Role.WEIGHT)

    def cache(self, name: str, *shape: int) -> str:
        """A cache as it was before this step, with room for this step's tokens."""
        return self._input(name, shape, Role.CACHE)

    def activation(self, name: str, *shape: int) -> str:
        """An activation that comes from outside."""
        return self._input(name, shape, Role.ACTIVATION)

    def index(self, name: str, *shape: int) -> str:
        """An int64 index tensor that comes from outside."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.INT64, shape))
        return name

    def _input(self, name: str, shape: Sequence[int], role: Role) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, self.carrier, shape))
        self._roles[name] = role
        return name

    def scalar(self, name: str, value: float) -> str:
        """A constant of one element, carried by the instruction."""
        self._constants.append(helper.make_tensor(name, self.carrier, [], [value]))
        return name

    def constants(self, name: str, value: float, size: int) -> str:
        """A constant vector of `size` equal numbers."""
        self._constants.append(helper.make_tensor(name, self.carrier, [size], [value] * size))
        return name

    def integers(self, name: str, *values: int) -> str:
        """A constant list of integers (shape, axes, starts)."""
        self._constants.append(helper.make_tensor(name, TensorProto.INT64, [len(values)], values))
        return name

    def node(
        self,
        op_type: str,
        name: str,
        *inputs: str,
        role: Role = Role.ACTIVATION,
        visible: Fraction = WHOLE,
        **attributes: Attribute,
    ) -> str:
        """A node with one output, both called `name`; `visible` is the share of its work that a mask leaves."""
        return self.nodes(op_type, (name,), *inputs, role=role, visible=visible, **attributes)[0]

    def nodes(
        self,
        op_type: str,
        outputs: tuple[str, ...],
        *inputs: str,
        role: Role = Role.ACTIVATION,
        visible: Fraction = WHOLE,
        **attributes: Attribute,
    ) -> tuple[str, ...]:
        """A node with several outputs, called like the first."""
        node = helper.make_node(op_type, list(inputs), list(outputs), name=outputs[0], **attributes)  # type: ignore[arg-type]
        if visible != WHOLE and self.masked is Masked.SKIPPED:
            node.metadata_props.add(key=VISIBLE_KEY, value=str(visible))
        self._nodes.append(node)
        self._roles.update(dict.fromkeys(outputs, role))
        return outputs

    def einsum(self, equation: str, name: str, left: str, right: str, role: Role = Role.ACTIVATION, visible: Fraction = WHOLE) -> str:
        """Einstein sum of two operands; no axis is ever transposed, so that loops can be followed through the graph."""
        return self.node("Einsum", name, left, right, role=role, visible=visible, equation=equation)

    def output(self, name: str) -> None:
        """Make `name` an output of the graph."""
        self._outputs.append(name)

    def build(self) -> ModelProto:
        """The checked model, every tensor with shape and metadata."""
        outputs = [helper.make_empty_tensor_value_info(name) for name in self._outputs]
        graph = helper.make_graph(self._nodes, self.name, self._inputs, outputs, self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="dse")
        helper.set_model_props(model, {ACCUMULATION_KEY: self.precision.accumulation.name})
        model = shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
            if value.type.tensor_type.elem_type == self.carrier:
                role = self._roles[value.name]
                value.metadata_props.add(key=ROLE_KEY, value=role.value)
                value.metadata_props.add(
                    key=DTYPE_KEY, value=storage_type(self.precision, role, expert=value.name in self._expert_weights).name
                )
        checker.check_model(model)
        return model
