"""Sensitivity of the knee design of the co-design front: every parameter halved and doubled."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from accelerators.families import flat_like
from experiments import mla
from experiments.beyond_the_papers.co_design.run import MLA_SCHEMES, REQUEST
from experiments.kit import ROOT, Outcome, Table, figure
from experiments.plots import titled
from experiments.request import request_costs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dse.hw.read import AcceleratorDescription
    from experiments.request import Request


def _knee() -> tuple[int, dict[str, float]]:
    """Side and prices of the knee that the co-design experiment found for MLA with the scheme free."""
    with (ROOT / "beyond_the_papers/co_design/knees.csv").open(encoding="utf-8", newline="") as stream:
        row = next(r for r in csv.DictReader(stream) if r["layer"] == "MLA" and r["scheme"] == "free")
    paths = {mla.SRAM + "capacity_kib": "buffer_kib", mla.DRAM + "bandwidth_gb_per_s": "gb_per_s", "clock_mhz": "clock_mhz"}
    return int(row["side"]), {path: float(row[column]) for path, column in paths.items()}


SIDE, KNEE = _knee()
PRICES = {
    "buffer capacity": (mla.SRAM + "capacity_kib",),
    "DRAM bandwidth": (mla.DRAM + "bandwidth_gb_per_s",),
    "clock": ("clock_mhz",),
    "buffer ports": (mla.SRAM + "read_gb_per_s", mla.SRAM + "write_gb_per_s"),
    "vector lanes": ("core.vector.lanes",),
    "DRAM energy": (mla.DRAM + "read_energy_pj_per_byte", mla.DRAM + "write_energy_pj_per_byte"),
    "buffer energy": (mla.SRAM + "read_energy_pj_per_byte", mla.SRAM + "write_energy_pj_per_byte"),
    "MAC energy": ("core.array.mac_energy_pj.bf16",),
}
FACTORS = (0.5, 2.0)
OUTPUTS = ("time", "energy", "area x time x energy")


def knee_chip(side: int = SIDE) -> AcceleratorDescription:
    chip = flat_like(side)
    scale = KNEE["clock_mhz"] / chip.file.clock_mhz
    read = chip.file.buffer[1].read_gb_per_s
    assert read is not None
    ports = {f"{mla.SRAM}{way}_gb_per_s": read * scale for way in ("read", "write")}
    return chip.with_overrides({**KNEE, **ports, mla.DRAM + "capacity_gib": 1024})


def outputs(chip: AcceleratorDescription, columns: dict[str, np.ndarray], request: Request = REQUEST) -> np.ndarray:
    """Seconds and joules per token, and their product with the area, [3, D], with the best scheme of each phase."""
    costs = request_costs(request, chip, MLA_SCHEMES, columns)
    tokens = request.prompt + request.output
    seconds, joules = costs.per_phase(costs.seconds) / tokens, costs.per_phase(costs.joules) / tokens
    area = chip.table(columns).area_mm2
    return np.array([seconds, joules, seconds * joules * area])


def variations() -> dict[str, list[np.ndarray]]:
    """Outputs [3] for each parameter halved and doubled."""
    chip = knee_chip()
    present = {p.path: p.value for p in chip.paths()}
    found: dict[str, list[np.ndarray]] = {}
    for name, paths in PRICES.items():
        columns = {p: float(str(present[p])) * np.array(FACTORS) for p in paths}
        both = outputs(chip, columns)
        found[name] = [both[:, 0], both[:, 1]]
    found["array side"] = [outputs(knee_chip(int(SIDE * f)), {})[:, 0] for f in FACTORS]
    for name in ("batch", "prompt", "chunk"):
        changed = [replace(REQUEST, **{name: int(getattr(REQUEST, name) * f)}) for f in FACTORS]
        found[f"workload: {name}"] = [outputs(chip, {}, r)[:, 0] for r in changed]
    return found


def run(*, smoke: bool) -> Outcome:
    base = outputs(knee_chip(), {})[:, 0]
    if smoke:
        columns = {mla.DRAM + "bandwidth_gb_per_s": KNEE[mla.DRAM + "bandwidth_gb_per_s"] * np.array(FACTORS)}
        found = {"DRAM bandwidth": list(outputs(knee_chip(), columns).T)}
    else:
        found = variations()
    rows: list[tuple[float | str, ...]] = [
        (name, o, *(float(v[k] / base[k]) for v in values)) for name, values in found.items() for k, o in enumerate(OUTPUTS)
    ]
    product = {str(r[0]): max(float(r[2]), float(r[3])) for r in rows if r[1] == OUTPUTS[2] and not str(r[0]).startswith("workload")}
    best = min(min(float(r[2]), float(r[3])) for r in rows if r[1] == OUTPUTS[2] and str(r[0]) in KNEE_NAMES)
    values: dict[str, float | bool | str] = {
        "bandwidth halved": next(float(r[2]) for r in rows if r[0] == "DRAM bandwidth" and r[1] == "time"),
        "largest": max(product, key=lambda n: product[n]),
        "improvement left": best,
    }
    return Outcome(values, {"tornado": Table(("parameter", "output", "halved", "doubled"), rows)}, lambda: draw(rows))


KNEE_NAMES = ("buffer capacity", "DRAM bandwidth", "array side")
"""What the co-design search chose among; its clock is the highest searched, as the technology file lets clocks rise at no cost."""


def draw(rows: list[tuple[float | str, ...]]) -> Figure:
    made, axes = figure(10, 3.8, columns=3)
    for at, output in zip(axes, OUTPUTS, strict=True):
        mine = sorted((r for r in rows if r[1] == output), key=lambda r: max(abs(np.log(float(r[2]))), abs(np.log(float(r[3])))))
        for i, (_, _, low, high) in enumerate(mine):
            at.barh(i, np.log2(float(low)), color="#0072B2", label="halved" if i == 0 else None, height=0.6)
            at.barh(i, np.log2(float(high)), color="#D55E00", label="doubled" if i == 0 else None, height=0.6, alpha=0.8)
        at.set_yticks(range(len(mine)), [str(r[0]) for r in mine], fontsize=7)
        at.axvline(0, color="#222222", linewidth=0.8)
        titled(at, output, "log2 of the ratio to the knee", "")
    axes[0].get_figure().legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)  # type: ignore[union-attr]
    return made
