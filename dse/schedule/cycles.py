"""Least array cycles of operators and of their slices, those of many slices at once: what plans are compared by."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dse.hw.accelerator import Dataflow, Folds
from dse.ir.operator import Kind, matmul_shape
from dse.mapping.frontier import least_cycles
from dse.mapping.matmul import Stationary, TileGrid, array_cycles, array_sides, fill_and_drain_cycles, sum_shares
from dse.mapping.tiles import Sides
from dse.schedule.problems import contraction_problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from dse.hw.accelerator import ArrayGeometry, Geometry
    from dse.ir.graph import OperatorGraph
    from dse.ir.operator import Operator
    from dse.mapping.problem import MatmulProblem

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

Loops = tuple[tuple[str, int], ...]
"""Loop dimensions that are cut, with the number of slices."""


class CycleTable:
    """Least array cycles of operator slices, each found once."""

    def __init__(self, graph: OperatorGraph, geometry: Geometry) -> None:
        self._graph = graph
        self._geometry = geometry
        self._found: dict[tuple[str, Loops], float] = {}

    def __call__(self, operator: Operator, loops: Loops) -> float:
        """Of one slice; 0 on the vector unit.

        Raises:
            GraphError: a contraction in a data type that the array cannot compute.
        """
        key = (operator.name, loops)
        if key not in self._found:
            self._found[key] = 0.0
            if operator.kind is Kind.CONTRACTION:
                problem = contraction_problem(self._graph, operator, dict(loops), self._geometry)
                self._found[key] = least_cycles(problem, self._geometry)
        return self._found[key]

    def prepare(self, operator: Operator, slicings: Iterable[Loops]) -> None:
        """Find several slicings of a contraction at once, to be asked for one by one."""
        new = [loops for loops in dict.fromkeys(slicings) if (operator.name, loops) not in self._found]
        if len(new) > 1 and not self._geometry.array.dims:
            sizes = _sliced_sizes(operator, new)
            problem = contraction_problem(self._graph, operator, {}, self._geometry)
            found = least_cycles_of(problem, sizes, self._geometry.array)
            self._found.update(((operator.name, loops), float(c)) for loops, c in zip(new, found, strict=True))


def _sliced_sizes(operator: Operator, slicings: Sequence[Loops]) -> IntArray:
    """Groups, m, k and n of a contraction in each slicing, [4, N]."""
    whole, column = matmul_shape(operator), {d: i for i, (d, _) in enumerate(operator.dims)}
    sizes = np.array([[size for _, size in operator.dims]] * len(slicings), dtype=np.int64)  # [N, dimensions]
    for row, loops in zip(sizes, slicings, strict=True):
        for d, parts in dict(loops).items():
            row[column[d]] //= parts
    kinds = whole.group_dims, whole.m_dims, whole.k_dims, whole.n_dims
    return np.stack([sizes[:, [column[d] for d in dims]].prod(axis=1) for dims in kinds])


def least_cycles_of(problem: MatmulProblem, sizes: IntArray, array: ArrayGeometry) -> FloatArray:
    """`least_cycles` on an array of the short form of products like `problem` with other groups, m, k and n, `sizes` [4, N]."""
    groups, one = sizes[0], replace(problem, groups=1)
    together = 2 ** np.arange(array.count.bit_length(), dtype=np.int64)[:, None]  # [T, 1]
    best = np.full(sizes.shape[1], np.inf)
    for dataflow in array.dataflows:
        weights = dataflow is not Dataflow.OUTPUT_STATIONARY
        ramp = fill_and_drain_cycles(array, weights=weights) if array.folds is Folds.PIPELINED else 0
        for cycles in _of_one_group(one, sizes, array, dataflow, together):
            total = (cycles - ramp) * -(-groups // together) + ramp
            best = np.minimum(best, np.where(together <= groups, total, np.inf).min(axis=0))
    return best


def _of_one_group(
    problem: MatmulProblem, sizes: IntArray, array: ArrayGeometry, dataflow: Dataflow, together: IntArray
) -> Iterator[FloatArray]:
    """Cycles of one round of `together` [T, 1] groups that run at the same time, [T, N], the whole product as one tile."""
    rate = array.rate(problem.dtype)
    assert rate is not None, "the schedule refuses data types that the array cannot compute"
    m, k, n = sizes[1:]
    if dataflow is Dataflow.INPUT_STATIONARY:
        problem, dataflow, m, n = problem.transposed(), Dataflow.WEIGHT_STATIONARY, n, m
    grid = TileGrid(*(_whole(size, side) for size, side in zip((m, k, n), array_sides(array, dataflow, rate), strict=True)))
    ways: list[IntArray | None] = [None]
    if dataflow is Dataflow.OUTPUT_STATIONARY and array.count > 1:
        ways.append(sum_shares(grid, array, rate=rate, together=together))
    for shares in ways:
        yield array_cycles(problem, grid, array, dataflow=dataflow, stationary=Stationary.OUT, rate=rate, together=together, shares=shares)


def _whole(size: IntArray, array_side: int) -> Sides:
    """Dimensions that are one tile each, [N]."""
    folds = -(-size // array_side)
    return Sides(0, size, np.ones_like(size), size, folds, folds, folds)
