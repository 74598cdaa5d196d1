"""Figure 10: DeepSeek-R1 on 32 B200 over InfiniBand XDR and over NVLink: throughput and where the time goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.report.style import PALETTE
from dse.validation.serving_cases import CHIPS, Setting, case_of
from experiments.kit import Outcome, Table, figure
from experiments.plots import key, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FABRICS = {"b200_x32_slow": "InfiniBand, 100 GB/s", "b200_x32": "NVLink, 900 GB/s"}
SHARES = ("attention", "ffn", "communication", "idle", "other")


def run(*, smoke: bool) -> Outcome:
    per_chip = [32, 128] if smoke else [8, 16, 32, 64, 128, 256]
    rows: list[tuple[float | str, ...]] = []
    exchange = {}
    for system in FABRICS:
        case = case_of(Setting(system=system, cache_len=2048))
        times = case.times([CHIPS * b for b in per_chip])
        layers = sum(p.count for p in case.work.parts if p.has_experts)
        exchange[system] = {b: float(times.communication_s[i]) / layers / 2 * 1e6 for i, b in enumerate(per_chip)}
        for i, b in enumerate(per_chip):
            rows.append((system, b, CHIPS * b / float(times.seconds[i]), *(times.shares(i)[s] for s in SHARES)))
    found = {(r[0], r[1]): r for r in rows}
    values: dict[str, float | bool | str] = {f"exchange {s}": exchange[s][128] for s in FABRICS}
    values["slow over fast"] = float(found["b200_x32_slow", 128][2]) / float(found["b200_x32", 128][2])
    values["communication slow"] = float(found["b200_x32_slow", 128][5])
    values["communication fast"] = float(found["b200_x32", 128][5])
    table = Table(("system", "batch_per_chip", "tokens_per_s", *(f"{s}_share" for s in SHARES)), rows)
    return Outcome(values, {"shares": table}, lambda: draw(found, per_chip))


def draw(found: dict[tuple[float | str, ...], tuple[float | str, ...]], per_chip: list[int]) -> Figure:
    made, axes = figure(9, 3.4, columns=3)
    for system, name in FABRICS.items():
        axes[0].plot(per_chip, [float(found[system, b][2]) / 1e3 for b in per_chip], "o-", label=name)
    axes[0].legend()
    titled(axes[0], "length 2,048", "sequences per chip", "thousand tokens per s", log="x")
    for at, (system, name) in zip(axes[1:], FABRICS.items(), strict=True):
        under = [0.0] * len(per_chip)
        for k, s in enumerate(SHARES):
            heights = [float(found[system, b][3 + k]) for b in per_chip]
            at.bar([str(b) for b in per_chip], heights, bottom=under, color=PALETTE[k], label=s)
            under = [u + h for u, h in zip(under, heights, strict=True)]
        titled(at, name, "sequences per chip", "share of the step")
    key(axes[1])
    return made
