"""The choice block by block against the choice over every group at once, and against every partition tried one by one."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from onnx import TensorProto, helper

from dse.ir.graph import OperatorGraph
from dse.ir.onnx_read import read_onnx
from dse.schedule import lattice
from dse.schedule.candidates import runs
from dse.schedule.choice import Choice
from dse.schedule.growth import Growth, Ways
from dse.schedule.joints import blocks
from dse.schedule.lattice import dependences, downsets, every_group
from dse.schedule.open_groups import BlockTrees, Halves
from dse.schedule.plan import BALANCES_MACS_PER_BYTE, Schedule, make_plans
from dse.schedule.segments import SegmentBuilder
from dse.schedule.series import SeriesChoice

from .test_choice import BOTH, ELEMENTS, LARGEST, builder_of, connected_sets, every_partition, groups_by_hand

BALANCES = [ELEMENTS / b for b in BALANCES_MACS_PER_BYTE]
SMALL = [0.0, 100.0, 300.0, 700.0, 1024.0, 2048.0, 4096.0, 16384.0, LARGEST]
PASSES = [{"beside": False}, {"beside": True}, {"beside": False, "pipelined": True}]


class Forks:
    """Builds graphs of products and activations in series and in parallel; fp16."""

    def __init__(self, rows: int) -> None:
        self._rows, self._made = rows, 0
        self._inputs, self._nodes = [], []
        self._widths: dict[str, int] = {}

    def input(self, width: int) -> str:
        self._inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT16, [self._rows, width]))
        self._widths["x"] = width
        return "x"

    def product(self, x: str, width: int) -> str:
        weight = f"w{len(self._inputs)}"
        self._inputs.append(helper.make_tensor_value_info(weight, TensorProto.FLOAT16, [self._widths[x], width]))
        return self._node("MatMul", [x, weight], width)

    def unary(self, kind: str, x: str) -> str:
        return self._node(kind, [x], self._widths[x])

    def sum(self, ends: list[str], *, one: bool) -> str:
        """All of them added up, by one operator or by one after another."""
        if one:
            return self._node("Sum", ends, self._widths[ends[0]])
        total = ends[0]
        for end in ends[1:]:
            total = self._node("Add", [total, end], self._widths[total])
        return total

    def _node(self, kind: str, inputs: list[str], width: int) -> str:
        self._made += 1
        name = f"t{self._made}"
        self._nodes.append(helper.make_node(kind, inputs, [name], name=f"{kind}{self._made}"))
        self._widths[name] = width
        return name

    def graph(self, *outputs: str) -> OperatorGraph:
        ends = [helper.make_tensor_value_info(o, TensorProto.FLOAT16, [self._rows, self._widths[o]]) for o in outputs]
        graph = helper.make_graph(self._nodes, "forks", self._inputs, ends)
        return read_onnx(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), name="forks")


def forks(branch_count: int, length: int, blocks_: int, *, one: bool = True) -> OperatorGraph:
    """In series: a product, then branches of products and activations by turns, added up."""
    f = Forks(256)
    at = f.input(128)
    for _ in range(blocks_):
        at = f.product(at, 128)
        ends = []
        for _ in range(branch_count):
            end = at
            for i in range(length):
                end = f.unary("Relu", end) if i % 2 else f.product(end, 128)
            ends.append(end)
        at = f.sum(ends, one=one)
    return f.graph(at)


def any_graph(seed: int, operators: int) -> OperatorGraph:
    """A random series-parallel graph of about so many operators: products of several widths, activations, softmax, residuals, nested forks,
    now and then a second result from inside."""
    random = Random(seed)
    f = Forks(random.choice([4, 8, 32]))
    at = f.input(random.choice([8, 16, 32]))
    more: list[str] = []

    def one(x: str) -> str:
        if random.random() < 0.45:
            return f.product(x, random.choice([8, 16, 32, 64]))
        return f.unary(random.choice(["Relu", "Sigmoid", "Tanh", "Softmax"]), x)

    def part(x: str, budget: int, depth: int) -> str:
        while budget > 0:
            if depth and budget > 3 and random.random() < 0.45:
                count, width = random.choice([2, 2, 3]), random.choice([8, 16, 32])
                each = max(1, (budget - 1) // count - 1)
                ends = [f.product(part(x, random.randint(0, each), depth - 1), width) for _ in range(count)]
                if f._widths[x] == width and random.random() < 0.4:
                    ends[-1] = x  # a residual
                x = f.sum(ends, one=random.random() < 0.5)
                budget -= count * each + 1
            else:
                x = one(x)
                budget -= 1
            if random.random() < 0.05:
                more.append(x)
        return x

    end = part(one(at), operators - 1, 2)
    return f.graph(*dict.fromkeys([end, *more]))


def both(builder: SegmentBuilder, most_sets: int = 10**6) -> tuple[SeriesChoice, Choice]:
    """The choice block by block, and over every group."""
    deps = dependences(builder)
    states = downsets(deps)
    series = SeriesChoice(builder, Halves(builder, BlockTrees(builder, deps), LARGEST, ELEMENTS), deps, states, ELEMENTS)
    kept, lattice.MOST_SETS = lattice.MOST_SETS, most_sets
    try:
        return series, Choice(every_group(builder, deps, LARGEST, ELEMENTS), deps, states)
    finally:
        lattice.MOST_SETS = kept


def costs(builder: SegmentBuilder, chosen, *, pipelined: bool) -> np.ndarray:
    """Costs of choices, counted anew from their groups and ways, [balances, budgets]; groups that don't fit cost infinitely much."""
    found = []
    for per_cycle, at_balance in zip(BALANCES, chosen, strict=True):
        row = []
        for groups, budget in zip(at_balance, SMALL, strict=True):
            assert sorted(p for c in groups for p in c.members) == list(range(len(builder.order)))
            total = 0.0
            for c in groups:
                held, cycles = c.peak_bytes, c.cycles
                if pipelined:
                    held, cycles = as_pipeline(builder, c)
                total += c.dram_bytes + cycles * per_cycle if held <= budget else np.inf
            row.append(total)
        found.append(row)
    return np.array(found)


