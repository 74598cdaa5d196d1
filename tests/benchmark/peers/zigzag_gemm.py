"""Run by the interpreter of the peers: zigzag-dse on products of its TPU-like machine; JSON on standard output."""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

SHAPES = json.loads(sys.argv[1])
os.chdir(tempfile.mkdtemp())  # it writes results and pickles where it stands

import zigzag  # noqa: E402
from zigzag.api import get_hardware_performance_zigzag  # noqa: E402
from zigzag.cost_model.cost_model import CostModelEvaluation  # noqa: E402

logging.disable(logging.CRITICAL)
ROOT = Path(zigzag.__file__).parent
evaluations = [0, 0.0]
plain = CostModelEvaluation.__init__


def counted(self: object, *given: object, **named: object) -> None:
    """One mapping evaluated, and its time."""
    start = time.process_time()
    plain(self, *given, **named)
    evaluations[0] += 1
    evaluations[1] += time.process_time() - start


CostModelEvaluation.__init__ = counted
rows = []
for m, k, n in SHAPES:
    for objective in ("latency", "energy"):
        gemm = {
            "id": 0,
            "name": "gemm",
            "operator_type": "Gemm",
            "equation": "O[d][k]+=I[d][c]*W[c][k]",
            "dimension_relations": [],
            "loop_dims": ["D", "K", "C"],
            "loop_sizes": [m, n, k],
            "operand_precision": {"W": 8, "I": 8, "O": 16, "O_final": 8},
            "operand_source": {"I": 0, "W": 0},
        }
        start = time.process_time()
        energy, latency, _ = get_hardware_performance_zigzag(
            [gemm],
            f"{ROOT}/inputs/hardware/tpu_like.yaml",
            f"{ROOT}/inputs/mapping/tpu_like.yaml",
            opt=objective,
            dump_folder="out",
            loma_show_progress_bar=False,
        )
        cpu_s = time.process_time() - start
        rows.append({"shape": [m, k, n], "objective": objective, "cpu_s": cpu_s, "latency_cycles": latency, "energy_pj": energy})
hardware = str(ROOT / "inputs/hardware/tpu_like.yaml")
print(json.dumps({"rows": rows, "evaluations": evaluations[0], "evaluation_s": evaluations[1], "hardware": hardware}))
