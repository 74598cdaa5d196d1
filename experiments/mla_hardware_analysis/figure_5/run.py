"""Figure 5: relative throughput over peak compute per DRAM byte, 400 GB/s, decode of one token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from accelerators.families import flat_like
from experiments import mla
from experiments.kit import Outcome, Table, figure
from experiments.plots import key, scheme_lines, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from dse.hw.read import AcceleratorDescription

KNEES = {"A100": 312e12 / 2039e9, "H800": 990e12 / 3350e9}  # Op/B bf16: vendor's data sheets; H800: FlashMLA deep dive, April 2025
OURS = {"A17 Pro*": 35e12 / 51.2e9, "Edge TPU*": 4e12 / 12.8e9}
"""Op/B at one byte: 35 TOPS (vendor) over 64 bits of LPDDR5-6400 (assumption); 4 TOPS (Coral data sheet) over 32 bits of
LPDDR4-3200 (assumption)."""
PAIRS = {"one side": ("recompute", "reuse"), "both sides": ("recompute_both", "reuse_both")}
GB_PER_S = 400.0  # arXiv 2506.02523


def rates(chip: AcceleratorDescription, ridges: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Columns of prices that give a chip these peak operations per DRAM byte at 400 GB/s: the clock, and the buffer with it."""
    clock_mhz = ridges * GB_PER_S * 1e9 / (2 * chip.geometry.array.elements) / 1e6
    columns = {"clock_mhz": clock_mhz, mla.DRAM + "bandwidth_gb_per_s": np.full_like(ridges, GB_PER_S)}
    return columns | {f"{mla.SRAM}{way}_gb_per_s": _buffer_gb_per_s(chip) * clock_mhz for way in ("read", "write")}


def _buffer_gb_per_s(chip: AcceleratorDescription) -> float:
    """Buffer bandwidth per MHz of clock, as described."""
    read = chip.file.buffer[1].read_gb_per_s
    assert read is not None
    return read / chip.file.clock_mhz


def closed_s(scheme: str, cache_len: int, ridges: NDArray[np.float64]) -> NDArray[np.float64]:
    """max(operations / peak, bytes / bandwidth)."""
    form = mla.closed(scheme, cache_len)
    bytes_per_s = GB_PER_S * 1e9
    return np.maximum(2 * form.macs / (ridges * bytes_per_s), 2 * (form.weights + form.cache) / bytes_per_s)


def crossover(slow: NDArray[np.float64], fast: NDArray[np.float64], ridges: NDArray[np.float64]) -> float:
    """Ridge at which `fast`, slower at first, becomes the faster one, between the grid points in logarithms; infinite if never."""
    gap = np.log(fast / slow)
    after = np.flatnonzero(gap < 0)
    if len(after) == 0 or after[0] == 0:
        return float("inf") if len(after) == 0 else float(ridges[0])
    i = int(after[0])
    share = gap[i - 1] / (gap[i - 1] - gap[i])
    return float(np.exp(np.log(ridges[i - 1]) + share * np.log(ridges[i] / ridges[i - 1])))


def turning_points(chip: AcceleratorDescription, cache_len: int, ridges: NDArray[np.float64]) -> dict[str, float]:
    """Modelled ridge at which recompute overtakes reuse, absorbing one side and both."""
    columns = rates(chip, ridges)
    times = {s: mla.modelled(mla.Layer(s, cache_len), chip, columns).latency_s for pair in PAIRS.values() for s in pair}
    return {name: crossover(times[ru], times[rc], ridges) for name, (rc, ru) in PAIRS.items()}


