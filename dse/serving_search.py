"""Systems as a search sees them: one outer choice of structure, degrees and batch, then tables of prices (links, memory, chip rates)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.metrics import RESOURCES, Priced, Resource
from dse.errors import UsageError
from dse.overrides import doubts
from dse.plugins import load_system
from dse.search.evaluator import Ceilings
from dse.serving_calibrated import CalibratedChip
from dse.serving_case import case_of, serving_request
from dse.serving_mapped import MappedChip
from dse.system.chip_time import system_rates
from dse.system.layer_time import RooflineChip
from dse.system.parallel import LARGEST_DEGREE, Parallel, parse_parallel
from dse.system.patterns import is_pattern, plans_of
from dse.system.work import model_work
from dse.units import BITS_PER_BYTE, BYTES_PER_GB, BYTES_PER_GIB, SECONDS_PER_US

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from dse.cost.capacity import Infeasibility
    from dse.ir.lowering import LoweringRequest
    from dse.serving_case import ServingCase, ServingChoices
    from dse.system.chip_time import ChipRates
    from dse.system.layer_time import ChipModel, OperatorTime
    from dse.system.placement import GroupLoad
    from dse.system.read import SystemDescription
    from dse.system.step import StepTimes
    from dse.system.system import LinkLevel, System
    from dse.system.work import ModelWork, PartWork
    from dse.workload import WorkloadOptions

    FloatArray = NDArray[np.float64]
    Value = bool | int | float | str | None
    Columns = Mapping[str, FloatArray]

SYSTEM: Final = "system"
"""Outer path whose value is the name of a system."""
SYSTEM_FIELD: Final = "system."
"""Paths of the system file, `system.links.nvlink.bandwidth_gb_per_s`."""
CHIP_COUNT: Final = "system.chip_count"
"""Chips of the system: a part of it, or more domains on its outermost level."""
FIXED: Final = "fixed"
AREA: Final = "area_mm2"
PARALLEL: Final = "parallel."
"""Degrees, `parallel.tp`; each may be a pattern such as `*`, of which the fastest legal combination counts."""
_CHIP: Final = "chips.settings."
_LINK_PRICES: Final = ("bandwidth_gb_per_s", "latency_us", "energy_pj_per_bit", "sustained_fraction")
_CHIP_PRICES: Final = ("memory_gib", "usable_memory_fraction", "power_w", "price")
_BOUNDS: Final = np.array([RESOURCES.index(r) for r in (Resource.ARRAY, Resource.DRAM, Resource.LINK)], dtype=np.int8)
_DEGREES: Final = tuple(Parallel.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class SystemField:
    """A path that a search over systems may change."""

    path: str
    prices_only: bool
    """Whether many values are priced at once, without lowering or cutting anew."""
    integer: bool
    value: Value
    """As the system has it; None where that is no plain value."""


def system_fields(system: SystemDescription) -> tuple[SystemField, ...]:
    """Every path that `SystemEvaluator` takes for `system`, `SYSTEM` itself left out."""
    chips = system.file.chips
    found = [SystemField(CHIP_COUNT, prices_only=False, integer=True, value=chips.count)]
    for name, link in system.file.links.items():
        found += [
            SystemField(f"{SYSTEM_FIELD}links.{name}.{f}", prices_only=True, integer=False, value=getattr(link, f)) for f in _LINK_PRICES
        ]
        kept = ("in_network_reduction", "oversubscription")
        found += [SystemField(f"{SYSTEM_FIELD}links.{name}.{f}", prices_only=False, integer=False, value=getattr(link, f)) for f in kept]
    found += [SystemField(f"{SYSTEM_FIELD}chips.{f}", prices_only=True, integer=False, value=getattr(chips, f)) for f in _CHIP_PRICES]
    for path in system.chip.paths():
        plain = path.value if isinstance(path.value, bool | int | float | str) else None
        price = path.effect == "price" and path.type in ("integer", "number")
        found.append(SystemField(f"{SYSTEM_FIELD}{_CHIP}{path.path}", price, path.type == "integer", plain))
    found += [SystemField(f"{PARALLEL}{name}", prices_only=False, integer=False, value=None) for name in _DEGREES]
    return tuple(found)


@dataclass(frozen=True, slots=True)
class SystemEvaluator:
    """A cost model of `dse.search.evaluator`: outer choices are prepared once, columns of prices are priced in one call."""

    system: str
    """Name or file, where a choice names none."""
    scenarios: Callable[[Mapping[str, Value]], Sequence[WorkloadOptions]]
    """The workloads of an outer choice; their batch counts sequences of the whole system."""
    choices: ServingChoices
    parallel: str = ""
    """Degrees that a choice does not name."""
    prices_usd: Mapping[str, float] = field(default_factory=dict)
    """Dollars for one unit of `area_mm2` of all chips, of a number of the system at every chip, or `fixed`; empty: the file's price."""

    def prepare(self, choice: Mapping[str, Value]) -> PreparedSystem:
        """Lower every workload of the choice and find its legal degrees.

        Raises:
            DseError: an unknown system, path or model, or a value that is not allowed.
        """
        description, chips = _described(str(choice.get(SYSTEM, self.system)), choice)
        system = description.system if chips is None else description.system.of_size(chips)
        cases = tuple(_cases(system, options, _degrees(choice, self.parallel), self.choices) for options in self.scenarios(choice))
        return PreparedSystem(description, system, cases, self.prices_usd)

    def screen(self, choice: Mapping[str, Value]) -> PreparedSystem:
        """As `prepare`, which builds no frontiers."""
        return self.prepare(choice)

    def rough(self, choice: Mapping[str, Value]) -> PreparedSystem:
        """As `prepare`, which builds no frontiers."""
        return self.prepare(choice)


