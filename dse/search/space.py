"""The search space: named dimensions with finitely many values, in an outer part (changes a frontier) and an inner part (only prices)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import gcd, prod
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

Value: TypeAlias = bool | int | float | str | None
"""What a dimension can take; None stands for `all` where a field allows it."""


class Scale(StrEnum):
    """How the values of a dimension lie to each other; samplers use the order."""

    CATEGORICAL = "categorical"
    ORDERED = "ordered"
    POWER_OF_TWO = "power_of_two"
    """Ordered; samplers see the exponent."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """One dimension: a path such as `memories.sram.capacity_kib` and its values in the order given."""

    path: str
    values: tuple[Value, ...]
    scale: Scale


@dataclass(frozen=True, slots=True)
class Space:
    """Cross product of `outer` and `inner`; a design is (outer index, inner index), the last dimension runs fastest."""

    outer: tuple[Dimension, ...]
    inner: tuple[Dimension, ...]
    """All values are numbers."""

    @property
    def outer_size(self) -> int:
        """Number of outer choices."""
        return prod(len(dimension.values) for dimension in self.outer)

    @property
    def inner_size(self) -> int:
        """Number of inner points of every outer choice."""
        return prod(len(dimension.values) for dimension in self.inner)

    @property
    def size(self) -> int:
        """Number of designs."""
        return self.outer_size * self.inner_size

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of all dimensions, outer first."""
        return tuple(dimension.path for dimension in (*self.outer, *self.inner))

    def choice(self, outer: int) -> dict[str, Value]:
        """Values of the outer dimensions at index `outer`."""
        return _at(self.outer, outer)

    def parameters(self, outer: int, inner: int) -> dict[str, Value]:
        """Values of all dimensions of one design."""
        return {**_at(self.outer, outer), **_at(self.inner, inner)}

    def outer_index(self, digits: tuple[int, ...]) -> int:
        """Index of the outer choice whose value positions are `digits`, one per outer dimension."""
        index = 0
        for dimension, digit in zip(self.outer, digits, strict=True):
            index = index * len(dimension.values) + digit
        return index

    def columns(self, indices: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Values of the inner dimensions at the inner `indices` [D], one float64 array [D] per path."""
        return {
            dimension.path: np.asarray(dimension.values, dtype=np.float64)[digits]
            for dimension, digits in zip(self.inner, self.inner_digits(indices), strict=True)
        }

    def inner_digits(self, indices: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Value positions of the inner `indices` [D], one array [D] per inner dimension."""
        digits: list[NDArray[np.int64]] = []
        rest = indices
        for dimension in reversed(self.inner):
            rest, digit = np.divmod(rest, len(dimension.values))
            digits.append(digit)
        return digits[::-1]


def digits_of(dimensions: tuple[Dimension, ...], index: int) -> tuple[int, ...]:
    """Value positions of `index` in the cross product of `dimensions`."""
    digits = []
    for dimension in reversed(dimensions):
        index, digit = divmod(index, len(dimension.values))
        digits.append(digit)
    return tuple(reversed(digits))


def spread_order(size: int) -> tuple[int, int]:
    """(start, step) of a walk over range(`size`) that visits every index once and covers the range evenly from the start.

    The step is the number coprime to `size` that lies nearest above `size` / golden ratio.
    """
    if size <= 2:
        return 0, 1
    step = round(size * 0.6180339887498949)
    while gcd(step, size) != 1:
        step += 1
    return 0, step


def _at(dimensions: tuple[Dimension, ...], index: int) -> dict[str, Value]:
    return {d.path: d.values[digit] for d, digit in zip(dimensions, digits_of(dimensions, index), strict=True)}


def with_values(parameters: Mapping[str, Value]) -> str:
    """`a=1, b=true`: one line for messages."""
    return ", ".join(f"{path}={str(value).lower() if isinstance(value, bool) else value}" for path, value in parameters.items())
