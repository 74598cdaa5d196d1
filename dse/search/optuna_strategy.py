"""optuna behind the strategy interface: a fresh in-memory study per batch, rebuilt from the finished trials, seeded per batch."""

from __future__ import annotations

import hashlib
import warnings
from math import log2
from typing import TYPE_CHECKING, Final

import optuna

from dse.cost.metrics import METRICS
from dse.search.space import Scale, digits_of
from dse.search.strategy import TPE_BATCH, Asked, SamplerName
from dse.search.trial import TrialState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dse.search.goals import Goals
    from dse.search.space import Dimension, Space
    from dse.search.trial import TrialRecord

POPULATION_SMALL: Final = 20
POPULATION_LARGE: Final = 50
"""Population of NSGA-II: 20 where the outer space has fewer than 1,000 choices, else 50."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


class OptunaStrategy:
    """An optuna sampler over the outer space.

    The study of a batch is a function of the finished trials and the batch number alone: sampler state lives in
    the trials' attributes, the seed is a hash of campaign seed and batch. A suggestion that was evaluated before
    is answered from memory and replaced by the next choice, in index order, that was not.
    """

    def __init__(self, sampler: SamplerName, space: Space, goals: Goals, seed: int) -> None:
        self._sampler = sampler
        self._space = space
        self._goals = goals
        self._seed = seed

    @property
    def batch_size(self) -> int:
        """See `Strategy`."""
        return self._population if self._sampler is SamplerName.NSGA2 else TPE_BATCH

    @property
    def _population(self) -> int:
        return POPULATION_SMALL if self._space.outer_size < 1_000 else POPULATION_LARGE

    def ask(self, history: Sequence[TrialRecord], batch: int, count: int) -> tuple[Asked, ...]:
        """See `Strategy`."""
        seen = {record.outer for record in history}
        count = min(count, self._space.outer_size - len(seen))
        if count <= 0:
            return ()
        study = self._study(history, batch)
        asked: list[Asked] = []
        while len(asked) < count:
            trial, outer = self._suggest(study)
            state = _sampler_state(study, trial)
            if outer in seen:
                outer = self._replace(study, trial, outer, seen)
            seen.add(outer)
            asked.append(Asked(outer, state))
        return tuple(asked)

    def _study(self, history: Sequence[TrialRecord], batch: int) -> optuna.Study:
        study = optuna.create_study(
            storage=optuna.storages.InMemoryStorage(),
            sampler=self._make_sampler(_seed(self._seed, batch)),
            directions=[METRICS[name].better.value for name in self._goals.objectives],
        )
        study.add_trials([frozen_trial(record, self._space, self._goals) for record in history])
        return study

    def _make_sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            match self._sampler:
                case SamplerName.TPE:
                    return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
                case SamplerName.NSGA2:
                    return optuna.samplers.NSGAIISampler(seed=seed, population_size=self._population)
                case _:
                    return optuna.samplers.RandomSampler(seed=seed)

    def _suggest(self, study: optuna.Study) -> tuple[optuna.Trial, int]:
        trial = study.ask(distributions(self._space.outer))
        digits = tuple(decode(dimension, trial.params[param_name(dimension)]) for dimension in self._space.outer)
        return trial, self._space.outer_index(digits)

    def _replace(self, study: optuna.Study, trial: optuna.Trial, outer: int, seen: set[int]) -> int:
        """The next unseen choice after `outer`, running in the study in place of the repeated suggestion."""
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        size = self._space.outer_size
        fresh = next(index % size for index in range(outer + 1, outer + size) if index % size not in seen)
        study.enqueue_trial(outer_params(self._space, fresh))
        return self._suggest(study)[1]


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
                params[param_name(dimension)] = int(log2(float(value or 1)))
            case Scale.ORDERED:
                params[param_name(dimension)] = digit
            case _:
                params[param_name(dimension)] = value
    return params


def decode(dimension: Dimension, stored: object) -> int:
    """Position of the value that optuna stored for `dimension`."""
    match dimension.scale:
        case Scale.POWER_OF_TWO:
            return [int(log2(float(v))) for v in dimension.values if v is not None].index(int(str(stored)))
        case Scale.ORDERED:
            return int(str(stored))
        case _:
            return next(i for i, v in enumerate(dimension.values) if v == stored and type(v) is type(stored))


def frozen_trial(
    record: TrialRecord, space: Space, goals: Goals, *, user_attrs: Mapping[str, object] | None = None
) -> optuna.trial.FrozenTrial:
    """A finished trial for a study: the EDP-best design, or the nearest miss with its violations; FAIL where neither exists."""
    design = record.best or (record.miss.design if record.miss else None)
    told = record.state is not TrialState.FAILED and design is not None
    constraints: dict[str, float] = {}
    if told and goals.constraints:
        violations = record.miss.violations if record.miss else tuple(0.0 for _ in goals.constraints)
        constraints = {str(c): v for c, v in zip(goals.constraints, violations, strict=True)}
    return optuna.trial.create_trial(
        state=optuna.trial.TrialState.COMPLETE if told else optuna.trial.TrialState.FAIL,
        values=[design.metrics[name] for name in goals.objectives] if told and design else None,
        params=outer_params(space, record.outer),
        distributions=distributions(space.outer),
        user_attrs=dict(user_attrs or {}),
        system_attrs=dict(record.sampler_state),
        constraints=constraints or None,
    )


def _sampler_state(study: optuna.Study, trial: optuna.Trial) -> Mapping[str, object]:
    """What the sampler wrote on the trial (the generation, for NSGA-II)."""
    attrs = study.get_trials(deepcopy=False)[trial.number].system_attrs
    return {key: value for key, value in attrs.items() if key.endswith(":generation")}


def _seed(seed: int, batch: int) -> int:
    """31-bit seed of a batch."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{batch}".encode()).digest()[:4], "big") & 0x7FFFFFFF
