"""`mapping: {objective: pareto}`: the front of a campaign has the fastest, the most frugal and the balanced plan of a design."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dse.cli import main
from dse.cost.metrics import Objective
from dse.evaluate import price
from dse.ir.lowering import Part
from tests.unit.cost.compiled import accelerator, compiled, step

CAMPAIGN = """
schema_version: 1
name: plans
workload: {model: deepseek_v2_lite, cache_len: 1024, batch: 16, part: attention, layer: 0}
accelerator: flat_cloud
mapping: {objective: pareto}
space:
  memories.sram.capacity_kib: {values: [2048, 32768]}
objectives:
  - {metric: latency_s}
  - {metric: energy_j}
sampler: exhaustive
"""


def search(folder: Path, capsys: pytest.CaptureFixture[str], text: str = CAMPAIGN) -> tuple[int, str]:
    (folder / "campaign.yaml").write_text(text)
    code = main(["search", str(folder / "campaign.yaml"), "--run-dir", str(folder / "run"), "--workers", "1"])
    return code, capsys.readouterr().err


def test_the_front_has_every_plan_that_nothing_beats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(tmp_path, capsys)[0] == 0
    assert main(["pareto", str(tmp_path / "run"), "--format", "json"]) == 0
    front = {(p["values"]["latency_s"], p["values"]["energy_j"]) for p in json.loads(capsys.readouterr().out)["points"]}
    found = compiled(step("deepseek_v2_lite", batch=16, cache_len=1024, part=Part.ATTENTION), "flat_cloud")
    table = accelerator("flat_cloud").table({"memories.sram.capacity_kib": [2048.0, 32768.0]})
    every = [(t, e) for p in (price(found, table, objective=o) for o in Objective) for t, e in zip(p.latency_s, p.energy_j, strict=True)]
    best = {(t, e) for t, e in every if not any(a <= t and b <= e and (a, b) != (t, e) for a, b in every)}
    assert len(best) > 1
    np.testing.assert_allclose(sorted(front), sorted(best), rtol=1e-9)
    assert main(["trace", str(tmp_path / "run"), "-o", str(tmp_path / "t.json")]) == 0


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("space:", "space:\n  mapping.objective: {values: [latency]}", "say the same; keep one"),
        ("accelerator: flat_cloud", "system: h100_node", "pareto is of the plans of one chip"),
        ("objective: pareto", "objective: all", "mapping.objective"),
    ],
)
def test_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str) -> None:
    code, err = search(tmp_path, capsys, CAMPAIGN.replace(old, new))
    assert code == 3
    assert said in err
