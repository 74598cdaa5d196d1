"""The best loop nest of a machine by the rules for given nests: every split of the sizes over its memories, whatever tool the rules are of.

For comparisons on one machine under one set of rules; a design is mapped by its frontier.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.errors import InfeasibleError
from dse.mapping.factors import factorisations
from dse.mapping.nest import Nest, NestShape, elements
from dse.mapping.nest_cost import OUR_RULES, cost_nest, cost_nests

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dse.hw.importers.machine import Machine
    from dse.mapping.nest import NestProblem
    from dse.mapping.nest_cost import NestCosts, NestRules

    FloatArray = NDArray[np.float64]
    Spatial = tuple[tuple[str, str, float], ...]

TIE: Final = 1e-9
"""Relative difference below which energy (latency) decides."""
MOST_SPLITS: Final = 10_000
"""Splits of the sizes up to which a memory is split once more."""


class NestObjective(StrEnum):
    """What is minimised; ties go to energy, with energy to latency."""

    LATENCY = "latency"
    ENERGY = "energy"
    EDP = "edp"


@dataclass(frozen=True, slots=True)
class BestNest:
    """The best of the nests tried."""

    nest: Nest
    latency_cycles: float
    energy_pj: float
    tried: int
    """Nests that were costed."""


def best_nests(problem: NestProblem, machine: Machine, spatial: Spatial, *, rules: NestRules = OUR_RULES) -> dict[NestObjective, BestNest]:
    """The best nest of `problem` on `machine` with the unrolling `spatial` for each objective, in this space:

    each size, less its unrolling, is split into whole factors in every way, one for each memory that holds more than an element of
    something on chip and one for the last; the innermost of the loops of one memory is any of them. A memory that serves several operands
    is split once more, and each operand's tile is that below or above, where that leaves at most `MOST_SPLITS` ways.

    Raises:
        InfeasibleError: no nest fits.
    """
    rests = [(d, max(1, math.ceil(size / _unrolled(spatial, d) - TIE))) for d, size in problem.sizes]
    steps = _steps(machine, problem, rests)
    parts = _splits(rests, len(steps) + 1)
    turning = [d for d, n in rests if n > 1] or [rests[0][0]]
    found: dict[NestObjective, tuple[float, float, Nest]] = {}
    tried = 0
    units = np.array([[u for *_, u in spatial]])
    for cuts in _cuts(problem, machine, steps):
        fitting = parts[_may_fit(problem, machine, spatial, cuts, rests, parts)]
        batches: dict[NestShape, list[FloatArray]] = {}
        for orders in itertools.product(turning, repeat=len(steps) + 1):
            for shape, factors in _shapes(problem, machine, spatial, rests, fitting, orders, cuts):
                batches.setdefault(shape, []).append(factors)
        for shape, several in batches.items():
            factors = np.concatenate(several)
            tried += len(factors)
            _keep_best(found, cost_nests(problem, machine, shape, factors, units, rules=rules), shape, factors, spatial)
    if not found:
        raise InfeasibleError(f"{machine.name}: no nest with the unrolling {spatial} fits its memories; enlarge the smallest of them")
    costs = {objective: cost_nest(problem, machine, nest, rules=rules) for objective, (*_, nest) in found.items()}
    return {o: BestNest(found[o][2], float(c.latency_cycles[0]), float(c.energy_pj[0]), tried) for o, c in costs.items()}


def _keep_best(
    found: dict[NestObjective, tuple[float, float, Nest]], costs: NestCosts, shape: NestShape, factors: FloatArray, spatial: Spatial
) -> None:
    """Replace what a nest of the batch beats: by more than a tie, or within one in the second criterion."""
    rows = np.flatnonzero(costs.fits)
    if not len(rows):
        return
    for objective in NestObjective:
        first, second = _criteria(costs.latency_cycles[rows], costs.energy_pj[rows], objective)
        near = first <= first.min() * (1 + TIE)
        pick = int(np.lexsort((first, np.where(near, second, np.inf)))[0])
        new, old = (float(first[pick]), float(second[pick])), found.get(objective)
        tie = old is not None and abs(new[0] - old[0]) <= TIE * old[0]
        if old is None or (new[1] < old[1] if tie else new[0] < old[0]):
            loops = tuple((d, int(f)) for d, f in zip(shape.loops, factors[rows[pick]], strict=True))
            found[objective] = (*new, Nest(spatial, loops, shape.cuts))


def _unrolled(spatial: Spatial, dim: str) -> float:
    return math.prod(u for _, d, u in spatial if d == dim)


def _steps(machine: Machine, problem: NestProblem, rests: list[tuple[str, int]]) -> list[str]:
    """Names of the on-chip memories with tiles of their own, those that hold two elements of an operand; twice where they are split."""
    top = {machine.levels(o.place)[-1].name for o in problem.operands}
    bits = {o.place: o.partial_bits or o.bits for o in problem.operands}
    tiled = [m for m in machine.memories if m.name not in top and any(m.size_bits >= 2 * bits[o] for o in m.operands if o in bits)]
    names = [m.name for m in tiled]
    for memory in reversed(tiled):
        more = math.prod(len(factorisations(n, len(names) + 2)) for _, n in rests)
        if sum(o.place in memory.operands for o in problem.operands) > 1 and more <= MOST_SPLITS:
            names.insert(names.index(memory.name), memory.name)
    return names


def _cuts(problem: NestProblem, machine: Machine, steps: list[str]) -> Iterator[dict[tuple[str, str], int]]:
    """Regions of loops (0 none, 1 the innermost, ...) at or below each memory of each operand, in all combinations."""
    choices: dict[tuple[str, str], list[int]] = {}
    for operand in problem.operands:
        for memory in machine.levels(operand.place)[:-1]:
            choices[operand.name, memory.name] = [i + 1 for i, name in enumerate(steps) if name == memory.name] or [0]
    for picked in itertools.product(*choices.values()):
        yield dict(zip(choices, picked, strict=True))


def _splits(rests: list[tuple[str, int]], regions: int) -> FloatArray:
    """Every way to split every size, [S, dimensions, regions]."""
    ways = [np.array(factorisations(n, regions), dtype=np.float64) for _, n in rests]
    grid = np.meshgrid(*(np.arange(len(w)) for w in ways), indexing="ij")
    return np.stack([w[g.ravel()] for w, g in zip(ways, grid, strict=True)], axis=1)


def _may_fit(
    problem: NestProblem,
    machine: Machine,
    spatial: Spatial,
    cuts: dict[tuple[str, str], int],
    rests: list[tuple[str, int]],
    parts: FloatArray,
) -> NDArray[np.bool_]:
    """Splits [S] whose tiles do not overfill a memory by their finished elements alone."""
    fits = np.ones(len(parts), dtype=np.bool_)
    for memory in (m for m in machine.memories if any(name == m.name and at for (_, name), at in cuts.items())):
        taken = np.zeros(len(parts))
        for operand in (o for o in problem.operands if (o.name, memory.name) in cuts):
            region = cuts[operand.name, memory.name]
            extents = {d: parts[:, i, :region].prod(axis=1) for i, (d, _) in enumerate(rests)}
            for array_dim, d, units in spatial:
                if array_dim in memory.serves:
                    extents[d] = extents[d] * units
            taken = taken + elements(operand, extents) * operand.bits
        fits &= taken <= memory.size_bits * (1 + TIE)
    return fits


def _shapes(
    problem: NestProblem,
    machine: Machine,
    spatial: Spatial,
    rests: list[tuple[str, int]],
    parts: FloatArray,
    innermost: tuple[str, ...],
    cuts: dict[tuple[str, str], int],
) -> Iterator[tuple[NestShape, FloatArray]]:
    """Shapes with `innermost` loops by region, and the factors [B, loops] of those splits that turn them; no factor is 1."""
    dims = [d for d, _ in rests]
    order = [(r, d) for r, first in enumerate(innermost) for d in (first, *(x for x in dims if x != first))]
    turns = np.ones(len(parts), dtype=np.bool_)
    usual = next((d for d, n in rests if n > 1), dims[0])
    for r, first in enumerate(innermost):  # a first loop of one step gives the nest of another order
        idle = (parts[:, :, r] == 1).all(axis=1)
        turns &= np.where(idle, first == usual, parts[:, dims.index(first), r] > 1)
    factors = np.stack([parts[turns][:, dims.index(d), r] for r, d in order], axis=1)
    shape_cuts = []
    for operand in problem.operands:
        inner = [cuts[operand.name, m.name] * len(dims) for m in machine.levels(operand.place)[:-1]]
        shape_cuts.append((operand.name, (*itertools.accumulate(inner, max), len(order))))
    shape = NestShape(tuple((a, d) for a, d, _ in spatial), tuple(d for _, d in order), tuple(shape_cuts))
    patterns, index = np.unique(factors == 1, axis=0, return_inverse=True)
    for i, gone in enumerate(patterns):
        yield shape.without(frozenset(np.flatnonzero(gone).tolist()), frozenset()), factors[index.ravel() == i][:, ~gone]


def _criteria(latency: FloatArray, energy: FloatArray, objective: NestObjective) -> tuple[FloatArray, FloatArray]:
    return {
        NestObjective.LATENCY: (latency, energy),
        NestObjective.ENERGY: (energy, latency),
        NestObjective.EDP: (latency * energy, energy),
    }[objective]
