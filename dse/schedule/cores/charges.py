"""What cores, channels and memories of a chip charge at D design points: seconds and joules of what a plan does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from dse.cost.columns import busy_latency_s, pj_per_count, seconds_per_count
from dse.cost.frontier_pricing import ARRAY
from dse.schedule.cores.ports import WAYS
from dse.schedule.cores.transfers import Pattern

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from dse.hw.accelerator import Geometry
    from dse.hw.many_core import Chip
    from dse.hw.many_core_read import ChipDescription
    from dse.hw.many_core_table import ChipTable
    from dse.hw.table import DesignTable
    from dse.schedule.cores.layout import Addition
    from dse.schedule.cores.part_price import PricedOperatorPart, PricedPart
    from dse.schedule.cores.ports import Touch

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class OfKind:
    """One operation, or one byte, that cores of a kind are charged for."""

    kind: str
    what: str
    """`vector`, `mac`, `read` and `write` of the core's memory, `dram_read` and `dram_write`."""
    dtype: str = ""
    """Of a MAC."""


@dataclass(frozen=True, slots=True)
class OfMemory:
    """One byte read from (`what` is `read`) or written to a buffer beside the cores."""

    memory: str
    what: str


Charge = OfKind | OfMemory | Pattern
"""What costs energy; of a pattern one byte."""


@dataclass(frozen=True, eq=False)
class KindCharges:
    """One kind of core at D points."""

    geometry: Geometry
    table: DesignTable
    seconds: FloatArray
    """[C, D] per count of the columns of `dse.cost.columns`; 0 for what comes from outside, which the channels time."""
    pj: FloatArray
    """[C, D] per count, 0 for what comes from outside."""

    @staticmethod
    def of(geometry: Geometry, table: DesignTable) -> KindCharges:
        """All points of `table`."""
        seconds, pj = seconds_per_count(geometry, table), pj_per_count(geometry, table)
        seconds[:2] = 0.0
        pj[:2] = 0.0
        return KindCharges(geometry, table, seconds, pj)

    @property
    def vector_ops_per_s(self) -> FloatArray:
        """[D]"""
        return np.asarray(self.table.vector_ops_per_cycle * self.table.clock_hz)

    def operator_s(self, o: PricedOperatorPart) -> FloatArray:
        """Seconds [D] that one operator of a part keeps its core busy."""
        vector = o.work.vector_ops / self.vector_ops_per_s if o.work.vector_ops else None
        return np.asarray(busy_latency_s(self.geometry, o.counts[:, 1:], self.seconds, vector)[0])

    def part_s(self, part: PricedPart) -> FloatArray:
        """Seconds [D] of a part."""
        return np.asarray(PartRows.of([part]).seconds(self)[0])

    @cached_property
    def access_pj(self) -> FloatArray:
        """[C, D] per count of the columns of the core's own memories: what the array computes is charged as MACs."""
        found = self.pj.copy()
        found[ARRAY - 1] = 0.0
        if not self.geometry.inner:
            found[ARRAY:] = 0.0
        return found

    def count_pj(self, charge: OfKind) -> FloatArray:
        """Picojoules [D] of one operation or byte."""
        table = self.table
        match charge.what:
            case "vector":
                return np.asarray(table.vector_pj_per_op)
            case "mac":
                return np.asarray(table.mac_pj[charge.dtype])
            case "read":
                return np.asarray(table.buffer_read_pj_per_byte)
            case "write":
                return np.asarray(table.buffer_write_pj_per_byte)
            case "dram_read":
                return np.asarray(table.dram_read_pj_per_byte)
            case "dram_write":
                return np.asarray(table.dram_write_pj_per_byte)
        raise KeyError(charge)

    def adding_s(self, added: Addition) -> FloatArray:
        """Seconds [D] in which a core adds partial sums of others to its own: vector unit or ports of its memory."""
        table = self.table
        ports = np.maximum(2 * added.size_bytes / table.buffer_read_bytes_per_s, 2 * added.size_bytes / table.buffer_write_bytes_per_s)
        return np.asarray(np.maximum(added.operations / self.vector_ops_per_s, ports))


