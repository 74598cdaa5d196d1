"""The search over nests is never above what ZigZag found on the same machine by the same rules, nor above any nest of its space."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import InfeasibleError
from dse.hw.importers.machine import Direction, Flow, Machine, NestMemory, Port
from dse.mapping.nest import Axis, Nest, NestOperand, NestProblem, Term
from dse.mapping.nest_cost import OUR_RULES, ZIGZAG_RULES, cost_nest
from dse.mapping.nest_search import NestObjective, best_nests
from tests.unit.mapping.test_nest import DATA, machine, nest, problem

CASES = sorted({(r["arch"], r["case"]) for r in DATA["gemm"]} - {("tpu_like", c) for c in ("q_a_b128", "q_b_b128", "prefill_q_a_2048")})
"""Those left out take a minute together; `make bench-peers` has them."""


def rows_of(arch: str, case: str) -> list[dict[str, Any]]:
    """Rows of the reference for one product, any search."""
    return [r for r in DATA["gemm"] if (r["arch"], r["case"]) == (arch, case)]


@pytest.mark.parametrize(("arch", "case"), CASES)
def test_never_above_zigzag(arch: str, case: str) -> None:
    """Its machine, its unrolling, its rules, its objective: latency, energy and product of each of its searches."""
    rows = rows_of(arch, case)
    found = {}
    for row in rows:
        key = (problem(row), nest(row).spatial)
        if key not in found:
            found[key] = best_nests(key[0], machine(arch), key[1], rules=ZIGZAG_RULES)
        best = found[key]
        latency, energy = row["latency_cycles"], row["energy_pj"]
        assert best[NestObjective.LATENCY].latency_cycles <= latency * (1 + 1e-9)
        assert best[NestObjective.ENERGY].energy_pj <= energy * (1 + 1e-9)
        edp = best[NestObjective.EDP]
        assert edp.latency_cycles * edp.energy_pj <= latency * energy * (1 + 1e-9)


def small_machine(bits: float) -> Machine:
    """Registers for B, a buffer of `bits` for A and C, DRAM; two by two units."""
    ways = tuple(Direction)

    def memory(name: str, size: float, operands: str, serves: tuple[str, ...], pj: float, width: float) -> NestMemory:
        port = Port("port", width, width, tuple(Flow(o, w) for o in operands for w in ways))
        return NestMemory(name, size, tuple(operands), serves, pj, pj, (port,))

    every = ("x", "y")
    memories = (
        memory("rf", 32, "B", (), 0.1, 8),
        memory("buffer", bits, "AC", every, 2.0, 32),
        memory("dram", 1e9, "ABC", every, 50.0, 16),
    )
    return Machine("small", (("x", 2), ("y", 2)), 0.5, memories)


def product(m: int, k: int, n: int) -> NestProblem:
    """C[m, n] = A[m, k] B[k, n] in 8 bits with sums of 16."""
    operands = (
        NestOperand("C", tuple(Axis((Term(d),)) for d in "mn"), 8, "C", 16),
        NestOperand("A", tuple(Axis((Term(d),)) for d in "mk"), 8, "A"),
        NestOperand("B", tuple(Axis((Term(d),)) for d in "kn"), 8, "B"),
    )
    return NestProblem((("m", m), ("k", k), ("n", n)), operands)


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_no_nest_of_the_space_is_better(data: st.DataObject) -> None:
    sizes = {d: data.draw(st.sampled_from([1, 2, 4, 6])) for d in "mkn"}
    p, m = product(*sizes.values()), small_machine(data.draw(st.sampled_from([200, 600, 5000])))
    spatial = (("x", "k", float(min(2, sizes["k"]))), ("y", "n", float(min(2, sizes["n"]))))
    best = best_nests(p, m, spatial)
    rest = {"m": sizes["m"], "k": -(-sizes["k"] // 2), "n": -(-sizes["n"] // 2)}
    loops = []
    for _ in range(2):
        for d in data.draw(st.permutations("mkn")):
            factor = data.draw(st.sampled_from([f for f in range(1, rest[d] + 1) if rest[d] % f == 0]))
            rest[d] //= factor
            loops.append((d, factor))
    loops += [(d, rest[d]) for d in data.draw(st.permutations("mkn"))]
    cuts = (("C", (6, 9)), ("A", (6, 9)), ("B", (3, 9)))
    costs = cost_nest(p, m, Nest(spatial, tuple(loops), cuts), rules=OUR_RULES)
    if not costs.fits[0]:
        return
    latency, energy = float(costs.latency_cycles[0]), float(costs.energy_pj[0])
    assert best[NestObjective.LATENCY].latency_cycles <= latency * (1 + 1e-9)
    assert best[NestObjective.ENERGY].energy_pj <= energy * (1 + 1e-9)
    edp = best[NestObjective.EDP]
    assert edp.latency_cycles * edp.energy_pj <= latency * energy * (1 + 1e-9)


def test_what_is_reported_is_what_its_nest_costs() -> None:
    p, m = product(2, 6, 4), small_machine(400)
    for objective, best in best_nests(p, m, (("x", "k", 2.0), ("y", "n", 2.0))).items():
        costs = cost_nest(p, m, best.nest)
        assert (best.latency_cycles, best.energy_pj) == (costs.latency_cycles[0], costs.energy_pj[0]), objective
        assert costs.fits[0]
        assert best.tried > 100


def test_nothing_fits() -> None:
    with pytest.raises(InfeasibleError, match="small: no nest with the unrolling"):
        best_nests(product(8, 8, 8), small_machine(10), ())
