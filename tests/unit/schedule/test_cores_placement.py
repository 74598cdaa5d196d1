"""Placements: a solver's against enumeration, the search and the bound; what cannot be had is told."""

from __future__ import annotations

import sys
from itertools import product

import pytest

from dse.cost.many_core import evaluate_chip
from dse.cost.metrics import Objective
from dse.errors import UsageError
from dse.hw.many_core_read import ChipDescription
from dse.ir.graph import OperatorGraph
from dse.schedule.cores.groups import find_work, single_groups
from dse.schedule.cores.layout import Assigned, NoRoom
from dse.schedule.cores.part_price import KindPricer
from dse.schedule.cores.planner import Planned, Planner, value_of
from dse.schedule.cores.relaxation import Placement, relax
from dse.schedule.cores.shapes import shapes, windows
from tests.unit.schedule.chips import small_chip
from tests.unit.schedule.graphs import swiglu_chain, two_layers

NOT_INSTALLED = "OR-Tools is not installed (extra 'solver')"


def planner_of(chip: ChipDescription, graph: OperatorGraph, objective: Objective) -> Planner:
    return Planner(chip.chip, find_work(graph), {kind: KindPricer(d) for kind, d in chip.kinds.items()}, 0.0, objective)


def planned(chip: ChipDescription, graph: OperatorGraph, objective: Objective, placement: Placement) -> Planned:
    planner = planner_of(chip, graph, objective)
    found = planner.plan(single_groups(planner.work), 0, placement)
    assert isinstance(found, Planned)
    return found


@pytest.mark.parametrize("objective", [Objective.LATENCY, Objective.ENERGY])
@pytest.mark.parametrize("cores", [1, 2])
def test_the_solver_finds_the_best_of_all(objective: Objective, cores: int) -> None:
    pytest.importorskip("ortools", reason=NOT_INSTALLED)
    chip, graph = small_chip(cores, vector=True), two_layers()
    every = planned(chip, graph, objective, Placement.EXACT)
    solved = planned(chip, graph, objective, Placement.CP_SAT)
    assert solved.value == pytest.approx(every.value, rel=1e-3)
    assert solved.bound <= every.value * (1 + 1e-9)


@pytest.mark.parametrize(
    ("rows", "blocks", "objective"), [(32, 1, Objective.LATENCY), (16, 2, Objective.ENERGY), (64, 2, Objective.LATENCY)]
)
def test_the_solver_lies_between_its_bound_and_the_search(
    rows: int, blocks: int, objective: Objective, monkeypatch: pytest.MonkeyPatch
) -> None:
    """6 and 12 operators on four cores."""
    pytest.importorskip("ortools", reason=NOT_INSTALLED)
    monkeypatch.setattr("dse.schedule.cores.planner.MAX_PROPOSALS", 25)
    chip, graph = small_chip(4, capacity_kib=32), swiglu_chain(rows, 32, 64, blocks)
    searched = planned(chip, graph, objective, Placement.SEARCH)
    solved = planned(chip, graph, objective, Placement.CP_SAT)
    assert 0 < solved.bound <= solved.value * (1 + 1e-9)
    assert solved.value <= searched.value
    again = planned(chip, graph, objective, Placement.CP_SAT)
    assert (again.value, again.bound, again.trials) == (solved.value, solved.bound, solved.trials)


@pytest.mark.parametrize("capacity_kib", [2, 64])
def test_no_assignment_beats_its_relaxation(capacity_kib: int) -> None:
    """Busy times, chains of readers and energies of every assignment of three operators to two unlike kinds of cores."""
    planner = planner_of(small_chip(2, capacity_kib=capacity_kib, vector=True), two_layers(), Objective.LATENCY)
    groups = single_groups(planner.work)
    places = [[Assigned(s, w) for s in shapes(g, planner.chip, planner.work) for w in windows(s, planner.chip)] for g in groups]
    relaxed = relax(groups, places, planner.estimators[0], planner.charges)
    for chosen in product(*(range(len(p)) for p in places)):
        found = planner.evaluate(groups, [places[i][o] for i, o in enumerate(chosen)])
        if isinstance(found, NoRoom):
            continue
        busy = sum(works[o] for works, o in zip(relaxed.works_s, chosen, strict=True))
        ends: list[float] = []
        for i, o in enumerate(chosen):
            before = [(ends[w], t[chosen[w], o]) for (w, r), t in relaxed.waits_s.items() if r == i]
            ends.append(max((end + wait for end, wait in before), default=relaxed.lasts_s[i][o]))
        assert found.latency_s >= max(busy.max(), max(ends)) * (1 - 1e-9)
        assert found.energy_j >= sum(s[o] for s, o in zip(relaxed.spends_j, chosen, strict=True)) * (1 - 1e-9)


@pytest.mark.parametrize("objective", list(Objective))
def test_a_longer_search_is_never_worse(objective: Objective) -> None:
    chip, graph = small_chip(4, capacity_kib=24), swiglu_chain(48, 32, 64, 1)
    short, long = (planned(chip, graph, objective, p) for p in (Placement.AUTO, Placement.SEARCH))
    assert value_of(long.outcome, objective) <= value_of(short.outcome, objective) * (1 + 5e-4)
    assert long.trials >= short.trials


def test_too_many_assignments_are_refused_in_words() -> None:
    with pytest.raises(UsageError, match=r"--placement exact: 12 groups have .* assignments, at most 20000 are tried; take cp-sat"):
        planned(small_chip(4), swiglu_chain(32, 32, 64, 2), Objective.LATENCY, Placement.EXACT)


def test_a_missing_solver_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ortools.sat.python.cp_model", None)
    with pytest.raises(UsageError, match="OR-Tools is not installed; install the extra 'solver'"):
        planned(small_chip(2), two_layers(), Objective.LATENCY, Placement.CP_SAT)


def test_the_solver_takes_no_products() -> None:
    with pytest.raises(UsageError, match="the solver minimises latency or energy"):
        planned(small_chip(2), two_layers(), Objective.EDP, Placement.CP_SAT)


def test_the_gap_is_reported() -> None:
    graphs = ((two_layers(), 1),)
    found = evaluate_chip(small_chip(2), graphs, tokens=1, stored_bytes=0.0, objective=Objective.LATENCY, placement=Placement.EXACT)
    assert found.to_json_dict()["placement"] == {"method": "exact", "exact": True, "gap": 0.0}
