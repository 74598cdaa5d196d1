"""Rates, energies and latencies of all channels of a chip as columns: what is described, with what design points say laid over it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dse.units import BYTES_PER_GB, SECONDS_PER_NS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from dse.hw.interconnect import Channel
    from dse.hw.many_core import Chip

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ChannelColumns:
    """All channels at D design points, arrays [channels, D]."""

    bytes_per_s: FloatArray
    pj_per_byte: FloatArray
    latency_s: FloatArray


@dataclass(frozen=True, eq=False)
class ChannelPrices:
    """The channels of one chip, and which fields of its file price which of them."""

    described: ChannelColumns
    """One point."""
    of_dram: IntArray
    """Channels that are the port of the memory off chip."""
    rates: Mapping[str, tuple[IntArray, float]]
    """By path of a field: channels that have their rate from it, and bytes per second of one; ..."""
    energies: Mapping[str, tuple[IntArray, float]]
    """... their energy; ..."""
    latencies: Mapping[str, tuple[IntArray, float]]
    """... their latency."""
    alike: tuple[int, ...]
    """For each channel the first one that has the same rate at all points."""

    @staticmethod
    def of(chip: Chip) -> ChannelPrices:
        """The chip as its file has it."""
        channels = chip.interconnect.channels
        rates: dict[str, list[int]] = {}
        energies: dict[str, list[int]] = {}
        latencies: dict[str, list[int]] = {}
        for i, c in enumerate(channels):
            if chip.dram not in c.sources:
                rates.setdefault(_rate_path(c), []).append(i)
            energies.setdefault(f"{c.path}.energy_pj_per_byte", []).append(i)
            latencies.setdefault(f"{c.path}.latency_ns", []).append(i)
        keys = [("" if chip.dram in c.sources else _rate_path(c), c.bytes_per_s) for c in channels]
        first = {key: i for i, key in reversed(list(enumerate(keys)))}
        return ChannelPrices(
            ChannelColumns(
                np.array([[c.bytes_per_s] for c in channels]),
                np.array([[c.pj_per_byte] for c in channels]),
                np.array([[c.latency_s] for c in channels]),
            ),
            np.array([i for i, c in enumerate(channels) if chip.dram in c.sources], dtype=np.int64),
            _numbered(rates, BYTES_PER_GB),
            _numbered(energies, 1.0),
            _numbered(latencies, SECONDS_PER_NS),
            tuple(first[key] for key in keys),
        )

    def columns(self, given: Mapping[str, ArrayLike], dram_bytes_per_s: FloatArray) -> ChannelColumns:
        """Design points: `{path: scalar or [D]}` in file units; all else as described. `dram_bytes_per_s` [D]: what the memory off chip
        sustains."""
        size = len(dram_bytes_per_s)
        rates = _laid_over(self.described.bytes_per_s, self.rates, given, size)
        rates[self.of_dram] = dram_bytes_per_s
        energies = _laid_over(self.described.pj_per_byte, self.energies, given, size)
        return ChannelColumns(rates, energies, _laid_over(self.described.latency_s, self.latencies, given, size))


def _rate_path(c: Channel) -> str:
    """The field that a channel has its rate from: that of its link, or one way of a buffer's ports."""
    way = next((w for w in ("read", "write") if c.name == f"{c.path.partition('.')[2]}.{w}"), None)
    return f"{c.path}.{way}_gb_per_s" if way is not None else f"{c.path}.bandwidth_gb_per_s"


def _numbered(found: Mapping[str, list[int]], unit: float) -> dict[str, tuple[IntArray, float]]:
    return {path: (np.array(channels, dtype=np.int64), unit) for path, channels in found.items()}


def _laid_over(
    described: FloatArray, fields: Mapping[str, tuple[IntArray, float]], given: Mapping[str, ArrayLike], size: int
) -> FloatArray:
    """[channels, D]"""
    found = np.repeat(described, size, axis=1)
    for path, column in given.items():
        if path in fields:
            channels, unit = fields[path]
            found[channels] = np.asarray(column, dtype=np.float64) * unit
    return found
