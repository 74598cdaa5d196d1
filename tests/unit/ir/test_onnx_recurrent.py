"""Recurrent networks: MACs by closed form, states of the step before as operands, gates that depend on all steps."""

from __future__ import annotations

import pytest

from dse.ir.onnx_read import read_onnx
from dse.ir.operator import Kind, matmul_shape
from dse.ir.summary import summarise
from dse.ir.tensor import Role

from .onnx_models import model, node

STEPS, BATCH, WIDTH, HIDDEN = 5, 2, 8, 16


def network(op_type: str, gates: int, *, directions: int = 1, layout: int = 0, bias: bool = True, outputs: tuple[str, ...] = ("y", "h")):
    names = ["x", "w", "r", "b"] if bias else ["x", "w", "r"]
    weights = {"w": [directions, gates * HIDDEN, WIDTH], "r": [directions, gates * HIDDEN, HIDDEN], "b": [directions, 2 * gates * HIDDEN]}
    direction = "bidirectional" if directions == 2 else "forward"
    rnn = node(op_type, names, list(outputs), name="rnn", hidden_size=HIDDEN, direction=direction, layout=layout)
    shape = [STEPS, BATCH, WIDTH] if layout == 0 else [BATCH, STEPS, WIDTH]
    return read_onnx(model([rnn], {"x": shape}, [n for n in outputs if n], weights={k: weights[k] for k in names[1:]}), name="rnn")


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize(("op_type", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_macs(op_type: str, gates: int, directions: int):
    """T B D G H (I + H). torch 2.13's FLOP counter sees 23,040 FLOPs, 11,520 MACs, for the GRU of one direction."""
    graph = network(op_type, gates, directions=directions)
    macs = STEPS * BATCH * directions * gates * HIDDEN * (WIDTH + HIDDEN)
    assert summarise(graph).totals.macs == macs
    assert all(matmul_shape(o).macs == o.macs for o in graph.operators if o.kind is Kind.CONTRACTION)
    assert op_type != "GRU" or directions == 2 or macs == 11_520


def test_gates_of_an_lstm_by_hand():
    """Per element: 4 sums, 3 sigmoids of 4, 2 tanh of 1, 4 for cell and output, 4 biases: 26."""
    graph = network("LSTM", 4)
    gates = graph.operators[-1]
    assert gates.vector_ops == STEPS * BATCH * HIDDEN * 26
    assert network("LSTM", 4, bias=False).operators[-1].vector_ops == STEPS * BATCH * HIDDEN * 22
    assert gates.reduced_dims == ("t",)


def test_weights_once_and_layouts():
    graph = network("GRU", 3, layout=1)
    assert graph.tensors["y"].shape == (BATCH, STEPS, 1, HIDDEN)
    assert summarise(graph).totals.weight_bytes == 2 * (3 * HIDDEN * (WIDTH + HIDDEN) + 6 * HIDDEN)
    assert {t.role for t in graph.tensors.values()} == {Role.WEIGHT, Role.ACTIVATION}


def test_last_state_alone():
    graph = network("GRU", 3, outputs=("", "h"))
    assert [x.tensor for x in graph.operators[-1].outputs] == ["h"]
