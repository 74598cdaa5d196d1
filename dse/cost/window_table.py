"""Windows of many combinations of mappings as arrays, and what they take at a table of design points."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.cost.columns import ARRAY, BUFFER_READ, BUFFER_WRITE, DRAM_READ, DRAM_WRITE, busy_latency_s
from dse.cost.window_sequence import WindowSequence

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from dse.hw.accelerator import Geometry

    FloatArray = NDArray[np.float64]
    BoolArray = NDArray[np.bool_]
    IntArray = NDArray[np.int64]


CHUNK_ENTRIES: Final = 16384
"""Most sequences times design points priced at a time, so that a window's arrays stay in the second-level cache."""
CHUNK_WINDOWS: Final = 262_144
"""Most windows times design points."""


@dataclass(frozen=True, slots=True)
class PlacedRow:
    """One placed operator with one of its mappings: counts with the columns of `dse.cost.columns`."""

    name: str
    slices: int
    per_slice: FloatArray
    """[C] counts of one slice, its part of transfers included."""
    once: FloatArray
    """[C] counts that come with the first slice only: tensors that all slices need."""
    stream_per_slice: float
    """DRAM bytes read of one slice that may be loaded ahead: they are there from the start and pass through the buffer."""
    stream_once: float
    footprint_bytes: float
    inner_bytes: tuple[float, ...]
    """[L] of one instance of each inner memory."""
    vector_ops_per_slice: float
    ramp_cycles: float
    """Fill and drain of the array, part of the cycles of every slice; 0 on the vector unit and where passes are serial."""
    launches: int
    touches_dram: bool
    staged_bytes: tuple[float, ...] = ()
    """Of each input, all slices: what passes through the buffer, so that it may be loaded ahead, where the mapping passes it by."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Slices of an operator in a window."""

    row: PlacedRow
    slices: int
    first: bool

    @property
    def counts(self) -> FloatArray:
        """[C]."""
        return self.slices * self.row.per_slice + self.row.once if self.first else self.slices * self.row.per_slice

    @property
    def stream_bytes(self) -> float:
        """DRAM bytes that may be loaded before the window begins."""
        return self.slices * self.row.stream_per_slice + (self.row.stream_once if self.first else 0.0)


@dataclass(frozen=True, slots=True)
class CostedWindow:
    """What one window does, all its rounds together."""

    phases: tuple[FloatArray, ...]
    """[C] each: work that follows each other; DRAM traffic, and what it writes into the buffer, is in `fixed_bytes` where
    there is one phase."""
    vector_ops: tuple[float, ...]
    """By phase."""
    counts: FloatArray
    """[C] of all phases, nothing left out."""
    stream_bytes: float
    """DRAM bytes that may be loaded ahead; each also crosses the buffer's write port."""
    fixed_bytes: float
    """DRAM bytes that may not."""
    port_bytes: float
    """Other bytes through the port by which loads enter the buffer."""
    needed_bytes: float
    """In the outermost buffer: tiles and what is held."""
    inner_bytes: tuple[float, ...]
    launches: int
    touches: int
    """Operators that wait for the first byte from DRAM."""


def costed_window(pieces: Sequence[Piece], held_bytes: float, runs: int, geometry: Geometry, *, together: bool) -> CostedWindow:
    """One window from the slices that run in it; `runs` is its number of rounds.

    Operators that run together are independent, so the array goes from one to the next without running empty: of their fills and
    drains one per round remains.
    """
    phases = tuple([p.counts for p in pieces])
    counts = phases[0].copy()
    for phase in phases[1:]:
        counts += phase
    vector = tuple(p.slices * p.row.vector_ops_per_slice for p in pieces)
    first = [p.row for p in pieces if p.first]
    footprints = [p.row.footprint_bytes for p in pieces]
    inner = tuple(max(sizes) for sizes in zip(*(p.row.inner_bytes for p in pieces), strict=True))
    stream = sum(p.stream_bytes for p in pieces) if together else 0.0
    fixed = counts[DRAM_READ] + counts[DRAM_WRITE] - stream
    port = counts[BUFFER_WRITE] - stream + (counts[BUFFER_READ] if geometry.outer.shared_port else 0.0)
    if together:
        ramps = [p.row.ramp_cycles for p in pieces]
        counts[ARRAY] -= runs * (sum(ramps) - max(ramps))
        alone = counts.copy()
        alone[DRAM_READ] = alone[DRAM_WRITE] = 0.0
        alone[BUFFER_WRITE] -= stream
        phases, vector = (alone,), (sum(vector),)
    return CostedWindow(
        phases=phases,
        vector_ops=vector,
        counts=counts,
        stream_bytes=stream,
        fixed_bytes=float(fixed),
        port_bytes=float(port),
        needed_bytes=held_bytes + (sum(footprints) if together else max(footprints)),
        inner_bytes=inner,
        launches=sum(r.launches for r in first),
        touches=sum(r.touches_dram for r in first),
    )


