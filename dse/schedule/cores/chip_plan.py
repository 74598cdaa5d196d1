"""The plan of a whole graph on a chip of many cores: operators alone, or in the groups that fuse best on one core."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from dse.errors import GraphError
from dse.ir.graph import multiply_type
from dse.ir.operator import Kind
from dse.schedule.cores.groups import find_work, fused_groups, make_group, single_groups
from dse.schedule.cores.layout import NoRoom
from dse.schedule.cores.planner import NoPlan, Planned, Planner, better
from dse.schedule.cores.relaxation import Placement
from dse.schedule.plan import Schedule, make_plans

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.cost.metrics import Objective
    from dse.hw.many_core import Chip
    from dse.ir.graph import OperatorGraph
    from dse.schedule.cores.groups import Group, Work
    from dse.schedule.cores.part_price import KindPricer
    from dse.schedule.cores.tasks import Outcome
    from dse.schedule.segments import Segment

LARGEST_PEAK: Final = 4.0
"""Fused plans tried hold at most so many times the memory of a core: dividing a group divides what it holds."""
MOST_PLANS: Final = 12
"""Fused plans tried, those that hold most."""
MOST_FORMATIONS: Final = 5
"""Ways to form groups that are simulated, least estimate first; more only until one fits."""
MOST_OPERATORS_FUSED: Final = 400
"""Longer graphs are not fused: making the plans would take longer than all the rest."""


def plan_graph(
    graph: OperatorGraph,
    chip: Chip,
    kinds: Mapping[str, KindPricer],
    *,
    leakage_w: float,
    objective: Objective,
    schedule: Schedule = Schedule.FUSED,
    seed: int = 0,
    placement: Placement = Placement.AUTO,
    least_s: float = 0.0,
) -> Planned | NoPlan:
    """The best plan found for `graph`: each way to form groups is planned once, the best of them is then searched.

    `least_s` is a time that no plan beats: the search takes more trouble the farther it is.

    Raises:
        GraphError: an operator that no core may run, or a data type that no array computes.
        UsageError: a placement that cannot be had.
    """
    work = find_work(graph)
    planner = Planner(chip, work, kinds, leakage_w, objective, least_s)
    nowhere = planner.nowhere()
    if nowhere is not None:
        raise GraphError.single(f"{graph.name}: node '{nowhere}'", _no_core(work, nowhere, chip))
    choices = [single_groups(work)]
    if schedule is Schedule.FUSED and len(work.order) <= MOST_OPERATORS_FUSED:
        choices += [g for g in _fused(work, planner, chip, kinds) if g not in choices]
    refused: NoPlan | None = None
    best: tuple[Planned, tuple[Group, ...]] | None = None
    firsts: list[Outcome] = []
    for place, groups in enumerate(planner.by_estimate(choices)):
        if place >= MOST_FORMATIONS and best is not None:
            break
        found = planner.first(groups)
        if isinstance(found, NoPlan):
            refused = found if refused is None or len(groups) == len(work.order) else refused
            continue
        firsts.append(found.outcome)
        if best is None or better(found.outcome, best[0].outcome, objective):
            best = found, groups
    if best is None:
        assert refused is not None
        return refused
    searched = planner.plan(best[1], seed, placement)
    chosen = searched if isinstance(searched, Planned) and not better(best[0].outcome, searched.outcome, objective) else best[0]
    return replace(chosen, others=tuple(o for o in firsts if o is not chosen.outcome))


def _fused(work: Work, planner: Planner, chip: Chip, kinds: Mapping[str, KindPricer]) -> list[tuple[Group, ...]]:
    """Groups of plans of one core, for the kind with the most MACs that runs groups; what no core may run as a whole is taken apart."""
    able = [k for k in chip.kinds if chip.cores[chip.of_kind(k)[0]].has_array and chip.cores[chip.of_kind(k)[0]].has_vector]
    computing = [k for k in able if all(planner.runnable_on(k, o) for o in work.order if o.macs)]
    if not computing:
        return []
    kind = max(computing, key=lambda k: kinds[k].geometry.array.elements)
    plans = make_plans(work.graph, Schedule.FUSED, kinds[kind].geometry, any_order=False).plans
    fitting = sorted((p for p in plans if p.peak_bytes <= LARGEST_PEAK * kinds[kind].capacity_bytes), key=lambda p: -p.peak_bytes)
    found: list[tuple[Group, ...]] = []
    for plan in fitting[:MOST_PLANS]:
        groups = tuple(g for s in plan.segments for g in _runnable(work, planner, s))
        if groups not in found:
            found.append(groups)
    return found


def _runnable(work: Work, planner: Planner, segment: Segment) -> tuple[Group, ...]:
    """A segment in slices as one group; where nothing is sliced, or no core may run all of it, its operators alone: tensors stay on chip
    between these all the same, and each may be divided along streams of its own."""
    group = fused_groups(work, (segment,))[0]
    if segment.cuts and planner.runnable(group):
        return (group,)
    return tuple(make_group(work, p, p, (), frozenset()) for p in range(segment.first, segment.last + 1))


def _no_core(work: Work, name: str, chip: Chip) -> str:
    operator = next(o for o in work.order if o.name == name)
    product = operator.kind is Kind.CONTRACTION
    kinds = []
    for kind in chip.kinds:
        core = chip.cores[chip.of_kind(kind)[0]]
        computed = ", ".join(dtype for dtype, _ in core.geometry.array.macs_per_pe_per_cycle)
        units = [f"array for {computed}"] * core.has_array + ["vector unit"] * core.has_vector
        types = ", ".join(sorted(core.op_types)) if core.op_types is not None else "all types"
        kinds.append(f"'{kind}' ({' and '.join(units)}; {types})")
    need = f"an array that multiplies {multiply_type(work.graph, operator).name}" if product else "a vector unit"
    return (
        f"no core of {chip.name} may run {operator.op_type}; it needs {need} and its type among a kind's op_types; "
        f"the chip has {', '.join(kinds)}"
    )


def no_room_message(found: NoPlan, chip: Chip) -> str:
    """Why a group fits nowhere, in words."""
    room: NoRoom = found.room
    core = chip.cores[room.core]
    touched = sorted(((f.size_bytes, f.storage) for f in (*found.group.reads, *found.group.writes)), reverse=True)[:3]
    listed = ", ".join(f"'{name}' {size / 1024:.0f} KiB" for size, name in touched)
    return (
        f"'{found.group.name}' fits on no core in any division: the memory of {core.name} has {max(0.0, room.free_bytes) / 1024:.0f} KiB "
        f"of {core.capacity_bytes / 1024:.0f} KiB left for its tiles; its largest tensors are {listed}. "
        "Give its cores more capacity_kib, a shared buffer under memories, a smaller batch or a narrower precision"
    )
