"""Side by side with zigzag-dse and AccelForge: CPU seconds and quality of mapping one product; `make bench-peers` prints the table.

The peers run in an environment of their own (extra `peers`, Python 3.12 or later), named by DSE_PEERS_PYTHON; without it the tests
are skipped. Times are CPU seconds of one run each, imports left out.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dse.cost.frontier_pricing import OperatorPricer
from dse.cost.metrics import Objective
from dse.cost.one_operator import MapObjective, map_product
from dse.files import dump_yaml, parse_yaml, validate
from dse.hw.file_form import AcceleratorFile
from dse.hw.geometry import geometry_of
from dse.hw.importers.convert import Assumptions, accelerator_values
from dse.hw.importers.report import Report
from dse.hw.importers.zigzag import read_core
from dse.mapping.frontier import every_mapping, matmul_frontier
from dse.mapping.nest import Axis, NestOperand, NestProblem, Term
from dse.mapping.nest_cost import ZIGZAG_RULES, cost_nests
from dse.mapping.nest_search import BestNest, NestObjective, best_nests
from dse.mapping.problem import MatmulProblem
from dse.plugins import load_accelerator
from dse.schedule.place import Work

pytestmark = pytest.mark.benchmark
PEERS = os.environ.get("DSE_PEERS_PYTHON", "")
SHAPES = ((1, 7168, 1536), (128, 576, 4096), (128, 7168, 1536), (128, 7168, 2048), (128, 16384, 7168), (2048, 7168, 1536))
"""Products of DeepSeek-V3 layers: those of the reference figures of both tools."""
SEARCHED = SHAPES[:4]
"""Those whose nests are searched in under a minute."""
EVALUATED = 8192
POINTS = 1_000_000


def peers(script: str) -> Any:
    """What a script prints when the peers' interpreter runs it."""
    if not PEERS:
        pytest.skip("DSE_PEERS_PYTHON is not set; `make bench-peers` makes the environment and sets it")
    name = {"zigzag_gemm.py": "zigzag", "accelforge_gemm.py": "accelforge"}[script]
    if subprocess.run([PEERS, "-c", f"import {name}"], check=False, capture_output=True).returncode:
        pytest.skip(f"{PEERS} has no {name}; install the extra 'peers' there")
    command = [PEERS, str(Path(__file__).parent / "peers" / script), json.dumps(SHAPES)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def timed(call: Any) -> tuple[float, Any]:
    """CPU seconds and result of one call."""
    start = time.process_time()
    result = call()
    return time.process_time() - start, result


def say(*cells: object) -> None:
    """One row of the table, in the form of the docs."""
    print("| " + " | ".join(str(c) for c in cells) + " |")


@pytest.mark.timeout(900)
def test_accelforge() -> None:
    """edge32 with 2 MiB: its result and ours for latency and energy. Ours comes from one frontier, which answers every other price too."""
    theirs = {(tuple(r["shape"]), r["objective"]): r for r in peers("accelforge_gemm.py")["rows"]}
    chip = load_accelerator("edge32")
    table = chip.table({})
    print("\n")
    say("M x K x N", "AccelForge latency, energy s", "our frontier s", "both priced s", "latency ours / theirs", "energy ours / theirs")
    for m, k, n in SHAPES:
        problem = MatmulProblem(1, m, k, n, 8, 8, 8, 8, "int8")
        matmul_frontier.cache_clear()
        frontier_s, _ = timed(lambda p=problem: matmul_frontier(p, chip.geometry_for()))
        latency_s, fast = timed(lambda p=problem: map_product(p, chip.geometry_for(), table, MapObjective.LATENCY))
        energy_s, frugal = timed(lambda p=problem: map_product(p, chip.geometry_for(), table, MapObjective.ENERGY))
        a, b = theirs[(m, k, n), "latency"], theirs[(m, k, n), "energy"]
        ratios = fast.latency_s / a["value"], frugal.energy_pj * 1e-12 / b["value"]
        say(
            f"{m} x {k} x {n}",
            f"{a['cpu_s']:.2f}, {b['cpu_s']:.2f}",
            f"{frontier_s:.3f}",
            f"{latency_s + energy_s:.3f}",
            *(f"{r:.6f}" for r in ratios),
        )
        assert max(ratios) <= 1 + 1e-6


@pytest.mark.timeout(900)
def test_zigzag() -> None:
    """Its TPU-like machine under its rules, default search: its result, the best nest under the same rules, and one of our frontiers."""
    found = peers("zigzag_gemm.py")
    theirs = {(tuple(r["shape"]), r["objective"]): r for r in found["rows"]}
    machine = read_core(found["hardware"]).machine
    spatial = (("D1", "n", 32.0), ("D2", "k", 32.0))
    print("\n")
    say("M x K x N", "ZigZag latency, energy s", "our frontier s", "best nests s", "latency ours / theirs", "energy ours / theirs")
    geometry = imported(found["hardware"])
    for m, k, n in SEARCHED:
        frontier_s, _ = timed(lambda s=(m, k, n): matmul_frontier.__wrapped__(MatmulProblem(1, *s, 8, 8, 8, 16, "int8"), geometry))  # type: ignore[attr-defined]
        problem = nest_problem(m, k, n)
        seconds, best = timed(lambda p=problem: best_nests(p, machine, spatial, rules=ZIGZAG_RULES))
        a, b = theirs[(m, k, n), "latency"], theirs[(m, k, n), "energy"]
        ratios = quality(best, a["latency_cycles"], b["energy_pj"])
        say(f"{m} x {k} x {n}", f"{a['cpu_s']:.2f}, {b['cpu_s']:.2f}", f"{frontier_s:.3f}", f"{seconds:.2f}", *(f"{r:.6f}" for r in ratios))
        assert max(ratios) <= 1 + 1e-9
    per_mapping = found["evaluation_s"] / found["evaluations"]
    print()
    say(
        "one mapping evaluated",
        f"ZigZag {1e6 * per_mapping:,.0f} us",
        f"given nest, in a batch {1e6 * nest_seconds(machine, spatial):.2f} us",
    )


def test_one_mapping_and_design_points() -> None:
    """Ours alone: counts of one mapping in a batch, and design points priced exactly in a second."""
    chip = load_accelerator("edge32")
    problem = MatmulProblem(1, 128, 7168, 2048, 8, 8, 8, 16, "int8")
    matmul_frontier.cache_clear()
    print("\n")
    say("counts of one mapping, in a batch", f"{1e6 * counts_seconds(problem, chip.geometry_for()):.3f} us")
    pricer = OperatorPricer(Work(problem, 1, 0.0, 0.0, 0.0, 1, True), chip.geometry_for())
    rng = np.random.default_rng(0)
    table = chip.table(
        {
            "memories.glb.capacity_kib": rng.integers(64, 65_536, POINTS).astype(float),
            "memories.dram.bandwidth_gb_per_s": rng.uniform(10, 4000, POINTS),
            "clock_mhz": rng.uniform(300, 2000, POINTS),
        }
    )
    pricer.price(table, Objective.LATENCY)
    for objective in (Objective.LATENCY, Objective.ENERGY):
        seconds, _ = timed(lambda o=objective: pricer.price(table, o))
        say(f"design points a second, one product, {len(pricer.counts)} rows, least {objective}", f"{POINTS / seconds:,.0f}")


def imported(hardware: str) -> Any:
    """Geometry of the machine as `dse import zigzag` reads it: one buffer, the array with its dataflows."""
    values = accelerator_values(read_core(hardware), "core", Assumptions(1000.0, "generic_7nm"), Report())
    return geometry_of(validate(parse_yaml(dump_yaml(values), "core"), AcceleratorFile))


def nest_problem(m: int, k: int, n: int) -> NestProblem:
    """C[m, n] = A[m, k] B[k, n] in 8 bits with sums of 16, with the names of ZigZag's memories."""

    def axes(dims: str) -> tuple[Axis, ...]:
        return tuple(Axis((Term(d),)) for d in dims)

    operands = (NestOperand("O", axes("mn"), 8, "O", 16), NestOperand("I", axes("mk"), 8, "I1"), NestOperand("W", axes("kn"), 8, "I2"))
    return NestProblem((("m", m), ("k", k), ("n", n)), operands)


def quality(best: dict[NestObjective, BestNest], latency_cycles: float, energy_pj: float) -> tuple[float, float]:
    """Our best over their results."""
    return best[NestObjective.LATENCY].latency_cycles / latency_cycles, best[NestObjective.ENERGY].energy_pj / energy_pj


def nest_seconds(machine: Any, spatial: Any) -> float:
    """CPU seconds of one given nest of six loops in a batch."""
    problem = nest_problem(128, 7168, 1536)
    shape = best_nests(nest_problem(1, 64, 64), machine, spatial)[NestObjective.ENERGY].nest.shape()
    shape = type(shape)(shape.spatial, ("m", "k", "n", "m", "k", "n"), (("O", (0, 3, 6)), ("I", (3, 6)), ("W", (3, 6))))
    factors = np.tile(np.array([[8.0, 7.0, 4.0, 16.0, 32.0, 12.0]]), (EVALUATED, 1))
    units = np.array([[u for *_, u in spatial]])
    cost_nests(problem, machine, shape, factors, units)
    return timed(lambda: cost_nests(problem, machine, shape, factors, units))[0] / EVALUATED


def counts_seconds(problem: MatmulProblem, geometry: Any) -> float:
    """CPU seconds of the counts of one mapping, over all mappings of the space."""

    def run() -> int:
        return sum(len(counts) for counts, _ in every_mapping(problem, geometry, most=10_000_000, capacities=(np.inf,)))

    run()
    seconds, mappings = timed(run)
    return seconds / mappings
