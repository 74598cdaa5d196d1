"""A mapping of the frontier's space as a loop nest on a machine of three levels, for the evaluator of given nests."""

from __future__ import annotations

from typing import Final

import numpy as np

from dse.hw.accelerator import ArrayGeometry, Dataflow
from dse.hw.importers.machine import Direction, Flow, Machine, NestMemory, Port
from dse.mapping.frontier import MatmulMapping
from dse.mapping.matmul import Stationary
from dse.mapping.nest import Axis, Nest, NestOperand, NestProblem, Term
from dse.mapping.nest_cost import OUR_RULES, NestCosts, cost_nest
from dse.mapping.problem import MatmulProblem

DIMS: Final = {"left": ("groups", "m", "k"), "right": ("groups", "k", "n"), "out": ("groups", "m", "n")}
STREAM: Final = {Dataflow.WEIGHT_STATIONARY: "m", Dataflow.INPUT_STATIONARY: "n", Dataflow.OUTPUT_STATIONARY: "k"}
HELD: Final = {Dataflow.WEIGHT_STATIONARY: "right", Dataflow.INPUT_STATIONARY: "left", Dataflow.OUTPUT_STATIONARY: "out"}
ALONG: Final = {Dataflow.WEIGHT_STATIONARY: "kn", Dataflow.INPUT_STATIONARY: "km", Dataflow.OUTPUT_STATIONARY: "mn"}
INNERMOST: Final = {Stationary.LEFT: "n", Stationary.RIGHT: "m", Stationary.OUT: "k"}
HUGE = 1e18


def nest_costs(problem: MatmulProblem, array: ArrayGeometry, mapping: MatmulMapping, *, double: bool) -> NestCosts:
    """Cost of `mapping` by the rules for given nests; one array, tile sides that are whole passes or the whole dimension."""
    kept = [o for o in DIMS if getattr(mapping.kept, o)]
    held = HELD[mapping.dataflow]
    machine = Machine("core", (("rows", array.rows), ("columns", array.columns)), 0.0, _memories(kept, held, double))
    return cost_nest(_problem(problem), machine, _nest(problem, array, mapping, kept, held), rules=OUR_RULES)


def bytes_moved(costs: NestCosts) -> np.ndarray:
    """DRAM read and written, buffer read and written [4]."""
    found = dict.fromkeys((("dram", True), ("dram", False), ("buffer", True), ("buffer", False)), 0.0)
    for flow, bits in zip(costs.flows, costs.bits, strict=True):
        if flow.memory != "registers":
            found[flow.memory, flow.direction.is_read] += float(bits[0]) / 8
    return np.array(list(found.values()))


def _memories(kept: list[str], held: str, double: bool) -> tuple[NestMemory, ...]:
    every = ("rows", "columns")
    made = [_memory("registers", (held,), (), doubled=False)]
    if kept:
        made.append(_memory("buffer", tuple(kept), every, doubled=double))
    return (*made, _memory("dram", tuple(DIMS), every, doubled=False))


def _memory(name: str, operands: tuple[str, ...], serves: tuple[str, ...], *, doubled: bool) -> NestMemory:
    port = Port("port", 1, HUGE, tuple(Flow(o, d) for o in operands for d in Direction))
    return NestMemory(name, HUGE, operands, serves, 0.0, 0.0, (port,), doubled)


def _problem(p: MatmulProblem) -> NestProblem:
    bits = {"left": p.left_bits, "right": p.right_bits, "out": p.out_bits}
    operands = tuple(
        NestOperand(o, tuple(Axis((Term(d),)) for d in dims), bits[o], o, p.partial_bits if o == "out" else None)
        for o, dims in DIMS.items()
    )
    return NestProblem((("groups", p.groups), ("m", p.m), ("k", p.k), ("n", p.n)), operands)


def _nest(p: MatmulProblem, array: ArrayGeometry, mapping: MatmulMapping, kept: list[str], held: str) -> Nest:
    size = {"m": p.m, "k": p.k, "n": p.n}
    tile = {"m": mapping.tile_m, "k": mapping.tile_k, "n": mapping.tile_n}
    spatial = {d: min(side, tile[d]) for d, side in zip(ALONG[mapping.dataflow], (array.rows, array.columns), strict=True)}
    stream = STREAM[mapping.dataflow]
    loops = [(stream, tile[stream])]
    loops += [(d, -(-tile[d] // n)) for d, n in spatial.items()]
    inside = len(loops)
    innermost = INNERMOST[mapping.stationary]
    loops += [(d, -(-size[d] // tile[d])) for d in (innermost, *(d for d in "kmn" if d != innermost))]
    loops.append(("groups", p.groups))
    cuts = []
    for operand in DIMS:
        levels = ([1] if operand == held else []) + ([inside] if operand in kept else []) + [len(loops)]
        cuts.append((operand, tuple(levels)))
    lanes = tuple((at, d, float(n)) for at, (d, n) in zip(("rows", "columns"), spatial.items(), strict=True))
    return Nest(lanes, tuple(loops), tuple(cuts))
