"""Catalogues of models, accelerators and systems, found through entry points: the engine itself knows none by name."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from dse.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.hw.read import AcceleratorCatalogue, AcceleratorDescription
    from dse.ir.lowering import Model, ModelCatalogue
    from dse.system.read import SystemCatalogue, SystemDescription

MODELS: Final = "dse.models"
ACCELERATORS: Final = "dse.accelerators"
SYSTEMS: Final = "dse.systems"
_FILE_SUFFIXES: Final = (".yaml", ".yml", ".json")
_FIRST: Final = "builtin"

Entry_co = TypeVar("Entry_co", covariant=True)


class _Catalogue(Protocol[Entry_co]):
    def names(self) -> tuple[str, ...]: ...
    def load(self, name: str) -> Entry_co: ...
    def from_file(self, path: str) -> Entry_co: ...


@cache
def model_catalogues() -> Mapping[str, ModelCatalogue]:
    """Model catalogues by entry-point name, ours first.

    Raises:
        UsageError: a catalogue cannot be imported; names it.
    """
    return _catalogues(MODELS)


@cache
def accelerator_catalogues() -> Mapping[str, AcceleratorCatalogue]:
    """Accelerator catalogues by entry-point name, ours first.

    Raises:
        UsageError: a catalogue cannot be imported; names it.
    """
    return _catalogues(ACCELERATORS)


@cache
def system_catalogues() -> Mapping[str, SystemCatalogue]:
    """System catalogues by entry-point name, ours first.

    Raises:
        UsageError: a catalogue cannot be imported; names it.
    """
    return _catalogues(SYSTEMS)


def model_names() -> tuple[str, ...]:
    """Names of all catalogues, sorted, each once."""
    return _names(model_catalogues())


def accelerator_names() -> tuple[str, ...]:
    """Names of all catalogues, sorted, each once."""
    return _names(accelerator_catalogues())


def system_names() -> tuple[str, ...]:
    """Names of all catalogues, sorted, each once."""
    return _names(system_catalogues())


def load_model(name_or_path: str) -> Model:
    """A model by catalogue name, or from a file (a text with a '/' or ending in .yaml, .yml, .json).

    Raises:
        UsageError: unknown name; lists the known ones and the nearest (exit code 2: a name is part of the command).
        InputError: a file that is missing, broken or wrong (exit code 3).
    """
    return _load(model_catalogues(), name_or_path, "model")


def load_accelerator(name_or_path: str) -> AcceleratorDescription:
    """An accelerator by catalogue name, or from a file (a text with a '/' or ending in .yaml, .yml, .json).

    Raises:
        UsageError: unknown name; lists the known ones and the nearest (exit code 2: a name is part of the command).
        InputError: a file that is missing, broken or wrong (exit code 3).
    """
    return _load(accelerator_catalogues(), name_or_path, "accelerator")


def load_system(name_or_path: str) -> SystemDescription:
    """A system of many chips by catalogue name, or from a file (a text with a '/' or ending in .yaml, .yml, .json).

    Raises:
        UsageError: unknown name; lists the known ones and the nearest (exit code 2: a name is part of the command).
        InputError: a file that is missing, broken or wrong (exit code 3).
    """
    return _load(system_catalogues(), name_or_path, "system")


def _catalogues(group: str) -> dict[str, Any]:  # Any: what an entry point names, trusted to follow its protocol
    found: dict[str, Any] = {}
    for entry in sorted(entry_points(group=group), key=lambda e: (e.name != _FIRST, e.name)):
        try:
            found[entry.name] = entry.load()
        except (ImportError, AttributeError) as error:
            message = f"catalogue '{entry.name}' ({entry.value}) of {group} cannot be loaded: {error}"
            raise UsageError(f"{message}; reinstall the package that brings it, or remove it") from error
    return found


def _names(catalogues: Mapping[str, _Catalogue[object]]) -> tuple[str, ...]:
    return tuple(sorted({name for catalogue in catalogues.values() for name in catalogue.names()}))


def _load(catalogues: Mapping[str, _Catalogue[Entry_co]], name_or_path: str, kind: str) -> Entry_co:
    if "/" in name_or_path or name_or_path.endswith(_FILE_SUFFIXES):
        if catalogues:
            return next(iter(catalogues.values())).from_file(name_or_path)
        raise UsageError(f"no catalogue of {kind}s is installed; install attention-dse again")
    for catalogue in catalogues.values():
        if name_or_path in catalogue.names():
            return catalogue.load(name_or_path)
    known = _names(catalogues)
    near = did_you_mean(name_or_path, known)
    raise UsageError(f"{kind} '{name_or_path}' is not known.{near} Known: {', '.join(known)}; or give the path of a file")
