"""One outer choice on a chip of many cores at its three stages: screened by area and capacity, bounded, planned and simulated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.campaign.prepared import OfSteps, actual, bounded, cost_usd, dram_lacking
from dse.cost.metrics import Priced
from dse.search.evaluator import Ceilings
from dse.search.quantities import AREA, COST

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dse.campaign.prepared import LoweredStep
    from dse.cost.capacity import Infeasibility
    from dse.cost.chip_points import ChipPlans
    from dse.hw.many_core_read import ChipDescription
    from dse.hw.many_core_table import ChipTable

    Columns = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class ScreenedChip:
    """What is known without plans: area, cost, and whether the memory off chip holds weights and caches."""

    description: ChipDescription
    steps: tuple[LoweredStep, ...]
    prices_usd: Mapping[str, float]

    def design(self, columns: Columns, size: int) -> Mapping[str, NDArray[np.float64]]:
        """See `Screen`."""
        found = {AREA: np.broadcast_to(chip_table(self.description, columns).area_mm2, (size,))}
        if self.prices_usd:
            found[COST] = cost_usd(self.prices_usd, self.description, columns, found[AREA], size)
        return found

    def fits(self, columns: Columns, size: int) -> NDArray[np.bool_]:
        """See `Screen`; `Step.least_dram_bytes` against the capacity, as pricing has it."""
        need = max(step.step.least_dram_bytes for step in self.steps)
        return np.broadcast_to(need <= chip_table(self.description, columns).dram_capacity_bytes, (size,))

    def lacking(self, columns: Columns, size: int) -> tuple[int, Infeasibility]:
        """See `Explains`."""
        capacity = np.broadcast_to(chip_table(self.description, columns).dram_capacity_bytes, (size,))
        return dram_lacking(self.steps, capacity, self.description.file.dram[0])


@dataclass(frozen=True, slots=True)
class _ChipWorkload(OfSteps):
    """What a bound and a plan have in common."""

    description: ChipDescription
    steps: tuple[LoweredStep, ...]

    def ceilings(self, columns: Columns, size: int) -> Ceilings:
        """See `Prepared`; all arrays that compute the data type that most MACs of the step use, and the port of the memory off chip."""
        return _ceilings(self.description, self.steps[0], columns, size)


@dataclass(frozen=True, slots=True)
class PreparedChip(_ChipWorkload):
    """The plans of all scenarios on one chip."""

    plans: tuple[ChipPlans, ...]

    def price(self, columns: Columns, size: int) -> Sequence[Priced]:
        """See `Prepared`; plans are made for each set of capacities and replayed at each point."""
        area = np.broadcast_to(chip_table(self.description, columns).area_mm2, (size,))
        named = {actual(self.description, path): column for path, column in columns.items()}
        return [self._priced(plans, named, area) for plans in self.plans]

    def lacking(self, columns: Columns, size: int) -> tuple[int, Infeasibility] | None:
        """See `Explains`; of the first point, since each has a plan of its own."""
        del size
        point = point_of(self.description, columns, 0)
        for plans in self.plans:
            for found in plans.evaluate([point]):
                if found.infeasibility:
                    return 0, found.infeasibility[0]
        return None

    def _priced(self, plans: ChipPlans, columns: Columns, area_mm2: NDArray[np.float64]) -> Priced:
        found = plans.price(columns, len(area_mm2))
        return Priced(
            tokens=plans.tokens,
            latency_s=found.latency_s,
            energy_j=found.energy_j,
            area_mm2=area_mm2,
            dram_bytes=found.dram_bytes,
            bound=found.bound.astype(np.int8),
            feasible=found.feasible,
        )


@dataclass(frozen=True, slots=True)
class RoughChip(_ChipWorkload):
    """Bounds instead of costs: the busier of arithmetic and compulsory traffic off chip, and the energy of just these."""

    def price(self, columns: Columns, size: int) -> Sequence[Priced]:
        """See `Prepared`; latency = max(MACs / peak, compulsory bytes / bandwidth), energy = MACs + DRAM reads + leakage."""
        return [self._bound(step, columns, size) for step in self.steps]

    def _bound(self, step: LoweredStep, columns: Columns, size: int) -> Priced:
        table, dtype = chip_table(self.description, columns), step.totals.dtype
        rates = _macs_per_cycle(self.description, dtype)
        prices = [table.kinds[k].mac_pj[dtype] for k in rates] or [np.zeros(1)]
        mac_pj = np.asarray(np.min(prices, axis=0), dtype=np.float64)
        return bounded(step, size, roofs=_ceilings(self.description, step, columns, size), mac_pj=mac_pj, table=table)


def chip_table(description: ChipDescription, columns: Columns) -> ChipTable:
    """The design points of `columns`, whose paths may be aliases."""
    return description.table({actual(description, path): column for path, column in columns.items()})


def point_of(description: ChipDescription, columns: Columns, row: int) -> dict[str, float]:
    """One row of `columns` as values of the chip's own fields, whole numbers where the field takes them."""
    whole = {p.path for p in description.paths() if p.type == "integer"}
    named = {actual(description, path): float(column[row]) for path, column in columns.items()}
    return {path: int(value) if path in whole else value for path, value in named.items()}


def _macs_per_cycle(description: ChipDescription, dtype: str) -> dict[str, int]:
    """MACs per cycle of one core of each kind whose array computes `dtype`."""
    arrays = {kind: description.kinds[kind].geometry.array for kind, form in description.file.cores.items() if form.array is not None}
    return {kind: array.elements * rate for kind, array in arrays.items() if (rate := array.rate(dtype)) is not None}


def _ceilings(description: ChipDescription, step: LoweredStep, columns: Columns, size: int) -> Ceilings:
    table = chip_table(description, columns)
    peak = table.peak_macs_per_s(step.totals.dtype, _macs_per_cycle(description, step.totals.dtype))
    return Ceilings(np.broadcast_to(peak, (size,)), np.broadcast_to(table.dram_bytes_per_s, (size,)))
