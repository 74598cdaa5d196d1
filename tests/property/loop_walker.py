"""A brute-force reference: walks every loop of one mapping of a matrix product and counts what crosses each boundary."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dse.hw.accelerator import Dataflow, Folds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dse.hw.accelerator import Geometry
    from dse.mapping.problem import MatmulProblem

DIMS = ("m", "k", "n")
AXES = {"A": ("m", "k"), "B": ("k", "n"), "C": ("m", "n")}
IN_ARRAY = {Dataflow.WEIGHT_STATIONARY: "B", Dataflow.OUTPUT_STATIONARY: "C", Dataflow.INPUT_STATIONARY: "A"}
MAPPED = {
    Dataflow.WEIGHT_STATIONARY: {"k": "rows", "n": "columns"},
    Dataflow.OUTPUT_STATIONARY: {"m": "rows", "n": "columns"},
    Dataflow.INPUT_STATIONARY: {"k": "rows", "m": "columns"},
}
FOOTPRINT, CYCLES = 0, 5
COLUMN = {("dram", "read"): 1, ("dram", "write"): 2, ("buffer", "read"): 3, ("buffer", "write"): 4}

Span = dict[str, tuple[int, int]]


def spans(low: int, high: int, step: int) -> list[tuple[int, int]]:
    """[low, high) in pieces of `step`."""
    return [(i, min(i + step, high)) for i in range(low, high, step)]


@dataclass
class LoopWalker:
    """One mapping: buffer tile, order of the DRAM loops (outer to inner), operands kept in the buffer, dataflow.

    A kept tile is fetched when it differs from the one held; partial sums leave when their tile is replaced unfinished
    and come back when it returns. The array takes one pass at a time and holds one operand, over several passes only in
    mappings whose tiles are one pass each. An element that does several MACs in a cycle takes as many steps of k at once.
    """

    problem: MatmulProblem
    geometry: Geometry
    dataflow: Dataflow
    tile: dict[str, int]
    order: tuple[str, ...]
    kept: str
    together: int = 1
    """Groups that run at the same time on several arrays, each with tiles of its own."""
    shared: bool = False
    """Arrays that hold sums and would be idle take a stretch of k of the others' sums; the parts are added outside."""
    counts: np.ndarray = field(default_factory=lambda: np.zeros(6))
    held: dict[str, tuple] = field(default_factory=dict)
    in_array: tuple | None = None
    progress: dict[tuple, int] = field(default_factory=dict)
    """How far along k each output piece has been summed."""

    def __post_init__(self) -> None:
        """Derive sizes and widths."""
        p, array = self.problem, self.geometry.array
        self.size = {"m": p.m, "k": p.k, "n": p.n}
        self.width = {"A": p.left_bits / 8, "B": p.right_bits / 8, "C": p.out_bits / 8}
        self.partial = p.partial_bits / 8
        side = MAPPED[self.dataflow]
        self.rate = dict(array.macs_per_pe_per_cycle)[p.dtype]
        packed = {"k": self.rate} if "k" in side else {}
        self.array_side = {d: getattr(array, side[d]) * packed.get(d, 1) if d in side else max(self.size.values()) for d in DIMS}
        self.stream = next(d for d in DIMS if d not in side)
        self.written: dict[tuple, int] = {}

    def walk(self) -> np.ndarray:
        """Footprint, DRAM read and write, buffer read and write bytes, array cycles."""
        for group in range(self.problem.groups):
            self.held, self.in_array, self.progress, self.written = {}, None, {}, {}
            self.first = group % self.together == 0  # of those that run together
            for span in self._steps(self.order, {d: (0, self.size[d]) for d in DIMS}, self.tile):
                self._work(span)
        if self.geometry.array.folds is Folds.PIPELINED:
            self.counts[CYCLES] += self._fill_and_drain()
        self.counts[FOOTPRINT] = sum(self._footprint(x) for x in self.kept) * self.together
        return self.counts

    def _work(self, span: Span) -> None:
        """One buffer tile."""
        for operand in self.kept:
            self._hold(operand, span)
        pieces = list(self._steps(DIMS, span, self.array_side))
        for piece in pieces:
            self._array_pass(piece)
        if self.geometry.array.count > 1 and self.first:
            self._deal_out(pieces)
        if "C" in self.kept and span["k"][1] == self.size["k"]:
            self._cross("dram", "write", "C", span, self.width["C"])

    def _deal_out(self, pieces: list[Span]) -> None:
        """Cycles of the passes of one tile, of all groups that run together, over several arrays: turn by turn, a pass on each. Arrays that
        would be idle take equal parts of the others' streams where weights stay, and of the others' sums where these are shared. A turn
        is as long as a pass with the most rows."""
        arrays = self.geometry.array.count
        longest = max(piece[self.stream][1] - piece[self.stream][0] for piece in pieces)
        rows = max(self._rows(piece) for piece in pieces)
        waiting, turns = len(pieces) * self.together, 0
        while waiting > 0:
            waiting -= arrays
            turns += 1
        weights = IN_ARRAY[self.dataflow] != "C"
        parts = max(arrays // (len(pieces) * self.together), 1) if weights else self.parts()
        length = self._steps_of(-(-longest // parts))
        if self.geometry.array.folds is Folds.SERIAL:
            length += self._fill_and_drain()
        elif self.geometry.array.folds is Folds.PIPELINED:
            length = max(length, rows)
        self.counts[CYCLES] += turns * length

    def parts(self) -> int:
        """Arrays that work on one sum: as many as a whole tile leaves idle, at most one for each step of its stretch of k."""
        if not self.shared:
            return 1
        passes = self.together
        for d in MAPPED[self.dataflow]:
            passes *= -(-self.tile[d] // self.array_side[d])
        return min(max(self.geometry.array.count // passes, 1), self._steps_of(self.tile["k"]))

    def _steps_of(self, elements: int) -> int:
        """Cycles in which so many elements stream past."""
        return -(-elements // self.rate) if self.stream == "k" else elements

    def _rows(self, piece: Span) -> int:
        """Rows in use."""
        across = next(d for d, side in MAPPED[self.dataflow].items() if side == "rows")
        elements = piece[across][1] - piece[across][0]
        return -(-elements // self.rate) if across == "k" else elements

    def _steps(self, order: tuple[str, ...], outer: Span, step: dict[str, int]) -> Iterator[Span]:
        for pieces in itertools.product(*(spans(*outer[d], step[d]) for d in order)):
            yield dict(zip(order, pieces, strict=True))

    def _key(self, operand: str, span: Span) -> tuple:
        return (operand, *(span[d] for d in AXES[operand]))

    def _cross(self, level: str, direction: str, operand: str, span: Span, width: float) -> None:
        """Count a piece crossing; what comes from DRAM is written to the buffer, what goes there is read from it."""
        elements = 1
        for d in AXES[operand]:
            elements *= span[d][1] - span[d][0]
        self.counts[COLUMN[level, direction]] += elements * width
        if level == "dram" and operand in self.kept:
            self.counts[COLUMN["buffer", "write" if direction == "read" else "read"]] += elements * width

    def _hold(self, operand: str, span: Span) -> None:
        key = self._key(operand, span)
        previous = self.held.get(operand)
        if previous == key:
            return
        self.held[operand] = key
        if operand != "C":
            self._cross("dram", "read", operand, span, self.width[operand])
            return
        if previous is not None and self.progress[previous] < self.size["k"]:
            self._cross("dram", "write", "C", dict(zip(AXES["C"], previous[1:], strict=True)), self.partial)
        if self.progress.get(key, 0) > 0:
            self._cross("dram", "read", "C", span, self.partial)

    def _array_pass(self, piece: Span) -> None:
        level = {x: "buffer" if x in self.kept else "dram" for x in AXES}
        stationary = IN_ARRAY[self.dataflow]
        one_pass = all(self.tile[d] <= self.array_side[d] for d in MAPPED[self.dataflow])
        stays = one_pass and self.in_array == self._key(stationary, piece)
        for operand in "AB":
            if not (operand == stationary and stays):
                self._cross(level[operand], "read", operand, piece, self.width[operand])
        self._sum_outputs(piece, level["C"], holds_outputs=stationary == "C", stays=stays)
        self.in_array = self._key(stationary, piece)
        if self.geometry.array.count > 1:
            return
        length = self._steps_of(piece[self.stream][1] - piece[self.stream][0])
        if self.geometry.array.folds is Folds.SERIAL:
            self.counts[CYCLES] += length + self._fill_and_drain()
        elif self.geometry.array.folds is Folds.BROADCAST or (stays and stationary != "C"):
            self.counts[CYCLES] += length
        else:
            self.counts[CYCLES] += max(length, self._rows(piece))

    def _sum_outputs(self, piece: Span, level: str, *, holds_outputs: bool, stays: bool) -> None:
        """Partial sums come back unless this is their first visit or they stayed in the array, and leave unless they stay."""
        key = ("piece", *self._key("C", piece))
        done = piece["k"][1] == self.size["k"]
        parts = self.parts()
        goes = done or not (holds_outputs and self._outputs_stay())
        if parts == 1 and self.progress.get(key, 0) > 0 and not (holds_outputs and stays):
            self._cross(level, "read", "C", piece, self.partial)
        for part in range(parts if goes else 0):
            if parts > 1 and self.written.get(key, 0) > 0:  # added to what is there
                self._cross(level, "read", "C", piece, self.partial)
            self.written[key] = self.written.get(key, 0) + 1
            self._cross(level, "write", "C", piece, self.width["C"] if done and part == parts - 1 else self.partial)
        self.progress[key] = piece["k"][1]
        self.progress[self.held.get("C", key)] = piece["k"][1]

    def _outputs_stay(self) -> bool:
        """The next pass sums into the same outputs: one pass per tile and k innermost among the loops that turn."""
        turning = [d for d in self.order if self.tile[d] < self.size[d]]
        return all(self.tile[d] <= self.array_side[d] for d in ("m", "n")) and bool(turning) and turning[-1] == "k"

    def _fill_and_drain(self) -> int:
        array = self.geometry.array
        return (array.rows if self.dataflow is Dataflow.OUTPUT_STATIONARY else 2 * array.rows) + array.columns - 2

    def _footprint(self, operand: str) -> float:
        tiles, elements = 1, 1
        for d in AXES[operand]:
            tiles *= -(-self.size[d] // self.tile[d])
            elements *= self.tile[d]
        copies = 2 if self.geometry.double_buffered and (tiles > 1 or self.problem.groups > self.together) else 1
        width = self.width[operand]
        if operand == "C":
            passes = -(-self.tile["k"] // self.array_side["k"]) > 1 and IN_ARRAY[self.dataflow] != "C"
            if passes or self.parts() > 1 or self.tile["k"] < self.size["k"]:
                width = self.partial
        return elements * copies * width
