"""What no mapping fits is a value: which memory, what it would have to hold, who takes it, and what would help."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pytest

from dse.cli import main
from dse.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WEIGHTS = "  rf: {kind: registers, capacity_bytes: 1, operands: [right]}\n"
SUMS = "  acc: {kind: registers, capacity_bytes: 1, operands: [out]}\n"


@pytest.fixture
def chip(repository: Path, tmp_path: Path) -> Callable[..., str]:
    """A file like edge32 with memories inside its buffer and dataflows of its own."""

    def written(inner: str, dataflows: str = "weight_stationary") -> str:
        text = (repository / "accelerators/catalogue/edge32.yaml").read_text(encoding="utf-8")
        text = text.replace("memories:\n", f"memories:\n{inner}").replace("[weight_stationary]", f"[{dataflows}]")
        (tmp_path / "chip.yaml").write_text(text, encoding="utf-8")
        return str(tmp_path / "chip.yaml")

    return written


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[dict[str, Any], str]]:
    """The JSON of a command that ends with a code, and its standard error."""

    def ran(*words: str, code: ExitCode = ExitCode.DONE) -> tuple[dict[str, Any], str]:
        assert main([*words, "--format", "json"]) == code
        out, err = capsys.readouterr()
        return json.loads(out), err

    return ran


def test_registers_below_one_element(chip: Callable[..., str], run: Callable[..., tuple[dict[str, Any], str]]) -> None:
    """The array holds 8-bit weights in registers of half a byte."""
    asked = ("map", "--gemm", "4,4,4", "-a", chip(WEIGHTS))
    found, err = run(*asked, "--set", "memories.rf.capacity_bytes=0.5", code=ExitCode.NOTHING_FEASIBLE)
    assert found["feasible"] is False
    assert found["latency_cycles"] is found["energy_pj"] is None
    (why,) = found["infeasibility"]
    assert (why["resource"], why["demand_bytes"], why["bound_bytes"], why["contributors"]) == ("rf capacity", 1, 0.5, {"right": 1})
    assert why["levers"] == ["enlarge memories.rf.capacity_bytes", "use fewer bits"]
    assert err.strip() == f"error: rf capacity: {why['message']}"
    assert run(*asked)[0]["feasible"]


def test_each_dataflow_lacks_another_memory(chip: Callable[..., str], run: Callable[..., tuple[dict[str, Any], str]]) -> None:
    """Weights of 1 byte in 0.5, sums of 4 in 1: weights are closer. With rf as large as asked for everything fits."""
    asked = ("map", "--gemm", "9,7,5", "--partial-bits", "32", "-a", chip(WEIGHTS + SUMS, "weight_stationary, output_stationary"))
    asked += ("--set", "memories.rf.capacity_bytes={}")
    found, _ = run(*asked[:-1], asked[-1].format(0.5), code=ExitCode.NOTHING_FEASIBLE)
    (why,) = found["infeasibility"]
    assert (why["resource"], why["contributors"]) == ("rf capacity", {"right": 1})
    assert run(*asked[:-1], asked[-1].format(why["demand_bytes"]))[0]["dataflow"] == "weight_stationary"
    found, _ = run(*asked[:-1], asked[-1].format(0.1), code=ExitCode.NOTHING_FEASIBLE)
    (why,) = found["infeasibility"]
    assert (why["resource"], why["demand_bytes"], why["contributors"]) == ("acc capacity", 4, {"out": 4})


def test_a_given_tile_in_an_inner_buffer(chip: Callable[..., str], run: Callable[..., tuple[dict[str, Any], str]], tmp_path: Path) -> None:
    """Tiles of 32 x 64 and 64 x 32 bytes in a buffer of 2 KiB."""
    small = "  small: {kind: buffer, capacity_kib: 2, bandwidth_gb_per_s: 512, double_buffered: false}\n"
    loops = "".join(f"- {{level: {at}, loop: {d}, step: {s}}}\n" for at, d, s in (("dram", "m", 32), ("dram", "k", 64), ("dram", "n", 32)))
    text = "schema_version: 1\ngemm: {m: 64, k: 64, n: 64, bits: 8}\ndataflow: weight_stationary\n"
    (tmp_path / "nest.yaml").write_text(f"{text}keeps: {{buffer: [], inner: [left, right]}}\nloops:\n{loops}")
    asked = ("map", "--mapping", str(tmp_path / "nest.yaml"), "-a", chip(small))
    (why,) = run(*asked, code=ExitCode.NOTHING_FEASIBLE)[0]["infeasibility"]
    assert (why["resource"], why["demand_bytes"], why["contributors"]) == ("small capacity", 4096, {"left": 2048, "right": 2048})
    assert run(*asked, "--set", "memories.small.capacity_kib=4")[0]["feasible"]


STEP = ("--model", "deepseek_v2_lite", "--part", "attention", "--cache-len", "64")


def test_a_step_whose_registers_are_too_small(chip: Callable[..., str], run: Callable[..., tuple[dict[str, Any], str]]) -> None:
    """bf16 in registers of a byte: the first product of the step is named, figures are null, bounds and area stand."""
    asked = ("eval", *STEP, "-a", chip(WEIGHTS))
    found, err = run(*asked, code=ExitCode.NOTHING_FEASIBLE)
    (why,) = found["infeasibility"]
    assert (why["resource"], why["demand_bytes"], why["bound_bytes"]) == ("rf capacity", 2, 1)
    (operator,) = why["contributors"]
    assert found["latency_s"] is None
    assert found["roofline_cycles"] > 0
    assert "error: rf capacity: needs 2 bytes" in err
    fits, _ = run(*asked, "--set", "memories.rf.capacity_bytes=2")
    assert operator in [o["operator"] for o in fits["operators"]]


CAMPAIGN = """\
schema_version: 1
name: registers
workload: {{model: deepseek_v2_lite, phase: decode, cache_len: 64, part: attention}}
accelerator: {chip}
space:
  memories.rf.capacity_bytes: {{values: [1, 2, 4]}}
objectives: [{{metric: tpot_s}}]
sampler: {{name: exhaustive}}
budget: {{trials: 3}}
"""


def test_a_campaign_goes_on_where_registers_are_too_small(chip: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN.format(chip=chip(WEIGHTS)))
    folder = tmp_path / "run"
    assert main(["search", str(tmp_path / "campaign.yaml"), "--run-dir", str(folder)]) == ExitCode.DONE
    (trial,) = csv.DictReader((folder / "trials.csv").read_text().splitlines())
    assert (trial["state"], trial["designs_priced"], trial["designs_fitting"]) == ("complete", "3", "2")
    assert trial["memories.rf.capacity_bytes"] == "2"


def test_a_nest_that_does_not_fit(run: Callable[..., tuple[dict[str, Any], str]], repository: Path) -> None:
    """64,000 x 128 left elements and 64,000 x 32 sums of one byte (all of k lies below them) in 2 MiB."""
    file, hardware = repository / "tests/errors/nest_does_not_fit.yaml", repository / "tests/data/hardware/systolic.yaml"
    found, _ = run("nest", str(file), "--hardware", str(hardware), code=ExitCode.NOTHING_FEASIBLE)
    (why,) = found["infeasibility"]
    assert why["resource"] == "sram_2MB capacity"
    assert why["contributors"] == {"left": 64000 * 128, "out": 64000 * 32}
    assert (why["demand_bytes"], why["bound_bytes"]) == (64000 * (128 + 32), 2 * 2**20)
    (used,) = [m["used_bits"] for m in found["memories"] if m["memory"] == "sram_2MB"]
    assert used == 8 * why["demand_bytes"]
