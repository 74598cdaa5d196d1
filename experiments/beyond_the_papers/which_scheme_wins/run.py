"""Which MLA scheme wins where: compute over bandwidth, cache length, batch, buffer, DRAM energy; three phases, three models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from dse.evaluate import Objective
from dse.ir.lowering import Masked
from experiments import mla
from experiments.kit import Outcome, Table, figure
from experiments.plots import titled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

SCHEMES = ("left_to_right", "naive", "reuse", "recompute", "reuse_both", "recompute_both")
MODELS = ("deepseek_v2_lite", "deepseek_v3", "kimi_k2")
GOALS = {"throughput": Objective.LATENCY, "energy": Objective.ENERGY, "EDP": Objective.EDP}
TIE = 0.01
"""A scheme less than this share behind the best counts as equal; the first of `SCHEMES` then wins."""
RIDGES = np.geomspace(30, 3000, 9)  # peak operations per DRAM byte
BUFFERS_KIB = np.array([1024.0, 8192.0, 65536.0])
DRAM_PJ_PER_BYTE = np.array([16.0, 64.0, 160.0])  # 2, 8 and 20 pJ/bit: on-package, HBM, DDR
GB_PER_S = 400.0


@dataclass(frozen=True)
class Case:
    """One step of one layer."""

    model: str
    phase: str
    cache_len: int
    batch: int
    queries: int

    def layer(self, scheme: str) -> mla.Layer:
        return mla.Layer(scheme, self.cache_len, self.batch, self.queries, self.model, rope=True, masked=Masked.SKIPPED)


def cases(*, smoke: bool) -> list[Case]:
    """Decode over caches and batches, prompts as a whole, prompts in chunks."""
    if smoke:
        return [Case("deepseek_v3", "decode", 4096, 1, 1), *(Case("deepseek_v3", "chunk", 4096, 1, q) for q in (32, 512))]
    found = []
    for m in MODELS:
        found += [Case(m, "decode", n, b, 1) for n in (256, 1024, 4096, 16384, 65536) for b in (1, 16, 64)]
        found += [Case(m, "prefill", n, 1, n) for n in (256, 1024, 4096)]
        found += [Case(m, "chunk", n, 1, q) for n in (4096, 16384) for q in (32, 64, 128, 256, 512, 1024)]
    return found


def columns() -> tuple[dict[str, NDArray[np.float64]], list[tuple[float, float, float]]]:
    """Prices of all designs, and (ridge, buffer, DRAM energy) of each. The clock gives the ridge; the buffer keeps pace."""
    ridge, buffer, energy = (g.ravel() for g in np.meshgrid(RIDGES, BUFFERS_KIB, DRAM_PJ_PER_BYTE, indexing="ij"))
    chip = mla.template()
    read = chip.file.buffer[1].read_gb_per_s
    assert read is not None
    clock_mhz = ridge * GB_PER_S * 1e9 / (2 * chip.geometry.array.elements) / 1e6
    found = {"clock_mhz": clock_mhz, mla.SRAM + "capacity_kib": buffer}
    for way in ("read", "write"):
        found[f"{mla.SRAM}{way}_gb_per_s"] = read / chip.file.clock_mhz * clock_mhz
        found[f"{mla.DRAM}{way}_energy_pj_per_byte"] = energy
    return found, list(zip(ridge.tolist(), buffer.tolist(), energy.tolist(), strict=True))


def costs(case: Case, goal: str) -> NDArray[np.float64]:
    """What each scheme costs on each design, [S, P]."""
    priced = [mla.modelled(case.layer(s), mla.template(), columns()[0], objective=GOALS[goal]) for s in SCHEMES]
    match goal:
        case "throughput":
            return np.array([p.latency_s for p in priced])
        case "energy":
            return np.array([p.energy_j for p in priced])
        case _:
            return np.array([p.energy_j * p.latency_s for p in priced])


def winners(cost: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the winner on each design, [P]."""
    close = cost <= cost.min(axis=0) * (1 + TIE)
    return np.argmax(close, axis=0)