def as_pipeline(builder: SegmentBuilder, c) -> tuple[float, float]:
    growth = Growth(Ways(builder, (c.way,)), LARGEST, ELEMENTS)
    assert all(growth.take(p) for p in c.members)
    front = growth.front()
    at = front.ways.index(c.way)
    return front.step_bytes[at], front.step_cycles[at]


def held_most(chosen) -> np.ndarray:
    return np.array([[max(c.peak_bytes for c in groups) for groups in at_balance] for at_balance in chosen])


def assert_same(builder: SegmentBuilder) -> None:
    series, lattice_ = both(builder)
    for keywords in PASSES:
        pipelined = keywords.get("pipelined", False)
        a, b = (choice.least_at(SMALL, BALANCES, **keywords) for choice in (series, lattice_))
        assert costs(builder, a, pipelined=pipelined) == pytest.approx(costs(builder, b, pipelined=pipelined), rel=1e-12)
        if not pipelined:
            assert held_most(a) == pytest.approx(held_most(b), rel=1e-12)


@pytest.mark.parametrize("seed", range(25))
def test_random_graphs(seed: int) -> None:
    """As cheap, and as few bytes held, as the best of every group in every order, at every budget and balance, in turns and as pipelines."""
    builder = builder_of(any_graph(seed, 5 + seed % 14))
    if len(blocks(builder, dependences(builder))) > 1:
        assert_same(builder)


@pytest.mark.parametrize("seed", range(6))
def test_every_partition_of_random_graphs(seed: int) -> None:
    """Against all sequences of groups, every one built by other code."""
    builder = builder_of(any_graph(seed, 5))
    deps = dependences(builder)
    groups = groups_by_hand(builder, connected_sets(builder))
    series = SeriesChoice(builder, Halves(builder, BlockTrees(builder, deps), LARGEST, ELEMENTS), deps, downsets(deps), ELEMENTS)
    found = [sum(c.dram_bytes + c.cycles * 8.0 for c in chosen) for chosen in series.least(SMALL, 8.0)]
    assert found == pytest.approx([every_partition(groups, len(builder.order), b, 8.0) for b in SMALL], rel=1e-12)


@pytest.mark.slow
def test_forks_of_three_branches_of_three() -> None:
    """44 operators: as good as the best of all 20,800 sets, which are more than are looked at otherwise."""
    graph = forks(3, 3, 4)
    assert_same(builder_of(graph))
    assert make_plans(graph, Schedule.FUSED, BOTH).exact


@pytest.mark.parametrize(("branch_count", "length", "blocks_", "one"), [(4, 3, 3, False), (8, 1, 4, True)])
def test_wider_graphs_are_exact(branch_count: int, length: int, blocks_: int, *, one: bool) -> None:
    """40 to 48 operators, and never dearer than runs of one order."""
    builder = builder_of(forks(branch_count, length, blocks_, one=one))
    deps = dependences(builder)
    assert len(builder.order) >= 40
    series = SeriesChoice(builder, Halves(builder, BlockTrees(builder, deps), LARGEST, ELEMENTS), deps, downsets(deps), ELEMENTS)
    prefixes = [(1 << p) - 1 for p in range(len(builder.order) + 1)]
    in_runs = Choice(list(runs(builder, LARGEST, ELEMENTS)), deps, prefixes)
    a, b = (costs(builder, c.least_at(SMALL, BALANCES, beside=False), pipelined=False) for c in (series, in_runs))
    assert (a <= b * (1 + 1e-12)).all()


@pytest.mark.parametrize("seed", range(8))
def test_groups_are_counted_before_they_are_looked_at(seed: int) -> None:
    """Beginnings times ends, joint by joint, are all connected sets."""
    builder = builder_of(any_graph(seed, 30) if seed % 2 else forks(2, 1 + seed // 2, 6))
    assert BlockTrees(builder, dependences(builder)).sets == len(connected_sets(builder))
