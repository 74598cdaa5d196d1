"""What a plan asks of the catalogues, and the paths that a campaign file may name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from dse.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dse.errors import DseError
    from dse.search.space import Value

ACCELERATOR: Final = "accelerator"
WORKLOAD: Final = "workload."
OBJECTIVE: Final = "mapping.objective"
CHOICES: Final = {"schedule": ("fused", "layer_by_layer"), OBJECTIVE: ("latency", "energy", "edp")}
"""Other dimensions and the words that they take."""
MAX_INNER: Final = 20_000_000
"""Most inner points of one outer choice: about a quarter of an hour of pricing."""
MAX_INNER_OF_CHIP: Final = 100_000
"""The same on a chip of many cores: a plan for each set of capacities, then some tenths of a millisecond for each point."""
FILE_ROUTINGS: Final = ("histogram", "loads")
"""Kinds of routing that name a file."""


class Field(Protocol):
    """A field of an accelerator that a search may change."""

    @property
    def path(self) -> str:
        """`memories.sram.capacity_kib`."""

    @property
    def prices_only(self) -> bool:
        """Whether it leaves the frontier as it is."""

    @property
    def integer(self) -> bool:
        """Whether its values are whole numbers."""

    @property
    def value(self) -> Value:
        """As the accelerator has it; None where that is no plain value."""


class Sources(Protocol):
    """Where a plan looks names up."""

    def schemes(self, model: str) -> tuple[str, ...]:
        """Attention schemes of a model, the default first. Raises a DseError where there is no such model."""

    def fields(self, accelerator: str) -> Sequence[Field]:
        """Searchable fields of an accelerator. Raises a DseError where there is no such accelerator."""

    def of_systems(self) -> Sources:
        """The same with systems of many chips in place of accelerators."""

    def check(self, accelerator: str, values: Mapping[str, Value]) -> tuple[str, ...]:
        """What is doubtful about `values`, by path. Raises a DseError where `accelerator` cannot take all of them."""

    def most_inner(self, accelerator: str) -> int:
        """Most inner points of one outer choice that take no more than minutes."""


def inside(error: DseError) -> str:
    """The message of an error about a value, without the place that it names: ours is nearer. Of several the first, with their number."""
    told = error if isinstance(error, InputError) else error.__cause__
    if not isinstance(told, InputError):
        return str(error)
    messages = [problem.message for problem in told.problems]
    return messages[0] + (f" (and {len(messages) - 1} more)" if len(messages) > 1 else "")


def located(name: str, folder: str) -> str:
    """`name`, or its path from the campaign's folder where it is a file there."""
    beside = Path(folder) / name
    return str(beside) if name.endswith((".yaml", ".yml", ".json")) and beside.is_file() else name


def located_routing(text: str, folder: str) -> str:
    """A routing whose file, if it names one, is looked for beside the campaign first."""
    kind, _, name = text.partition(":")
    beside = Path(folder) / name
    return f"{kind}:{beside}" if name and kind in FILE_ROUTINGS and beside.is_file() else text


def routing_file(text: str, folder: str) -> Path | None:
    """The file that a routing names; None where it names none."""
    kind, _, name = located_routing(text, folder).partition(":")
    return Path(name) if kind in FILE_ROUTINGS and name else None
