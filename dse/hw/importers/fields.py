"""Typed access to the values of another tool's file; everything wrong is collected with file and line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dse.errors import InputError, Problem, did_you_mean
from dse.hw.limits import MOST, sensible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dse.files import Document, Value


class Fields:
    """Reads values by path; `done` raises all that was wrong."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []

    def fault(self, path: tuple[str | int, ...], message: str) -> None:
        """Note that the value at `path` is wrong."""
        self.problems.append(Problem(self.document.where(path), message))

    def done(self) -> None:
        """Raise what was noted.

        Raises:
            InputError: all problems, in the order of their lines.
        """
        if self.problems:
            raise InputError(dict.fromkeys(self.problems))

    def has(self, *path: str | int) -> bool:
        """Whether there is a value other than null."""
        return self.document.value(path) is not None

    def mapping(self, *path: str | int) -> dict[str, Value]:
        """A mapping; empty, and a fault, where there is none."""
        found = self.document.value(path) if path else dict(self.document.data)
        if isinstance(found, dict):
            return found
        self._wrong(path, found, "a mapping (key: value)")
        return {}

    def items(self, *path: str | int) -> list[Value]:
        """A list; empty, and a fault, where there is none."""
        found = self.document.value(path)
        if isinstance(found, list):
            return found
        self._wrong(path, found, "a list")
        return []

    def words(self, *path: str | int) -> tuple[str, ...]:
        """A list of words."""
        found = []
        for i, item in enumerate(self.items(*path)):
            if isinstance(item, str):
                found.append(item)
            else:
                self._wrong((*path, i), item, "a word")
        return tuple(found)

    def word(self, *path: str | int) -> str:
        """A word; empty, and a fault, where there is none."""
        found = self.document.value(path)
        if isinstance(found, str):
            return found
        self._wrong(path, found, "a word")
        return ""

    def flag(self, *path: str | int) -> bool:
        """true or false; false where it is left out."""
        found = self.document.value(path)
        if found is None or isinstance(found, bool):
            return bool(found)
        self._wrong(path, found, "true or false")
        return False

    def number(self, *path: str | int, least: float, above: bool = False) -> float:
        """A finite number of at least (or above) `least`; 1, and a fault, where there is none."""
        found = self.document.value(path)
        limit = f"a number {'above' if above else 'of at least'} {least:g}"
        if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
            self._wrong(path, found, limit)
            return 1.0
        if found < least or (above and found == least):
            self._wrong(path, found, limit)
            return 1.0
        try:
            return sensible(float(found))
        except ValueError as error:
            self.fault(path, f"'{'.'.join(map(str, path))}' {error}")
            return 1.0

    def whole(self, *path: str | int, least: int) -> int:
        """A whole number of at least `least`; 1, and a fault, where there is none."""
        found = self.document.value(path)
        if isinstance(found, int) and not isinstance(found, bool) and least <= found <= MOST:
            return found
        self._wrong(path, found, f"a whole number of at least {least} and at most {MOST}")
        return 1

    def one_of(self, given: str, allowed: Iterable[str], path: tuple[str | int, ...], what: str) -> bool:
        """Whether `given` is allowed; a fault where it is not."""
        known = list(allowed)
        if given in known:
            return True
        self.fault(path, f"{what} '{given}' is not known; allowed: {', '.join(known) or 'none'}.{did_you_mean(given, known)}")
        return False

    def _wrong(self, path: tuple[str | int, ...], given: Value, wanted: str) -> None:
        name = ".".join(str(step) for step in path)
        if given is None and path and path[-1] not in self._keys(path[:-1]):
            self.fault(path, f"'{name}' is missing; it must be {wanted}")
            return
        self.fault(path, f"'{name}' must be {wanted}, not {_shown(given)[:60]}")

    def _keys(self, path: tuple[str | int, ...]) -> list[str | int]:
        found = self.document.value(path) if path else dict(self.document.data)
        if isinstance(found, list):
            return list(range(len(found)))
        return list(found) if isinstance(found, dict) else []


def _shown(value: Value) -> str:
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    return f"'{value}'" if isinstance(value, str) else str(value)
