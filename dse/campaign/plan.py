"""From a campaign file to a plan: every path, value and name checked against the models and accelerators it means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dse.campaign.form import CampaignForm, SamplerForm
from dse.campaign.include import cells, load_campaign
from dse.campaign.plan_goals import check_prices, make_goals, make_limits
from dse.campaign.plan_space import SpaceBuilder, expand, scale
from dse.campaign.plan_workloads import check_workloads, scenarios_of, with_default_schemes
from dse.campaign.sources import ACCELERATOR, WORKLOAD, Sources, located
from dse.errors import DseError, InputError, Problem, UsageError
from dse.files import validate
from dse.search.limits import OuterChoices
from dse.search.strategy import Sampler, SamplerName, resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dse.campaign.sources import Field
    from dse.files import Document
    from dse.files import Value as FileValue
    from dse.search.goals import Goals
    from dse.search.limits import Limits
    from dse.search.space import Space

__all__ = ["ACCELERATOR", "WORKLOAD", "Plan", "Sources", "expand", "load_plan", "load_plans", "located", "make_plan", "scale"]

_PLAIN_SAMPLERS: Final = (SamplerName.AUTO, SamplerName.EXHAUSTIVE, SamplerName.SURROGATE)


@dataclass(frozen=True, slots=True)
class Plan:
    """A campaign, checked and resolved."""

    form: CampaignForm
    space: Space
    goals: Goals
    limits: Limits
    sampler: Sampler
    """`auto` where the cost of a trial must be measured first."""
    accelerators: tuple[str, ...]
    folder: str
    """Folder of the campaign file; relative paths in it start there."""
    overrides: tuple[str, ...]
    cell: str = ""
    """Name of the combination, of a campaign with a matrix."""
    shard: tuple[int, int] | None = None
    """(index from 0, count): only this share of the space, with this share of the trials."""
    warnings: tuple[str, ...] = ()
    """Values of the space that are allowed and probably a slip: file:line and what."""

    @property
    def automatic(self) -> bool:
        """Whether the campaign leaves the sampler to `auto`."""
        given = self.form.sampler
        return (given.name if isinstance(given, SamplerForm) else given) == SamplerName.AUTO

    @property
    def choices(self) -> OuterChoices:
        """Outer choices that the limits leave, and the shard."""
        return OuterChoices(self.space, self.limits, self.shard)

    @property
    def trials(self) -> int:
        """Outer trials to do: the budget, or all of a smaller space."""
        choices = self.choices
        own = self.form.budget.trials if self.shard is None else -(-self.form.budget.trials // self.shard[1])
        if self.sampler.name == SamplerName.EXHAUSTIVE and self.shard is not None:
            own = self.form.budget.trials  # the shards of an enumeration differ in size by a few
        return min(own, choices.count if choices.known else self.space.outer_size)

    @property
    def reference(self) -> tuple[float, ...] | None:
        """Reference point as given, in the order of the objectives."""
        given = self.form.reference_point
        return None if given is None else tuple(given[name] for name in self.goals.objectives)

    def resolved(self) -> dict[str, FileValue]:
        """The campaign with all defaults filled in; itself a valid campaign file."""
        config: dict[str, FileValue] = self.form.model_dump(mode="json", exclude={"include", "matrix"})
        config["space"] = {path: form.model_dump(mode="json", exclude_none=True) for path, form in self.form.space.items()}
        config["constraints"] = [form.model_dump(mode="json", exclude_none=True) for form in self.form.constraints]
        config["objectives"] = [form.model_dump(mode="json", exclude_none=True) for form in self.form.objectives]
        return {key: value for key, value in config.items() if value is not None and value not in ({}, [])}


def load_plans(path: str | Path, sources: Sources, settings: Sequence[str] = ()) -> tuple[Plan, ...]:
    """Read, override and check a campaign file; a plan for every combination of its matrix.

    `settings` are `key=value` as given to `--set`.

    Raises:
        InputError: every problem with file and line.
        UsageError: a setting that is not `key=value`, or a sampler needs a package that is not installed.
    """
    document = load_campaign(path, settings)
    return tuple(make_plan(one, sources, overrides=tuple(settings), cell=name) for name, one in cells(document))


def load_plan(path: str | Path, sources: Sources, settings: Sequence[str] = ()) -> Plan:
    """The plan of a campaign file without a matrix; raises as `load_plans`, and a UsageError where there is one."""
    plans = load_plans(path, sources, settings)
    if len(plans) > 1 or plans[0].cell:
        raise UsageError(f"{path} has a matrix: it is {len(plans)} campaigns")
    return plans[0]


def make_plan(document: Document, sources: Sources, *, overrides: tuple[str, ...] = (), cell: str = "") -> Plan:
    """The plan of a campaign document.

    Raises:
        InputError: every problem with file and line.
        UsageError: a sampler needs a package that is not installed.
    """
    form = validate(document, CampaignForm)
    problems: list[Problem] = []
    if form.system is not None:
        sources = sources.of_systems()
    accelerators = _accelerators(form, document, problems)
    schemes = check_workloads(form, document, sources, problems)
    fields = _fields(accelerators, document, sources, problems)
    sampler = _sampler(form, document, problems)
    if problems:
        raise InputError(problems)
    form = with_default_schemes(form, schemes)
    builder = SpaceBuilder(form, document, sources, accelerators, fields)
    space = builder.space(schemes)
    goals = make_goals(form, scenarios_of(form), document)
    check_prices(form, fields, document)
    limits = make_limits(form, space, fields, accelerators, document)
    _check_sampler(sampler, goals, space, document)
    return Plan(
        form=form,
        space=space,
        goals=goals,
        limits=limits,
        sampler=resolve(sampler, OuterChoices(space, limits), form.budget.trials),
        accelerators=accelerators,
        folder=str(Path(document.path).parent),
        overrides=overrides,
        cell=cell,
        warnings=tuple(builder.warnings),
    )


def _sampler(form: CampaignForm, document: Document, problems: list[Problem]) -> Sampler:
    given = form.sampler if isinstance(form.sampler, SamplerForm) else SamplerForm(name=form.sampler)
    sampler = Sampler(given.name, dict(given.options))
    if sampler.name in _PLAIN_SAMPLERS and not sampler.options:
        return sampler
    from dse.search.samplers import check_packages, class_and_options, make_sampler  # optuna takes 0.4 s to import

    try:
        class_and_options(sampler)
    except UsageError as error:
        problems.append(Problem(document.where(("sampler",)), str(error)))
        return sampler
    if sampler.name in _PLAIN_SAMPLERS:
        return sampler
    check_packages(sampler)  # no fault of the file
    try:
        make_sampler(sampler, seed=0, trials=1)
    except UsageError as error:
        problems.append(Problem(document.where(("sampler",)), str(error)))
    return sampler


def _check_sampler(sampler: Sampler, goals: Goals, space: Space, document: Document) -> None:
    if sampler.name in _PLAIN_SAMPLERS:
        return
    from dse.search.samplers import check_goals

    try:
        check_goals(sampler, goals, space)
    except UsageError as error:
        raise InputError([Problem(document.where(("sampler",)), str(error))]) from error


def _accelerators(form: CampaignForm, document: Document, problems: list[Problem]) -> tuple[str, ...]:
    given = (form.hardware,) if isinstance(form.hardware, str) else form.hardware
    if ACCELERATOR not in form.space:
        return given
    where = document.where(("space", ACCELERATOR))
    values = form.space[ACCELERATOR].values or ()
    if not isinstance(form.hardware, str):
        problems.append(Problem(where, "'space.accelerator' and a list under 'accelerator' say the same; keep one"))
    elif not values or not all(isinstance(value, str) for value in values):
        problems.append(Problem(where, "'space.accelerator' needs values: [name, ...], names or paths of accelerators"))
    else:
        return tuple(str(value) for value in values)
    return given


def _fields(accelerators: Iterable[str], document: Document, sources: Sources, problems: list[Problem]) -> dict[str, dict[str, Field]]:
    found: dict[str, dict[str, Field]] = {}
    for name in accelerators:
        try:
            found[name] = {field.path: field for field in sources.fields(name)}
        except DseError as error:
            named = next((place for place in (("space", ACCELERATOR), ("system",)) if place in document.origins), (ACCELERATOR,))
            where = document.where(named)
            problems.append(Problem(where, str(error)))
    return found
