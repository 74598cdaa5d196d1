"""What a given loop nest moves: for each operand, memory and direction the amount per transfer, how often, and the bits.

Rules. Loops that an operand does not use and that lie directly above a memory's loops leave its tile in place: the tile's
edge moves up past them. A memory takes and gives its tile once per round of the loops below its edge. A memory instance
feeds the array dimensions that it serves; along all others it stands once per unit, and each instance moves its own words.
Unfinished sums have their own width and come back; the finished output crosses once at its own width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.hw.importers.machine import Direction
from dse.mapping.nest import Relevance, elements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dse.hw.importers.machine import Machine, NestMemory, Port
    from dse.mapping.nest import NestOperand, NestProblem, NestShape

    FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Flow:
    """One operand crossing the edge of one of its memories in one direction; arrays [B]."""

    operand: NestOperand
    level: int
    """Which of the operand's memories, 0 is innermost."""
    memory: NestMemory
    port: Port
    direction: Direction
    amount: FloatArray
    """Elements per transfer of one instance."""
    bits: float
    """Of an element."""
    edge: int
    """Loops below the tile's edge: a transfer each round of them."""
    hold: int
    """The same less the loops at the top of the tile that the operand does not use; the tile is in use until they end."""
    period: FloatArray
    """Cycles between transfers."""
    count: FloatArray
    """Transfers of one instance."""
    instances: FloatArray
    mean_bits: FloatArray
    """Whole bits per cycle of one instance, all along the nest."""
    lanes: tuple[int, ...]
    """Positions of the unrollings that one instance feeds."""

    @property
    def transfer_cycles(self) -> FloatArray:
        """Cycles that the port is busy with one transfer."""
        return np.ceil(self.amount * self.bits / self.port.max_bits)


@dataclass(frozen=True, slots=True)
class OperandTiles:
    """Tiles of one operand at its memories, inner to outer; arrays [B]."""

    operand: NestOperand
    memories: tuple[NestMemory, ...]
    bits: tuple[FloatArray, ...]
    """Of the tile of one instance."""
    live_bits: tuple[FloatArray, ...]
    """The same less the loops at its top that step through it: what must stay while one step is worked on."""
    whole: tuple[bool, ...]
    """Whether the tile is loaded once and stays."""


@dataclass(frozen=True, slots=True)
class NestFlows:
    """All that a batch of mappings of one shape moves."""

    cycles: FloatArray
    """Steps of the temporal loops."""
    shape: NestShape
    factors: tuple[FloatArray, ...]
    units: tuple[FloatArray, ...]
    flows: tuple[Flow, ...]
    tiles: tuple[OperandTiles, ...]

    @property
    def loops(self) -> int:
        """Number of temporal loops."""
        return len(self.factors)


def nest_flows(
    problem: NestProblem, machine: Machine, shape: NestShape, factors: Sequence[FloatArray], units: Sequence[FloatArray]
) -> NestFlows:
    """Flows and tiles of the mappings with the given loop factors and unrollings, arrays [B] each; no factor is 1."""
    rounds: list[FloatArray] = [np.ones(1)]
    for factor in factors:
        rounds.append(rounds[-1] * factor)
    found: list[Flow] = []
    tiles = []
    for operand in problem.operands:
        walk = _OperandWalk(operand, machine, shape, factors, units, rounds)
        found += walk.flows()
        tiles.append(walk.tiles())
    return NestFlows(rounds[-1], shape, tuple(factors), tuple(units), tuple(found), tuple(tiles))


