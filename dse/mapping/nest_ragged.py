"""Loop nests whose factors do not divide the sizes: how many of a flow's words, and of the steps, are real.

Along a dimension the unrolled units take neighbouring indices, then the loops from inner to outer; the last tile of each
is smaller. Words of a dimension that an operand has are then its size, however it is cut; a dimension that it lacks counts
the rounds in which a real index falls. Tiles that slide are counted as full ones, and so is a tile that happens to be the
only one of its dimension at the edge: both are upper bounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.mapping.nest import Relevance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.mapping.nest import NestProblem, NestShape
    from dse.mapping.nest_flows import Flow, NestFlows

    FloatArray = NDArray[np.float64]

ROUNDING = 1e-9
"""Relative slack of unrollings that are means, which floating point does not hold exactly."""


def is_ragged(problem: NestProblem, moved: NestFlows) -> bool:
    """Whether the factors of some mapping cover more than a size."""
    return any(bool((_covered(moved, dim) > size * (1 + ROUNDING)).any()) for dim, size in problem.sizes)


def mean_units(problem: NestProblem, shape: NestShape, factors: FloatArray, units: FloatArray) -> FloatArray:
    """Units [B, unrollings] with the first of the largest along each dimension made so small that its size is met exactly.

    This is what zigzag-dse 3.9.1 does with sizes that do not divide.
    """
    found = np.array(units, dtype=np.float64)
    for dim, size in problem.sizes:
        lanes = [i for i, (_, unrolled) in enumerate(shape.spatial) if unrolled == dim]
        if not lanes:
            continue
        covered = np.prod(found[:, lanes], axis=1) * np.prod(factors[:, [d == dim for d in shape.loops]], axis=1)
        largest = np.array(lanes)[np.argmax(found[:, lanes], axis=1)]
        rows = np.arange(len(found))
        exact = found[rows, largest] * size / covered
        found[rows, largest] = np.where((covered > size) & (exact >= 1), exact, found[rows, largest])
    return found


def real_cycles(problem: NestProblem, moved: NestFlows) -> FloatArray:
    """Steps [B] in which at least one unit works."""
    found: FloatArray = np.ones(1)
    for dim, size in problem.sizes:
        found = found * np.ceil(size / _lanes(moved, dim) * (1 - ROUNDING))
    return found


def real_share(problem: NestProblem, moved: NestFlows, flow: Flow) -> FloatArray:
    """Real words of a flow over those of full tiles, [B]."""
    found: FloatArray = np.ones(1)
    for dim, size in problem.sizes:
        match flow.operand.relevance(dim):
            case Relevance.WHOLE:
                found = found * (size / _covered(moved, dim))
            case Relevance.NONE:
                found = found * _round_share(moved, flow, dim, size)
    return found


def begun_share(problem: NestProblem, moved: NestFlows, flow: Flow) -> FloatArray:
    """Words of an output flow that begin a sum, over its real words, [B]: 1 over the rounds that add to one element."""
    found: FloatArray = np.ones(1)
    for dim, size in problem.sizes:
        if flow.operand.relevance(dim) == Relevance.WHOLE:
            continue
        inner, outer = _lane_parts(moved, flow, dim)
        rounds = _rounds(moved, flow, dim, size)
        found = found * (np.minimum(outer, np.ceil(size / inner * (1 - ROUNDING))) / rounds)
    return found


def _round_share(moved: NestFlows, flow: Flow, dim: str, size: int) -> FloatArray:
    _, outer = _lane_parts(moved, flow, dim)
    full = outer
    for i in range(flow.edge, moved.loops):
        if moved.shape.loops[i] == dim:
            full = full * moved.factors[i]
    return _rounds(moved, flow, dim, size) / full


def _rounds(moved: NestFlows, flow: Flow, dim: str, size: int) -> FloatArray:
    """Transfers along `dim`, over all instances, that meet a real index."""
    inner, outer = _lane_parts(moved, flow, dim)
    block = inner * outer
    for i in range(flow.edge):
        if moved.shape.loops[i] == dim:
            block = block * moved.factors[i]
    whole = np.floor(size / block * (1 + ROUNDING))
    rest = np.maximum(0.0, size - whole * block)
    return whole * outer + np.minimum(outer, np.ceil(rest / inner * (1 - ROUNDING)))


def _lane_parts(moved: NestFlows, flow: Flow, dim: str) -> tuple[FloatArray, FloatArray]:
    """Units along `dim` that one instance feeds, and instances along it."""
    inner: FloatArray = np.ones(1)
    outer: FloatArray = np.ones(1)
    for i, ((_, unrolled), units) in enumerate(zip(moved.shape.spatial, moved.units, strict=True)):
        if unrolled == dim and i in flow.lanes:
            inner = inner * units
        elif unrolled == dim:
            outer = outer * units
    return inner, outer


def _lanes(moved: NestFlows, dim: str) -> FloatArray:
    found: FloatArray = np.ones(1)
    for (_, unrolled), units in zip(moved.shape.spatial, moved.units, strict=True):
        found = found * units if unrolled == dim else found
    return found


def _covered(moved: NestFlows, dim: str) -> FloatArray:
    found = _lanes(moved, dim)
    for i, looped in enumerate(moved.shape.loops):
        found = found * moved.factors[i] if looped == dim else found
    return found
