"""Cost of loop nests given from outside: words per memory and direction, energy, latency, room; whole batches at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.hw.importers.machine import Direction
from dse.mapping.nest import check_nest
from dse.mapping.nest_flows import nest_flows
from dse.mapping.nest_latency import NestLatency, drain_cycles, nest_latency, room_for_two
from dse.mapping.nest_ragged import ROUNDING, begun_share, is_ragged, mean_units, real_cycles, real_share

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from dse.hw.importers.machine import Machine, NestMemory
    from dse.mapping.nest import Nest, NestOperand, NestProblem, NestShape, Where
    from dse.mapping.nest_flows import Flow, NestFlows

    FloatArray = NDArray[np.float64]
    BoolArray = NDArray[np.bool_]
    _Rows = NDArray[np.int64] | slice
    _Group = tuple[NDArray[np.int64], NestShape, FloatArray, FloatArray]

CHUNK: Final = 8192
"""Mappings that are costed together: their arrays stay in the processor's cache."""


@dataclass(frozen=True, slots=True)
class NestRules:
    """Where tools differ in what they count; docs/zigzag_rules.md has the reasons."""

    first_partial_reads: bool
    """Whether a sum that has not been begun is read before it is first written."""
    whole_words: bool
    """Whether a count of words that is not whole is rounded down."""
    mean_units: bool
    """Whether units that do not divide a size are replaced by a mean that does, as 25 for 100 indices on 32 units in 4 steps."""
    port_floor: bool
    """Whether a latency below the busy time of a port is raised to it."""


OUR_RULES: Final = NestRules(first_partial_reads=False, whole_words=False, mean_units=False, port_floor=True)
ZIGZAG_RULES: Final = NestRules(first_partial_reads=True, whole_words=True, mean_units=True, port_floor=False)
"""Those of zigzag-dse 3.9.1."""


@dataclass(frozen=True, slots=True)
class FlowName:
    """Which operand crosses the edge of which of its memories, and how."""

    operand: str
    level: int
    """Of the operand's memories, 0 is innermost."""
    memory: str
    direction: Direction


@dataclass(frozen=True, slots=True)
class NestCosts:
    """Costs of B mappings of one shape; arrays [B] unless said otherwise."""

    flows: tuple[FlowName, ...]
    words: FloatArray
    """Accesses of a port's full width by flow, [F, B], over all instances."""
    bits: FloatArray
    """Bits that cross by flow, [F, B], without rounding to whole accesses."""
    pj_per_word: FloatArray
    """By flow, [F]."""
    mac_pj: float
    array_cycles: FloatArray
    stall_cycles: FloatArray
    onload_cycles: FloatArray
    offload_cycles: FloatArray
    drain_cycles: FloatArray
    port_cycles: FloatArray
    """Cycles of the busiest port."""
    latency_cycles: FloatArray
    used_bits: FloatArray
    """Bits taken in one instance by memory, [memories, B]."""
    fits: BoolArray
    """Whether every memory has room."""
    utilisation: FloatArray
    """MACs over MAC units times latency."""

    @property
    def energy_pj(self) -> FloatArray:
        """MACs and every access."""
        found: FloatArray = self.mac_pj + self.pj_per_word @ self.words
        return found

    def energy_by_memory(self, operand: str) -> list[FloatArray]:
        """pJ at each memory of `operand`, inner to outer."""
        levels = 1 + max(f.level for f in self.flows if f.operand == operand)
        return [
            sum(
                (self.pj_per_word[i] * self.words[i] for i, f in enumerate(self.flows) if (f.operand, f.level) == (operand, level)),
                start=np.zeros(self.words.shape[1]),
            )
            for level in range(levels)
        ]

    def words_of(self, operand: str, level: int, direction: Direction) -> FloatArray:
        """Accesses of one flow, [B]; 0 where the operand never crosses there."""
        for i, f in enumerate(self.flows):
            if (f.operand, f.level, f.direction) == (operand, level, direction):
                found: FloatArray = self.words[i]
                return found
        return np.zeros(self.words.shape[1])


def cost_nest(
    problem: NestProblem, machine: Machine, nest: Nest, *, rules: NestRules = OUR_RULES, where: str | Where = "mapping"
) -> NestCosts:
    """Cost of one mapping, arrays [1].

    Raises:
        InputError: the nest does not cover the problem, or names what machine or problem have not.
    """
    check_nest(problem, nest, machine, where=where)
    factors = np.array([[float(f) for _, f in nest.loops]])
    units = np.array([[float(u) for _, _, u in nest.spatial]])
    return cost_nests(problem, machine, nest.shape(), factors, units, rules=rules)


