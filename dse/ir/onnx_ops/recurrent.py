"""LSTM, GRU and RNN: products of all steps with the inputs and with the states, then the gates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from dse.ir.onnx_ops.attention import operator_over
from dse.ir.onnx_ops.registry import register
from dse.ir.operator import Kind
from dse.ir.vector_costs import PER_OUTPUT_ELEMENT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dse.ir.onnx_ops.registry import Node, ReadingContext
    from dse.ir.operator import Operand, Operator

_SIGMOID: Final = PER_OUTPUT_ELEMENT["Sigmoid"]
_TANH: Final = PER_OUTPUT_ELEMENT["Tanh"]
GATES: Final = {"LSTM": 4, "GRU": 3, "RNN": 1}
"""Rows of the weights per element of the state."""
GATE_OPERATIONS: Final = {
    "LSTM": 4 + 3 * _SIGMOID + 2 * _TANH + 4,  # sums of both products; three gates; candidate and output; f c + i g, and o tanh(c)
    "GRU": 3 + 2 * _SIGMOID + _TANH + 5,  # sums of both products; two gates; candidate; r h, and (1 - z) n + z h
    "RNN": 1 + _TANH,  # sum of both products, and its function
}
"""Per element of the state and step; counted here. Biases are one addition per gate more, peepholes two operations per gate but one."""
PEEPHOLE_OPERATIONS: Final = 6


@register("LSTM", "GRU", "RNN")
def read_recurrent(node: Node, context: ReadingContext) -> Iterable[Operator]:
    """T steps over B sequences in D directions: T B D G H (I + H) MACs; weights count as read once for all steps.

    The states that the second product reads are those of the step before, so steps follow each other; that they cannot run at the same
    time, and that a small chip reads the weights again in every step, is not modelled. Source: ONNX, LSTM and GRU.
    """
    weights, states = context.shape(node.inputs[1]), context.shape(node.inputs[2])
    source = context.shape(node.inputs[0])
    steps, batch = source[:2] if node.integer("layout", 0) == 0 else (source[1], source[0])
    directions, rows, hidden = states
    gates = GATES[node.op_type]
    if rows != gates * hidden or weights[:2] != states[:2]:
        raise ValueError(f"weights {list(weights)} and {list(states)} are not of {gates} gates")
    sizes = {"t": steps, "d": directions, "b": batch, "n": rows, "i": weights[2], "h": hidden}
    first = ("t", "b", "i") if node.integer("layout", 0) == 0 else ("b", "t", "i")
    made = next(name for name in node.outputs if name)
    inner, outer, before = (
        context.invent(f"{made}.{part}", node.inputs[0], [sizes[d] for d in axes])
        for part, axes in (("of_inputs", "tdbn"), ("of_states", "tdbn"), ("states", "tdbh"))
    )
    context.share(before, inner)
    pre, rec = context.operand(inner, tuple("tdbn")), context.operand(outer, tuple("tdbn"))
    past = context.operand(before, tuple("tdbh"))
    x, w = context.operand(node.inputs[0], first), context.operand(node.inputs[1], ("d", "n", "i"))
    r = context.operand(node.inputs[2], ("d", "n", "h"))
    return (
        operator_over(f"{node.name}.inputs", "MatMul", Kind.CONTRACTION, sizes, (x, w), (pre,)),
        operator_over(f"{node.name}.states", "View", Kind.VIEW, sizes, (context.operand(inner, ("t", "d", "b", None)),), (past,)),
        operator_over(f"{node.name}.recurrence", "MatMul", Kind.CONTRACTION, sizes, (past, r), (rec,)),
        _gates(node, context, sizes, pre, rec),
    )


def _gates(node: Node, context: ReadingContext, sizes: dict[str, int], pre: Operand, rec: Operand) -> Operator:
    """Everything but the products; the last states depend on all steps."""
    plain = node.integer("layout", 0) == 0
    axes = [("t", "d", "b", "h") if plain else ("b", "t", "d", "h"), ("d", "b", "h") if plain else ("b", "d", "h")]
    axes.append(axes[1])
    outputs = tuple(context.operand(name, axes[i]) for i, name in enumerate(node.outputs) if name)
    more = [node.given(i) for i in (3, 5, 6, 7)]
    operands = [context.operand(name, (None,) * len(context.shape(name))) for name in more if name and name not in context.immediates]
    each = GATE_OPERATIONS[node.op_type] + GATES[node.op_type] * bool(node.given(3)) + PEEPHOLE_OPERATIONS * bool(node.given(7))
    elements = sizes["t"] * sizes["d"] * sizes["b"] * sizes["h"]
    inputs = tuple(context.operand(x.tensor, ("t", "d", "b", None)) for x in (pre, rec))
    whole = {d: sizes[d] for d in ("t", "d", "b", "h")}
    return operator_over(node.name, node.op_type, Kind.VECTOR, whole, (*inputs, *operands), outputs, elements * each, ("t",))
