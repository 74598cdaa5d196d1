"""Values laid over a described machine, with what is doubtful about them: allowed, and probably a slip."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from dse.files import parse_setting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

logger = logging.getLogger(__name__)


class Described(Protocol):
    """An accelerator, a chip of many cores or a system."""

    def with_overrides(self, overrides: Mapping[str, Any], *, origin: str = "setting") -> Self:  # Any: what YAML can hold
        """The same with `{path: value}` laid over it. Raises a UsageError."""

    def warnings(self) -> tuple[str, ...]:
        """Doubts, one line each with where the value stands."""


Machine = TypeVar("Machine", bound=Described)


def laid_over(description: Machine, settings: Sequence[str]) -> Machine:
    """`description` with `PATH=VALUE` settings of the command line laid over it; doubts that it had not before are logged.

    Raises:
        UsageError: no such path, or a value that is not allowed.
    """
    overrides = dict(parse_setting(text) for text in settings)
    if not overrides:
        return description
    found = description.with_overrides(overrides, origin="--set")
    known = {_text(doubt) for doubt in description.warnings()}
    for doubt in found.warnings():
        if _text(doubt) not in known:
            logger.warning("%s", doubt)
    return found


def doubts(description: Described, origin: str) -> tuple[str, ...]:
    """What is doubtful about the values themselves that were laid over `description` under the name `origin`."""
    return tuple(_text(doubt) for doubt in description.warnings() if doubt.startswith(f"{origin} "))


def _text(doubt: str) -> str:
    """Without where the value stands."""
    return doubt.partition(": ")[2]
