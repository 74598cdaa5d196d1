"""Every exception that the project raises on purpose, under one base class with an exit code."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from enum import IntEnum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterable


class ExitCode(IntEnum):
    """Exit codes of the command line; scripts rely on them."""

    DONE = 0
    BUG = 1
    USAGE = 2
    BAD_INPUT = 3
    NOTHING_FEASIBLE = 4
    FAILED_TRIALS = 5
    OUTSIDE_BAND = 6
    INTERRUPTED = 130


class DseError(Exception):
    """Base of all errors that are not our own mistakes; the message is for the user."""

    exit_code: ExitCode = ExitCode.BAD_INPUT


class UsageError(DseError):
    """A command or a call was given options that do not go together."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with an input: where, what was given, what is allowed, what to do."""

    where: str
    """`file:line`, `file`, or the name of the object."""
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class InputError(DseError):
    """A file, a value or a graph from outside is wrong; carries all problems found, not only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    @classmethod
    def single(cls, where: str, message: str) -> Self:
        """An error with one problem."""
        return cls([Problem(where, message)])


class GraphError(InputError):
    """An operator graph or ONNX file cannot be read or costed; names the node."""


class InfeasibleError(DseError):
    """No design point can run what was asked; the message says which resource, demand against bound, levers."""

    exit_code = ExitCode.NOTHING_FEASIBLE


class RunError(DseError):
    """A run folder cannot be used: another run's, locked, read-only, or of another configuration."""


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """` Did you mean 'x'?` when a near match exists, else an empty string."""
    near = get_close_matches(given, list(allowed), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""
