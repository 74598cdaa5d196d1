"""The part of an operator that each core does, and what parts of tensors must travel between cores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dse.ir.operator import Operator


@dataclass(frozen=True, slots=True)
class Division:
    """One operator in equal parts along `stream`, part i on core `cores[i]` of the chip; whole where there is one core."""

    stream: str | None
    cores: tuple[int, ...]
    reduces: bool = False
    """The stream is summed over: each part makes partial sums of the whole result, which come together on the first core."""

    @property
    def ways(self) -> int:
        """Number of parts."""
        return len(self.cores)


@dataclass(frozen=True, slots=True)
class Move:
    """Bytes that one holder sends to all of `targets` at once; positions of cores, or None for the memory off chip."""

    source: int | None
    targets: tuple[int, ...]
    size_bytes: float


def part_of(operator: Operator, dim: str | None, indices: int) -> Operator:
    """`operator` over `indices` of its loop `dim`; vector operations in proportion, touched elements with the edges that the windows of a
    convolution share with their neighbours (halos)."""
    if dim is None:
        return operator
    size = operator.size(dim)

    def share(count: int, indexed: bool) -> int:
        return ceil(count * indices / size) if indexed else count

    return replace(
        operator,
        dims=tuple((d, indices if d == dim else s) for d, s in operator.dims),
        inputs=tuple(replace(x, elements=x.elements_of(dim, indices, size)) for x in operator.inputs),
        outputs=tuple(replace(x, elements=share(x.elements, dim in x.axes)) for x in operator.outputs),
        macs=share(operator.macs, indexed=True),
        vector_ops=share(operator.vector_ops, indexed=True),
    )


def moves(size_bytes: float, axes: frozenset[str], holder: Division | None, reader: Division) -> tuple[Move, ...]:
    """What must travel so that every part of `reader` has what it reads of a tensor of `size_bytes`.

    `axes` are the streams that index the tensor as the reader sees it; `holder` says how it lies in the cores' memories, None
    off chip. A reader part whose stream indexes the tensor reads its own range of it, else all. What several cores read alike
    is sent once, to all of them; what a core holds already does not travel. Where holder and reader divide different streams
    each holds, and reads, an equal share of the other's.
    """
    ranged = reader.stream in axes and reader.ways > 1
    if holder is None:
        if ranged:
            return tuple(Move(None, (c,), size_bytes / reader.ways) for c in reader.cores)
        return (Move(None, reader.cores, size_bytes),)
    split = holder.ways > 1 and not holder.reduces
    pieces = holder.cores if split else holder.cores[:1]
    found: list[Move] = []
    for i, source in enumerate(pieces):
        piece = size_bytes / len(pieces)
        if not ranged:
            targets = tuple(c for c in reader.cores if c != source)
            found += [Move(source, targets, piece)] if targets else []
            continue
        for j, target in enumerate(reader.cores):
            amount = piece / reader.ways
            if split and holder.stream == reader.stream:
                low, high = max(i / len(pieces), j / reader.ways), min((i + 1) / len(pieces), (j + 1) / reader.ways)
                amount = size_bytes * max(0.0, high - low)
            if amount > 0.0 and target != source:
                found.append(Move(source, (target,), amount))
    return tuple(found)
