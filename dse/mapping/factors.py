"""Whole factors of a size."""

from __future__ import annotations

from functools import lru_cache
from math import isqrt


def divisors(size: int) -> tuple[int, ...]:
    """All divisors, ascending."""
    small = [d for d in range(1, isqrt(size) + 1) if size % d == 0]
    return (*small, *(size // d for d in reversed(small) if d * d != size))


@lru_cache(maxsize=4096)
def factorisations(size: int, parts: int) -> tuple[tuple[int, ...], ...]:
    """Every way to write `size` as a product of `parts` factors, order counted: 4 in two parts is 1 4, 2 2, 4 1."""
    if parts == 1:
        return ((size,),)
    return tuple((d, *rest) for d in divisors(size) for rest in factorisations(size // d, parts - 1))
