"""Mappings in which the loop during which an operand stays has one step: counted as they run, with another operand that stays too."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dse.mapping.blocks import LACKED, STAYS
from dse.mapping.comparison import Comparison
from dse.mapping.pivots import Pivots
from dse.mapping.search import not_dominated

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from dse.mapping.blocks import Block
    from dse.mapping.matmul import Stationary

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]


def as_they_run(
    blocks: Sequence[Block], rows: FloatArray, origin: IntArray, *, groups: int | None = None
) -> tuple[Sequence[Block], FloatArray, IntArray]:
    """Mappings of `blocks` with counts `rows` [R, C] and places `origin` [R, 2] (block, index in it), of which no other beats one.

    With all of the innermost dimension in one tile the loops outside may be swapped, so that another operand with a tile stays as well:
    its mapping takes the place of the one that counts it as coming back, never worse. Blocks of one array have these mappings already.
    `groups` are those of the product, where blocks are of another number.
    """
    if blocks[0].view.geometry.array.count == 1:
        return blocks, rows, origin
    found, parts, places, gone = list(blocks), [rows], [origin], np.zeros(len(rows), dtype=np.bool_)
    order = np.argsort(origin[:, 0], kind="stable")
    starts = np.flatnonzero(np.diff(origin[order, 0], prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(order)], strict=True):
        here = order[start:stop]
        block = blocks[origin[here[0], 0]]
        for stays, which in _staying(block, origin[here, 1]):
            other = _with(block, stays, groups)
            index = origin[here[which], 1]
            m, k, n = np.unravel_index(index, block.shape)
            parts.append(other.rows((m, k, n)))
            places.append(np.stack((np.full(len(index), len(found)), index), axis=1))
            found.append(other)
            gone[here[which]] = True
    if not gone.any():
        return blocks, rows, origin
    left = np.flatnonzero(~gone)
    others, at = np.concatenate(parts[1:]), np.concatenate(places[1:])
    comparison = Comparison.of(blocks[0].view.geometry, rows.shape[1])
    first, second = _unbeaten(comparison.columns(rows[left]), comparison.columns(others))
    left = left[first]
    return found, np.concatenate((rows[left], others[second])), np.concatenate((origin[left], at[second]))


def _unbeaten(rows: FloatArray, others: FloatArray) -> tuple[IntArray, IntArray]:
    """Of `rows`, none of which beats another one of them, and of `others` those that none of all beats, of equal ones the first."""
    kept = not_dominated(others)
    beaten = Pivots(-others[kept], len(kept)).beating(-rows.T)[: len(kept)]
    kept = kept[~beaten]
    if not len(kept):
        return np.arange(len(rows)), kept
    return np.flatnonzero(~Pivots(others[kept], len(kept)).beat(rows.T)), kept


def as_it_runs(block: Block, counts: FloatArray) -> list[tuple[Block, FloatArray]]:
    """The same for a block of one mapping: the blocks that take its place, with their counts [C]."""
    zero = np.zeros(1, dtype=np.int64)
    several = block.view.geometry.array.count > 1
    others = [_with(block, stays, None) for stays, which in _staying(block, zero) if len(which)] if several else []
    return [(other, other.rows((zero, zero, zero))[0]) for other in others] or [(block, counts)]


def _staying(block: Block, index: IntArray) -> Iterator[tuple[Stationary, IntArray]]:
    """Operands that stay as well in some of the mappings at `index`, and in which of them."""
    if block.inner_stays is not None:
        return
    at = np.unravel_index(index, block.shape)
    counts = [tiling.inner.count[i] for tiling, i in zip(block.tilings, at, strict=True)]
    once = counts[LACKED[STAYS[block.stays]]] == 1
    for stays, position in STAYS.items():
        if stays is not block.stays and block.homes[position].tiles:
            which = np.flatnonzero(once & (counts[LACKED[position]] > 1))
            if len(which):
                yield stays, which


def _with(block: Block, stays: Stationary, groups: int | None) -> Block:
    """The same tiles with another operand that stays, of a product of so many groups."""
    view = block.view
    if groups is not None and groups != view.problem.groups:
        view = replace(view, problem=replace(view.problem, groups=groups))
    return replace(block, view=view, stays=stays, one_pass=False)
