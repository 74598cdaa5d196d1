"""Samplers by name, with options: ours with the settings that measured best, any other of optuna's as it is asked for."""

from __future__ import annotations

import importlib.util
import inspect
import warnings
from typing import TYPE_CHECKING, Any, Final

import optuna

from dse.errors import UsageError, did_you_mean
from dse.search.space import Scale
from dse.search.strategy import Sampler, SamplerName

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dse.search.goals import Goals
    from dse.search.space import Space

POPULATIONS: Final = ((1_000, 20), (3_000, 50))
"""(trials, population of NSGA-II): 20 for budgets under 1,000, 50 up to 3,000."""
LARGEST_POPULATION: Final = 100
GENETIC: Final = ("NSGAIISampler", "NSGAIIISampler")
"""Their batch is a population."""
QMC: Final = "QMCSampler"
CMAES: Final = "CmaEsSampler"
CMAES_DIMENSIONS: Final = 2
CMAES_SOURCES: Final = 10
"""Feasible trials from which on CMA-ES starts every batch from the best tenth of them: its own state would be a pickle in the study."""
NOT_OPTUNA: Final = (SamplerName.AUTO, SamplerName.EXHAUSTIVE, SamplerName.SURROGATE)
"""Samplers of our own; they take no options."""

_OURS: Final[Mapping[str, tuple[str, Mapping[str, object]]]] = {
    SamplerName.TPE: ("TPESampler", {"multivariate": True, "constant_liar": True}),
    SamplerName.NSGA2: ("NSGAIISampler", {}),
    SamplerName.NSGA3: ("NSGAIIISampler", {}),
    SamplerName.GP: ("GPSampler", {"deterministic_objective": True}),
    SamplerName.RANDOM: ("RandomSampler", {}),
    SamplerName.QMC: (QMC, {"scramble": True}),
    SamplerName.CMAES: (CMAES, {"warn_independent_sampling": False}),
}
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}
"""Python types of a value, by the names in signatures."""
_NEEDS: Final[Mapping[str, tuple[str, ...]]] = {"GPSampler": ("torch", "scipy"), QMC: ("scipy",), CMAES: ("cmaes",)}
"""Packages that a sampler needs beyond those of the project."""
_NOT_OFFERED: Final = ("BaseSampler", "BaseGASampler", "GridSampler", "PartialFixedSampler", "BruteForceSampler")
"""They need objects or keep what they have asked in their study; `exhaustive` does what the grid ones do."""


def sampler_names() -> tuple[str, ...]:
    """Everything that `sampler` takes."""
    found = [n for n in dir(optuna.samplers) if n.endswith("Sampler") and n not in _NOT_OFFERED]
    return (*NOT_OPTUNA, *_OURS, *found)


def check_packages(sampler: Sampler) -> None:
    """Refuse a sampler that cannot run here.

    Raises:
        UsageError: a package that it needs is not installed.
    """
    kind = _OURS.get(sampler.name, (sampler.name, {}))[0]
    missing = [package for package in _NEEDS.get(kind, ()) if importlib.util.find_spec(package) is None]
    if missing:
        how = "install the extra 'gp' of attention-dse" if kind == "GPSampler" else f"pip install {' '.join(missing)}"
        raise UsageError(f"sampler '{sampler.name}' needs {' and '.join(missing)}, not installed here: {how}, or take surrogate or tpe")


def check_goals(sampler: Sampler, goals: Goals, space: Space) -> None:
    """Refuse a sampler that cannot search a space for these objectives.

    Raises:
        UsageError: CMA-ES with several objectives, or without two dimensions of ordered values.
    """
    if _OURS.get(sampler.name, (sampler.name, {}))[0] != CMAES:
        return
    if len(goals.objectives) > 1:
        raise UsageError(
            f"sampler '{sampler.name}' seeks one objective, the campaign has {len(goals.objectives)}: take nsga2, surrogate or tpe"
        )
    numbers = [d.path for d in space.outer if d.scale is not Scale.CATEGORICAL]
    if len(numbers) < CMAES_DIMENSIONS:
        raise UsageError(
            f"sampler '{sampler.name}' needs {CMAES_DIMENSIONS} outer dimensions of ordered numbers, the campaign has"
            f" {len(numbers) or 'none'}: take nsga2, surrogate or tpe"
        )


