"""The front of plans of one design: against prices at many worths of a second, and as `dse eval` lists it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dse.cli import main
from dse.cost.choice import TIE_TOLERANCE
from dse.cost.metrics import Objective
from dse.cost.plan_front import SHADE, plan_front
from dse.cost.workload_pricing import Costs, step_totals
from dse.evaluate import price
from dse.ir.lowering import Part
from tests.unit.cost.compiled import accelerator, compiled, step

KEYS = {"latency_s", "latency_cycles", "energy_j", "edp_js"}


@pytest.mark.parametrize(("name", "capacity_kib"), [("flat_cloud", 2048.0), ("flat_cloud", 32768.0), ("flat_edge", 256.0)])
@pytest.mark.parametrize("part", [Part.ATTENTION, Part.LAYER])
def test_no_worth_finds_anything_better(name: str, capacity_kib: float, part: Part) -> None:
    chip, found = accelerator(name), compiled(step("deepseek_v2_lite", part=part, batch=16, cache_len=1024), name)
    table = chip.table({f"memories.{chip.file.buffer[0]}.capacity_kib": [capacity_kib]})
    front = plan_front(found, table)
    latency, energy = np.array([(p.latency_s, p.energy_j) for p in front]).T
    assert (np.diff(latency) > 0).all()
    assert (np.diff(energy) < 0).all()
    ends = {o: price(found, table, objective=o) for o in Objective}
    assert latency[0] <= ends[Objective.LATENCY].latency_s[0] * (1 + TIE_TOLERANCE)
    assert energy[-1] <= ends[Objective.ENERGY].energy_j[0] * (1 + TIE_TOLERANCE)
    assert (latency * energy).min() <= ends[Objective.EDP].latency_s[0] * ends[Objective.EDP].energy_j[0] * (1 + SHADE)
    worth = np.geomspace(1e-3, 1e3, 200) * energy[0] / latency[0]
    many = table.at(np.zeros(len(worth), dtype=np.int64))
    t, e = step_totals(found, many, Costs(found.geometry, many), Objective.EDP, worth)
    least = (energy[:, None] + worth * latency[:, None]).min(axis=0)
    assert (least <= (e + worth * t) * (1 + SHADE + TIE_TOLERANCE)).all()


def evaluated(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main(["eval", *arguments, "--objective", "pareto", "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", ["flat_edge", "tpu7x_quad"])
def test_listed(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """On one core and on a chip of four: what is explained is the choice of the front with the least product."""
    work = ("--model", "deepseek_v2_lite", "--part", "attention", "--cache-len", "256", "-a", name)
    found = evaluated(capsys, *work)
    front = found["front"]
    assert all(set(p) == KEYS for p in front)
    assert found["latency_s"] * found["energy_j"] <= min(p["edp_js"] for p in front) * (1 + SHADE)
    assert main(["eval", *work, "--objective", "pareto", "--format", "csv"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "latency_s,latency_cycles,energy_j,edp_js"
    assert len(lines) == len(front) + 1


def test_infeasible_is_an_empty_front(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(
        [
            "eval",
            "--model",
            "deepseek_v3",
            "--all-layers",
            "--cache-len",
            "128",
            "-a",
            "flat_edge",
            "--objective",
            "pareto",
            "--format",
            "json",
        ]
    )
    assert code == 4
    assert json.loads(capsys.readouterr().out)["front"] == []
