"""What no schedule of a step can beat on one design: least latency and energy over all plans and mappings, and the gap of a result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from dse.cost.columns import ARRAY, DRAM_READ, DRAM_WRITE, pj_per_count, seconds_per_count
from dse.cost.energy_floor import least_moved_pj
from dse.cost.least_again import Room, least_again_bytes
from dse.cost.metrics import Objective
from dse.cost.roofline import compulsory_bytes
from dse.hw.accelerator import Dataflow, Folds
from dse.ir.operator import Kind
from dse.mapping.flows import flows
from dse.mapping.matmul import fill_and_drain_cycles
from dse.mapping.space import whole_blocks
from dse.schedule.candidates import MAX_SEGMENT_OPERATORS
from dse.schedule.lattice import bits, dependences
from dse.schedule.problems import contraction_problem
from dse.units import JOULES_PER_PJ

if TYPE_CHECKING:
    from dse.cost.workload_pricing import CompiledPart, CompiledWorkload
    from dse.hw.accelerator import Geometry
    from dse.hw.table import DesignTable
    from dse.mapping.problem import MatmulProblem
    from dse.schedule.plan import PlanBook


@dataclass(frozen=True, slots=True)
class ScheduleBound:
    """A lower bound of every schedule of a step at one design point."""

    latency_s: float
    energy_j: float
    groups_exact: bool
    """Whether the groups offered are the best of every order of the operators (see `dse.schedule.plan.make_plans`)."""

    def gap(self, objective: Objective, latency_s: float, energy_j: float) -> float:
        """Share by which a result may lie above the least: 0.1 is at most 10 % more of the objective than any schedule needs."""
        found = {
            Objective.LATENCY: (latency_s, self.latency_s),
            Objective.ENERGY: (energy_j, self.energy_j),
            Objective.EDP: (latency_s * energy_j, self.latency_s * self.energy_j),
        }
        value, least = found[objective]
        return value / least - 1


def schedule_bound(compiled: CompiledWorkload, table: DesignTable) -> ScheduleBound:
    """The bound at the only point of `table`; parts run one after another, so theirs add up.

    Latency: the busiest of array, vector unit and DRAM with the least that each must do, and launches. Array: cycles of every
    product as one tile without fill and drain, and one fill and drain for each product of the longest chain of products that need
    each other, as these never share a window. DRAM: compulsory bytes, and those that come again for lack of room (`least_again_bytes`).
    Without overlapped transfers DRAM adds to the other two. Energy: MACs, vector operations, compulsory bytes, what every operator moves at
    least (`least_moved_pj`), leakage.
    Derived here; the test holds it below the results of all schedules.
    """
    latency = energy = 0.0
    for part in compiled.parts:
        seconds, joules = _of_part(part, compiled.geometry, table)
        latency, energy = latency + part.count * seconds, energy + part.count * joules
    exact = all(part.book.exact for part in compiled.parts)
    return ScheduleBound(latency, energy + float(table.leakage_w[0]) * latency, exact)


def _of_part(part: CompiledPart, geometry: Geometry, table: DesignTable) -> tuple[float, float]:
    seconds, pj = seconds_per_count(geometry, table)[:, 0], pj_per_count(geometry, table)[:, 0]
    again = least_again_bytes(part.book.builder, (geometry,), Room.of(geometry, table))
    compulsory = compulsory_bytes(part.book.graph)
    moved = compulsory + sum(again)
    vector_ops = min(sum(p.work.vector_ops for p in plan.pricers) for plan in part.plans)
    array_s = _array_cycles(part.book, geometry) * float(seconds[ARRAY])
    vector_s = vector_ops / float(table.vector_ops_per_cycle[0] * table.clock_hz[0])
    dram_s = moved * float(seconds[DRAM_READ])
    busy = max(array_s, vector_s, dram_s) if geometry.overlapped else max(array_s, vector_s) + dram_s
    launches = -(-len(part.book.order) // MAX_SEGMENT_OPERATORS)
    overhead = launches * float(table.launch_latency_s[0]) + (float(table.dram_latency_s[0]) if moved else 0.0)
    energy = vector_ops * float(table.vector_pj_per_op[0]) + compulsory * float(min(pj[DRAM_READ], pj[DRAM_WRITE]))
    energy += sum(p.work.macs * float(table.mac_pj[p.work.dtype][0]) for p in part.plans[0].pricers if p.work.dtype is not None)
    energy += least_moved_pj(part.book, geometry, table, again)
    return busy + overhead, energy * JOULES_PER_PJ


def _array_cycles(book: PlanBook, geometry: Geometry) -> float:
    """Cycles of the array that every schedule needs: streams of all products, fills and drains of the longest chain of them."""
    deps, depth, total = dependences(book.builder), [0] * len(book.order), 0.0
    for p, operator in enumerate(book.order):
        multiplies = operator.kind is Kind.CONTRACTION
        depth[p] = max((depth[q] for q in bits(deps.needed[p])), default=0) + multiplies
        if multiplies:
            total += _streaming_cycles(contraction_problem(book.graph, operator, {}, geometry), geometry)
    return total + max(depth, default=0) * min((ramp for _, ramp in _ways(geometry)), default=0)


def _streaming_cycles(problem: MatmulProblem, geometry: Geometry) -> float:
    """Least cycles of a product as one tile, less its fill and drain."""
    at = (np.zeros(1, dtype=np.int64),) * 3
    return min(
        min(float(b.cycles(at)[0]) for b in whole_blocks(problem, one, dataflow)) - ramp for (one, dataflow), ramp in _ways(geometry)
    )


def _ways(geometry: Geometry) -> list[tuple[tuple[Geometry, Dataflow], int]]:
    """Arrays of the short form and dataflows, each with the cycles of one fill and drain; 0 where that is part of every pass or nothing."""
    found = []
    for array in flows(geometry.array):
        one = replace(geometry, array=array)
        for dataflow in array.dataflows:
            pipelined = array.folds is Folds.PIPELINED
            ramp = fill_and_drain_cycles(array, weights=dataflow is not Dataflow.OUTPUT_STATIONARY) if pipelined else 0
            found.append(((one, dataflow), ramp))
    return found