def run(*, smoke: bool) -> Outcome:
    designs = columns()[1]
    rows: list[tuple[float | str, ...]] = []
    won: dict[tuple[Case, str], NDArray[np.int64]] = {}
    worst = dict.fromkeys(("decode", "prefill", "chunk"), 0.0)
    pair = 0
    for case in cases(smoke=smoke):
        for goal in GOALS:
            cost = costs(case, goal)
            won[case, goal] = winners(cost)
            loss = float(np.max(cost[0] / cost.min(axis=0)))
            worst[case.phase] = max(worst[case.phase], loss)
            shares = np.bincount(won[case, goal], minlength=len(SCHEMES)) / len(designs)
            rows.append((case.model, case.phase, case.cache_len, case.batch, case.queries, goal, *shares.tolist(), loss))
            if case.phase == "decode":
                pair += int(np.sum(np.minimum(cost[2], cost[3]) < cost[0] * (1 - TIE)))
    values: dict[str, float | bool | str] = {
        "decode left_to_right": _share(won, "decode", "throughput", 0),
        "decode left_to_right EDP": _share(won, "decode", "EDP", 0),
        "small chunk left_to_right": _share(won, "chunk", "throughput", 0, queries=(32,)),
        "large chunk naive": _share(won, "chunk", "energy", 1, queries=(512,)),
        "closed boundary": boundary_by_operations(),
        "loss in decode": worst["decode"],
        "loss in chunks": worst["chunk"],
    }
    if not smoke:
        values["prefill naive energy"] = _share(won, "prefill", "energy", 1)
        values["prefill naive"] = _share(won, "prefill", "throughput", 1)
        values["decode designs won by reuse or recompute"] = pair / sum(len(w) for (c, _), w in won.items() if c.phase == "decode")
    table = Table(("model", "phase", "cache_len", "batch", "queries", "goal", *SCHEMES, "left_to_right_over_best"), rows)
    return Outcome(values, {"shares": table}, lambda: draw(won))


def boundary_by_operations() -> float:
    """Queries above which expanding the cache takes fewer operations than left to right, long caches: 2 R N / (2 R - N - V)."""
    return 2 * mla.R * mla.N / (2 * mla.R - mla.N - mla.V)


def _share(won: dict[tuple[Case, str], NDArray[np.int64]], phase: str, goal: str, scheme: int, queries: tuple[int, ...] = ()) -> float:
    chosen = [w for (c, g), w in won.items() if c.phase == phase and g == goal and (not queries or c.queries in queries)]
    return float(np.mean(np.concatenate(chosen) == scheme))


def draw(won: dict[tuple[Case, str], NDArray[np.int64]]) -> Figure:
    models = [m for m in MODELS if any(c.model == m for c, _ in won)]
    views = (("decode", "throughput"), ("prefill", "throughput"), ("chunk", "throughput"), ("chunk", "energy"), ("chunk", "EDP"))
    made, axes = figure(11, 2.6 * len(models) + 0.6, columns=len(views), rows=len(models))
    for i, model in enumerate(models):
        for j, (phase, goal) in enumerate(views):
            _map(axes[i * len(views) + j], won, model, phase, goal, first=i == 0)
    handles = [Patch(color=mla.COLOURS[s], label=mla.LABELS[s]) for s in SCHEMES]
    made.legend(handles=handles, loc="outside lower center", ncols=len(SCHEMES), fontsize=8)
    return made


def _map(axes: Axes, won: dict[tuple[Case, str], NDArray[np.int64]], model: str, phase: str, goal: str, *, first: bool) -> None:
    """Winners over ridge (x) and step (y), at 8 MiB and 8 pJ/bit."""
    mine = [c for c, g in won if c.model == model and c.phase == phase and g == goal]
    mine = [c for c in mine if phase != "chunk" or c.cache_len == 16384]
    at = [i for i, (_, b, e) in enumerate(columns()[1]) if (b, e) == (8192.0, 64.0)]
    grid = np.array([won[c, goal][at] for c in mine])
    colours = ListedColormap([mla.COLOURS[s] for s in SCHEMES])
    axes.imshow(grid, aspect="auto", origin="lower", cmap=colours, vmin=-0.5, vmax=len(SCHEMES) - 0.5)
    axes.grid(visible=False)
    names = {"decode": lambda c: f"{c.cache_len} x{c.batch}", "prefill": lambda c: f"{c.cache_len}", "chunk": lambda c: f"{c.queries}"}
    axes.set_yticks(range(len(mine)), [names[phase](c) for c in mine], fontsize=6)
    axes.set_xticks(range(0, len(RIDGES), 4), [f"{r:.0f}" for r in RIDGES[::4]], fontsize=7)
    what = {"decode": "decode, cache x batch", "prefill": "prefill, prompt", "chunk": "chunk at 16,384"}[phase]
    titled(axes, f"{what}: {goal}" if first else "", "Op per DRAM byte", model if phase == "decode" else "")
    axes.title.set_fontsize(8)
