"""The workloads of a campaign: names checked against the catalogues, and the scenarios that they spread into."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from dse.campaign.form_workload import MAX_SCENARIOS, WorkloadForm
from dse.campaign.sources import WORKLOAD, located_routing
from dse.errors import DseError, Problem, UsageError, did_you_mean
from dse.ir.precision import precision
from dse.routing import read_routing
from dse.search.quantities import ONE, Scenario

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dse.campaign.form import CampaignForm
    from dse.campaign.sources import Sources
    from dse.files import Document
    from dse.search.space import Value

UNNAMED = "step"
"""Group of the scenarios of a workload without a name."""


def scenarios_of(form: CampaignForm) -> tuple[Scenario, ...]:
    """All steps that a design is priced for, in the order of the file."""
    steps = form.steps
    if list(steps) == [""] and not steps[""].over:
        return ONE
    found = []
    for workload, step in steps.items():
        group = workload or UNNAMED
        spread = [dict(zip(step.over, values, strict=True)) for values in itertools.product(*step.over.values())]
        for values in spread:
            inside = ",".join(f"{name}={_word(value)}" for name, value in values.items())
            found.append(Scenario(f"{group}[{inside}]" if inside else group, group, step.weight / len(spread)))
    return tuple(found)


def scenario_fields(form: CampaignForm, choice: Mapping[str, Value]) -> list[dict[str, Value]]:
    """The workload fields of every scenario, in the order of `scenarios_of`, with an outer choice laid over them."""
    found: list[dict[str, Value]] = []
    for workload, step in form.steps.items():
        base: dict[str, Value] = step.model_dump(mode="json", exclude={"weight", "over"})
        own = f"{WORKLOAD}{workload}."
        everywhere = {k.removeprefix(WORKLOAD): v for k, v in choice.items() if k.startswith(WORKLOAD) and k.count(".") == 1}
        for path, value in choice.items():
            if workload and path.startswith(own):
                everywhere[path.removeprefix(own)] = value
        found += [{**base, **everywhere, **dict(zip(step.over, values, strict=True))} for values in itertools.product(*step.over.values())]
    return found


def check_workloads(form: CampaignForm, document: Document, sources: Sources, problems: list[Problem]) -> dict[str, tuple[str, ...]]:
    """Attention schemes of every workload by name: those that all of its models have, the default of the first first."""
    found = {}
    for workload, step in form.steps.items():
        place = ("workloads", workload) if workload else ("workload",)
        found[workload] = _schemes(form, workload, step, document, sources, problems)
        _check(step, place, found[workload], document, problems)
    if len(scenarios_of(form)) > MAX_SCENARIOS:
        where = document.where(("workloads",)) if form.workloads else document.where(("workload",))
        problems.append(
            Problem(where, f"the workloads spread into {len(scenarios_of(form))} steps; at most {MAX_SCENARIOS}: shorten 'over'")
        )
    return found


def with_default_schemes(form: CampaignForm, schemes: Mapping[str, Sequence[str]]) -> CampaignForm:
    """Every workload with an attention scheme: its model's first where it names none."""

    def filled(name: str, step: WorkloadForm) -> WorkloadForm:
        return step.model_copy(update={"attention": schemes[name][0]}) if step.attention is None and schemes[name] else step

    if form.workload is not None:
        return form.model_copy(update={"workload": filled("", form.workload)})
    return form.model_copy(update={"workloads": {name: filled(name, step) for name, step in form.workloads.items()}})


def _schemes(
    form: CampaignForm, workload: str, step: WorkloadForm, document: Document, sources: Sources, problems: list[Problem]
) -> tuple[str, ...]:
    path = next((p for p in (f"{WORKLOAD}{workload}.model", WORKLOAD + "model") if p in form.space), None)
    models = form.space[path].values if path else None
    common: tuple[str, ...] | None = None
    for model in models or step.over.get("model") or (step.model,):
        try:
            found = sources.schemes(str(model))
        except DseError as error:
            place = ("space", path) if models and path else (*(("workloads", workload) if workload else ("workload",)), "model")
            problems.append(Problem(document.where(place), str(error)))
            continue
        common = found if common is None else tuple(scheme for scheme in common if scheme in found)
    return common or ()


def _check(step: WorkloadForm, place: tuple[str, ...], schemes: Sequence[str], document: Document, problems: list[Problem]) -> None:
    named = {"attention": step.over.get("attention", (step.attention,)), "precision": step.over.get("precision", (step.precision,))}
    wrong_schemes = [v for v in named["attention"] if v is not None and schemes and v not in schemes]
    problems += [Problem(document.where((*place, "attention")), unknown_scheme(v, schemes)) for v in wrong_schemes]
    for value in named["precision"]:
        wrong = precision_problem(value)
        if wrong:
            problems.append(Problem(document.where((*place, "precision")), wrong))
    for value in step.over.get("routing", (step.routing,)):
        wrong = routing_problem(value, str(Path(document.path).parent))
        if wrong:
            problems.append(Problem(document.where((*place, "routing")), wrong))
    base = step.model_dump(mode="json", exclude={"over"})
    for name, values in step.over.items():
        for value in values:
            try:
                WorkloadForm.model_validate_json(json.dumps({**base, name: value}))
            except ValidationError as error:
                problems.append(
                    Problem(document.where((*place, "over", name)), f"'over.{name}': {_word(value)}: {error.errors()[0]['msg']}")
                )


def unknown_scheme(given: object, allowed: Sequence[str]) -> str:
    """What to say of a scheme that a model has not."""
    return f"attention scheme '{given}' is not known; allowed: {', '.join(allowed)}.{did_you_mean(str(given), allowed)}"


def precision_problem(given: object) -> str:
    """What is wrong with a precision; empty where nothing is."""
    try:
        precision(str(given))
    except UsageError as error:
        return str(error)
    return ""


def _word(value: Value) -> str:
    return {True: "true", False: "false", None: "null"}[value] if value is None or isinstance(value, bool) else str(value)


def routing_problem(given: object, folder: str) -> str:
    """What is wrong with a routing; empty where nothing is."""
    try:
        read_routing(located_routing(str(given), folder))
    except DseError as error:
        return str(error).replace("--routing", "routing")
    return ""
