"""Given loop nests against mappings that ZigZag costed, against a walk over every step, and against hand calculation."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.errors import InputError
from dse.hw.importers.machine import Direction, Flow, Machine, NestMemory, Port
from dse.mapping.nest import Axis, Nest, NestOperand, NestProblem, Term, axis_elements
from dse.mapping.nest_cost import OUR_RULES, ZIGZAG_RULES, cost_nest, cost_nests

DATA = json.loads((Path(__file__).parent / "zigzag_rows.json").read_text())
WAYS = (Direction.READ_TO_LOW, Direction.WRITE_FROM_LOW, Direction.READ_TO_HIGH, Direction.WRITE_FROM_HIGH)
SHORT = {"tl": WAYS[0], "fl": WAYS[1], "th": WAYS[2], "fh": WAYS[3]}
TOLERANCE = 1e-9


def machine(name: str, hardware: dict[str, Any] = DATA["hardware"]) -> Machine:
    """A machine of a table of measured rows."""
    given_hw = hardware[name]
    memories = tuple(
        NestMemory(
            m["name"],
            m["size_bits"],
            tuple(m["operands"]),
            tuple(m["serves"]),
            m["r_pJ"],
            m["w_pJ"],
            tuple(
                Port(f"port_{i}", p["bw_min"], p["bw_max"], tuple(Flow(f.split(":")[0], SHORT[f.split(":")[1]]) for f in p["flows"]))
                for i, p in enumerate(m["ports"])
            ),
            m["doubled"],
        )
        for m in given_hw["memories"]
    )
    return Machine(name, tuple(given_hw["array_dims"].items()), given_hw["mac_pJ"], memories, tuple(given_hw["systolic_dims"]))


def plain(*dims: str) -> tuple[Axis, ...]:
    return tuple(Axis((Term(d),)) for d in dims)


def problem(row: dict[str, Any]) -> NestProblem:
    bits = row["bits"]
    if "stride" in row:
        slide = [Axis((Term(o, row["stride"]), Term(f)), row["input_limit"][i]) for o, f, i in (("OY", "FY", "IY"), ("OX", "FX", "IX"))]
        axes = {"O": plain("B", "K", "OY", "OX"), "W": plain("K", "C", "FY", "FX"), "I": (*plain("B", "C"), *slide)}
    else:
        axes = {name: plain(*dims) for name, dims in row["operands"].items()}
    place = {"O": "O", "I": "I1", "W": "I2"}
    operands = tuple(
        NestOperand(n, axes[n], bits["O_final" if n == "O" else n], place[n], bits["O_partial"] if n == "O" else None)
        for n in ("O", "I", "W")
    )
    return NestProblem(tuple(row["sizes"].items()), operands)


def nest(row: dict[str, Any]) -> Nest:
    per_memory = row["temporal"]
    loops = tuple((d, f) for level in per_memory["O"] for d, f in level)
    cuts = tuple((name, tuple(itertools.accumulate(len(level) for level in levels))) for name, levels in per_memory.items())
    return Nest(tuple((a, d, u) for a, dims in row["spatial"].items() for d, u in dims.items()), loops, cuts)


ROWS = [*DATA["gemm"], *DATA["conv"]]


@pytest.mark.parametrize("row", ROWS, ids=[f"{r['arch']}-{r['case']}-{i}" for i, r in enumerate(ROWS)])
def test_zigzag_row(row: dict[str, Any]) -> None:
    """Word accesses per memory and direction, energy per memory, energy and latency, under its rules: exact."""
    costs = cost_nest(problem(row), machine(row["arch"]), nest(row), rules=ZIGZAG_RULES)
    for name, levels in row["words"].items():
        for level, expected in enumerate(levels):
            got = [float(costs.words_of(name, level, way)[0]) for way in WAYS]
            assert got == pytest.approx(expected, rel=0.003, abs=0), (name, level)  # some Conv rows unroll a mean of units
    for name, levels in row.get("mem_energy_pj", {}).items():
        assert [float(x[0]) for x in costs.energy_by_memory(name)] == pytest.approx(levels, rel=TOLERANCE)
    exact = TOLERANCE if "mem_energy_pj" in row else 0.01
    assert float(costs.energy_pj[0]) == pytest.approx(row["energy_pj"], rel=exact)
    assert float(costs.latency_cycles[0]) == pytest.approx(row["latency_cycles"], rel=exact)
    if "with_onload_cycles" in row:
        computing = float((costs.array_cycles + costs.stall_cycles)[0])
        assert computing == pytest.approx(row["compute_plus_stall_cycles"], rel=TOLERANCE)
        assert computing + float(costs.onload_cycles[0]) == pytest.approx(row["with_onload_cycles"], rel=TOLERANCE)
    assert bool(costs.fits[0])


@pytest.mark.parametrize("row", DATA["gemm"], ids=lambda r: f"{r['arch']}-{r['case']}")
def test_our_rules_differ_where_stated(row: dict[str, Any]) -> None:
    """Only reads of sums not begun are fewer; no latency lies below a port's busy time, and none rises by more than that."""
    p, m, n = problem(row), machine(row["arch"]), nest(row)
    ours, theirs = cost_nest(p, m, n), cost_nest(p, m, n, rules=ZIGZAG_RULES)
    for i, flow in enumerate(ours.flows):
        partial = flow.operand == "O" and flow.direction in (Direction.READ_TO_LOW, Direction.WRITE_FROM_HIGH)
        if not partial:
            assert ours.words[i, 0] == pytest.approx(theirs.words[i, 0], rel=1e-12, abs=1.0)
        assert ours.words[i, 0] <= theirs.words[i, 0] + 1
    assert ours.latency_cycles[0] == max(theirs.latency_cycles[0], ours.port_cycles[0])
    assert ours.energy_pj[0] <= theirs.energy_pj[0]
    if row["below_port"]:
        assert ours.latency_cycles[0] > theirs.latency_cycles[0]


