"""The quantities that a search may improve or limit: those of a step, those of a design, and those over several steps.

A column is called by its quantity (`tokens_per_s`); with several workloads the workload stands before it
(`decode.tpot_s`), or how they are taken together (`worst.tpot_s`, `mix.joules_per_token`, `decode.worst.tpot_s`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from dse.cost.metrics import METRICS, Direction, Metric

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from dse.cost.metrics import Priced

    FloatArray = NDArray[np.float64]

AREA: Final = "area_mm2"
COST: Final = "cost_usd"
TPOT: Final = "tpot_s"
PER_CHIP: Final = "tokens_per_s_per_chip"
QUANTITIES: Final[Mapping[str, Metric]] = {
    **METRICS,
    TPOT: Metric(TPOT, "s", Direction.MINIMIZE, "time per output token of a sequence: latency over its new tokens in the step"),
    PER_CHIP: Metric(PER_CHIP, "token/s", Direction.MAXIMIZE, "new tokens of the step over its latency and the chips of the system"),
    COST: Metric(COST, "usd", Direction.MINIMIZE, "price of the design by the campaign's price table"),
}
DESIGN_QUANTITIES: Final = (AREA, COST)
"""Follow from the design alone, whatever it runs."""
STEP_QUANTITIES: Final = tuple(name for name in QUANTITIES if name not in DESIGN_QUANTITIES)

Across = Literal["worst", "mix"]
"""`worst`: the worst value of all; `mix`: of the sum of all steps, each taken with its weight."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One step that every design is priced for."""

    name: str
    """Empty where the campaign has only one."""
    group: str
    """The workload that it belongs to: equal to `name`, but where a workload is spread over several scenarios."""
    weight: float
    """Steps of this kind in the mix, relative to the others."""


ONE: Final = (Scenario("", "", 1.0),)


def quantity(column: str) -> Metric:
    """What a column holds."""
    return QUANTITIES[column.rpartition(".")[2]]


def maximise(column: str) -> bool:
    """Whether larger is better."""
    return quantity(column).better is Direction.MAXIMIZE


def column_name(name: str, *, workload: str | None, across: Across | None) -> str:
    """The column of quantity `name` for one workload, or across those of one or all."""
    return ".".join(part for part in (workload, across, name) if part)


def known_columns(scenarios: Sequence[Scenario]) -> tuple[str, ...]:
    """Every column that can be asked for."""
    if len(scenarios) == 1 and not scenarios[0].name:
        return tuple(QUANTITIES)
    groups = dict.fromkeys(s.group for s in scenarios)
    heads = [s.name for s in scenarios] + [f"{g}.{a}" for g in groups for a in ("worst", "mix")] + ["worst", "mix"]
    return (*(f"{head}.{name}" for head in dict.fromkeys(heads) for name in STEP_QUANTITIES), *DESIGN_QUANTITIES)


def stored_columns(scenarios: Sequence[Scenario], asked: Sequence[str], *, priced: bool) -> tuple[str, ...]:
    """Columns kept for every design of a front: what is asked for first, then all of one workload or the gist of several."""
    if len(scenarios) == 1 and not scenarios[0].name:
        rest: list[str] = [*METRICS, TPOT]
    else:
        rest = [f"{s.name}.{name}" for s in scenarios for name in ("latency_s", "energy_j", "tokens_per_s")]
        rest += ["mix.joules_per_token", "mix.edp_js", AREA]
    return tuple(dict.fromkeys([*asked, *rest, *([COST] if priced else [])]))


def step_column(name: str, priced: Priced, tokens_per_sequence: float) -> FloatArray:
    """Quantity `name` of one step over D design points [D]."""
    if name == TPOT:
        return np.asarray(priced.latency_s / tokens_per_sequence, dtype=np.float64)
    if name == PER_CHIP:
        return np.asarray(priced.metric("tokens_per_s") / priced.chips, dtype=np.float64)
    return np.asarray(priced.metric(name), dtype=np.float64)


def column(
    name: str,
    scenarios: Sequence[Scenario],
    priced: Sequence[Priced],
    tokens_per_sequence: Sequence[float],
    design: Mapping[str, FloatArray],
) -> FloatArray:
    """Column `name` [D] of D design points priced for every scenario, in the order of `scenarios`.

    A mix is one long step in which scenario i runs weight_i times: its latency, energy and tokens are the weighted sums, and
    all else follows from these three as for one step; its time per output token is the weighted mean. A worst value is the
    largest, of a rate the smallest. Derived here. Worked number: decode 10 ms and prefill 100 ms with weights 9 and 1 have a
    mix.latency_s of (9 x 10 + 100) / 10 = 19 ms.
    """
    head, _, last = name.rpartition(".")
    if last in design:
        return design[last]
    if not head:
        return step_column(last, priced[0], tokens_per_sequence[0])
    chosen = [i for i, s in enumerate(scenarios) if head == s.name]
    if chosen:
        return step_column(last, priced[chosen[0]], tokens_per_sequence[chosen[0]])
    group, _, how = head.rpartition(".")
    members = [i for i, s in enumerate(scenarios) if not group or s.group == group]
    if how == "worst":
        columns = [step_column(last, priced[i], tokens_per_sequence[i]) for i in members]
        return np.asarray(np.min(columns, axis=0) if maximise(last) else np.max(columns, axis=0), dtype=np.float64)
    return _mix(last, [scenarios[i].weight for i in members], [priced[i] for i in members], [tokens_per_sequence[i] for i in members])


def _mix(name: str, weights: Sequence[float], priced: Sequence[Priced], tokens_per_sequence: Sequence[float]) -> FloatArray:
    share = np.array(weights) / sum(weights)
    latency = sum(w * p.latency_s for w, p in zip(share, priced, strict=True))
    energy = sum(w * p.energy_j for w, p in zip(share, priced, strict=True))
    tokens = sum(w * p.tokens for w, p in zip(share, priced, strict=True))
    match name:
        case "tpot_s":
            found = sum(w * p.latency_s / t for w, p, t in zip(share, priced, tokens_per_sequence, strict=True))
        case "latency_s":
            found = latency
        case "energy_j":
            found = energy
        case "tokens_per_s":
            found = tokens / latency
        case "tokens_per_s_per_chip":
            found = tokens / latency / priced[0].chips
        case "joules_per_token":
            found = energy / tokens
        case "edp_js":
            found = energy * latency
        case _:
            assert name == "power_w", name
            found = energy / latency
    return np.asarray(found, dtype=np.float64)
