"""One outer choice at its three stages: screened by area and capacity, bounded by its roofline, compiled and priced exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.campaign.plan_goals import FIXED
from dse.cost.capacity import dram_too_small
from dse.cost.metrics import RESOURCES, Priced, Resource
from dse.cost.shortage import no_plan_fits
from dse.evaluate import price
from dse.hw.read import AcceleratorDescription
from dse.search.evaluator import Ceilings
from dse.search.quantities import AREA, COST
from dse.units import JOULES_PER_PJ

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from numpy.typing import NDArray

    from dse.campaign.totals import StepTotals
    from dse.cost.capacity import Infeasibility
    from dse.cost.metrics import Objective
    from dse.cost.workload_pricing import CompiledWorkload
    from dse.evaluate import Step
    from dse.hw.many_core_read import ChipDescription
    from dse.hw.many_core_table import ChipTable
    from dse.hw.table import DesignTable

    Columns = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class LoweredStep:
    """The step of one scenario with its totals."""

    key: Hashable
    step: Step
    totals: StepTotals
    tokens_per_sequence: float


@dataclass(frozen=True, slots=True)
class ScreenedWorkload:
    """What is known without frontiers: area, cost, and whether DRAM holds weights and caches."""

    description: AcceleratorDescription
    steps: tuple[LoweredStep, ...]
    prices_usd: Mapping[str, float]

    def design(self, columns: Columns, size: int) -> Mapping[str, NDArray[np.float64]]:
        """See `Screen`."""
        table = table_of(self.description, columns)
        found = {AREA: np.broadcast_to(table.area_mm2, (size,))}
        if self.prices_usd:
            found[COST] = cost_usd(self.prices_usd, self.description, columns, found[AREA], size)
        return found

    def fits(self, columns: Columns, size: int) -> NDArray[np.bool_]:
        """See `Screen`; `Step.least_dram_bytes` against the capacity, as pricing has it."""
        table = table_of(self.description, columns)
        need = max(step.step.least_dram_bytes for step in self.steps)
        return np.broadcast_to(need <= table.dram_capacity_bytes, (size,))

    def lacking(self, columns: Columns, size: int) -> tuple[int, Infeasibility]:
        """See `Explains`."""
        capacity = np.broadcast_to(table_of(self.description, columns).dram_capacity_bytes, (size,))
        return dram_lacking(self.steps, capacity, "DRAM")


def dram_lacking(steps: Sequence[LoweredStep], capacity_bytes: NDArray[np.float64], memory: str) -> tuple[int, Infeasibility]:
    """The point of the largest memory off chip [size], none of which holds every step, and what the largest step lacks there."""
    row = int(capacity_bytes.argmax())
    step = max((s.step for s in steps), key=lambda s: s.least_dram_bytes)
    why = dram_too_small(step.graphs, step.stored_bytes, float(capacity_bytes[row]), memory)
    assert why is not None, "asked only where nothing fits"
    return row, why


def cost_usd(
    prices_usd: Mapping[str, float],
    description: AcceleratorDescription | ChipDescription,
    columns: Columns,
    area_mm2: NDArray[np.float64],
    size: int,
) -> NDArray[np.float64]:
    """Dollars of `size` design points: each price times its amount, varied or as described."""
    own = {p.path: p.value for p in description.paths()}
    total = np.full(size, prices_usd.get(FIXED, 0.0))
    for path, usd in prices_usd.items():
        if path == AREA:
            total = total + usd * area_mm2
        elif path != FIXED:
            amount = columns[path] if path in columns else own[actual(description, path)]
            total = total + usd * np.asarray(amount, dtype=np.float64)
    return total


class OfSteps:
    """What the steps of a workload say of all designs, whatever chip they run on; the first stands for the ceilings."""

    __slots__ = ()
    steps: tuple[LoweredStep, ...]

    @property
    def macs(self) -> float:
        """See `Prepared`."""
        return self.steps[0].totals.macs

    @property
    def compulsory_bytes(self) -> float:
        """See `Prepared`."""
        return self.steps[0].totals.compulsory_bytes

    @property
    def tokens_per_sequence(self) -> tuple[float, ...]:
        """See `Prepared`."""
        return tuple(step.tokens_per_sequence for step in self.steps)


def bounded(step: LoweredStep, size: int, *, roofs: Ceilings, mac_pj: NDArray[np.float64], table: DesignTable | ChipTable) -> Priced:
    """Bounds as if they were prices: the busier of arithmetic and compulsory DRAM traffic, and the energy of just these.

    Infeasible where DRAM is too small or a time has no end. `mac_pj` (energy of one MAC) [size] or [1], `table` of as many points.
    """
    totals = step.totals
    with np.errstate(divide="ignore", invalid="ignore"):
        compute_s = np.where(totals.macs > 0, totals.macs / roofs.peak_macs_per_s, 0.0)
        memory_s = totals.compulsory_bytes / roofs.dram_bytes_per_s
    latency_s = np.maximum(compute_s, memory_s)
    pj = totals.macs * mac_pj + totals.compulsory_bytes * table.dram_read_pj_per_byte
    energy_j = JOULES_PER_PJ * pj + table.leakage_w * latency_s
    fits = np.broadcast_to(step.step.least_dram_bytes <= table.dram_capacity_bytes, (size,)) & np.isfinite(latency_s)
    bound = np.where(compute_s >= memory_s, RESOURCES.index(Resource.ARRAY), RESOURCES.index(Resource.DRAM))
    return Priced(
        tokens=step.step.tokens,
        latency_s=np.where(fits, latency_s, np.inf),
        energy_j=np.where(fits, energy_j, np.inf),
        area_mm2=np.broadcast_to(table.area_mm2, (size,)),
        dram_bytes=np.full(size, totals.compulsory_bytes),
        bound=np.where(fits, bound, -1).astype(np.int8),
        feasible=fits,
    )


@dataclass(frozen=True, slots=True)
class PreparedWorkload(OfSteps):
    """The compiled steps of all scenarios on one accelerator geometry."""

    description: AcceleratorDescription
    compiled: tuple[CompiledWorkload, ...]
    steps: tuple[LoweredStep, ...]
    objective: Objective

    def price(self, columns: Columns, size: int) -> Sequence[Priced]:
        """See `Prepared`."""
        del size  # no columns: one point
        table = table_of(self.description, columns)
        return [price(compiled, table, objective=self.objective) for compiled in self.compiled]

    def lacking(self, columns: Columns, size: int) -> tuple[int, Infeasibility]:
        """See `Explains`; of the point with the largest memories on chip."""
        table = table_of(self.description, columns)
        memories = [table.buffer_capacity_bytes, *(m.capacity_bytes for m in table.inner)]
        row = int(np.broadcast_to(np.sum([np.log1p(m) for m in memories], axis=0), (size,)).argmax())
        one = table.at(np.array([row if table.size > 1 else 0]))
        missing = next(c for c in self.compiled if not price(c, one, objective=self.objective).feasible[0])
        return row, no_plan_fits(missing.parts, one)

    def ceilings(self, columns: Columns, size: int) -> Ceilings:
        """See `Prepared`; the array's rate is the one of the data type that most MACs of the step use."""
        return _ceilings(self.description, self.steps[0].totals, table_of(self.description, columns), size)