def simple_machine(levels: int, **sizes: int) -> Machine:
    """`levels` memories for all operands with wide free ports, one unit along each of `sizes`."""
    flows = tuple(Flow(o, w) for o in ("A", "B", "C") for w in WAYS)
    port = Port("port", 1, 1, flows)
    return Machine(
        "simple",
        tuple(sizes.items()),
        0.0,
        tuple(NestMemory(f"m{i}", 1e9, ("A", "B", "C"), tuple(sizes), 1.0, 1.0, (port,)) for i in range(levels)),
    )


def matmul(m: int, k: int, n: int) -> NestProblem:
    return NestProblem(
        (("m", m), ("k", k), ("n", n)),
        (
            NestOperand("C", plain("m", "n"), 1, "C", 1),
            NestOperand("A", plain("m", "k"), 1, "A"),
            NestOperand("B", plain("k", "n"), 1, "B"),
        ),
    )


@given(st.lists(st.tuples(st.sampled_from("mkn"), st.integers(1, 4)), min_size=1, max_size=5), st.data())
def test_words_equal_a_walk(loops: list[tuple[str, int]], data: st.DataObject) -> None:
    """Every step is walked; a tile moves when the indices of the loops above it that its operand uses change."""
    sizes = {d: int(np.prod([f for x, f in loops if x == d])) for d in "mkn"}
    cuts = {o: tuple(sorted(data.draw(st.lists(st.integers(0, len(loops)), min_size=1, max_size=1)))) for o in "ABC"}
    given_nest = Nest((), tuple(loops), tuple((o, (*c, len(loops))) for o, c in cuts.items()))
    costs = cost_nest(matmul(sizes["m"], sizes["k"], sizes["n"]), simple_machine(2, x=1), given_nest)
    steps = list(itertools.product(*(range(f) for _, f in reversed(loops))))
    for operand, dims in (("A", "mk"), ("B", "kn"), ("C", "mn")):
        cut = cuts[operand][0]
        tile = int(np.prod([f for d, f in loops[:cut] if d in dims]))
        above = [
            tuple(i for i, (d, _) in zip(reversed(step), loops, strict=True) if d in dims)[sum(d in dims for d, _ in loops[:cut]) :]
            for step in steps
        ]
        moves = 1 + sum(a != b for a, b in itertools.pairwise(above))
        if operand != "C":
            assert float(costs.words_of(operand, 0, Direction.WRITE_FROM_HIGH)[0]) == tile * moves
            assert float(costs.words_of(operand, 1, Direction.READ_TO_LOW)[0]) == tile * moves
        else:
            assert float(costs.words_of("C", 1, Direction.WRITE_FROM_LOW)[0]) == tile * moves
            assert float(costs.words_of("C", 1, Direction.READ_TO_LOW)[0]) == pytest.approx(tile * (moves - len(set(above))))


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6))
def test_sliding_axis_counts_distinct_values(stride: int, dilation: int, outputs: int, kernel: int) -> None:
    axis = Axis((Term("o", stride), Term("f", dilation)))
    distinct = {stride * o + dilation * f for o in range(outputs) for f in range(kernel)}
    assert axis_elements(axis, [np.array([float(outputs)]), np.array([float(kernel)])])[0] == len(distinct)


