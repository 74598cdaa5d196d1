"""Arrays in the long form as arrays of rows and columns: one for each way of spreading loops over their dimensions."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from math import prod
from operator import mul
from typing import TYPE_CHECKING, Final

from dse.errors import InputError
from dse.hw.accelerator import Dataflow, Loop, OperandName
from dse.mapping.factors import factorisations

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.hw.accelerator import ArrayDim, ArrayGeometry, Geometry

_LOOPS: Final = (Loop.M, Loop.K, Loop.N, Loop.GROUPS)
MAX_FLOWS: Final = 512
"""Ways of spreading loops over one array of which frontiers are made."""
SHARES: Final = 64
"""Shares of loops over dimensions, told apart by dimension, that are looked at for each way that is allowed."""
MAX_SEARCHED: Final = 8192
"""Ways that are searched for one design point."""


def ways(geometry: Geometry, most: int = MAX_FLOWS, *, groups: int = 1) -> tuple[ArrayGeometry, ...]:
    """`flows` of the array of `geometry` for a product of so many groups, told apart by what its replicated memories see of them.

    Dimensions that may take groups among other loops take the others where there is one group, or where there would be more than `most`
    ways.
    """
    held = tuple(o for o in OperandName if any(memory.registers and o in memory.operands for memory in geometry.inner))
    replicated = tuple(sorted({memory.replicated for memory in geometry.inner if memory.replicated}))
    dims = geometry.array.dims
    shared = groups > 1 and any(Loop.GROUPS in dim.unrolls for dim in dims)
    if shared and prod(len(_parts(dim, abreast=True)) for dim in dims) <= SHARES * most:
        found = tuple(dict.fromkeys(x for abreast in (False, True) for x in flows(geometry.array, replicated, held, None, abreast=abreast)))
        if len(found) <= most:
            return found
    return flows(geometry.array, replicated, held, most)


@lru_cache(maxsize=256)
def flows(
    array: ArrayGeometry,
    replicated: tuple[tuple[str, ...], ...] = (),
    held: tuple[OperandName, ...] = (),
    most: int | None = MAX_FLOWS,
    *,
    abreast: bool = False,
) -> tuple[ArrayGeometry, ...]:
    """`array` itself in the short form; else an array of the short form for each unrolling and operand that stays.

    A dimension gives each of its loops a divisor of its size, and all of it to one loop or another. What stays fixes rows and
    columns: right k and n, left k and m, out m and n, where elements that share an output add their products before they are stored,
    as if each did that many MACs in a cycle. An operand stays in an array that also spreads the loop which it lacks, in
    copies, only if registers hold it (`held`), which count them, or where no other way is left. Of ways that spread m, k, n and groups
    alike, over the whole array and over each set of dimensions in `replicated`, one is named. A dimension that may take groups among
    other loops gives them a share only with `abreast`.

    Raises:
        InputError: there are more than `most` ways.
    """
    if not array.dims:
        return (array,)
    every = tuple(dim.name for dim in array.dims)
    spread = {((1, 1, 1, 1),) * (1 + len(replicated))}
    for dim in array.dims:
        along = [dim.name in names for names in (every, *replicated)]
        spread = {
            tuple(tuple(map(mul, u, part)) if here else u for u, here in zip(known, along, strict=True))
            for known in spread
            for part in _parts(dim, abreast=abreast)
        }
    found: tuple[ArrayGeometry, ...] = ()
    for copies in (False, True):
        found = found or tuple(
            replace(flow, spread=tuple(zip(replicated, parts, strict=True)))
            for u, *parts in sorted(spread)
            for stays in array.stationary
            for flow in _flow(array, u, stays, copies=copies or stays in held)
        )
    if most is not None and len(found) > most:
        raise InputError.single("core.array.dims", f"{len(found)} ways of spreading loops, at most {most} are tried; name fewer loops")
    return found


def _parts(dim: ArrayDim, *, abreast: bool) -> list[tuple[int, int, int, int]]:
    """Shares of m, k, n and groups along one dimension: divisors whose product is the size."""
    loops = [loop for loop in _LOOPS if loop in dim.unrolls and (loop is not Loop.GROUPS or abreast or dim.unrolls == (loop,))]
    shares = [dict(zip(loops, given, strict=True)) for given in factorisations(dim.size, len(loops))]
    return [(share.get(Loop.M, 1), share.get(Loop.K, 1), share.get(Loop.N, 1), share.get(Loop.GROUPS, 1)) for share in shares]


def _flow(array: ArrayGeometry, unrolled: tuple[int, int, int, int], stays: OperandName, *, copies: bool) -> Iterator[ArrayGeometry]:
    m, k, n, groups = unrolled
    plain = replace(array, count=1, dims=(), stationary=(), groups=groups)
    if stays is OperandName.RIGHT and (copies or m == 1):
        yield replace(plain, rows=k, columns=n, stream=m, dataflows=(Dataflow.WEIGHT_STATIONARY,))
    elif stays is OperandName.LEFT and (copies or n == 1):
        yield replace(plain, rows=k, columns=m, stream=n, dataflows=(Dataflow.INPUT_STATIONARY,))
    elif stays is OperandName.OUT:
        rates = tuple((dtype, rate * k) for dtype, rate in array.macs_per_pe_per_cycle)
        yield replace(plain, rows=m, columns=n, dataflows=(Dataflow.OUTPUT_STATIONARY,), macs_per_pe_per_cycle=rates)
