"""The part of `dse system` that serves with two pools of chips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dse.errors import InfeasibleError, UsageError
from dse.report.output import Format, write_json, write_records

if TYPE_CHECKING:
    from dse.report.output import Cell
    from dse.serving_case import ServingChoices
    from dse.serving_pools import PooledPoint
    from dse.system.system import System
    from dse.workload import WorkloadOptions

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class PoolTexts:
    """The options of the command line that concern pools."""

    prefill_chips: str
    output_len: int | None
    prompt_len: int | None
    prefill_batch: int | None
    prefill_parallel: str
    decode_parallel: str
    tpot_limit_ms: float | None
    prefill_system: str | None = None


def serve_pools(workload: WorkloadOptions, system: System, texts: PoolTexts, choices: ServingChoices, form: Format) -> None:
    """Evaluate a split of the system, or the best one, and write it.

    Raises:
        UsageError: a split that is none, lengths left out or below 1, degrees that do not fit a pool.
        InfeasibleError: no split fits in memory and meets the limit.
    """
    from dse.plugins import load_system
    from dse.serving_pools import PoolOptions, best_split, evaluate_pools

    if texts.output_len is None:
        raise UsageError("two pools need --output-len, the tokens made per request: it decides how many chips each pool needs")
    if texts.prefill_batch is not None and texts.prefill_batch < 1:
        raise UsageError(f"--prefill-batch is {texts.prefill_batch}; allowed: at least 1")
    pools = PoolOptions(
        prefill_chips=_chips(texts.prefill_chips),
        output_len=texts.output_len,
        prompt_len=texts.prompt_len,
        prefill_batch=texts.prefill_batch,
        prefill_parallel=texts.prefill_parallel,
        decode_parallel=texts.decode_parallel,
        prefill_system=None if texts.prefill_system is None else load_system(texts.prefill_system).system,
    )
    points = evaluate_pools(workload, system, pools, choices=choices)
    limit_s = None if texts.tpot_limit_ms is None else texts.tpot_limit_ms / 1e3
    best = best_split(points, limit_s)
    if best is None and len(points) > 1:
        why = "; ".join(map(str, points[0].infeasibility)) or "TPOT too high"
        raise InfeasibleError(f"none of {len(points)} splits fits in memory and meets the limit: {why}")
    shown = best or points[0]
    _write(shown, form)
    if shown.infeasibility:
        raise InfeasibleError("; ".join(map(str, shown.infeasibility)))
    if best is None:
        raise InfeasibleError(f"TPOT is {shown.decode.step_s * 1e3:.3g} ms, above the limit; try smaller batches or more decode chips")


def _chips(text: str) -> int | None:
    if text in (AUTO, ""):
        return None
    if not text.lstrip("-").isdecimal():
        raise UsageError(f"--prefill-chips {text}: give a number of chips, or {AUTO}")
    return int(text)


def _write(point: PooledPoint, form: Format) -> None:
    values = point.to_json_dict()
    if form is Format.JSON:
        write_json(values)
        return
    rows: list[dict[str, Cell]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            rows += [{"quantity": f"{name}.{n}", "value": v} for n, v in value.items()]
        elif isinstance(value, str | int | float):
            rows.append({"quantity": name, "value": value})
    write_records(rows, ("quantity", "value"), form, title=f"two pools of {point.system.name}")
