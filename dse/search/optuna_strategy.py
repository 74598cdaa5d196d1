"""optuna behind the strategy interface: a fresh in-memory study per batch, built from the finished trials, seeded per batch."""

from __future__ import annotations

import copy
import hashlib
from math import log
from typing import TYPE_CHECKING, Final

import numpy as np
import optuna

from dse.errors import UsageError
from dse.search.optuna_params import decode, distributions, frozen_trial, outer_params, param_name
from dse.search.pareto import peel
from dse.search.quantities import quantity
from dse.search.samplers import CMAES, GENETIC, QMC, SequenceSampler, class_and_options, make_sampler, population
from dse.search.strategy import TPE_BATCH, Asked, Sampler

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dse.search.goals import Goals
    from dse.search.limits import OuterChoices
    from dse.search.trial import TrialRecord

COMPACT_ABOVE: Final = 1_000
"""Finished trials that TPE and GP see at most; of more, the best, the latest and an even spread of the rest."""
COMPACT_BEST: Final = 300
COMPACT_LATEST: Final = 200
GP_SEES: Final = 250
"""As `COMPACT_ABOVE`, for a Gaussian process: its cost grows with the cube."""
POSITION: Final = "qmc:position"
"""What a trial keeps of a sequence: the place after the last point that was taken."""
TRIES: Final = 25
"""Suggestions that break a limit before the next allowed choice in index order is taken."""


