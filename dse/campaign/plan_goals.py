"""What a campaign seeks and forbids: objectives, constraints, prices and limits, checked against its workloads and space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from dse.campaign.sources import ACCELERATOR, WORKLOAD
from dse.errors import InputError, Problem, did_you_mean
from dse.search.expression import ExpressionError, parse
from dse.search.goals import Constraint, Goals
from dse.search.limits import Limits, OuterChoices
from dse.search.quantities import AREA, COST, ONE, Scenario, known_columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dse.campaign.form import CampaignForm, MetricForm
    from dse.campaign.sources import Field
    from dse.files import Document
    from dse.search.expression import Expression
    from dse.search.space import Space, Value

FIXED: Final = "fixed"
"""Price of every design, whatever it is."""


def make_goals(form: CampaignForm, scenarios: tuple[Scenario, ...], document: Document) -> Goals:
    """Goals of a campaign.

    Raises:
        InputError: a metric that the workloads do not give, a cost without prices, or a least value above a greatest of one metric.
    """
    problems: list[Problem] = []
    for key, metrics in (("objectives", form.objectives), ("constraints", form.constraints)):
        for position, metric in enumerate(metrics):
            _check(metric, document.where((key, position)), scenarios, form, problems)
    if form.report is not None:
        _check(form.report, document.where(("report",)), scenarios, form, problems)
    if problems:
        raise InputError(problems)
    report = form.report.column if form.report is not None else "edp_js" if scenarios == ONE else "mix.edp_js"
    constraints = tuple(Constraint(c.column, _limit(c.min, c.max), c.min is not None) for c in form.constraints)
    _check_contradictions(constraints, document)
    return Goals(tuple(o.column for o in form.objectives), constraints, scenarios, report)


def _check_contradictions(constraints: tuple[Constraint, ...], document: Document) -> None:
    """Two constraints on one metric that no value can meet."""
    for position, one in enumerate(constraints):
        for other in constraints[:position]:
            low, high = (one, other) if one.at_least else (other, one)
            if one.metric == other.metric and one.at_least != other.at_least and low.limit > high.limit:
                where = document.where(("constraints", position))
                raise InputError.single(where, f"no design can meet both '{other}' and '{one}'; loosen one")


def check_prices(form: CampaignForm, fields: Mapping[str, Mapping[str, Field]], document: Document) -> None:
    """Every price is one of the area, of `fixed`, or of a field with a number that all accelerators have.

    Raises:
        InputError: another name.
    """
    common = [path for path in next(iter(fields.values()), {}) if all(_is_number(f[path].value) for f in fields.values() if path in f)]
    known = [FIXED, AREA, *(path for path in common if all(path in own for own in fields.values()))]
    problems = [
        Problem(
            document.where(("prices_usd", name)),
            f"'{name}' has no amount that a price could multiply; allowed: {FIXED}, {AREA}, or a number of the accelerator"
            f" such as memories.dram.capacity_gib.{did_you_mean(name, known)}",
        )
        for name in form.prices_usd
        if name not in known
    ]
    if problems:
        raise InputError(problems)


def make_limits(
    form: CampaignForm, space: Space, fields: Mapping[str, Mapping[str, Field]], accelerators: Sequence[str], document: Document
) -> Limits:
    """Limits of a campaign, with the values of all names that the space does not vary.

    Raises:
        InputError: an expression outside the grammar, an unknown name, or limits that leave nothing.
    """
    if not form.limits:
        return Limits(only_accelerator=accelerators[0])
    constants = {name: _constants(form, fields[name]) for name in accelerators}
    samples: dict[str, tuple[Value, ...]] = {AREA: (1.0,)}
    for own in constants.values():
        for path, value in own.items():
            samples[path] = (*samples.get(path, ()), value)
    lacking = {path for path in samples if path != AREA and any(path not in own for own in constants.values())}
    samples = {path: values for path, values in samples.items() if path not in lacking}
    samples |= {d.path: d.values for d in (*space.outer, *space.inner)}
    samples.setdefault(ACCELERATOR, tuple(accelerators))
    problems: list[Problem] = []
    expressions: list[Expression] = []
    for position, text in enumerate(form.limits):
        try:
            expression = parse(text)
            expression.check(samples)
            expressions.append(expression)
        except ExpressionError as error:
            problems.append(Problem(document.where(("limits", position)), str(error)))
    if problems:
        raise InputError(problems)
    varied = {d.path for d in (*space.outer, *space.inner)}
    used = {name for e in expressions for name in e.names} - varied - {AREA}
    kept = {a: {n: a if n == ACCELERATOR else own[n] for n in sorted(used)} for a, own in constants.items()}
    limits = Limits(tuple(expressions), kept, accelerators[0])
    _check_that_something_is_left(limits, space, document)
    return limits


def _check_that_something_is_left(limits: Limits, space: Space, document: Document) -> None:
    choices = OuterChoices(space, limits)
    if choices.count:
        return
    outer_only = limits.split(space)[0]
    counts = limits.excluded_by(space, np.arange(space.outer_size, dtype=np.int64))
    rows = "".join(f"\n  '{e.text}' excludes {count:,} of {space.outer_size:,}" for e, count in zip(outer_only, counts, strict=True))
    raise InputError.single(document.where(("limits",)), f"the limits leave no choice of the space; loosen one:{rows}")


def _constants(form: CampaignForm, fields: Mapping[str, Field]) -> dict[str, Value]:
    found: dict[str, Value] = {path: field.value for path, field in fields.items() if isinstance(field.value, bool | int | float | str)}
    for workload, step in form.steps.items():
        head = f"{WORKLOAD}{workload}." if workload else WORKLOAD
        found |= {head + name: value for name, value in step.model_dump(mode="json", exclude={"weight", "over"}).items()}
    return {**found, "schedule": form.schedule, "mapping.objective": str(form.mapping.objective), ACCELERATOR: ""}


def _check(metric: MetricForm, where: str, scenarios: tuple[Scenario, ...], form: CampaignForm, problems: list[Problem]) -> None:
    known = known_columns(scenarios)
    if metric.metric == COST and not form.prices_usd:
        problems.append(Problem(where, f"'{COST}' needs 'prices_usd': dollars for one unit of {AREA}, of a field, or fixed"))
    if metric.column in known:
        return
    groups = list(dict.fromkeys(s.group for s in scenarios))
    if scenarios == ONE:
        message = f"'{metric.metric}': there is one workload; leave out workload and across"
    elif metric.workload is not None and metric.workload not in (*groups, *(s.name for s in scenarios)):
        message = f"workload '{metric.workload}' is not known; allowed: {', '.join(groups)}.{did_you_mean(metric.workload, groups)}"
    else:
        message = (
            f"'{metric.metric}' is not clear with several steps: add workload: ({', '.join(s.name for s in scenarios)}),"
            " or across: worst or mix"
        )
    problems.append(Problem(where, message))


def _limit(low: float | None, high: float | None) -> float:
    limit = high if low is None else low
    assert limit is not None
    return limit


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
