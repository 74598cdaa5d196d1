"""One workload on a chip of many cores, explained: latency, energy, area, what bounds it, the plan, and where it all goes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from math import isfinite
from typing import TYPE_CHECKING

from dse import collector
from dse.cost.capacity import NAMED, Infeasibility, dram_too_small
from dse.cost.capacity import off_chip_too_small as too_small
from dse.cost.evaluation import BreakdownRow
from dse.cost.least_again import Room, least_again_bytes
from dse.cost.roofline import Roofline, compulsory_bytes
from dse.ir.graph import multiply_type, nothing_to_compute
from dse.ir.operator import Kind
from dse.schedule.cores.charges import ChipCharges
from dse.schedule.cores.chip_plan import no_room_message, plan_graph
from dse.schedule.cores.energy import energy_items
from dse.schedule.cores.off_chip import off_chip_bytes
from dse.schedule.cores.part_price import KindPricer
from dse.schedule.cores.planner import NoPlan
from dse.schedule.cores.relaxation import Placement
from dse.schedule.cores.shapes import may_run
from dse.schedule.cores.shared import Shared
from dse.schedule.cores.tasks import busy_by_resource, resource_names
from dse.schedule.plan import Schedule
from dse.units import BYTES_PER_GB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.cost.metrics import Objective
    from dse.hw.accelerator import AreaBreakdown, Geometry
    from dse.hw.many_core import Chip
    from dse.hw.many_core_form import ChipFile
    from dse.hw.many_core_read import ChipDescription
    from dse.ir.graph import OperatorGraph
    from dse.ir.operator import Operator
    from dse.schedule.cores.groups import Work
    from dse.schedule.cores.planner import Planned
    from dse.schedule.cores.tasks import Outcome


@dataclass(frozen=True, slots=True)
class GroupResult:
    """One group of the plan."""

    group: str
    operators: tuple[str, ...]
    kind: str
    cores: tuple[str, ...]
    stream: str | None
    """Along which it is divided; two with ` x ` between."""
    reduces: bool
    start_s: float
    end_s: float
    compute_s: float
    dram_bytes: float
    transfer_bytes: float
    """Bytes from the cores that hold them."""


@dataclass(frozen=True)
class PlannedPart:
    """One graph of the step with its plan."""

    name: str
    count: int
    planned: Planned


@dataclass(frozen=True)
class ChipEvaluation:
    """Everything known of one workload on one chip; infinite latency and energy where it is infeasible."""

    latency_s: float
    energy_j: float
    area: AreaBreakdown
    clock_hz: float
    tokens: int
    feasible: bool
    infeasibility: tuple[Infeasibility, ...]
    bound: str | None
    """Name of the busiest core or channel."""
    bound_share: float
    roofline: Roofline
    lower_bound_s: float
    """No schedule is faster: MACs and vector operations on all units that may do them; compulsory bytes, and those that come again whatever
    the schedule, through the port of the memory off chip."""
    exact: bool
    """All assignments of the chosen groups were simulated."""
    trials: int
    spilled: tuple[str, ...]
    """Storages that went off chip for lack of room."""
    placement: Placement = Placement.AUTO
    placement_gap: float | None = None
    """The objective over what no assignment of the chosen groups to cores beats, less one; None where nothing is proven of them."""
    detours: tuple[str, ...] = ()
    """Storages that reach their readers by way of the memory off chip because that is faster than the links."""
    not_fused: tuple[str, ...] = ()
    """Graphs of so many operators that none of them were fused."""
    busy: Mapping[str, float] = field(default_factory=dict)
    """Seconds that each core and channel is busy, those that are."""
    groups: tuple[GroupResult, ...] = ()
    breakdown: tuple[BreakdownRow, ...] = ()
    parts: tuple[PlannedPart, ...] = ()

    @property
    def gap(self) -> float:
        """Latency over the lower bound, less one; 0 where they differ by rounding."""
        return max(0.0, self.latency_s / self.lower_bound_s - 1.0) if self.lower_bound_s else 0.0

    def to_json_dict(self) -> dict[str, object]:
        """The JSON of `dse eval` for a chip of many cores; values that do not exist for an infeasible one are null."""

        def number(value: float) -> float | None:
            return float(value) if isfinite(value) else None

        cycles = self.latency_s * self.clock_hz
        return {
            "latency_cycles": number(cycles),
            "latency_s": number(self.latency_s),
            "energy_j": number(self.energy_j),
            "area_mm2": self.area.total_mm2,
            "area_breakdown_mm2": {name.removesuffix("_mm2"): value for name, value in asdict(self.area).items()},
            "tokens_per_s": number(self.tokens / self.latency_s) if self.feasible else None,
            "joules_per_token": number(self.energy_j / self.tokens),
            "bound": {"resource": self.bound, "share": self.bound_share} if self.bound is not None else None,
            "roofline_cycles": self.roofline.cycles,
            "roofline_ratio": number(cycles / self.roofline.cycles),
            "lower_bound_cycles": self.lower_bound_s * self.clock_hz,
            "gap": number(self.gap),
            "exact": self.exact,
            "trials": self.trials,
            "placement": {"method": str(self.placement), "exact": self.exact, "gap": self.placement_gap},
            "feasible": self.feasible,
            "infeasibility": [why.to_json_dict() for why in self.infeasibility],
            "spilled": list(self.spilled),
            "detours": list(self.detours),
            "not_fused": list(self.not_fused),
            "busy_share": {name: seconds / self.latency_s for name, seconds in self.busy.items()},
            "groups": [
                {
                    "group": g.group,
                    "operators": list(g.operators),
                    "kind": g.kind,
                    "cores": list(g.cores),
                    "stream": g.stream,
                    "reduces": g.reduces,
                    "start_cycles": g.start_s * self.clock_hz,
                    "end_cycles": g.end_s * self.clock_hz,
                    "compute_cycles": g.compute_s * self.clock_hz,
                    "dram_bytes": g.dram_bytes,
                    "transfer_bytes": g.transfer_bytes,
                }
                for g in self.groups
            ],
            "breakdown": [asdict(b) for b in self.breakdown],
        }


@collector.put_off()
def evaluate_chip(
    description: ChipDescription,
    graphs: tuple[tuple[OperatorGraph, int], ...],
    *,
    tokens: int,
    stored_bytes: float,
    objective: Objective,
    schedule: Schedule = Schedule.FUSED,
    seed: int = 0,
    placement: Placement = Placement.AUTO,
) -> ChipEvaluation:
    """Plan, simulate and explain a step: `graphs` with the times that each runs, one after the other.

    Raises:
        GraphError: an operator that no core may run.
        UsageError: a placement that cannot be had.
    """
    shared = Shared()
    unknown = not_planned(description, graphs, tokens=tokens, stored_bytes=stored_bytes, shared=shared)
    if unknown.infeasibility:
        return unknown
    parts = plan_step(description, graphs, objective=objective, schedule=schedule, seed=seed, placement=placement, shared=shared)
    if isinstance(parts, Infeasibility):
        return replace(unknown, infeasibility=(parts,))
    crowded = next((c for p in parts if (c := off_chip_too_small(description, stored_bytes, p.planned.outcome))), None)
    if crowded is not None:
        return replace(unknown, infeasibility=(crowded,))
    found = explained(unknown, parts, description.chip, described_charges(description))
    return replace(found, placement=placement, placement_gap=_placement_gap(parts))


@collector.put_off()
def plan_step(
    description: ChipDescription,
    graphs: tuple[tuple[OperatorGraph, int], ...],
    *,
    objective: Objective,
    schedule: Schedule = Schedule.FUSED,
    seed: int = 0,
    placement: Placement = Placement.AUTO,
    shared: Shared | None = None,
) -> tuple[PlannedPart, ...] | Infeasibility:
    """The plan of each graph, whatever the memory off chip holds; or which group fits on no core.

    `shared` keeps what the same graphs have in common at other prices and capacities.

    Raises:
        GraphError, UsageError: as `evaluate_chip`, or nothing to compute.
    """
    shared = shared or Shared()
    kinds = {kind: KindPricer(d, shared.pricers(d.geometry)) for kind, d in description.kinds.items()}
    leakage, rates = float(described_charges(description).leakage_w[0]), _rates(description)
    parts: list[PlannedPart] = []
    for graph, count in graphs:
        planned = plan_graph(
            graph,
            description.chip,
            kinds,
            leakage_w=leakage,
            objective=objective,
            schedule=schedule,
            seed=seed,
            placement=placement,
            least_s=_lower_bound_s(shared.work(graph), description, rates),
            shared=shared,
        )
        if isinstance(planned, NoPlan):
            return _no_room(planned, description.chip)
        if not planned.outcome.layout.groups:
            raise nothing_to_compute(graph)
        parts.append(PlannedPart(graph.name, count, planned))
    return tuple(parts)


def _placement_gap(parts: tuple[PlannedPart, ...]) -> float | None:
    """Value of the plans over what no assignment of their groups beats, less one; None where nothing is proven."""
    if any(p.planned.bound <= 0.0 for p in parts):
        return None
    return max(0.0, sum(p.count * p.planned.value for p in parts) / sum(p.count * p.planned.bound for p in parts) - 1.0)


def described_charges(description: ChipDescription) -> ChipCharges:
    """The chip as its file has it, one point."""
    return ChipCharges.at_points(description, {kind: d.geometry for kind, d in description.kinds.items()}, {})


def not_planned(
    description: ChipDescription,
    graphs: tuple[tuple[OperatorGraph, int], ...],
    *,
    tokens: int,
    stored_bytes: float,
    shared: Shared | None = None,
) -> ChipEvaluation:
    """What is known of a step before anything is planned: area and bounds, and whether the memory off chip holds what it must."""
    shared, rates = shared or Shared(), _rates(description)
    works = [shared.work(g) for g, _ in graphs]
    least = [_lower_bound_s(work, description, rates, again_bytes=_again_bytes(work, description)) for work in works]
    bounds = [(_roofline(g, description, rates), bound, n) for (g, n), bound in zip(graphs, least, strict=True)]
    total = Roofline(
        sum(r.macs * n for r, _, n in bounds),
        sum(r.compulsory_bytes * n for r, _, n in bounds),
        sum(r.compute_cycles * n for r, _, n in bounds),
        sum(r.dram_cycles * n for r, _, n in bounds),
        sum(r.cycles * n for r, _, n in bounds),
    )
    why = dram_too_small(graphs, stored_bytes, description.chip.dram_capacity_bytes, f"'{description.file.dram[0]}'")
    return ChipEvaluation(
        float("inf"),
        float("inf"),
        description.area,
        next(iter(rates.values())).clock_hz,
        tokens,
        feasible=False,
        infeasibility=(why,) if why is not None else (),
        bound=None,
        bound_share=0.0,
        roofline=total,
        lower_bound_s=sum(b * n for _, b, n in bounds),
        exact=False,
        trials=0,
        spilled=(),
    )


def explained(unknown: ChipEvaluation, parts: tuple[PlannedPart, ...], chip: Chip, charges: ChipCharges) -> ChipEvaluation:
    """`unknown` with what is known of the plans; `charges` of the one point that they are timed for."""
    leakage_w = float(charges.leakage_w[0])
    names = resource_names(chip)
    busy: dict[str, float] = {}
    rows: list[BreakdownRow] = []
    groups: list[GroupResult] = []
    latency = energy = 0.0
    for part in parts:
        outcome, prefix = part.planned.outcome, f"{part.name}/" if len(parts) > 1 else ""
        latency += part.count * outcome.latency_s
        energy += part.count * outcome.energy_j
        for resource, seconds in busy_by_resource(outcome.tasks).items():
            if seconds:
                busy[names[resource]] = busy.get(names[resource], 0.0) + part.count * seconds
        rows += _rows(part, chip, charges, prefix, unknown.clock_hz)
        groups += _group_results(part, chip, charges, prefix)
    if leakage_w:
        rows.append(BreakdownRow("all", "leakage", "time", latency * unknown.clock_hz, leakage_w * latency, 0.0))
    bound = max(busy, key=lambda name: (busy[name], -names.index(name)))
    return replace(
        unknown,
        latency_s=latency,
        energy_j=energy,
        feasible=True,
        bound=bound,
        bound_share=busy[bound] / latency,
        exact=all(p.planned.exact for p in parts),
        trials=sum(p.planned.trials for p in parts),
        spilled=tuple(s for p in parts for s in p.planned.outcome.layout.spilled),
        detours=tuple(s for p in parts for s in p.planned.outcome.layout.detours),
        not_fused=tuple(p.name for p in parts if p.planned.too_long),
        busy=dict(sorted(busy.items(), key=lambda item: (-item[1], item[0]))),
        groups=tuple(groups),
        breakdown=tuple(rows),
        parts=parts,
    )


def _rows(part: PlannedPart, chip: Chip, charges: ChipCharges, prefix: str, clock_hz: float) -> list[BreakdownRow]:
    """Energy and bytes by operator, component and role; cycles of computation with the arithmetic."""
    outcome, n = part.planned.outcome, part.count
    cycles = {
        (g.index, o.name): float(charges.kinds[g.assigned.shape.kind].operator_s(o)[0]) * clock_hz
        for g in outcome.layout.groups
        for o in g.part.operators
    }
    merged: dict[tuple[str, str, str], list[float]] = {}
    for item in energy_items(outcome.layout, chip):
        row = merged.setdefault((prefix + item.operator, item.component, item.role), [0.0, 0.0, 0.0])
        row[0] += n * cycles.get((item.group, item.operator), 0.0) if item.role == "compute" and not row[0] else 0.0
        row[1] += n * float(item.energy_j(charges)[0])
        row[2] += n * item.bytes
    return [BreakdownRow(*key, *values) for key, values in merged.items()]


def _group_results(part: PlannedPart, chip: Chip, charges: ChipCharges, prefix: str) -> list[GroupResult]:
    outcome, found = part.planned.outcome, []
    start_s, end_s = outcome.simulation.start_s, outcome.simulation.end_s
    for laid in outcome.layout.groups:
        outside = [x for x in laid.loads if x.source == "dram"] + [x for x in laid.stores if x.target == "dram"]
        inside = [x for x in laid.loads if x.source != "dram"] + [x for x in laid.stores if x.target != "dram"]
        found.append(
            GroupResult(
                prefix + laid.group.name,
                tuple(o.name for o in laid.group.operators),
                laid.assigned.shape.kind,
                tuple(chip.cores[c].name for c in laid.assigned.cores),
                " x ".join(stream for stream, _ in laid.assigned.shape.splits) or None,
                laid.assigned.shape.reduces,
                float(min(start_s[t] for t in outcome.tasks.first[laid.index])),
                float(max(end_s[t] for t in outcome.tasks.last[laid.index])),
                float(charges.kinds[laid.assigned.shape.kind].part_s(laid.part)[0]),
                part.count * sum(x.size_bytes * x.pattern.sent for x in outside),
                part.count * sum(x.size_bytes * x.pattern.sent for x in inside),
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class _KindRate:
    geometry: Geometry
    clock_hz: float
    lanes: float


def _rates(description: ChipDescription) -> dict[str, _KindRate]:
    found = {}
    for kind, d in description.kinds.items():
        one = d.table()
        found[kind] = _KindRate(d.geometry, float(one.clock_hz[0]), float(one.vector_ops_per_cycle[0]))
    return found


def _roofline(graph: OperatorGraph, description: ChipDescription, kinds: Mapping[str, _KindRate]) -> Roofline:
    """max(MACs / peak of all arrays that compute their type, compulsory bytes / rate of the memory off chip)."""
    form, clock = description.file, next(iter(kinds.values())).clock_hz
    macs, cycles = 0, 0.0
    for o in graph.operators:
        if o.kind is Kind.CONTRACTION:
            dtype = multiply_type(graph, o).name
            peak = sum(
                c.count * kinds[k].geometry.array.elements * (kinds[k].geometry.array.rate(dtype) or 0)
                for k, c in form.cores.items()
                if c.array is not None
            )
            macs += o.visible_macs
            cycles += o.visible_macs / peak if peak else 0.0
    size = compulsory_bytes(graph)
    dram = size / (form.dram[1].bandwidth_gb_per_s * BYTES_PER_GB) * clock
    return Roofline(macs, size, cycles, dram, max(cycles, dram))


def _again_bytes(work: Work, description: ChipDescription) -> float:
    """Bytes that must come again whatever the schedule, in the memories of all cores and those beside them together."""
    chip, tables = description.chip, {kind: d.table() for kind, d in description.kinds.items()}
    inner = {
        kind: sum(float(m.capacity_bytes[0]) * g.instances for m, g in zip(tables[kind].inner, d.geometry.inner, strict=True))
        for kind, d in description.kinds.items()
    }
    on_chip = sum(c.capacity_bytes + inner[c.kind] for c in chip.cores) + sum(s.capacity_bytes for s in chip.shared)
    geometries = [chip.cores[chip.of_kind(kind)[0]].geometry for kind in chip.kinds if chip.cores[chip.of_kind(kind)[0]].has_array]
    return sum(least_again_bytes(work.builder, geometries, Room(on_chip, len(chip.cores))))


def _lower_bound_s(work: Work, description: ChipDescription, kinds: Mapping[str, _KindRate], *, again_bytes: float = 0.0) -> float:
    """Seconds that no schedule beats: the memory's port, and for each set of kinds what only they may do over all their units.

    `again_bytes` come through the port beside the compulsory ones; plans are looked for without them.

    Derived here: MACs (vector operations) that no kind outside a set K may do take at least their number over the sum of the rates of
    the arrays (vector units) of K.
    """
    graph, form, chip = work.graph, description.file, description.chip
    dram = form.dram[1]
    best = (compulsory_bytes(graph) + again_bytes) / (dram.bandwidth_gb_per_s * dram.sustained_fraction * BYTES_PER_GB)
    first = {k: chip.cores[chip.of_kind(k)[0]] for k in chip.kinds}
    able = {o.name: frozenset(k for k, core in first.items() if may_run(core, o, work)) for o in work.order}
    for allowed in dict.fromkeys(able.values()):
        mine = [o for o in work.order if able[o.name] <= allowed and able[o.name]]
        best = max(best, sum(_least_s(o, graph, allowed, form, kinds) for o in mine if o.kind is Kind.CONTRACTION))
        best = max(best, sum(_least_s(o, graph, allowed, form, kinds) for o in mine if o.kind is not Kind.CONTRACTION))
    return best


def _least_s(o: Operator, graph: OperatorGraph, allowed: frozenset[str], form: ChipFile, kinds: Mapping[str, _KindRate]) -> float:
    """Seconds of one operator on all units of `allowed` kinds."""
    rates = 0.0
    for k in sorted(allowed):
        array = kinds[k].geometry.array
        each = kinds[k].lanes
        if o.kind is Kind.CONTRACTION:
            each = array.elements * (array.rate(multiply_type(graph, o).name) or 0) if form.cores[k].array is not None else 0
        rates += form.cores[k].count * each * kinds[k].clock_hz
    amount = o.visible_macs if o.kind is Kind.CONTRACTION else o.vector_ops
    return amount / rates if rates else 0.0


def off_chip_too_small(description: ChipDescription, stored_bytes: float, outcome: Outcome) -> Infeasibility | None:
    """Why the activations of a plan do not fit the memory off chip beside weights and caches; None where they do."""
    need, there = off_chip_bytes(outcome)
    levers = ("use a smaller batch", "a narrower precision", "more memory on chip", "more DRAM capacity")
    return too_small(stored_bytes, need, there, description.chip.dram_capacity_bytes, f"'{description.file.dram[0]}'", levers)


def _no_room(found: NoPlan, chip: Chip) -> Infeasibility:
    touched = sorted(((f.storage, f.size_bytes) for f in (*found.group.reads, *found.group.writes)), key=lambda part: (-part[1], part[0]))
    return Infeasibility(
        "core_memory",
        sum(size for _, size in touched),
        chip.cores[found.room.core].capacity_bytes,
        no_room_message(found, chip),
        tuple(touched[:NAMED]),
        ("more capacity_kib in its cores", "a shared buffer under memories", "a smaller batch", "a narrower precision"),
    )
