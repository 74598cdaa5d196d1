"""From a campaign file to a plan: every path, value and name checked against the models and accelerators it means."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from pydantic import ValidationError

from dse.campaign.form import CampaignForm, ValuesForm, WorkloadForm
from dse.errors import DseError, InputError, Problem, did_you_mean
from dse.files import Document, load_yaml, parse_setting, validate
from dse.ir.precision import PRECISIONS
from dse.search.goals import Constraint, Goals
from dse.search.space import Dimension, Scale, Space
from dse.search.strategy import SamplerName, resolve

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dse.files import Value as FileValue
    from dse.search.space import Value

ACCELERATOR: Final = "accelerator"
WORKLOAD: Final = "workload."
CHOICES: Final = {"schedule": ("fused", "layer_by_layer"), "mapping.objective": ("latency", "energy", "edp")}
"""Other dimensions and the words that they take."""
MAX_INNER: Final = 20_000_000
"""Most inner points of one outer choice: about a quarter of an hour of pricing."""


class Field(Protocol):
    """A field of an accelerator that a search may change."""

    @property
    def path(self) -> str:
        """`memories.sram.capacity_kib`."""

    @property
    def prices_only(self) -> bool:
        """Whether it leaves the frontier as it is."""

    @property
    def integer(self) -> bool:
        """Whether its values are whole numbers."""


class Sources(Protocol):
    """Where a plan looks names up."""

    def schemes(self, model: str) -> tuple[str, ...]:
        """Attention schemes of a model, the default first. Raises a DseError where there is no such model."""

    def fields(self, accelerator: str) -> Sequence[Field]:
        """Searchable fields of an accelerator. Raises a DseError where there is no such accelerator."""

    def check(self, accelerator: str, path: str, value: Value) -> None:
        """Raise a DseError where `accelerator` cannot take `value` at `path`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A campaign, checked and resolved."""

    form: CampaignForm
    space: Space
    goals: Goals
    sampler: SamplerName
    """Never `auto`."""
    accelerators: tuple[str, ...]
    folder: str
    """Folder of the campaign file; relative paths in it start there."""
    overrides: tuple[str, ...]

    @property
    def trials(self) -> int:
        """Outer trials to do: the budget, or all of a smaller space."""
        return min(self.form.budget.trials, self.space.outer_size)

    def resolved(self) -> dict[str, FileValue]:
        """The campaign with all defaults filled in; itself a valid campaign file."""
        config: dict[str, FileValue] = self.form.model_dump(mode="json")
        config["sampler"] = str(self.sampler)
        config["space"] = {path: form.model_dump(mode="json", exclude_none=True) for path, form in self.form.space.items()}
        config["constraints"] = [form.model_dump(mode="json", exclude_none=True) for form in self.form.constraints]
        return {key: value for key, value in config.items() if value is not None}


def load_plan(path: str | Path, sources: Sources, settings: Sequence[str] = ()) -> Plan:
    """Read, override and check a campaign file; `settings` are `key=value` as given to `--set`.

    Raises:
        InputError: every problem with file and line.
        UsageError: a setting that is not `key=value`.
    """
    document = load_yaml(path)
    for setting in settings:
        document = _override(document, *parse_setting(setting))
    return make_plan(document, sources, overrides=tuple(settings))


def make_plan(document: Document, sources: Sources, *, overrides: tuple[str, ...] = ()) -> Plan:
    """The plan of a campaign document.

    Raises:
        InputError: every problem with file and line.
    """
    form = validate(document, CampaignForm)
    problems: list[Problem] = []
    accelerators = _accelerators(form, document, problems)
    schemes = _schemes(form, document, sources, problems)
    fields = _fields(accelerators, document, sources, problems)
    if problems:
        raise InputError(problems)
    form = _with_defaults(form, schemes)
    space = _Builder(form, document, sources, accelerators, fields).space(schemes)
    goals = Goals(
        tuple(objective.metric for objective in form.objectives),
        tuple(Constraint(c.metric, _limit(c.min, c.max), c.min is not None) for c in form.constraints),
    )
    return Plan(
        form=form,
        space=space,
        goals=goals,
        sampler=resolve(form.sampler, space, form.budget.trials),
        accelerators=accelerators,
        folder=str(Path(document.path).parent),
        overrides=overrides,
    )


def _limit(low: float | None, high: float | None) -> float:
    limit = high if low is None else low
    assert limit is not None
    return limit


def _override(document: Document, path: str, value: FileValue) -> Document:
    """One `--set`; under `space.` the rest of the path is one key, dots included."""
    head, _, rest = path.partition(".")
    if head != "space" or not rest:
        return document.with_settings({path: value}, origin="--set", add_parents=True)
    space = document.data.get("space")
    known = dict(space) if isinstance(space, dict) else {}
    wrapped: FileValue = value if isinstance(value, dict) else {"values": value if isinstance(value, list) else [value]}
    origins = {key: where for key, where in document.origins.items() if key[:2] != ("space", rest)}
    origins["space", rest] = f"--set {path}"
    data = {**document.data, "space": {**known, rest: wrapped}}
    return replace(document, data=data, origins=origins)


def _with_defaults(form: CampaignForm, schemes: Sequence[str]) -> CampaignForm:
    workload = form.workload
    if workload.attention is None and schemes:
        workload = workload.model_copy(update={"attention": schemes[0]})
    return form.model_copy(update={"workload": workload})


def _accelerators(form: CampaignForm, document: Document, problems: list[Problem]) -> tuple[str, ...]:
    given = (form.accelerator,) if isinstance(form.accelerator, str) else form.accelerator
    if ACCELERATOR not in form.space:
        return given
    where = document.where(("space", ACCELERATOR))
    values = form.space[ACCELERATOR].values or ()
    if not isinstance(form.accelerator, str):
        problems.append(Problem(where, "'space.accelerator' and a list under 'accelerator' say the same; keep one"))
    elif not values or not all(isinstance(value, str) for value in values):
        problems.append(Problem(where, "'space.accelerator' needs values: [name, ...], names or paths of accelerators"))
    else:
        return tuple(str(value) for value in values)
    return given


def _schemes(form: CampaignForm, document: Document, sources: Sources, problems: list[Problem]) -> tuple[str, ...]:
    """Schemes that every model of the campaign has; the default of the first comes first."""
    models = form.space[WORKLOAD + "model"].values if WORKLOAD + "model" in form.space else None
    common: tuple[str, ...] | None = None
    for model in models or (form.workload.model,):
        try:
            found = sources.schemes(str(model))
        except DseError as error:
            where = document.where(("space", WORKLOAD + "model") if models else ("workload", "model"))
            problems.append(Problem(where, str(error)))
            continue
        common = found if common is None else tuple(scheme for scheme in common if scheme in found)
    attention = form.workload.attention
    if attention is not None and common is not None and attention not in common:
        problems.append(Problem(document.where(("workload", "attention")), _unknown_scheme(attention, common)))
    if form.workload.precision not in PRECISIONS:
        problems.append(Problem(document.where(("workload", "precision")), _unknown_precision(form.workload.precision)))
    return common or ()


def _unknown_scheme(given: object, allowed: Sequence[str]) -> str:
    return f"attention scheme '{given}' is not known; allowed: {', '.join(allowed)}.{did_you_mean(str(given), allowed)}"


def _unknown_precision(given: object) -> str:
    return f"precision '{given}' is not known; allowed: {', '.join(PRECISIONS)}.{did_you_mean(str(given), PRECISIONS)}"


def _fields(accelerators: Iterable[str], document: Document, sources: Sources, problems: list[Problem]) -> dict[str, dict[str, Field]]:
    found: dict[str, dict[str, Field]] = {}
    for name in accelerators:
        try:
            found[name] = {field.path: field for field in sources.fields(name)}
        except DseError as error:
            where = document.where(("space", ACCELERATOR) if ("space", ACCELERATOR) in document.origins else (ACCELERATOR,))
            problems.append(Problem(where, str(error)))
    return found


class _Builder:
    """Turns the `space` of a form into dimensions and collects what is wrong with it."""

    def __init__(
        self,
        form: CampaignForm,
        document: Document,
        sources: Sources,
        accelerators: tuple[str, ...],
        fields: Mapping[str, Mapping[str, Field]],
    ) -> None:
        self._form = form
        self._document = document
        self._sources = sources
        self._accelerators = accelerators
        self._fields = fields
        self._problems: list[Problem] = []

    def space(self, schemes: Sequence[str]) -> Space:
        """The space; the accelerator comes first where it is a list.

        Raises:
            InputError: all problems found.
        """
        outer: list[Dimension] = []
        inner: list[Dimension] = []
        if not isinstance(self._form.accelerator, str):
            self._distinct_accelerators()
            outer.append(Dimension(ACCELERATOR, self._accelerators, Scale.CATEGORICAL))
        for path, values in self._form.space.items():
            if path == ACCELERATOR:
                self._distinct_accelerators()
                outer.append(Dimension(path, self._accelerators, Scale.CATEGORICAL))
            elif path.startswith(WORKLOAD):
                outer.append(self._workload(path, values, schemes))
            elif path in CHOICES:
                outer.append(self._words(path, values))
            else:
                self._accelerator(path, values, outer, inner)
        if not self._problems and not outer and not inner:
            message = "'space' is empty: there is nothing to search; add a dimension (path: {values: [...]}), or use dse eval"
            self._problem("", message)
        if self._problems:
            raise InputError(self._problems)
        space = Space(tuple(outer), tuple(inner))
        if space.inner_size > MAX_INNER:
            self._problem(
                "",
                f"the price-only dimensions have {space.inner_size:,} combinations for each outer choice; at most {MAX_INNER:,}: thin them",
            )
            raise InputError(self._problems)
        return space

    def _problem(self, path: str, message: str) -> None:
        self._problems.append(Problem(self._document.where(("space", path) if path else ("space",)), message))

    def _distinct_accelerators(self) -> None:
        for name in {name for name in self._accelerators if self._accelerators.count(name) > 1}:
            self._problems.append(Problem(self._document.where((ACCELERATOR,)), f"accelerator '{name}' is given twice; keep one"))

    def _words(self, path: str, form: ValuesForm) -> Dimension:
        for value in form.values or (None,):
            if value not in CHOICES[path]:
                self._problem(path, f"'space.{path}' takes values: [...] out of {', '.join(CHOICES[path])}, not {value}")
        return Dimension(path, form.values or (None,), Scale.CATEGORICAL)

    def _workload(self, path: str, form: ValuesForm, schemes: Sequence[str]) -> Dimension:
        name = path.removeprefix(WORKLOAD)
        if name not in WorkloadForm.model_fields:
            self._unknown(path)
            return Dimension(path, (None,), Scale.CATEGORICAL)
        values = expand(form, integer=True)
        for value in values or ():
            self._check_workload(path, name, value, schemes)
        if values is None:
            self._problem(path, f"'space.{path}' takes whole numbers; this range has others: choose another count")
        return Dimension(path, values or (None,), scale(form, values or ()))

    def _check_workload(self, path: str, name: str, value: Value, schemes: Sequence[str]) -> None:
        if name == "attention" and value not in schemes:
            self._problem(path, _unknown_scheme(value, schemes))
        elif name == "precision" and value not in PRECISIONS:
            self._problem(path, _unknown_precision(value))
        else:
            base = self._form.workload.model_dump(mode="json")
            try:
                WorkloadForm.model_validate_json(json.dumps({**base, name: value}))
            except ValidationError as error:
                self._problem(path, f"'space.{path}': {value}: {error.errors()[0]['msg']}")

    def _accelerator(self, path: str, form: ValuesForm, outer: list[Dimension], inner: list[Dimension]) -> None:
        fields = [known.get(path) for known in self._fields.values()]
        if None in fields:
            self._unknown(path)
            return
        known = [field for field in fields if field is not None]
        values = expand(form, integer=any(field.integer for field in known))
        if values is None:
            self._problem(path, f"'space.{path}' takes whole numbers; this range has others: choose another count, or values: [...]")
            return
        for name in self._accelerators:
            for value in values:
                try:
                    self._sources.check(name, path, value)
                except DseError as error:
                    self._problem(path, f"'space.{path}': {value} does not fit {name}: {_inside(error)}")
                    return
        numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        target = inner if numbers and all(field.prices_only for field in known) else outer
        target.append(Dimension(path, values, scale(form, values)))

    def _unknown(self, path: str) -> None:
        everywhere = [set(known) for known in self._fields.values()]
        common = sorted(set.intersection(*everywhere)) if everywhere else []
        allowed = [ACCELERATOR, *CHOICES, *(WORKLOAD + name for name in WorkloadForm.model_fields), *common]
        lacking = [name for name, known in self._fields.items() if path not in known]
        if len(lacking) < len(self._fields) and not path.startswith(WORKLOAD):
            self._problem(path, f"'space.{path}': {', '.join(lacking)} has no such field, others have; give them campaigns of their own")
            return
        self._problem(
            path,
            f"'space.{path}' is not known; allowed: accelerator, schedule, mapping.objective, workload.<field>,"
            f" or a field of the accelerator such as {common[0] if common else 'clock_mhz'}.{did_you_mean(path, allowed)}",
        )


def _inside(error: DseError) -> str:
    """The message of an error about a value, without the place that it names: ours is nearer."""
    if isinstance(error, InputError):
        return "; ".join(problem.message for problem in error.problems)
    return str(error)


def located(name: str, folder: str) -> str:
    """`name`, or its path from the campaign's folder where it is a file there."""
    beside = Path(folder) / name
    return str(beside) if name.endswith((".yaml", ".yml", ".json")) and beside.is_file() else name


def expand(form: ValuesForm, *, integer: bool) -> tuple[Value, ...] | None:
    """The values that a form spells; None where whole numbers are needed and a range has others."""
    if form.values is not None:
        return form.values
    if form.power_of_two is not None:
        low, high = form.power_of_two
        return tuple(2**exponent for exponent in range(low.bit_length() - 1, high.bit_length()))
    spaced = np.linspace(*form.linear) if form.linear else np.geomspace(*(form.log or (1.0, 2.0, 2)))
    values = [float(f"{value:.12g}") for value in spaced.tolist()]
    whole = all(value.is_integer() for value in values)
    if integer and not whole:
        return None
    return tuple(int(value) for value in values) if integer else tuple(values)


def scale(form: ValuesForm, values: Sequence[Value]) -> Scale:
    """Ordered where the values are numbers that rise or fall throughout."""
    if form.power_of_two is not None:
        return Scale.POWER_OF_TWO
    numbers = [float(value) for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if len(numbers) < len(values):
        return Scale.CATEGORICAL
    return Scale.ORDERED if numbers in (sorted(numbers), sorted(numbers, reverse=True)) else Scale.CATEGORICAL