def cost_nests(
    problem: NestProblem,
    machine: Machine,
    shape: NestShape,
    factors: FloatArray,
    units: FloatArray,
    *,
    rules: NestRules = OUR_RULES,
) -> NestCosts:
    """Costs of B mappings of one shape: `factors` [B, loops] and `units` [B or 1, unrollings]; see `check_nest` for one.

    Loops with one step and unrollings of one unit are as if they were not there.
    """
    count = len(factors)
    units = np.broadcast_to(units, (count, len(shape.spatial)))
    drain = drain_cycles(machine, shape, units)
    if rules.mean_units:
        units = mean_units(problem, shape, factors, units)
    names = _flow_names(problem, machine)
    result = _empty(problem, machine, names, count)
    for rows, kept_shape, f, u in _groups(shape, factors, units):
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            found = _Batch(problem, machine, kept_shape, f[part], u[part], rules, drain[part])
            straight = part[-1] - part[0] == len(part) - 1
            _fill(result, slice(int(part[0]), int(part[-1]) + 1) if straight else part, found)
    return result


def _flow_names(problem: NestProblem, machine: Machine) -> tuple[FlowName, ...]:
    found = []
    for operand in problem.operands:
        levels = machine.levels(operand.place)
        for level, memory in enumerate(levels):
            for direction in Direction:
                outward = direction in (Direction.WRITE_FROM_LOW, Direction.READ_TO_HIGH)
                top = level == len(levels) - 1 and not direction.is_low
                if not top and (operand.is_output or not outward):
                    found.append(FlowName(operand.name, level, memory.name, direction))
    return tuple(found)


def _empty(problem: NestProblem, machine: Machine, names: tuple[FlowName, ...], count: int) -> NestCosts:
    memories = {m.name: m for m in machine.memories}
    prices = [memories[f.memory].read_pj if f.direction.is_read else memories[f.memory].write_pj for f in names]
    shape = (len(names), count)
    return NestCosts(
        names,
        np.zeros(shape),
        np.zeros(shape),
        np.array(prices),
        machine.mac_pj * problem.macs,
        array_cycles=np.zeros(count),
        stall_cycles=np.zeros(count),
        onload_cycles=np.zeros(count),
        offload_cycles=np.zeros(count),
        drain_cycles=np.zeros(count),
        port_cycles=np.zeros(count),
        latency_cycles=np.zeros(count),
        used_bits=np.zeros((len(machine.memories), count)),
        fits=np.zeros(count, dtype=np.bool_),
        utilisation=np.zeros(count),
    )


def _groups(shape: NestShape, factors: FloatArray, units: FloatArray) -> Iterator[_Group]:
    """Rows that agree in which factors are 1, the shape without those, and all factors and units without those columns."""
    ones = np.concatenate((factors == 1, units == 1), axis=1)
    if (ones == ones[0]).all():
        patterns, index = ones[:1], np.zeros(len(ones), dtype=np.int64)
    else:
        patterns, index = np.unique(ones, axis=0, return_inverse=True)
    loops = len(shape.loops)
    for i, pattern in enumerate(patterns):
        gone, idle = pattern[:loops], pattern[loops:]
        kept = shape.without(frozenset(np.flatnonzero(gone).tolist()), frozenset(np.flatnonzero(idle).tolist()))
        yield np.flatnonzero(index.ravel() == i), kept, factors[:, ~gone], units[:, ~idle]


class _Batch:
    """Mappings of one shape without factors of 1."""

    def __init__(
        self,
        problem: NestProblem,
        machine: Machine,
        shape: NestShape,
        factors: FloatArray,
        units: FloatArray,
        rules: NestRules,
        drain: FloatArray,
    ) -> None:
        self.problem, self.machine, self.rules, self.drain = problem, machine, rules, drain
        loops = [np.ascontiguousarray(c) for c in factors.T]
        lanes = [np.ascontiguousarray(c) for c in units.T]
        self.moved = nest_flows(problem, machine, shape, loops, lanes)
        self.timed = self.moved
        if (units != np.floor(units)).any():  # a mean number of units: transfers are timed for whole ones
            self.timed = nest_flows(problem, machine, *_whole_units(shape, loops, lanes))
        self.ragged = is_ragged(problem, self.moved)

    def words(self, flow: Flow) -> tuple[FloatArray, FloatArray]:
        """(accesses, bits) of a flow."""
        port = flow.port
        rounds = flow.count * flow.instances
        if self.ragged:
            rounds = rounds * real_share(self.problem, self.moved, flow)
        if flow.operand.is_output and flow.direction.is_read == flow.direction.is_low and not self.rules.first_partial_reads:
            rounds = rounds * (1 - begun_share(self.problem, self.moved, flow))
        data = flow.amount * flow.bits
        words = np.ceil(data / port.min_bits) * (port.min_bits / port.max_bits) * rounds
        return (np.floor(words + _HAIR) if self.rules.whole_words else words), data * rounds

    def latency(self) -> NestLatency:
        return nest_latency(self.problem, self.machine, self.timed, doubled=room_for_two(self.moved), drain=self.drain)


