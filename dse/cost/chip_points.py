"""One workload on many design points of one chip of many cores: what a campaign prices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from dse import collector
from dse.cost.evaluation import Infeasibility
from dse.cost.many_core import described_charges, explained, not_planned, off_chip_too_small, plan_step
from dse.cost.metrics import RESOURCES, Objective, Resource
from dse.hw.topology import CELLS
from dse.schedule.cores.charges import ChipCharges
from dse.schedule.cores.offered import OfferedPlans
from dse.schedule.cores.shared import Shared
from dse.schedule.cores.tasks import resource_names
from dse.schedule.plan import Schedule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from dse.cost.many_core import ChipEvaluation, PlannedPart
    from dse.hw.many_core import Chip
    from dse.hw.many_core_read import ChipDescription
    from dse.ir.graph import OperatorGraph

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]
    BoolArray = NDArray[np.bool_]
    Point = Mapping[str, float]
    """Values of price fields by path, laid over the chip."""
    Values = tuple[tuple[str, float], ...]
    """(path, value), sorted by path."""

FAR: Final = 4.0
"""Prices that are so many times the described one, nearer than to it by their ratio, have plans of their own."""
CHUNK_POINTS: Final = 512
"""Design points replayed at a time, so that the times of all tasks stay small."""


@dataclass(frozen=True, eq=False)
class ChipPrices:
    """A step at D design points, arrays [D]; infinite latency and energy where it is infeasible."""

    latency_s: FloatArray
    energy_j: FloatArray
    dram_bytes: FloatArray
    bound: IntArray
    """Index into `RESOURCES` of the busiest core or channel; -1 where infeasible."""
    feasible: BoolArray


@dataclass(frozen=True)
class _Planned:
    """The plans of one set of capacities."""

    description: ChipDescription
    parts: tuple[PlannedPart, ...]
    """None where some group fits on no core."""
    why: Infeasibility | None
    offered: tuple[OfferedPlans, ...]
    """For each graph of the step the plans that are priced."""
    resources: IntArray
    """Index into `RESOURCES` of each resource of the plans."""


class ChipPlans:
    """A step on one chip, at points that differ in what its fields of effect `price` say.

    Plans are made once for each set of capacities on chip, at the other prices of the chip as described; points replay them at their
    own prices and take the best. Groups, cores, mappings, places, routes and orders are those of the plans: valid schedules at every
    point, though not those that planning at the point would choose. Points with a price far from the described one have other plans to
    choose from beside: made at the described prices times the powers of `FAR` that are nearest. What is found depends on the chip and
    the point alone.
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
        self._joined: dict[tuple[Values, Values], _Planned] = {}
        self._shared = Shared()
        self._made: dict[tuple[Values, Values], _Planned] = {}
        self._base = {
            p.path: float(p.value) for p in description.paths() if _is_price(p.path, objective) and isinstance(p.value, (int, float))
        }

    @collector.put_off()
    def price(self, columns: Mapping[str, FloatArray], size: int) -> ChipPrices:
        """All of `size` points: `{path of a price field: [D]}` laid over the chip.

        Raises:
            GraphError: an operator that no core may run.
            UsageError: a value that is not allowed.
        """
        wide = {path: np.broadcast_to(np.asarray(column, dtype=np.float64), (size,)) for path, column in columns.items()}
        latency, energy, moved = np.full(size, np.inf), np.full(size, np.inf), np.zeros(size)
        bound = np.full(size, -1, dtype=np.int64)
        cells = {path: self._cells(path, column) for path, column in wide.items() if self._base.get(path)}
        capacities = {path: column for path, column in wide.items() if _on_chip(path)}
        for values, rows in _classes({**capacities, **cells}, size):
            planned = self._offered(tuple(v for v in values if v[0] in capacities), tuple(v for v in values if v[0] in cells))
            for at in (rows[i : i + CHUNK_POINTS] for i in range(0, len(rows), CHUNK_POINTS)) if planned.parts else ():
                fitting = self._priced(planned, {path: column[at] for path, column in wide.items()}, len(at))
                latency[at], energy[at], moved[at], bound[at] = fitting
        return ChipPrices(latency, energy, moved, bound, np.isfinite(latency))

    def evaluate(self, points: Sequence[Point]) -> Iterator[ChipEvaluation]:
        """One explained evaluation for each point, in their order, made when it is asked for; the values of `price`.

        Raises:
            GraphError: an operator that no core may run.
            UsageError: a value that is not allowed.
        """
        for point in points:
            yield self._explained(point)

    @collector.put_off()
    def _explained(self, point: Point) -> ChipEvaluation:
        description = self.description.with_overrides(point, origin="space") if point else self.description
        unknown = not_planned(description, self.graphs, tokens=self.tokens, stored_bytes=self.stored_bytes, shared=self._shared)
        given = sorted((path, float(value)) for path, value in point.items())
        far = tuple((path, float(self._cells(path, np.array(value)))) for path, value in given if self._base.get(path))
        planned = self._offered(tuple((path, value) for path, value in given if _on_chip(path)), far)
        if not unknown.infeasibility and planned.why is not None:
            unknown = replace(unknown, infeasibility=(planned.why,))
        if unknown.infeasibility:
            return unknown
        charges, chip, parts = described_charges(description), planned.description.chip, []
        for part, offered in zip(planned.parts, planned.offered, strict=True):
            made_here = planned.description is description
            best = offered.as_made() if made_here else offered.at(charges)
            crowded = off_chip_too_small(description, self.stored_bytes, best)
            if crowded is not None:
                return replace(unknown, infeasibility=(crowded,))
            parts.append(replace(part, planned=replace(part.planned, outcome=best, exact=False)))
        return explained(unknown, tuple(parts), chip, charges)

    def _cells(self, path: str, column: FloatArray) -> FloatArray:
        """The price of a path that stands for those of `column`: the described one times a power of `FAR`."""
        base = self._base[path]
        with np.errstate(divide="ignore"):
            powers = np.round(np.log(np.asarray(column) / base) / np.log(FAR))
        return np.asarray(base * FAR ** np.where(np.isfinite(powers), powers, 0.0))

    def _offered(self, capacities: Values, cell: Values) -> _Planned:
        """Plans at the described prices, and those at the prices of a cell where these are others."""
        near = self._planned(capacities, ())
        far = tuple((path, value) for path, value in cell if value != self._base[path])
        if not far or not near.parts:
            return near
        key = capacities, far
        if key not in self._joined:
            other = self._planned(capacities, far)
            both = zip(near.offered, other.offered, strict=True) if other.parts else ()
            self._joined[key] = replace(near, offered=tuple(a.joined(b) for a, b in both)) if other.parts else near
        return self._joined[key]

    def _planned(self, capacities: Values, prices: Values) -> _Planned:
        """Plans made for capacities on chip and prices."""
        if (capacities, prices) not in self._made:
            whole = {p.path for p in self.description.paths() if p.type == "integer"}
            given = {path: max(1, round(value)) if path in whole else value for path, value in (*capacities, *prices)}
            description = self.description.with_overrides(given, origin="space") if given else self.description
            found = plan_step(
                description, self.graphs, objective=self.objective, schedule=self.schedule, seed=self.seed, shared=self._shared
            )
            parts, why = ((), found) if isinstance(found, Infeasibility) else (found, None)
            offered = tuple(OfferedPlans((p.planned.outcome, *p.planned.others), description, self.objective) for p in parts)
            resources = np.array([resource_index(name, description.chip) for name in resource_names(description.chip)])
            self._made[capacities, prices] = _Planned(description, parts, why, offered, resources)
        return self._made[capacities, prices]

    def _priced(
        self, planned: _Planned, columns: Mapping[str, FloatArray], size: int
    ) -> tuple[FloatArray, FloatArray, FloatArray, IntArray]:
        """Latency, energy, bytes off chip and busiest resource of points with the same capacities, each [D]."""
        table = planned.description.table(columns)
        charges = ChipCharges.at_points(planned.description, {k: d.geometry for k, d in planned.description.kinds.items()}, columns, table)
        latency, energy, moved = np.zeros(size), np.zeros(size), np.zeros(size)
        need, busy = np.full(size, self.stored_bytes), np.zeros((len(planned.resources), size))
        for part, offered in zip(planned.parts, planned.offered, strict=True):
            best = offered.best(charges)
            need = np.maximum(need, self.stored_bytes + best.off_chip_bytes)
            latency += part.count * best.latency_s
            energy += part.count * best.energy_j
            moved += part.count * best.dram_bytes
            busy += part.count * best.busy_s
        fits = need <= np.broadcast_to(table.dram_capacity_bytes, (size,))
        return (
            np.where(fits, latency, np.inf),
            np.where(fits, energy, np.inf),
            np.where(fits, moved, 0.0),
            np.where(fits, planned.resources[busy.argmax(axis=0)], -1),
        )


