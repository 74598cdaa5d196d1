"""Answers from a finished run against brute force over every design of its space."""

from __future__ import annotations

import numpy as np
import pytest

from dse.campaign.analysis import bests, importance_rows, marginal_fronts, need_rows
from dse.campaign.folder import FolderRequest
from dse.campaign.session import SessionRequest, run_session
from dse.campaign.view import Run
from dse.errors import UsageError
from tests.search_fakes import FakeEvaluator, FakeFactory, fake_plan

PATH = "memories.dram.bandwidth_gb_per_s"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    plan = fake_plan(("sampler: tpe", "sampler: auto"), ("trials: 40", "trials: 120"))
    request = SessionRequest(folder=FolderRequest(run_dir=tmp_path_factory.mktemp("run")))
    return run_session(plan, FakeFactory(), request).run


@pytest.fixture(scope="module")
def designs(run: Run) -> list[tuple[dict[str, object], float, float]]:
    """(parameters, tokens/s, J/token) of every feasible design."""
    space = run.header.space
    every = np.arange(space.inner_size)
    found = []
    for outer in range(space.outer_size):
        (priced,) = FakeEvaluator().prepare(space.choice(outer)).price(space.columns(every), space.inner_size)
        for i in np.flatnonzero(priced.feasible & (priced.area_mm2 <= 120)):
            parameters: dict[str, object] = dict(space.parameters(outer, int(i)))
            found.append((parameters, float(priced.metric("tokens_per_s")[i]), float(priced.metric("joules_per_token")[i])))
    return found


def test_bests_equal_brute_force(run: Run, designs: list[tuple[dict[str, object], float, float]]) -> None:
    for best in bests(run):
        path, value = best.dimension.path, best.dimension.values[best.position]
        own = [d for d in designs if d[0][path] == value]
        expected = max(d[1] for d in own) if best.objective == "tokens_per_s" else min(d[2] for d in own)
        assert best.value == expected, (path, value)
        assert run.header.space.parameters(run.records[best.trial].outer, best.inner)[path] == value


@pytest.mark.parametrize("target", [0.5, 50.0, 120.0])
def test_what_it_takes_equals_brute_force(run: Run, designs: list[tuple[dict[str, object], float, float]], target: float) -> None:
    rows = need_rows(run, PATH, "tokens_per_s", target, by="workload.attention")
    assert len(rows) == 3
    for row in rows:
        enough = [float(str(d[0][PATH])) for d in designs if d[0]["workload.attention"] == row["workload.attention"] and d[1] >= target]
        assert row["reached"] is bool(enough)
        assert row[PATH] == (min(enough) if enough else None)


def test_importance_and_marginal_fronts(run: Run) -> None:
    rows = importance_rows(run)
    assert len(rows) == 2 * 6
    assert all(float(str(row["ratio"])) >= 1 for row in rows)
    assert all((row["best_at"] is None) == (row["ratio"] == 1) for row in rows)  # where all values are as good, none is named
    fronts = marginal_fronts(run, "workload.attention")
    assert [row["workload.attention"] for row in fronts] == ["plain", "reuse", "recompute"]
    assert max(float(str(row["hypervolume"])) for row in fronts) <= run.archive.hypervolume * (1 + 1e-12)
    assert max(float(str(row["best_tokens_per_s"])) for row in fronts) == run.archive.best_value("tokens_per_s")


@pytest.mark.parametrize(
    ("path", "objective", "by", "what"),
    [
        ("memories.dram.bandwidth", "tokens_per_s", None, "Did you mean"),
        ("workload.attention", "tokens_per_s", None, "no numbers"),
        (PATH, "latency_s", None, "no objective of the run"),
        (PATH, "tokens_per_s", "workload.batsch", "Did you mean 'workload.batch'"),
    ],
)
def test_questions_that_a_run_cannot_answer(run: Run, path: str, objective: str, by: str | None, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        need_rows(run, path, objective, 1.0, by=by)
