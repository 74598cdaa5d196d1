"""A package outside the project adds the cost of an operator through the entry-point group `dse.onnx_operators`."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from onnx import helper

from dse.errors import UsageError
from dse.ir.onnx_ops import register

from .onnx_models import model

if TYPE_CHECKING:
    from pathlib import Path

PLUGIN = '''"""Cost of our own operator."""

from dse.ir.onnx_ops import register
from dse.ir.onnx_ops.registry import loop_names
from dse.ir.operator import Kind, Operator


@register("com.example::Swirl", shapes=lambda node, inputs, values: [inputs[0]])
def read_swirl(node, context):
    """Three operations per element."""
    out = context.tensor(node.outputs[0])
    dims = loop_names(len(out.shape))
    return [
        Operator(
            name=node.name,
            op_type=node.op_type,
            kind=Kind.VECTOR,
            dims=tuple(zip(dims, out.shape)),
            inputs=(context.operand(node.inputs[0], dims),),
            outputs=(context.operand(out.name, dims),),
            vector_ops=3 * out.elements,
        )
    ]
'''


def test_an_operator_from_another_package(tmp_path: Path) -> None:
    (tmp_path / "swirl.py").write_text(PLUGIN)
    info = tmp_path / "swirl-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: swirl\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dse.onnx_operators]\nswirl = swirl\n")
    source = model([helper.make_node("Swirl", ["x"], ["y"], name="s", domain="com.example")], {"x": [4, 5]}, ["y"])
    source.opset_import.append(helper.make_opsetid("com.example", 1))
    file = tmp_path / "swirl.onnx"
    file.write_bytes(source.SerializeToString())
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    code = "import sys; from dse.cli import main; sys.exit(main(sys.argv[1:]))"
    found = subprocess.run(
        [sys.executable, "-c", code, "lower", "--onnx", str(file), "--format", "csv"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert "com.example::Swirl" in found.stdout
    assert ",60," in found.stdout


def test_a_type_is_registered_once() -> None:
    with pytest.raises(UsageError, match="'Relu' has a reader already; register with replace=True"):
        register("Relu")(lambda node, context: ())
