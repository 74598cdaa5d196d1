"""The timeline of one priced design point: every window of its schedule drawn on the resources that work in it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.chosen import chosen_operators
from dse.cost.columns import ARRAY, BUFFER_WRITE, DRAM_READ, DRAM_WRITE, stages
from dse.cost.combination_pricing import rates
from dse.cost.frontier_pricing import FOOTPRINT
from dse.cost.metrics import Objective
from dse.cost.workload_pricing import edp_weight_w, price_part
from dse.ir.tensor import Role
from dse.schedule.rounds import held_at, placed_segments
from dse.schedule.timeline import Event, EventKind, MemoryLine, Occupancy, Repeat, Timeline

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from dse.cost.window_table import CostedWindow, Piece, Rates
    from dse.cost.workload_pricing import CompiledPart, CompiledWorkload, PartPrices
    from dse.hw.accelerator import Geometry
    from dse.hw.table import DesignTable
    from dse.schedule.rounds import Held

    FloatArray = NDArray[np.float64]

ROUNDS_DRAWN: Final = 32
"""Most pieces in which the rounds of a pipelined segment are drawn; beyond that several rounds are one piece."""
DRAM, VECTOR, OVERHEAD, BUFFER = "dram", "vector", "overhead", "buffer"
TILES: Final = "tiles"
AHEAD: Final = "loaded ahead"
UNLABELLED: Final = 1e-12
"""Share of a window below which a stretch is rounding and not drawn."""


@dataclass(frozen=True, slots=True)
class _Work:
    """What one operator does in a window."""

    name: str
    counts: FloatArray
    vector_ops: float
    stream_bytes: float
    """DRAM bytes that may be loaded before the window begins."""


@dataclass(frozen=True, slots=True)
class _Stretch:
    """A window with its time."""

    works: tuple[_Work, ...]
    hidden_cycles: float
    """Fills and drains of the array that its operators hide from each other."""
    together: bool
    runs: int
    time_s: float
    overhead_s: float
    ready_bytes: float
    """Loaded for later windows at its end."""
    held: tuple[Held, ...]
    tiles_bytes: float


def design_timeline(compiled: CompiledWorkload, table: DesignTable, objective: Objective) -> Timeline:
    """The only design point of `table` (size 1), feasible, as a timeline; its `latency_s` is the priced latency.

    Within a window every resource works from the start, without gaps, on its operators in order: how they share it in truth is
    left open by the model (docs/schedule.md). Parts that repeat are drawn once.
    """
    assert table.size == 1, "one design point at a time"
    weight = edp_weight_w(compiled, table) if objective is Objective.EDP else None
    point = rates(compiled.geometry, table).at(slice(0, 1))
    drawn = _Drawing(compiled.geometry, point)
    repeats, stretches = [], []
    for part in compiled.parts:
        start = drawn.now_s
        mine = list(_stretches(part, table, objective, weight))
        drawn.part(mine, f"{part.name}/" if len(compiled.parts) > 1 else "")
        stretches += mine
        if part.count > 1:
            repeats.append(Repeat(part.name, start, drawn.now_s, part.count))
    memories = (
        MemoryLine(BUFFER, float(table.buffer_capacity_bytes[0])),
        MemoryLine(DRAM, float(table.dram_capacity_bytes[0])),
    )
    resources = drawn.resources()
    return Timeline(
        name=compiled.name,
        clock_hz=float(table.clock_hz[0]),
        resources=resources,
        events=tuple(sorted(drawn.events, key=lambda e: (resources.index(e.resource), e.start_s, e.end_s))),
        memories=memories,
        occupancies=(*_on_chip(stretches), *_off_chip(compiled)),
        repeats=tuple(repeats),
        end_s=drawn.now_s,
    )


def _stretches(part: CompiledPart, table: DesignTable, objective: Objective, weight: FloatArray | None) -> Iterator[_Stretch]:
    prices = price_part(part, table, objective, weight)
    number = int(prices.combination[0])
    if number < 0:
        yield from _one_after_another(part, prices, table, objective, weight)
        return
    assert part.combinations is not None
    member, windows = part.combinations.members[number], part.combinations.table
    times, ready = windows.window_times_s(rates(part.plans[0].pricers[0].geometry, table))
    for w, (window, pieces, costed) in enumerate(zip(member.windows, member.pieces, member.costed, strict=True)):
        yield _Stretch(
            works=tuple(_work(p, ahead=window.together) for p in pieces),
            hidden_cycles=_hidden(pieces, costed),
            together=window.together,
            runs=window.runs,
            time_s=float(times[number, w, 0]),
            overhead_s=costed.launches * float(table.launch_latency_s[0]) + costed.touches * float(table.dram_latency_s[0]),
            ready_bytes=float(ready[number, w, 0]),
            held=window.held,
            tiles_bytes=costed.needed_bytes - window.held_bytes,
        )


def _work(piece: Piece, *, ahead: bool) -> _Work:
    stream = piece.stream_bytes if ahead else 0.0
    return _Work(piece.row.name, piece.counts, piece.slices * piece.row.vector_ops_per_slice, stream)


def _hidden(pieces: Sequence[Piece], costed: CostedWindow) -> float:
    return float(sum(p.counts[ARRAY] for p in pieces) - costed.counts[ARRAY])


def _one_after_another(
    part: CompiledPart, prices: PartPrices, table: DesignTable, objective: Objective, weight: FloatArray | None
) -> Iterator[_Stretch]:
    """Operators with the best mapping of each; all slices of an operator in one piece, though slices take turns."""
    chosen = chosen_operators(part, prices, table, objective, weight)
    plan = part.plans[int(prices.plan[0])]
    positions = [p for s in placed_segments(plan.plan) for p in s.positions]
    for one, position in zip(chosen, positions, strict=True):
        work = _Work(one.operator.name, one.counts, one.operator.work.vector_ops, 0.0)
        held = held_at(part.book, plan.plan, position)
        footprint = float(one.pricer.counts[one.row, FOOTPRINT])
        yield _Stretch((work,), 0.0, True, 1, one.latency_s, one.overhead_s, 0.0, held, footprint)


@dataclass(frozen=True, slots=True)
class _Bar:
    """Work for one resource, not before `start_s`."""

    start_s: float
    lasts_s: float
    label: str
    operator: str
    kind: EventKind


class _Drawing:
    """Events so far, and the loads that wait for their turn."""

    def __init__(self, geometry: Geometry, point: Rates) -> None:
        self._point = point
        self._ports = tuple(b for stage in stages(geometry) for b in stage.resources if b.name != DRAM)
        self.events: list[Event] = []
        self.now_s = 0.0

    def resources(self) -> tuple[str, ...]:
        """Those that ever work, from the array outwards."""
        used = {e.resource for e in self.events}
        names = ["array", VECTOR, *(b.name for b in self._ports if b.name != "array"), DRAM, OVERHEAD]
        return tuple(n for n in names if n in used)

    def part(self, stretches: Sequence[_Stretch], prefix: str) -> None:
        """Draw the windows of one part."""
        loads = deque((w.name, w.stream_bytes) for s in stretches for w in s.works if w.stream_bytes > 0.0)
        ready = 0.0
        for s in stretches:
            name = s.works[0].name
            launch = _Bar(self.now_s, s.overhead_s, f"launch and first access, {name}", prefix + name, EventKind.OVERHEAD)
            self._put(OVERHEAD, self.now_s, s.overhead_s, launch)
            start = self.now_s + s.overhead_s
            loaded = sum(w.stream_bytes for w in s.works) + s.ready_bytes - ready
            pieces = min(s.runs, ROUNDS_DRAWN)
            edges = [s.runs * i // pieces for i in range(pieces + 1)]
            for first, last in pairwise(edges):
                share = (last - first) / s.runs
                at = start + (s.time_s - s.overhead_s) * first / s.runs
                now = _taken(loads, loaded * share)
                self._round(s, share, last - first, at, prefix, now)
            ready = s.ready_bytes
            self.now_s += s.time_s

    def _round(self, s: _Stretch, share: float, rounds: int, at: float, prefix: str, loads: list[tuple[str, float]]) -> None:
        """Some rounds of a window on all resources; loads enter the buffer when they arrive, not when they are used."""
        seconds = np.asarray(self._point.seconds)[:, 0]
        turns = at
        lines: dict[str, list[_Bar]] = {name: [] for name in (*(b.name for b in self._ports), VECTOR, DRAM)}
        for w in s.works:
            operator, hidden = prefix + w.name, s.hidden_cycles * _part_of(w, s.works)
            for busy in self._ports:
                count = sum(w.counts[c] for c in busy.columns) - (hidden if busy.name == "array" else 0.0)
                count -= w.stream_bytes if BUFFER_WRITE in busy.columns else 0.0
                kind = EventKind.COMPUTE if busy.name == "array" else EventKind.TRANSFER
                lines[busy.name].append(_Bar(turns, share * count * float(seconds[busy.columns[0]]), w.name, operator, kind))
            lasts = share * w.vector_ops * float(self._point.vector_s_per_op[0])
            lines[VECTOR].append(_Bar(turns, lasts, w.name, operator, EventKind.COMPUTE))
            ways = ((w.counts[DRAM_READ] - w.stream_bytes, "load", EventKind.LOAD), (w.counts[DRAM_WRITE], "store", EventKind.STORE))
            for size, way, kind in ways:
                lines[DRAM].append(_Bar(turns, share * size * float(seconds[DRAM_READ]), f"{way} {w.name}", operator, kind))
            if not s.together:
                turns += share * self._alone_s(w)
        names = {w.name for w in s.works}
        labels = [(f"load {name}" if name in names else f"load {name} ahead", prefix + name, size) for name, size in loads]
        entry = next(b.name for b in self._ports if BUFFER_WRITE in b.columns)
        for resource, bars in lines.items():
            kind = EventKind.LOAD if resource == DRAM else EventKind.TRANSFER
            second = float(seconds[DRAM_READ if resource == DRAM else BUFFER_WRITE])
            ahead = (
                [_Bar(at, size * second, label, operator, kind) for label, operator, size in labels] if resource in (DRAM, entry) else []
            )
            self._line(resource, at, bars, ahead, rounds)

    def _line(self, resource: str, at: float, bars: list[_Bar], loads: list[_Bar], rounds: int) -> None:
        """Bars in order, none before its time, and loads in the gaps and at the end."""
        waiting = deque(loads)
        for bar in (*bars, _Bar(float("inf"), 0.0, "", "", EventKind.LOAD)):
            while waiting and at < bar.start_s:
                load = waiting.popleft()
                now = min(load.lasts_s, bar.start_s - at)
                if now < load.lasts_s:
                    waiting.appendleft(replace(load, lasts_s=load.lasts_s - now))
                at = self._put(resource, at, now, load, rounds)
            if bar.label:
                at = self._put(resource, max(at, bar.start_s), bar.lasts_s, bar, rounds)

    def _alone_s(self, w: _Work) -> float:
        seconds = np.asarray(self._point.seconds)[:, 0]
        busy = [sum(w.counts[c] for c in b.columns) * float(seconds[b.columns[0]]) for b in self._ports]
        dram = float(w.counts[DRAM_READ] + w.counts[DRAM_WRITE]) * float(seconds[DRAM_READ])
        return max(*(float(b) for b in busy), dram, w.vector_ops * float(self._point.vector_s_per_op[0]))

    def _put(self, resource: str, at: float, lasts: float, bar: _Bar, rounds: int = 1) -> float:
        """Draw one stretch; returns its end."""
        end = at + float(lasts)
        if lasts > UNLABELLED * max(self.now_s, lasts):
            self.events.append(Event(resource, at, end, bar.label, bar.operator, bar.kind, rounds))
        return end


def _part_of(w: _Work, works: Sequence[_Work]) -> float:
    """Part of the hidden ramps that is taken off one operator: its part of the array's cycles."""
    total = sum(float(x.counts[ARRAY]) for x in works)
    return float(w.counts[ARRAY]) / total if total else 0.0


