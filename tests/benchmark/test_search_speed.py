"""What the search layer costs beside pricing, and how good `auto` is on a space whose front is known; `make bench` prints it."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dse.campaign.log import ResultLog
from dse.search.archive import Archive
from dse.search.goals import Goals
from dse.search.limits import OuterChoices
from dse.search.pareto import hypervolume, non_dominated
from dse.search.space import Dimension, Scale, Space
from dse.search.strategy import Sampler, make_strategy, resolve
from dse.search.sweep import sweep
from dse.search.trial import TrialRecord, recorded
from tests.benchmark.test_speed import say
from tests.search_fakes import FakeEvaluator

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.benchmark

GOALS = Goals(("tokens_per_s", "joules_per_token"))
ROWS = tuple(float(v) for v in np.unique(np.geomspace(4, 512, 60).round()))
SPACE = Space(
    (
        Dimension("core.array.rows", ROWS, Scale.ORDERED),
        Dimension("workload.attention", ("plain", "reuse", "recompute"), Scale.CATEGORICAL),
        Dimension("workload.batch", tuple(range(1, 61)), Scale.ORDERED),
    ),
    (
        Dimension("memories.dram.bandwidth_gb_per_s", tuple(np.geomspace(10, 8000, 60).tolist()), Scale.ORDERED),
        Dimension("memories.sram.capacity_kib", tuple(float(v) for v in range(32, 352, 16)), Scale.ORDERED),
    ),
)
"""More than 9,000 outer choices of 1,200 inner points."""


@dataclass
class Made:
    """A search that was run."""

    records: list[TrialRecord]
    ask_s: float
    keep_s: float


def search(sampler: Sampler, trials: int, seed: int, log: ResultLog | None = None) -> Made:
    """Run a strategy over the fake evaluator; processor seconds of asking, and of log and archive."""
    strategy = make_strategy(sampler, OuterChoices(SPACE), GOALS, seed)
    archive = Archive(GOALS)
    made = Made([], 0.0, 0.0)
    batch = 0
    while len(made.records) < trials:
        start = time.process_time()
        asked = strategy.ask(made.records, batch, min(strategy.batch_size, trials - len(made.records)))
        made.ask_s += time.process_time() - start
        found = [sweep(FakeEvaluator(), SPACE.choice(one.outer), SPACE, GOALS) for one in asked]
        start = time.process_time()
        new = [
            recorded(s, number=len(made.records) + i, batch=batch, outer=one.outer, sampler_state=one.sampler_state)
            for i, (one, s) in enumerate(zip(asked, found, strict=True))
        ]
        if log is not None:
            log.append(new)
        archive.add_batch(new)
        made.keep_s += time.process_time() - start
        made.records += new
        batch += 1
    return made


def objectives(records: list[TrialRecord]) -> np.ndarray:
    """Logarithms of all objectives on the trials' fronts, minimised."""
    rows = [np.stack([-np.log(r.front.metrics["tokens_per_s"]), np.log(r.front.metrics["joules_per_token"])], axis=1) for r in records]
    return np.concatenate(rows)


@pytest.mark.parametrize("name", ["tpe", "nsga2"])
def test_overhead_of_a_trial(name: str, tmp_path: Path) -> None:
    made = search(Sampler(name), 1_000, 0, ResultLog(tmp_path / "log.jsonl", dict))
    priced = sum(record.priced for record in made.records)
    print()
    say(f"{name}: asking, log and archive over 1,000 trials", f"{1e3 * (made.ask_s + made.keep_s) / 1_000:.1f} ms/trial", "20 ms")
    say("  the same per priced design", f"{1e3 * (made.ask_s + made.keep_s) / priced:.4f} ms", "0.1 ms")
    say("  of it log and archive", f"{1e3 * made.keep_s / 1_000:.2f} ms/trial", "-")


def test_quality_of_auto() -> None:
    every = [sweep(FakeEvaluator(), SPACE.choice(i), SPACE, GOALS) for i in range(SPACE.outer_size)]
    whole = objectives([recorded(s, number=i, batch=0, outer=i, sampler_state={}) for i, s in enumerate(every)])
    front = whole[non_dominated(whole, [False, False])]
    reference = (whole.max(axis=0) + 0.1).tolist()
    true = hypervolume(front, reference, [False, False])
    trials = 300
    print()
    say(f"space of {SPACE.size:,} designs, front of {len(front):,}, {SPACE.outer_size:,} outer choices", f"{trials} trials", "-")
    for seconds in (0.001, 0.05):
        sampler = resolve(Sampler("auto"), OuterChoices(SPACE), trials, seconds_per_trial=seconds)
        for one in (sampler, Sampler("random")) if seconds == 0.05 else (sampler,):
            shares = []
            for seed in range(5):
                found = objectives(search(one, trials, seed).records)
                shares.append(hypervolume(found, reference, [False, False]) / true)
            say(
                f"  {one.name} at {1e3 * seconds:.0f} ms a trial: hypervolume share, median of 5",
                f"{statistics.median(shares):.4f}",
                "0.995",
            )
