"""The accelerators and technologies that come with the project, behind the entry point `dse.accelerators`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from dse.errors import UsageError, did_you_mean
from dse.hw.file_form import AcceleratorFile
from dse.hw.read import read_accelerator_file
from dse.hw.technology import read_technology_file

if TYPE_CHECKING:
    from dse.hw.read import AcceleratorDescription
    from dse.hw.technology import Technology

_HERE: Final = Path(__file__).parent


class FolderOfTechnologies:
    """Technology files of a folder by name."""

    def __init__(self, folder: Path) -> None:
        self._files = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
        self._read: dict[str, Technology] = {}

    def names(self) -> tuple[str, ...]:
        """Names, sorted."""
        return tuple(self._files)

    def load(self, name: str) -> Technology:
        """The technology called `name`.

        Raises:
            UsageError: no such technology; names the nearest.
        """
        if name not in self._read:
            self._read[name] = read_technology_file(_find(self._files, name, "technology"))
        return self._read[name]


class FolderOfAccelerators:
    """Accelerator files of a folder by name; the catalogue behind the entry point."""

    def __init__(self, folder: Path, technologies: FolderOfTechnologies) -> None:
        self._files = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
        self.technologies = technologies

    def names(self) -> tuple[str, ...]:
        """Names, sorted."""
        return tuple(self._files)

    def load(self, name: str) -> AcceleratorDescription:
        """The accelerator called `name`.

        Raises:
            UsageError: no such accelerator; names the nearest.
        """
        return self.from_file(str(_find(self._files, name, "accelerator")))

    def from_file(self, path: str) -> AcceleratorDescription:
        """The accelerator in a YAML file, its technology from this catalogue or from beside the file.

        Raises:
            InputError: missing, broken or wrong file, all problems with their lines.
        """
        return read_accelerator_file(path, self.technologies)

    def json_schema(self) -> dict[str, object]:
        """JSON Schema of the accelerator YAML."""
        return AcceleratorFile.model_json_schema()


def _find(files: dict[str, Path], name: str, kind: str) -> Path:
    if name not in files:
        raise UsageError(f"{kind} '{name}' is not known; allowed: {', '.join(files)}.{did_you_mean(name, files)}")
    return files[name]


TECHNOLOGIES: Final = FolderOfTechnologies(_HERE / "technology")
CATALOGUE: Final = FolderOfAccelerators(_HERE / "catalogue", TECHNOLOGIES)
