"""Designs of systems compared at equal cost: silicon area, rated power, or the price by a table of the user."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from math import floor
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from dse.errors import UsageError
from dse.files import FileForm, load_yaml, validate
from dse.serving_case import DEFAULT_CHOICES
from dse.serving_grid import best_under, serving_grid
from dse.system.chip_time import chip_rates
from dse.units import BYTES_PER_GB, BYTES_PER_GIB

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dse.serving_case import ServingChoices
    from dse.serving_grid import GridPoint
    from dse.system.system import System
    from dse.workload import WorkloadOptions

NotNegative = Annotated[float, Field(ge=0)]


class Equal(StrEnum):
    """What two designs must spend alike."""

    AREA = "area"
    """mm2 of the chips."""
    POWER = "power"
    """Rated W of the chips with their share of the system."""
    PRICE = "price"
    """By a price table, or the price per chip of the system's file."""


class PriceTable(FileForm):
    """What a system costs, in any one currency; the price is fixed + chips x (chip + memory + links + per_chip)."""

    schema_version: Annotated[int, Field(ge=1, le=1)]
    """Version of this form: 1."""
    chips: dict[str, NotNegative] = Field(default_factory=dict)
    """Price of one accelerator, by its name; left out: 0 where area_per_mm2 is given, else an error."""
    area_per_mm2: NotNegative | None = None
    """Price of one mm2 of an accelerator that `chips` does not name."""
    memory_per_gib: NotNegative = 0.0
    """Price of one GiB at one chip."""
    links_per_gb_per_s: dict[str, NotNegative] = Field(default_factory=dict)
    """Price of one GB/s of one chip, by the name of the link level."""
    per_chip: NotNegative = 0.0
    """Price of a chip's share of boards, hosts and racks."""
    fixed: NotNegative = 0.0
    """Price of what is there once."""


def read_price_table(path: str | Path) -> PriceTable:
    """A price table from a YAML file.

    Raises:
        InputError: missing, broken or wrong file, all problems with their lines.
    """
    return validate(load_yaml(path), PriceTable)


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of a system: once, and per chip."""

    fixed: float
    per_chip: float
    unit: str

    def of(self, chips: int) -> float:
        """Cost of `chips`."""
        return self.fixed + self.per_chip * chips


def cost_of(system: System, equal: Equal, prices: PriceTable | None = None) -> Cost:
    """What a system costs by the measure `equal`.

    Raises:
        UsageError: the system's file has no power or price, or the table no price for its chip.
    """
    if equal is Equal.AREA:
        return Cost(0.0, float(chip_rates(system.chip).area_mm2), "mm2")
    if equal is Equal.POWER:
        if system.power_w is None:
            raise UsageError(
                f"{system.name} gives no chips.power_w, which --equal power needs; set it, for example --set chips.power_w=1000"
            )
        return Cost(0.0, system.power_w, "W")
    if prices is not None:
        return _priced(system, prices)
    if system.price is None:
        raise UsageError(
            f"{system.name} gives no chips.price, which --equal price needs; give --prices TABLE.yaml or --set chips.price=30000"
        )
    return Cost(0.0, system.price, "price")


def _priced(system: System, table: PriceTable) -> Cost:
    name = system.chip.name
    if name in table.chips:
        each = table.chips[name]
    elif table.area_per_mm2 is not None:
        each = table.area_per_mm2 * float(chip_rates(system.chip).area_mm2)
    else:
        known = ", ".join(table.chips) or "none"
        raise UsageError(f"the price table has no chip '{name}' of {system.name}; it has: {known}; name it or give area_per_mm2")
    memory = table.memory_per_gib * system.memory_bytes / BYTES_PER_GIB
    links = sum(table.links_per_gb_per_s.get(link.name, 0.0) * link.bytes_per_s / BYTES_PER_GB for link in system.links)
    return Cost(table.fixed, each + memory + links + table.per_chip, "price")


@dataclass(frozen=True)
class Contender:
    """The best that a system does within a budget."""

    system: System
    """One copy, or the part of one that the budget buys."""
    copies: int
    """Independent copies, each with its own share of the sequences."""
    cost: float
    unit: str
    point: GridPoint | None
    """Of one copy; None where nothing fits in memory or meets the limit."""

    @property
    def chips(self) -> int:
        """Of all copies."""
        return self.copies * self.system.chips

    @property
    def tokens_per_s(self) -> float:
        """Of all copies; 0 where nothing runs."""
        return 0.0 if self.point is None else self.point.tokens_per_s_per_chip * self.chips


def compare_equal(
    options: WorkloadOptions,
    systems: Sequence[System],
    equal: Equal,
    *,
    batches: Sequence[int],
    cache_lens: Sequence[int],
    budget: float | None = None,
    prices: PriceTable | None = None,
    parallels: Sequence[str] | None = None,
    tpot_limit_s: float | None = None,
    choices: ServingChoices = DEFAULT_CHOICES,
) -> list[Contender]:
    """What each system does for what the first one costs (or for `budget`), in the order given.

    A budget that buys a system more than once buys whole copies, which serve apart; one that buys less, the largest part of
    it that has legal degrees. `batches` count the sequences of all copies. Of batches and degrees the one of most tokens
    per second within the TPOT limit counts.

    Raises:
        UsageError: a cost that is not known, a budget that buys no chip, or degrees that are legal nowhere.
    """
    costs = [cost_of(s, equal, prices) for s in systems]
    spend = costs[0].of(systems[0].chips) if budget is None else budget
    found = []
    for system, cost in zip(systems, costs, strict=True):
        bought = _bought(system, cost, spend)
        found.append(_contender(options, system, cost, bought, batches, cache_lens, parallels, tpot_limit_s, choices))
    return found


def _bought(system: System, cost: Cost, spend: float) -> int:
    chips = floor((spend - cost.fixed) / cost.per_chip * (1 + 1e-12)) if cost.per_chip else system.chips
    if chips < 1:
        raise UsageError(f"{spend:g} {cost.unit} buy no chip of {system.name}: one costs {cost.of(1):g}; give a larger --budget")
    return chips


def _contender(
    options: WorkloadOptions,
    system: System,
    cost: Cost,
    bought: int,
    batches: Sequence[int],
    cache_lens: Sequence[int],
    parallels: Sequence[str] | None,
    tpot_limit_s: float | None,
    choices: ServingChoices,
) -> Contender:
    copies = max(1, bought // system.chips)
    refusals = []
    for chips in (system.chips,) if bought >= system.chips else range(bought, 0, -1):
        try:
            part = system.part(chips)
            shared = sorted({-(-b // copies) for b in batches})
            points = serving_grid(options, part, batches=shared, cache_lens=cache_lens, parallels=parallels, choices=choices)
        except UsageError as error:
            refusals.append(str(error))
            continue
        best = best_under(points, float("inf") if tpot_limit_s is None else tpot_limit_s)
        return Contender(replace(part, name=system.name), copies, cost.of(copies * chips), cost.unit, best)
    raise UsageError(f"{system.name}: none of 1 to {bought} chips takes these degrees; with {bought}: {refusals[0]}")
