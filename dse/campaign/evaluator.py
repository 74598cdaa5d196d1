"""The cost model as the search sees it: lowers and compiles one outer choice for every scenario, prices tables of inner points."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final, TypeVar

from dse import plugins
from dse.campaign.plan_workloads import scenario_fields
from dse.campaign.prepared import LoweredStep, PreparedWorkload, RoughWorkload, ScreenedWorkload, actual, alias
from dse.campaign.sources import ACCELERATOR, CHOICES, MAX_INNER, MAX_INNER_OF_CHIP, OBJECTIVE, WORKLOAD, located, located_routing
from dse.campaign.totals import step_totals
from dse.cost.metrics import Objective
from dse.evaluate import Schedule, compile_step, read_step
from dse.hw.read import AcceleratorDescription
from dse.ir.lowering import LoweringRequest, Masked, Part, Phase
from dse.overrides import doubts
from dse.workload import Switch, WorkloadOptions
from dse.workload import lowering_request as request_of

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence

    from dse.campaign.chip_prepared import PreparedChip, RoughChip, ScreenedChip
    from dse.campaign.plan import Plan
    from dse.campaign.system_evaluator import SystemCampaignEvaluator, SystemSources
    from dse.cost.chip_points import ChipPlans
    from dse.cost.workload_pricing import CompiledWorkload
    from dse.evaluate import Step
    from dse.hw.many_core_read import ChipDescription
    from dse.search.space import Value

_STEPS_KEPT: Final = 32
_COMPILED_KEPT: Final = 8
_DESCRIPTIONS_KEPT: Final = 256
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
            SearchField(path, p.effect == "price" and p.type in ("integer", "number"), p.type == "integer", _plain(p.value))
            for path, p in everywhere.items()
        ]

    def of_systems(self) -> SystemSources:
        """See `Sources`."""
        from dse.campaign.system_evaluator import SystemSources  # systems and chips of many cores are imported where they are used

        return SystemSources(self.folder)

    def check(self, accelerator: str, values: Mapping[str, Value]) -> tuple[str, ...]:
        """See `Sources`."""
        description = self._load(accelerator)
        own = {actual(description, path): value for path, value in values.items()}
        return doubts(description.with_overrides(own, origin="space"), "space")

    def most_inner(self, accelerator: str) -> int:
        """See `Sources`."""
        return MAX_INNER if isinstance(self._load(accelerator), AcceleratorDescription) else MAX_INNER_OF_CHIP

    def _load(self, accelerator: str) -> AcceleratorDescription | ChipDescription:
        return _description(located(accelerator, self.folder))


@dataclass(frozen=True, slots=True)
class SearchField:
    """A field of an accelerator, see `dse.campaign.sources.Field`."""

    path: str
    prices_only: bool
    integer: bool
    value: Value


@dataclass(frozen=True, slots=True)
class WorkloadEvaluatorFactory:
    """Makes the evaluator of a plan; picklable."""

    plan: Plan

    def __call__(self) -> WorkloadEvaluator | SystemCampaignEvaluator:
        """A new evaluator with empty caches."""
        if self.plan.form.system is not None:
            from dse.campaign.system_evaluator import SystemCampaignEvaluator

            return SystemCampaignEvaluator(self.plan)
        return WorkloadEvaluator(self.plan)


class WorkloadEvaluator:
    """Caches accelerators by their values, lowered steps by workload, compiled steps by workload, geometry and schedule."""

    def __init__(self, plan: Plan) -> None:
        self._form = plan.form
        self._accelerators = plan.accelerators
        self._varied = tuple(dimension.path for dimension in plan.space.inner)
        self._folder = plan.folder
        self._steps: OrderedDict[Hashable, LoweredStep] = OrderedDict()
        self._compiled: OrderedDict[Hashable, CompiledWorkload] = OrderedDict()
        self._descriptions: OrderedDict[Hashable, AcceleratorDescription | ChipDescription] = OrderedDict()

    def screen(self, choice: Mapping[str, Value]) -> ScreenedWorkload | ScreenedChip:
        """See `Evaluator`."""
        description, steps = self._description(choice), tuple(self._steps_of(choice))
        if isinstance(description, AcceleratorDescription):
            return ScreenedWorkload(description, steps, dict(self._form.prices_usd))
        from dse.campaign.chip_prepared import ScreenedChip

        return ScreenedChip(description, steps, dict(self._form.prices_usd))

    def prepare(self, choice: Mapping[str, Value]) -> PreparedWorkload | PreparedChip:
        """See `Evaluator`."""
        description = self._description(choice)
        schedule = Schedule(str(choice.get("schedule", self._form.schedule)))
        steps = tuple(self._steps_of(choice))
        if isinstance(description, AcceleratorDescription):
            compiled = tuple(self._compile(one, description, schedule, len(steps)) for one in steps)
            return PreparedWorkload(description, compiled, steps, self._objective(choice))
        from dse.campaign.chip_prepared import PreparedChip

        return PreparedChip(description, steps, tuple(self._plans(one.step, description, schedule, choice) for one in steps))

    def _compile(self, one: LoweredStep, description: AcceleratorDescription, schedule: Schedule, steps: int) -> CompiledWorkload:
        geometry = description.geometry_for([actual(description, path) for path in self._varied])
        key = (one.key, geometry, schedule)
        return _cached(self._compiled, key, _COMPILED_KEPT * steps, lambda: compile_step(one.step, geometry, schedule=schedule))

    def _plans(self, step: Step, chip: ChipDescription, schedule: Schedule, choice: Mapping[str, Value]) -> ChipPlans:
        from dse.cost.chip_points import ChipPlans

        return ChipPlans(
            chip,
            step.graphs,
            tokens=step.tokens,
            stored_bytes=step.stored_bytes,
            objective=self._objective(choice),
            schedule=schedule,
        )

    def rough(self, choice: Mapping[str, Value]) -> RoughWorkload | RoughChip:
        """See `Evaluator`."""
        description, steps = self._description(choice), tuple(self._steps_of(choice))
        if isinstance(description, AcceleratorDescription):
            return RoughWorkload(description, steps)
        from dse.campaign.chip_prepared import RoughChip

        return RoughChip(description, steps)

    def _objective(self, choice: Mapping[str, Value]) -> Objective:
        return Objective(str(choice.get(OBJECTIVE, self._form.mapping.objective)))

    def _description(self, choice: Mapping[str, Value]) -> AcceleratorDescription | ChipDescription:
        name = str(choice.get(ACCELERATOR, self._accelerators[0]))
        own = {k: v for k, v in choice.items() if not k.startswith(WORKLOAD) and k != ACCELERATOR and k not in CHOICES}
        key = (name, *((path, type(value), value) for path, value in own.items()))
        return _cached(self._descriptions, key, _DESCRIPTIONS_KEPT, lambda: self._overridden(name, own))

    def _overridden(self, name: str, own: Mapping[str, Value]) -> AcceleratorDescription | ChipDescription:
        description = _description(located(name, self._folder))
        return description.with_overrides({actual(description, path): v for path, v in own.items()}, origin="space") if own else description

    def _steps_of(self, choice: Mapping[str, Value]) -> Iterator[LoweredStep]:
        """The lowered step of every scenario."""
        all_fields = scenario_fields(self._form, choice)
        kept = max(_STEPS_KEPT, 2 * len(all_fields))
        for fields in all_fields:
            model = located(str(fields["model"]), self._folder)
            key = (model, *((name, value) for name, value in fields.items() if name != "model"))
            yield _cached(self._steps, key, kept, partial(_lowered, model, fields, key, self._folder))


def _lowered(model: str, fields: Mapping[str, Value], key: Hashable, folder: str) -> LoweredStep:
    request = lowering_request(fields, folder)
    step = read_step(plugins.load_model(model).lower(request))
    return LoweredStep(key, step, step_totals(step), float(request.query_len))


@lru_cache(maxsize=64)
def _description(name: str) -> AcceleratorDescription | ChipDescription:
    """An accelerator or a chip of many cores, read once per process."""
    return plugins.load_hardware(name)


def lowering_request(workload: Mapping[str, Value], folder: str = ".") -> LoweringRequest:
    """The request behind the fields of a `WorkloadForm` without its model; files that it names may lie in `folder`.

    Raises:
        UsageError: unknown precision or routing.
        InputError: a histogram that cannot be read.
    """
    query_len, layer, norms = workload["query_len"], workload["layer"], workload["norms"]
    seed = workload["seed"]
    options = WorkloadOptions(
        routing=located_routing(str(workload["routing"]), folder),
        seed=None if seed is None else int(str(seed)),
        phase=Phase(str(workload["phase"])),
        batch=int(str(workload["batch"])),
        query_len=None if query_len is None else int(str(query_len)),
        cache_len=int(str(workload["cache_len"])),
        attention=str(workload["attention"]),
        precision=str(workload["precision"]),
        rope=Switch.ON if workload["rope"] else Switch.OFF,
        norms=Switch.AUTO if norms is None else Switch.ON if norms else Switch.OFF,
        masked=Masked(str(workload["masked"])),
        part=Part(str(workload["part"])),
        layer=None if layer is None else int(str(layer)),
        all_layers=layer is None,
    )
    return request_of(options, default_scheme=options.attention or "", last_layer=0)


def _plain(value: object) -> Value:
    return value if isinstance(value, bool | int | float | str) else None


def _cached(cache: OrderedDict[Hashable, _Made], key: Hashable, kept: int, make: Callable[[], _Made]) -> _Made:
    if key not in cache:
        cache[key] = make()
        if len(cache) > kept:
            cache.popitem(last=False)
    cache.move_to_end(key)
    return cache[key]
