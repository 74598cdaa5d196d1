"""How much of a masked operator is computed: an array works in blocks, and a block that a mask cuts is computed whole."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from dse.hw.accelerator import Dataflow
from dse.ir.operator import Kind
from dse.ir.tensor import Role
from dse.mapping.flows import flows
from dse.mapping.matmul import array_sides

if TYPE_CHECKING:
    from dse.hw.accelerator import ArrayGeometry, Geometry
    from dse.ir.graph import OperatorGraph
    from dse.ir.operator import Operator


def touched_share(graph: OperatorGraph, operator: Operator, geometry: Geometry) -> float:
    """Share of the work of `operator` in blocks of scores that the array computes: visible scores and what their blocks drag along.

    The largest q + c - 2 over the blocks of q queries by c keys in which the array's dataflows work, see `banded_share`.
    """
    if operator.visible == 1:
        return 1.0
    return banded_share(float(operator.visible), _keys(graph, operator), _overhang(geometry.array))


def banded_share(visible: float, keys: int, overhang: int) -> float:
    """`visible` + `overhang` / `keys`, at most 1: the share of a band of scores in whole blocks, `overhang` = q + c - 2.

    Each query sees an interval of keys. Where its edges move by at most one key from a query to the next, q queries see
    q - 1 keys more together than each alone, and whole blocks of c keys add c - 1 on average if both edges move, less if one
    does. Derived here. For causal masks the true share is at most this one; for sliding and chunked ones, whose lower edge
    jumps, it may be above, by at most 2 (q + c - 2) / keys (tests/property/test_masks.py counts blocks).
    """
    return min(1.0, visible + overhang / keys)


def _keys(graph: OperatorGraph, operator: Operator) -> int:
    """Keys of one row of scores: the last axis of what a score operator of the array writes, and of what others read first."""
    writes_scores = operator.kind is Kind.CONTRACTION and graph.tensors[operator.outputs[0].tensor].role is Role.SCORE
    scores = operator.outputs[0] if writes_scores else operator.inputs[0]
    return graph.tensors[scores.tensor].shape[-1]


@lru_cache(maxsize=256)
def _overhang(array: ArrayGeometry) -> int:
    """Largest q + c - 2 over blocks of scores: q x c of them where the array holds scores, 1 x c where it holds keys or values."""
    found = [0]
    for flow in flows(array):
        rate = max(rate for _, rate in flow.macs_per_pe_per_cycle)
        for dataflow in flow.dataflows:
            m, k, n = array_sides(flow, dataflow, rate)
            found.append(m + n - 2 if dataflow is Dataflow.OUTPUT_STATIONARY else max(m, k, n) - 1)
    return max(found)
