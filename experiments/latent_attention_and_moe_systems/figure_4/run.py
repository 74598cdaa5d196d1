"""Figure 4: memory of weights and of the caches of eight million tokens, bf16."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.validation.serving_cases import DEEPSEEK, GPT3, LLAMA
from dse.workload import WorkloadOptions, load_workload
from experiments.kit import Outcome, Table, figure
from experiments.plots import key, titled
from experiments.serving import NAMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOKENS = 8e6


def measured(model: str) -> tuple[float, float, float]:
    """Parameters, active parameters, cache bytes per token: the slope between two lengths below any window."""
    found = [load_workload(WorkloadOptions(model=model, cache_len=n, all_layers=True, precision="bf16")) for n in (1024, 2048)]
    totals = [w.summary_json()["totals"] for w in found]
    assert all(isinstance(t, dict) for t in totals)
    slope = (totals[1]["cache_bytes"] - totals[0]["cache_bytes"]) / 1024  # type: ignore[index]
    return found[0].parameters_total, found[0].parameters_active, slope


def run(*, smoke: bool) -> Outcome:
    del smoke  # the same size
    rows = [(m, *measured(m)) for m in (GPT3, LLAMA, DEEPSEEK)]
    total, active, cache = ({r[0]: float(r[i]) for r in rows} for i in (1, 2, 3))
    values: dict[str, float | bool | str] = {
        "gpt3_mib": cache[GPT3] / 2**20,
        "llama_kib": cache[LLAMA] / 1024,
        "deepseek_kib": cache[DEEPSEEK] / 1024,
        "gpt3_over_deepseek": cache[GPT3] / cache[DEEPSEEK],
        "llama_over_deepseek": cache[LLAMA] / cache[DEEPSEEK],
        "equal_width": cache[LLAMA] / cache[DEEPSEEK] * 7168 / 5120,
        "total_b": total[DEEPSEEK] / 1e9,
        "active_b": active[DEEPSEEK] / 1e9,
    }
    table = Table(("model", "parameters", "active_parameters", "cache_bytes_per_token"), list(rows))
    return Outcome(values, {"memory": table}, lambda: draw(total, active, cache))


def draw(total: dict[str, float], active: dict[str, float], cache: dict[str, float]) -> Figure:
    made, (axes,) = figure(6, 3.4)
    names = list(total)
    for i, (label, data) in enumerate(
        (
            ("all weights", {m: 2 * total[m] for m in names}),
            ("active weights", {m: 2 * active[m] for m in names}),
            ("cache of 8M tokens", {m: TOKENS * cache[m] for m in names}),
        )
    ):
        axes.bar([j + 0.27 * i for j in range(len(names))], [data[m] / 1e9 for m in names], width=0.25, label=label)
    axes.set_xticks([j + 0.27 for j in range(len(names))], [NAMES[m] for m in names])
    titled(axes, "bf16", "", "GB", log="y")
    key(axes)
    return made
