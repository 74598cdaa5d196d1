"""The part of an operator that each core does, and what parts of tensors must travel between cores."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dse.ir.operator import Operand, Operator


@dataclass(frozen=True, slots=True)
class Division:
    """One operator in equal parts along `stream`, part i on core `cores[i]` of the chip; whole where there is one core."""

    stream: str | None
    cores: tuple[int, ...]
    reduces: bool = False
    """The stream is summed over: each part makes partial sums of the whole result, which come together on the first core."""
    second: str | None = None
    """Another stream along which each part of the first is divided again, neighbours in `cores`, ..."""
    second_ways: int = 1
    """... into so many."""

    @property
    def ways(self) -> int:
        """Number of parts."""
        return len(self.cores)

    @property
    def streams(self) -> frozenset[str]:
        """The streams that are divided."""
        return frozenset(s for s in (self.stream, self.second) if s is not None)

    def ranged(self, streams: frozenset[str]) -> bool:
        """Whether every part has a range of its own of something that `streams` index; so it is with one part."""
        return (self.stream is None or self.stream in streams) and (self.second is None or self.second in streams)

    def ranges(self, part: int) -> tuple[tuple[str, int, int], ...]:
        """(stream, which range of it, of how many) that a part has."""
        found = (
            (self.stream, part // self.second_ways, self.ways // self.second_ways),
            (self.second, part % self.second_ways, self.second_ways),
        )
        return tuple((stream, i, ways) for stream, i, ways in found if stream is not None and ways > 1)


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
        inputs=tuple([_with_elements(x, x.elements_of(dim, indices, size)) for x in operator.inputs]),
        outputs=tuple([_with_elements(x, share(x.elements, dim in x.axes)) for x in operator.outputs]),
        macs=share(operator.macs, indexed=True),
        vector_ops=share(operator.vector_ops, indexed=True),
    )


def _with_elements(x: Operand, elements: int) -> Operand:
    return x if elements == x.elements else replace(x, elements=elements)


def moves(size_bytes: float, axes: frozenset[str], holder: Division | None, reader: Division) -> tuple[Move, ...]:
    """What must travel so that every part of `reader` has what it reads of a tensor of `size_bytes`.

    `axes` are the streams that index the tensor as the reader sees it; `holder` says how it lies in the cores' memories, None
    off chip. A reader part whose streams index the tensor reads its own range of it, else all. What several cores read alike
    is sent once, to all of them; what a core holds already does not travel. Where holder and reader divide different streams
    each holds, and reads, an equal share of the other's.
    """
    regions: dict[tuple[tuple[str, int, int], ...], list[int]] = {}
    for j, core in enumerate(reader.cores):
        regions.setdefault(tuple(r for r in reader.ranges(j) if r[0] in axes), []).append(core)
    if holder is None:
        return tuple(Move(None, tuple(cores), size_bytes / len(regions)) for cores in regions.values())
    split = holder.ways > 1 and not holder.reduces
    found: list[Move] = []
    for i, source in enumerate(holder.cores if split else holder.cores[:1]):
        mine = holder.ranges(i) if split else ()
        for region, cores in regions.items():
            if len(mine) == 1 and len(region) == 1 and _apart(mine[0], region[0]):
                continue
            targets = tuple([c for c in cores if c != source])
            amount = _common(size_bytes, mine, region) if targets else 0.0
            if amount > 0.0:
                found.append(Move(source, targets, amount))
    return tuple(found)


def _apart(held: tuple[str, int, int], read: tuple[str, int, int]) -> bool:
    """Whether two ranges of one stream have nothing in common."""
    stream, i, ways = held
    other, j, others = read
    return stream == other and (i * others >= (j + 1) * ways or j * ways >= (i + 1) * others)


def _common(size_bytes: float, held: tuple[tuple[str, int, int], ...], read: tuple[tuple[str, int, int], ...]) -> float:
    """Bytes of a tensor that lie in both of two ranges of it."""
    amount, reads = size_bytes, {stream: (i, ways) for stream, i, ways in read}
    for stream, i, ways in held:
        if stream in reads:
            j, others = reads.pop(stream)
            amount *= max(0.0, min((i + 1) / ways, (j + 1) / others) - max(i / ways, j / others))
        else:
            amount /= ways
    for _, ways in reads.values():
        amount /= ways
    return amount
