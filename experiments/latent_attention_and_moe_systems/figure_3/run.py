"""Figure 3: arithmetic intensity of core attention in decode at length 4,096, over batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.validation.counts import ridge_ops_per_byte
from dse.validation.serving_cases import CHIPS, DEEPSEEK, GPT3, LLAMA, PLANS, Setting, case_of
from experiments.kit import Outcome, Table, figure
from experiments.plots import key, titled
from experiments.serving import COLOURS, NAMES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PER_CHIP = (1, 4, 16, 64, 256)
LENGTH = 4096
RIDGE = "h100_sxm"
"""The figure was measured on an H100."""


def intensity(model: str, per_chip: int) -> float:
    """Operations per byte of everything that touches the scores, in one layer; GPT-3 at its longest context."""
    length = LENGTH if model != GPT3 else 2048
    case = case_of(Setting(model, length, parallel=PLANS[model]))
    part = next(p for p in case.work.parts if case.work.has_attention(p.name))
    core = next(o for o in case.run(CHIPS * per_chip).operators(part) if o.core)
    return 2 * float(core.macs[0] / core.moved_bytes[0])


def run(*, smoke: bool) -> Outcome:
    batches = PER_CHIP[::4] if smoke else PER_CHIP
    rows: list[tuple[float | str, ...]] = [(m, b, intensity(m, b)) for m in (GPT3, LLAMA, DEEPSEEK) for b in batches]
    by = {m: [float(r[2]) for r in rows if r[0] == m] for m in NAMES}
    values: dict[str, float | bool | str] = {f"{m}": by[m][-1] for m in NAMES}
    values["change over batch"] = max(abs(max(v) / min(v) - 1) for v in by.values())
    values["ridge"] = ridge_ops_per_byte(RIDGE)
    table = Table(("model", "batch_per_chip", "ops_per_byte"), rows)
    return Outcome(values, {"intensity": table}, lambda: draw(by, list(batches)))


def draw(by: dict[str, list[float]], batches: list[int]) -> Figure:
    made, (axes,) = figure(5.5, 3.4)
    for m, y in by.items():
        axes.plot(batches, y, "o-", color=COLOURS[m], label=NAMES[m])
    axes.axhline(ridge_ops_per_byte(RIDGE), color="#999999", linestyle=":", label="ridge of H100")
    titled(axes, "core attention, decode, length 4,096", "sequences per chip", "operations per byte", log="xy")
    key(axes)
    return made
