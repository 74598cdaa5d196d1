"""Chips for attention: area, energy per token and throughput with the scheme free against fixed, for MHA, GQA, MLA and MLA with experts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from moocore import is_nondominated

from accelerators.families import flat_like
from dse.ir.lowering import Part
from experiments import mla
from experiments.kit import Outcome, Table, figure
from experiments.plots import titled
from experiments.request import Request, request_costs

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from experiments.request import Costs

REQUEST = Request(prompt=4096, output=512, chunk=512, batch=16, samples=1)
SIDES = (64, 128, 256, 512)
BUFFERS_KIB = 2.0 ** np.arange(9, 17)
GB_PER_S = np.geomspace(50, 3200, 7)
CLOCKS_MHZ = np.array([500.0, 940.0, 1400.0])
MLA_SCHEMES = ("left_to_right", "naive", "recompute")


KNEE_COLUMNS = (
    *("layer", "scheme", "front", "side", "buffer_kib", "gb_per_s", "clock_mhz"),
    *("area_mm2", "s_per_token", "j_per_token", "product"),
)


@dataclass(frozen=True)
class Kind:
    """What the chip runs: one layer of a model."""

    model: str
    schemes: tuple[str, ...]
    part: Part = Part.ATTENTION


KINDS = {
    "MHA": Kind("deepseek_v3", ("mha_l",)),
    "GQA": Kind("llama3_70b", ("gqa",)),
    "MLA": Kind("deepseek_v3", MLA_SCHEMES),
    "MLA+MoE": Kind("deepseek_v3", MLA_SCHEMES, Part.LAYER),
}


@dataclass(frozen=True)
class Designs:
    """All designs of one kind; arrays [D]."""

    parameters: NDArray[np.float64]
    """[D, 4]: side, KiB, GB/s, MHz."""
    areas: dict[str, NDArray[np.float64]]
    area_mm2: NDArray[np.float64]
    free: NDArray[np.float64]
    """[D, 2]: seconds and joules per token, best scheme of each phase and goal."""
    fixed: dict[str, NDArray[np.float64]]
    """The same by scheme."""

    def front(self, costs: NDArray[np.float64]) -> NDArray[np.int64]:
        """Designs that no other beats in area, time and energy."""
        points = np.column_stack([self.area_mm2, costs])
        return np.flatnonzero(is_nondominated(points))


def designs(kind: Kind, sides: tuple[int, ...]) -> Designs:
    """Price one request on every chip of the family."""
    buffer, rate, clock = (g.ravel() for g in np.meshgrid(BUFFERS_KIB, GB_PER_S, CLOCKS_MHZ, indexing="ij"))
    parameters, area, parts, costs = [], [], [], []
    for side in sides:
        chip = flat_like(side)
        read = chip.file.buffer[1].read_gb_per_s
        assert read is not None
        port = read / chip.file.clock_mhz * clock
        columns = {mla.SRAM + "capacity_kib": buffer, mla.DRAM + "bandwidth_gb_per_s": rate, "clock_mhz": clock}
        columns |= {f"{mla.SRAM}{way}_gb_per_s": port for way in ("read", "write")}
        columns |= {mla.DRAM + "capacity_gib": np.full_like(clock, 1024.0)}
        table = chip.table(columns)
        parameters.append(np.column_stack([np.full_like(clock, side), buffer, rate, clock]))
        area.append(table.area_mm2)
        parts.append({name: np.asarray(column) for name, column in table.area_by_component.items()})
        costs.append(request_costs(REQUEST, chip, kind.schemes, columns, model=kind.model, part=kind.part))
    found = {s: np.concatenate([_per_token(c, i) for c in costs]) for i, s in enumerate(kind.schemes)}
    free = np.concatenate([_free(c) for c in costs])
    areas = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    return Designs(np.concatenate(parameters), areas, np.concatenate(area), free, found)


def _per_token(costs: Costs, scheme: int) -> NDArray[np.float64]:
    both = np.column_stack([costs.total(costs.seconds, scheme), costs.total(costs.joules, scheme)])
    return both / (REQUEST.prompt + REQUEST.output)


def _free(costs: Costs) -> NDArray[np.float64]:
    """The scheme of least time in each phase; energy that of the same schemes."""
    seconds, joules = 0.0, 0.0
    for phase in ("prefill", "decode"):
        s, j = costs.phase(costs.seconds, phase), costs.phase(costs.joules, phase)  # [S, D]
        pick = np.argmin(s * j, axis=0)
        at = np.arange(s.shape[1])
        seconds, joules = seconds + s[pick, at], joules + j[pick, at]
    return np.column_stack([seconds, joules]) / (REQUEST.prompt + REQUEST.output)


def knee(found: Designs, costs: NDArray[np.float64]) -> int:
    """The design of the front with the least product of area, time and energy."""
    front = found.front(costs)
    return int(front[np.argmin(found.area_mm2[front] * costs[front].prod(axis=1))])


def run(*, smoke: bool) -> Outcome:
    kinds = {"MLA": KINDS["MLA"]} if smoke else KINDS
    sides = SIDES[:1] if smoke else SIDES
    found = {name: designs(kind, sides) for name, kind in kinds.items()}
    rows: list[tuple[float | str, ...]] = []
    shares: list[tuple[float | str, ...]] = []
    for name, d in found.items():
        for scheme, costs in {"free": d.free, **d.fixed}.items():
            front, best = d.front(costs), knee(d, costs)
            product = float(d.area_mm2[best] * costs[best].prod())
            rows.append((name, scheme, len(front), *d.parameters[best].tolist(), float(d.area_mm2[best]), *costs[best].tolist(), product))
        front = d.front(d.free)
        order = front[np.argsort(d.free[front, 0])]
        for third, part in zip(("fastest", "middle", "slowest"), np.array_split(order, 3), strict=True):
            total = d.area_mm2[part]
            shares.append((name, third, *(float(np.mean(d.areas[a][part] / total)) for a in d.areas)))
    product = {(r[0], r[1]): float(r[-1]) for r in rows}
    gain = {n: min(product[n, s] for s in kinds[n].schemes) / product[n, "free"] for n in kinds}
    values: dict[str, float | bool | str] = {f"gain {n}": g for n, g in gain.items()}
    values["MLA best fixed"] = min(MLA_SCHEMES, key=lambda s: product["MLA", s])
    tables = {
        "knees": Table(KNEE_COLUMNS, rows),
        "areas": Table(("layer", "third_of_the_front", *next(iter(found.values())).areas), shares),
    }
    return Outcome(values, tables, lambda: draw(found, shares))


def draw(found: dict[str, Designs], shares: list[tuple[float | str, ...]]) -> Figure:
    made, axes = figure(9.5, 5.6, columns=max(2, len(found)), rows=2)
    width = max(2, len(found))
    for i, (name, d) in enumerate(found.items()):
        for scheme, costs in {"free": d.free, **d.fixed}.items():
            front = d.front(costs)
            colour, style = ("black", "-") if scheme == "free" else (mla.COLOURS.get(scheme, "#0072B2"), "--")
            label = "best of each phase" if scheme == "free" else mla.LABELS.get(scheme, scheme)
            order = front[np.argsort(d.area_mm2[front])]
            rate = np.maximum.accumulate(1 / costs[order, 0])
            keep = np.flatnonzero(np.diff(rate, prepend=0) > 0)
            axes[i].plot(d.area_mm2[order][keep], rate[keep], style, color=colour, drawstyle="steps-post", label=label)
        titled(axes[i], f"{name}: speed by area", "mm2", "layer-tokens per s" if i == 0 else "", log="xy")
        axes[i].legend(fontsize=6)
        mine = [r for r in shares if r[0] == name]
        under = np.zeros(len(mine))
        for k, part in enumerate(d.areas):
            heights = np.array([float(r[2 + k]) for r in mine])
            if heights.max() > 0.005:
                axes[width + i].bar([str(r[1]) for r in mine], heights, bottom=under, label=part.removesuffix("_mm2"))
                under = under + heights
        titled(axes[width + i], "where the area goes", "third of the front", "share of area" if i == 0 else "")
    axes[0].get_figure().legend(*axes[width].get_legend_handles_labels(), loc="outside lower center", ncols=5)  # type: ignore[union-attr]
    return made