def _on_chip(path: str) -> bool:
    return path.endswith(".capacity_kib")


def _is_price(path: str, objective: Objective) -> bool:
    """Whether a field decides which plan is best: rates, clock and latencies; energies where these are minimised."""
    times = path == "clock_mhz" or path.endswith(("_gb_per_s", ".lanes", ".latency_ns"))
    return times or (objective is not Objective.LATENCY and "_pj" in path)


def _classes(columns: Mapping[str, FloatArray], size: int) -> Iterator[tuple[Values, IntArray]]:
    """Sets of values, with the points that have them."""
    names = sorted(columns)
    table = np.stack([columns[name] for name in names], axis=1) if names else np.zeros((size, 0))
    kinds, which = np.unique(table, axis=0, return_inverse=True) if names else (table[:1], np.zeros(size, dtype=np.int64))
    for i, row in enumerate(kinds):
        yield tuple((name, float(value)) for name, value in zip(names, row, strict=True)), np.flatnonzero(np.ravel(which) == i)


def bound_index(found: ChipEvaluation, chip: Chip) -> int:
    """Index into `RESOURCES` of the busiest core or channel of an evaluation; -1 where it is infeasible."""
    return -1 if found.bound is None else resource_index(found.bound, chip)


def resource_index(name: str, chip: Chip) -> int:
    """Index into `RESOURCES` of a core or channel."""
    core = next((c for c in chip.cores if c.name == name), None)
    if core is not None:
        return RESOURCES.index(Resource.ARRAY if core.has_array else Resource.VECTOR)
    memory, _, way = name.rpartition(".")
    if any(c.name == memory for c in chip.cores):
        return RESOURCES.index(Resource.BUFFER_WRITE if way == "write" else Resource.BUFFER_READ)
    if memory + CELLS == chip.dram:
        return RESOURCES.index(Resource.DRAM)
    if memory in {b.name for b in chip.shared} and way in ("port", "read", "write"):
        return RESOURCES.index(Resource.BUFFER_WRITE if way == "write" else Resource.BUFFER_READ)
    return RESOURCES.index(Resource.LINK)