def population(trials: int) -> int:
    """Population of NSGA-II for a budget of `trials`."""
    return next((size for most, size in POPULATIONS if trials < most), LARGEST_POPULATION)


def class_and_options(sampler: Sampler) -> tuple[str, dict[str, object]]:
    """Name of the optuna class behind a sampler, and its options with our defaults.

    Raises:
        UsageError: no such sampler, or options that it does not take.
    """
    if sampler.name in NOT_OPTUNA:
        if sampler.options:
            raise UsageError(f"sampler '{sampler.name}' takes no options; given: {', '.join(sampler.options)}")
        return "", {}
    if sampler.name not in sampler_names():
        names = sampler_names()
        raise UsageError(f"sampler '{sampler.name}' is not known; allowed: {', '.join(names)}.{did_you_mean(sampler.name, names)}")
    name, ours = _OURS.get(sampler.name, (sampler.name, {}))
    known = _options_of(name)
    for option, value in sampler.options.items():
        if option not in known:
            hint = did_you_mean(option, tuple(known))
            raise UsageError(f"sampler '{sampler.name}' has no option '{option}'; it has: {', '.join(known) or 'none'}.{hint}")
        if not _is_one_of(value, known[option]):
            raise UsageError(
                f"sampler '{sampler.name}', option '{option}': {value!r} is of the wrong type; it takes {' or '.join(known[option])}"
            )
    options = dict(ours) | dict(sampler.options)
    return name, options


def _options_of(name: str) -> dict[str, tuple[str, ...]]:
    """Options of an optuna class with the types that they take, without those that a file cannot give: objects and functions."""
    found = {}
    for option, parameter in inspect.signature(getattr(optuna.samplers, name).__init__).parameters.items():
        types = tuple(part.strip() for part in str(parameter.annotation).split("|"))
        plain = tuple(part for part in types if part in _TYPES)
        if option != "seed" and plain:
            found[option] = (*plain, *(("null",) if "None" in types else ()))
    return found


def _is_one_of(value: object, types: tuple[str, ...]) -> bool:
    if value is None:
        return "null" in types
    return any(type(value) in _TYPES.get(name, ()) for name in types)


class SequenceSampler(optuna.samplers.QMCSampler):
    """One sequence of points through all batches of a run; optuna would keep its place in a study, which a batch has anew."""

    def start(self, position: int, space: Mapping[str, optuna.distributions.BaseDistribution]) -> None:
        """Go on at `position` of the sequence over `space`."""
        self.position = position
        self._over = dict(space)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: optuna.trial.FrozenTrial
    ) -> dict[str, optuna.distributions.BaseDistribution]:
        """The same space always, also of the first trial."""
        del study, trial
        return self._over

    def _find_sample_id(self, study: optuna.Study, search_space: dict[str, optuna.distributions.BaseDistribution]) -> int:
        del study, search_space
        self.position += 1
        return self.position - 1


def make_sampler(
    sampler: Sampler, *, seed: int, trials: int, sources: Sequence[optuna.trial.FrozenTrial] = ()
) -> optuna.samplers.BaseSampler:
    """A new sampler; `sources` are the feasible trials that CMA-ES takes its distribution from.

    Raises:
        UsageError: as `class_and_options` and `check_packages`, or a value that the sampler refuses.
    """
    name, options = class_and_options(sampler)
    check_packages(sampler)
    kind: Any = SequenceSampler if name == QMC else getattr(optuna.samplers, name)  # Any: each sampler has options of its own
    if name in GENETIC:
        options.setdefault("population_size", population(trials))
    if name == CMAES and not {"x0", "sigma0", "use_separable_cma"} & set(options) and len(sources) >= CMAES_SOURCES:
        options.setdefault("source_trials", list(sources))
    options["seed"] = seed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental and deprecated options: the user asked for them
        try:
            made: optuna.samplers.BaseSampler = kind(**options)
        except (TypeError, ValueError, ImportError) as error:
            raise UsageError(f"sampler '{sampler.name}': {error}; see optuna.samplers.{name}") from error
    return made
