"""One workload on many design points of one chip of many cores: what a campaign prices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.cost.many_core import ChipEvaluation, evaluate_chip
from dse.cost.metrics import RESOURCES, Resource
from dse.hw.topology import CELLS
from dse.schedule.plan import Schedule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dse.cost.metrics import Objective
    from dse.hw.many_core import Chip
    from dse.hw.many_core_read import ChipDescription
    from dse.ir.graph import OperatorGraph

    Point = Mapping[str, float]
    """Values of price fields by path, laid over the chip."""


class ChipPlans:
    """A step on one chip, evaluated at points that differ in what its fields of effect `price` say.

    What is found for a point depends on the chip and the point alone, never on other points.
    """

    def __init__(
        self,
        description: ChipDescription,
        graphs: tuple[tuple[OperatorGraph, int], ...],
        *,
        tokens: int,
        stored_bytes: float,
        objective: Objective,
        schedule: Schedule = Schedule.FUSED,
        seed: int = 0,
    ) -> None:
        self.description, self.graphs = description, graphs
        self.tokens, self.stored_bytes = tokens, stored_bytes
        self.objective, self.schedule, self.seed = objective, schedule, seed

    def evaluate(self, points: Sequence[Point]) -> Iterator[ChipEvaluation]:
        """One evaluation for each point, in their order, made when it is asked for.

        Raises:
            GraphError: an operator that no core may run.
            UsageError: a value that is not allowed.
        """
        for point in points:
            yield self._planned(self.description.with_overrides(point, origin="space") if point else self.description)

    def _planned(self, description: ChipDescription) -> ChipEvaluation:
        return evaluate_chip(
            description,
            self.graphs,
            tokens=self.tokens,
            stored_bytes=self.stored_bytes,
            objective=self.objective,
            schedule=self.schedule,
            seed=self.seed,
        )


def bound_index(found: ChipEvaluation, chip: Chip) -> int:
    """Index into `RESOURCES` of the busiest core or channel of an evaluation; -1 where it is infeasible."""
    if found.bound is None:
        return -1
    core = next((c for c in chip.cores if c.name == found.bound), None)
    if core is not None:
        return RESOURCES.index(Resource.ARRAY if core.has_array else Resource.VECTOR)
    memory, _, way = found.bound.rpartition(".")
    if memory + CELLS == chip.dram:
        return RESOURCES.index(Resource.DRAM)
    if memory in {b.name for b in chip.shared} and way in ("port", "read", "write"):
        return RESOURCES.index(Resource.BUFFER_WRITE if way == "write" else Resource.BUFFER_READ)
    return RESOURCES.index(Resource.LINK)
