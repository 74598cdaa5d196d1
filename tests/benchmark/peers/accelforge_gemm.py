"""Run by the interpreter of the peers: AccelForge on products of edge32 (accelerators/catalogue/edge32.yaml); JSON on standard output."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import accelforge
from accelforge.frontend.mapper.metrics import Metrics
from accelforge.mapper.FFM.main import map_workload_to_arch
from accelforge.util import set_n_parallel_jobs

SHAPES = json.loads(sys.argv[1])
ARCH = Path(__file__).with_name("edge32_accelforge.yaml")
WORKLOAD = """
workload:
  iteration_space_shape:
    m: 0 <= m < {m}
    k: 0 <= k < {k}
    n: 0 <= n < {n}
  bits_per_value: {{All: 8}}
  einsums:
  - name: Gemm
    tensor_accesses:
    - {{name: A, projection: [m, k]}}
    - {{name: B, projection: [k, n]}}
    - {{name: C, projection: [m, n], output: True}}
    renames: {{weight: B, input: A, output: C}}
"""

set_n_parallel_jobs(1)
rows = []
for m, k, n in SHAPES:
    workload = Path(tempfile.mkdtemp(), "gemm.yaml")
    workload.write_text(WORKLOAD.format(m=m, k=k, n=n))
    for objective, metric, column in (("latency", Metrics.LATENCY, "latency"), ("energy", Metrics.ENERGY, "energy")):
        start = time.process_time()
        spec = accelforge.Spec.from_yaml(str(ARCH), str(workload))
        spec.mapper.metrics = metric
        found = map_workload_to_arch(spec, print_progress=False, eval_in_detail=False)
        cpu_s = time.process_time() - start
        rows.append({"shape": [m, k, n], "objective": objective, "cpu_s": cpu_s, "value": float(found.data.iloc[0][f"Total<SEP>{column}"])})
print(json.dumps({"rows": rows}))
