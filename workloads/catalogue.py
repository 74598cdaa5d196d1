"""The models of this package, and models from files, for the engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from dse.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from dse.ir.lowering import Model
    from workloads.config import ModelConfig

_FOLDER: Final = Path(__file__).parent / "models"


class Catalogue:
    """Models by name or from a file; implements `dse.plugins.Catalogue`."""

    def names(self) -> tuple[str, ...]:
        """Names, sorted."""
        return tuple(sorted(file.stem for file in _FOLDER.glob("*.yaml")))

    def load(self, name: str) -> Model:
        """The model called `name`.

        Raises:
            UsageError: no such model; lists the names.
        """
        names = self.names()
        if name not in names:
            raise UsageError(f"model '{name}' is not in the catalogue; there are: {', '.join(names)}.{did_you_mean(name, names)}")
        return self.from_file(str(_FOLDER / f"{name}.yaml"))

    def from_file(self, path: str) -> Model:
        """The model in a YAML of our form or in a Hugging Face `config.json` (told apart by the suffix `.json`).

        Raises:
            InputError: the file is missing, broken, or of an unknown architecture; names file, line and key.
        """
        from workloads.limits import check_limits
        from workloads.model import DecoderModel

        if path.lower().endswith(".json"):
            from workloads.huggingface import load_config

            return DecoderModel(check_limits(load_config(path), path))
        return DecoderModel(check_limits(_read(path), path))

    def json_schema(self) -> dict[str, object]:
        """JSON Schema of the model YAML."""
        from workloads.schema import ModelFile

        return ModelFile.model_json_schema()


def model_config(name: str) -> ModelConfig:
    """Dimensions of the catalogue model called `name`."""
    return _read(str(_FOLDER / f"{name}.yaml"))


def _read(path: str) -> ModelConfig:
    from dse.files import load_yaml, validate
    from workloads.schema import ModelFile, to_config

    return to_config(validate(load_yaml(path), ModelFile))


CATALOGUE: Final = Catalogue()
"""What the entry-point group `dse.models` names."""
