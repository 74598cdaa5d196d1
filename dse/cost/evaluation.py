"""One design point explained: latency, energy, area, what bounds it, and every joule and byte by operator and role."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from dse.cost.capacity import Infeasibility, dram_too_small
from dse.cost.chosen import chosen_operators
from dse.cost.columns import FIRST_INNER
from dse.cost.metrics import RESOURCES, Objective, Resource
from dse.cost.roofline import Roofline, roofline_of
from dse.cost.schedule_bound import ScheduleBound, schedule_bound
from dse.cost.shortage import no_plan_fits
from dse.cost.traffic import Moved, matmul_ports, vector_ports
from dse.cost.workload_pricing import busy_seconds, edp_weight_w, price_part, price_workload
from dse.ir.graph import multiply_type
from dse.ir.operator import Kind
from dse.mapping.matmul import MatmulMapping, inner_json
from dse.schedule.place import frontier_of
from dse.units import JOULES_PER_PJ

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dse.cost.chosen import Chosen
    from dse.cost.workload_pricing import CompiledPart, CompiledWorkload, PartPrices
    from dse.hw.accelerator import AreaBreakdown, Geometry
    from dse.hw.table import DesignTable
    from dse.ir.graph import OperatorGraph

__all__ = ["BreakdownRow", "Evaluation", "Infeasibility", "OperatorResult", "evaluate", "hopeless"]


@dataclass(frozen=True, slots=True)
class BreakdownRow:
    """What one component spends on one role of tensors while one operator runs, all repetitions."""

    operator: str
    component: str
    """`array`, `vector`, `buffer`, `dram`, `overhead` or `leakage`."""
    role: str
    """Role of the tensor moved; `compute` for arithmetic, `time` for leakage and overhead."""
    cycles: float
    """Cycles that the component is busy with it."""
    energy_j: float
    bytes: float


@dataclass(frozen=True, slots=True)
class OperatorResult:
    """One operator of the chosen plan, all repetitions."""

    operator: str
    op_type: str
    latency_s: float
    energy_j: float
    bound: Resource
    runs: int
    """Times that the mapping is run: slices and repetitions of the part."""
    mapping: MatmulMapping | None


@dataclass(frozen=True, slots=True)
class Recomputed:
    """An operator that the chosen plan runs more than once for the same result, instead of keeping it or writing it out."""

    operator: str
    """As it is listed among the operators; `.again` marks further places where a result is formed."""
    of: str
    """The operator of the graph whose result it forms."""
    times: int
    """How often it forms each element there."""


@dataclass(frozen=True)
class Evaluation:
    """Everything known of one design point; infinite latency and energy where it is infeasible."""

    latency_s: float
    energy_j: float
    area: AreaBreakdown
    clock_hz: float
    tokens: int
    feasible: bool
    infeasibility: tuple[Infeasibility, ...]
    bound: Resource | None
    bound_share: float
    """Share of the latency during which the bounding resource is busy."""
    roofline: Roofline
    excess: float
    """Greatest excess of the mapping frontiers used: 0 where none was thinned."""
    operators: tuple[OperatorResult, ...] = field(default=())
    breakdown: tuple[BreakdownRow, ...] = field(default=())
    recomputed: tuple[Recomputed, ...] = field(default=())
    schedule_bound: ScheduleBound | None = None
    """What no schedule can beat; None where the point is infeasible."""
    in_part: int = 0
    """Products of which not all mappings with several tiles of an operand were looked at: one of them may have a better one."""
    behind: tuple[float, float] = (0.0, 0.0)
    """Of the worst of them how far, relative, its longest busy time and its energy may be above the least there are."""
    schedule_gap: float = 0.0
    """Share by which the objective may lie above the least of all schedules."""

    @property
    def area_mm2(self) -> float:
        """Silicon area, all components."""
        return self.area.total_mm2

    def to_json_dict(self) -> dict[str, object]:
        """The JSON of `dse eval`; values that do not exist for an infeasible point are null."""

        def number(value: float) -> float | None:
            return float(value) if np.isfinite(value) else None

        latency_cycles = self.latency_s * self.clock_hz
        return {
            "latency_cycles": number(latency_cycles),
            "latency_s": number(self.latency_s),
            "energy_j": number(self.energy_j),
            "area_mm2": self.area_mm2,
            "area_breakdown_mm2": {name.removesuffix("_mm2"): value for name, value in asdict(self.area).items()},
            "tokens_per_s": number(self.tokens / self.latency_s) if self.feasible else None,
            "joules_per_token": number(self.energy_j / self.tokens),
            "bound": {"resource": str(self.bound), "share": self.bound_share} if self.bound is not None else None,
            "roofline_cycles": self.roofline.cycles,
            "roofline_ratio": number(latency_cycles / self.roofline.cycles),
            "feasible": self.feasible,
            "infeasibility": [why.to_json_dict() for why in self.infeasibility],
            "mapping_excess": self.excess,
            "products_searched_in_part": self.in_part,
            "searched_in_part_gap": {"busy_time": number(self.behind[0]), "energy": number(self.behind[1])},
            "schedule_bound": None
            if self.schedule_bound is None
            else {
                "latency_cycles": self.schedule_bound.latency_s * self.clock_hz,
                "energy_j": self.schedule_bound.energy_j,
                "gap": self.schedule_gap,
                "groups_exact": self.schedule_bound.groups_exact,
            },
            "operators": [
                {
                    "operator": o.operator,
                    "op_type": o.op_type,
                    "latency_s": o.latency_s,
                    "energy_j": o.energy_j,
                    "bound": str(o.bound),
                    "runs": o.runs,
                    "mapping": _mapping_json(o.mapping),
                }
                for o in self.operators
            ],
            "recomputed": [asdict(r) for r in self.recomputed],
            "breakdown": [
                {
                    "operator": b.operator,
                    "component": b.component,
                    "role": b.role,
                    "cycles": b.cycles,
                    "energy_j": b.energy_j,
                    "bytes": b.bytes,
                }
                for b in self.breakdown
            ],
        }


def _mapping_json(mapping: MatmulMapping | None) -> dict[str, object] | None:
    """A mapping in plain words; None on the vector unit."""
    if mapping is None:
        return None
    kept = [name for name in ("left", "right", "out") if getattr(mapping.kept, name)]
    return {
        "dataflow": str(mapping.dataflow),
        "stationary": str(mapping.stationary),
        "kept": kept,
        "tile": {"m": mapping.tile_m, "k": mapping.tile_k, "n": mapping.tile_n},
        "groups_together": mapping.together,
        "shared_sums": mapping.shared_sums,
        "inner": inner_json(mapping),
    }


def hopeless(
    graphs: Sequence[tuple[OperatorGraph, int]], *, tokens: int, stored_bytes: float, geometry: Geometry, table: DesignTable
) -> Evaluation | None:
    """The verdict on a step that DRAM cannot hold, at the only point of `table`, before plans and frontiers are made; None where it
    can. (graph, times it runs) and `stored_bytes` are those of `dse.evaluate.Step`."""
    why = dram_too_small(graphs, stored_bytes, float(table.dram_capacity_bytes[0]))
    types = {multiply_type(g, o).name for g, _ in graphs for o in g.operators if o.kind is Kind.CONTRACTION}
    if why is None or any(geometry.array.rate(t) is None for t in types):
        return None  # compiling says which type the array lacks
    return replace(_nothing(graphs, tokens, geometry, table), infeasibility=(why,))


def _nothing(graphs: Sequence[tuple[OperatorGraph, int]], tokens: int, geometry: Geometry, table: DesignTable) -> Evaluation:
    return Evaluation(
        latency_s=np.inf,
        energy_j=np.inf,
        area=table.area(),
        clock_hz=float(table.clock_hz[0]),
        tokens=tokens,
        feasible=False,
        infeasibility=(),
        bound=None,
        bound_share=0.0,
        roofline=roofline_of(graphs, geometry, table),
        excess=0.0,
    )


def evaluate(compiled: CompiledWorkload, table: DesignTable, objective: Objective) -> Evaluation:
    """Explain the only design point of `table` (size 1)."""
    assert table.size == 1, "one design point at a time"
    priced = price_workload(compiled, table, objective)
    graphs = [(p.book.graph, p.count) for p in compiled.parts]
    unexplained = replace(_nothing(graphs, compiled.tokens, compiled.geometry, table), excess=compiled.excess)
    unexplained = replace(unexplained, in_part=compiled.in_part, behind=compiled.behind)
    if not priced.feasible[0]:
        why = dram_too_small(graphs, compiled.stored_bytes, float(table.dram_capacity_bytes[0])) or no_plan_fits(compiled.parts, table)
        return replace(unexplained, infeasibility=(why,))
    weight = edp_weight_w(compiled, table) if objective is Objective.EDP else None
    operators: list[OperatorResult] = []
    rows: list[BreakdownRow] = []
    recomputed: list[Recomputed] = []
    busy = dict.fromkeys(RESOURCES, 0.0)
    for part in compiled.parts:
        prices = price_part(part, table, objective, weight)
        prefix = f"{part.name}/" if len(compiled.parts) > 1 else ""
        for chosen in chosen_operators(part, prices, table, objective, weight):
            result = _explain(chosen, table, part.count, prefix)
            operators.append(result[0])
            rows.extend(result[1])
        recomputed += _recomputed(part, prices, prefix)
        for resource, seconds in _busy(part, prices, table, compiled.geometry).items():
            busy[resource] += seconds
    latency = sum(o.latency_s for o in operators)
    energy = sum(o.energy_j for o in operators)
    bound = max(RESOURCES, key=lambda r: (busy[r], -RESOURCES.index(r)))
    least = schedule_bound(compiled, table)
    return replace(
        unexplained,
        schedule_bound=least,
        schedule_gap=least.gap(objective, latency, energy),
        latency_s=latency,
        energy_j=energy,
        feasible=True,
        bound=bound,
        bound_share=busy[bound] / latency,
        operators=tuple(operators),
        breakdown=tuple(rows),
        recomputed=tuple(recomputed),
    )


def _recomputed(part: CompiledPart, prices: PartPrices, prefix: str) -> list[Recomputed]:
    again = part.plans[int(prices.plan[0])].plan.again
    return [] if again is None else [Recomputed(prefix + f.name, prefix + f.operator, f.times) for f in again.formed]


def _busy(part: CompiledPart, prices: PartPrices, table: DesignTable, geometry: Geometry) -> dict[Resource, float]:
    busy = busy_seconds(prices.moved, prices.vector_ops, prices.overhead_s, table, geometry)
    return {r: part.count * float(np.broadcast_to(s, 1)[0]) for r, s in busy.items()}


def _explain(chosen: Chosen, table: DesignTable, count: int, prefix: str) -> tuple[OperatorResult, list[BreakdownRow]]:
    operator, geometry = chosen.operator, chosen.pricer.geometry
    moved = chosen.counts[None, :]
    seconds = busy_seconds(moved, operator.work.vector_ops, np.array([chosen.overhead_s]), table, geometry)
    busy = {r: float(np.broadcast_to(s, 1)[0]) for r, s in seconds.items()}
    mapping = frontier_of(operator.work, geometry).mappings
    name = prefix + operator.name
    result = OperatorResult(
        operator=name,
        op_type=operator.op_type,
        latency_s=count * chosen.latency_s,
        energy_j=count * chosen.energy_j,
        bound=max(RESOURCES, key=lambda r: (busy[r], -RESOURCES.index(r))),
        runs=count * operator.work.slices,
        mapping=mapping[chosen.row] if mapping else None,
    )
    traffic = matmul_ports(operator, mapping[chosen.row], geometry) if mapping else vector_ports(operator, moved)
    for port, staged in zip(operator.inputs, chosen.staged_bytes, strict=False):
        traffic.append(Moved(port.tensor, port.role, 0.0, 0.0, staged, staged))
    return result, list(_rows(name, chosen, table, count, result.latency_s, busy, traffic))


def _rows(
    name: str, chosen: Chosen, table: DesignTable, count: int, latency_s: float, busy: dict[Resource, float], moved: list[Moved]
) -> Iterator[BreakdownRow]:
    clock = float(table.clock_hz[0])
    work, overhead_s = chosen.operator.work, chosen.overhead_s
    if work.dtype is not None:
        energy = work.macs * float(table.mac_pj[work.dtype][0]) * JOULES_PER_PJ
        yield BreakdownRow(name, "array", "compute", count * busy[Resource.ARRAY] * clock, count * energy, 0.0)
    if work.vector_ops:
        energy = work.vector_ops * float(table.vector_pj_per_op[0]) * JOULES_PER_PJ
        yield BreakdownRow(name, "vector", "compute", count * busy[Resource.VECTOR] * clock, count * energy, 0.0)
    dram_rate = float(table.dram_bytes_per_s[0] * table.dram_sustained_fraction[0])
    for role in sorted({m.role for m in moved}):
        mine = [m for m in moved if m.role == role]
        read, write = sum(m.dram_read for m in mine), sum(m.dram_write for m in mine)
        if read + write:
            pj = read * float(table.dram_read_pj_per_byte[0]) + write * float(table.dram_write_pj_per_byte[0])
            cycles = (read + write) / dram_rate * clock
            yield BreakdownRow(name, "dram", str(role), count * cycles, count * pj * JOULES_PER_PJ, count * (read + write))
        read, write = sum(m.buffer_read for m in mine), sum(m.buffer_write for m in mine)
        if read + write:
            pj = read * float(table.buffer_read_pj_per_byte[0]) + write * float(table.buffer_write_pj_per_byte[0])
            seconds = max(read / float(table.buffer_read_bytes_per_s[0]), write / float(table.buffer_write_bytes_per_s[0]))
            yield BreakdownRow(name, "buffer", str(role), count * seconds * clock, count * pj * JOULES_PER_PJ, count * (read + write))
    for i, memory in enumerate(table.inner):
        at = FIRST_INNER + 2 * i
        read, write = (float(chosen.counts[at + way]) for way in (0, 1))
        if read + write:
            pj = read * float(memory.read_pj_per_byte[0]) + write * float(memory.write_pj_per_byte[0])
            yield BreakdownRow(name, memory.name, "compute", 0.0, count * pj * JOULES_PER_PJ, count * (read + write))
    if overhead_s:
        yield BreakdownRow(name, "overhead", "time", count * overhead_s * clock, 0.0, 0.0)
    if float(table.leakage_w[0]):
        yield BreakdownRow(name, "leakage", "time", latency_s * clock, float(table.leakage_w[0]) * latency_s, 0.0)