@dataclass(frozen=True, slots=True)
class RoughWorkload(OfSteps):
    """Bounds instead of costs: the busier of arithmetic and compulsory DRAM traffic, and the energy of just these."""

    description: AcceleratorDescription
    steps: tuple[LoweredStep, ...]

    def price(self, columns: Columns, size: int) -> Sequence[Priced]:
        """See `Prepared`; latency = max(MACs / peak, compulsory bytes / bandwidth), energy = MACs + DRAM reads + leakage."""
        table = table_of(self.description, columns)
        return [self._bound(step, table, size) for step in self.steps]

    def ceilings(self, columns: Columns, size: int) -> Ceilings:
        """See `Prepared`."""
        return _ceilings(self.description, self.steps[0].totals, table_of(self.description, columns), size)

    def _bound(self, step: LoweredStep, table: DesignTable, size: int) -> Priced:
        roofs = _ceilings(self.description, step.totals, table, size)
        return bounded(step, size, roofs=roofs, mac_pj=table.mac_pj.get(step.totals.dtype, np.zeros(1)), table=table)


def table_of(description: AcceleratorDescription, columns: Columns) -> DesignTable:
    """The design points of `columns`, whose paths may be aliases."""
    return description.table({actual(description, path): column for path, column in columns.items()})


def _ceilings(description: AcceleratorDescription, totals: StepTotals, table: DesignTable, size: int) -> Ceilings:
    array = description.geometry.array
    per_cycle = array.elements * (array.rate(totals.dtype) or 0)
    peak = per_cycle * table.clock_hz * table.array_sustained_fraction
    bandwidth = table.dram_bytes_per_s * table.dram_sustained_fraction
    return Ceilings(np.broadcast_to(peak, (size,)), np.broadcast_to(bandwidth, (size,)))


def alias(description: AcceleratorDescription | ChipDescription, path: str) -> str:
    """`path` with the memory named by its kind: `memories.buffer.…` and `memories.dram.…` mean the same on every accelerator.

    A chip of many cores has buffers in every kind of core, so that `memories.dram.…` alone means the same there.
    """
    named = [("dram", description.file.dram[0])]
    if isinstance(description, AcceleratorDescription):
        named.append(("buffer", description.file.buffer[0]))
    for kind, name in named:
        if path.startswith(f"memories.{name}."):
            return f"memories.{kind}." + path.removeprefix(f"memories.{name}.")
    return path


def actual(description: AcceleratorDescription | ChipDescription, path: str) -> str:
    """The path that `path`, own or alias, has in the accelerator's file."""
    names = {"dram": description.file.dram[0]}
    if isinstance(description, AcceleratorDescription):
        names["buffer"] = description.file.buffer[0]
    head, _, rest = path.partition(".")
    kind, _, field = rest.partition(".")
    own = f"memories.{names[kind]}.{field}" if head == "memories" and kind in names and field else path
    if own == path:
        return path
    known = {p.path for p in description.paths()}
    return own if own in known and path not in known else path