_HAIR: Final = 1e-6
"""Words; a product of whole numbers may end this far below one in floating point."""


def _whole_units(
    shape: NestShape, loops: list[FloatArray], lanes: list[FloatArray]
) -> tuple[NestShape, Sequence[FloatArray], Sequence[FloatArray]]:
    whole = [np.floor(c) for c in lanes]
    idle = frozenset(i for i, c in enumerate(whole) if (c == 1).all())
    return shape.without(frozenset(), idle), loops, [c for i, c in enumerate(whole) if i not in idle]


def _fill(result: NestCosts, rows: _Rows, batch: _Batch) -> None:
    """Write the costs of a batch into the rows of the result."""
    index = {(f.operand, f.level, f.direction): i for i, f in enumerate(result.flows)}
    busy: dict[tuple[str, str], FloatArray] = {}
    for flow in batch.moved.flows:
        words, bits = batch.words(flow)
        at = index[flow.operand.name, flow.level, flow.direction]
        result.words[at, rows], result.bits[at, rows] = words, bits
        port = flow.memory.name, flow.port.name
        busy[port] = busy.get(port, np.zeros(1)) + words / flow.instances
    for cycles in busy.values():
        result.port_cycles[rows] = np.maximum(result.port_cycles[rows], cycles)
    _fill_latency(result, rows, batch)
    _fill_room(result, rows, batch)


def _fill_latency(result: NestCosts, rows: _Rows, batch: _Batch) -> None:
    latency = batch.latency()
    cycles = real_cycles(batch.problem, batch.moved) if batch.ragged else latency.array_cycles
    result.array_cycles[rows] = cycles
    result.stall_cycles[rows] = latency.stall_cycles
    result.onload_cycles[rows] = latency.onload_cycles
    result.offload_cycles[rows] = latency.offload_cycles
    result.drain_cycles[rows] = latency.drain_cycles
    total = latency.total_cycles - latency.array_cycles + cycles
    result.latency_cycles[rows] = np.maximum(total, result.port_cycles[rows]) if batch.rules.port_floor else total
    result.utilisation[rows] = batch.problem.macs / (batch.machine.macs * result.latency_cycles[rows])


def _fill_room(result: NestCosts, rows: _Rows, batch: _Batch) -> None:
    at = {m.name: i for i, m in enumerate(batch.machine.memories)}
    for _, memory, bits in _held(batch.moved):
        result.used_bits[at[memory.name], rows] += bits
    sizes = np.array([m.size_bits for m in batch.machine.memories])[:, None]
    result.fits[rows] = (result.used_bits[:, rows] <= sizes * (1 + ROUNDING)).all(axis=0)


def _held(moved: NestFlows) -> Iterator[tuple[NestOperand, NestMemory, FloatArray]]:
    """Bits [B] that each operand takes in one instance of each of its memories."""
    for tiles in moved.tiles:
        for memory, bits, whole in zip(tiles.memories, tiles.bits, tiles.whole, strict=True):
            yield tiles.operand, memory, bits * (2 if memory.doubled and not whole else 1)


def held_bits(problem: NestProblem, machine: Machine, nest: Nest, *, rules: NestRules = OUR_RULES) -> dict[str, dict[str, float]]:
    """By memory and operand, the bits that a checked nest takes in one instance; what `used_bits` of its cost adds up."""
    units = np.array([[float(u) for _, _, u in nest.spatial]])
    factors = np.array([[float(f) for _, f in nest.loops]])
    if rules.mean_units:
        units = mean_units(problem, nest.shape(), factors, units)
    ((_, shape, f, u),) = _groups(nest.shape(), factors, units)
    found: dict[str, dict[str, float]] = {memory.name: {} for memory in machine.memories}
    for operand, memory, bits in _held(nest_flows(problem, machine, shape, list(f.T), list(u.T))):
        found[memory.name][operand.name] = float(np.ravel(bits)[0])
    return found
