"""Mappings of a frontier in words, made when they are asked for: out of blocks, or out of columns of tile sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, overload

import numpy as np

from dse.mapping.matmul import MatmulMapping

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.hw.accelerator import ArrayGeometry
    from dse.mapping.blocks import Block
    from dse.mapping.matmul import InnerTile

    IntArray = NDArray[np.int64]


class _Mappings(Sequence[MatmulMapping]):
    """Equal to any sequence of the same mappings."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __hash__(self) -> int:
        return hash(tuple(self))


@dataclass(frozen=True, eq=False)
class SidedMappings(_Mappings):
    """R mappings as columns: the few that differ in more than tile sides, and the sides."""

    kinds: tuple[MatmulMapping, ...]
    """One mapping of each kind; its sides stand for nothing."""
    kind: IntArray
    """[R], which of `kinds`."""
    sides: IntArray
    """[R, S] sides along m, k and n of the outer tile, then of each inner one; 0 beyond those that a kind has."""

    def __len__(self) -> int:
        return len(self.kind)

    @overload
    def __getitem__(self, at: int) -> MatmulMapping: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[MatmulMapping]: ...
    def __getitem__(self, at: int | slice) -> MatmulMapping | Sequence[MatmulMapping]:
        if isinstance(at, slice):
            return SidedMappings(self.kinds, self.kind[at], self.sides[at])
        return _with_sides(self.kinds[self.kind[at]], self.sides[at].tolist())

    def take(self, rows: IntArray) -> SidedMappings:
        """Some of them, in that order."""
        used, kind = np.unique(self.kind[rows], return_inverse=True)
        return SidedMappings(tuple(self.kinds[i] for i in used), kind, self.sides[rows])

    def on(self, array: ArrayGeometry) -> SidedMappings:
        """The same for an array of the long form that is used as `array`."""
        return SidedMappings(tuple(replace(kind, array=array) for kind in self.kinds), self.kind, self.sides)


class BlockMappings(_Mappings):
    """Mappings by block and index in it."""

    def __init__(self, blocks: Sequence[Block], origin: IntArray) -> None:
        self._blocks, self._origin = blocks, origin
        self._described: dict[int, MatmulMapping] = {}

    def __len__(self) -> int:
        return len(self._origin)

    @overload
    def __getitem__(self, at: int) -> MatmulMapping: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[MatmulMapping]: ...
    def __getitem__(self, at: int | slice) -> MatmulMapping | Sequence[MatmulMapping]:
        if isinstance(at, slice):
            return BlockMappings(self._blocks, self._origin[at])
        if at not in self._described:
            number, index = self._origin[at].tolist()
            block: Block = self._blocks[number]
            m, k, n = np.unravel_index(index, block.shape)
            self._described[at] = block.describe((int(m), int(k), int(n)))
        return self._described[at]

    def in_columns(self) -> SidedMappings:
        """The same mappings, whole blocks at a time."""
        numbers, kind = np.unique(self._origin[:, 0], return_inverse=True)
        kinds, parts = [], []
        for i, number in enumerate(numbers.tolist()):
            block, rows = self._blocks[number], np.flatnonzero(kind == i)
            kinds.append(block.describe((0, 0, 0)))
            m, k, n = np.unravel_index(self._origin[rows, 1], block.shape)
            parts.append((rows, block.described_sides((m, k, n), 1 + len(kinds[-1].inner_tiles))))
        sides = np.zeros((len(kind), max(part.shape[1] for _, part in parts)), dtype=np.int64)
        for rows, part in parts:
            sides[rows, : part.shape[1]] = part
        return SidedMappings(tuple(kinds), kind, sides)


def in_columns(mappings: Sequence[MatmulMapping]) -> SidedMappings:
    """Mappings as columns."""
    if isinstance(mappings, SidedMappings):
        return mappings
    if isinstance(mappings, BlockMappings) and len(mappings):
        return mappings.in_columns()
    found = [[x for tile in _tiles(m) for x in (tile.tile_m, tile.tile_k, tile.tile_n)] for m in mappings]
    width = max(map(len, found), default=0)
    sides = np.array([[*x, *[0] * (width - len(x))] for x in found], dtype=np.int64).reshape(len(found), width)
    return SidedMappings(tuple(mappings), np.arange(len(found)), sides)


def joined(parts: Sequence[SidedMappings]) -> SidedMappings:
    """All of them, one part after another."""
    width = max(part.sides.shape[1] for part in parts)
    first = np.cumsum([0, *(len(part.kinds) for part in parts)])
    return SidedMappings(
        tuple(kind for part in parts for kind in part.kinds),
        np.concatenate([part.kind + i for i, part in zip(first, parts, strict=False)]),
        np.concatenate([np.pad(part.sides, ((0, 0), (0, width - part.sides.shape[1]))) for part in parts]),
    )


def _tiles(mapping: MatmulMapping) -> tuple[MatmulMapping | InnerTile, ...]:
    return mapping, *mapping.inner_tiles


def _with_sides(kind: MatmulMapping, sides: list[int]) -> MatmulMapping:
    inside: InnerTile | None = None
    for i, tile in reversed(list(enumerate(kind.inner_tiles, start=1))):
        m, k, n = sides[3 * i : 3 * i + 3]
        inside = replace(tile, tile_m=m, tile_k=k, tile_n=n, inside=inside)
    m, k, n = sides[:3]
    return replace(kind, tile_m=m, tile_k=k, tile_n=n, inner=inside)
