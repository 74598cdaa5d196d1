"""Cycles and CPU seconds of stream-dse for ONNX graphs on its TPU7x; run by an interpreter that has it. Arguments: ONNX files."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from stream.api import SolveOptions, evaluate_mapping

HARDWARE = Path(str(find_spec("stream").submodule_search_locations[0])) / "inputs/examples/hardware/tpu_v7_ironwood.yaml"


def measured(path: str) -> dict[str, object]:
    """One graph; what Stream cannot do is said in its words."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        start = time.process_time()
        try:
            found = evaluate_mapping(str(HARDWARE), path, folder, options=SolveOptions(artifacts=False))
        except Exception as refused:  # noqa: BLE001  whatever another tool raises is its result here
            return {"file": Path(path).name, "cycles": None, "cpu_s": time.process_time() - start, "refused": f"{refused}"[:300]}
        return {"file": Path(path).name, "cycles": found.cycles, "cpu_s": time.process_time() - start, "groups": len(found.group_cycles)}


print(json.dumps([measured(path) for path in sys.argv[1:]]))
