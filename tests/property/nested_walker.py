"""A brute-force reference for any number of levels of tiles: walks every loop of one mapping and counts what crosses each border."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dse.hw.accelerator import Folds
from tests.property.loop_walker import AXES, DIMS, IN_ARRAY, MAPPED, spans

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.hw.accelerator import Dataflow, Geometry
    from dse.mapping.problem import MatmulProblem
    from tests.property.loop_walker import Span

DRAM = 0
"""Levels of tiles are counted from 1, the outermost; the array comes last."""
NAMES = {"A": "left", "B": "right", "C": "out"}
DRAM_READ, BUFFER_READ, CYCLES = 1, 3, 5
"""Columns of bytes read; written is the next one. Those of inner buffers follow their position."""


@dataclass
class NestedWalker:
    """Tiles of each level, orders of the loops over them inside those of the level before (outer to inner), who is kept where.

    A tile is fetched from the next memory outside that keeps its operand when it differs from the one held. Unfinished sums leave when
    their tile is replaced and come back when it returns; finished ones leave when the tile is done. The array takes one pass at a time,
    and keeps its operand over passes only where an innermost tile is one pass of it. Nothing is made of a tile at the end that is
    a single one of the next level by chance.
    """

    problem: MatmulProblem
    geometry: Geometry
    dataflow: Dataflow
    tiles: tuple[dict[str, int], ...]
    orders: tuple[tuple[str, ...], ...]
    kept: tuple[str, ...]
    places: dict[str, tuple[int | None, ...]]
    """Position in the geometry's inner memories of the tile of each operand at each level; -1 the outermost buffer."""
    held: dict[tuple[int, str], tuple] = field(default_factory=dict)
    progress: dict[tuple, int] = field(default_factory=dict)
    """How far along k the sums of each piece that crosses a border are."""

    def __post_init__(self) -> None:
        """Derive sizes, widths and columns."""
        p, g = self.problem, self.geometry
        self.size = {"m": p.m, "k": p.k, "n": p.n}
        self.width = {"A": p.left_bits / 8, "B": p.right_bits / 8, "C": p.out_bits / 8}
        self.partial = p.partial_bits / 8
        side = MAPPED[self.dataflow]
        self.array_side = {d: getattr(g.array, side[d]) if d in side else max(self.size.values()) for d in DIMS}
        self.stream = next(d for d in DIMS if d not in side)
        self.counts = np.zeros(6 + 3 * len(g.inner))
        self.array = len(self.tiles) + 1
        self.turned = ""
        self.before: list[tuple[Span, ...] | None] = [None] * len(self.tiles)
        """Pieces at each level and those outside it, when one of it was last worked on."""
        self.left: dict[tuple, int] = {}
        """How often sums of a piece crossed outwards, by border."""

    def walk(self) -> np.ndarray:
        """Footprint, DRAM read and write, buffer read and write bytes, array cycles; footprint, read and write of each inner buffer."""
        self._level(1, ({d: (0, self.size[d]) for d in DIMS},))
        if self.geometry.array.folds is Folds.PIPELINED:
            self.counts[CYCLES] += self._fill_and_drain()
        self._footprints()
        return self.counts

    def _level(self, level: int, outside: tuple[Span, ...]) -> None:
        """All tiles of a level inside a piece of the level before, the last of `outside`."""
        for piece in self._steps(self.orders[level - 1], outside[-1], self.tiles[level - 1]):
            here = (*outside, piece)
            turned = self._turned(level, here)
            self.before[level - 1] = here
            for x in self.kept[level - 1]:
                self._hold(level, x, piece, again=x in turned)
            if level + 1 < self.array:
                self._level(level + 1, here)
            else:
                self.turned = turned
                for one in self._steps(DIMS, piece, self.array_side):
                    self._array_pass(one)
            self._finish(level, piece)

    def _steps(self, order: tuple[str, ...], outer: Span, step: dict[str, int]) -> Iterator[Span]:
        for pieces in itertools.product(*(spans(*outer[d], step[d]) for d in order)):
            yield dict(zip(order, pieces, strict=True))

    def _turned(self, level: int, now: tuple[Span, ...]) -> str:
        """Operands whose tiles of a level go because a loop outside those over them makes a step, even if the last outer tile has only
        one."""
        before = self.before[level - 1]
        if before is None:
            return ""
        loops = [(at, d) for at in range(1, level + 1) for d in self.orders[at - 1]]
        stepped = next(i for i, (at, d) in enumerate(loops) if before[at][d] != now[at][d])
        inside = [d for at, d in loops[stepped + 1 :] if at > 1 and self.tiles[at - 1][d] < self.tiles[at - 2][d]]
        return "".join(x for x in AXES if any(d in AXES[x] for d in inside))

    def _source(self, level: int, x: str) -> int:
        """The next memory outside `level` that keeps the operand."""
        return next((at for at in range(level - 1, DRAM, -1) if x in self.kept[at - 1]), DRAM)

    def _column(self, level: int, x: str) -> int:
        if level == DRAM:
            return DRAM_READ
        at = self.places[x][level - 1]
        assert at is not None
        return BUFFER_READ if at < 0 else 6 + 3 * at + 1

    def _move(self, x: str, span: Span, width: float, *, level: int, inwards: bool) -> None:
        """Count a piece that crosses between `level` and the memory outside it."""
        size = width
        for d in AXES[x]:
            size *= span[d][1] - span[d][0]
        outside = self._source(level, x)
        if x == "C" and not inwards:
            key = (level, tuple(span[d] for d in AXES["C"]))
            self.left[key] = self.left.get(key, 0) + 1
        self.counts[self._column(outside, x) + (not inwards)] += size
        if level != self.array:
            self.counts[self._column(level, x) + inwards] += size

    def _hold(self, level: int, x: str, span: Span, *, again: bool = False) -> None:
        key = tuple(span[d] for d in AXES[x])
        before = self.held.get((level, x))
        if before == key and not again:
            return
        self.held[level, x] = key
        if x != "C":
            self._move(x, span, self.width[x], level=level, inwards=True)
            return
        if before is not None and self.progress[level, before] < self.size["k"]:
            self._move("C", dict(zip(AXES["C"], before, strict=True)), self.partial, level=level, inwards=False)
        if self.progress.get((level, key), 0) > 0:
            self._move("C", span, self.partial, level=level, inwards=True)

    def _finish(self, level: int, span: Span) -> None:
        if "C" not in self.kept[level - 1]:
            return
        key = tuple(span[d] for d in AXES["C"])
        self.progress[level, key] = span["k"][1]
        if span["k"][1] == self.size["k"]:
            self._move("C", span, self.width["C"], level=level, inwards=False)

    def _array_pass(self, piece: Span) -> None:
        own = IN_ARRAY[self.dataflow]
        key = tuple(piece[d] for d in AXES[own])
        one_pass = all(self.tiles[-1][d] <= self.array_side[d] for d in MAPPED[self.dataflow])
        stays = one_pass and self.held.get((self.array, own)) == key and own not in self.turned
        for x in "AB":
            if not (x == own and stays):
                self._move(x, piece, self.width[x], level=self.array, inwards=True)
        self._sum(piece, one_pass=one_pass, stays=stays)
        self.held[self.array, own] = key
        length = piece[self.stream][1] - piece[self.stream][0]
        across = next(d for d, side in MAPPED[self.dataflow].items() if side == "rows")
        if self.geometry.array.folds is Folds.SERIAL:
            self.counts[CYCLES] += length + self._fill_and_drain()
        elif self.geometry.array.folds is Folds.BROADCAST or (stays and own != "C"):
            self.counts[CYCLES] += length
        else:
            self.counts[CYCLES] += max(length, piece[across][1] - piece[across][0])

    def _sum(self, piece: Span, *, one_pass: bool, stays: bool) -> None:
        """Sums of an array that holds them leave when it turns to others; of one that does not, after each pass."""
        holds = IN_ARRAY[self.dataflow] == "C" and one_pass
        key = tuple(piece[d] for d in AXES["C"])
        before = self.held.get((self.array, "C"))
        if holds and before is not None and not stays and self.progress[self.array, before] < self.size["k"]:
            self._move("C", dict(zip(AXES["C"], before, strict=True)), self.partial, level=self.array, inwards=False)
        if self.progress.get((self.array, key), 0) > 0 and not (holds and stays):
            self._move("C", piece, self.partial, level=self.array, inwards=True)
        self.progress[self.array, key] = piece["k"][1]
        done = piece["k"][1] == self.size["k"]
        if done or not holds:
            self._move("C", piece, self.width["C"] if done else self.partial, level=self.array, inwards=False)

    def _fill_and_drain(self) -> int:
        array = self.geometry.array
        return (array.rows if IN_ARRAY[self.dataflow] == "C" else 2 * array.rows) + array.columns - 2

    def _footprints(self) -> None:
        for level in range(1, self.array):
            for x in self.kept[level - 1]:
                at = self.places[x][level - 1]
                assert at is not None
                memory = self.geometry.outer if at < 0 else self.geometry.inner[at]
                column = 0 if at < 0 else 6 + 3 * at
                pieces = {d: [(0, self.size[d])] for d in AXES[x]}
                for sides in self.tiles[:level]:
                    pieces = {d: [s for o in found for s in spans(*o, sides[d])] for d, found in pieces.items()}
                replaced = any(len(found) > 1 for found in pieces.values())
                copies = 2 if memory.double_buffered and replaced else 1
                elements = np.prod([max(high - low for low, high in found) for found in pieces.values()])
                width = self.partial if x == "C" and self._unfinished_at(level) else self.width[x]
                self.counts[column] += elements * width * copies

    def _unfinished_at(self, level: int) -> bool:
        """Sums cross the border of `level`, or of the next memory inside it that keeps them, more than once."""
        inside = next((at for at in range(level + 1, self.array) if "C" in self.kept[at - 1]), self.array)
        return any(n > 1 for (at, _), n in self.left.items() if at in (level, inside))