class _OperandWalk:
    """One operand's way through its memories; index k is the edge below memory k, edge `levels` is the top."""

    def __init__(
        self,
        operand: NestOperand,
        machine: Machine,
        shape: NestShape,
        factors: Sequence[FloatArray],
        units: Sequence[FloatArray],
        rounds: list[FloatArray],
    ) -> None:
        self.operand, self.shape, self.factors, self.units, self.rounds = operand, shape, factors, units, rounds
        self.memories = machine.levels(operand.place)
        self.relevance = [operand.relevance(dim) for dim in shape.loops]
        self.edges = self._edges()
        self.feeds = [self._fed_by(array_dim) for array_dim, _ in shape.spatial]
        top = len(self.memories)
        self.tile = [self._tile(k) for k in range(top + 1)]
        spread = [self._spread(k) for k in range(top + 1)]
        self.fan = [np.rint(spread[k + 1] / spread[k]) for k in range(top)]
        self.instances = [self._instances(k) for k in range(top + 1)]
        self.unfinished = [operand.is_output and self._is_unfinished(k) for k in range(top)] + [False]

    def _edges(self) -> list[int]:
        cuts = (0, *self.shape.cuts_of(self.operand.name))
        found = []
        for k, cut in enumerate(cuts):
            edge = cut
            if k or not self.operand.is_output:  # the MACs add into the innermost memory each cycle
                while edge < len(self.relevance) and self.relevance[edge] == Relevance.NONE:
                    edge += 1
            found.append(edge)
        return found

    def _fed_by(self, array_dim: str) -> int:
        return next((k for k, m in enumerate(self.memories) if array_dim in m.serves), len(self.memories))

    def _tile(self, k: int) -> FloatArray:
        """Elements of the tile below edge k in one instance of the memory below it."""
        if k == 0:
            return np.ones(1)
        return elements(self.operand, self._extents(self.edges[k], k))

    def _spread(self, k: int) -> FloatArray:
        """Distinct elements across the units that the memories below edge k feed."""
        return elements(self.operand, self._extents(0, k))

    def _extents(self, loops: int, k: int) -> dict[str, FloatArray]:
        found: dict[str, FloatArray] = {}
        steps = [(self.shape.loops[i], self.factors[i]) for i in range(loops)]
        steps += [(dim, self.units[i]) for i, (_, dim) in enumerate(self.shape.spatial) if self.feeds[i] < k]
        for dim, factor in steps:
            found[dim] = found[dim] * factor if dim in found else factor
        return found

    def _instances(self, k: int) -> FloatArray:
        """Units, or instances of the memory below edge k, that work."""
        found: FloatArray = np.ones(1)
        for i, fed_by in enumerate(self.feeds):
            if fed_by >= k:
                found = found * self.units[i]
        return found

    def _is_unfinished(self, k: int) -> bool:
        """Whether sums that cross edge k are added to again above it."""
        loops = any(r != Relevance.WHOLE for r in self.relevance[self.edges[k] :])
        lanes = (dim for i, (_, dim) in enumerate(self.shape.spatial) if self.feeds[i] > k)
        return loops or any(self.operand.relevance(dim) != Relevance.WHOLE for dim in lanes)

    def _bits(self, k: int) -> float:
        partial = self.operand.partial_bits
        return partial if self.unfinished[k] and partial is not None else self.operand.bits

    def _run(self, k: int, relevance: Relevance) -> int:
        """First of the loops at the top of the tile below edge k that all have the given relevance."""
        start = 0 if k <= 1 else self.edges[k - 1]
        first = self.edges[k]
        while first > start and self.relevance[first - 1] == relevance:
            first -= 1
        return first if k else self.edges[0]

    def flows(self) -> list[Flow]:
        found = []
        for level in range(len(self.memories)):
            found += self._crossing(level, level, low=True)
            if level + 1 < len(self.memories):
                found += self._crossing(level, level + 1, low=False)
        return found

    def _crossing(self, level: int, k: int, *, low: bool) -> list[Flow]:
        """Flows of memory `level` over edge k, which is its lower or its upper one."""
        period, bits = self.rounds[self.edges[k]], self._bits(k)
        amount = self.tile[k] * self.fan[k] if low else self.tile[k]
        return [
            Flow(
                operand=self.operand,
                level=level,
                memory=self.memories[level],
                port=self._port(level, direction),
                direction=direction,
                amount=amount,
                bits=bits,
                edge=self.edges[k],
                hold=self._run(k, Relevance.NONE),
                period=period,
                count=self.rounds[-1] / period,
                instances=self.instances[level + 1],
                mean_bits=np.floor(amount * bits / period),
                lanes=tuple(i for i, fed_by in enumerate(self.feeds) if fed_by <= level),
            )
            for direction in self._directions(k, low=low)
        ]

    def _directions(self, k: int, *, low: bool) -> tuple[Direction, ...]:
        inward = Direction.READ_TO_LOW if low else Direction.WRITE_FROM_HIGH
        outward = Direction.WRITE_FROM_LOW if low else Direction.READ_TO_HIGH
        if not self.operand.is_output:
            return (inward,)
        return (outward, inward) if self.unfinished[k] else (outward,)

    def _port(self, level: int, direction: Direction) -> Port:
        port = self.memories[level].port_of(self.operand.place, direction)
        assert port is not None, "check_machine refuses memories without the ports that their operands need"
        return port

    def tiles(self) -> OperandTiles:
        bits, live, whole = [], [], []
        for level in range(len(self.memories)):
            k = level + 1
            tile = self.tile[k] * self._bits(k)
            first, edge = self._run(k, Relevance.WHOLE), self.edges[k]
            bits.append(tile)
            live.append(np.floor(tile / (self.rounds[edge] / self.rounds[first])))
            whole.append(edge == len(self.factors))
        return OperandTiles(self.operand, self.memories, tuple(bits), tuple(live), tuple(whole))
