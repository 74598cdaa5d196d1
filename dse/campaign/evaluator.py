"""The cost model as the search sees it: lowers and compiles one outer choice, prices tables of inner points."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np

from dse import plugins
from dse.campaign.plan import ACCELERATOR, WORKLOAD, located
from dse.campaign.totals import StepTotals, step_totals
from dse.cost.metrics import Objective
from dse.evaluate import Schedule, Step, compile_step, price, read_step
from dse.ir.lowering import LoweringRequest, Part, Phase
from dse.search.evaluator import Ceilings
from dse.workload import Switch, WorkloadOptions
from dse.workload import lowering_request as request_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from numpy.typing import NDArray

    from dse.campaign.plan import Plan
    from dse.cost.metrics import Priced
    from dse.cost.workload_pricing import CompiledWorkload
    from dse.hw.read import AcceleratorDescription
    from dse.hw.table import DesignTable
    from dse.search.space import Value

_STEPS_KEPT: Final = 32
_COMPILED_KEPT: Final = 8
_Made = TypeVar("_Made")


@dataclass(frozen=True, slots=True)
class CatalogueSources:
    """Looks names up through the plug-ins; relative paths start at the campaign file's folder."""

    folder: str

    def schemes(self, model: str) -> tuple[str, ...]:
        """See `Sources`."""
        return plugins.load_model(located(model, self.folder)).attention_schemes

    def fields(self, accelerator: str) -> Sequence[SearchField]:
        """See `Sources`."""
        description = self._load(accelerator)
        own = {p.path: p for p in description.paths()}
        everywhere = {**own, **{alias(description, path): p for path, p in own.items() if alias(description, path) not in own}}
        return [
            SearchField(path, p.effect == "price" and p.type in ("integer", "number"), p.type == "integer")
            for path, p in everywhere.items()
        ]

    def check(self, accelerator: str, path: str, value: Value) -> None:
        """See `Sources`."""
        description = self._load(accelerator)
        description.with_overrides({actual(description, path): value}, origin="space")

    def _load(self, accelerator: str) -> AcceleratorDescription:
        return _description(located(accelerator, self.folder))


@dataclass(frozen=True, slots=True)
class SearchField:
    """A field of an accelerator, see `dse.campaign.plan.Field`."""

    path: str
    prices_only: bool
    integer: bool


@dataclass(frozen=True, slots=True)
class WorkloadEvaluatorFactory:
    """Makes the evaluator of a plan; picklable."""

    plan: Plan

    def __call__(self) -> WorkloadEvaluator:
        """A new evaluator with empty caches."""
        return WorkloadEvaluator(self.plan)


class WorkloadEvaluator:
    """Caches lowered steps by workload, compiled steps by workload, geometry and schedule."""

    def __init__(self, plan: Plan) -> None:
        self._form = plan.form
        self._accelerators = plan.accelerators
        self._folder = plan.folder
        self._steps: OrderedDict[Hashable, Step] = OrderedDict()
        self._compiled: OrderedDict[Hashable, CompiledWorkload] = OrderedDict()

    def prepare(self, choice: Mapping[str, Value]) -> PreparedWorkload:
        """See `Evaluator`."""
        workload = self._form.workload.model_dump()
        workload |= {k.removeprefix(WORKLOAD): v for k, v in choice.items() if k.startswith(WORKLOAD)}
        model = located(str(workload.pop("model")), self._folder)
        request = lowering_request(workload)
        key = (model, *workload.items())
        step = _cached(self._steps, key, _STEPS_KEPT, lambda: read_step(plugins.load_model(model).lower(request)))
        name = str(choice.get(ACCELERATOR, self._accelerators[0]))
        description = _description(located(name, self._folder))
        own = {k: v for k, v in choice.items() if not k.startswith(WORKLOAD) and k not in (ACCELERATOR, "schedule", "mapping.objective")}
        if own:
            description = description.with_overrides({actual(description, path): v for path, v in own.items()}, origin="space")
        schedule = Schedule(str(choice.get("schedule", self._form.schedule)))
        compiled = _cached(
            self._compiled,
            (key, description.geometry, schedule),
            _COMPILED_KEPT,
            lambda: compile_step(step, description.geometry, schedule=schedule),
        )
        objective = Objective(str(choice.get("mapping.objective", self._form.mapping.objective)))
        return PreparedWorkload(description, compiled, step_totals(step), objective)


