"""The part of `dse system` that compares systems at equal cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dse.errors import InfeasibleError, UsageError
from dse.report.output import Format, write_records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.report.output import Cell
    from dse.serving_case import ServingChoices
    from dse.serving_equal import Contender
    from dse.system.system import System
    from dse.workload import WorkloadOptions


@dataclass(frozen=True, slots=True)
class EqualTexts:
    """The options of the command line that concern a comparison."""

    versus: str
    equal: str
    budget: float | None
    prices: str | None
    parallel: str | None
    tpot_limit_ms: float | None


def compare_systems(
    workload: WorkloadOptions,
    system: System,
    texts: EqualTexts,
    choices: ServingChoices,
    batches: Sequence[int],
    cache_lens: Sequence[int],
    form: Format,
) -> None:
    """Write what each system does for the cost of the first.

    Raises:
        UsageError: unknown systems, costs or degrees.
        InputError: a price table that cannot be read.
        InfeasibleError: no system runs anything within the limit.
    """
    from dse.plugins import load_system
    from dse.serving_equal import Equal, compare_equal, read_price_table

    names = [name.strip() for name in texts.versus.split(",")]
    if not all(names):
        raise UsageError(f"--versus {texts.versus}: give names or files of systems with commas between, for example --versus h100_node")
    systems = [system, *(load_system(name).system for name in names)]
    found = compare_equal(
        workload,
        systems,
        Equal(texts.equal),
        batches=batches,
        cache_lens=cache_lens,
        budget=texts.budget,
        prices=read_price_table(texts.prices) if texts.prices is not None else None,
        parallels=None if texts.parallel is None else [texts.parallel],
        tpot_limit_s=None if texts.tpot_limit_ms is None else texts.tpot_limit_ms / 1e3,
        choices=choices,
    )
    rows = [_row(c, found[0]) for c in found]
    write_records(rows, tuple(rows[0]), form, title=f"equal {texts.equal}: best of {len(batches) * len(cache_lens)} batches and lengths")
    if all(c.point is None for c in found):
        raise InfeasibleError("no system fits the work in memory and meets the limit; try smaller batches or a larger --budget")


def _row(one: Contender, first: Contender) -> dict[str, Cell]:
    point = one.point
    runs = one.tokens_per_s
    return {
        "system": one.system.name,
        "copies": one.copies,
        "chips": one.chips,
        "cost": one.cost,
        "cost_unit": one.unit,
        "feasible": point is not None,
        "parallel": str(point.plan) if point else None,
        "cache_len": point.cache_len if point else None,
        "batch": point.batch * one.copies if point else None,
        "tpot_s": point.tpot_s if point else None,
        "tokens_per_s": runs if point else None,
        "tokens_per_joule": point.tokens_per_joule if point else None,
        "tokens_per_s_ratio": runs / first.tokens_per_s if point and first.tokens_per_s else None,
    }
