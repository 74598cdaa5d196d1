"""What the search layer costs beside pricing, and how good `auto` is on a space whose front is known; `make bench` prints it."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dse.campaign.log import ResultLog
from dse.campaign.seeding import AUTO_KEEPS, AUTO_SCREENS, BoundLook, screened
from dse.search.archive import Archive
from dse.search.goals import Goals
from dse.search.limits import OuterChoices
from dse.search.pareto import hypervolume
from dse.search.space import Dimension, Scale, Space
from dse.search.strategy import Sampler, make_strategy, probes_of, resolve
from dse.search.sweep import sweep
from dse.search.trial import TrialRecord, recorded
from tests import hard_space
from tests.benchmark.test_speed import say
from tests.search_fakes import FakeEvaluator

if TYPE_CHECKING:
    from pathlib import Path

    from dse.search.evaluator import Evaluator

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


def search(
    sampler: Sampler,
    trials: int,
    seed: int,
    log: ResultLog | None = None,
    *,
    problem: tuple[Evaluator, Space, Goals] | None = None,
    seeds: tuple[int, ...] = (),
) -> Made:
    """Run a strategy over an evaluator; processor seconds of asking, and of log and archive."""
    evaluator, space, goals = problem or (FakeEvaluator(), SPACE, GOALS)
    choices, probes = OuterChoices(space), probes_of(sampler, space)
    strategy = make_strategy(sampler, choices, goals, seed, seeds, BoundLook(lambda: evaluator, choices, goals, probes))
    archive = Archive(goals)
    made = Made([], 0.0, 0.0)
    batch = 0
    while len(made.records) < trials:
        start = time.process_time()
        asked = strategy.ask(made.records, batch, min(strategy.batch_size, trials - len(made.records)))
        made.ask_s += time.process_time() - start
        found = [sweep(evaluator, space.choice(one.outer), space, goals, probes=probes) for one in asked]
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


@pytest.mark.parametrize("name", ["surrogate", "tpe", "nsga2"])
def test_overhead_of_a_trial(name: str, tmp_path: Path) -> None:
    made = search(Sampler(name), 1_000, 0, ResultLog(tmp_path / "log.jsonl", dict))
    priced = sum(record.priced for record in made.records)
    print()
    say(f"{name}: asking, log and archive over 1,000 trials", f"{1e3 * (made.ask_s + made.keep_s) / 1_000:.1f} ms/trial", "20 ms")
    say("  the same per priced design", f"{1e3 * (made.ask_s + made.keep_s) / priced:.4f} ms", "0.1 ms")
    say("  of it log and archive", f"{1e3 * made.keep_s / 1_000:.2f} ms/trial", "-")


@dataclass
class Truth:
    """The exact front of the hard space: what a hypervolume of 1 means."""

    low: np.ndarray
    high: np.ndarray
    volume: float

    def share(self, records: list[TrialRecord], goals: Goals) -> float:
        """Hypervolume of the trials' designs over the true one: logarithms, over the span of the true front, reference 1.1."""
        found = [r.front.metrics for r in records if len(r.front)]
        values = np.concatenate([np.log(np.stack([np.asarray(m[n]) for n in goals.objectives], axis=1)) for m in found])
        return self._volume(values) / self.volume

    def _volume(self, values: np.ndarray) -> float:
        scaled = (values - self.low) / (self.high - self.low)
        return hypervolume(scaled, [1.1] * scaled.shape[1], [False] * scaled.shape[1])

    @classmethod
    def of(cls, goals: Goals) -> tuple[Truth, int, int]:
        """The truth, designs on its front, outer choices that own them."""
        front, owners = hard_space.every_design(goals)
        made = cls(front.min(axis=0), front.max(axis=0), 1.0)
        made.volume = made._volume(front)
        return made, len(front), len(np.unique(owners))


@pytest.mark.timeout(3_000)
@pytest.mark.parametrize("goals", [hard_space.TWO, hard_space.THREE], ids=["two", "three"])
def test_quality_of_auto(goals: Goals) -> None:
    space = hard_space.SPACE
    choices = OuterChoices(space)
    truth, size, owners = Truth.of(goals)
    began = time.process_time()
    seeds = screened(hard_space.HardEvaluator(), choices, goals, AUTO_SCREENS, AUTO_KEEPS)
    print()
    say(
        f"{len(goals.objectives)} objectives, {space.size:,} designs, front of {size} from {owners} of {space.outer_size:,} choices",
        "300 trials",
        "-",
    )
    say(f"  a look at {AUTO_SCREENS:,} choices by their bounds", f"{time.process_time() - began:.1f} s", "-")
    auto = resolve(Sampler("auto"), choices, 300, seconds_per_trial=0.1)
    for title, sampler, first in (
        (f"auto ({auto.name}, begun by bounds)", auto, tuple(seeds)),
        (f"{auto.name} alone", auto, ()),
        ("tpe, begun by bounds", Sampler("tpe"), tuple(seeds)),
        ("tpe", Sampler("tpe"), ()),
        ("nsga2", Sampler("nsga2"), ()),
        ("random", Sampler("random"), ()),
    ):
        shares, ask_s = [], []
        for seed in range(5):
            made = search(sampler, 300, seed, problem=(hard_space.HardEvaluator(), space, goals), seeds=first)
            ask_s.append(made.ask_s)
            shares.append([truth.share(made.records[:n], goals) for n in (100, 300)])
        early, late = np.median(shares, axis=0)
        say(f"  {title}: {early:.4f} after 100, {1e3 * statistics.median(ask_s) / 300:.1f} ms to ask, after 300", f"{late:.4f}", "0.995")
