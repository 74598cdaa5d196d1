"""Seconds and joules of all that several plans use, at any number of design points: each different transfer, part and addition once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dse.schedule.cores.charges import PartRows
from dse.schedule.cores.ports import WAYS
from dse.schedule.cores.takes import Block, Take
from dse.units import JOULES_PER_PJ

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dse.schedule.cores.charges import ChipCharges, OfKind, OfMemory
    from dse.schedule.cores.energy import Spends
    from dse.schedule.cores.layout import Addition
    from dse.schedule.cores.part_price import PricedPart
    from dse.schedule.cores.simulate import Use
    from dse.schedule.cores.tasks import TaskList, Timing
    from dse.schedule.cores.transfers import Pattern

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]
    Held = tuple[float, str, int, int]
    """(bytes, kind of core for a port of its memory, number of the channel or way through the port, pieces in which they come)."""


AT_ONCE: Final = 100_000
"""Numbers that are added up in one go."""


@dataclass(frozen=True, eq=False)
class PatternRows:
    """Patterns of transfers in the form in which they are timed."""

    channels: IntArray
    parts: FloatArray
    starts: IntArray
    """Of each pattern in `channels` and `parts`; all patterns cross some channel."""
    ways: IntArray
    """[routes, most hops]: channels; -1 for none."""
    first_way: IntArray
    """Of each pattern in `ways`."""

    @staticmethod
    def of(patterns: Sequence[Pattern]) -> PatternRows:
        """Of patterns that cross some channel."""
        crossed = [c for p in patterns for c in p.channels]
        ways = [w for p in patterns for w in (p.ways or ((),))]
        hops = max((len(w) for w in ways), default=0)
        return PatternRows(
            np.array([c for c, _ in crossed], dtype=np.int64),
            np.array([part for _, part in crossed]),
            np.cumsum([0, *(len(p.channels) for p in patterns)])[:-1],
            np.array([(*w, *(-1 for _ in range(hops - len(w)))) for w in ways], dtype=np.int64).reshape(len(ways), hops),
            np.cumsum([0, *(len(p.ways or ((),)) for p in patterns)])[:-1],
        )

    def seconds(self, charges: ChipCharges) -> tuple[FloatArray, FloatArray]:
        """Of one byte, and of the longest route, [patterns, D] each."""
        per_byte = np.maximum.reduceat(self.parts[:, None] / charges.bytes_per_s[self.channels], self.starts, axis=0)
        hop_s = np.concatenate((charges.latency_s, charges.nothing[None]))
        routes = np.zeros((len(self.ways), hop_s.shape[1]))
        for hop in self.ways.T:
            routes += hop_s[hop]
        return per_byte, np.maximum.reduceat(routes, self.first_way, axis=0)


@dataclass(frozen=True, eq=False)
class _HoldRows:
    """What channels and ports are held for, in the form in which it is timed."""

    sizes: FloatArray
    rates: IntArray
    """Channel of each size; behind all channels the ports of `kinds`, two each."""
    pieces: FloatArray
    kinds: tuple[str, ...]

    @staticmethod
    def of(holds: Sequence[Held], channels: int) -> _HoldRows:
        """Of all that is held."""
        kinds = tuple(dict.fromkeys(kind for _, kind, _, _ in holds if kind))
        return _HoldRows(
            np.array([size for size, _, _, _ in holds])[:, None],
            np.array([channels + WAYS * kinds.index(kind) + at if kind else at for _, kind, at, _ in holds], dtype=np.int64),
            np.array([float(pieces) for _, _, _, pieces in holds])[:, None],
            kinds,
        )

    def seconds(self, charges: ChipCharges) -> FloatArray:
        """[holds, D]"""
        tables = [charges.kinds[kind].table for kind in self.kinds]
        ports = [rate for t in tables for rate in (t.buffer_read_bytes_per_s, t.buffer_write_bytes_per_s)]
        rates = np.concatenate([charges.bytes_per_s, *(np.broadcast_to(p, (1, charges.bytes_per_s.shape[1])) for p in ports)])
        return np.asarray(self.sizes / rates[self.rates] / self.pieces)


class RateTable:
    """Rows of seconds: what uses last, then what they hold channels and ports for."""

    def __init__(self, tasks: Sequence[TaskList], spends: Sequence[Spends], alike: Sequence[int]) -> None:
        self.alike = alike
        """For each channel the first one that has the same rate at all points."""
        self._patterns: dict[int, tuple[int, Pattern]] = {}
        self._parts: dict[str, dict[int, tuple[int, PricedPart]]] = {}
        self._added: dict[str, dict[int, tuple[int, Addition]]] = {}
        self._lasts: dict[tuple[str, str, int, float, int], int] = {}
        """Row by (what, kind of core, number there, factor, divisor) of what uses last."""
        self.uses = [np.array([self._last(t) for t in mine.timings], dtype=np.int64) for mine in tasks]
        """Of each plan the row of what each use lasts."""
        self._holds: dict[Held, int] = {}
        """Row, behind those of `_lasts`, by what is held."""
        self._channels: dict[int, tuple[tuple[float, int, tuple[int, ...]], ...]] = {}
        self.takes = [self._taken(i, mine) for i, mine in enumerate(tasks)]
        """Of each plan what each use takes."""
        self._hold_rows = _HoldRows.of(list(self._holds), len(alike))
        self._rows = PatternRows.of([p for _, p in self._patterns.values()]) if self._patterns else None
        self._part_rows = {kind: PartRows.of([p for _, p in mine.values()]) for kind, mine in self._parts.items()}
        self._fills = _fills(self._lasts)
        self._spends = _SpendRows(spends)

    def _last(self, timing: Timing) -> int:
        key = ("nothing", "", 0, 0.0, 1)
        if timing.pattern is not None:
            if timing.size_bytes > 0.0 and timing.pattern.channels:
                number, _ = self._patterns.setdefault(id(timing.pattern), (len(self._patterns), timing.pattern))
                key = ("pattern", "", number, timing.size_bytes, 1)
        elif timing.part is not None:
            parts = self._parts.setdefault(timing.kind, {})
            key = ("part", timing.kind, parts.setdefault(id(timing.part), (len(parts), timing.part))[0], 1.0, timing.pieces)
        elif timing.added is not None:
            added = self._added.setdefault(timing.kind, {})
            key = ("added", timing.kind, added.setdefault(id(timing.added), (len(added), timing.added))[0], 1.0, 1)
        return self._lasts.setdefault(key, len(self._lasts))

    def _taken(self, plan: int, tasks: TaskList) -> list[Take]:
        """What the uses of a plan take."""
        return [self._take(int(row), use, timing) for row, use, timing in zip(self.uses[plan], tasks.uses, tasks.timings, strict=True)]

    def _take(self, lasts: int, use: Use, timing: Timing) -> Take:
        crossed = len(timing.pattern.channels) if timing.pattern is not None else 0
        blocks = [
            Block(self._hold((timing.size_bytes * part, "", kin, 1)), kin, channels)
            for part, kin, channels in (self._crossed(timing.pattern) if timing.pattern is not None else ())
        ]
        cores = tuple(r for r, _ in use.holds[crossed:])  # which are held until it is done
        ports = tuple(
            (port, self._hold((t.size_bytes, t.kind, t.port % WAYS, timing.pieces)), waits)
            for (port, _, waits), t in zip(use.ports, timing.touches, strict=True)
        )
        if set(cores) - set(use.stalls) and ports:
            raise AssertionError("what a task holds beside channels is held until its ports have served it")
        return Take(tuple(blocks), lasts, ports, cores)

    def _crossed(self, pattern: Pattern) -> tuple[tuple[float, int, tuple[int, ...]], ...]:
        """Channels of a pattern that are held for the same time at all points: the part of its bytes that crosses each, the first channel
        of the same rate, and the channels; of the same rate with rising parts."""
        if id(pattern) not in self._channels:
            found: dict[tuple[int, float], list[int]] = {}
            for channel, part in pattern.channels:
                found.setdefault((self.alike[channel], part), []).append(channel)
            self._channels[id(pattern)] = tuple((part, kin, tuple(found[kin, part])) for kin, part in sorted(found))
        return self._channels[id(pattern)]

    def _hold(self, what: Held) -> int:
        return len(self._lasts) + self._holds.setdefault(what, len(self._holds))

    @property
    def size(self) -> int:
        """Rows in all."""
        return len(self._lasts) + len(self._holds)

    def seconds(self, charges: ChipCharges) -> FloatArray:
        """All rows, [rows, D]."""
        rows = np.zeros((self.size, len(charges.nothing)))
        if self._rows is not None:
            per_byte, latency = self._rows.seconds(charges)
            at, number, sizes = self._fills["pattern", ""]
            rows[at] = sizes * per_byte[number] + latency[number]
        for kind, parts in self._part_rows.items():
            at, number, pieces = self._fills["part", kind]
            rows[at] = parts.seconds(charges.kinds[kind])[number] / pieces
        for kind, mine in self._added.items():
            at, number, _ = self._fills["added", kind]
            rows[at] = np.stack([charges.kinds[kind].adding_s(a) for _, a in mine.values()])[number]
        rows[len(self._lasts) :] = self._hold_rows.seconds(charges)
        return rows

    def joules(self, charges: ChipCharges) -> FloatArray:
        """Of each plan, leakage apart, [plans, D]."""
        return self._spends.joules(charges)


def _fills(lasts: Mapping[tuple[str, str, int, float, int], int]) -> dict[tuple[str, str], tuple[IntArray, IntArray, FloatArray]]:
    """By what uses last, (rows, numbers there [rows], factors or divisors [rows, 1])."""
    found: dict[tuple[str, str], list[tuple[int, int, float]]] = {}
    for (what, kind, number, factor, pieces), row in lasts.items():
        found.setdefault((what, kind), []).append((row, number, factor if what == "pattern" else float(pieces)))
    columns = {key: tuple(np.array(c) for c in zip(*rows, strict=True)) for key, rows in found.items()}
    return {key: (at, number, factor[:, None]) for key, (at, number, factor) in columns.items()}


class _SpendRows:
    """What several plans spend, by what charges them."""

    def __init__(self, spends: Sequence[Spends]) -> None:
        self.charges: dict[OfKind | OfMemory, FloatArray] = {}
        """Counts [plans]."""
        channels: dict[int, FloatArray] = {}
        self.accesses: dict[str, FloatArray] = {}
        """[C, plans] by kind of core."""
        plans = len(spends)
        for i, mine in enumerate(spends):
            for charge, count in mine.counts:
                self.charges.setdefault(charge, np.zeros(plans))[i] += count
            for channel, size in zip(*mine.channels, strict=True):
                channels.setdefault(channel, np.zeros(plans))[i] += size
            for kind, counts in mine.accesses.items():
                self.accesses.setdefault(kind, np.zeros((len(counts), plans)))[:, i] += counts
        self.channels = list(channels)
        self.counts = np.concatenate(
            [np.zeros((0, plans)), *(c[None] for c in (*self.charges.values(), *channels.values())), *self.accesses.values()]
        )
        """[what is charged, plans]"""

    def joules(self, charges: ChipCharges) -> FloatArray:
        """[plans, D]"""
        size = len(charges.nothing)
        prices = [charges.pj(charge)[None] for charge in self.charges]
        prices += [charges.pj_per_byte[self.channels], *(charges.kinds[kind].access_pj for kind in self.accesses)]
        wide = [np.broadcast_to(p, (len(p), size)) for p in prices]
        return summed(self.counts, np.concatenate(wide)) * JOULES_PER_PJ


def summed(counts: FloatArray, prices: FloatArray) -> FloatArray:
    """Sums [N, D] over T of counts [T, N] times prices [T, D]: one after another, so that a point has what it has alone."""
    if not len(counts):
        return np.zeros((counts.shape[1], prices.shape[1]))
    if counts.size * prices.shape[1] <= AT_ONCE:
        return np.asarray(np.add.accumulate(counts[:, :, None] * prices[:, None, :], axis=0)[-1])
    total = np.zeros((counts.shape[1], prices.shape[1]))
    for mine, each in zip(counts, prices, strict=True):
        total += mine[:, None] * each
    return total
