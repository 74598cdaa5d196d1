"""The way from a lowered workload and an accelerator to numbers: lower, compile once per geometry, price many times."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING

from dse import collector
from dse.cost.capacity import least_dram_bytes
from dse.cost.combinations import make_combinations
from dse.cost.metrics import Objective, Priced
from dse.cost.workload_pricing import CompiledPart, CompiledPlan, CompiledWorkload, PricerPool, price_workload
from dse.ir.graph import nothing_to_compute
from dse.ir.onnx_read import read_onnx
from dse.ir.tensor import Role
from dse.schedule.place import Products, place
from dse.schedule.plan import Schedule, make_plans
from dse.units import BITS_PER_BYTE

if TYPE_CHECKING:
    from dse.hw.accelerator import Geometry
    from dse.hw.table import DesignTable
    from dse.ir.graph import OperatorGraph
    from dse.ir.lowering import LoweredWorkload

LOGGER = logging.getLogger(__name__)

__all__ = ["Objective", "Priced", "Schedule", "Step", "compile_step", "compile_workload", "price", "read_step"]


class Step:
    """A lowered step read back as operator graphs, with what DRAM must hold for it."""

    def __init__(self, name: str, tokens: int, graphs: tuple[tuple[OperatorGraph, int], ...], stored_bytes: float) -> None:
        self.name = name
        self.tokens = tokens
        self.graphs = graphs
        """(graph, times it runs)."""
        self.stored_bytes = stored_bytes

    @cached_property
    def least_dram_bytes(self) -> float:
        """Bytes that lie off chip at some moment whatever the plan: weights, caches, and inputs or results beside them."""
        return least_dram_bytes(self.graphs, self.stored_bytes)

    @property
    def cache_bytes(self) -> float:
        """Bytes of the caches among `stored_bytes`."""
        return _stored(self.graphs)[1]


def read_step(workload: LoweredWorkload) -> Step:
    """Read the ONNX models of a lowered workload.

    DRAM must hold all parameters (experts that this step does not route to included) and all caches.

    Raises:
        GraphError: an operator cannot be costed; names the node.
    """
    graphs = tuple((read_onnx(part.onnx, name=part.name), part.count) for part in workload.parts)
    weights, caches, weight_bits = _stored(graphs)
    parameters = workload.stored_weight_bytes
    if parameters is None:
        parameters = workload.parameters_total * weight_bits / BITS_PER_BYTE
    stored = max(weights, parameters) + caches
    return Step(workload.name, workload.tokens, graphs, stored)


def graph_step(graph: OperatorGraph, tokens: int) -> Step:
    """A step that runs one graph once and makes `tokens` tokens."""
    weights, caches, _ = _stored(((graph, 1),))
    return Step(graph.name, tokens, ((graph, 1),), weights + caches)


def _stored(graphs: tuple[tuple[OperatorGraph, int], ...]) -> tuple[float, float, float]:
    """Bytes of weights, bytes of caches, and the widest weight in bits."""
    weights = caches = 0.0
    weight_bits = 0.0
    for graph, count in graphs:
        for name in graph.inputs:
            tensor = graph.tensors[name]
            if tensor.role is Role.WEIGHT:
                weights += count * float(tensor.size_bytes)
                weight_bits = max(weight_bits, tensor.dtype.stored_bits)
            elif tensor.role is Role.CACHE:
                caches += count * float(tensor.size_bytes)
    return weights, caches, weight_bits


@collector.put_off()
def compile_step(step: Step, geometry: Geometry, *, schedule: Schedule = Schedule.FUSED) -> CompiledWorkload:
    """Build the plans and frontiers of a step for one geometry.

    Raises:
        GraphError: a contraction in a data type that the array cannot compute, or nothing to compute.
    """
    pool = PricerPool(geometry)
    parts = []
    for graph, count in step.graphs:
        book = make_plans(graph, schedule, geometry)
        plans, products = [], Products(geometry)
        for plan in book.plans:
            placed = place(book, plan, geometry, products)
            if not placed:
                raise nothing_to_compute(graph)
            plans.append(CompiledPlan(plan, placed, tuple(pool.pricer(o.work) for o in placed)))
        overlapping = make_combinations(book, plans, geometry) if schedule is Schedule.FUSED and book.order else None
        parts.append(CompiledPart(graph.name, count, book, tuple(plans), overlapping))
    compiled = CompiledWorkload(step.name, step.tokens, tuple(parts), geometry, step.stored_bytes)
    if compiled.in_part:
        LOGGER.warning(
            "%s: of %d products mappings with several tiles of an operand were looked at in part; results hold, better ones may exist: "
            "of one product at most %.1f%% less busy time and %.1f%% less energy. core.most_tiles says how many tiles are tried, in full",
            step.name,
            compiled.in_part,
            *(100 * share / (1 + share) for share in compiled.behind),
        )
    return compiled


def compile_workload(workload: LoweredWorkload, geometry: Geometry, *, schedule: Schedule = Schedule.FUSED) -> CompiledWorkload:
    """`read_step` and `compile_step` in one call."""
    return compile_step(read_step(workload), geometry, schedule=schedule)


def price(compiled: CompiledWorkload, table: DesignTable, *, objective: Objective = Objective.LATENCY) -> Priced:
    """Price a compiled workload over all design points of `table`."""
    return price_workload(compiled, table, objective)
