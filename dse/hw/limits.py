"""Magnitudes of the figures of a machine: any product of a few of them stays a finite number."""

from __future__ import annotations

from typing import Final

SMALLEST: Final = 1e-30
"""Of every figure but 0."""
LARGEST: Final = 1e30
"""Of every figure."""
MOST: Final = 2**31 - 1
"""Of what is counted: rows, columns, arrays, lanes."""


def sensible(value: float) -> float:
    """`value`, if it is 0 or of a magnitude that a machine could have.

    Raises:
        ValueError: it is not.
    """
    if value and not SMALLEST <= abs(value) <= LARGEST:
        raise ValueError(f"must be between {SMALLEST:g} and {LARGEST:g}, not {value:g}; check the unit in the key's name")
    return value


def countable(value: int) -> int:
    """`value`, if a machine could have so many.

    Raises:
        ValueError: it could not.
    """
    if value > MOST:
        raise ValueError(f"must be at most {MOST}, not {value}")
    return value
