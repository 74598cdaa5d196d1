"""Which cores run what: shapes by their least sum, cores by the earliest end, then changes that the simulation approves."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Final

from dse.cost.frontier_pricing import TIE_TOLERANCE
from dse.cost.metrics import Objective
from dse.errors import UsageError
from dse.schedule.cores.abreast import side_by_side
from dse.schedule.cores.charges import ChipCharges
from dse.schedule.cores.cp_sat import Proposals
from dse.schedule.cores.crossed import GAIN, with_crossed
from dse.schedule.cores.energy import Spends
from dse.schedule.cores.estimate import ChosenShapes, Estimator, choose_shapes
from dse.schedule.cores.layout import Assigned, Layouter, NoRoom
from dse.schedule.cores.part_price import KindPricer, PartPricer
from dse.schedule.cores.parts import Division
from dse.schedule.cores.progress import NOTHING, find_pipelines
from dse.schedule.cores.relaxation import Placement, relax
from dse.schedule.cores.shapes import may_run, shapes, windows
from dse.schedule.cores.shared import Shared
from dse.schedule.cores.sliced import SliceCosts
from dse.schedule.cores.tasks import Outcome, busiest_s, run
from dse.schedule.cores.transfers import Transfers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from dse.hw.many_core import Chip
    from dse.ir.operator import Operator
    from dse.schedule.cores.groups import Flow, Group, Work
    from dse.schedule.cores.layout import Layout
    from dse.schedule.cores.progress import Pipelines
    from dse.schedule.cores.shapes import Shape

    FloatArray = NDArray[np.float64]

MAX_ENUMERATED: Final = 600
"""Assignments up to which all are simulated: then the plan is the best there is."""
MAX_EXACT: Final = 20_000
"""Assignments of which all are tried where that is asked for."""
MAX_PROPOSALS: Final = 200
"""Assignments that a constraint solver proposes."""
SEARCH_GROUPS: Final = 4000
"""Groups laid out and simulated in a long search, all its trials together: 80 trials of 50 groups on few cores, ..."""
CORES_PER_GROUP: Final = 16
"""... and half of that on so many cores: each group then takes twice the time."""
PART_EFFORT: Final = 8
"""Groups for which a part of a group counts that has not been priced before: its mappings are enumerated."""
SHORT_EFFORT: Final = 0.04
"""Share of a long search that is spent where nothing is asked for, ..."""
MIDDLE_EFFORT: Final = 0.4
"""... so much where the plan takes more than ..."""
NEAR: Final = 1.15
"""... so many times its bound, ..."""
DONE: Final = 1.001
"""Where a plan takes at most so many times its bound nothing more is looked for; ..."""
AT_BOUND: Final = 1.02
"""... at most so many times, and it is not tried with branches side by side."""
BEHIND: Final = 1.02
"""A plan that is so many times as bad as the best known does not become the best by the order of its tiles, ..."""
FAR_BEHIND: Final = 1.05
"""... and one that is so many times as bad not by another start."""
LONG_EFFORT: Final = 1.0
"""... and all where a long one is asked for."""


@dataclass(frozen=True)
class Planned:
    """The best plan found."""

    outcome: Outcome
    exact: bool
    """All assignments of these groups were simulated."""
    trials: int
    """Assignments simulated."""
    value: float
    """Of the objective: seconds, joules or their product."""
    bound: float = 0.0
    """No assignment of these groups has a lower value; 0 where nothing is proven."""
    others: tuple[Outcome, ...] = ()
    """Other plans that were simulated on the way and are of use at other prices: of each way to form groups the first."""
    too_long: bool = False
    """The graph has so many operators that none were fused."""


@dataclass(frozen=True)
class NoPlan:
    """Why nothing fits."""

    group: Group
    room: NoRoom


@dataclass(frozen=True)
class _Start:
    """Where a search starts."""

    planned: Planned | NoPlan
    chosen: list[int]
    shapes: ChosenShapes
    trials: int
    beside: _Start | None = None
    """Another start, with branches side by side, that is nearly as good or better."""


class Planner:
    """Plans graphs on one chip."""

    def __init__(
        self,
        chip: Chip,
        work: Work,
        kinds: Mapping[str, KindPricer],
        leakage_w: float,
        objective: Objective,
        least_s: float = 0.0,
        shared: Shared | None = None,
    ) -> None:
        self.least_s = least_s
        """No plan takes less."""
        self.chip, self.work, self.objective = chip, work, objective
        self.charges = ChipCharges.as_described(chip, {kind: k.charges for kind, k in kinds.items()}, leakage_w)
        self.transfers = Transfers(chip)
        shared = shared or Shared()
        geometries = {kind: k.geometry for kind, k in kinds.items()}
        self.pricer = PartPricer(work, kinds, objective, shared.placed(work.graph, geometries))
        self.layouter = Layouter(chip, work, self.pricer, self.transfers)
        self._starts: dict[tuple[Group, ...], _Start] = {}
        self._offers: dict[object, list[Shape]] = {}
        self._least_busy: dict[int, tuple[Group, float]] = {}
        self._piped: bool | None = None
        """Whether groups that run at the same time made the first plan better that has such groups."""
        self._least = float("inf")
        """Least value of all that was simulated."""
        self._once: dict[int, tuple[Outcome, Pipelines]] = {}
        """Plans that were simulated one way only, with the other way."""
        wanted = dict.fromkeys((objective, Objective.LATENCY, Objective.ENERGY))
        slices = SliceCosts(work, kinds, shared.counts(work.graph, geometries))
        self.estimators = [Estimator(chip, work, kinds, self.transfers, o, slices) for o in wanted]

    def runnable(self, group: Group) -> bool:
        """Whether some kind of core may run all operators of a group and holds in some shape what the group does."""
        return bool(self._shapes(group))

    def runnable_on(self, kind: str, operator: Operator) -> bool:
        """Whether cores of a kind may run an operator."""
        return may_run(self.chip.cores[self.chip.of_kind(kind)[0]], operator, self.work)

    def first(self, groups: tuple[Group, ...]) -> Planned | NoPlan:
        """The plan that follows from the estimates alone."""
        return self._best_start(self._start(groups, self._offered(groups))).planned

    def by_estimate(self, formations: list[tuple[Group, ...]]) -> list[tuple[float, tuple[Group, ...]]]:
        """Ways to form groups with the estimate of their best shapes, least first."""
        costs = [choose_shapes(groups, self._offered(groups), self.estimators[0]).cost for groups in formations]
        return [(costs[i], formations[i]) for i in sorted(range(len(costs)), key=lambda i: costs[i])]

    def least_own(self, group: Group) -> float:
        """The estimate of a group in its best shape, apart from what it reads of other groups."""
        return min((self.estimators[0].own(group, s) for s in self._shapes(group)), default=float("inf"))

    def least_busy_s(self, groups: tuple[Group, ...]) -> float:
        """The estimate of what groups take where transfers take no time, each in its best shape."""
        least, busy_s = self._least_busy, self.estimators[0].busy_s
        for g in groups:
            if id(g) not in least:
                least[id(g)] = g, min((busy_s(g, s) for s in self._shapes(g)), default=float("inf"))
        return sum(least[id(g)][1] for g in groups)

    def nowhere(self) -> str | None:
        """The first operator that no core may run."""
        cores = [self.chip.cores[self.chip.of_kind(kind)[0]] for kind in self.chip.kinds]
        return next((o.name for o in self.work.order if not any(may_run(c, o, self.work) for c in cores)), None)

    def _offered(self, groups: tuple[Group, ...]) -> list[list[Shape]]:
        return [self._shapes(g) for g in groups]

    def _shapes(self, group: Group) -> list[Shape]:
        key = group.first, group.last, group.cuts, group.held
        if key not in self._offers:
            fits = self.estimators[0].slices.fits
            self._offers[key] = [s for s in shapes(group, self.chip, self.work) if fits(group, s) and self._comes_together(s)]
        return self._offers[key]

    def _comes_together(self, shape: Shape) -> bool:
        """Whether partial sums reach the core that adds them, on all cores that the shape may take."""
        cores = windows(shape, self.chip) if shape.reduces else ()
        return all(self.transfers.to_first(Division(shape.stream, c, reduces=True)) is not None for c in cores)

    def _start(self, groups: tuple[Group, ...], offered: list[list[Shape]]) -> _Start:
        """The best of the plans that follow from estimates: of the objective, and of latency, which decides between equal energies.

        Found once for the same groups.
        """
        if groups not in self._starts:
            self._starts[groups] = self._started(groups, offered)
        return self._starts[groups]

    def _started(self, groups: tuple[Group, ...], offered: list[list[Shape]]) -> _Start:
        best: _Start | None = None
        count = 0
        for estimator in self.estimators:
            if best is not None and estimator.objective is Objective.ENERGY and self._is_settled(best):
                break
            found = choose_shapes(groups, offered, estimator)
            now = list(found.choices)
            planned, tried = self._feasible(groups, offered, now, found.own)
            count += tried
            if best is None or self._improves(planned, best.planned):
                best = _Start(planned, now, found, count)
        assert best is not None
        return replace(best, trials=count, beside=self._beside(groups, offered, best))

    def _beside(self, groups: tuple[Group, ...], offered: list[list[Shape]], start: _Start) -> _Start | None:
        """A start with branches side by side, unless it is much worse than `start`, or that cannot be bettered."""
        narrow = None if self.objective is Objective.ENERGY or self._at_bound(start) else side_by_side(groups, offered, self.estimators[0])
        if narrow is None:
            return None
        found = choose_shapes(groups, narrow, self.estimators[0])
        now = [offered[i].index(narrow[i][k]) for i, k in enumerate(found.choices)]
        planned, tried = self._feasible(groups, offered, now, start.shapes.own)
        hopeless = isinstance(planned, NoPlan) or (isinstance(start.planned, Planned) and planned.value > NEAR * start.planned.value)
        return None if hopeless else _Start(planned, now, start.shapes, tried)

    def _best_start(self, start: _Start) -> _Start:
        return start.beside if start.beside is not None and self._improves(start.beside.planned, start.planned) else start

    def _improves(self, found: Planned | NoPlan, best: Planned | NoPlan) -> bool:
        """Whether a plan is to be preferred; anything is to none."""
        if isinstance(best, NoPlan):
            return True
        return isinstance(found, Planned) and better(found.outcome, best.outcome, self.objective)

    def _is_settled(self, start: _Start) -> bool:
        """Whether another start has little to gain: a plan near the bound, or far behind the best."""
        planned = start.planned
        if isinstance(planned, NoPlan):
            return False
        return planned.outcome.latency_s <= NEAR * self.least_s or planned.value > FAR_BEHIND * self._least

    def _at_bound(self, start: _Start) -> bool:
        """Whether a plan takes so little more than the bound that nothing is to be gained."""
        return isinstance(start.planned, Planned) and start.planned.outcome.latency_s <= AT_BOUND * self.least_s

    def is_done(self, planned: Planned) -> bool:
        """Whether a plan has next to nothing to gain: known of latencies only."""
        return self.objective is Objective.LATENCY and planned.outcome.latency_s <= DONE * self.least_s

    def plan(self, groups: tuple[Group, ...], seed: int, placement: Placement = Placement.AUTO) -> Planned | NoPlan:
        """The best assignment found for `groups`.

        Raises:
            UsageError: too many assignments to try all; no OR-Tools; a solver for the product of energy and latency.
        """
        offered = self._offered(groups)
        places = [[Assigned(s, w) for s in options for w in windows(s, self.chip)] for options in offered]
        count = prod(len(p) for p in places)
        if placement is Placement.EXACT and count > MAX_EXACT:
            raise UsageError(
                f"--placement exact: {len(groups)} groups have {count:.3g} assignments, at most {MAX_EXACT} are tried; "
                "take cp-sat, search or auto"
            )
        if placement is Placement.EXACT or (placement is Placement.AUTO and count <= MAX_ENUMERATED):
            found = self._enumerate(groups, places, self._best_start(self._start(groups, offered)).planned)
        else:
            start = self._best_start(self._start(groups, offered)).planned
            if placement is Placement.AUTO and isinstance(start, Planned) and self.is_done(start):
                return start
            found = self._searched(groups, offered, seed, long=placement is not Placement.AUTO)
            found = self._both_ways(found) if isinstance(found, Planned) else found
        if placement is Placement.CP_SAT and isinstance(found, Planned):
            found = self._proposed(groups, places, found, seed)
        if placement in (Placement.EXACT, Placement.CP_SAT):  # what they prove is of divisions along one stream
            return found
        crossed = self._crossed(groups, offered, found, seed, long=placement is not Placement.AUTO)
        crossed = self._both_ways(crossed) if crossed is not None else None
        return crossed if crossed is not None and self._improves(crossed, found) else found

    def _crossed(
        self, groups: tuple[Group, ...], offered: list[list[Shape]], best: Planned | NoPlan, seed: int, *, long: bool
    ) -> Planned | None:
        """A plan in which some groups are divided along two streams, where estimates promise that it gains on `best`."""
        estimator = self.estimators[0]
        spends = Estimator(self.chip, self.work, self.pricer.kinds, self.transfers, Objective.ENERGY, estimator.slices)
        near = isinstance(best, Planned) and best.outcome.latency_s <= AT_BOUND * self.least_s
        wide = with_crossed(groups, offered, estimator, spends, few=near)
        if wide is None:
            return None
        found = choose_shapes(groups, wide, estimator)
        if found.cost > GAIN * self._start(groups, offered).shapes.cost:
            return None
        now = list(found.choices)
        planned, tried = self._feasible(groups, wide, now, found.own)
        if not long or isinstance(planned, NoPlan):  # a search seldom gains more, and takes as long as all before
            return planned if isinstance(planned, Planned) else None
        searched = self._search(groups, wide, _Start(planned, now, found, tried), seed, long=long)
        return searched if isinstance(searched, Planned) else None

    def _proposed(self, groups: tuple[Group, ...], places: list[list[Assigned]], best: Planned, seed: int) -> Planned:
        """What a constraint solver proposes, while its bound is below the best known."""
        if self.objective is Objective.EDP:
            raise UsageError("--placement cp-sat: the solver minimises latency or energy; for edp take search or exact")
        energy = self.objective is Objective.ENERGY
        relaxation = relax(groups, places, self.estimators[0], self.charges)
        proposals = Proposals(relaxation, best.value, energy=energy, seed=seed)
        count, bound, exact = best.trials, 0.0, False
        for _ in range(MAX_PROPOSALS):
            chosen, bound = proposals.next(best.value)
            if chosen is None:
                exact = bound >= best.value
                break
            count += 1
            found = self.improved(groups, [places[i][o] for i, o in enumerate(chosen)], best.outcome, both=True)
            if found is not None:
                best = Planned(found, False, count, value_of(found, self.objective))
        return replace(best, exact=exact, trials=count, bound=min(bound, best.value))

    def _enumerate(self, groups: tuple[Group, ...], places: list[list[Assigned]], best: Planned | NoPlan) -> Planned | NoPlan:
        count = 0
        for assigned in product(*places):
            count += 1
            if isinstance(best, Planned):
                found: Outcome | NoRoom | None = self.improved(groups, assigned, best.outcome, both=True)
            else:
                found = self.evaluate(groups, assigned, both=True)
            if isinstance(found, Outcome):
                best = Planned(found, True, count, value_of(found, self.objective))
        return best if isinstance(best, NoPlan) else Planned(best.outcome, True, count, best.value, bound=best.value)

    def evaluate(self, groups: tuple[Group, ...], assigned: Sequence[Assigned], *, both: bool = False) -> Outcome | NoRoom:
        """One assignment laid out and simulated."""
        layout = self.layouter.lay_out(groups, tuple(assigned))
        return layout if isinstance(layout, NoRoom) else self._run(layout, both=both)

    def _run(self, layout: Layout, *, both: bool) -> Outcome:
        """A layout simulated; where groups may run at the same time as those that they read, with and without that: the order of tiles
        that it takes brings all weights in first.

        The way that was better for the first plan is tried first; unless `both` are asked for the other is not where a plan is near its
        bound, or far behind the best.
        """
        pipelines = find_pipelines(layout, self.work)
        if not pipelines.writers:
            return run(layout, self.chip, self.charges)
        ways = (pipelines, NOTHING) if self._piped else (NOTHING, pipelines)
        found = run(layout, self.chip, self.charges, ways[0])
        value = value_of(found, self.objective)
        if self._piped is not None and not both and (found.latency_s <= NEAR * self.least_s or value > BEHIND * self._least):
            self._once[id(found)] = found, ways[1]
        else:
            other = run(layout, self.chip, self.charges, ways[1], found.spends)
            if better(other, found, self.objective):
                found, ways = other, ways[::-1]
            self._piped = ways[0] is pipelines if self._piped is None else self._piped
        self._least = min(self._least, value_of(found, self.objective))
        return found

    def _both_ways(self, planned: Planned) -> Planned:
        """A plan that was simulated one way only, simulated the other way too."""
        found, way = self._once.get(id(planned.outcome), (planned.outcome, None))
        if way is None:
            return planned
        other = run(found.layout, self.chip, self.charges, way, found.spends)
        return replace(planned, outcome=other, value=value_of(other, self.objective)) if better(other, found, self.objective) else planned

    def improved(self, groups: tuple[Group, ...], assigned: Sequence[Assigned], best: Outcome, *, both: bool = False) -> Outcome | None:
        """As `evaluate`, where the assignment is better than `best`. What its busiest resource alone keeps from that is not simulated."""
        layout = self.layouter.lay_out(groups, tuple(assigned))
        if isinstance(layout, NoRoom):
            return None
        least = busiest_s(layout, self.chip)
        if self.objective is Objective.LATENCY:
            hopeless = least > best.latency_s * (1 + TIE_TOLERANCE)
        else:
            energy = float(Spends.of(layout, self.chip).joules(self.charges, least)[0])
            hopeless = energy * least > best.energy_j * best.latency_s
            if self.objective is Objective.ENERGY:
                hopeless = energy > best.energy_j * (1 + TIE_TOLERANCE)
        if hopeless:
            return None
        found = self._run(layout, both=both)
        return found if better(found, best, self.objective) else None

    def _searched(self, groups: tuple[Group, ...], offered: list[list[Shape]], seed: int, *, long: bool) -> Planned | NoPlan:
        """The best of the searches from all starts."""
        start = self._start(groups, offered)
        found = self._search(groups, offered, start, seed, long=long)
        if start.beside is None:
            return found
        other = self._search(groups, offered, start.beside, seed, long=long)
        trials = sum(x.trials for x in (found, other) if isinstance(x, Planned))
        best = other if self._improves(other, found) else found
        return replace(best, trials=trials) if isinstance(best, Planned) else best

    def _search(self, groups: tuple[Group, ...], offered: list[list[Shape]], start: _Start, seed: int, *, long: bool) -> Planned | NoPlan:
        """Shapes of single groups are changed, cores found again, and what the simulation approves is kept.

        What costs least by the estimates is tried first, and nothing that costs more than the plan takes above its bound.
        """
        random_ = random.Random(seed)
        spent = self._spent()
        best, now, count = start.planned, start.chosen, start.trials
        if isinstance(best, NoPlan):
            return best
        for index, option in self._moves(groups, start.shapes, now, best, random_):
            effort = LONG_EFFORT if long else SHORT_EFFORT if self._is_near(best) else MIDDLE_EFFORT
            if self._spent() - spent >= effort * SEARCH_GROUPS / (1 + len(self.chip.cores) / CORES_PER_GROUP):
                break
            if option == now[index]:
                continue
            tried = [option if i == index else c for i, c in enumerate(now)]
            found = self.improved(groups, self.place(groups, offered, tried), best.outcome)
            count += 1
            if found is not None:
                best = Planned(found, False, count, value_of(found, self.objective))
                now = tried
        return Planned(best.outcome, False, count, best.value)

    def _is_near(self, best: Planned) -> bool:
        """Whether there is little to gain: known of latencies only."""
        return self.objective is Objective.LATENCY and best.outcome.latency_s <= NEAR * self.least_s

    def _spent(self) -> float:
        """What a search has spent, the same on every machine."""
        return self.layouter.laid_groups + PART_EFFORT * self.pricer.parts

    def _moves(
        self, groups: tuple[Group, ...], found: ChosenShapes, now: list[int], best: Planned, random_: random.Random
    ) -> list[tuple[int, int]]:
        slack = float("inf")
        if self.objective is Objective.LATENCY:
            slack = best.outcome.latency_s - self.least_s
        changes = {i: found.change(now, i) for i in range(len(groups))}
        moves = [
            (float(c), -float(found.own[i][now[i]]), random_.random(), i, k)
            for i, costs in changes.items()
            for k, c in enumerate(costs)
            if k != now[i]
        ]
        return [(i, k) for cost, _, _, i, k in sorted(moves) if cost <= slack]

    def _feasible(
        self,
        groups: tuple[Group, ...],
        offered: list[list[Shape]],
        now: list[int],
        own: list[FloatArray],
    ) -> tuple[Planned | NoPlan, int]:
        """The first assignment that fits; shapes that do not are left, cheapest of the others first."""
        refused: dict[int, set[int]] = {}
        count = 0
        while True:
            found = self.evaluate(groups, self.place(groups, offered, now))
            count += 1
            if not isinstance(found, NoRoom):
                return Planned(found, False, count, value_of(found, self.objective)), count
            gone = refused.setdefault(found.index, set())
            gone.add(now[found.index])
            left = [int(k) for k in own[found.index].argsort(kind="stable") if int(k) not in gone]
            if not left:
                return NoPlan(groups[found.index], found), count
            now[found.index] = left[0]

    def place(self, groups: tuple[Group, ...], offered: list[list[Shape]], chosen: list[int]) -> list[Assigned]:
        """Cores for each group in its shape: those on which it would end first by estimates; the first of equals."""
        free = [0.0] * len(self.chip.cores)
        ready: dict[str, tuple[float, Assigned]] = {}
        found: list[Assigned] = []
        for i, g in enumerate(groups):
            shape = offered[i][chosen[i]]
            seconds = self._seconds(g, shape)
            best: tuple[float, float, Assigned] | None = None
            for cores in windows(shape, self.chip):
                to = Assigned(shape, cores)
                start, moving = max(free[c] for c in cores), 0.0
                for f in g.reads:
                    if f.storage in ready:
                        at, holder = ready[f.storage]
                        start = max(start, at)
                        moving += self._moving_s(f, holder, to)
                end = start + moving + seconds
                if best is None or (end, moving) < best[:2]:
                    best = (end, moving, to)
            assert best is not None, g.name
            found.append(best[2])
            for c in best[2].cores:
                free[c] = best[0]
            for f in g.writes:
                ready[f.storage] = (best[0], best[2])
        return found

    def _seconds(self, group: Group, shape: Shape) -> float:
        return self.estimators[0].busy_s(group, shape)

    def _moving_s(self, flow: Flow, holder: Assigned, to: Assigned) -> float:
        lies, reads = holder.holder, to.division
        if lies == reads and reads.ranged(flow.streams):
            return 0.0
        pattern = self.transfers.to_reader(flow.streams, lies, reads)
        if pattern is None:  # over the memory off chip
            ways = self.transfers.to_memory(lies, self.chip.dram), self.transfers.to_reader(flow.streams, self.chip.dram, reads)
            return flow.size_bytes * sum(way.seconds for way in ways if way is not None)
        return flow.size_bytes * pattern.seconds


def value_of(outcome: Outcome, objective: Objective) -> float:
    """What the objective minimises."""
    match objective:
        case Objective.LATENCY:
            return outcome.latency_s
        case Objective.ENERGY:
            return outcome.energy_j
        case Objective.EDP:
            return outcome.energy_j * outcome.latency_s


def better(found: Outcome, best: Outcome, objective: Objective) -> bool:
    """Whether an outcome is to be preferred: by the objective; between values that are equal but for `TIE_TOLERANCE`, by the other of
    latency and energy, so that a shade of one never costs a multiple of the other."""
    if objective is Objective.EDP:
        return value_of(found, objective) < value_of(best, objective)
    first, second = (found.latency_s, found.energy_j), (best.latency_s, best.energy_j)
    if objective is Objective.ENERGY:
        first, second = first[::-1], second[::-1]
    if first[0] < second[0] * (1 - TIE_TOLERANCE):
        return True
    return first[0] <= second[0] * (1 + TIE_TOLERANCE) and (first[1], first[0]) < (second[1], second[0])