def check_field(system: SystemDescription, path: str, value: Value) -> tuple[str, ...]:
    """What is doubtful about `value` at one of the `system_fields` of `system`.

    Raises:
        DseError: it does not; says what is allowed.
    """
    if path.startswith(PARALLEL):
        name = path.removeprefix(PARALLEL)
        text = f"{name}={value}" if name == "dp" else f"{name}={value},dp=1"  # with dp nothing is asked of the chips
        if not is_pattern(text):
            parse_parallel(text, chips=LARGEST_DEGREE, experts=0)
    elif path == CHIP_COUNT:
        if not isinstance(value, int) or isinstance(value, bool):
            raise UsageError(f"{path} takes whole numbers of chips, not {value}")
        system.system.of_size(value)
    else:
        return doubts(system.with_overrides({path.removeprefix(SYSTEM_FIELD): value}, origin="space"), "space")
    return ()


def _described(name: str, choice: Mapping[str, Value]) -> tuple[SystemDescription, int | None]:
    own = {p.removeprefix(SYSTEM_FIELD): v for p, v in choice.items() if p.startswith(SYSTEM_FIELD) and p != CHIP_COUNT}
    description = _loaded(name)
    count = choice.get(CHIP_COUNT)
    return (description.with_overrides(own, origin="space") if own else description), (None if count is None else int(str(count)))


@lru_cache(maxsize=64)
def _loaded(name: str) -> SystemDescription:
    return load_system(name)


def _degrees(choice: Mapping[str, Value], default: str) -> str:
    given = dict(part.partition("=")[::2] for part in default.split(",") if part)
    given |= {p.removeprefix(PARALLEL): str(v) for p, v in choice.items() if p.startswith(PARALLEL)}
    return ",".join(f"{name}={value}" for name, value in given.items())


@dataclass(frozen=True, slots=True)
class _Scenario:
    """One workload of a choice with its legal degrees; none where there are none, and why."""

    request: LoweringRequest
    work: ModelWork
    cases: tuple[ServingCase, ...]
    reason: str


def _cases(system: System, options: WorkloadOptions, parallel: str, choices: ServingChoices) -> _Scenario:
    model, request, routing = serving_request(options)
    work = model_work(model, request)
    try:
        plans: tuple[Parallel, ...] = plans_of(parallel, work, system.chips).legal
        reason = ""
    except UsageError as error:  # infeasible is a value: the space may hold degrees that do not divide
        plans, reason = (), str(error)
    cases = tuple(case_of(model, request, routing, system, p, choices) for p in plans)
    return _Scenario(request, work, cases, reason)