@dataclass(frozen=True, eq=False)
class PartRows:
    """Parts of groups on one kind of core in the form in which they are timed."""

    counts: FloatArray
    """[operators, C] of the columns of the core's memories."""
    vector_ops: FloatArray
    """[operators, 1]"""
    turns: tuple[tuple[IntArray, IntArray, IntArray], ...]
    """Of the first operators of all parts, then of the second, ...: (unit: 0 the array, 1 the vector unit; part; row)."""
    slices: IntArray
    """[parts, 1]"""

    @staticmethod
    def of(parts: Sequence[PricedPart]) -> PartRows:
        """Of parts on cores of the same kind."""
        operators = [o for part in parts for o in part.operators]
        turns: list[list[tuple[int, int, int]]] = [[] for _ in range(max((len(p.operators) for p in parts), default=0))]
        row = 0
        for i, part in enumerate(parts):
            for turn, o in zip(turns, part.operators, strict=False):
                turn.append((0 if o.work.dtype is not None else 1, i, row))
                row += 1
        columns = (np.array(turn, dtype=np.int64).T for turn in turns)
        return PartRows(
            np.concatenate([o.counts[:, 1:] for o in operators]),
            np.array([float(o.work.vector_ops) for o in operators])[:, None],
            tuple((unit, part, at) for unit, part, at in columns),
            np.array([p.overlapped_slices for p in parts])[:, None],
        )

    def seconds(self, charges: KindCharges) -> FloatArray:
        """Seconds [parts, D]: in slices that overlap the busier unit, and the other one's time for one slice; else one after another."""
        each = busy_latency_s(charges.geometry, self.counts, charges.seconds, self.vector_ops / charges.vector_ops_per_s)
        units = np.zeros((2, len(self.slices), charges.table.size))
        for unit, part, row in self.turns:
            units[unit, part] += each[row]
        overlapped = units.max(axis=0) + units.min(axis=0) / np.maximum(1, self.slices)
        return np.asarray(np.where(self.slices < 2, units[0] + units[1], overlapped))


@dataclass(frozen=True, eq=False)
class ChipCharges:
    """All of a chip at D points."""

    kinds: Mapping[str, KindCharges]
    bytes_per_s: FloatArray
    """[channels, D]"""
    pj_per_byte: FloatArray
    """[channels, D]"""
    latency_s: FloatArray
    """[channels, D]"""
    shared_pj: Mapping[str, tuple[FloatArray, FloatArray]]
    """Picojoules [D] per byte read and written of each shared buffer."""
    leakage_w: FloatArray
    """[D]"""

    @staticmethod
    def as_described(chip: Chip, kinds: Mapping[str, KindCharges], leakage_w: float) -> ChipCharges:
        """One point: the chip as its file has it."""
        channels = chip.interconnect.channels
        return ChipCharges(
            kinds,
            np.array([[c.bytes_per_s] for c in channels]),
            np.array([[c.pj_per_byte] for c in channels]),
            np.array([[c.latency_s] for c in channels]),
            {b.name: (np.array([b.read_pj_per_byte]), np.array([b.write_pj_per_byte])) for b in chip.shared},
            np.array([leakage_w]),
        )

    @staticmethod
    def at_points(
        description: ChipDescription, kinds: Mapping[str, Geometry], columns: Mapping[str, ArrayLike], table: ChipTable | None = None
    ) -> ChipCharges:
        """Design points: `{price path: scalar or [D]}` in file units; all else as described. `table` of them, where it is known.

        Raises:
            UsageError: as `ChipDescription.table`.
        """
        table = description.table(columns) if table is None else table
        channels = description.channel_prices.columns(columns, table.dram_bytes_per_s)

        def wide(usual: float, path: str) -> FloatArray:
            return np.broadcast_to(np.asarray(columns.get(path, usual), dtype=np.float64), (table.size,))

        return ChipCharges(
            {kind: KindCharges.of(geometry, table.kinds[kind]) for kind, geometry in kinds.items()},
            channels.bytes_per_s,
            channels.pj_per_byte,
            channels.latency_s,
            {
                b.name: (
                    wide(b.read_pj_per_byte, f"memories.{b.name}.read_energy_pj_per_byte"),
                    wide(b.write_pj_per_byte, f"memories.{b.name}.write_energy_pj_per_byte"),
                )
                for b in description.chip.shared
            },
            table.leakage_w,
        )

    @property
    def nothing(self) -> FloatArray:
        """Zero at every point, [D]."""
        return np.zeros(self.leakage_w.shape)

    def touch_s(self, touch: Touch) -> FloatArray:
        """Seconds [D] that a port of a core's memory is busy with it."""
        table = self.kinds[touch.kind].table
        return np.asarray(touch.size_bytes / (table.buffer_write_bytes_per_s if touch.port % WAYS else table.buffer_read_bytes_per_s))

    def pattern_s(self, pattern: Pattern) -> FloatArray:
        """Seconds [D] of one byte, latencies apart."""
        found = self.nothing
        for channel, part in pattern.channels:
            found = np.maximum(found, part / self.bytes_per_s[channel])
        return found

    def pattern_latency_s(self, pattern: Pattern) -> FloatArray:
        """Longest latency [D] of its routes."""
        found = self.nothing
        for way in pattern.ways:
            found = np.maximum(found, self.latency_s[list(way)].sum(axis=0))
        return found

    def pj(self, charge: Charge) -> FloatArray:
        """Picojoules [D] of one count; of one byte in the channels of a pattern."""
        if isinstance(charge, OfKind):
            return self.kinds[charge.kind].count_pj(charge)
        if isinstance(charge, OfMemory):
            return self.shared_pj[charge.memory][0 if charge.what == "read" else 1]
        used, parts = [c for c, _ in charge.channels], [part for _, part in charge.channels]
        return self.nothing + np.array(parts) @ self.pj_per_byte[used] if used else self.nothing