def test_three_terms_are_enumerated() -> None:
    axis = Axis((Term("a", 1), Term("b", 3), Term("c", 5)))
    assert axis_elements(axis, [np.array([2.0]), np.array([2.0]), np.array([3.0])])[0] == len(
        {a + 3 * b + 5 * c for a in range(2) for b in range(2) for c in range(3)}
    )


def test_ragged_words_are_real() -> None:
    """m = 10 in tiles of 4 (3 rounds) and k = 7 on 4 units (2 rounds): whole operands move once, C comes back once."""
    given_nest = Nest((("x", "k", 4),), (("m", 4), ("k", 2), ("m", 3)), (("C", (1, 3)), ("A", (0, 3)), ("B", (0, 3))))
    costs = cost_nest(matmul(10, 7, 1), simple_machine(2, x=4), given_nest)
    assert costs.array_cycles[0] == 20  # 10 rows, 2 rounds of k
    assert costs.words_of("A", 1, Direction.READ_TO_LOW)[0] == pytest.approx(70)
    assert costs.words_of("C", 1, Direction.WRITE_FROM_LOW)[0] == pytest.approx(10)
    assert costs.words_of("C", 0, Direction.WRITE_FROM_LOW)[0] == pytest.approx(20)
    assert costs.words_of("C", 0, Direction.READ_TO_LOW)[0] == pytest.approx(10)


def test_a_batch_is_its_mappings_one_by_one() -> None:
    row = DATA["gemm"][0]
    p, m, n = problem(row), machine(row["arch"]), nest(row)
    factors = np.array([[float(f) for _, f in n.loops]] * 3)
    factors[1, [1, 3]] = factors[1, [1, 3]] * [factors[1, 3], 1 / factors[1, 3]] if n.loops[1][0] == n.loops[3][0] else factors[1, [1, 3]]
    units = np.array([[u for *_, u in n.spatial]])
    batch = cost_nests(p, m, n.shape(), factors, units)
    for i in range(3):
        alone = cost_nests(p, m, n.shape(), factors[i : i + 1], units)
        assert batch.words[:, i].tolist() == alone.words[:, 0].tolist()
        assert batch.latency_cycles[i] == alone.latency_cycles[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loops": (("m", 2),)}, "loops and unrollings over k cover 1 of 4; raise a factor"),
        ({"spatial": (("z", "m", 2),)}, "array dimension z is not one of simple's: x"),
        ({"spatial": (("x", "m", 9),)}, "9 units on array dimension x, which has 1"),
        ({"cuts": (("C", (0, 1)), ("A", (0, 3)), ("B", (0, 3)))}, "operand C: its memories hold 1 of 3 loops"),
        ({"cuts": (("C", (0, 3)), ("A", (0, 3)))}, "operand B has no loops per memory"),
    ],
)
def test_nests_that_do_not_fit(change: dict[str, Any], message: str) -> None:
    base = {"spatial": (), "loops": (("m", 2), ("k", 4), ("n", 3)), "cuts": tuple((o, (1, 3)) for o in "CAB")}
    with pytest.raises(InputError, match=message):
        cost_nest(matmul(2, 4, 3), simple_machine(2, x=1), Nest(**(base | change)), rules=OUR_RULES)
