"""Side by side with stream-dse on its TPU7x: cycles and CPU seconds of whole graphs; `make bench-peers` prints the table.

Stream runs in the environment of `test_peers`, named by DSE_PEERS_PYTHON; without it, or without Stream in it, the test is skipped. CPU
seconds are those of one design point from the graph on, imports left out.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from dse.cost.evaluation import evaluate
from dse.cost.metrics import Objective
from dse.evaluate import compile_step, graph_step
from dse.ir.onnx_read import read_onnx
from dse.ir.precision import precision
from dse.plugins import load_accelerator

pytestmark = pytest.mark.benchmark
PEERS = os.environ.get("DSE_PEERS_PYTHON", "")
KIND = TensorProto.FLOAT16
"""16 bits, as bf16, in which we read the graphs: Einsum of ONNX does not know that."""


def weight(name: str, shape: list[int]) -> TensorProto:
    """A weight without data: sizes are all that counts."""
    found = TensorProto(name=name, data_type=KIND)
    found.dims.extend(shape)
    return found


def swiglu(rows: int, width: int, hidden: int, blocks: int) -> onnx.ModelProto:
    """`blocks` SwiGLU blocks in series."""
    nodes, weights = [], []
    for i in range(blocks):
        weights += [weight(f"{n}{i}", s) for n, s in (("wg", [width, hidden]), ("wu", [width, hidden]), ("wd", [hidden, width]))]
        for op_type, inputs, output in (
            ("MatMul", [f"x{i}", f"wg{i}"], f"g{i}"),
            ("MatMul", [f"x{i}", f"wu{i}"], f"u{i}"),
            ("Sigmoid", [f"g{i}"], f"s{i}"),
            ("Mul", [f"g{i}", f"s{i}"], f"a{i}"),
            ("Mul", [f"a{i}", f"u{i}"], f"b{i}"),
            ("MatMul", [f"b{i}", f"wd{i}"], f"x{i + 1}"),
        ):
            nodes.append(helper.make_node(op_type, inputs, [output], name=f"to_{output}"))
    return model(nodes, {"x0": [rows, width]}, {f"x{blocks}": [rows, width]}, weights)


def latent_attention(sequences: int, positions: int) -> onnx.ModelProto:
    """Scores, softmax and context of 128 heads against a latent cache of each sequence: what decoding with DeepSeek-V3's absorbed
    projections does (query and key 576 wide, value 512)."""
    nodes = [
        helper.make_node("MatMul", ["q", "k"], ["s"], name="score"),
        helper.make_node("Softmax", ["s"], ["p"], name="probability", axis=-1),
        helper.make_node("MatMul", ["p", "v"], ["o"], name="context"),
    ]
    inputs = {"q": [sequences, 128, 576], "k": [sequences, 576, positions], "v": [sequences, positions, 512]}
    return model(nodes, inputs, {"o": [sequences, 128, 512]}, [])


def attention_layer(sequences: int, positions: int) -> onnx.ModelProto:
    """DeepSeek-V3's attention layer in decode with absorbed projections and norms. The new latent entries are not formed and nothing is
    rotated but by cosines: with outputs beside the main path Stream ends with an error, and it reads no concatenations. Norms are squares,
    mean and power, since its vector unit has no square root."""
    shapes = {
        "w_dq": [7168, 1536],
        "w_uq": [1536, 128, 128],
        "w_qr": [1536, 128, 64],
        "w_uk": [128, 128, 512],
        "w_uv": [128, 512, 128],
        "w_o": [128, 128, 7168],
        "gain_x": [1, 7168],
        "gain_q": [1, 1536],
        "cosines": [1, 1, 64],
    }

    def put(op_type: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
        return helper.make_node(op_type, inputs.split(), [output], name=f"to_{output}", **attributes)

    def norm(x: str, gain: str, output: str) -> list[onnx.NodeProto]:
        return [
            put("Pow", f"{x} two", f"{output}_squares"),
            put("ReduceMean", f"{output}_squares last", f"{output}_mean", keepdims=1),
            put("Pow", f"{output}_mean minus_half", f"{output}_scale"),
            put("Mul", f"{x} {output}_scale", f"{output}_unit"),
            put("Mul", f"{output}_unit {gain}", output),
        ]

    nodes = [
        *norm("x", "gain_x", "normed"),
        put("MatMul", "normed w_dq", "query_down"),
        *norm("query_down", "gain_q", "query_normed"),
        put("Einsum", "query_normed w_uq", "query", equation="bq,qhd->bhd"),
        put("Einsum", "query_normed w_qr", "query_turning", equation="bq,qhd->bhd"),
        put("Mul", "query_turning cosines", "query_rope"),
        put("Einsum", "query w_uk", "query_absorbed", equation="bhd,hdr->bhr"),
        put("Einsum", "query_absorbed latent", "score_latent", equation="bhr,btr->bht"),
        put("Einsum", "query_rope key_rope", "score_rope", equation="bhr,btr->bht"),
        put("Add", "score_latent score_rope", "score"),
        put("Softmax", "score", "probability", axis=-1),
        put("Einsum", "probability latent", "context", equation="bht,btr->bhr"),
        put("Einsum", "context w_uv", "value", equation="bhr,hrd->bhd"),
        put("Einsum", "value w_o", "projected", equation="bhd,hdm->bm"),
        put("Add", "x projected", "y"),
    ]
    inputs = {"x": [sequences, 7168], "latent": [sequences, positions, 512], "key_rope": [sequences, positions, 64]}
    numbers = {"last": np.array([-1]), "two": np.array([[2.0]], np.float16), "minus_half": np.array([[-0.5]], np.float16)}
    constants = [numpy_helper.from_array(value, name) for name, value in numbers.items()]
    return model(nodes, inputs, {"y": [sequences, 7168]}, [*(weight(n, s) for n, s in shapes.items()), *constants])


def model(nodes: list[onnx.NodeProto], inputs: dict[str, list[int]], outputs: dict[str, list[int]], weights: list[TensorProto]):
    given, made = ([helper.make_tensor_value_info(n, KIND, s) for n, s in side.items()] for side in (inputs, outputs))
    graph = helper.make_graph(nodes, "graph", given, made, weights)
    return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10))


GRAPHS = {
    "SwiGLU 256 / 4096 / 14336": swiglu(256, 4096, 14336, 1),
    "8 SwiGLU blocks 128 / 512 / 1024": swiglu(128, 512, 1024, 8),
    "latent attention, 1 x 4,096": latent_attention(1, 4096),
    "latent attention, 32 x 4,096": latent_attention(32, 4096),
    "attention layer, 1 x 4,096": attention_layer(1, 4096),
    "attention layer, 32 x 4,096": attention_layer(32, 4096),
    "attention layer, 128 x 4,096": attention_layer(128, 4096),
}


@pytest.mark.timeout(1800)
def test_stream(tmp_path: Path) -> None:
    """Ours is never slower than Stream's, and never below what no schedule can beat."""
    if not PEERS:
        pytest.skip("DSE_PEERS_PYTHON is not set; `make bench-peers` makes the environment and sets it")
    if subprocess.run([PEERS, "-c", "import stream"], check=False, capture_output=True).returncode:
        pytest.skip(f"{PEERS} has no stream; install the extra 'peers' there")
    files = []
    for i, graph in enumerate(GRAPHS.values()):
        files.append(str(tmp_path / f"{i}.onnx"))
        onnx.save(graph, files[-1])
    command = [PEERS, str(Path(__file__).parent / "peers/stream_graphs.py"), *files]
    theirs = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    chip = load_accelerator("tpu7x")
    print("\n\n| graph | Stream cycles | Stream CPU s | our cycles | our CPU s | ours / Stream | ours / least of any schedule |")
    for (name, graph), stream in zip(GRAPHS.items(), theirs, strict=True):
        start = time.process_time()
        found = evaluate(
            compile_step(graph_step(read_onnx(graph, name="graph", precision=precision("bf16")), 1), chip.geometry_for()),
            chip.table({}),
            Objective.LATENCY,
        )
        seconds = time.process_time() - start
        cycles = found.latency_s * found.clock_hz
        said = f"{stream['cycles']:,.0f}" if stream["cycles"] else stream["refused"]
        share = f"{cycles / stream['cycles']:.2f}" if stream["cycles"] else "-"
        cells = (name, said, f"{stream['cpu_s']:.1f}", f"{cycles:,.0f}", f"{seconds:.2f}", share, f"{1 + found.schedule_gap:.3f}")
        print("| " + " | ".join(cells) + " |")
        assert found.schedule_gap >= -1e-9
        assert not stream["cycles"] or cycles <= stream["cycles"]
