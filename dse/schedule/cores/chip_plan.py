"""The plan of a whole graph on a chip of many cores: operators alone, or in the groups that fuse best on one core."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from dse.cost.metrics import Objective
from dse.errors import GraphError
from dse.ir.graph import multiply_type
from dse.ir.operator import Kind
from dse.schedule.cores.groups import fused_groups, make_group, single_groups
from dse.schedule.cores.in_step import MOST_SLICES, in_step
from dse.schedule.cores.layout import NoRoom
from dse.schedule.cores.planner import NEAR, NoPlan, Planned, Planner, better
from dse.schedule.cores.relaxation import Placement
from dse.schedule.cores.shared import Shared
from dse.schedule.plan import Schedule

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dse.hw.many_core import Chip
    from dse.ir.graph import OperatorGraph
    from dse.schedule.cores.groups import Group, Work
    from dse.schedule.cores.part_price import KindPricer
    from dse.schedule.segments import Segment

MOST_FORMATIONS: Final = 4
"""Ways to form groups that are simulated, least estimate first; more only until one fits."""
WORTHWHILE: Final = 1.15
"""None is simulated whose estimate is so many times the least, but that which computes least, the best where transfers are fast, ..."""
FAR_BEHIND: Final = 1.3
"""... and operators alone, where their estimate is not so many times what a plan takes: estimates are seldom a tenth above the plan. Those
of the product of energy and latency are no such product."""
NEAR_ALONE: Final = 1.05
"""Where operators alone take at most so many times the best, both are searched: a search seldom gains more, ..."""
FEW_OPERATORS: Final = 8
"""... and costs little in graphs of so many operators: there both are searched anyway."""
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
    shared: Shared | None = None,
) -> Planned | NoPlan:
    """The best plan found for `graph`: each way to form groups is planned once, the best of them is then searched.

    `least_s` is a time that no plan beats: the search takes more trouble the farther it is. `shared` keeps what does not depend on prices.

    Raises:
        GraphError: an operator that no core may run, or a data type that no array computes.
        UsageError: a placement that cannot be had.
    """
    shared = shared or Shared()
    work = shared.work(graph)
    planner = Planner(chip, work, kinds, leakage_w, objective, least_s, shared)
    nowhere = planner.nowhere()
    if nowhere is not None:
        raise GraphError.single(f"{graph.name}: node '{nowhere}'", _no_core(work, nowhere, chip))
    alone = single_groups(work)
    choices = [alone]
    too_long = schedule is Schedule.FUSED and len(work.order) > MOST_OPERATORS_FUSED
    if schedule is Schedule.FUSED and not too_long:
        choices += [g for g in _fused(work, planner, chip, kinds, shared) if g not in choices]
    firsts, refused = _firsts(planner, choices)
    if schedule is Schedule.FUSED and not any(found.outcome.latency_s <= NEAR * least_s for found, _ in firsts):
        stepped = [(planner.first(groups), groups) for groups in _stepped(work, planner, chip)]
        finer = [g for g in _fused(work, planner, chip, kinds, shared, fine=True) if g not in choices]
        firsts += _firsts(planner, finer)[0] if finer else []
        firsts += [(found, groups) for found, groups in stepped if isinstance(found, Planned)]
    if not firsts:
        assert refused is not None
        return refused
    best, groups = _least(firsts, objective)
    searched = [planner.plan(groups, seed, placement)]
    near = float("inf") if len(work.order) <= FEW_OPERATORS else 0.0 if planner.is_done(best) else NEAR_ALONE * best.value
    if any(made == alone and groups != alone and found.value <= near for found, made in firsts):
        searched.append(planner.plan(alone, seed, placement))
    chosen, _ = _least([*((p, ()) for p in searched if isinstance(p, Planned)), (best, groups)], objective)
    others = tuple(found.outcome for found, _ in firsts if found.outcome is not chosen.outcome)
    return replace(chosen, others=others, too_long=too_long)


def _stepped(work: Work, planner: Planner, chip: Chip) -> list[tuple[Group, ...]]:
    """Operators in slices, where some pass results to others that only cores of other kinds may run: these then run at the same time."""
    if planner.objective is Objective.ENERGY:  # which does not become less where groups overlap
        return []
    able = [{kind for kind in chip.kinds if planner.runnable_on(kind, o)} for o in work.order]
    apart = any(not able[w] & able[r] for s in work.storages.values() for w in s.writers for r in s.readers)
    found: list[tuple[Group, ...]] = []
    for most in MOST_SLICES if apart and len(work.order) <= MOST_OPERATORS_FUSED else ():
        groups = tuple(g if planner.runnable(g) else make_group(work, g.first, g.last, (), frozenset()) for g in in_step(work, most))
        if groups not in found and any(g.cuts for g in groups):
            found.append(groups)
    return found


def _firsts(planner: Planner, choices: list[tuple[Group, ...]]) -> tuple[list[tuple[Planned, tuple[Group, ...]]], NoPlan | None]:
    """The first plans of the ways to form groups that promise most, that where transfers take no time among them, and the first of
    `choices` unless it is far behind; and what fits nowhere."""
    refused: NoPlan | None = None
    firsts: list[tuple[Planned, tuple[Group, ...]]] = []
    ranked = planner.by_estimate(choices)
    busy = [planner.least_busy_s(groups) for _, groups in ranked]
    for place, (cost, groups) in enumerate(ranked):
        hopeless = (place >= MOST_FORMATIONS or cost > WORTHWHILE * ranked[0][0]) and place != busy.index(min(busy))
        if groups == choices[0]:
            hopeless = planner.objective is not Objective.EDP and any(cost > FAR_BEHIND * found.value for found, _ in firsts)
        if firsts and hopeless:
            continue
        found = planner.first(groups)
        if isinstance(found, Planned):
            firsts.append((found, groups))
        elif refused is None or groups == choices[0]:
            refused = found
    return firsts, refused


def _least(found: Sequence[tuple[Planned, tuple[Group, ...]]], objective: Objective) -> tuple[Planned, tuple[Group, ...]]:
    """The best of plans, the first of equals."""
    best = found[0]
    for other in found[1:]:
        if better(other[0].outcome, best[0].outcome, objective):
            best = other
    return best


def _fused(
    work: Work, planner: Planner, chip: Chip, kinds: Mapping[str, KindPricer], shared: Shared, *, fine: bool = False
) -> list[tuple[Group, ...]]:
    """Groups of plans of one core, for the kind with the most MACs that runs groups; what no core may run as a whole is taken apart.
    With `fine` also in slices of fewer than all rows (`make_plans`)."""
    able = [k for k in chip.kinds if chip.cores[chip.of_kind(k)[0]].has_array and chip.cores[chip.of_kind(k)[0]].has_vector]
    computing = [k for k in able if all(planner.runnable_on(k, o) for o in work.order if o.macs)]
    if not computing:
        return []
    kind = max(computing, key=lambda k: kinds[k].geometry.array.elements)
    found = [single_groups(work)]
    for plan in shared.plans(work.graph, kinds[kind].geometry, fine=fine):
        groups = tuple(g for s in plan.segments for g in _runnable(work, planner, s))
        if groups not in found:
            found.append(groups)
    mixed = _mixed(planner, found)
    return found[1:] if mixed in found else [*found[1:], mixed]


def _mixed(planner: Planner, formations: list[tuple[Group, ...]]) -> tuple[Group, ...]:
    """The groups of all formations that cover the operators at the least sum of estimates, what passes between them apart."""
    ending: dict[int, dict[int, tuple[float, Group]]] = {}
    for group in dict.fromkeys(g for groups in formations for g in groups):
        known = ending.setdefault(group.last, {})
        cost = planner.least_own(group)
        if group.first not in known or cost < known[group.first][0]:
            known[group.first] = cost, group
    best: list[tuple[float, tuple[Group, ...]]] = [(0.0, ())]
    for last in range(len(ending)):
        best.append(min(((best[first][0] + cost, (*best[first][1], g)) for first, (cost, g) in ending[last].items()), key=lambda b: b[0]))
    return best[-1][1]


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
        f"the chip has {', '.join(kinds)}{_misspelt(operator.op_type, chip)}"
    )


def _misspelt(wanted: str, chip: Chip) -> str:
    """A question where some kind names an operator type that is nearly `wanted`."""
    listed = sorted({t for core in chip.cores for t in core.op_types or ()})
    near = get_close_matches(wanted, listed, n=1)
    return f". Did you mean '{wanted}' where op_types has '{near[0]}'?" if near and near[0] != wanted else ""


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
