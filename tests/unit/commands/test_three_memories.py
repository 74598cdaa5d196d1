"""`dse eval` on a chip whose operands may lie in three memories: nothing need be set, and what was looked at in part is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from dse import cli
from dse.cost.at_point import at_point
from dse.cost.evaluation import evaluate
from dse.errors import ExitCode, InputError
from dse.evaluate import Objective, Schedule, compile_step
from dse.mapping import point_search
from dse.mapping.frontier import matmul_frontier
from dse.mapping.problem import MatmulProblem
from dse.plugins import load_accelerator
from dse.workload import WorkloadOptions, load_workload

if TYPE_CHECKING:
    from pathlib import Path

PORTS = "bandwidth_gb_per_s: 400, double_buffered: false, overlapped: true, operands: [left, out]"


@pytest.fixture
def chip(repository: Path, tmp_path: Path) -> str:
    """`edge32` with two buffers for left and out inside its own."""
    levels = "".join(
        f"  {name}: {{kind: buffer, capacity_kib: {kib}, read_energy_pj_per_byte: {pj}, write_energy_pj_per_byte: {pj}, {PORTS}}}\n"
        for name, kib, pj in (("l0", 1, 0.02), ("l1", 16, 0.2))
    )
    text = (repository / "accelerators/catalogue/edge32.yaml").read_text(encoding="utf-8")
    path = tmp_path / "chip.yaml"
    path.write_text(text.replace("memories:\n", "memories:\n" + levels), encoding="utf-8")
    return str(path)


def test_one_point_gets_the_numbers_of_all_prices(chip: str, repository: Path) -> None:
    """Where frontiers for all prices can be made, compiling for one point gives what pricing them there gives, one operator after another."""
    sizes = ("batch=1", "query=1", "past=16")
    step = load_workload(WorkloadOptions(onnx=str(repository / "tests/data/onnx/llama_dynamo_18.onnx"), dims=sizes, precision="bf16")).step
    description = load_accelerator(chip)
    every = compile_step(step, description.geometry_for(), schedule=Schedule.LAYER_BY_LAYER)
    assert every.in_part == 0
    for kib in (1, 2048):
        table = description.with_overrides({"memories.glb.capacity_kib": kib}).table({})
        one = compile_step(step, at_point(description.geometry_for(), table), schedule=Schedule.LAYER_BY_LAYER)
        for objective in Objective:
            given, expected = evaluate(one, table, objective), evaluate(every, table, objective)
            assert (given.latency_s, given.energy_j) == pytest.approx((expected.latency_s, expected.energy_j), rel=1e-12)


def test_what_is_looked_at_in_part_is_told(
    chip: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tiles in full, three until the limit is reached: never worse than two, and said on standard error and in the result."""
    asked = [
        "eval",
        "--model",
        "deepseek_v2_lite",
        "--part",
        "ffn",
        "--layer",
        "0",
        "-a",
        chip,
        "--objective",
        "energy",
        "--schedule",
        "layer_by_layer",
    ]
    monkeypatch.setattr(point_search, "MOST_CELLS", 1)
    found = []
    for given in ([], ["--set", "core.most_tiles=2"], ["--set", "core.most_tiles=3"]):
        assert cli.main([*asked, "--format", "json", *given]) == ExitCode.DONE
        found.append(json.loads(capsys.readouterr().out))
        assert bool(found[-1]["products_searched_in_part"]) == (not given) == ("core.most_tiles" in caplog.text)
        caplog.clear()
    some, two, three = found
    assert three["energy_j"] <= some["energy_j"] <= two["energy_j"]
    assert cli.main([*asked]) == ExitCode.DONE
    assert "searched_in_part" in capsys.readouterr().out
    assert cli.main([*asked, "--format", "json", "--set", "core.most_cells=512"]) == ExitCode.DONE
    few = json.loads(capsys.readouterr().out)
    assert few["products_searched_in_part"]
    assert three["energy_j"] <= few["energy_j"] <= three["energy_j"] * (1 + few["searched_in_part_gap"]["energy"])


def test_frontiers_for_all_prices_have_two_tiles_of_large_products(chip: str) -> None:
    """Said in the frontier; an error only where more tiles are asked for by the file."""
    geometry = load_accelerator(chip).geometry_for()
    problem = MatmulProblem(1, 128, 576, 4096, 8, 8, 8, 32, "int8")
    found = matmul_frontier(problem, geometry)
    assert found.in_part
    assert not any(len(mapping.inner_tiles) > 1 for mapping in found.mappings)
    three = load_accelerator(chip).with_overrides({"core.most_tiles": 3}).geometry_for()
    with pytest.raises(InputError, match=r"core\.most_tiles.*set it to 2"):
        matmul_frontier(problem, three)
