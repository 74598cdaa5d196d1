"""Exact minimum of a sum of functions of one or two choices each, by eliminating one variable after the other."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

MAX_TABLE: Final = 4_000_000
"""Entries of the largest table formed: 32 MB; beyond it the costliest choices of a variable are set aside."""


@dataclass(frozen=True)
class Minimum:
    """The best choices found."""

    choices: tuple[int, ...]
    """Option of each variable."""
    cost: float
    exact: bool
    """False where tables grew too large and options were set aside: then `cost` is only an upper bound of the minimum."""


def least_sum(own: Sequence[FloatArray], pairs: Mapping[tuple[int, int], FloatArray]) -> Minimum:
    """Options with the least sum of `own[v][x_v]` and `pairs[v, w][x_v, x_w]`; infinite costs are forbidden choices.

    Bucket elimination (Dechter, "Bucket elimination: a unifying framework for reasoning", Artificial Intelligence 113,
    1999, section 4): the variable whose elimination forms the smallest table goes first; exact, in time that grows with the
    largest table: linear in the number of variables for chains and series-parallel graphs (tables of two variables).
    Ties take the first option.
    """
    allowed = [np.arange(len(o)) for o in own]
    order, exact = _order(own, pairs, allowed)
    tables: list[tuple[tuple[int, ...], FloatArray]] = [((v,), o[allowed[v]]) for v, o in enumerate(own)]
    tables += [(edge, table[np.ix_(allowed[edge[0]], allowed[edge[1]])]) for edge, table in pairs.items()]
    chosen_by: list[tuple[int, tuple[int, ...], NDArray[np.int64]]] = []
    for variable in order:
        mine = [t for t in tables if variable in t[0]]
        tables = [t for t in tables if variable not in t[0]]
        scope = tuple(sorted({v for t in mine for v in t[0]} - {variable}))
        joined = _join(mine, (*scope, variable), [len(a) for a in allowed])
        chosen_by.append((variable, scope, np.argmin(joined, axis=-1)))
        tables.append((scope, joined.min(axis=-1)))
    cost = float(sum(float(t) for _, t in tables))
    found = dict.fromkeys(range(len(own)), 0)
    for variable, scope, best in reversed(chosen_by):
        found[variable] = int(best[tuple(found[v] for v in scope)])
    return Minimum(tuple(int(allowed[v][found[v]]) for v in range(len(own))), cost, exact)


def _join(tables: list[tuple[tuple[int, ...], FloatArray]], scope: tuple[int, ...], sizes: list[int]) -> FloatArray:
    """Sum of tables broadcast over `scope`."""
    total = np.zeros(tuple(sizes[v] for v in scope))
    for variables, table in tables:
        order = sorted(range(len(variables)), key=lambda i: scope.index(variables[i]))
        shape = [1] * len(scope)
        for i in order:
            shape[scope.index(variables[i])] = table.shape[i]
        total = total + np.transpose(table, order).reshape(shape)
    return total


def _order(
    own: Sequence[FloatArray], pairs: Mapping[tuple[int, int], FloatArray], allowed: list[NDArray[np.int64]]
) -> tuple[list[int], bool]:
    """Order of elimination by least table; shortens `allowed` where a table would pass `MAX_TABLE`."""
    near: dict[int, set[int]] = {v: set() for v in range(len(own))}
    for v, w in pairs:
        near[v].add(w)
        near[w].add(v)
    order, exact = [], True
    entries = {v: _entries(v, near[v], allowed) for v in near}
    while near:
        variable = min(entries, key=lambda v: (entries[v], v))
        while _entries(variable, near[variable], allowed) > MAX_TABLE:
            exact = False
            widest = max((variable, *sorted(near[variable])), key=lambda v: (len(allowed[v]), -v))
            keep = np.argsort(own[widest][allowed[widest]], kind="stable")[: max(1, len(allowed[widest]) // 2)]
            allowed[widest] = np.sort(allowed[widest][keep])
            entries = {v: _entries(v, near[v], allowed) for v in near}
        order.append(variable)
        around = near.pop(variable)
        del entries[variable]
        for v in around:
            near[v] |= around
            near[v] -= {v, variable}
        for v in around:
            entries[v] = _entries(v, near[v], allowed)
    return order, exact


def _entries(variable: int, around: set[int], allowed: list[NDArray[np.int64]]) -> int:
    """Entries of the table that the elimination of a variable forms."""
    return prod(len(allowed[v]) for v in (variable, *around))
