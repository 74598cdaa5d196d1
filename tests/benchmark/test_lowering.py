"""How long the whole of DeepSeek-V3 takes to lower, and how much memory a process needs for it; `make bench` prints both."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.benchmark
TARGET_S, TARGET_MIB = 1.0, 300.0
PROGRAM = """
import time
from dse.ir.lowering import LoweringRequest, Part, Phase
from dse.ir.precision import precision
from workloads.catalogue import CATALOGUE
model = CATALOGUE.load("deepseek_v3")
request = LoweringRequest(phase=Phase.DECODE, batch=32, query_len=1, cache_len=4096, attention="left_to_right", precision=precision("fp8"),
                          rope=True, norms=True, part=Part.LAYER, layer=None, mtp=True)
model.lower(request)
start = time.process_time()
model.lower(request)
seconds = time.process_time() - start
peak_kib = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(seconds, peak_kib / 1024)  # ru_maxrss would begin at that of the process which started this one
"""


def test_deepseek_v3() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    seconds, mib = (float(word) for word in done.stdout.split())
    print(f"lowering DeepSeek-V3, all layer kinds and the prediction module: {seconds:.3f} s CPU (target {TARGET_S:g})")
    print(f"peak memory of the process, imports included: {mib:.0f} MiB (target {TARGET_MIB:g})")
    assert seconds < TARGET_S
    assert mib < TARGET_MIB