@dataclass(frozen=True, slots=True)
class PreparedWorkload:
    """One compiled step on one accelerator geometry."""

    description: AcceleratorDescription
    compiled: CompiledWorkload
    totals: StepTotals
    objective: Objective

    @property
    def macs(self) -> float:
        """See `Prepared`."""
        return self.totals.macs

    @property
    def compulsory_bytes(self) -> float:
        """See `Prepared`."""
        return self.totals.compulsory_bytes

    def price(self, columns: Mapping[str, NDArray[np.float64]], size: int) -> Priced:
        """See `Prepared`."""
        del size  # no columns: one point
        return price(self.compiled, self._table(columns), objective=self.objective)

    def ceilings(self, columns: Mapping[str, NDArray[np.float64]], size: int) -> Ceilings:
        """See `Prepared`; the array's rate is the one of the data type that most MACs of the step use."""
        table = self._table(columns)
        array = self.description.geometry.array
        per_cycle = array.rows * array.columns * array.count * (array.rate(self.totals.dtype) or 0)
        peak = per_cycle * table.clock_hz * table.array_sustained_fraction
        bandwidth = table.dram_bytes_per_s * table.dram_sustained_fraction
        return Ceilings(np.broadcast_to(peak, (size,)), np.broadcast_to(bandwidth, (size,)))

    def _table(self, columns: Mapping[str, NDArray[np.float64]]) -> DesignTable:
        return self.description.table({actual(self.description, path): column for path, column in columns.items()})


def alias(description: AcceleratorDescription, path: str) -> str:
    """`path` with the memory named by its kind: `memories.buffer.…` and `memories.dram.…` mean the same on every accelerator."""
    for kind, (name, _) in (("buffer", description.file.buffer), ("dram", description.file.dram)):
        if path.startswith(f"memories.{name}."):
            return f"memories.{kind}." + path.removeprefix(f"memories.{name}.")
    return path


def actual(description: AcceleratorDescription, path: str) -> str:
    """The path that `path`, own or alias, has in the accelerator's file."""
    known = {p.path for p in description.paths()}
    return path if path in known else next((own for own in known if alias(description, own) == path), path)


@lru_cache(maxsize=64)
def _description(name: str) -> AcceleratorDescription:
    """An accelerator, read once per process."""
    return plugins.load_accelerator(name)


def lowering_request(workload: Mapping[str, Value]) -> LoweringRequest:
    """The request behind the fields of a `WorkloadForm` without its model.

    Raises:
        UsageError: unknown precision.
    """
    query_len, layer, norms = workload["query_len"], workload["layer"], workload["norms"]
    options = WorkloadOptions(
        phase=Phase(str(workload["phase"])),
        batch=int(str(workload["batch"])),
        query_len=None if query_len is None else int(str(query_len)),
        cache_len=int(str(workload["cache_len"])),
        attention=str(workload["attention"]),
        precision=str(workload["precision"]),
        rope=Switch.ON if workload["rope"] else Switch.OFF,
        norms=Switch.AUTO if norms is None else Switch.ON if norms else Switch.OFF,
        part=Part(str(workload["part"])),
        layer=None if layer is None else int(str(layer)),
        all_layers=layer is None,
    )
    return request_of(options, default_scheme=options.attention or "", last_layer=0)


def _cached(cache: OrderedDict[Hashable, _Made], key: Hashable, kept: int, make: Callable[[], _Made]) -> _Made:
    if key not in cache:
        cache[key] = make()
        if len(cache) > kept:
            cache.popitem(last=False)
    cache.move_to_end(key)
    return cache[key]
