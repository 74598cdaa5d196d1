"""A space in optuna's terms: parameter names, distributions, and finished trials as a study holds them."""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING, Final

import optuna

from dse.search.space import Scale, digits_of
from dse.search.trial import TrialState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dse.search.goals import Goals
    from dse.search.space import Dimension, Space
    from dse.search.trial import TrialRecord

FITS: Final = "fits"
"""Constraint of a study on every trial: 1 where no design of the trial fits the accelerator or meets the limits."""


optuna.logging.set_verbosity(optuna.logging.WARNING)  # what a run does, its own progress says


def param_name(dimension: Dimension) -> str:
    """Name of a dimension in an optuna study; says how its number is to be read."""
    match dimension.scale:
        case Scale.POWER_OF_TWO:
            return f"log2({dimension.path})"
        case Scale.ORDERED:
            return f"index({dimension.path})"
        case _:
            return dimension.path


def distributions(outer: Sequence[Dimension]) -> dict[str, optuna.distributions.BaseDistribution]:
    """One optuna distribution per dimension: exponents for powers of two, positions for ordered values, else categories."""
    found: dict[str, optuna.distributions.BaseDistribution] = {}
    for dimension in outer:
        match dimension.scale:
            case Scale.POWER_OF_TWO:
                exponents = [int(log2(float(v))) for v in dimension.values if v is not None]
                found[param_name(dimension)] = optuna.distributions.IntDistribution(exponents[0], exponents[-1])
            case Scale.ORDERED:
                found[param_name(dimension)] = optuna.distributions.IntDistribution(0, len(dimension.values) - 1)
            case _:
                found[param_name(dimension)] = optuna.distributions.CategoricalDistribution(dimension.values)
    return found


def outer_params(space: Space, outer: int) -> dict[str, object]:
    """Parameters of outer choice `outer` as optuna stores them."""
    params: dict[str, object] = {}
    for dimension, digit in zip(space.outer, digits_of(space.outer, outer), strict=True):
        value = dimension.values[digit]
        match dimension.scale:
            case Scale.POWER_OF_TWO:
                params[param_name(dimension)] = int(log2(float(str(value))))
            case Scale.ORDERED:
                params[param_name(dimension)] = digit
            case _:
                params[param_name(dimension)] = value
    return params


def decode(dimension: Dimension, stored: object) -> int:
    """Position of the value that optuna stores as `stored`."""
    match dimension.scale:
        case Scale.POWER_OF_TWO:
            return [int(log2(float(v))) for v in dimension.values if v is not None].index(int(str(stored)))
        case Scale.ORDERED:
            return int(str(stored))
        case _:
            return next(i for i, v in enumerate(dimension.values) if v == stored and type(v) is type(stored))


def frozen_trial(
    record: TrialRecord,
    space: Space,
    goals: Goals,
    *,
    placeholder: Sequence[float] | None = None,
    user_attrs: Mapping[str, object] | None = None,
    known: Mapping[str, optuna.distributions.BaseDistribution] | None = None,
) -> optuna.trial.FrozenTrial:
    """A finished trial for a study: the design that it reports, or the nearest miss with its violations.

    A trial without any priced design is told with the `placeholder` values and its violations (FAIL without placeholder): its
    values mean nothing, samplers rank it by its violations. Failed trials are FAIL.
    """
    design = record.best or (record.miss.design if record.miss else None)
    names = goals.objectives
    priced = design is not None and all(name in design.metrics for name in names)
    values = [design.metrics[name] for name in names] if design is not None and priced else placeholder
    told = record.state is not TrialState.FAILED and values is not None
    constraints: dict[str, float] = {}
    if told:
        violations = record.miss.violations if record.miss else tuple(0.0 for _ in goals.constraints)
        constraints = {str(c): v for c, v in zip(goals.constraints, violations, strict=True)}
        constraints[FITS] = 0.0 if design is not None else 1.0
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.COMPLETE if told else optuna.trial.TrialState.FAIL,
        values=list(values) if told and values is not None else None,
        params=outer_params(space, record.outer),
        distributions=dict(known) if known is not None else distributions(space.outer),
        user_attrs=dict(user_attrs or {}),
        system_attrs=dict(record.sampler_state),
        constraints=constraints or None,
    )
