"""Catalogues of models, accelerators and systems, found through entry points: the engine itself knows none by name."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from dse.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dse.hw.many_core_read import ChipDescription
    from dse.hw.read import AcceleratorDescription
    from dse.ir.lowering import Model
    from dse.system.read import SystemDescription

MODELS: Final = "dse.models"
ACCELERATORS: Final = "dse.accelerators"
CHIPS: Final = "dse.chips"
SYSTEMS: Final = "dse.systems"
CHIP_KEY: Final = "cores"
"""What the file of a chip of many cores has and that of one core has not."""
_FILE_SUFFIXES: Final = (".yaml", ".yml", ".json")
_FIRST: Final = "builtin"

Entry_co = TypeVar("Entry_co", covariant=True)


class Catalogue(Protocol[Entry_co]):
    """A set of models, accelerators, chips or systems, found through the entry-point group of its kind."""

    def names(self) -> tuple[str, ...]:
        """Names, sorted."""

    def load(self, name: str) -> Entry_co:
        """The entry called `name`, one of `names()`."""

    def from_file(self, path: str) -> Entry_co:
        """The entry in a YAML file; for a model also a Hugging Face `config.json`.

        Raises:
            InputError: missing, broken or wrong file, all problems with their lines.
        """

    def json_schema(self) -> dict[str, object]:
        """JSON Schema of the YAML."""


@cache
def model_catalogues() -> Mapping[str, Catalogue[Model]]:
    """Model catalogues by entry-point name, ours first.

    Raises:
        UsageError: a catalogue cannot be imported; names it.
    """
    return _catalogues(MODELS)


@cache
def accelerator_catalogues() -> Mapping[str, Catalogue[AcceleratorDescription]]:
    """Accelerator catalogues by entry-point name, ours first.

    Raises:
        UsageError: a catalogue cannot be imported; names it.
    """
    return _catalogues(ACCELERATORS)


@cache
def chip_catalogues() -> Mapping[str, Catalogue[ChipDescription]]:
    """Catalogues of chips of many cores by entry-point name, ours first.

    Raises:
        UsageError: a catalogue cannot be imported; names it.
    """
    return _catalogues(CHIPS)


@cache
def system_catalogues() -> Mapping[str, Catalogue[SystemDescription]]:
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


def chip_names() -> tuple[str, ...]:
    """Names of all catalogues of chips of many cores, sorted, each once."""
    return _names(chip_catalogues())


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
    """An accelerator of one core by catalogue name, or from a file (a text with a '/' or ending in .yaml, .yml, .json).

    Raises:
        UsageError: unknown name, with the known ones and the nearest (exit code 2: a name is part of the command), or a chip of many cores.
        InputError: a file that is missing, broken or wrong (exit code 3).
    """
    if accelerator_catalogues() and names_chip(name_or_path):
        raise UsageError(
            f"'{name_or_path}' is a chip of many cores, which dse eval, dse compare, dse trace, campaigns and systems take; "
            "here give an accelerator of one core"
        )
    return _load(accelerator_catalogues(), name_or_path, "accelerator", beside=chip_names())


def load_hardware(name_or_path: str) -> AcceleratorDescription | ChipDescription:
    """An accelerator of one core or a chip of many cores by catalogue name, or from a file.

    Raises:
        UsageError: unknown name, with the known ones and the nearest.
        InputError: a file that is missing, broken or wrong (exit code 3).
    """
    return load_chip(name_or_path) if names_chip(name_or_path) else load_accelerator(name_or_path)


def load_chip(name_or_path: str) -> ChipDescription:
    """A chip of many cores by catalogue name, or from a file.

    Raises:
        UsageError: unknown name.
        InputError: a file that is missing, broken or wrong (exit code 3).
    """
    return _load(chip_catalogues(), name_or_path, "chip")


def names_chip(name_or_path: str) -> bool:
    """Whether a name or a file is that of a chip of many cores.

    Raises:
        InputError: a file that is missing or broken.
    """
    from dse.files import load_yaml

    if _is_path(name_or_path):
        return not name_or_path.endswith(".json") and CHIP_KEY in load_yaml(name_or_path).data
    return name_or_path not in accelerator_names() and name_or_path in chip_names()


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


def _names(catalogues: Mapping[str, Catalogue[object]]) -> tuple[str, ...]:
    return tuple(sorted({name for catalogue in catalogues.values() for name in catalogue.names()}))


def _is_path(name_or_path: str) -> bool:
    return "/" in name_or_path or name_or_path.endswith(_FILE_SUFFIXES)


def _load(catalogues: Mapping[str, Catalogue[Entry_co]], name_or_path: str, kind: str, beside: tuple[str, ...] = ()) -> Entry_co:
    if _is_path(name_or_path):
        if catalogues:
            return next(iter(catalogues.values())).from_file(name_or_path)
        raise UsageError(f"no catalogue of {kind}s is installed; install attention-dse again")
    for catalogue in catalogues.values():
        if name_or_path in catalogue.names():
            return catalogue.load(name_or_path)
    known = tuple(sorted({*_names(catalogues), *beside}))
    near = did_you_mean(name_or_path, known)
    raise UsageError(f"{kind} '{name_or_path}' is not known.{near} Known: {', '.join(known)}; or give the path of a file")