@dataclass(frozen=True)
class Rates:
    """What D design points charge, from a table or made up for reference; a column that all points share may be [1]."""

    seconds: Sequence[FloatArray] | FloatArray
    """[C, D] per count."""
    vector_s_per_op: FloatArray
    capacity_bytes: FloatArray
    """Always [D], or [N, D] or [N, 1] for N sequences of windows that each have their own buffer."""
    inner_capacity_bytes: Sequence[FloatArray] | FloatArray
    """[L, D]."""
    launch_s: FloatArray
    dram_latency_s: FloatArray

    @property
    def size(self) -> int:
        """D."""
        return max(int(self.capacity_bytes.shape[-1]), len(self.vector_s_per_op))

    def at(self, where: slice) -> Rates:
        """Some of the points."""

        def some(column: FloatArray) -> FloatArray:
            return column if len(column) == 1 else column[where]

        return Rates(
            tuple(map(some, self.seconds)),
            some(self.vector_s_per_op),
            self.capacity_bytes if self.capacity_bytes.shape[-1] == 1 else self.capacity_bytes[..., where],
            tuple(map(some, self.inner_capacity_bytes)),
            some(self.launch_s),
            some(self.dram_latency_s),
        )


class WindowTable:
    """N sequences of windows, priced at once; windows that sequences share are priced once."""

    def __init__(self, sequences: Sequence[Sequence[CostedWindow]], geometry: Geometry) -> None:
        self._sequences = tuple(sequences)
        self._members = np.arange(len(sequences))
        """[N] which of these each one is."""
        self._alone: dict[int, WindowTable] = {}
        distinct = {id(w): w for sequence in sequences for w in sequence}
        number = {key: i for i, key in enumerate(distinct)}
        every = list(distinct.values())
        end = len(every)  # stands for "no more windows": takes no time, needs no bytes
        longest = max(len(s) for s in sequences)
        self.geometry = geometry
        self.index = np.full((len(sequences), longest + 1), end)
        for row, sequence in enumerate(sequences):
            self.index[row, : len(sequence)] = [number[id(w)] for w in sequence]
        self._lengths = np.array([len(s) for s in sequences])
        """[N] windows of each sequence."""
        counts = np.stack([*(w.counts for w in every), np.zeros_like(every[0].counts)])
        self.totals = np.add.reduce(counts[self.index], axis=1)
        """[N, C]."""
        self.phases = np.stack([p for w in every for p in w.phases])
        self.phase_vector_ops = np.array([v for w in every for v in w.vector_ops])
        self.starts = np.cumsum([0, *(len(w.phases) for w in every)])[:-1]
        self.stream, self.fixed, self.port, self._needed, self._launches, self._touches = (
            np.array([*(getattr(w, name) for w in every), 0.0])
            for name in ("stream_bytes", "fixed_bytes", "port_bytes", "needed_bytes", "launches", "touches")
        )
        self.needed_bytes = self._needed[self.index].max(axis=1)
        """[N] bytes of buffer that each sequence needs."""
        self._inner = np.array([[max(w.inner_bytes[i] for w in s) for i in range(len(geometry.inner))] for s in sequences])
        self.launches, self.touches = self._launches[self.index].sum(axis=1), self._touches[self.index].sum(axis=1)

    def alone(self, number: int) -> WindowTable:
        """One of the sequences."""
        if len(self.index) == 1:
            return self
        if number not in self._alone:
            self._alone[number] = WindowTable([self._sequences[self._members[number]]], self.geometry)
        return self._alone[number]

    def take(self, rows: NDArray[np.int64]) -> WindowTable:
        """Some of the sequences; their windows stay where they are."""
        found = copy(self)
        for name in ("_later", "_between_bytes", "_ahead_bytes", "_sequence", "_longest_first"):
            found.__dict__.pop(name, None)
        found._alone = {}
        for name in ("_members", "_lengths", "totals", "needed_bytes", "_inner", "launches", "touches"):
            setattr(found, name, getattr(self, name)[rows])
        found.index = self.index[rows, : found._lengths.max(initial=0) + 1]
        return found

    @cached_property
    def _longest_first(self) -> tuple[IntArray, WindowTable]:
        """Its sequences by their numbers of windows, and the table of them in that order."""
        order = np.argsort(-self._lengths, kind="stable")
        return order, self.take(order)

    def fits(self, capacity_bytes: FloatArray, inner_capacity_bytes: Sequence[FloatArray] | FloatArray) -> BoolArray:
        """Which sequences fit where, [N, D]."""
        fits: BoolArray = self.needed_bytes[:, None] <= capacity_bytes
        for sizes, capacity in zip(self._inner.T, inner_capacity_bytes, strict=True):
            fits = fits & (sizes[:, None] <= capacity)
        return fits

    def window_times_s(self, rates: Rates) -> tuple[FloatArray, FloatArray]:
        """Seconds of every window [N, W, D], and bytes that lie ready for later windows at its end [N, W, D].

        The stream of loads keeps the order of the windows and runs ahead as far as DRAM has time and the buffer room, the room of
        a window and of the one after it. A window lasts as long as its own work, as its DRAM traffic less what is there
        already, and as the writes of both into the buffer.
        """
        times, ready = np.zeros((2, len(self.index), self.index.shape[1] - 1, rates.size))
        for w, (time, ahead) in enumerate(self._run(rates, self._own_s(rates))):
            times[: len(time), w], ready[: len(time), w] = time, ahead
        return times, ready

    def latency_s(self, rates: Rates) -> FloatArray:
        """Seconds of every sequence, [N, D]; infinite where it does not fit."""
        size = rates.size
        alone = len(self.index) == 1 and rates.capacity_bytes.ndim == 1
        if (self._lengths[1:] > self._lengths[:-1]).any():
            order, table = self._longest_first
            apart = rates.capacity_bytes.ndim > 1
            found = np.empty((len(order), size))
            found[order] = table.latency_s(replace(rates, capacity_bytes=rates.capacity_bytes[order]) if apart else rates)
            return found
        step = max(1, min(CHUNK_ENTRIES // len(self.index), CHUNK_WINDOWS // len(self.stream)))
        total: FloatArray = np.zeros((len(self.index), size))
        for start in range(0, size, step):
            here = slice(start, start + step)
            some = rates.at(here)
            if alone:
                total[0, here] = self._sequence.latency_s(self._own_s(some)[self.index[0, :-1]], some)
            else:
                self._add_times(total[:, here], some, self._own_s(some))
        return np.where(self.fits(rates.capacity_bytes, rates.inner_capacity_bytes), total, np.inf)

    def latency_in_s(self, capacities_bytes: FloatArray, rates: Rates) -> FloatArray:
        """Seconds of every sequence in buffers of K capacities, ascending, at D points whose own capacities do not count, [N, K, D].

        A buffer in which every window has room for all loads that may run ahead of the next is as good as any larger one.
        """
        fits = self.needed_bytes[:, None] <= capacities_bytes  # [N, K]
        wide = (capacities_bytes[:-1, None] - self._between_bytes[:, None] >= self._ahead_bytes[:, None]).all(axis=2)
        new = fits.copy()
        new[:, 1:] &= ~(wide & fits[:, :-1])
        number = np.maximum.accumulate(np.where(new, np.cumsum(new).reshape(new.shape) - 1, -1), axis=1)
        row, at = np.nonzero(new)
        order = np.argsort(-self._lengths[row], kind="stable")
        row, at = row[order], at[order]
        found = np.zeros((len(row) + 1, rates.size))
        found[-1] = np.inf
        own, many = self._own_s(rates), max(1, CHUNK_ENTRIES // rates.size)
        for i in range(0, len(row), many):
            some = replace(rates, capacity_bytes=capacities_bytes[at[i : i + many], None])
            self.take(row[i : i + many])._add_times(found[i : i + many], some, own)
        place = np.append(np.empty_like(order), len(row))
        place[order] = np.arange(len(row))
        return np.asarray(found[place[number]])

    def _add_times(self, total: FloatArray, rates: Rates, own: FloatArray) -> None:
        """Add the times of all windows, of which the distinct ones take `own` [U, D] by everything but loads, to `total` [N, D]."""
        for time, _ in self._run(rates, own):
            total[: len(time)] += time

    def _run(self, rates: Rates, own: FloatArray) -> Iterator[tuple[FloatArray, FloatArray]]:
        """Of one window after another seconds and bytes ready at its end, to be used before the next; where longer sequences come first, of
        those alone that have it."""
        most = self.most_ready(rates)
        descending = bool((self._lengths[1:] <= self._lengths[:-1]).all())
        dram, write = rates.seconds[DRAM_READ], rates.seconds[BUFFER_WRITE]
        slower = np.maximum(dram, write)
        free = not (rates.launch_s.any() or rates.dram_latency_s.any())
        every = np.zeros((4, len(self.index), rates.size))
        for w in range(self.index.shape[1] - 1):
            rows = int(np.count_nonzero(self._lengths > w)) if descending else len(self.index)
            i, (ready, missing, time, loaded) = self.index[:rows, w], every[:, :rows]
            stream, fixed, port = (column[i][:, None] for column in (self.stream, self.fixed, self.port))
            np.subtract(stream, ready, out=missing)
            np.maximum(missing, 0.0, out=missing)
            np.add(fixed, missing, out=time)
            time *= dram
            missing += port
            missing *= write
            np.maximum(time, missing, out=time)
            np.maximum(own.take(i, axis=0) if len(i) > 1 else own[i[0] : i[0] + 1], time, out=time)
            if self._later[w]:
                np.divide(time, dram, out=loaded)
                loaded -= fixed
                np.subtract(time, port * write, out=missing)
                missing /= slower
                ready -= stream
                ready += np.minimum(loaded, missing, out=loaded)
                np.minimum(ready, most[w][:rows], out=ready)
                np.maximum(ready, 0.0, out=ready)
            else:
                ready[:] = 0.0
            if not free:
                time += self._launches[i, None] * rates.launch_s + self._touches[i, None] * rates.dram_latency_s
            yield time, ready

    @cached_property
    def _sequence(self) -> WindowSequence:
        """The only sequence."""
        stream, fixed, port, launches, touches = (
            c[self.index[0, :-1]] for c in (self.stream, self.fixed, self.port, self._launches, self._touches)
        )
        return WindowSequence(stream, fixed, port, self._between_bytes[0], launches, touches)

    @cached_property
    def _later(self) -> list[bool]:
        """Whether any window after each takes something that may be loaded ahead."""
        streams = self.stream[self.index].any(axis=0)
        return [bool(streams[w + 1 :].any()) for w in range(len(streams))]

    def most_ready(self, rates: Rates) -> list[FloatArray]:
        """Bytes for later windows that may lie ready at the end of each window, [N, D] each.

        What fits the room beside it and beside the next one, and no more than the next one takes and may itself leave. [N, 1] where
        the capacities are.
        """
        most: list[FloatArray] = [np.zeros((len(self.index), rates.capacity_bytes.shape[-1]))]
        streams = self.stream[self.index]
        for w in range(self.index.shape[1] - 2, 0, -1):
            room = rates.capacity_bytes - self._between_bytes[:, w - 1, None]
            np.maximum(room, 0.0, out=room)
            most.append(np.minimum(room, streams[:, w, None] + most[-1], out=room))
        return most[::-1]

    @cached_property
    def _between_bytes(self) -> FloatArray:
        """Bytes that each window and the one after it leave no room for, [N, W - 1]."""
        needed = self._needed[self.index[:, :-1]]
        return np.asarray(np.maximum(needed[:, :-1], needed[:, 1:]))

    @cached_property
    def _ahead_bytes(self) -> FloatArray:
        """Bytes for later windows that would lie ready at the end of each window but the last, were there room for them, [N, W - 1]."""
        later = self.stream[self.index[:, 1:-1]][:, ::-1]
        return np.asarray(np.add.accumulate(later, axis=1)[:, ::-1])

    def _own_s(self, rates: Rates) -> FloatArray:
        """Seconds of each distinct window by everything but loads, [U, D], and a last one of 0."""
        on_array = self.phase_vector_ops[:, None] * rates.vector_s_per_op
        phases = busy_latency_s(self.geometry, self.phases, rates.seconds, on_array)
        windows = phases if len(self.starts) == len(phases) else np.add.reduceat(phases, self.starts, axis=0)
        return np.concatenate((windows, np.zeros((1, phases.shape[1]))))
