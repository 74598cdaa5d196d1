"""What plans of the same graphs have in common on chips that differ in prices and capacities alone: found once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.schedule.cores.groups import find_work
from dse.schedule.plan import Schedule, make_plans

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.cost.frontier_pricing import OperatorPricer
    from dse.hw.accelerator import Geometry
    from dse.ir.graph import OperatorGraph
    from dse.schedule.cores.groups import Work
    from dse.schedule.place import PlacedOperator
    from dse.schedule.place import Work as PlacedWork
    from dse.schedule.plan import Plan

    Geometries = tuple[tuple[str, Geometry], ...]
    """(kind of core, its geometry)."""


class Shared:
    """Answers that depend on graphs and geometries alone; the same whatever was asked before."""

    def __init__(self) -> None:
        self._works: dict[int, tuple[OperatorGraph, Work]] = {}
        self._plans: dict[tuple[int, Geometry, bool], tuple[Plan, ...]] = {}
        self._pricers: dict[Geometry, dict[PlacedWork, OperatorPricer]] = {}
        self._placed: dict[tuple[int, Geometries], dict[object, tuple[PlacedOperator, ...]]] = {}
        self._counts: dict[tuple[int, Geometries], dict[object, tuple[float, float]]] = {}

    def work(self, graph: OperatorGraph) -> Work:
        """The order of a graph with what follows from it.

        Raises:
            GraphError: as `find_work`.
        """
        if id(graph) not in self._works:
            self._works[id(graph)] = graph, find_work(graph)
        return self._works[id(graph)][1]

    def plans(self, graph: OperatorGraph, geometry: Geometry, *, fine: bool = False) -> tuple[Plan, ...]:
        """Plans of one core for a graph, operators in their order.

        Raises:
            GraphError: as `make_plans`.
        """
        self.work(graph)  # which keeps the graph
        key = id(graph), geometry, fine
        if key not in self._plans:
            book = make_plans(graph, Schedule.FUSED, geometry, any_order=False, recompute=False, spill=False, fine=fine)
            self._plans[key] = book.plans
        return self._plans[key]

    def pricers(self, geometry: Geometry) -> dict[PlacedWork, OperatorPricer]:
        """Pricers of operators on a core, to be filled."""
        return self._pricers.setdefault(geometry, {})

    def placed(self, graph: OperatorGraph, geometries: Mapping[str, Geometry]) -> dict[object, tuple[PlacedOperator, ...]]:
        """Operators of parts of groups on kinds of cores, to be filled."""
        self.work(graph)
        return self._placed.setdefault((id(graph), tuple(sorted(geometries.items(), key=lambda g: g[0]))), {})

    def counts(self, graph: OperatorGraph, geometries: Mapping[str, Geometry]) -> dict[object, tuple[float, float]]:
        """Array cycles and vector operations of parts of operators on kinds of cores, to be filled."""
        self.work(graph)
        return self._counts.setdefault((id(graph), tuple(sorted(geometries.items(), key=lambda g: g[0]))), {})
