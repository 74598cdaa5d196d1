"""What a campaign imports before its first trial: a restart should not wait for what only pictures, studies or systems need."""

from __future__ import annotations

import subprocess
import sys

NEEDED = "dse.cli, dse.campaign.evaluator, dse.campaign.plan, dse.campaign.progress, dse.campaign.session, dse.campaign.warm"
LATER = ("networkx", "optuna", "matplotlib", "pandas", "sklearn", "scipy", "dask", "onnx.reference", "dse.system", "dse.report.figures")
FORK_SERVER_LATER = ("numpy", "pydantic", "onnx", *LATER)


def imported(modules: str) -> set[str]:
    code = f"import sys, {modules}; print(*sys.modules, sep='\\n')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return set(run.stdout.split())


def test_a_campaign_starts_without_what_it_needs_later() -> None:
    assert imported(NEEDED).isdisjoint(LATER)


def test_the_server_of_workers_starts_before_anything_heavy() -> None:
    assert imported("dse.cli, dse.campaign.fork_server").isdisjoint(FORK_SERVER_LATER)
