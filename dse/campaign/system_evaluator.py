"""Systems of many chips as a campaign sees them: where names are looked up, and the cost model behind its trials."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from dse import plugins
from dse.campaign.plan_workloads import scenario_fields
from dse.campaign.sources import ACCELERATOR, MAX_INNER, located
from dse.ir.lowering import Masked, Part, Phase
from dse.serving_case import ChipModelName, ServingChoices
from dse.serving_search import SYSTEM, SystemEvaluator, check_field, system_fields
from dse.workload import Switch, WorkloadOptions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dse.campaign.plan import Plan
    from dse.search.space import Value
    from dse.serving_search import PreparedSystem, SystemField
    from dse.system.read import SystemDescription


@dataclass(frozen=True, slots=True)
class SystemSources:
    """Looks systems up in place of accelerators, see `dse.campaign.sources.Sources`; relative paths start at the campaign file's folder."""

    folder: str

    def schemes(self, model: str) -> tuple[str, ...]:
        """See `Sources`."""
        return plugins.load_model(located(model, self.folder)).attention_schemes

    def fields(self, accelerator: str) -> Sequence[SystemField]:
        """See `Sources`."""
        return system_fields(_system(located(accelerator, self.folder)))

    def check(self, accelerator: str, values: Mapping[str, Value]) -> tuple[str, ...]:
        """See `Sources`; fields of a system do not depend on each other."""
        system = _system(located(accelerator, self.folder))
        return tuple(doubt for path, value in values.items() for doubt in check_field(system, path, value))

    def most_inner(self, accelerator: str) -> int:
        """See `Sources`."""
        del accelerator
        return MAX_INNER

    def of_systems(self) -> SystemSources:
        """See `Sources`."""
        return self


class SystemCampaignEvaluator:
    """The evaluator of a plan over systems, see `dse.search.evaluator.Evaluator`."""

    def __init__(self, plan: Plan) -> None:
        form = plan.form
        self._plan = plan
        self._evaluator = SystemEvaluator(
            system=located(plan.accelerators[0], plan.folder),
            scenarios=self._scenarios,
            choices=ServingChoices(chip_model=ChipModelName(form.chip_model)),
            parallel=form.parallel,
            prices_usd=dict(form.prices_usd),
        )

    def prepare(self, choice: Mapping[str, Value]) -> PreparedSystem:
        """See `Evaluator`."""
        named = dict(choice)
        if ACCELERATOR in named:
            named[SYSTEM] = located(str(named.pop(ACCELERATOR)), self._plan.folder)
        return self._evaluator.prepare(named)

    def screen(self, choice: Mapping[str, Value]) -> PreparedSystem:
        """See `Evaluator`; systems have no frontiers to wait for."""
        return self.prepare(choice)

    def rough(self, choice: Mapping[str, Value]) -> PreparedSystem:
        """See `Evaluator`; systems have no frontiers to wait for."""
        return self.prepare(choice)

    def _scenarios(self, choice: Mapping[str, Value]) -> list[WorkloadOptions]:
        return [_options(fields, self._plan.folder) for fields in scenario_fields(self._plan.form, choice)]


def _options(fields: Mapping[str, Value], folder: str) -> WorkloadOptions:
    query_len, layer, norms, seed = fields["query_len"], fields["layer"], fields["norms"], fields["seed"]
    return WorkloadOptions(
        model=located(str(fields["model"]), folder),
        phase=Phase(str(fields["phase"])),
        batch=int(str(fields["batch"])),
        query_len=None if query_len is None else int(str(query_len)),
        cache_len=int(str(fields["cache_len"])),
        attention=str(fields["attention"]),
        precision=str(fields["precision"]),
        rope=Switch.ON if fields["rope"] else Switch.OFF,
        norms=Switch.AUTO if norms is None else Switch.ON if norms else Switch.OFF,
        masked=Masked(str(fields["masked"])),
        part=Part(str(fields["part"])),
        layer=None if layer is None else int(str(layer)),
        routing=str(fields["routing"]),
        seed=None if seed is None else int(str(seed)),
    )


@lru_cache(maxsize=64)
def _system(name: str) -> SystemDescription:
    """A system, read once per process."""
    return plugins.load_system(name)