def run(*, smoke: bool) -> Outcome:
    ridges = np.geomspace(1, 4000, 40 if smoke else 80)
    chip = mla.template().with_overrides({mla.SRAM + "capacity_kib": 131072})  # room for the output composite as well
    lengths = [4096] if smoke else [1, 512, 4096, 16384, 65536]
    rows: list[tuple[float | str, ...]] = []
    for n in lengths:
        for s in mla.LINES:
            times = mla.modelled(mla.Layer(s, n), chip, rates(chip, ridges)).latency_s
            rows += [(n, s, float(x), float(c), float(m)) for x, c, m in zip(ridges, closed_s(s, n, ridges), times, strict=True)]
    values: dict[str, float | bool | str] = {}
    fine = np.geomspace(1, 4000, 4000)
    for n in (1, 4096, 65536):
        for name, (rc, ru) in PAIRS.items():
            values[f"closed {name} {n}"] = crossover(closed_s(ru, n, fine), closed_s(rc, n, fine), fine)
    turns = [("side 256", 4096, turning_points(chip, 4096, ridges))]
    if not smoke:
        turns += [("side 256", n, turning_points(chip, n, ridges)) for n in (1, 16384)]
        for side in (32, 64, 128, 512):
            turns.append((f"side {side}", 4096, turning_points(_family(side), 4096, ridges)))
        turns.append(("side 256, weights load at once", 4096, turning_points(_family(256, load=256), 4096, ridges)))
    table = [(name, n, found["one side"], found["both sides"]) for name, n, found in turns]
    values |= {f"modelled {pair}": found for pair, found in turns[0][2].items()}
    values |= {
        "highest at high ridge": _best(rows, 4096, mla.PAPER, last=True),
        "highest of MLA at low ridge": _best(rows, 4096, mla.PAPER[2:]),
    }
    values["left to right over best of four"] = _left(rows)
    turning = [float(values[k]) for k in ("closed one side 4096", "closed both sides 1")]
    values["closed A100 and H800 side"] = min(KNEES.values()) > max(turning)
    values |= {f"closed {name} side": ops > 2 * max(turning) for name, ops in OURS.items()}  # twice at one byte
    values["largest gain"] = max(_ratio(rows, "recompute", "reuse"))
    tables = {
        "throughput": Table(("cache_len", "scheme", "ops_per_dram_byte", "closed_s", "modelled_s"), rows),
        "crossover": Table(("array", "cache_len", "one_side_ops_per_byte", "both_sides_ops_per_byte"), table),
    }
    return Outcome(values, tables, lambda: draw(rows, lengths))


def _family(side: int, *, load: int | None = None) -> AcceleratorDescription:
    changes = {mla.SRAM + "capacity_kib": 131072} | ({"core.array.load_rows_per_cycle": load} if load else {})
    return flat_like(side).with_overrides(changes)


def _times(rows: list[tuple[float | str, ...]], cache_len: int, scheme: str, column: int = 4) -> NDArray[np.float64]:
    return np.array([float(r[column]) for r in rows if r[0] == cache_len and r[1] == scheme])


def _best(rows: list[tuple[float | str, ...]], cache_len: int, schemes: tuple[str, ...], *, last: bool = False) -> str:
    at = -1 if last else 0
    return min(schemes, key=lambda s: _times(rows, cache_len, s)[at])


def _ratio(rows: list[tuple[float | str, ...]], fast: str, slow: str) -> list[float]:
    return [float(v) for v in _times(rows, 4096, slow) / _times(rows, 4096, fast)]


def _left(rows: list[tuple[float | str, ...]]) -> float:
    """Least throughput of left to right over the best of the letter's four, over all ridges at 4,096 cached."""
    best = np.min([_times(rows, 4096, s) for s in mla.PAPER], axis=0)
    return float(np.min(best / _times(rows, 4096, "left_to_right")))


def draw(rows: list[tuple[float | str, ...]], lengths: list[int]) -> Figure:
    shown = [n for n in lengths if n in (512, 4096, 16384)]
    made, axes = figure(9.5, 5.6, columns=len(shown), rows=2)
    for i, n in enumerate(shown):
        x = [float(r[2]) for r in rows if r[0] == n and r[1] == "mha_l"]
        for row, column, name in ((0, 3, "closed form"), (1, 4, "modelled on the template")):
            base = _times(rows, n, "mha_l", column)
            at = axes[row * len(shown) + i]
            scheme_lines(at, x, {s: list(base / _times(rows, n, s, column)) for s in mla.LINES})
            for knee, ops in (KNEES | {name: ops / 2 for name, ops in OURS.items()}).items():  # operations per element
                at.axvline(ops, color="#999999", linewidth=0.8, linestyle=":")
                if row == 0:  # ours at the bottom: two lie beside each other
                    y, side = (at.get_ylim()[1], "top") if knee in KNEES else (at.get_ylim()[0], "bottom")
                    at.text(ops, y, knee, fontsize=6, rotation=90, va=side, ha="right", color="#666666")
            titled(at, f"{name}, cache {n}", "peak operations per DRAM byte", "throughput over MHA_l" if i == 0 else "", log="x")
    key(axes[0])
    return made
