"""What an import read, assumed, warns of and could not say: a line each, for standard error and the head of the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Said(StrEnum):
    """Kinds of lines."""

    READ = "read"
    ASSUMED = "assumed"
    """The source does not say it."""
    LOST = "lost"
    """The source says it and our form cannot."""
    WARNING = "warning"


@dataclass(slots=True)
class Report:
    """Lines in the order in which they were found."""

    lines: list[tuple[Said, str]] = field(default_factory=list)

    def add(self, said: Said, text: str) -> None:
        """One line more; the same line is kept once."""
        if (said, text) not in self.lines:
            self.lines.append((said, text))

    def text(self) -> list[str]:
        """All lines, by kind."""
        return [f"{said}: {text}" for kind in Said for said, text in self.lines if said is kind]