class OptunaStrategy:
    """An optuna sampler over the allowed outer choices.

    The study of a batch is a function of the finished trials and the batch number alone: sampler state lives in
    the trials' attributes, the seed is a hash of campaign seed and batch. A suggestion that was evaluated before
    is answered from memory and replaced by the next choice, in index order, that was not; one that breaks a limit is told
    as infeasible, at no cost, and another is asked for.
    """

    def __init__(self, sampler: Sampler, choices: OuterChoices, goals: Goals, seed: int, seeds: tuple[int, ...] = ()) -> None:
        """`seeds`: outer choices asked before the sampler is."""
        self._sampler = sampler
        self._kind = class_and_options(sampler)[0]
        self._choices = choices
        self._space = choices.space
        self._goals = goals
        self._seed = seed
        self._seeds = tuple(dict.fromkeys(outer for outer in seeds if choices.allows(outer)))
        self._distributions = distributions(self._space.outer)
        self._told: dict[int, optuna.trial.FrozenTrial] = {}

    @property
    def batch_size(self) -> int:
        """See `Strategy`."""
        if self._kind in GENETIC:
            options = class_and_options(self._sampler)[1]
            return int(str(options.get("population_size", self._population)))
        return TPE_BATCH

    @property
    def looks_back(self) -> bool:
        """See `Strategy`."""
        return True

    @property
    def _population(self) -> int:
        return population(self._choices.count)

    def ask(self, history: Sequence[TrialRecord], batch: int, count: int, *, done: int | None = None) -> tuple[Asked, ...]:
        """See `Strategy`."""
        assert done is None or done == len(history), "this strategy looks back"
        seen = {record.outer for record in history}
        first = [outer for outer in self._seeds if outer not in seen][:count]
        if first:
            return tuple(map(Asked, first))
        if self._choices.known:
            count = min(count, self._choices.count - len(seen))
        if count <= 0:
            return ()
        try:
            return self._ask(self._study(history, batch), seen, count)
        except ImportError as error:
            raise UsageError(
                f"sampler '{self._sampler.name}' needs the package {error.name}, which is not installed; take another, such as tpe"
            ) from error
        except (ValueError, NotImplementedError, RuntimeError) as error:
            raise UsageError(f"sampler '{self._sampler.name}' cannot search this campaign: {error}; take another, such as tpe") from error

    def _ask(self, study: optuna.Study, seen: set[int], count: int) -> tuple[Asked, ...]:
        asked: list[Asked] = []
        while len(asked) < count:
            trial, outer = self._allowed(study)
            state = self._state(study, trial)
            if outer in seen or not self._choices.allows(outer):
                fresh = self._next(outer, seen)
                if fresh is None:
                    break
                outer = fresh
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
                study.enqueue_trial(outer_params(self._space, outer))
                self._suggest(study)  # now running: constant liar keeps away from it
            seen.add(outer)
            asked.append(Asked(outer, state))
        return tuple(asked)

    def _state(self, study: optuna.Study, trial: optuna.Trial) -> Mapping[str, object]:
        """What is kept of the sampler's state with a trial: for the genetic ones the generation, of a sequence the place."""
        if isinstance(study.sampler, SequenceSampler):
            return {POSITION: study.sampler.position}
        return {} if self._kind == CMAES else _sampler_state(study, trial)

    def _study(self, history: Sequence[TrialRecord], batch: int) -> optuna.Study:
        storage = optuna.storages.InMemoryStorage()
        seed = self._seed if self._kind == QMC else _seed(self._seed, batch)
        sampler = make_sampler(self._sampler, seed=seed, trials=self._choices.count, sources=self._sources(history))
        if isinstance(sampler, SequenceSampler):
            known = (record.sampler_state.get(POSITION, 0) for record in history)
            sampler.start(max((int(str(position)) for position in known), default=0), self._distributions)
        study = optuna.create_study(
            storage=storage,
            sampler=sampler,
            directions=[quantity(name).better.value for name in self._goals.objectives],
        )
        identity = storage.get_study_id_from_name(study.study_name)
        for record in self._compacted(history):
            storage.create_new_trial(identity, template_trial=self._frozen(record, history))
        return study

    def _sources(self, history: Sequence[TrialRecord]) -> list[optuna.trial.FrozenTrial]:
        """What CMA-ES starts from: feasible trials in the dimensions of numbers; the others it draws by chance."""
        if self._kind != CMAES:
            return []
        found = []
        numbers = {k: d for k, d in self._distributions.items() if not isinstance(d, optuna.distributions.CategoricalDistribution)}
        for record in history:
            if record.best is not None:
                told = self._frozen(record, history)
                params = {name: told.params[name] for name in numbers}
                found.append(optuna.trial.create_trial(values=told.values, params=params, distributions=numbers))
        return found

    def _frozen(self, record: TrialRecord, history: Sequence[TrialRecord]) -> optuna.trial.FrozenTrial:
        if record.number not in self._told:
            worst = [earlier.worst for earlier in history[: record.number] if earlier.worst]
            placeholder = np.where(self._goals.maximise, np.min(worst, axis=0), np.max(worst, axis=0)) if worst else None
            values = [1.0] * len(self._goals.objectives) if placeholder is None else placeholder.tolist()
            made = frozen_trial(record, self._space, self._goals, placeholder=values, known=self._distributions)
            if made.state is optuna.trial.TrialState.COMPLETE:
                made.values = [log(value) if value > 0 else -1e9 for value in made.values]  # quantities span decades
            made.__class__ = _Finished
            self._told[record.number] = made
        return self._told[record.number]

    def _compacted(self, history: Sequence[TrialRecord]) -> Sequence[TrialRecord]:
        """What the sampler sees: everything while that is little, else the best, the latest and an even spread of the rest."""
        most = GP_SEES if self._kind == "GPSampler" else COMPACT_ABOVE if self._kind == "TPESampler" else len(history)
        if len(history) <= most:
            return history
        share = most / COMPACT_ABOVE
        chosen = set(range(len(history) - int(COMPACT_LATEST * share), len(history)))
        good = [i for i, record in enumerate(history) if record.best]
        if good:
            values = np.array([[history[i].best.metrics[n] for n in self._goals.objectives] for i in good])  # type: ignore[union-attr]
            chosen |= {good[i] for i in peel(values, self._goals.maximise, int(COMPACT_BEST * share))}
        rest = [i for i in range(len(history)) if i not in chosen]
        room = most - len(chosen)
        chosen |= {rest[i] for i in np.linspace(0, len(rest) - 1, min(room, len(rest))).round().astype(int).tolist()}
        return [history[i] for i in sorted(chosen)]

    def _allowed(self, study: optuna.Study) -> tuple[optuna.Trial, int]:
        """A suggestion that meets the limits, if one comes within some tries; the others are told as infeasible."""
        for _ in range(TRIES):
            trial, outer = self._suggest(study)
            if self._choices.allows(outer):
                break
            trial.set_constraint("limits", 1.0)
            study.tell(trial, [0.0] * len(self._goals.objectives))
        else:
            trial, outer = self._suggest(study)
        return trial, outer

    def _suggest(self, study: optuna.Study) -> tuple[optuna.Trial, int]:
        trial = study.ask(self._distributions)
        digits = tuple(decode(dimension, trial.params[param_name(dimension)]) for dimension in self._space.outer)
        return trial, self._space.outer_index(digits)

    def _next(self, outer: int, seen: set[int]) -> int | None:
        """The next allowed choice after `outer` that was not seen; None where there is none."""
        size = self._space.outer_size
        around = (index % size for index in range(outer + 1, outer + size))
        return next((index for index in around if index not in seen and self._choices.allows(index)), None)


class _Finished(optuna.trial.FrozenTrial):
    """A finished trial is never changed, so a study may share it; copying it in depth is most of the cost of a study."""

    def __deepcopy__(self, memo: object) -> optuna.trial.FrozenTrial:
        del memo
        return copy.copy(self)


def _sampler_state(study: optuna.Study, trial: optuna.Trial) -> Mapping[str, object]:
    """What the sampler wrote on the trial (the generation, for the genetic ones)."""
    attrs = study.get_trials(deepcopy=False)[trial.number].system_attrs
    return {key: value for key, value in attrs.items() if isinstance(value, bool | int | float)}


def _seed(seed: int, batch: int) -> int:
    """31-bit seed of a batch."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{batch}".encode()).digest()[:4], "big") & 0x7FFFFFFF
