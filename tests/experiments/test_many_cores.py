"""The campaign over chips of many cores: planned in full, run at smoke size."""

from __future__ import annotations

from pathlib import Path

from dse.campaign.evaluator import CatalogueSources, WorkloadEvaluatorFactory
from dse.campaign.folder import FolderRequest
from dse.campaign.plan import load_plan
from dse.campaign.session import SessionRequest, run_session

FOLDER = Path("experiments/many_cores")


def test_the_full_campaign_is_enumerated(repository: Path) -> None:
    folder = repository / FOLDER
    plan = load_plan(folder / "campaign.yaml", CatalogueSources(str(folder)))
    assert [d.path for d in plan.space.outer] == ["workload.batch", "cores.tensor.count"]
    assert plan.trials == plan.space.outer_size == 12
    assert plan.space.size == 2160


def test_more_of_everything_is_never_slower_at_smoke_size(repository: Path, tmp_path: Path) -> None:
    folder = repository / FOLDER
    plan = load_plan(folder / "smoke.yaml", CatalogueSources(str(folder)))
    run = run_session(plan, WorkloadEvaluatorFactory(plan), SessionRequest(folder=FolderRequest(run_dir=tmp_path / "smoke"))).run
    assert run.exact
    assert run.priced == 72
    assert not run.failures
    best = max(run.archive.members, key=lambda m: m.design.metrics["tokens_per_s"])
    found = run.header.space.parameters(best.outer, best.design.inner)
    assert found["cores.tensor.count"] == 4
    assert found["cores.tensor.memories.vmem.capacity_kib"] == 65536
    assert found["memories.hbm.bandwidth_gb_per_s"] == 7370
    cheapest = min(m.design.metrics["cost_usd"] for m in run.archive.members)
    assert cheapest < 0.6 * best.design.metrics["cost_usd"]
