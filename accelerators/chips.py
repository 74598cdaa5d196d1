"""The chips of many cores that come with the project, behind the entry point `dse.chips`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from accelerators.catalogue import TECHNOLOGIES
from dse.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from accelerators.catalogue import FolderOfTechnologies
    from dse.hw.many_core_read import ChipDescription


class FolderOfChips:
    """Chip files of a folder by name."""

    def __init__(self, folder: Path, technologies: FolderOfTechnologies) -> None:
        self._files = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
        self.technologies = technologies

    def names(self) -> tuple[str, ...]:
        """Names, sorted."""
        return tuple(self._files)

    def load(self, name: str) -> ChipDescription:
        """The chip called `name`.

        Raises:
            UsageError: no such chip; names the nearest.
        """
        if name not in self._files:
            raise UsageError(f"chip '{name}' is not known; allowed: {', '.join(self._files)}.{did_you_mean(name, self._files)}")
        return self.from_file(str(self._files[name]))

    def from_file(self, path: str) -> ChipDescription:
        """The chip in a YAML file, its technology from the catalogue or from beside the file.

        Raises:
            InputError: missing, broken or wrong file, all problems with their lines.
        """
        from dse.hw.many_core_read import read_chip_file  # with its forms 0.1 s, which those who ask for names alone need not spend

        return read_chip_file(path, self.technologies)

    def json_schema(self) -> dict[str, object]:
        """JSON Schema of the chip YAML."""
        from dse.hw.many_core_form import ChipFile

        return ChipFile.model_json_schema()


CATALOGUE: Final = FolderOfChips(Path(__file__).parent / "many_core", TECHNOLOGIES)
