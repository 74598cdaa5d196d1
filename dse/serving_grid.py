"""Grids of serving points: batches, cache lengths and degrees; their front, and the best one under a latency limit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dse.serving_case import DEFAULT_CHOICES, ChipModelName, case_of, serving_request
from dse.system.parallel import checked, parse_parallel
from dse.system.patterns import EVERYTHING, is_pattern, plans_of
from dse.system.work import model_work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dse.serving_case import ServingChoices
    from dse.system.layer_time import ChipModel
    from dse.system.parallel import Parallel
    from dse.system.system import System
    from dse.system.work import ModelWork
    from dse.workload import WorkloadOptions


@dataclass(frozen=True, slots=True)
class GridPoint:
    """One point of a grid."""

    plan: Parallel
    cache_len: int
    batch: int
    tpot_s: float
    tokens_per_s_per_chip: float
    tokens_per_joule: float
    shares: dict[str, float]
    feasible: bool


def serving_grid(
    options: WorkloadOptions,
    system: System,
    *,
    batches: Sequence[int],
    cache_lens: Sequence[int],
    parallels: Sequence[str] | None = None,
    choices: ServingChoices = DEFAULT_CHOICES,
) -> list[GridPoint]:
    """All combinations of batch, cache length and degrees, in this order from the inside out.

    Degrees may be patterns (`dse.system.patterns`): their legal combinations count; None for all of tp, ep and moe_tp.

    Raises:
        UsageError: as `evaluate_serving`.
    """
    model, request, routing = serving_request(options)
    first = model_work(model, request)
    texts = (EVERYTHING,) if parallels is None else tuple(parallels)
    plans = [plan for text in texts for plan in _plans(text, first, system.chips)]
    points: list[GridPoint] = []
    chip: ChipModel | None = None
    for plan in plans:
        for cache_len in cache_lens:
            asked = replace(request, cache_len=cache_len)
            case = case_of(model, asked, routing, system, plan, choices)
            if chip is None or choices.chip_model is ChipModelName.MAPPED:  # others know no lengths and degrees
                chip = case.chip()
            times = case.times(list(batches), chip=chip)
            fit = times.feasible
            for n, batch in enumerate(batches):
                seconds = float(times.seconds[n])
                tokens = batch * request.query_len
                rate, per_joule = tokens / seconds / system.chips, tokens / float(times.joules[n])
                points.append(GridPoint(plan, cache_len, batch, seconds, rate, per_joule, times.shares(n), bool(fit[n])))
    return points


def _plans(text: str, work: ModelWork, chips: int) -> tuple[Parallel, ...]:
    if is_pattern(text):
        return plans_of(text, work, chips).legal
    return (checked(parse_parallel(text, chips=chips, experts=work.experts), work, chips),)


def pareto(points: Sequence[GridPoint]) -> list[GridPoint]:
    """Feasible points that no other beats in both throughput per chip and TPOT, by rising TPOT."""
    best: list[GridPoint] = []
    for p in sorted((p for p in points if p.feasible), key=lambda p: (p.tpot_s, -p.tokens_per_s_per_chip)):
        if not best or p.tokens_per_s_per_chip > best[-1].tokens_per_s_per_chip:
            best.append(p)
    return best


def best_under(points: Sequence[GridPoint], tpot_limit_s: float) -> GridPoint | None:
    """The feasible point of the most throughput per chip with a TPOT of at most the limit; None where there is none."""
    return max((p for p in points if p.feasible and p.tpot_s <= tpot_limit_s), key=lambda p: p.tokens_per_s_per_chip, default=None)