def _taken(loads: deque[tuple[str, float]], size: float) -> list[tuple[str, float]]:
    """The next `size` bytes of the stream of loads."""
    found = []
    while loads and size > 0.0:
        name, left = loads.popleft()
        found.append((name, min(left, size)))
        if left > size:
            loads.appendleft((name, left - size))
        size -= left
    return found


def _on_chip(stretches: Sequence[_Stretch]) -> Iterator[Occupancy]:
    """Held tensors by role, tiles, and what was loaded ahead; constant within a window."""
    times, rows = [], []
    now = 0.0
    for s in stretches:
        times.append(now)
        sizes: dict[str, float] = {TILES: s.tiles_bytes, AHEAD: s.ready_bytes}
        for h in s.held:
            sizes[str(h.role)] = sizes.get(str(h.role), 0.0) + h.size_bytes
        rows.append(sizes)
        now += s.time_s
    for role in (*sorted({r for row in rows for r in row} - {TILES, AHEAD}), TILES, AHEAD):
        yield Occupancy(BUFFER, role, tuple(times), tuple(row.get(role, 0.0) for row in rows))


def _off_chip(compiled: CompiledWorkload) -> Iterator[Occupancy]:
    """Weights and caches of the whole step; activations, which come and go, are not drawn."""
    caches = 0.0
    for part in compiled.parts:
        tensors = (part.book.graph.tensors[name] for name in part.book.graph.inputs)
        caches += part.count * sum(float(t.size_bytes) for t in tensors if t.role is Role.CACHE)
    yield Occupancy(DRAM, str(Role.CACHE), (0.0,), (caches,))
    yield Occupancy(DRAM, str(Role.WEIGHT), (0.0,), (compiled.stored_bytes - caches,))
