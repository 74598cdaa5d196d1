"""Latency of a given loop nest: cycles of the array, stalls of its ports, the first load and the last store.

The model is ZigZag's (Mei et al., "A Uniform Latency Model for DNN Accelerators with Diverse Architectures and Dataflows",
DATE 2022; behaviour of zigzag-dse 3.9.1), with one rule of our own: no latency lies below the busy time of a port. Per
transfer a port has a window: the whole period where the memory has room for a second tile, else the part of it in which
the tile is not in use. What exceeds the windows stalls the array; ports stall it side by side, flows of one port in turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, permutations
from typing import TYPE_CHECKING

import numpy as np

from dse.hw.importers.machine import Direction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dse.hw.importers.machine import Machine, NestMemory, Port
    from dse.mapping.nest import NestProblem, NestShape
    from dse.mapping.nest_flows import Flow, NestFlows

    FloatArray = NDArray[np.float64]
    BoolArray = NDArray[np.bool_]

ROOM_FOR_TWO = 0.5
"""Share of a memory that the tiles in use may take for all of them to be doubled."""


@dataclass(frozen=True, slots=True)
class NestLatency:
    """Cycles, arrays [B]."""

    array_cycles: FloatArray
    """Steps of the temporal loops."""
    stall_cycles: FloatArray
    onload_cycles: FloatArray
    """Before the first step: what cannot be loaded meanwhile."""
    offload_cycles: FloatArray
    """After the last step: the last output tile on its way up."""
    drain_cycles: FloatArray
    """The last results leave a systolic array."""

    @property
    def total_cycles(self) -> FloatArray:
        """Their sum."""
        return self.array_cycles + self.stall_cycles + self.onload_cycles + self.offload_cycles + self.drain_cycles


def nest_latency(
    problem: NestProblem, machine: Machine, moved: NestFlows, *, doubled: dict[tuple[str, int], BoolArray], drain: FloatArray
) -> NestLatency:
    """Latency of the mappings of `moved`; `doubled` says which memories have room for a second tile (`room_for_two`),
    `drain` are the cycles of `drain_cycles`."""
    by_port = _by_port(machine, moved)
    stall: FloatArray = np.zeros(1)
    for flows in by_port:
        stall = np.maximum(stall, _port_stall(flows, moved, doubled))
    edges: dict[tuple[str, int, Direction], FloatArray] = {}
    for flows in by_port:
        edges |= _first_and_last(flows, moved, moved.cycles + stall)
    return NestLatency(
        array_cycles=moved.cycles,
        stall_cycles=stall,
        onload_cycles=_onload(problem, moved, edges),
        offload_cycles=_offload(problem, moved, edges),
        drain_cycles=drain,
    )


def room_for_two(moved: NestFlows) -> dict[tuple[str, int], BoolArray]:
    """Whether (operand, level) can take its next tile while this one is in use, [B].

    It can where the parts in use fill at most half of the memory, or where a second copy still fits into what is left;
    copies are handed out in the order of the operands, the output first.
    """
    order = sorted(moved.tiles, key=lambda t: not t.operand.is_output)
    taken: dict[str, FloatArray] = {}
    for t in order:
        for memory, live in zip(t.memories, t.live_bits, strict=True):
            taken[memory.name] = taken.get(memory.name, np.zeros(1)) + live / memory.size_bits
    found: dict[tuple[str, int], BoolArray] = {}
    for t in order:
        for level, (memory, live) in enumerate(zip(t.memories, t.live_bits, strict=True)):
            share = live / memory.size_bits
            half = taken[memory.name] <= ROOM_FOR_TWO
            copy = ~half & (share <= 1 - taken[memory.name])
            found[t.operand.name, level] = half | copy
            taken[memory.name] = taken[memory.name] + np.where(copy, share, 0.0)
    return found


def _by_port(machine: Machine, moved: NestFlows) -> list[list[Flow]]:
    found = []
    for memory in machine.memories:
        mine = [f for f in moved.flows if f.memory is memory]
        found += [[f for f in mine if f.port is port] for port in memory.ports]
    return [flows for flows in found if flows]


def _window(flow: Flow, moved: NestFlows, doubled: dict[tuple[str, int], BoolArray]) -> tuple[FloatArray, BoolArray]:
    """Cycles of each period in which the transfer may run, and whether that is all of them."""
    below = flow.level - 1 if flow.direction.is_low else flow.level
    free = doubled[flow.operand.name, below] if below >= 0 else np.zeros(1, dtype=np.bool_)
    if flow.hold == flow.edge:
        return flow.period, np.ones(1, dtype=np.bool_)
    use = flow.period / _product(moved, flow.hold, flow.edge)
    return np.where(free, flow.period, use), free


def _product(moved: NestFlows, first: int, end: int) -> FloatArray:
    found: FloatArray = np.ones(1)
    for i in range(first, end):
        found = found * moved.factors[i]
    return found


def _port_stall(flows: list[Flow], moved: NestFlows, doubled: dict[tuple[str, int], BoolArray]) -> FloatArray:
    """Cycles that one port keeps the array waiting: what each flow exceeds its windows by, and what their overlap costs."""
    windows = [_window(f, moved, doubled) for f in flows]
    excess = [(f.transfer_cycles - w) * (f.count - 1) for f, (w, _) in zip(flows, windows, strict=True)]
    if len(flows) == 1:
        return np.maximum(excess[0], 0.0)
    late = sum((np.maximum(x, 0.0) for x in excess), start=np.zeros(1))
    slack = sum((np.minimum(x, 0.0) for x in excess), start=np.zeros(1))
    offered = sum((w * (f.count - 1) for f, (w, _) in zip(flows, windows, strict=True)), start=np.zeros(1))
    stall: FloatArray = late + np.maximum(0.0, slack + offered - _union(flows, moved, windows))
    return stall


def _union(flows: list[Flow], moved: NestFlows, windows: list[tuple[FloatArray, BoolArray]]) -> FloatArray:
    """Cycles of the nest that lie in at least one of the windows.

    A cycle is a number whose digits are the loop indices; it lies in a window if the digits of the loops between `hold`
    and `edge` are all 0. The union follows by inclusion and exclusion over the sets of loops.
    """
    always: BoolArray = np.zeros(1, dtype=np.bool_)
    for _, all_of_it in windows:
        always = always | all_of_it
    if bool(np.all(always)):
        return moved.cycles
    ranges = {frozenset(range(f.hold, f.edge)) for f in flows}
    least = [r for r in ranges if not any(other < r for other in ranges)]
    least.sort(key=sorted)
    covered: FloatArray = np.zeros(1)
    for size in range(1, len(least) + 1):
        for chosen in combinations(least, size):
            zero = sorted(frozenset().union(*chosen))
            share = moved.cycles
            for i in zero:
                share = share / moved.factors[i]
            covered = covered + share if size % 2 else covered - share
    return np.where(always, moved.cycles, covered)


def _first_and_last(flows: list[Flow], moved: NestFlows, computing: FloatArray) -> dict[tuple[str, int, Direction], FloatArray]:
    """Cycles of each flow's first or last transfer outside the steps.

    A tile that is transferred once may move while the array works, except the part that its innermost memory needs first:
    as many cycles as the port has left over from its regular flows, longest transfer first, equal ones in the order of the port.
    """
    ends = [f for f in flows if not (f.operand.is_output and f.direction in (Direction.READ_TO_LOW, Direction.WRITE_FROM_HIGH))]
    once = sorted((f for f in ends if f.edge == moved.loops), key=_place_at_port)
    again = [f for f in ends if f.edge != moved.loops]
    found = {(f.operand.name, f.level, f.direction): f.transfer_cycles for f in again}
    if not once:
        return found
    width = once[0].port.max_bits
    used = sum((f.mean_bits for f in again), start=np.zeros(1))
    spare = np.maximum(0.0, (width - used) / width * computing)
    needed = [np.ceil(_innermost_bits(f, moved) / width) for f in once]
    left = _shorten([f.transfer_cycles for f in once], needed, spare)
    return found | {(f.operand.name, f.level, f.direction): cycles for f, cycles in zip(once, left, strict=True)}


def _place_at_port(flow: Flow) -> int:
    """Position of a flow in the list of its port."""
    return next(i for i, at in enumerate(flow.port.flows) if (at.operand, at.direction) == (flow.operand.place, flow.direction))


def _innermost_bits(flow: Flow, moved: NestFlows) -> FloatArray:
    return next(t.bits[0] for t in moved.tiles if t.operand is flow.operand)


def _shorten(cycles: list[FloatArray], needed: list[FloatArray], spare: FloatArray) -> list[FloatArray]:
    """Bring the longest down towards what is needed while `spare` lasts, then the next."""
    if len(cycles) == 1:
        return [cycles[0] - np.minimum(np.maximum(0.0, cycles[0] - needed[0]), spare)]
    *arrays, spare = np.broadcast_arrays(*cycles, *needed, spare)
    stacked, need = np.stack(arrays[: len(cycles)]), np.stack(arrays[len(cycles) :])
    order = np.argsort(-stacked, axis=0, kind="stable")
    room = np.take_along_axis(np.maximum(0.0, stacked - need), order, axis=0)
    before = np.cumsum(room, axis=0) - room
    cut = np.clip(spare - before, 0.0, room)
    result = stacked.copy()
    np.put_along_axis(result, order, np.take_along_axis(stacked, order, axis=0) - cut, axis=0)
    return list(result)


def _shares_inputs(port: Port, problem: NestProblem) -> bool:
    return len({f.operand for f in port.flows} & {o.place for o in problem.inputs}) > 1


def _onload(problem: NestProblem, moved: NestFlows, edges: dict[tuple[str, int, Direction], FloatArray]) -> FloatArray:
    """Cycles before the first step: inputs load side by side but for the ports they share, in the best order."""
    shared, alone = [], []
    for tiles in moved.tiles:
        if tiles.operand.is_output:
            continue
        parts = {True: np.zeros(1), False: np.zeros(1)}
        mixed: FloatArray = np.zeros(1)
        for level in range(len(tiles.memories) - 1):
            ends = ((level, Direction.WRITE_FROM_HIGH), (level + 1, Direction.READ_TO_LOW))
            longest = np.maximum(*(edges[tiles.operand.name, at, way] for at, way in ends))
            both = [_shares_inputs(_port(tiles.operand.place, tiles.memories[at], way), problem) for at, way in ends]
            if both[0] == both[1]:
                parts[both[0]] = parts[both[0]] + longest
            else:
                mixed = longest
        shared.append(parts[True])
        alone.append(parts[False] + mixed)
    best: FloatArray | None = None
    for order in permutations(range(len(shared))):
        done: FloatArray = np.zeros(1)
        queue: FloatArray = np.zeros(1)
        for i in order:
            queue = queue + shared[i]
            done = np.maximum(done, queue + alone[i])
        best = done if best is None else np.minimum(best, done)
    return best if best is not None else np.zeros(1)


def _port(place: str, memory: NestMemory, way: Direction) -> Port:
    port = memory.port_of(place, way)
    assert port is not None
    return port


def _offload(problem: NestProblem, moved: NestFlows, edges: dict[tuple[str, int, Direction], FloatArray]) -> FloatArray:
    """Cycles after the last step: the last output tile moves up level by level."""
    name = problem.output.name
    levels = next(len(t.memories) for t in moved.tiles if t.operand.is_output)
    found: FloatArray = np.zeros(1)
    for level in range(levels - 1):
        found = found + np.maximum(edges[name, level, Direction.READ_TO_HIGH], edges[name, level + 1, Direction.WRITE_FROM_LOW])
    return found


def drain_cycles(machine: Machine, shape: NestShape, units: FloatArray) -> FloatArray:
    """Cycles in which the last results leave a systolic array, [B]: a unit per cycle along each systolic dimension."""
    found: FloatArray = np.zeros(len(units))
    for array_dim in machine.systolic:
        lanes = [units[:, i] for i, (at, _) in enumerate(shape.spatial) if at == array_dim]
        if lanes:
            found = found + np.maximum(0.0, np.ceil(np.prod(lanes, axis=0)) - 1)
    return found
