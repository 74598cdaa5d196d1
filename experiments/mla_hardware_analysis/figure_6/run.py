"""Figure 6: normalised energy over on-chip efficiency, DRAM at 8 pJ/bit, decode of one token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dse.evaluate import Objective
from experiments import mla
from experiments.kit import Outcome, Table, figure
from experiments.plots import key, scheme_lines, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from dse.hw.read import AcceleratorDescription

PJ_PER_BYTE = 64.0  # 8 pJ/bit: arXiv 2506.02523
ON_CHIP = (
    "core.array.mac_energy_pj.{dtype}",
    "core.vector.energy_pj_per_op",
    mla.SRAM + "read_energy_pj_per_byte",
    mla.SRAM + "write_energy_pj_per_byte",
)


def closed_j(scheme: str, cache_len: int, tops_per_w: NDArray[np.float64], width_bytes: int = 2) -> NDArray[np.float64]:
    """Operations / efficiency + bytes x 64 pJ."""
    form = mla.closed(scheme, cache_len)
    return 2 * form.macs / (tops_per_w * 1e12) + (form.weights + form.cache) * width_bytes * PJ_PER_BYTE * 1e-12


def turning_point(pair: tuple[str, str], cache_len: int, width_bytes: int) -> float:
    """TOPS/W above which the first takes less energy than the second, by closed form."""
    rc, ru = (mla.closed(s, cache_len) for s in pair)
    return 2 * (rc.macs - ru.macs) / ((ru.weights - rc.weights) * width_bytes * PJ_PER_BYTE)


def modelled_j(
    layer: mla.Layer, chip: AcceleratorDescription, factors: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Energy of a layer, and its on-chip part, with all on-chip energies of the chip multiplied by `factors`."""
    present = {p.path: p.value for p in chip.paths()}
    paths = [p.format(dtype=layer.precision) for p in ON_CHIP]
    columns = {p: float(present[p]) * factors for p in paths}  # type: ignore[arg-type]
    priced = mla.modelled(layer, chip, columns, objective=Objective.ENERGY)
    return priced.energy_j, priced.energy_j - priced.dram_bytes * PJ_PER_BYTE * 1e-12


def run(*, smoke: bool) -> Outcome:
    chip = mla.template().with_overrides({mla.SRAM + "capacity_kib": 131072})
    lengths = [1, 4096] if smoke else [1, 512, 4096, 16384]
    factors = np.geomspace(30, 0.03, 24 if smoke else 48)
    rows: list[tuple[float | str, ...]] = []
    for n in lengths:
        dense = mla.Layer("recompute", n)
        _, on_chip = modelled_j(dense, chip, np.ones(1))
        efficiency = 2 * mla.closed("recompute", n).macs / float(on_chip[0]) / 1e12 / factors  # [P] TOPS/W of the dense work
        for s in mla.LINES:
            energy, _ = modelled_j(mla.Layer(s, n), chip, factors)
            rows += [(n, s, float(x), float(c), float(m)) for x, c, m in zip(efficiency, closed_j(s, n, efficiency), energy, strict=True)]
    values: dict[str, float | bool | str] = {}
    for name, pair in (("one side", ("recompute", "reuse")), ("both sides", ("recompute_both", "reuse_both"))):
        values |= {f"closed {name} {b}": turning_point(pair, 1, b) for b in (1, 2)}
    values["modelled"] = _modelled_turn(rows, 4096)
    for n in (1, 4096):
        values[f"least at {n}"] = " ".join(sorted({_least(rows, n, i) for i in range(len(factors))}))
    values["swing of reuse over recompute"] = _swing(rows, 4096, "reuse") / _swing(rows, 4096, "recompute")
    values["swing of reuse over mha_s"] = _swing(rows, 4096, "reuse") / _swing(rows, 4096, "mha_s")
    values["left to right over best of four"] = max(
        float(v) for n in lengths for v in _energy(rows, n, "left_to_right") / np.min([_energy(rows, n, s) for s in mla.PAPER[2:]], axis=0)
    )
    table = Table(("cache_len", "scheme", "tops_per_w", "closed_j", "modelled_j"), rows)
    return Outcome(values, {"energy": table}, lambda: draw(rows, lengths))


def _energy(rows: list[tuple[float | str, ...]], cache_len: int, scheme: str, column: int = 4) -> NDArray[np.float64]:
    return np.array([float(r[column]) for r in rows if r[0] == cache_len and r[1] == scheme])


def _efficiency(rows: list[tuple[float | str, ...]], cache_len: int) -> NDArray[np.float64]:
    return _energy(rows, cache_len, "recompute", 2)


def _modelled_turn(rows: list[tuple[float | str, ...]], cache_len: int) -> float:
    """First efficiency of the grid at which recompute takes less energy than reuse."""
    less = _energy(rows, cache_len, "recompute") < _energy(rows, cache_len, "reuse")
    return float(_efficiency(rows, cache_len)[np.argmax(less)]) if less.any() else float("inf")


def _least(rows: list[tuple[float | str, ...]], cache_len: int, index: int) -> str:
    return min(mla.PAPER, key=lambda s: _energy(rows, cache_len, s)[index])


def _swing(rows: list[tuple[float | str, ...]], cache_len: int, scheme: str) -> float:
    """Energy at 1 TOPS/W over energy at 10 TOPS/W."""
    x, energy = np.log(_efficiency(rows, cache_len)), np.log(_energy(rows, cache_len, scheme))
    low, high = (float(np.interp(np.log(v), x, energy)) for v in (1.0, 10.0))
    return float(np.exp(low - high))


def draw(rows: list[tuple[float | str, ...]], lengths: list[int]) -> Figure:
    shown = [n for n in lengths if n in (1, 4096, 16384)]
    made, axes = figure(9.5, 5.6, columns=len(shown), rows=2)
    for i, n in enumerate(shown):
        x = list(_efficiency(rows, n))
        for row, column, name in ((0, 3, "closed form"), (1, 4, "modelled")):
            base = _energy(rows, n, "reuse", column)
            scheme_lines(axes[row * len(shown) + i], x, {s: list(_energy(rows, n, s, column) / base) for s in mla.LINES})
            titled(axes[row * len(shown) + i], f"{name}, cache {n}", "on-chip TOPS/W", "energy over MLA_ru" if i == 0 else "", log="xy")
    key(axes[0])
    return made
