"""Hard limits: conditions of the campaign that a design must meet, checked over whole columns before anything is costed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.search.quantities import AREA

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from dse.search.expression import Column, Expression
    from dse.search.space import Dimension, Space, Value

ACCELERATOR: Final = "accelerator"
LISTED: Final = 4_000_000
"""Outer spaces up to this size are checked choice by choice in advance, larger ones when a choice is asked for."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Conditions, and the values of the names in them that the space does not vary."""

    expressions: tuple[Expression, ...] = ()
    constants: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)
    """By accelerator, as the campaign names it: value of each such name."""
    only_accelerator: str = ""
    """Where the accelerator is no dimension."""

    def split(self, space: Space) -> tuple[tuple[Expression, ...], tuple[Expression, ...]]:
        """(those that the outer choice decides alone, the others)."""
        inner = {AREA, *(d.path for d in space.inner)}
        outer_only = tuple(e for e in self.expressions if not inner & set(e.names))
        return outer_only, tuple(e for e in self.expressions if e not in outer_only)

    def outer_mask(self, space: Space, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the outer `indices` [D] meet what the outer choice decides alone [D]."""
        mask = np.ones(len(indices), dtype=np.bool_)
        names: Mapping[str, Column] | None = None
        for expression in self.split(space)[0]:
            names = self._columns(space, indices) if names is None else names
            mask &= expression.holds(names, len(indices))
        return mask

    def excluded_by(self, space: Space, indices: NDArray[np.int64]) -> list[int]:
        """For each condition that the outer choice decides alone, how many of `indices` it excludes."""
        names = self._columns(space, indices)
        return [int((~e.holds(names, len(indices))).sum()) for e in self.split(space)[0]]

    def inner_mask(
        self, space: Space, choice: Mapping[str, Value], columns: Mapping[str, NDArray[np.float64]], size: int
    ) -> NDArray[np.bool_]:
        """Which of `size` inner points meet the other conditions [size]; `columns` has inner dimensions and area."""
        mask = np.ones(size, dtype=np.bool_)
        rest = self.split(space)[1]
        if rest:
            accelerator = str(choice.get(ACCELERATOR, self.only_accelerator))
            names: dict[str, Column] = {**self.constants.get(accelerator, {}), **choice, **columns}
            for expression in rest:
                mask &= expression.holds(names, size)
        return mask

    def needs_area(self, space: Space) -> bool:
        """Whether a condition names the area."""
        return any(AREA in e.names for e in self.split(space)[1])

    def _columns(self, space: Space, indices: NDArray[np.int64]) -> dict[str, Column]:
        """Each name over the outer `indices`: a column [D], or a scalar where it never changes."""
        digits = dict(zip((d.path for d in space.outer), _digits(space.outer, indices), strict=True))
        used = {name for e in self.expressions for name in e.names}
        names: dict[str, Column] = {d.path: _values(d.values)[digits[d.path]] for d in space.outer if d.path in used}
        accelerators = next((d.values for d in space.outer if d.path == ACCELERATOR), None)
        for name in used - set(names):
            if accelerators is None:
                names[name] = self.constants.get(self.only_accelerator, {}).get(name)
            else:
                names[name] = _values(tuple(self.constants.get(str(a), {}).get(name) for a in accelerators))[digits[ACCELERATOR]]
        return names


@dataclass(frozen=True)
class OuterChoices:
    """The outer choices of a space that its limits leave."""

    space: Space
    limits: Limits = Limits()
    shard: tuple[int, int] | None = None
    """(index from 0, count): only the choices whose places in all dimensions add up to `index` modulo `count`.

    Neighbours in any dimension are in different shards, so every shard sees the whole space, thinned evenly.
    """

    @property
    def _all(self) -> bool:
        return self.shard is None and not self.limits.split(self.space)[0]

    @cached_property
    def _listed(self) -> NDArray[np.int64] | None:
        """All of them in order; None where nothing is left out, or the space is too large to list."""
        if self._all or self.space.outer_size > LISTED:
            return None
        every = np.arange(self.space.outer_size, dtype=np.int64)
        return every[self.mask(every)]

    @property
    def count(self) -> int:
        """How many; of a space too large to list, its size."""
        return self.space.outer_size if self._listed is None else len(self._listed)

    @property
    def known(self) -> bool:
        """Whether `count` is exact."""
        return self._listed is not None or self._all

    def at(self, position: int) -> int:
        """Outer index of the choice at `position`."""
        return position if self._listed is None else int(self._listed[position])

    def mask(self, outers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of `outers` [D] are among them [D]."""
        allowed = self.limits.outer_mask(self.space, outers)
        if self.shard is not None:
            index, count = self.shard
            allowed &= sum(_digits(self.space.outer, outers)) % count == index
        return allowed

    def allows(self, outer: int) -> bool:
        """Whether outer choice `outer` is among them."""
        return bool(self.mask(np.array([outer], dtype=np.int64))[0])


def _digits(dimensions: tuple[Dimension, ...], indices: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    found: list[NDArray[np.int64]] = []
    rest = indices
    for dimension in reversed(dimensions):
        rest, digit = np.divmod(rest, len(dimension.values))
        found.append(digit)
    return found[::-1]


def _values(values: tuple[Value, ...]) -> NDArray[np.float64] | NDArray[np.object_]:
    """Numbers as floating point, all else as objects; null among numbers is not a number."""
    if all(v is None or (isinstance(v, int | float) and not isinstance(v, bool)) for v in values) and None not in values:
        return np.array(values, dtype=np.float64)
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found
