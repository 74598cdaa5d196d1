"""Samplers by name, with options: ours with the settings that measured best, any other of optuna's as it is asked for."""

from __future__ import annotations

import importlib.util
import inspect
import warnings
from typing import TYPE_CHECKING, Any, Final

import optuna

from dse.errors import UsageError, did_you_mean
from dse.search.strategy import Sampler, SamplerName

if TYPE_CHECKING:
    from collections.abc import Mapping

POPULATIONS: Final = ((1_000, 20), (3_000, 50))
"""(trials, population of NSGA-II): 20 for budgets under 1,000, 50 up to 3,000."""
LARGEST_POPULATION: Final = 100
TORCH: Final = "torch"
NOT_OPTUNA: Final = (SamplerName.AUTO, SamplerName.EXHAUSTIVE, SamplerName.SURROGATE)
"""Samplers of our own; they take no options."""

_OURS: Final[Mapping[str, tuple[str, Mapping[str, object]]]] = {
    SamplerName.TPE: ("TPESampler", {"multivariate": True, "constant_liar": True}),
    SamplerName.NSGA2: ("NSGAIISampler", {}),
    SamplerName.GP: ("GPSampler", {"deterministic_objective": True}),
    SamplerName.RANDOM: ("RandomSampler", {}),
}
_NEEDS_TORCH: Final = ("GPSampler",)
_NOT_OFFERED: Final = ("BaseSampler", "BaseGASampler", "GridSampler", "PartialFixedSampler", "BruteForceSampler")
"""They need objects or keep what they have asked in their study; `exhaustive` does what the grid ones do."""


def sampler_names() -> tuple[str, ...]:
    """Everything that `sampler` takes."""
    found = [n for n in dir(optuna.samplers) if n.endswith("Sampler") and n not in _NOT_OFFERED]
    return (*NOT_OPTUNA, *_OURS, *found)


def has_torch() -> bool:
    """Whether a Gaussian process can run."""
    return importlib.util.find_spec(TORCH) is not None


def population(trials: int) -> int:
    """Population of NSGA-II for a budget of `trials`."""
    return next((size for most, size in POPULATIONS if trials < most), LARGEST_POPULATION)


def class_and_options(sampler: Sampler) -> tuple[str, dict[str, object]]:
    """Name of the optuna class behind a sampler, and its options with our defaults.

    Raises:
        UsageError: no such sampler, options that it does not take, or torch is needed and missing.
    """
    if sampler.name in NOT_OPTUNA:
        if sampler.options:
            raise UsageError(f"sampler '{sampler.name}' takes no options; given: {', '.join(sampler.options)}")
        return "", {}
    if sampler.name not in sampler_names():
        names = sampler_names()
        raise UsageError(f"sampler '{sampler.name}' is not known; allowed: {', '.join(names)}.{did_you_mean(sampler.name, names)}")
    name, ours = _OURS.get(sampler.name, (sampler.name, {}))
    if name in _NEEDS_TORCH and not has_torch():
        raise UsageError(f"sampler '{sampler.name}' needs torch and scipy; install the extra 'gp' of attention-dse, or take tpe")
    options = dict(ours) | dict(sampler.options)
    known = [p for p in inspect.signature(getattr(optuna.samplers, name).__init__).parameters if p not in ("self", "seed")]
    for option in options:
        if option not in known:
            raise UsageError(
                f"sampler '{sampler.name}' has no option '{option}'; it has: {', '.join(known) or 'none'}.{did_you_mean(option, known)}"
            )
    return name, options


def make_sampler(sampler: Sampler, *, seed: int, trials: int) -> optuna.samplers.BaseSampler:
    """A new sampler.

    Raises:
        UsageError: as `class_and_options`, or a value that the sampler refuses.
    """
    name, options = class_and_options(sampler)
    kind: Any = getattr(optuna.samplers, name)  # Any: each sampler has options of its own
    if name == "NSGAIISampler":
        options.setdefault("population_size", population(trials))
    if "seed" in inspect.signature(kind.__init__).parameters:
        options["seed"] = seed
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental and deprecated options: the user asked for them
        try:
            made: optuna.samplers.BaseSampler = kind(**options)
        except (TypeError, ValueError, ImportError) as error:
            raise UsageError(f"sampler '{sampler.name}': {error}; see optuna.samplers.{name}") from error
    return made
