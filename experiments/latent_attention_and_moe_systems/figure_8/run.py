"""Figure 8: reordered attention of DeepSeek-R1 in decode under tensor parallelism, length 4,096, 32 chips."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dse.validation.serving_cases import CHIPS, Setting, attention_operators, case_of
from experiments.kit import Outcome, Table, figure
from experiments.plots import key, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEGREES = (1, 2, 4, 8)


def point(tp: int, total: int, cache_len: int = 4096) -> tuple[float, float, float, float]:
    """us per layer of the whole block, of its core, of the collective after it, and Op/B of the core; `total` sequences in all."""
    setting = Setting(cache_len=cache_len, scheme="left_to_right", parallel=f"tp={tp},dp={CHIPS // tp},ep=32", norms=False)
    case = case_of(setting)
    part = next(p for p in case.work.parts if p.has_experts)
    operators = case.run(total).operators(part)
    block = attention_operators(setting, total // CHIPS)
    core = block["score"]
    reduce = next((o for o in operators if o.region is None), None) if tp > 1 else None
    return (
        1e6 * sum(float(o.seconds[0]) for o in block.values()),
        1e6 * float(core.seconds[0]),
        1e6 * float(reduce.seconds[0]) if reduce else 0.0,
        2 * float(core.macs[0] / core.moved_bytes[0]),
    )


def run(*, smoke: bool) -> Outcome:
    totals = [128] if smoke else [32, 64, 128, 4096]
    found = {(b, tp): point(tp, b) for b in totals for tp in DEGREES}
    rows: list[tuple[float | str, ...]] = [(b, tp, *p) for (b, tp), p in found.items()]
    values: dict[str, float | bool | str] = {
        "intensity": found[128, 1][3] / found[128, 8][3],
        "core": found[128, 8][1] / found[128, 1][1],
        "block": (found[128, 8][0] + found[128, 8][2]) / (found[128, 1][0] + found[128, 1][2]),
    }
    if not smoke:
        values["block_full"] = (found[4096, 8][0] + found[4096, 8][2]) / (found[4096, 1][0] + found[4096, 1][2])
    table = Table(("sequences", "tp", "block_us", "core_us", "all_reduce_us", "core_ops_per_byte"), rows)
    return Outcome(values, {"tensor_parallel": table}, lambda: draw(found, totals))


def draw(found: dict[tuple[int, int], tuple[float, float, float, float]], totals: list[int]) -> Figure:
    made, axes = figure(9, 3.2, columns=len(totals))
    for at, b in zip(axes, totals, strict=True):
        for name, y in (("block and all-reduce", 0), ("core", 1)):
            at.plot(DEGREES, [found[b, tp][y] + (found[b, tp][2] if y == 0 else 0) for tp in DEGREES], "o-", label=name)
        titled(at, f"{b} sequences", "tensor parallel degree", "us per layer" if b == totals[0] else "")
        at.set_ylim(bottom=0)
    key(axes[0])
    return made