@dataclass(frozen=True, slots=True)
class PreparedSystem:
    """One outer choice of a search over systems; screens and prices it."""

    description: SystemDescription
    system: System
    scenarios: tuple[_Scenario, ...]
    prices_usd: Mapping[str, float] = field(default_factory=dict)

    @property
    def macs(self) -> float:
        """MACs of the first scenario's step, all chips."""
        one = self.scenarios[0]
        return sum(p.count * sum(a.fixed + a.slope * one.request.batch for k in p.kernels for _, a in k.macs) for p in one.work.parts)

    @property
    def compulsory_bytes(self) -> float:
        """Weights outside experts and caches of the first scenario, once each."""
        one = self.scenarios[0]
        return sum(p.count * (sum(a.fixed for a in p.weights) + one.request.batch * sum(a.slope for a in p.caches)) for p in one.work.parts)

    @property
    def tokens_per_sequence(self) -> tuple[float, ...]:
        """New tokens per sequence of each scenario."""
        return tuple(float(s.request.query_len) for s in self.scenarios)

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why a scenario has no legal degrees, empty where it has."""
        return tuple(s.reason for s in self.scenarios)

    def design(self, columns: Columns, size: int) -> dict[str, FloatArray]:
        """`area_mm2` of all chips, `chips`, and where the file or a column has them `rated_power_w` and `cost_usd`; each [size]."""
        chips = self.system.chips
        found = {"area_mm2": chips * self._rates(columns, size).area_mm2 + np.zeros(size), "chips": np.full(size, float(chips))}
        for name, path, own in (("rated_power_w", "power_w", self.system.power_w), ("cost_usd", "price", self.system.price)):
            value = columns.get(f"{SYSTEM_FIELD}chips.{path}", own)
            if value is not None:
                found[name] = np.zeros(size) + chips * value
        if self.prices_usd:
            found["cost_usd"] = self._cost_usd(columns, found["area_mm2"], size)
        return found

    def _cost_usd(self, columns: Columns, area_mm2: FloatArray, size: int) -> FloatArray:
        own = {f.path: f.value for f in system_fields(self.description)}
        total = np.full(size, self.prices_usd.get(FIXED, 0.0))
        for path, usd in self.prices_usd.items():
            if path == AREA:
                total = total + usd * area_mm2
            elif path == CHIP_COUNT:
                total = total + usd * self.system.chips
            elif path != FIXED:
                total = total + self.system.chips * usd * np.asarray(columns[path] if path in columns else own[path], dtype=np.float64)
        return total

    def fits(self, columns: Columns, size: int) -> NDArray[np.bool_]:
        """Where every scenario has degrees with which its weights, caches and activations fit, [size]."""
        found: NDArray[np.bool_] = np.logical_and.reduce([self._fits(s, columns, size) for s in self.scenarios])
        return found

    def lacking(self, columns: Columns, size: int) -> tuple[int, Infeasibility] | None:
        """See `Explains`: of the degrees that need least, on the chips with the largest memory; None where no degrees are legal."""
        capacity = self._capacity_bytes(columns, size)
        row = int(capacity.argmax())
        for scenario in self.scenarios:
            case = min(scenario.cases, key=lambda c: c.memory().used_bytes(_sequences(c)), default=None)
            if case is not None and case.memory().used_bytes(_sequences(case)) > capacity[row]:
                memory = replace(case.memory(), capacity_bytes=float(capacity[row]))
                return row, memory.shortage(int(_sequences(case)), case.own_plan)
        return None

    def _fits(self, scenario: _Scenario, columns: Columns, size: int) -> NDArray[np.bool_]:
        capacity = self._capacity_bytes(columns, size)
        needed = [c.memory().used_bytes(_sequences(c)) for c in scenario.cases]
        return np.asarray(min(needed, default=np.inf) <= capacity, dtype=np.bool_)

    def price(self, columns: Columns, size: int) -> tuple[Priced, ...]:
        """Every scenario over `size` design points; of several legal degrees the fastest that fits counts at each point."""
        return tuple(self._scenario(s, columns, size) for s in self.scenarios)

    def ceilings(self, columns: Columns, size: int) -> Ceilings:
        """Roofs of all chips together."""
        rates = self._rates(columns, size)
        chips, zero = self.system.chips, np.zeros(size)
        widest = max(rates.macs_per_s.values(), key=lambda r: float(np.max(r)))
        return Ceilings(chips * widest + zero, chips * rates.dram_bytes_per_s + zero)

    def _rates(self, columns: Columns, size: int) -> ChipRates:
        prefix = SYSTEM_FIELD + _CHIP
        own = {p.removeprefix(prefix): c for p, c in columns.items() if p.startswith(prefix)}
        return system_rates(self.system, own)

    def _capacity_bytes(self, columns: Columns, size: int) -> FloatArray:
        chips = f"{SYSTEM_FIELD}chips."
        given, usable = columns.get(chips + "memory_gib"), self.description.file.chips.usable_memory_fraction
        share = columns.get(chips + "usable_memory_fraction", np.full(size, usable))
        own = self.system.memory_bytes / usable
        return share * (np.full(size, own) if given is None else given * BYTES_PER_GIB)

    def _scenario(self, scenario: _Scenario, columns: Columns, size: int) -> Priced:
        best = _empty(self, scenario, columns, size)
        capacity = self._capacity_bytes(columns, size)
        for case in scenario.cases:
            fit = case.memory().used_bytes(_sequences(case)) <= capacity
            chips = _Chips(self._with_rates(case.chip(), columns), size)
            for at, system in _systems(self.system, columns, size):
                with np.errstate(invalid="ignore"):  # infinite times of points whose buffers hold no tile
                    times = replace(case, system=system).times([case.request.batch] * len(at), chip=_ChipsAt(chips, at))
                _take(best, times, at, fit)
        return best

    def _with_rates(self, chip: ChipModel, columns: Columns) -> ChipModel:
        """`chip` with the rates of all points, itself where no column changes them."""
        prefix = SYSTEM_FIELD + _CHIP
        own = {p.removeprefix(prefix): c for p, c in columns.items() if p.startswith(prefix)}
        if not own:
            return chip
        if isinstance(chip, MappedChip):
            return chip.with_columns(own)
        assert isinstance(chip, RooflineChip | CalibratedChip)
        return replace(chip, rates=system_rates(self.system, own))


class _Chips:
    """The chips of all points: links do not change what their kernels take, so each part is timed once."""

    def __init__(self, chip: ChipModel, size: int) -> None:
        self.chip = chip
        self.size = size
        self._kept: dict[str, tuple[OperatorTime, ...]] = {}

    def times(self, part: PartWork, work: ModelWork, plan: Parallel, piece: FloatArray, load: GroupLoad | None) -> tuple[OperatorTime, ...]:
        """Kernels of a part at all points, which have the batch of the first."""
        if part.name not in self._kept:
            first = np.zeros(self.size, dtype=np.intp)
            everywhere = None if load is None else load.at(first)
            self._kept[part.name] = self.chip.times(part, work, plan, piece[first], everywhere)
        return self._kept[part.name]


@dataclass(frozen=True)
class _ChipsAt:
    """Some of the points, as a `ChipModel`."""

    chips: _Chips
    points: NDArray[np.int64]

    @property
    def leakage_w(self) -> float | FloatArray:
        """Leakage of one chip."""
        found = self.chips.chip.leakage_w
        return found[self.points] if isinstance(found, np.ndarray) else found

    def times(self, part: PartWork, work: ModelWork, plan: Parallel, piece: FloatArray, load: GroupLoad | None) -> tuple[OperatorTime, ...]:
        """As `layer_time.ChipModel.times`."""
        return tuple(o.at(self.points) for o in self.chips.times(part, work, plan, piece, load))


def _sequences(case: ServingCase) -> int:
    """Of the fullest data-parallel group."""
    return -(-case.request.batch * case.shares // case.own_plan.dp)


def _systems(system: System, columns: Columns, size: int) -> list[tuple[NDArray[np.int64], System]]:
    """(points, system with their links) for every combination of link prices."""
    prefix = f"{SYSTEM_FIELD}links."
    names = [p for p in columns if p.startswith(prefix)]
    if not names:
        return [(np.arange(size), system)]
    rows, inverse = np.unique(np.stack([columns[p] for p in names], axis=1), axis=0, return_inverse=True)
    found = []
    for n, row in enumerate(rows):
        changes: dict[str, dict[str, float]] = {}
        for path, value in zip(names, row, strict=True):
            level, _, field = path.removeprefix(prefix).rpartition(".")
            changes.setdefault(level, {})[field] = float(value)
        links = tuple(_with_prices(link, changes.get(link.name, {})) for link in system.links)
        found.append((np.flatnonzero(inverse.ravel() == n), replace(system, links=links)))
    return found


def _with_prices(link: LinkLevel, given: Mapping[str, float]) -> LinkLevel:
    return replace(
        link,
        bytes_per_s=given.get("bandwidth_gb_per_s", link.bytes_per_s / BYTES_PER_GB) * BYTES_PER_GB,
        latency_s=given.get("latency_us", link.latency_s / SECONDS_PER_US) * SECONDS_PER_US,
        pj_per_byte=given.get("energy_pj_per_bit", link.pj_per_byte / BITS_PER_BYTE) * BITS_PER_BYTE,
        sustained_fraction=given.get("sustained_fraction", link.sustained_fraction),
    )


def _empty(prepared: PreparedSystem, scenario: _Scenario, columns: Columns, size: int) -> Priced:
    """Nothing fits yet."""
    return Priced(
        tokens=scenario.request.tokens,
        latency_s=np.full(size, np.inf),
        energy_j=np.full(size, np.inf),
        area_mm2=prepared.design(columns, size)["area_mm2"],
        dram_bytes=np.zeros(size),
        bound=np.full(size, -1, dtype=np.int8),
        feasible=np.zeros(size, dtype=np.bool_),
        chips=prepared.system.chips,
    )


def _take(best: Priced, times: StepTimes, at: NDArray[np.int64], fit: NDArray[np.bool_]) -> None:
    """Put the points that fit and are faster than what is there into `best`."""
    better = fit[at] & (times.seconds < best.latency_s[at])
    taken = at[better]
    best.latency_s[taken] = times.seconds[better]
    best.energy_j[taken] = times.joules[better]
    best.dram_bytes[taken] = times.dram_bytes[better]
    busy = np.stack([times.compute_s, times.dram_s, times.communication_s])  # [3, points]
    best.bound[taken] = _BOUNDS[np.argmax(busy, axis=0)][better]
    best.feasible[taken] = True
