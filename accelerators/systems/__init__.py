"""The systems that come with the project, behind the entry point `dse.systems`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from dse.errors import UsageError, did_you_mean
from dse.system.file_form import SystemFile
from dse.system.read import read_system_file

if TYPE_CHECKING:
    from dse.system.read import SystemDescription


class FolderOfSystems:
    """System files of a folder by name; the catalogue behind the entry point."""

    def __init__(self, folder: Path) -> None:
        self._files = {path.stem: path for path in sorted(folder.glob("*.yaml"))}

    def names(self) -> tuple[str, ...]:
        """Names, sorted."""
        return tuple(self._files)

    def load(self, name: str) -> SystemDescription:
        """The system called `name`.

        Raises:
            UsageError: no such system; names the nearest.
        """
        if name not in self._files:
            raise UsageError(f"system '{name}' is not known; allowed: {', '.join(self._files)}.{did_you_mean(name, self._files)}")
        return self.from_file(str(self._files[name]))

    def from_file(self, path: str) -> SystemDescription:
        """The system in a YAML file, its chip from a catalogue or from beside the file.

        Raises:
            InputError: missing, broken or wrong file, all problems with their lines.
        """
        return read_system_file(path)

    def json_schema(self) -> dict[str, object]:
        """JSON Schema of the system YAML."""
        return SystemFile.model_json_schema()


CATALOGUE: Final = FolderOfSystems(Path(__file__).parent)
