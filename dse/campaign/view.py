"""A run as it lies in its folder, read from its log alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dse.campaign.header import Header
from dse.campaign.log import LogContent, read_log
from dse.errors import RunError
from dse.search.archive import Archive
from dse.search.trial import TrialState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dse.search.archive import Member
    from dse.search.space import Value
    from dse.search.trial import TrialRecord

LOG: Final = "results.jsonl"
MANIFEST: Final = "manifest.json"


@dataclass(frozen=True)
class Run:
    """Header, trials and front of a run."""

    folder: Path
    header: Header
    records: tuple[TrialRecord, ...]
    archive: Archive
    hypervolumes: tuple[tuple[int, float], ...]
    """(trials done, hypervolume) after each batch from the first with feasible designs on."""
    manifest: Mapping[str, object]

    @property
    def exact(self) -> bool:
        """Whether every design of the space was decided, so that the front is the true one."""
        choices = self.header.choices
        visited = choices.known and len({record.outer for record in self.records}) == choices.count
        return self.header.shard is None and visited and all(record.state is not TrialState.FAILED for record in self.records)

    @property
    def sampler_reason(self) -> str:
        """Why `auto` chose the sampler; empty where the campaign names it."""
        choice = self.manifest.get("sampler_choice")
        return str(choice.get("reason", "")) if isinstance(choice, dict) else ""

    @property
    def designs(self) -> int:
        """Designs decided: priced, or ruled out by limits, capacity, area or cost."""
        return sum(record.designs for record in self.records)

    @property
    def priced(self) -> int:
        """Designs priced."""
        return sum(record.priced for record in self.records)

    @property
    def failures(self) -> tuple[TrialRecord, ...]:
        """Failed trials."""
        return tuple(record for record in self.records if record.state is TrialState.FAILED)

    def parameters(self, member: Member) -> dict[str, Value]:
        """Values of all dimensions of a front member."""
        return self.header.space.parameters(member.outer, member.design.inner)


class RunView:
    """A run that grows batch by batch: its front and the history of its hypervolume."""

    def __init__(self, folder: Path, header: Header, manifest: Mapping[str, object]) -> None:
        self._folder = folder
        self._header = header
        self._manifest = manifest
        self._records: list[TrialRecord] = []
        self._archive = Archive(header.goals, header.reference)
        self._history: list[tuple[int, float]] = []

    def add(self, batch: Sequence[TrialRecord]) -> None:
        """Take in one batch."""
        self._records += batch
        self._archive.add_batch(batch)
        if self._archive.reference is not None:
            self._history.append((len(self._records), self._archive.hypervolume))

    def hypervolumes(self) -> Sequence[tuple[int, float]]:
        """See `Run.hypervolumes`."""
        return self._history

    def run(self) -> Run:
        """The run as it stands."""
        return Run(self._folder, self._header, tuple(self._records), self._archive, tuple(self._history), self._manifest)


def view(folder: Path, content: LogContent, manifest: Mapping[str, object]) -> Run:
    """The run behind the content of a log."""
    seen = RunView(folder, Header.from_json(content.header), manifest)
    for batch in content.batches:
        seen.add(batch)
    return seen.run()


def load_run(path: str | Path) -> Run:
    """The run in a folder; of a folder that holds several runs, the latest by name.

    Raises:
        RunError: no run there, or one that cannot be read.
    """
    folder = find_run(Path(path))
    content = read_log(folder / LOG)
    return view(folder, content, read_manifest(folder))


def read_manifest(folder: Path) -> Mapping[str, object]:
    """The manifest of a run; empty where there is none yet."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RunError(f"{folder / MANIFEST}: cannot be read ({error}); start again with --new, or with --force in this folder") from error
    return manifest if isinstance(manifest, dict) else {}


def find_run(path: Path) -> Path:
    """The folder of the run that `path` names.

    Raises:
        RunError: there is none.
    """
    if (path / LOG).is_file():
        return path
    inside = runs_in(path)
    if inside:
        return inside[-1]
    raise RunError(f"{path}: holds no run (no {LOG}); give the folder that dse search printed")


def runs_in(path: Path) -> list[Path]:
    """Run folders directly under `path`, by name; names start with the time, so the last is the latest."""
    if not path.is_dir():
        return []
    return sorted(child for child in path.iterdir() if (child / LOG).is_file())
